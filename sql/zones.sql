--
-- The zones on a population small enough to see through, under both rules.
--
SET timezone = 'UTC';
SET client_min_messages = warning;
SET datestyle = 'ISO, MDY';
TRUNCATE stedi.customer_landing, stedi.accelerometer_landing, stedi.step_trainer_landing;
CREATE FUNCTION pg_temp.at(integer) RETURNS timestamptz LANGUAGE sql IMMUTABLE
RETURN timestamptz '2022-06-18 15:00:00+00' + $1 * interval '1 second';

-- Ann consented before she started, Bob half-way, Cy never; Di consented but
-- has no phone.  Each wears the device of his name; all serial numbers were
-- handed out right but that of Bob, who was given Ann's.
INSERT INTO stedi.customer_landing (customer_name, email, birth_day, serial_number, last_update_date, share_with_research_as_of_date, record_id) VALUES
	('Ann', 'ann@example.com', '1961-01-01', 'd-ann', pg_temp.at(-100), pg_temp.at(-100), 1),
	('Bob', 'bob@example.com', '1962-01-01', 'd-ann', pg_temp.at(-100), pg_temp.at(4), 2),
	('Cy', 'cy@example.com', '1963-01-01', 'd-cy', pg_temp.at(-100), NULL, 3),
	('Di', 'di@example.com', '1964-01-01', 'd-di', pg_temp.at(-100), pg_temp.at(-100), 4);
INSERT INTO stedi.accelerometer_landing (email, "timestamp", x, y, z, record_id)
SELECT email, pg_temp.at(i), i, n, 0, 10 * n + i
FROM (VALUES (1, 'ann@example.com', 0), (2, 'bob@example.com', 2), (3, 'cy@example.com', 4)) AS c(n, email, first),
	 generate_series(first, first + 3) AS i;
-- Ed has no device, but exercises when Ann does: nobody's steps are his.
INSERT INTO stedi.customer_landing (customer_name, email, last_update_date, share_with_research_as_of_date, record_id)
VALUES ('Ed', 'ed@example.com', pg_temp.at(-100), pg_temp.at(-100), 5);
INSERT INTO stedi.accelerometer_landing (email, "timestamp", x, y, z, record_id)
VALUES ('ed@example.com', pg_temp.at(0), 0, 5, 0, 50), ('ed@example.com', pg_temp.at(1), 1, 5, 0, 51);
INSERT INTO stedi.step_trainer_landing (sensor_reading_time, serial_number, distance_from_object, record_id)
SELECT pg_temp.at(i), serial_number, i, 100 * n + i
FROM (VALUES (1, 'd-ann', 0), (2, 'd-bob', 2), (3, 'd-cy', 4), (4, 'd-di', 20)) AS d(n, serial_number, first),
	 generate_series(first, first + 3) AS i;

CREATE VIEW counts AS
SELECT (SELECT count(*) FROM stedi.customer_trusted) AS customer_trusted,
	   (SELECT count(*) FROM stedi.accelerometer_trusted) AS accelerometer_trusted,
	   (SELECT count(*) FROM stedi.customers_curated) AS customers_curated,
	   (SELECT count(*) FROM stedi.device_owner) AS device_owner,
	   (SELECT count(*) FROM stedi.step_trainer_trusted) AS step_trainer_trusted,
	   (SELECT count(*) FROM stedi.machine_learning_curated) AS machine_learning_curated;

-- Nothing shows before the refresh; refresh goes in dependency order.
SELECT * FROM counts;
SELECT zone, rows, elapsed >= '0' AS timed FROM stedi.refresh();
SELECT name, rows, refreshed_at <= clock_timestamp() AS refreshed, elapsed IS NOT NULL AS timed FROM stedi.zone ORDER BY position;

-- strict.
SELECT customer_name, email, share_with_research_as_of_date, record_id FROM stedi.customer_trusted ORDER BY email;
SELECT email, "timestamp", record_id FROM stedi.accelerometer_trusted ORDER BY record_id;
SELECT customer_name, email, subject = stedi.pseudonym('subject', email) AS subject FROM stedi.customers_curated ORDER BY email;
SELECT serial_number, device = stedi.pseudonym('device', serial_number) AS device, email, basis, claimants, matched, runner_up
FROM stedi.device_owner ORDER BY serial_number;
SELECT sensor_reading_time, serial_number, distance_from_object, email, record_id FROM stedi.step_trainer_trusted ORDER BY record_id;
SELECT sensor_reading_time, distance_from_object, x, y, z, step_trainer_record_id, accelerometer_record_id,
	   (SELECT email FROM stedi.customers_curated AS c WHERE c.subject = m.subject) AS subject_of,
	   (SELECT serial_number FROM stedi.device_owner AS d WHERE d.device = m.device) AS device_of
FROM stedi.machine_learning_curated AS m ORDER BY step_trainer_record_id, accelerometer_record_id;
-- no email, name or serial number
SELECT string_agg(attname, ', ' ORDER BY attnum) FROM pg_attribute
WHERE attrelid = 'stedi.machine_learning_curated'::regclass AND attnum > 0;
SELECT count(*) FROM stedi.machine_learning_curated AS m WHERE m::text ~ 'example|[(,]d-|Ann|Bob';

-- published: any consent counts for any reading, serial numbers as claimed,
-- and whoever's accelerometer at the same moment.
SELECT stedi.set_policy('published');
SELECT stedi.policy('rules');
SELECT * FROM counts;
SELECT zone, rows FROM stedi.refresh();
SELECT email, record_id FROM stedi.accelerometer_trusted ORDER BY record_id;
SELECT email FROM stedi.customers_curated ORDER BY email;
SELECT serial_number, email, record_id FROM stedi.step_trainer_trusted ORDER BY record_id, email;
SELECT step_trainer_record_id, accelerometer_record_id,
	   (SELECT email FROM stedi.customers_curated AS c WHERE c.subject = m.subject) AS subject_of
FROM stedi.machine_learning_curated AS m ORDER BY step_trainer_record_id, accelerometer_record_id, subject_of;

-- And back; CONCURRENTLY gives the same.
SELECT stedi.set_policy('strict');
SELECT zone, rows FROM stedi.refresh(concurrently => true);
SELECT sensor_reading_time, distance_from_object, x, y, z, step_trainer_record_id, accelerometer_record_id
FROM stedi.machine_learning_curated ORDER BY step_trainer_record_id, accelerometer_record_id;
SELECT stedi.set_policy('published');
SELECT zone, rows FROM stedi.refresh(concurrently => true);
SELECT stedi.set_policy('strict');
SELECT zone, rows FROM stedi.refresh(concurrently => NULL);

-- A refresh that is rolled back changes nothing.
BEGIN;
DELETE FROM stedi.customer_landing WHERE customer_name = 'Ann';
SELECT zone, rows FROM stedi.refresh();
ROLLBACK;
SELECT * FROM counts;

-- The search_path and the time zone of whoever refreshes make no difference.
CREATE SCHEMA regress_evil;
CREATE FUNCTION regress_evil.pseudonym(text, text) RETURNS uuid LANGUAGE sql RETURN uuid '00000000-0000-0000-0000-000000000000';
CREATE FUNCTION regress_evil.count(text) RETURNS bigint LANGUAGE sql RETURN 0;
SET search_path = regress_evil, pg_catalog;
SET timezone = 'Asia/Tokyo';
SELECT zone, rows FROM stedi.refresh();
RESET search_path;
SET timezone = 'UTC';
SELECT count(*) FROM stedi.customers_curated WHERE subject = '00000000-0000-0000-0000-000000000000';
DROP FUNCTION regress_evil.pseudonym, regress_evil.count;
DROP SCHEMA regress_evil;

DROP VIEW counts;
TRUNCATE stedi.customer_landing, stedi.accelerometer_landing, stedi.step_trainer_landing;
SELECT zone, rows FROM stedi.refresh();
