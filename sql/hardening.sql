--
-- What people try who do not mean well, and what happens at bad moments.
--
SET timezone = 'UTC';
CALL regress.make_directory('hardening');
CALL regress.make_directory('hardening/export');
CALL regress.put('hardening/a.json', '{"a":4702111234474983745,"b":1}');

-- A row type that is altered while a query reads into it.
CREATE TABLE altered (a text, b integer);
CREATE FUNCTION alter_it(u text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	ALTER TABLE altered ALTER a TYPE bigint USING a::bigint;
	RETURN u;
END
$$;
SELECT r.* FROM (SELECT alter_it(regress.uri('hardening/a.json')) AS u OFFSET 0) AS x,
	LATERAL stedi.read_json(NULL::altered, x.u) AS r;
DROP FUNCTION alter_it;
DROP TABLE altered;

-- An error inside of a load, caught or not, leaves the session as it was.
CREATE TABLE strict (a smallint);
SELECT * FROM regress.error(format('SELECT * FROM stedi.load(''strict'', %L)', regress.uri('hardening/a.json')));
BEGIN;
INSERT INTO strict VALUES (1);
SAVEPOINT before;
\set VERBOSITY sqlstate
SELECT * FROM stedi.load('strict', regress.uri('hardening/a.json'));
\set VERBOSITY default
ROLLBACK TO before;
COMMIT;
TABLE strict;
DROP TABLE strict;

-- A load sees what others have loaded since, or refuses.
CREATE TABLE seen (a bigint, record_id bigint);
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT * FROM stedi.load('seen', regress.uri('hardening/a.json'));
ROLLBACK;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT status FROM stedi.load('seen', regress.uri('hardening/a.json'), dry_run => true);
SELECT * FROM stedi.forget('nobody@example.com');
ROLLBACK;

-- A forced load that fails leaves what was loaded, and loaded it stays.
SELECT status, rows_loaded FROM stedi.load('seen', regress.uri('hardening/a.json'));
CALL regress.put('hardening/bad.json', 'bad');
SELECT status FROM stedi.load('seen', regress.uri('hardening/bad.json'), on_error => 'skip_object');
ALTER TABLE seen ADD CHECK (a < 0) NOT VALID;
SELECT status FROM stedi.load('seen', regress.uri('hardening/a.json'), force => true, on_error => 'skip_object');
SELECT status, rows FROM stedi.object WHERE target = 'seen'::regclass ORDER BY object_id;
SELECT count(*) FROM stedi.load('seen', regress.uri('hardening/a.json'));
SELECT count(*) FROM seen;
DROP TABLE seen;

-- NOT NULL and defaults hold for the rescued keys, and rules for all rows.
CREATE TABLE rescuer (a bigint, b integer, rescued jsonb NOT NULL DEFAULT '{}');
SELECT status FROM stedi.load('rescuer', regress.uri('hardening/a.json'));
ALTER TABLE rescuer ALTER rescued DROP DEFAULT;
SELECT status, first_error FROM stedi.load('rescuer', regress.uri('hardening/a.json'), force => true, on_error => 'reject');
TABLE rescuer;
CREATE TABLE ruled (a bigint);
CREATE RULE nothing AS ON INSERT TO ruled DO INSTEAD NOTHING;
SELECT status, rows_parsed, rows_loaded FROM stedi.load('ruled', regress.uri('hardening/a.json'));
SELECT count(*) FROM ruled;
DROP TABLE rescuer, ruled;

-- A manifest that names what no export has written does not get it removed.
CALL regress.put('hardening/export/precious.txt', 'precious');
CALL regress.put('hardening/export/_manifest.json', '{"format_version":1,"run_id":"x","created_at":"x","producer":"x","source":"x","format":"ndjson","compression":"none","rules":"x","rows":0,"bytes":0,"columns":[],"snapshot":null,
"objects":[{"key":"precious.txt","etag":"x","rows":0,"bytes":0},{"key":"_manifest.json","etag":"x","rows":0,"bytes":0},{"key":"_SUCCESS","etag":"x","rows":0,"bytes":0}]}');
SELECT rows FROM stedi.export_query('SELECT 1 AS a', regress.uri('hardening/export/'), mode => 'overwrite');
SELECT regress.clean(uri) AS uri FROM stedi.list_objects(regress.uri('hardening/export/'));
SELECT value->>'source' AS source FROM stedi.read_json(regress.uri('hardening/export/_manifest.json'));
SELECT count(*) FROM stedi.list_objects(regress.uri('hardening/export/_SUCCESS'));

-- One line per row, whatever white space a json value has.
SELECT rows FROM stedi.export_query($$SELECT ARRAY[json E'{"a":\n1}'] AS j, json E'{"b":\r\n2}' AS k$$, regress.uri('hardening/lines/'));
SELECT count(*), min(value->'j'->0->>'a') AS a, min(value->'k'->>'b') AS b FROM stedi.read_json(regress.uri('hardening/lines/'));
SELECT length(convert_from(content, 'UTF8')) - length(replace(convert_from(content, 'UTF8'), E'\n', '')) AS lines
FROM stedi.list_objects(regress.uri('hardening/lines/')) AS l, pg_read_binary_file(substr(l.uri, 8)) AS content;

-- What COPY would take for the end of the data is data.
SELECT rows FROM stedi.export_query($$SELECT '\.' AS a UNION ALL SELECT 'b'$$, regress.uri('hardening/csv/'), format => 'csv');
SELECT convert_from(content, 'UTF8') AS content
FROM stedi.list_objects(regress.uri('hardening/csv/')) AS l, pg_read_binary_file(substr(l.uri, 8)) AS content
WHERE l.uri LIKE '%.csv';

-- A server of somebody else does not draw away what others read and write.
CREATE ROLE regress_loader;
GRANT USAGE ON FOREIGN DATA WRAPPER stedi TO regress_loader;
CREATE SERVER regress_corp FOREIGN DATA WRAPPER stedi OPTIONS (scope 's3://regress-corp/', endpoint 'http://127.0.0.1:1', credentials 'anonymous');
SET ROLE regress_loader;
CREATE SERVER regress_evil FOREIGN DATA WRAPPER stedi OPTIONS (scope 's3://regress-corp/curated/', credentials 'mapping');
GRANT USAGE ON FOREIGN SERVER regress_evil TO PUBLIC;
RESET ROLE;
SET stedi.max_attempts = 1;
SELECT * FROM regress.error($$SELECT * FROM stedi.list_objects('s3://regress-corp/curated/')$$) LIMIT 1;
RESET stedi.max_attempts;
DROP SERVER regress_evil;
DROP SERVER regress_corp;
REVOKE USAGE ON FOREIGN DATA WRAPPER stedi FROM regress_loader;
DROP ROLE regress_loader;
DELETE FROM stedi.export_run;
