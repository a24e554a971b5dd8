--
-- device_owner: whose device it is, on what ground, and that the device of someone
-- who did not consent never shows.
--
SET timezone = 'UTC';
SET client_min_messages = warning;
SET datestyle = 'ISO, MDY';
TRUNCATE stedi.customer_landing, stedi.accelerometer_landing, stedi.step_trainer_landing;
CREATE FUNCTION pg_temp.at(integer) RETURNS timestamptz LANGUAGE sql IMMUTABLE
RETURN timestamptz '2022-06-18 15:00:00+00' + $1 * interval '1 second';

-- A case is a device, with moments of its own; customers with the serial numbers
-- they claim, whether they consent, and the moments of their phones.
CREATE SEQUENCE pg_temp.record_id;
CREATE PROCEDURE pg_temp.customer(name text, claims text, consents boolean) LANGUAGE sql AS $$
	INSERT INTO stedi.customer_landing (customer_name, email, serial_number, last_update_date, share_with_research_as_of_date, record_id)
	VALUES (name, name || '@example.com', claims, pg_temp.at(-100), CASE WHEN consents THEN pg_temp.at(-100) END, nextval('pg_temp.record_id'))
$$;
CREATE PROCEDURE pg_temp.phone(name text, VARIADIC moments integer[]) LANGUAGE sql AS $$
	INSERT INTO stedi.accelerometer_landing (email, "timestamp", x, record_id)
	SELECT name || '@example.com', pg_temp.at(m), m, nextval('pg_temp.record_id') FROM unnest(moments) AS m
$$;
CREATE PROCEDURE pg_temp.device(serial_number text, VARIADIC moments integer[]) LANGUAGE sql AS $$
	INSERT INTO stedi.step_trainer_landing (sensor_reading_time, serial_number, distance_from_object, record_id)
	SELECT pg_temp.at(m), serial_number, m, nextval('pg_temp.record_id') FROM unnest(moments) AS m
$$;
CREATE VIEW owners AS
SELECT d.serial_number, replace(d.email, '@example.com', '') AS owner, d.basis, d.claimants, d.matched, d.runner_up,
	   (SELECT count(*) FROM stedi.step_trainer_trusted AS t WHERE t.serial_number = d.serial_number) AS trusted,
	   (SELECT count(*) FROM stedi.step_trainer_unattributed AS u WHERE u.serial_number = d.serial_number) AS unattributed
FROM stedi.device_owner AS d ORDER BY d.serial_number;

-- Evidence.  Three matches are enough, two are not.
CALL pg_temp.device('a1-three', 101, 102, 103);
CALL pg_temp.customer('a1', NULL, true);
CALL pg_temp.phone('a1', 101, 102, 103, 104);
CALL pg_temp.device('a2-two', 111, 112, 113);
CALL pg_temp.customer('a2', NULL, true);
CALL pg_temp.phone('a2', 111, 112);
-- Twice the runner-up's are enough, less is not.
CALL pg_temp.device('a3-twice', 121, 122, 123, 124);
CALL pg_temp.customer('a3', NULL, true);
CALL pg_temp.customer('a3-second', NULL, true);
CALL pg_temp.phone('a3', 121, 122, 123, 124);
CALL pg_temp.phone('a3-second', 121, 122);
CALL pg_temp.device('a4-less', 131, 132, 133, 134, 135);
CALL pg_temp.customer('a4', NULL, true);
CALL pg_temp.customer('a4-second', NULL, true);
CALL pg_temp.phone('a4', 131, 132, 133, 134, 135);
CALL pg_temp.phone('a4-second', 131, 132, 133);
-- Distinct moments count, however often they were read.
CALL pg_temp.device('a5-repeated', 141, 141, 142, 142);
CALL pg_temp.customer('a5', NULL, true);
CALL pg_temp.phone('a5', 141, 141, 141, 142, 142);
-- Evidence outranks claims.
CALL pg_temp.device('a6-outranks', 151, 152, 153);
CALL pg_temp.customer('a6', NULL, true);
CALL pg_temp.customer('a6-claims', 'a6-outranks', true);
CALL pg_temp.phone('a6', 151, 152, 153);
CALL pg_temp.phone('a6-claims', 159);

-- Claim.  One email, also in several records; nobody matches more.
CALL pg_temp.device('b1-claim', 201, 202);
CALL pg_temp.customer('b1', 'b1-claim', true);
CALL pg_temp.customer('b1', 'b1-claim', true);
CALL pg_temp.phone('b1', 209);
CALL pg_temp.device('b2-equal', 211, 212, 213);
CALL pg_temp.customer('b2', 'b2-equal', true);
CALL pg_temp.customer('b2-second', NULL, true);
CALL pg_temp.phone('b2', 211, 212);
CALL pg_temp.phone('b2-second', 212, 213);
CALL pg_temp.device('b3-somebody-matches-more', 221, 222);
CALL pg_temp.customer('b3', 'b3-somebody-matches-more', true);
CALL pg_temp.customer('b3-second', NULL, true);
CALL pg_temp.phone('b3', 221);
CALL pg_temp.phone('b3-second', 221, 222);
-- two in step: the claim settles it
CALL pg_temp.device('b4-in-step', 231, 232, 233, 234);
CALL pg_temp.customer('b4', 'b4-in-step', true);
CALL pg_temp.customer('b4-second', NULL, true);
CALL pg_temp.phone('b4', 231, 232, 233, 234);
CALL pg_temp.phone('b4-second', 231, 232, 233);
-- who claims it has no readings at all, and is not curated for that
CALL pg_temp.device('b5-no-phone', 241);
CALL pg_temp.customer('b5', 'b5-no-phone', true);

-- Unresolved.
CALL pg_temp.device('c1-two-claims', 301, 302);
CALL pg_temp.customer('c1', 'c1-two-claims', true);
CALL pg_temp.customer('c1-second', 'c1-two-claims', true);
CALL pg_temp.phone('c1', 309);
CALL pg_temp.device('c2-no-claim', 311, 312);
CALL pg_temp.device('c3-in-step-no-claim', 321, 322, 323);
CALL pg_temp.phone('c3', 321, 322, 323);
CALL pg_temp.phone('c3-second', 321, 322, 323);
-- a claim that differs in case is another's
CALL pg_temp.device('c4-case', 331);
CALL pg_temp.customer('c4', 'C4-CASE', true);
CALL pg_temp.phone('c4', 339);

-- The defect: one serial number, handed to many, worn by one who did not consent.
CALL pg_temp.device('d1-shared', 401, 402, 403);
CALL pg_temp.customer('d1-wearer', 'd1-shared', false);
CALL pg_temp.customer('d1-claims', 'd1-shared', true);
CALL pg_temp.customer('d1-claims-too', 'd1-shared', true);
CALL pg_temp.phone('d1-wearer', 401, 402, 403);
CALL pg_temp.phone('d1-claims', 401, 409);
CALL pg_temp.phone('d1-claims-too', 409);
-- and if only one who did consent claims it
CALL pg_temp.device('d2-shared', 411, 412, 413);
CALL pg_temp.customer('d2-wearer', 'd2-other', false);
CALL pg_temp.customer('d2-claims', 'd2-shared', true);
CALL pg_temp.phone('d2-wearer', 411, 412, 413);
CALL pg_temp.phone('d2-claims', 411);
-- or if what the wearer's phone read is too little to be evidence
CALL pg_temp.device('d3-shared', 421, 422);
CALL pg_temp.customer('d3-wearer', NULL, false);
CALL pg_temp.customer('d3-claims', 'd3-shared', true);
CALL pg_temp.phone('d3-wearer', 421);
CALL pg_temp.phone('d3-claims', 429);
-- a wearer who is no customer at all
CALL pg_temp.device('d4-shared', 431, 432, 433);
CALL pg_temp.customer('d4-claims', 'd4-shared', true);
CALL pg_temp.phone('d4-stranger', 431, 432, 433);
CALL pg_temp.phone('d4-claims', 439);

-- Readings without a serial number, or without a time.
CALL pg_temp.device(NULL, 501);
CALL pg_temp.device('e1-no-time', NULL, 511, 512, 513);
CALL pg_temp.customer('e1', NULL, true);
CALL pg_temp.phone('e1', NULL, 511, 512, 513);

SELECT zone, rows FROM stedi.refresh();
SELECT * FROM owners;
-- every serial number is listed once, and its device is a pseudonym
SELECT count(*) = count(DISTINCT serial_number) AND count(*) = count(DISTINCT device) AS distinct,
	   bool_and(device = stedi.pseudonym('device', serial_number)) AS pseudonyms,
	   bool_and((email IS NULL) = (basis = 'unresolved')) AS email_when_resolved
FROM stedi.device_owner;
-- every reading is trusted, unattributed, or of an owner who is not curated or had not consented
SELECT count(*) FROM stedi.step_trainer_landing AS s
WHERE NOT EXISTS (SELECT FROM stedi.step_trainer_trusted AS t WHERE t.record_id = s.record_id)
  AND NOT EXISTS (SELECT FROM stedi.step_trainer_unattributed AS u WHERE u.record_id = s.record_id)
  AND NOT EXISTS (SELECT FROM stedi.device_owner AS d WHERE d.serial_number = s.serial_number
				  AND d.email NOT IN (SELECT email FROM stedi.customers_curated))
  AND s.sensor_reading_time IS NOT NULL;
SELECT sensor_reading_time, serial_number, distance_from_object, claimants, matched, runner_up
FROM stedi.step_trainer_unattributed ORDER BY serial_number, sensor_reading_time LIMIT 4;
SELECT count(*) FROM stedi.step_trainer_unattributed WHERE serial_number IS NULL;
-- nothing of those who did not consent leaks
SELECT count(*) FROM stedi.step_trainer_trusted WHERE serial_number LIKE 'd_-shared';
SELECT count(*) FROM stedi.machine_learning_curated AS m JOIN stedi.device_owner AS d USING (device) WHERE d.serial_number LIKE 'd_-shared';

-- The thresholds are settings.
BEGIN;
INSERT INTO stedi.policy VALUES ('min_matches', '2'), ('min_ratio', '1.5');
SELECT count(*) FROM stedi.refresh();
SELECT serial_number, owner, basis, matched, runner_up FROM owners WHERE serial_number ~ '^(a[1-5]|b4|d3)';
ROLLBACK;
BEGIN;
INSERT INTO stedi.policy VALUES ('min_matches', '4');
SELECT count(*) FROM stedi.refresh();
SELECT serial_number, owner, basis, matched, runner_up FROM owners WHERE serial_number ~ '^(a[13]|a6|d2)';
ROLLBACK;

-- No moment before the consent, even of the right owner.
UPDATE stedi.customer_landing SET share_with_research_as_of_date = pg_temp.at(102) WHERE customer_name = 'a1';
SELECT count(*) FROM stedi.refresh();
SELECT sensor_reading_time FROM stedi.step_trainer_trusted WHERE serial_number = 'a1-three' ORDER BY 1;
SELECT sensor_reading_time, x FROM stedi.machine_learning_curated AS m JOIN stedi.device_owner AS d USING (device) WHERE d.serial_number = 'a1-three' ORDER BY 1;

-- A sample of a device's moments is enough, and it is the same for everybody.
TRUNCATE stedi.customer_landing, stedi.accelerometer_landing, stedi.step_trainer_landing;
SELECT array_agg(i) AS all, array_agg(i) FILTER (WHERE i % 10 = 1) AS tenth, array_agg(i + 2000) AS later FROM generate_series(1001, 2000) AS i \gset
CALL pg_temp.device('f1-many', VARIADIC :'all');
CALL pg_temp.customer('f1', NULL, true);
CALL pg_temp.phone('f1', VARIADIC :'all');
CALL pg_temp.customer('f1-second', 'f1-many', true);
CALL pg_temp.phone('f1-second', VARIADIC :'tenth');
-- moments at which no phone was read are not part of it
CALL pg_temp.device('f2-sparse', VARIADIC :'later');
CALL pg_temp.customer('f2', NULL, true);
CALL pg_temp.phone('f2', 3100, 3500, 3900);
SELECT count(*) FROM stedi.refresh();
SELECT serial_number, owner, basis, matched, runner_up * 2 < matched AS clear, trusted FROM owners;

DROP VIEW owners;
TRUNCATE stedi.customer_landing, stedi.accelerometer_landing, stedi.step_trainer_landing;
SELECT count(*) FROM stedi.refresh();
