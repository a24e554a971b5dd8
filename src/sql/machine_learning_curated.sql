-- Zone 5: what the step-detection model is trained on: each trusted Step Trainer
-- reading with the accelerometer readings of the same moment.  Pseudonyms only.
--
-- strict: of the same customer.  published: of anybody, which pairs one
-- customer's steps with another's accelerometer.

CREATE MATERIALIZED VIEW stedi.machine_learning_curated AS
SELECT s.subject, s.device, s.sensor_reading_time, s.distance_from_object,
	   a.x, a.y, a.z,
	   s.record_id AS step_trainer_record_id,
	   a.record_id AS accelerometer_record_id
FROM stedi.step_trainer_trusted AS s
JOIN stedi.accelerometer_trusted AS a
  ON a."timestamp" = s.sensor_reading_time AND a.email = s.email
WHERE (SELECT stedi.policy('rules')) = 'strict'
UNION ALL
SELECT s.subject, s.device, s.sensor_reading_time, s.distance_from_object,
	   a.x, a.y, a.z, s.record_id, a.record_id
FROM stedi.step_trainer_trusted AS s
JOIN stedi.accelerometer_trusted AS a ON a."timestamp" = s.sensor_reading_time
WHERE (SELECT stedi.policy('rules')) = 'published';

CREATE UNIQUE INDEX machine_learning_curated_record_ids_key
	ON stedi.machine_learning_curated (step_trainer_record_id, accelerometer_record_id, subject);
COMMENT ON MATERIALIZED VIEW stedi.machine_learning_curated IS
	'curated zone: training rows for step detection, under pseudonyms';

