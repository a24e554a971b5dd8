-- Zone 4: Step Trainer readings of curated customers.
--
-- strict: of the device's owner, taken at or after the consent date.
-- published: joined on the serial number as claimed, whenever taken.

CREATE MATERIALIZED VIEW stedi.step_trainer_trusted AS
SELECT s.sensor_reading_time, s.serial_number, s.distance_from_object,
	   c.email, c.subject, o.device, s.record_id
FROM stedi.step_trainer_landing AS s
JOIN stedi.device_owner AS o ON o.serial_number = s.serial_number
JOIN stedi.customers_curated AS c ON c.email = o.email
WHERE s.sensor_reading_time >= c.share_with_research_as_of_date
  AND (SELECT stedi.policy('rules')) = 'strict'
UNION ALL
SELECT s.sensor_reading_time, s.serial_number, s.distance_from_object,
	   c.email, c.subject, o.device, s.record_id
FROM stedi.step_trainer_landing AS s
JOIN stedi.device_owner AS o ON o.serial_number = s.serial_number
JOIN stedi.customers_curated AS c ON c.serial_number = s.serial_number
WHERE (SELECT stedi.policy('rules')) = 'published';

CREATE UNIQUE INDEX step_trainer_trusted_record_id_subject_key
	ON stedi.step_trainer_trusted (record_id, subject);
COMMENT ON MATERIALIZED VIEW stedi.step_trainer_trusted IS
	'trusted zone: Step Trainer readings attributed to a curated customer';

