-- What is compared with the other engines, in their words: see peers/job.py.

CREATE SCHEMA bench;

CREATE FUNCTION bench.ms(timestamptz) RETURNS bigint LANGUAGE sql IMMUTABLE AS
	'SELECT (extract(epoch FROM $1) * 1000)::bigint';

CREATE VIEW bench.customer_landing AS
SELECT email, bench.ms(last_update_date) AS last_update_date,
	   bench.ms(share_with_research_as_of_date) AS research_date
FROM stedi.customer_landing;

CREATE VIEW bench.accelerometer_landing AS
SELECT email, bench.ms("timestamp") AS reading_time, x, y, z
FROM stedi.accelerometer_landing;

CREATE VIEW bench.step_trainer_landing AS
SELECT bench.ms(sensor_reading_time) AS sensor_reading_time, serial_number, distance_from_object
FROM stedi.step_trainer_landing;

CREATE VIEW bench.customer_trusted AS
SELECT email, bench.ms(last_update_date) AS last_update_date,
	   bench.ms(share_with_research_as_of_date) AS research_date
FROM stedi.customer_trusted;

CREATE VIEW bench.accelerometer_trusted AS
SELECT email, bench.ms("timestamp") AS reading_time, x, y, z
FROM stedi.accelerometer_trusted;

CREATE VIEW bench.customers_curated AS
SELECT email, bench.ms(share_with_research_as_of_date) AS research_date
FROM stedi.customers_curated;

CREATE VIEW bench.device_owner AS
SELECT serial_number, email, basis, claimants, matched, runner_up
FROM stedi.device_owner;

CREATE VIEW bench.step_trainer_trusted AS
SELECT bench.ms(sensor_reading_time) AS sensor_reading_time, serial_number,
	   distance_from_object, email
FROM stedi.step_trainer_trusted;

CREATE VIEW bench.machine_learning_curated AS
SELECT subject, device, bench.ms(sensor_reading_time) AS sensor_reading_time,
	   distance_from_object, x, y, z
FROM stedi.machine_learning_curated;
