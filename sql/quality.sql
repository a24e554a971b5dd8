--
-- quality: what the landing data is expected to be, and what a refresh does when it
-- is not.  Then how old the newest reading is, and a new pseudonym key.
--
SET timezone = 'UTC';
SET client_min_messages = warning;
SET datestyle = 'ISO, MDY';
DELETE FROM stedi.source;
DELETE FROM stedi.export_target;
TRUNCATE stedi.customer_landing, stedi.accelerometer_landing, stedi.step_trainer_landing;
CREATE FUNCTION pg_temp.at(integer) RETURNS timestamptz LANGUAGE sql IMMUTABLE
RETURN timestamptz '2022-06-18 15:00:00+00' + $1 * interval '1 second';
CREATE FUNCTION pg_temp.try(statement text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
BEGIN
	EXECUTE statement;
	RETURN NEXT 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN NEXT SQLSTATE || ': ' || SQLERRM;
	RETURN QUERY SELECT * FROM regexp_split_to_table(detail, '\n') WHERE detail <> '';
END
$$;

-- Nothing there, nothing wrong.
SELECT * FROM stedi.quality ORDER BY name COLLATE "C";

-- Each expectation is not met by records of its own: 1000s are customers,
-- 2000s accelerometer and 3000s Step Trainer readings.
INSERT INTO stedi.customer_landing (email, serial_number, registration_date, last_update_date, share_with_research_as_of_date, record_id) VALUES
	('ann@example.com', 'd-ann', pg_temp.at(-9), pg_temp.at(-9), pg_temp.at(-9), 1001),
	('ann@example.com', 'd-ann', pg_temp.at(-8), pg_temp.at(-8), pg_temp.at(-9), 1002),
	(NULL, NULL, NULL, NULL, NULL, 1003),
	('', NULL, NULL, NULL, NULL, 1004),
	('bob@example.com', 'd-bob', pg_temp.at(9), pg_temp.at(9), NULL, 1005),
	('Cy@example.com', 'd-shared', NULL, pg_temp.at(9), NULL, 1006),
	('cy@example.com', 'd-cy', NULL, pg_temp.at(9), NULL, 1007),
	('di@example.com', 'd-shared', NULL, pg_temp.at(9), NULL, 1008);
INSERT INTO stedi.accelerometer_landing (email, "timestamp", x, y, z, record_id) VALUES
	('ann@example.com', pg_temp.at(0), 0, 0, 0, 2001),
	('ann@example.com', pg_temp.at(0), 0, 0, 0, 2002),		-- again
	('ann@example.com', pg_temp.at(0), 0, 0, 0, 2003),		-- and again
	('ann@example.com', pg_temp.at(0), 0, 0, NULL, 2004),
	('ann@example.com', '1999-12-31 23:59:59.999999', 0, 0, 0, 2005),
	('ann@example.com', '2000-01-01', 0, 0, 0, 2006),
	('ann@example.com', now() + interval '1 hour', 0, 0, 0, 2007),
	('ann@example.com', NULL, 0, 0, 0, 2008),
	('bob@example.com', pg_temp.at(8), 0, 0, 0, 2009),		-- registered at 9
	('bob@example.com', pg_temp.at(9), 0, 0, 0, 2010),
	('DI@example.com', pg_temp.at(9), 0, 0, 0, 2011),
	('ed@example.com', pg_temp.at(9), 0, 0, 0, 2012),
	(NULL, pg_temp.at(9), 0, 0, 0, 2013),
	('ann@example.com', pg_temp.at(-9), 0, 0, 0, 2014);		-- the first registration counts
INSERT INTO stedi.step_trainer_landing (sensor_reading_time, serial_number, distance_from_object, record_id) VALUES
	(pg_temp.at(500), 'd-ann', 0, 3001),
	(pg_temp.at(500), 'd-ann', 0, 3002),					-- again
	(pg_temp.at(8), 'd-bob', 0, 3003),
	(pg_temp.at(9), 'd-bob', 0, 3004),
	(pg_temp.at(9), 'd-shared', 0, 3005),
	(pg_temp.at(9), NULL, 0, 3006),
	('1970-01-01', 'd-ann', 0, 3007),						-- before registration, too
	('infinity', 'd-ann', 0, 3008),
	(NULL, 'd-ann', 0, 3009);
SELECT * FROM stedi.quality ORDER BY name COLLATE "C";

-- The example is a row that fails: without it fewer do.
CREATE FUNCTION pg_temp.failing_without(name text, example bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	failing bigint;
BEGIN
	DELETE FROM stedi.customer_landing WHERE record_id = example;
	DELETE FROM stedi.accelerometer_landing WHERE record_id = example;
	DELETE FROM stedi.step_trainer_landing WHERE record_id = example;
	failing := (SELECT rows_failing FROM stedi.quality AS q WHERE q.name = failing_without.name);
	RAISE SQLSTATE 'UNDO1';
EXCEPTION WHEN SQLSTATE 'UNDO1' THEN
	RETURN failing;
END
$$;
SELECT name, rows_failing, pg_temp.failing_without(name, example) AS without_example FROM stedi.quality ORDER BY name COLLATE "C";

-- Each of them alone stops a refresh that is not forced.
CREATE FUNCTION pg_temp.refresh_with(name text, force boolean) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	outcome text;
BEGIN
	UPDATE stedi.expectation AS e SET severity = 'fail' WHERE e.name = refresh_with.name;
	outcome := (SELECT string_agg(try, '|') FROM pg_temp.try(format('SELECT stedi.refresh(force => %L)', force)) AS try);
	RAISE SQLSTATE 'UNDO1';
EXCEPTION WHEN SQLSTATE 'UNDO1' THEN
	RETURN outcome;
END
$$;
SELECT pg_temp.refresh_with(name, force => false) FROM stedi.quality ORDER BY name COLLATE "C";
SELECT DISTINCT pg_temp.refresh_with(name, force => true) FROM stedi.quality;

-- A reading cannot be younger than the object that it came in.
INSERT INTO stedi.object (object_id, target, uri, etag, size, last_modified, status, tried_at) VALUES
	(2000000001, 'stedi.accelerometer_landing', 'file:///quality/a', 'a', 1, pg_temp.at(0), 'loaded', now()),
	(2000000002, 'stedi.step_trainer_landing', 'file:///quality/s', 's', 1, pg_temp.at(0), 'loaded', now());
INSERT INTO stedi.accelerometer_landing (email, "timestamp", record_id) VALUES
	('ann@example.com', pg_temp.at(0), (2000000001::bigint << 32) + 1),
	('ann@example.com', pg_temp.at(1), (2000000001::bigint << 32) + 2);
INSERT INTO stedi.step_trainer_landing (sensor_reading_time, serial_number, record_id) VALUES
	(pg_temp.at(0), 'd-ann', (2000000002::bigint << 32) + 1),
	(pg_temp.at(1), 'd-ann', (2000000002::bigint << 32) + 2);
SELECT name, rows_checked, rows_failing FROM stedi.quality WHERE name ~ 'clock' ORDER BY name COLLATE "C";

-- No example is anything but a record_id.
SELECT attname, atttypid::regtype FROM pg_attribute
WHERE attrelid = 'stedi.quality'::regclass AND attnum > 0 ORDER BY attnum;

-- Asked for some expectations, it reads the tables of those.
CREATE FUNCTION pg_temp.reads(VARIADIC names text[]) RETURNS TABLE (reads text) LANGUAGE plpgsql AS $$
DECLARE
	line text;
BEGIN
	-- A WITH part that nothing scans is not run, though EXPLAIN shows it.
	FOR line IN EXECUTE format('EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) SELECT * FROM stedi.quality WHERE name = ANY (%L)', names)
	LOOP
		IF line ~ 'Seq Scan' AND line !~ 'never executed' THEN
			reads := substring(line FROM 'Seq Scan on (\w+)');
			RETURN NEXT;
		END IF;
	END LOOP;
END
$$;
SELECT DISTINCT reads FROM pg_temp.reads('customer_email_case') WHERE reads ~ 'landing';
SELECT DISTINCT reads FROM pg_temp.reads('accelerometer_email_case') WHERE reads ~ 'landing' ORDER BY 1;
SELECT DISTINCT reads FROM pg_temp.reads('step_trainer_clock', 'customer_email_case') WHERE reads ~ 'landing' ORDER BY 1;

-- warn: a refresh goes on.
SELECT count(*) FROM stedi.refresh();
SELECT count(*) FROM stedi.customer_trusted;
CREATE TEMP TABLE zone AS SELECT *, pg_relation_filenode(name) AS file FROM stedi.zone;

-- fail: it stops before it replaces anything, and names what is not met.
UPDATE stedi.expectation SET severity = 'fail' WHERE name IN ('accelerometer_duplicate', 'step_trainer_owner_missing');
INSERT INTO stedi.expectation VALUES ('customer_email_case', 'fail');
SELECT name, severity FROM stedi.expectation WHERE severity = 'fail' ORDER BY name COLLATE "C";
DELETE FROM stedi.customer_landing WHERE email = 'ann@example.com';
SELECT * FROM pg_temp.try('SELECT stedi.refresh()');
SELECT * FROM pg_temp.try('SELECT stedi.refresh(concurrently => true)');
SELECT count(*) FROM stedi.customer_trusted;
SELECT *, pg_relation_filenode(name) AS file FROM stedi.zone EXCEPT TABLE zone;

-- Those that are met stop nothing.
DELETE FROM stedi.customer_landing WHERE email = 'Cy@example.com';
DELETE FROM stedi.step_trainer_landing;
SELECT * FROM pg_temp.try('SELECT stedi.refresh()');
DELETE FROM stedi.accelerometer_landing WHERE record_id IN (2002, 2003);
SELECT * FROM pg_temp.try('SELECT stedi.refresh()');
SELECT count(*) FROM stedi.customer_trusted;
SELECT count(*) AS replaced FROM stedi.zone JOIN zone USING (name) WHERE pg_relation_filenode(name) <> file;

-- force: what must not wait for better data, such as an erasure.
INSERT INTO stedi.accelerometer_landing (email, "timestamp", x, y, z, record_id)
SELECT 'di@example.com', pg_temp.at(9), 0, 0, 0, 2020 + i FROM generate_series(0, 1) AS i;
SELECT * FROM pg_temp.try('SELECT stedi.refresh()');
SELECT * FROM pg_temp.try('SELECT stedi.refresh(force => NULL)');
SELECT * FROM pg_temp.try('SELECT stedi.refresh(force => true)');

-- run() loads, and stops there.
CALL regress.make_directory('quality');
CALL regress.make_directory('quality/in');
CALL regress.put('quality/in/1.json', '{"customerName":"nobody","lastUpdateDate":1000}');
INSERT INTO stedi.source (name, uri, target) VALUES ('quality', regress.uri('quality/in/'), 'stedi.customer_landing');
INSERT INTO stedi.export_target (source, uri) VALUES ('stedi.customers_curated', regress.uri('quality/out/'));
UPDATE stedi.expectation SET severity = CASE name WHEN 'customer_email_missing' THEN 'fail' ELSE 'warn' END;
TRUNCATE zone;
INSERT INTO zone SELECT *, pg_relation_filenode(name) FROM stedi.zone;
\set VERBOSITY terse
SET client_min_messages = notice;
CALL stedi.run();
\echo :SQLSTATE
SET client_min_messages = warning;
\set VERBOSITY default
SELECT status, rows FROM stedi.object WHERE source = 'quality';
SELECT count(*) FROM stedi.customer_landing WHERE customer_name = 'nobody';
SELECT *, pg_relation_filenode(name) AS file FROM stedi.zone EXCEPT TABLE zone;
SELECT regress.clean(uri) AS uri FROM stedi.list_objects(regress.uri('quality/'));
SELECT count(*) FROM stedi.export_run WHERE uri = regress.uri('quality/out/');
UPDATE stedi.expectation SET severity = 'warn';
CALL stedi.run();
SELECT rows FROM stedi.export_run WHERE uri = regress.uri('quality/out/');
DELETE FROM stedi.source;
DELETE FROM stedi.export_target;

-- Only what there is can be expected.
SELECT * FROM pg_temp.try($$INSERT INTO stedi.expectation VALUES ('customer_email_cased', 'fail')$$);
SELECT * FROM pg_temp.try($$UPDATE stedi.expectation SET severity = 'stop' WHERE name = 'customer_email_case'$$);
SELECT (SELECT count(*) FROM stedi.expectation) = (SELECT count(*) FROM stedi.quality) AS all_evaluated;

-- The newest reading, clocks ahead of ours left out.
DELETE FROM stedi.customer_landing;
SELECT stedi.newest_time('stedi.customer_landing');
INSERT INTO stedi.customer_landing (registration_date, last_update_date, record_id) VALUES
	(pg_temp.at(30), NULL, 1001),
	(pg_temp.at(10), pg_temp.at(20), 1002);
INSERT INTO stedi.accelerometer_landing (email, "timestamp", record_id) VALUES
	('ann@example.com', pg_temp.at(60), 2030),
	('ann@example.com', now() + interval '1 day', 2031),
	('ann@example.com', NULL, 2032);
INSERT INTO stedi.step_trainer_landing (sensor_reading_time, serial_number, record_id) VALUES (pg_temp.at(90), 'd-ann', 3010);
SELECT stedi.newest_time('pg_class');
SELECT stedi.attach('file:///nowhere/');
CREATE TABLE own (record_id bigint);
INSERT INTO stedi.source (name, uri, target) VALUES ('own', 'file:///nowhere/', 'own');
SELECT name, newest, age BETWEEN clock_timestamp() - newest - interval '1 minute' AND clock_timestamp() - newest AS age
FROM stedi.status WHERE kind = 'source' ORDER BY name COLLATE "C";
SELECT name, rows, last_run IS NOT NULL AS refreshed, newest FROM stedi.status WHERE kind = 'zone' AND name ~ 'customer' ORDER BY name COLLATE "C";

-- Nobody is told what he may not read himself.
CREATE ROLE regress_watcher;
GRANT USAGE ON SCHEMA stedi TO regress_watcher;
SET ROLE regress_watcher;
SELECT f, left(try, 5) AS state FROM unnest(ARRAY['TABLE stedi.quality', 'TABLE stedi.expectation', 'TABLE stedi.device_evidence', 'TABLE stedi.status',
	'SELECT stedi.reconcile()', 'SELECT stedi.rotate_pseudonym_key()', 'SELECT stedi.check_expectations()',
	'SELECT stedi.newest_time(''stedi.customer_landing'')']) AS f, pg_temp.try(f);
RESET ROLE;
GRANT SELECT ON stedi.quality, stedi.expectation, stedi.device_evidence TO regress_watcher;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA stedi TO regress_watcher;
SET ROLE regress_watcher;
SELECT f, left(try, 5) AS state FROM unnest(ARRAY['TABLE stedi.quality', 'TABLE stedi.device_evidence',
	'SELECT stedi.reconcile()', 'SELECT stedi.rotate_pseudonym_key()']) AS f, pg_temp.try(f);
-- but for the newest time, which runs with its owner's rights
SELECT stedi.newest_time('stedi.customer_landing');
RESET ROLE;
DROP OWNED BY regress_watcher;
DROP ROLE regress_watcher;

-- Identifiers that no index can hold are nobody's, and stop no refresh.
TRUNCATE stedi.customer_landing, stedi.accelerometer_landing, stedi.step_trainer_landing;
CREATE FUNCTION pg_temp.long(seed text) RETURNS text LANGUAGE sql AS
	$$ SELECT string_agg(encode(sha256((seed || i)::bytea), 'hex'), '') FROM generate_series(1, 250) AS i $$;
INSERT INTO stedi.customer_landing (email, serial_number, last_update_date, share_with_research_as_of_date, record_id)
VALUES ('ann@example.com', 'a', pg_temp.at(0), pg_temp.at(0), 1001),
	   (pg_temp.long('email'), pg_temp.long('device'), pg_temp.at(0), pg_temp.at(0), 1002);
INSERT INTO stedi.accelerometer_landing (email, "timestamp", record_id)
VALUES ('ann@example.com', pg_temp.at(0), 2001), (pg_temp.long('email'), pg_temp.at(0), 2002);
INSERT INTO stedi.step_trainer_landing (serial_number, sensor_reading_time, record_id)
VALUES ('a', pg_temp.at(0), 3001), (pg_temp.long('device'), pg_temp.at(0), 3002);
SELECT zone, rows FROM stedi.refresh();
SELECT name, rows_failing, example FROM stedi.quality WHERE name = 'customer_email_missing';
SELECT record_id FROM stedi.step_trainer_unattributed;
SELECT count(*) FROM stedi.reconcile();
TRUNCATE stedi.customer_landing, stedi.step_trainer_landing;

-- A new key: other pseudonyms, which the zones have from the next refresh on.
TRUNCATE stedi.accelerometer_landing;
INSERT INTO stedi.customer_landing (email, last_update_date, share_with_research_as_of_date, record_id)
VALUES ('ann@example.com', pg_temp.at(0), pg_temp.at(0), 1001);
INSERT INTO stedi.accelerometer_landing (email, "timestamp", record_id) VALUES ('ann@example.com', pg_temp.at(0), 2001);
SELECT count(*) FROM stedi.refresh();
CREATE TEMP TABLE old AS SELECT key, stedi.pseudonym('subject', 'ann@example.com') AS subject,
	   pg_relation_filenode('stedi.pseudonym_key') AS file
FROM stedi.pseudonym_key;
SELECT c.subject = old.subject AS same FROM stedi.customers_curated AS c, old;
SELECT stedi.rotate_pseudonym_key();
SELECT count(*), bool_and(k.key <> old.key) AS new, min(length(k.key)) AS bytes,
	   bool_and(pg_relation_filenode('stedi.pseudonym_key') <> old.file) AS other_file
FROM stedi.pseudonym_key AS k, old;
SELECT stedi.pseudonym('subject', 'ann@example.com') <> subject AS new FROM old;
SELECT c.subject = old.subject AS same FROM stedi.customers_curated AS c, old;
SELECT count(*) FROM stedi.refresh();
SELECT c.subject = old.subject AS same, c.subject = stedi.pseudonym('subject', 'ann@example.com') AS new
FROM stedi.customers_curated AS c, old;
-- rolled back, it did not happen
BEGIN;
SELECT stedi.rotate_pseudonym_key();
ROLLBACK;
SELECT c.subject = stedi.pseudonym('subject', 'ann@example.com') AS same FROM stedi.customers_curated AS c;

DELETE FROM stedi.object WHERE uri ~ '^file:///quality/' OR source = 'quality';
DELETE FROM stedi.export_run WHERE uri = regress.uri('quality/out/');
DELETE FROM stedi.source;
DELETE FROM stedi.export_target;
DROP TABLE own;
TRUNCATE stedi.customer_landing, stedi.accelerometer_landing, stedi.step_trainer_landing;
SELECT count(*) FROM stedi.refresh();
