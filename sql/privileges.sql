--
-- Three people: who runs the job, who builds on the lake, and who works with the
-- training data.  What each can do, and cannot.
--
SET timezone = 'UTC';
SET client_min_messages = warning;
DELETE FROM stedi.source;
DELETE FROM stedi.export_target;
TRUNCATE stedi.customer_landing, stedi.accelerometer_landing, stedi.step_trainer_landing;
CALL regress.make_directory('privileges');
CALL regress.make_directory('privileges/customer/landing');
CALL regress.make_directory('privileges/accelerometer/landing');
CALL regress.make_directory('privileges/step_trainer/landing');
CALL regress.put('privileges/customer/landing/1.json', '{"email":"ann@example.com","serialNumber":"s-1","lastUpdateDate":1000,"shareWithResearchAsOfDate":1000}');
CALL regress.put('privileges/accelerometer/landing/1.json', '{"user":"ann@example.com","timeStamp":2000,"x":1},{"user":"ann@example.com","timeStamp":3000,"x":"bad"}');
CALL regress.put('privileges/step_trainer/landing/1.json', '{"sensorReadingTime":2000,"serialNumber":"s-1","distanceFromObject":5}');
SELECT regress.uri('privileges/') AS uri \gset

-- First line of the error that a statement ends with.
CREATE FUNCTION pg_temp.try(statement text) RETURNS SETOF text LANGUAGE sql AS $$ SELECT regress.error(statement) LIMIT 1 $$;
CREATE ROLE regress_operator;
CREATE ROLE regress_engineer;
CREATE ROLE regress_scientist;

-- Without a grant there is nothing at all.
SET ROLE regress_scientist;
SELECT * FROM pg_temp.try('SELECT * FROM stedi.machine_learning_curated');
SELECT * FROM pg_temp.try('SELECT * FROM stedi.list_objects(''s3://bucket/'')');
RESET ROLE;
GRANT USAGE ON SCHEMA stedi TO regress_operator, regress_engineer, regress_scientist;
SET ROLE regress_scientist;
SELECT p.oid::regprocedure FROM pg_proc AS p WHERE pronamespace = 'stedi'::regnamespace AND has_function_privilege(p.oid, 'EXECUTE');
SELECT c.oid::regclass FROM pg_class AS c WHERE relnamespace = 'stedi'::regnamespace AND relkind IN ('r', 'v', 'm')
	AND (has_table_privilege(c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER') OR has_any_column_privilege(c.oid, 'SELECT, INSERT, UPDATE'));
RESET ROLE;

--
-- The operator runs the job: ingest, refresh, export.
--
GRANT SELECT, INSERT, DELETE ON stedi.customer_landing, stedi.accelerometer_landing, stedi.step_trainer_landing TO regress_operator;
GRANT EXECUTE ON FUNCTION stedi.ingest, stedi.refresh, stedi.export TO regress_operator;
GRANT EXECUTE ON PROCEDURE stedi.run TO regress_operator;
SELECT stedi.attach(:'uri');

-- Files of the server are for those who may read them, as with COPY.
SET ROLE regress_operator;
SELECT * FROM regress.error('SELECT * FROM stedi.ingest()');
RESET ROLE;
GRANT pg_read_server_files TO regress_operator;
SET ROLE regress_operator;
SELECT source, status, rows_loaded, rows_rejected FROM stedi.ingest();
SELECT zone, rows FROM stedi.refresh();
-- replacing, too
RESET ROLE;
CALL regress.put('privileges/accelerometer/landing/1.json', '{"user":"ann@example.com","timeStamp":2000,"x":2}');
SET ROLE regress_operator;
SELECT source, status, rows_loaded FROM stedi.ingest();
SELECT x FROM stedi.accelerometer_landing;
SELECT count(*) FROM stedi.refresh(concurrently => true);
-- the export needs the right to read the rows and to write the files
SELECT * FROM pg_temp.try(format('SELECT * FROM stedi.export(''stedi.machine_learning_curated'', %L)', :'uri' || 'out/'));
RESET ROLE;
GRANT pg_write_server_files TO regress_operator;
SET ROLE regress_operator;
SELECT * FROM pg_temp.try(format('SELECT * FROM stedi.export(''stedi.machine_learning_curated'', %L)', :'uri' || 'out/'));
RESET ROLE;
SELECT count(*) FROM stedi.list_objects(:'uri' || 'out/');
GRANT SELECT ON stedi.machine_learning_curated TO regress_operator;
SET ROLE regress_operator;
SELECT rows FROM stedi.export('stedi.machine_learning_curated', :'uri' || 'out/');
-- what the operator does not need: the ledger, the key, the trusted zone, the configuration
SELECT * FROM pg_temp.try('SELECT * FROM stedi.object');
SELECT * FROM pg_temp.try('SELECT * FROM stedi.reject');
SELECT * FROM pg_temp.try('SELECT * FROM stedi.pseudonym_key');
SELECT * FROM pg_temp.try('SELECT stedi.pseudonym(''subject'', ''ann@example.com'')');
SELECT * FROM pg_temp.try('SELECT * FROM stedi.customer_trusted');
SELECT * FROM pg_temp.try('SELECT * FROM stedi.device_owner');
SELECT * FROM pg_temp.try('UPDATE stedi.source SET uri = ''s3://elsewhere/''');
SELECT * FROM pg_temp.try('SELECT stedi.set_policy(''published'')');
SELECT left(try, 5) AS sqlstate FROM pg_temp.try('REFRESH MATERIALIZED VIEW stedi.customer_trusted');
SELECT * FROM pg_temp.try('TRUNCATE stedi.customer_landing');
SELECT * FROM pg_temp.try('UPDATE stedi.customer_landing SET share_with_research_as_of_date = now()');
SELECT * FROM pg_temp.try(format('SELECT * FROM stedi.load(''stedi.customer_landing'', %L)', :'uri'));
SELECT * FROM pg_temp.try(format('SELECT * FROM stedi.export(''stedi.pseudonym_key'', %L)', :'uri' || 'key/'));
-- run() does the same as the three
CALL stedi.run();
SELECT * FROM pg_temp.try('SELECT * FROM stedi.export_target');
RESET ROLE;
DELETE FROM stedi.export_target;

-- Without INSERT, and without DELETE where something is to be replaced.
REVOKE INSERT ON stedi.customer_landing FROM regress_operator;
CALL regress.put('privileges/customer/landing/1.json', '{"email":"ann@example.com","serialNumber":"s-1","lastUpdateDate":1000}');
SET ROLE regress_operator;
SELECT * FROM regress.error('SELECT * FROM stedi.ingest(''customer'')');
RESET ROLE;
GRANT INSERT ON stedi.customer_landing TO regress_operator;
REVOKE DELETE ON stedi.customer_landing FROM regress_operator;
SET ROLE regress_operator;
SELECT * FROM pg_temp.try('SELECT * FROM stedi.ingest(''customer'')');
SELECT share_with_research_as_of_date IS NOT NULL AS still_the_old_one FROM stedi.customer_landing;
RESET ROLE;
SELECT count(*) FROM stedi.object WHERE uri = :'uri' || 'customer/landing/1.json' AND status <> 'loaded';

--
-- The engineer loads and exports tables of his own, and looks at how the lake stands.
--
GRANT EXECUTE ON FUNCTION stedi.list_objects, stedi.load, stedi.export_query, stedi.read_json(text, text, text), stedi.read_json(anyelement, text, jsonb, text, text),
	stedi.provenance, stedi.pending, stedi.newest_time TO regress_engineer;
GRANT SELECT ON stedi.source, stedi.object, stedi.zone, stedi.status TO regress_engineer;
GRANT pg_read_server_files, pg_write_server_files TO regress_engineer;
CREATE SCHEMA regress_engineer AUTHORIZATION regress_engineer;
CREATE TABLE regress_engineer.not_his (a integer);
CALL regress.put('privileges/own.json', '{"a":1}');
SET ROLE regress_engineer;
CREATE TABLE regress_engineer.own (a integer, record_id bigint);
SELECT status, rows_loaded FROM stedi.load('regress_engineer.own', :'uri' || 'own.json');
SELECT a, p.record_no, p.status FROM regress_engineer.own, stedi.provenance(record_id) AS p;
SELECT rows FROM stedi.export_query('SELECT a FROM regress_engineer.own', :'uri' || 'own/');
SELECT value FROM stedi.read_json(:'uri' || 'own/');
SELECT kind, name, pending_objects FROM stedi.status WHERE kind = 'source' ORDER BY name;
SELECT * FROM regress.error(format('SELECT * FROM stedi.load(''regress_engineer.not_his'', %L)', :'uri' || 'own.json'));
SELECT * FROM pg_temp.try(format('SELECT * FROM stedi.load(''stedi.customer_landing'', %L)', :'uri' || 'customer/landing/'));
SELECT * FROM pg_temp.try(format('SELECT * FROM stedi.load(''stedi.policy'', %L)', :'uri' || 'own.json'));
SELECT * FROM pg_temp.try(format('SELECT * FROM stedi.export_query(''SELECT * FROM stedi.customer_landing'', %L)', :'uri' || 'leak/'));
SELECT * FROM pg_temp.try(format('SELECT * FROM stedi.export_query(''SELECT key FROM stedi.pseudonym_key'', %L)', :'uri' || 'leak/'));
SELECT * FROM pg_temp.try('SELECT * FROM stedi.ingest()');
SELECT * FROM pg_temp.try('SELECT * FROM stedi.refresh()');
SELECT * FROM pg_temp.try('SELECT stedi.attach(''s3://elsewhere/'')');
SELECT * FROM pg_temp.try('DELETE FROM stedi.object');
SELECT * FROM pg_temp.try('INSERT INTO stedi.object (target, uri, etag, size, status) VALUES (''regress_engineer.own'', ''x'', ''x'', 0, ''loaded'')');

-- What he puts into his search_path is not run with the owner's rights.
CREATE FUNCTION regress_engineer.grab(text, text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	IF current_user <> 'regress_engineer' THEN RAISE EXCEPTION 'run as %', current_user; END IF;
	RETURN $1 OPERATOR(pg_catalog.=) $2;
END
$$;
CREATE OPERATOR regress_engineer.= (LEFTARG = text, RIGHTARG = text, FUNCTION = regress_engineer.grab);
CREATE FUNCTION regress_engineer.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'run as %', current_user; END $$;
CREATE TABLE regress_engineer.who (a integer, "user" text DEFAULT current_user, record_id bigint);
CREATE FUNCTION regress_engineer.look() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	NEW."user" := NEW."user" || ', ' || current_user;
	RETURN NEW;
END
$$;
CREATE TRIGGER look BEFORE INSERT ON regress_engineer.who FOR EACH ROW EXECUTE FUNCTION regress_engineer.look();
SET search_path = regress_engineer, pg_catalog;
SELECT status, rows_loaded FROM stedi.load('who', :'uri' || 'own.json');
SELECT status, rows_loaded FROM stedi.load('who', :'uri' || 'own.json', force => true);
SELECT a, "user" FROM who;
RESET search_path;
RESET ROLE;

--
-- The data scientist sees the training data.
--
GRANT SELECT ON stedi.machine_learning_curated TO regress_scientist;
SET ROLE regress_scientist;
SELECT distance_from_object, x FROM stedi.machine_learning_curated;
SELECT t, e FROM unnest(ARRAY['customer_landing', 'accelerometer_landing', 'step_trainer_landing', 'customer_trusted', 'accelerometer_trusted', 'customers_curated',
				  'device_owner', 'step_trainer_trusted', 'step_trainer_unattributed', 'object', 'reject', 'source', 'policy', 'pseudonym_key', 'zone', 'status']) AS t,
	 pg_temp.try('SELECT * FROM stedi.' || t) AS e;
SELECT c, e FROM unnest(ARRAY['stedi.pseudonym(''subject'', ''ann@example.com'')', 'stedi.provenance(1)', 'stedi.policy(''rules'')', 'stedi.refresh()', 'stedi.ingest()',
				  'stedi.list_objects(''file:///tmp/'')', 'stedi.read_json(''file:///tmp/'')', 'stedi.export(''stedi.machine_learning_curated'', ''file:///tmp/'')']) AS c,
	 pg_temp.try('SELECT ' || c) AS e;
-- the right to a function is not the right to a file, or to a server
RESET ROLE;
GRANT EXECUTE ON FUNCTION stedi.list_objects, stedi.read_json(text, text, text), stedi.export_query TO regress_scientist;
SET ROLE regress_scientist;
SELECT * FROM regress.error('SELECT * FROM stedi.list_objects(''file:///etc/passwd'')');
SELECT * FROM regress.error('SELECT * FROM stedi.read_json(''file:///etc/passwd'')');
SELECT * FROM regress.error('SELECT * FROM stedi.export_query(''SELECT 1'', ''file:///tmp/regress/'')');
SELECT * FROM regress.error('SELECT * FROM stedi.list_objects(''s3://bucket/'')') LIMIT 1;
RESET ROLE;

\set VERBOSITY terse
DROP SCHEMA regress_engineer CASCADE;
DROP OWNED BY regress_operator, regress_engineer, regress_scientist;
DROP ROLE regress_operator, regress_engineer, regress_scientist;
DELETE FROM stedi.source;
DELETE FROM stedi.export_target;
