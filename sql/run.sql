--
-- CALL run(): the whole job, in transactions of its own.
--
SET timezone = 'UTC';
DELETE FROM stedi.source;
DELETE FROM stedi.export_target;
TRUNCATE stedi.customer_landing, stedi.accelerometer_landing, stedi.step_trainer_landing;
CALL regress.make_directory('run');

-- Nothing to run.
CALL stedi.run();

SELECT stedi.attach(regress.uri('run/'));
DELETE FROM stedi.export_target;
CALL regress.make_directory('run/customer/landing');
CALL regress.make_directory('run/accelerometer/landing');
CALL regress.make_directory('run/step_trainer/landing');
CALL regress.put('run/customer/landing/1.json',
	'{"email":"ann@example.com","serialNumber":"s-1","lastUpdateDate":1000,"shareWithResearchAsOfDate":1000}'
	'{"email":"bob@example.com","serialNumber":"s-2","lastUpdateDate":1000}');
CALL regress.put('run/customer/landing/2.json', '{"email":"cy@example.com","birthDay":"soon"}');
DO $$
BEGIN
	FOR i IN 1..5 LOOP
		CALL regress.put(format('run/accelerometer/landing/%s.json', i),
						 format(E'{"user":"ann@example.com","timeStamp":%s,"x":%s}\n{"user":"bob@example.com","timeStamp":%1$s,"x":0}\n', i * 1000, i));
		CALL regress.put(format('run/step_trainer/landing/%s.json', i),
						 format(E'{"sensorReadingTime":%s,"serialNumber":"s-1","distanceFromObject":%s}\n', i * 1000, i));
	END LOOP;
END
$$;

-- Not inside of a transaction: it commits.
BEGIN;
CALL stedi.run();
ROLLBACK;
SELECT * FROM regress.error('CALL stedi.run()');
SELECT count(*) FROM stedi.object WHERE source IS NOT NULL AND uri LIKE '%/stedi_regress/run/%';
CALL stedi.run(max_objects => 0);
CALL stedi.run(max_objects => -1);
CALL stedi.run(max_bytes => 'much');
CALL stedi.run(workers => -1);
CALL stedi.run(workers => 65);

-- All of it: ingest, refresh, and nothing to export.  The detail is what time it took.
\set VERBOSITY terse
CALL stedi.run();
\set VERBOSITY default
SELECT source, status, count(*), sum(rows) AS rows, sum(rejects) AS rejects FROM stedi.object
WHERE uri LIKE regress.uri('run/') || '%' GROUP BY 1, 2 ORDER BY 1, 2;
SELECT name, rows FROM stedi.zone ORDER BY position;
SELECT distance_from_object, x FROM stedi.machine_learning_curated ORDER BY 1;

-- Again: nothing is pending.
CALL stedi.run(concurrently => true);
SELECT count(*) FROM stedi.accelerometer_landing;

-- A new version and new objects, one object to a transaction, and then the export.
INSERT INTO stedi.export_target (source, uri, format, compression, max_file_size)
VALUES ('stedi.machine_learning_curated', regress.uri('run/out/'), 'csv', 'gzip', '1MB');
CALL regress.put('run/step_trainer/landing/5.json', E'{"sensorReadingTime":5000,"serialNumber":"s-1","distanceFromObject":55}\n');
CALL regress.put('run/step_trainer/landing/6.json', E'{"sensorReadingTime":6000,"serialNumber":"s-1","distanceFromObject":6}\n');
CALL regress.put('run/accelerometer/landing/6.json', E'{"user":"ann@example.com","timeStamp":6000,"x":6}\n');
SELECT max(object_id) AS last_object_id FROM stedi.object \gset
\set VERBOSITY sqlstate
CALL stedi.run(max_objects => 1, wait => true);
\set VERBOSITY default
SELECT count(DISTINCT xmin::text) AS transactions, count(*) AS objects FROM stedi.object WHERE object_id > :last_object_id;
SELECT distance_from_object, x FROM stedi.machine_learning_curated ORDER BY 1;
SELECT regress.clean(f) FROM regress.files('run/out') AS f;
SELECT m->'rows' AS rows, m->>'source' AS source, m->>'format' AS format, m->>'compression' AS compression
FROM (SELECT regress.get('run/out/_manifest.json')::jsonb) AS m(m);

-- The next export takes the place of this one.
SELECT f AS old FROM regress.files('run/out') AS f WHERE f LIKE 'part-%' \gset
\set VERBOSITY sqlstate
CALL stedi.run(max_objects => NULL, max_bytes => NULL, concurrently => NULL, wait => NULL);
\set VERBOSITY default
SELECT count(*) AS files, count(*) FILTER (WHERE f = :'old') AS old_files FROM regress.files('run/out') AS f WHERE f LIKE 'part-%';

-- An object that fails is reported, is tried once a run, and keeps nothing else from being loaded.
UPDATE stedi.source SET reject_limit = 0 WHERE name = 'customer';
CALL regress.put('run/customer/landing/3.json', E'{"email":"di@example.com","birthDay":"soon"}\n');
CALL regress.put('run/customer/landing/4.json', E'{"email":"ed@example.com"}\n');
DELETE FROM stedi.export_target;
\set VERBOSITY sqlstate
CALL stedi.run(max_objects => 1);
\set VERBOSITY default
SELECT regress.clean(uri) AS uri, status, rows, error FROM stedi.object
WHERE uri LIKE regress.uri('run/customer/') || '%' ORDER BY uri COLLATE "C";
SELECT name, pending_objects, failed_objects, error FROM stedi.status WHERE kind = 'source' ORDER BY name;
UPDATE stedi.source SET reject_limit = NULL WHERE name = 'customer';
\set VERBOSITY terse
CALL stedi.run();
\set VERBOSITY default
SELECT regress.clean(uri) AS uri, status, rows FROM stedi.object WHERE uri = regress.uri('run/customer/landing/3.json');

-- What was committed before an error stays: here the export has no place to go to.
INSERT INTO stedi.export_target (source, uri) VALUES ('stedi.machine_learning_curated', 'file:///dev/null/regress/');
CALL regress.put('run/customer/landing/5.json', E'{"email":"flo@example.com"}\n');
\set VERBOSITY sqlstate
CALL stedi.run();
\set VERBOSITY default
SELECT status, rows FROM stedi.object WHERE uri = regress.uri('run/customer/landing/5.json');
DELETE FROM stedi.export_target;
-- here the first export has, and the second has not
INSERT INTO stedi.export_target (source, uri) VALUES
	('stedi.customers_curated', regress.uri('run/first/')), ('stedi.machine_learning_curated', 'gs://second/');
\set VERBOSITY sqlstate
CALL stedi.run();
\set VERBOSITY default
SELECT source FROM stedi.export_run WHERE uri = regress.uri('run/first/');
DELETE FROM stedi.export_target;
-- and here one source stops
UPDATE stedi.source SET on_error = 'stop' WHERE name = 'customer';
CALL regress.put('run/customer/landing/6.json', E'{"email":"gus@example.com","birthDay":"soon"}\n');
CALL regress.put('run/accelerometer/landing/7.json', E'{"user":"ann@example.com","timeStamp":7000,"x":7}\n');
\set VERBOSITY sqlstate
CALL stedi.run();
\set VERBOSITY default
SELECT status FROM stedi.object WHERE uri = regress.uri('run/accelerometer/landing/7.json');
SELECT count(*) FROM stedi.object WHERE uri = regress.uri('run/customer/landing/6.json');
UPDATE stedi.source SET on_error = 'reject' WHERE name = 'customer';

-- The lock is let go, whatever happened.
\set VERBOSITY terse
CALL stedi.run();
\set VERBOSITY default
SELECT count(*) FROM pg_locks WHERE locktype = 'object' AND pid = pg_backend_pid() AND mode = 'ExclusiveLock';

-- From a DO block that is not in a transaction.
DO $$ BEGIN CALL stedi.run(); END $$;

DELETE FROM stedi.source;
TRUNCATE stedi.customer_landing, stedi.accelerometer_landing, stedi.step_trainer_landing;
SET client_min_messages = warning;
SELECT count(*) FROM stedi.refresh();
