--
-- export() and export_query(): files that anybody can read, and that read back.
--
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
SET intervalstyle = 'postgres';
CALL regress.make_directory('export');

-- Export a query into a directory of its own; what is in the only file.
CREATE SEQUENCE pg_temp.export_no;
CREATE FUNCTION pg_temp.export(query text, options text DEFAULT '') RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	target text := regress.uri(format('export/%s/', nextval('pg_temp.export_no')));
	file text;
BEGIN
	EXECUTE format('SELECT uri FROM stedi.export_query(%L, %L %s)', query, target, options) INTO STRICT file;
	RETURN QUERY SELECT * FROM regexp_split_to_table(convert_from(pg_read_binary_file(substr(file, 8)), 'UTF8'), E'\n');
END
$$;

-- NDJSON: keys in the landing's spelling, timestamps as epoch milliseconds.
SELECT * FROM pg_temp.export($$SELECT 1 AS sensor_reading_time, 2 AS "timeStamp", 3 AS _x, 4 AS a_1, 5 AS a__b, 6 AS trailing_, 7 AS "Mixed_case", 8 AS é_à$$);
SELECT * FROM pg_temp.export('SELECT 1 AS sensor_reading_time, 2 AS _x', ', keys => ''column''');
SELECT * FROM pg_temp.export($$VALUES (1, 'a'), (2, NULL)$$);
SELECT * FROM pg_temp.export('SELECT FROM generate_series(1, 2)');
SELECT * FROM regress.error($$SELECT * FROM pg_temp.export('SELECT 1 AS a_b, 2 AS "aB"')$$);
SELECT * FROM regress.error($$SELECT * FROM pg_temp.export('SELECT 1 AS a, 2 AS a', ', keys => ''column''')$$);
SELECT * FROM pg_temp.export('SELECT 1 AS a_b, 2 AS "aB"', ', keys => ''column''');

SELECT * FROM pg_temp.export($$
	SELECT t FROM (VALUES (1, timestamptz '2022-06-18 15:00:44.103+00'), (2, '1970-01-01 00:00:00+00'), (3, '1969-12-31 23:59:59.999999+00'),
		(4, '2022-06-18 15:00:44.1035+00'), (5, '0001-01-01 00:00:00+00'), (6, '9999-12-31 23:59:59.999999+00'), (7, 'infinity'), (8, '-infinity')) AS v(n, t) ORDER BY n$$);
SELECT * FROM pg_temp.export($$SELECT timestamptz '2022-06-18 15:00:44.103+00' AS a, timestamptz 'infinity' AS b$$, ', timestamps => ''iso8601''');

-- Values.
SELECT * FROM pg_temp.export($$SELECT 32767::smallint AS a, -2147483648 AS b, 9223372036854775807 AS c, true AS d, false AS e, NULL::integer AS f$$);
SELECT * FROM pg_temp.export($$SELECT unnest(ARRAY['0.1', '1', '-0', '1e300', '5e-324', 'NaN', 'Infinity', '-Infinity']::float8[]) AS f$$);
SELECT * FROM pg_temp.export($$SELECT 0.1::real AS r, 'NaN'::real AS rn, 12345678901234567890.10 AS n, 'NaN'::numeric AS nn$$);
SELECT * FROM pg_temp.export($$SELECT E'quote " backslash \\ slash / newline \n tab \t return \r bell \x07 é 😀 \u2028' AS t$$);
SELECT * FROM pg_temp.export($$SELECT '{"b": [1, null], "a": "x"}'::jsonb AS b, E'{\n "a" : 1}'::json AS j, 'null'::jsonb AS n$$);
SELECT * FROM pg_temp.export($$SELECT ARRAY[1, NULL, 3] AS a, ARRAY['x', 'y "z"'] AS t, ARRAY[ARRAY[1, 2], ARRAY[3, 4]] AS m, '{}'::integer[] AS e$$);
SELECT * FROM pg_temp.export($$SELECT ROW(1, 'x') AS r, date '2022-06-18' AS d, timestamp '2022-06-18 15:00:44.103' AS ts, time '15:00' AS t, interval '1 day' AS i, uuid 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11' AS u, '\x00ff'::bytea AS b, int4range '[1,5)' AS g, inet '10.0.0.1' AS p$$);
CREATE DOMAIN centimetres AS integer;
CREATE DOMAIN moment AS timestamptz;
SELECT * FROM pg_temp.export($$SELECT 5::centimetres AS d, '2022-06-18 15:00:44.103+00'::moment AS m$$);

-- CSV.
SELECT * FROM pg_temp.export($$SELECT * FROM (VALUES (1, 'plain'), (2, 'a,b'), (3, 'quote "x"'), (4, E'two\nlines'), (5, ''), (6, NULL), (7, ' space'), (8, 'space '), (9, E'cr\r')) AS v(serial_number, t) ORDER BY 1$$, ', format => ''CSV''');
SELECT * FROM pg_temp.export($$SELECT timestamptz '2022-06-18 15:00:44.103+00' AS t, 0.1::float8 AS f, 'NaN'::float8 AS n, true AS b, '{"a": 1}'::jsonb AS j, ARRAY[1, 2] AS a$$, ', format => ''csv''');
SELECT * FROM pg_temp.export('SELECT 1 AS "a,b", 2 AS "c"', ', format => ''csv''');
SELECT * FROM pg_temp.export('SELECT 1 AS a WHERE false', ', format => ''csv''');

-- Zero rows still give a valid, empty export.
SELECT * FROM pg_temp.export('SELECT 1 AS a WHERE false');

-- What an export leaves: the file, a manifest, and _SUCCESS.
CREATE TABLE readings (subject text, sensor_reading_time timestamptz, gone integer, distance_from_object integer, x double precision);
ALTER TABLE readings DROP COLUMN gone;
INSERT INTO readings SELECT 's' || i % 3, timestamptz '2022-06-18 15:00:00+00' + i * interval '1 second', i, i / 10.0 FROM generate_series(1, 10) AS i;
SELECT regress.uri('export/readings/') AS uri \gset
SELECT regress.clean(uri) AS uri, rows, bytes, etag <> '' AS has_etag FROM stedi.export('readings', :'uri');
SELECT regress.clean(f) FROM regress.files('export/readings') AS f;
SELECT regress.get('export/readings/_SUCCESS') = '' AS success_is_empty;
CREATE FUNCTION pg_temp.manifest(path text) RETURNS jsonb LANGUAGE sql AS $$ SELECT regress.get(path || '/_manifest.json')::jsonb $$;
SELECT regress.clean(jsonb_pretty(m - '{created_at,run_id,snapshot}'::text[] #- '{objects,0,etag}')) AS manifest
FROM pg_temp.manifest('export/readings') AS m;
SELECT m->>'created_at' ~ '^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$' AS created_at,
	   m#>>'{objects,0,key}' = format('part-00000-%s.ndjson', m->>'run_id') AS run_id,
	   (SELECT array_agg(k ORDER BY k) FROM jsonb_object_keys(m->'snapshot') AS k) AS snapshot,
	   (m#>>'{snapshot,last_object_id}')::integer IS NOT DISTINCT FROM (SELECT max(object_id) FROM stedi.object) AS last_object_id,
	   m#>>'{objects,0,etag}' = (SELECT etag FROM stedi.list_objects(:'uri')) AS etag
FROM pg_temp.manifest('export/readings') AS m;
-- the rows read back; the manifest and _SUCCESS are not in the way
SELECT subject, sensor_reading_time, distance_from_object, x FROM stedi.read_json(NULL::readings, :'uri') EXCEPT TABLE readings;
TABLE readings EXCEPT SELECT subject, sensor_reading_time, distance_from_object, x FROM stedi.read_json(NULL::readings, :'uri');

-- A place that is not empty: fail, overwrite, append.
SELECT * FROM regress.error(format('SELECT * FROM stedi.export(''readings'', %L)', :'uri'));
SELECT rows FROM stedi.export('readings', :'uri', mode => 'append');
SELECT count(*) AS files FROM regress.files('export/readings') AS f WHERE f LIKE 'part-%';
SELECT m->'rows' AS rows, jsonb_array_length(m->'objects') AS objects FROM pg_temp.manifest('export/readings') AS m;
SELECT count(*) FROM stedi.read_json(:'uri');
CREATE TEMP TABLE before AS SELECT f FROM regress.files('export/readings') AS f WHERE f LIKE 'part-%';
SELECT rows FROM stedi.export_query('SELECT 1 AS a', :'uri', mode => 'overwrite');
SELECT count(*) AS files, count(*) FILTER (WHERE f IN (TABLE before)) AS old_files FROM regress.files('export/readings') AS f WHERE f LIKE 'part-%';
SELECT m->'rows' AS rows, jsonb_array_length(m->'objects') AS objects, m->>'source' AS source FROM pg_temp.manifest('export/readings') AS m;
SELECT value FROM stedi.read_json(:'uri');
-- overwrite leaves alone what no manifest lists, and says so
CALL regress.put('export/readings/foreign.json', '{"a":2}');
\set VERBOSITY sqlstate
SELECT rows FROM stedi.export('readings', :'uri', mode => 'overwrite');
\set VERBOSITY default
SELECT regress.clean(f) FROM regress.files('export/readings') AS f;
CALL regress.remove('export/readings/foreign.json');
-- files of an export that did not finish are in no manifest, and go
SELECT format('part-00000-%s-20220618T150000Z-00000000.ndjson', substring(m->>'run_id' FOR 8)) AS leftover FROM pg_temp.manifest('export/readings') AS m \gset
CALL regress.put('export/readings/' || :'leftover', '{"a":3}');
SELECT rows FROM stedi.export('readings', :'uri', mode => 'append');
SELECT count(*) AS files, count(*) FILTER (WHERE f = :'leftover') AS leftovers FROM regress.files('export/readings') AS f WHERE f LIKE 'part-%';
SELECT count(*) FROM stedi.read_json(:'uri');
-- another's files in an empty place are in the way as well
CALL regress.make_directory('export/foreign');
CALL regress.put('export/foreign/x.json', '{}');
SELECT left(e, 5) FROM regress.error(format('SELECT * FROM stedi.export(''readings'', %L)', regress.uri('export/foreign/'))) AS e LIMIT 1;
SELECT rows FROM stedi.export('readings', regress.uri('export/foreign/'), mode => 'append');
SELECT jsonb_array_length(m->'objects') AS objects FROM pg_temp.manifest('export/foreign') AS m;

-- An error takes back what was written, and leaves what was there.
SELECT * FROM regress.error(format('SELECT * FROM stedi.export_query(''SELECT 1 / (1000 - i) AS a FROM generate_series(1, 2000) AS i'', %L, max_file_size => ''1kB'', mode => ''overwrite'')', :'uri'));
SELECT count(*) FROM stedi.read_json(:'uri');
SELECT count(*) AS files FROM regress.files('export/readings') AS f;
SELECT * FROM regress.error(format('SELECT * FROM stedi.export_query(''SELECT 1 / (2 - i) FROM generate_series(1, 2) AS i'', %L)', regress.uri('export/none/')));
SELECT * FROM regress.files('export/none');

-- Exports that were finished are on record, and which of them were replaced.
SELECT source, regress.clean(uri) AS uri, files, rows, replaced_at IS NOT NULL AS replaced
FROM stedi.export_run WHERE uri = :'uri' ORDER BY exported_at;
SELECT count(*) FROM stedi.export_run WHERE uri = regress.uri('export/none/');

-- max_file_size is a maximum.
CREATE FUNCTION pg_temp.sizes(target text, options text) RETURNS TABLE (files bigint, rows numeric, largest bigint, smallest bigint) LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY EXECUTE format('SELECT count(*), sum(rows), max(bytes), min(rows) FROM stedi.export_query('
		'''SELECT i AS a FROM generate_series(1000, 1999) AS i'', %L %s)', regress.uri(target), options);
END
$$;
-- each line has 11 bytes
SELECT * FROM pg_temp.sizes('export/size-1/', ', max_file_size => ''1100''');
SELECT * FROM pg_temp.sizes('export/size-2/', ', max_file_size => ''1109 bytes''');
SELECT * FROM pg_temp.sizes('export/size-3/', ', max_file_size => ''1MB''');
-- a row that is larger gets a file of its own
SELECT count(*) AS files, min(rows) AS rows, max(bytes) AS largest
FROM stedi.export_query('SELECT repeat(''x'', i) AS a FROM generate_series(1, 20) AS i', regress.uri('export/size-4/'), max_file_size => '5');
-- the header counts, and every file has one
SELECT * FROM pg_temp.sizes('export/size-5/', ', format => ''csv'', max_file_size => ''502''');
SELECT count(*) FROM regress.files('export/size-5') AS f WHERE f LIKE 'part-%' AND regress.get('export/size-5/' || f) LIKE E'a\n____\n%';
SELECT count(*), count(DISTINCT value->'a'), sum((value->'a')::integer) FROM stedi.read_json(regress.uri('export/size-1/'));
SELECT string_agg(substring(f FOR 10), ' ' ORDER BY f) FROM regress.files('export/size-1') AS f WHERE f LIKE 'part-%';

-- Compression.
SELECT regress.clean(uri) AS uri, rows FROM stedi.export('readings', regress.uri('export/gzip/'), compression => 'gzip');
SELECT substring(pg_read_binary_file(regress.base() || 'export/gzip/' || f) FOR 2) AS magic FROM regress.files('export/gzip') AS f WHERE f LIKE 'part-%';
SELECT m->>'compression' AS compression, (m->'bytes')::bigint = (SELECT size FROM stedi.list_objects(regress.uri('export/gzip/'))) AS bytes
FROM pg_temp.manifest('export/gzip') AS m;
TABLE readings EXCEPT SELECT subject, sensor_reading_time, distance_from_object, x FROM stedi.read_json(NULL::readings, regress.uri('export/gzip/'));
SELECT regress.clean(uri) AS uri, rows FROM stedi.export_query('SELECT 1 WHERE false', regress.uri('export/gzip-empty/'), compression => 'gzip');
SELECT count(*) FROM stedi.read_json(regress.uri('export/gzip-empty/'));
SELECT regress.clean(uri) AS uri, rows FROM stedi.export('readings', regress.uri('export/zstd/'), compression => 'zstd');
SELECT substring(pg_read_binary_file(regress.base() || 'export/zstd/' || f) FOR 4) AS magic FROM regress.files('export/zstd') AS f WHERE f LIKE 'part-%.zst';
SELECT m->>'compression' AS compression FROM pg_temp.manifest('export/zstd') AS m;
TABLE readings EXCEPT SELECT subject, sensor_reading_time, distance_from_object, x FROM stedi.read_json(NULL::readings, regress.uri('export/zstd/'));
-- several chunks, compressed in threads, and files of bounded size
SELECT count(*), max(bytes) <= 500000 AS bounded, sum((bytes > 400000)::integer) >= count(*) - 1 AS filled, sum(rows) AS rows
FROM stedi.export_query('SELECT i, sha256(i::text::bytea) AS h FROM generate_series(1, 60000) AS i', regress.uri('export/gzip-size/'),
						compression => 'gzip', max_file_size => '500000');
SELECT count(*), count(DISTINCT value->'i'), bool_and(value->>'h' = sha256((value->>'i')::bytea)::text)
FROM stedi.read_json(regress.uri('export/gzip-size/'));

-- Numbers that are written without looking for their shortest text, and next to them.
SELECT regress.clean(uri) AS uri, rows FROM stedi.export_query($$
	SELECT f FROM unnest('{0,-0,1,-1,0.5,999999,1000000,-1000000,1000001,1000000.5,1e15,1e16,5e-324,-1.7976931348623157e308,NaN,Infinity,-Infinity}'::double precision[]) AS f
	$$, regress.uri('export/floats/'));
SELECT regress.get('export/floats/' || f) FROM regress.files('export/floats') AS f WHERE f LIKE 'part-%';

-- Whatever goes out comes back the same.
CREATE TABLE round_trip (i integer, b bigint, f double precision, n numeric, t text, d date, tz timestamptz, ts timestamp, o boolean, j jsonb, u uuid);
INSERT INTO round_trip VALUES
	(1, 9223372036854775807, 0.1, 1.50, E'a "b" \\ \n\t é 😀', '2022-06-18', '2022-06-18 15:00:44.103+00', '2022-06-18 15:00:44.103', true, '{"a": [1, 2.50]}', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'),
	(2, -9223372036854775808, 'NaN', 'NaN', '', '0001-01-01', '1969-12-31 23:59:59.999999+00', '1969-12-31 23:59:59.999999', false, '"x"', NULL),
	(3, 0, 'Infinity', 0, ' ', 'infinity', 'infinity', 'infinity', NULL, '[]', NULL),
	(4, 0, '-Infinity', 1e-10, 'null', '-infinity', '-infinity', '-infinity', NULL, '{}', NULL),
	(5, 0, 1.7976931348623157e308, 12345678901234567890.123456789, '{"a":1}', '9999-12-31', '0001-01-01 00:00:00.000001+00', '0001-01-01 00:00:00', NULL, 'true', NULL),
	(6, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
	(7, 0, 4.9e-324, 0, '', NULL, '9999-12-31 23:59:59.999999+00', '9999-12-31 23:59:59.999999', NULL, NULL, NULL);
SELECT rows FROM stedi.export('round_trip', regress.uri('export/round_trip/'));
SELECT i, tz, f FROM (SELECT * FROM stedi.read_json(NULL::round_trip, regress.uri('export/round_trip/')) EXCEPT TABLE round_trip) AS changed ORDER BY i;
SELECT count(*) FROM stedi.read_json(NULL::round_trip, regress.uri('export/round_trip/'));
SELECT rows FROM stedi.export('round_trip', regress.uri('export/round_trip_iso/'), timestamps => 'iso8601', keys => 'column');
SELECT i FROM (SELECT * FROM stedi.read_json(NULL::round_trip, regress.uri('export/round_trip_iso/')) EXCEPT TABLE round_trip) AS changed ORDER BY i;

-- Queries that do more than read are refused, and do nothing.
CREATE TABLE victim (a integer);
CREATE FUNCTION pg_temp.refused(query text) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT regress.error(format('SELECT * FROM stedi.export_query(%L, %L)', query, regress.uri('export/refused/')))
$$;
SELECT * FROM pg_temp.refused('INSERT INTO victim VALUES (1)');
SELECT * FROM pg_temp.refused('INSERT INTO victim VALUES (1) RETURNING a');
SELECT * FROM pg_temp.refused('WITH i AS (INSERT INTO victim VALUES (1) RETURNING a) SELECT * FROM i');
SELECT * FROM pg_temp.refused('UPDATE victim SET a = 1');
SELECT * FROM pg_temp.refused('DROP TABLE victim');
SELECT * FROM pg_temp.refused('SELECT 1 AS a INTO made');
SELECT * FROM pg_temp.refused('CREATE TABLE made AS SELECT 1');
SELECT * FROM pg_temp.refused('SELECT 1; DROP TABLE victim');
SELECT * FROM pg_temp.refused('COPY victim TO STDOUT');
SELECT * FROM pg_temp.refused('EXPLAIN SELECT 1');
SELECT * FROM pg_temp.refused('');
SELECT * FROM pg_temp.refused('SELEKT 1');
SELECT * FROM pg_temp.refused('SELECT * FROM nowhere');
SELECT * FROM pg_temp.refused('SELECT $1');
SELECT count(*) FROM victim;
SELECT to_regclass('made');
DROP TABLE victim;

-- Arguments.
CREATE FUNCTION pg_temp.with_options(options text) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT regress.error(format('SELECT * FROM stedi.export(''readings'', %L, %s)', regress.uri('export/options/'), options));
$$;
SELECT * FROM pg_temp.with_options('format => ''parquet''');
SELECT * FROM pg_temp.with_options('compression => ''brotli''');
SELECT * FROM pg_temp.with_options('compression => ''auto''');
SELECT * FROM pg_temp.with_options('mode => ''replace''');
SELECT * FROM pg_temp.with_options('keys => ''snake''');
SELECT * FROM pg_temp.with_options('timestamps => ''rfc3339''');
SELECT * FROM pg_temp.with_options('max_file_size => ''0''');
SELECT * FROM pg_temp.with_options('max_file_size => ''big''');
SELECT * FROM pg_temp.with_options('format => NULL');
SELECT * FROM regress.error($$SELECT * FROM stedi.export(NULL, 'file:///tmp/x/')$$);
SELECT * FROM regress.error($$SELECT * FROM stedi.export('readings', NULL)$$);
SELECT * FROM regress.error($$SELECT * FROM stedi.export_query(NULL, 'file:///tmp/x/')$$);

-- Tables, partitioned tables, views, materialized views; not what has no rows.
CREATE VIEW some_readings AS SELECT x FROM readings WHERE distance_from_object < 3;
CREATE MATERIALIZED VIEW kept_readings AS SELECT x FROM readings WHERE distance_from_object < 4;
CREATE TABLE parted (a integer) PARTITION BY LIST (a);
CREATE TABLE parted_1 PARTITION OF parted DEFAULT;
INSERT INTO parted VALUES (1), (2);
CREATE SCHEMA "Regress Export";
CREATE TABLE "Regress Export"."Strange ""Name" ("A b" integer);
SELECT rows FROM stedi.export('some_readings', regress.uri('export/view/'));
SELECT rows FROM stedi.export('kept_readings', regress.uri('export/matview/'));
SELECT rows FROM stedi.export('parted', regress.uri('export/parted/'));
SELECT rows FROM stedi.export('"Regress Export"."Strange ""Name"', regress.uri('export/strange/'));
SELECT m->>'source' AS source, m->'columns' AS columns FROM pg_temp.manifest('export/strange') AS m;
CREATE INDEX readings_x_idx ON readings (x);
SELECT left(e, 5) FROM regress.error(format('SELECT * FROM stedi.export(''readings_x_idx'', %L)', regress.uri('export/index/'))) AS e LIMIT 1;
DROP TABLE "Regress Export"."Strange ""Name";
DROP SCHEMA "Regress Export";

-- Rows of one's own transaction are seen; a large export is whole.
BEGIN;
INSERT INTO readings VALUES ('own', NULL, 0, 0);
SELECT rows FROM stedi.export('readings', regress.uri('export/own/'));
ROLLBACK;
SELECT rows, bytes FROM stedi.export_query('SELECT i, repeat(''x'', 100) AS t FROM generate_series(100000, 119999) AS i', regress.uri('export/large/'));
SELECT count(*), count(DISTINCT value->'i'), min(length(value->>'t')) FROM stedi.read_json(regress.uri('export/large/'));

-- A query that exports, too: elsewhere, not to the same place, which it may after it.
CREATE FUNCTION pg_temp.nested(place text) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT regress.error(format('SELECT * FROM stedi.export_query(%L, %L, max_file_size => ''1kB'')',
		format('SELECT i, repeat(''x'', 100), CASE WHEN i = 90 THEN'
			'(SELECT rows FROM stedi.export_query(''SELECT 1'', %L, mode => ''overwrite'')) END FROM generate_series(1, 100) AS i',
			regress.uri(place)),
		regress.uri('export/outer/')));
$$;
SELECT pg_temp.nested('export/outer/');
SELECT regress.files('export/outer');
BEGIN;
SELECT pg_temp.nested('export/inner/');
SELECT count(*) FROM stedi.read_json(regress.uri('export/outer/'));
SELECT count(*) FROM stedi.read_json(regress.uri('export/inner/'));
SELECT rows FROM stedi.export_query('SELECT 1', regress.uri('export/outer/'), mode => 'overwrite');
COMMIT;

DROP MATERIALIZED VIEW kept_readings;
DROP VIEW some_readings;
DROP TABLE readings, round_trip, parted;
DROP DOMAIN centimetres, moment;
