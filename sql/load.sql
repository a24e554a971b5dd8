--
-- load(): from JSON values to columns of any table.
--
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
SET intervalstyle = 'postgres';
CALL regress.make_directory('load');

-- Load a text into a table, from an object that is new.
CREATE SEQUENCE pg_temp.object_no;
CREATE FUNCTION pg_temp.load(target regclass, content text, on_error text DEFAULT 'reject',
							 OUT status text, OUT parsed bigint, OUT loaded bigint, OUT rejected bigint, OUT first_error text)
RETURNS SETOF record LANGUAGE plpgsql AS $$
DECLARE
	path text := format('load/%s.json', nextval('pg_temp.object_no'));
BEGIN
	CALL regress.put(path, content);
	RETURN QUERY SELECT r.status, r.rows_parsed, r.rows_loaded, r.rows_rejected, r.first_error
				 FROM stedi.load(target, regress.uri(path), on_error => load.on_error) AS r;
END
$$;

-- One JSON value into one column of a type: what is stored, or why not.
CREATE FUNCTION pg_temp.cast_all(type text, VARIADIC vals text[])
RETURNS TABLE (value text, stored text, error text) LANGUAGE plpgsql AS $$
DECLARE
	v text;
	r record;
BEGIN
	EXECUTE format('CREATE TABLE one (v %s)', type);
	FOREACH v IN ARRAY vals LOOP
		value := v;
		TRUNCATE one;
		SELECT * INTO r FROM pg_temp.load('one', format('{"v":%s}', v));
		SELECT o.v::text INTO stored FROM one AS o;
		error := NULL;
		IF r.rejected > 0 THEN
			SELECT j.sqlstate || ' ' || j.message INTO error
			FROM stedi.reject AS j ORDER BY j.object_id DESC LIMIT 1;
		END IF;
		RETURN NEXT;
	END LOOP;
	DROP TABLE one;
END
$$;
\pset null '(null)'

-- Into text: strings as they are, the rest by its JSON text.
SELECT * FROM pg_temp.cast_all('text', '"a"', '""', '" \u00e9\n"', '1', '1.50', '1E+2', '-0', '12345678901234567890123',
							   'true', 'false', 'null', '{"b": 1,"a":[ ]}', '[1, 2]', '"\u0000"');
SELECT * FROM pg_temp.cast_all('varchar(3)', '"abc"', '"abcd"', '"abc "', '123', '1234', 'true');
SELECT * FROM pg_temp.cast_all('char(3)', '"a"', '"abcd"');
SELECT * FROM pg_temp.cast_all('name', '"a"');

-- Into integers: any number that is integral, and strings that parse as one.
SELECT * FROM pg_temp.cast_all('integer', '1', '-1', '0', '-0', '1.0', '1e3', '1.5e1', '1000e-3', '2147483647', '-2147483648',
							   '2147483648', '-2147483649', '1e10', '1e400', '1.5', '1e-1', '"1"', '"-1"', '"1.0"', '"1e3"',
							   '""', '"x"', '"1x"', 'true', '[1]', '{}', 'null');
-- strings, too, have to be JSON numbers
SELECT * FROM pg_temp.cast_all('integer', '" 1 "', '"+1"', '"007"');
SELECT * FROM pg_temp.cast_all('bigint', '9223372036854775807', '-9223372036854775808', '9223372036854775808', '1655564376361.0',
							   '9223372036854775807.0', '9.223372036854775807e18', '1e18', '1e19', '"9223372036854775807"', '0.1', '12345678901234567890.5');
SELECT * FROM pg_temp.cast_all('smallint', '32767', '32768', '-32768', '-32769', '3.2767e4', '"32768"');

-- Into floating point and numeric.
SELECT * FROM pg_temp.cast_all('double precision', '0.1', '1', '-0.0', '1e308', '1e309', '5e-324', '1e-400', '9007199254740993',
							   '"0.5"', '"NaN"', '"Infinity"', '"-inf"', '"x"', 'true');
SELECT * FROM pg_temp.cast_all('real', '0.1', '1e39', '"0.5"');
SELECT * FROM pg_temp.cast_all('numeric', '0.10', '1e3', '12345678901234567890.123', '"1.5"', '"x"', 'true');
SELECT * FROM pg_temp.cast_all('numeric(5,2)', '1.005', '999.99', '1000', '"1.5"');

-- Into boolean.
SELECT * FROM pg_temp.cast_all('boolean', 'true', 'false', '"t"', '"no"', '"TRUE"', '1', '0', '2', '"maybe"', 'null');

-- Into dates.
SELECT * FROM pg_temp.cast_all('date', '"1961-02-28"', '"2000-02-29"', '"1900-02-29"', '"1961-02-30"', '"1961-13-01"', '"0000-01-01"', '"02/28/1961"', '"Feb 28 1961"',
							   '"19610228"', '"infinity"', '"x"', '""', 'true', 'null');

-- Into timestamps: a number is milliseconds since 1970, fractions down to microseconds.
SELECT * FROM pg_temp.cast_all('timestamptz', '0', '-1', '1655564376361', '1655564376361.0', '1.655564376361e12', '1655564376361.5', '1655564376361.001', '1655564376361.999999',
							   '-0.001', '"2022-06-18 14:59:36.361+00"', '"2022-06-18T14:59:36.361Z"', '"2022-06-18T16:59:36+02:00"', '"2022-06-18"', '"infinity"',
							   '253402300799999.999', '9e15', '9223372036854775807', '1e300', '-210866803200000', '-210866803200001', '"x"', '""', 'true', 'null');
SELECT * FROM pg_temp.cast_all('timestamp', '1655564376361', '"2022-06-18 14:59:36.361"');
SELECT * FROM pg_temp.cast_all('timestamptz(0)', '"2022-06-18T14:59:36.500Z"');
-- a precision rounds, and does not change what a number means
SELECT * FROM pg_temp.cast_all('timestamptz(3)', '1655564376361', '1655564376361.5');
SELECT * FROM pg_temp.cast_all('timestamp(0)', '1655564376361');
-- epoch milliseconds are an instant: the session's time zone does not move them
SET timezone = 'America/New_York';
SELECT * FROM pg_temp.cast_all('timestamptz', '0');
SELECT * FROM pg_temp.cast_all('timestamp', '0');
SET timezone = 'UTC';
-- dates mean the same under every DateStyle
SET datestyle = 'SQL, DMY';
SELECT * FROM pg_temp.cast_all('date', '"1961-02-03"');
SET datestyle = 'ISO, MDY';

-- Into JSON.
SELECT * FROM pg_temp.cast_all('jsonb', '{"b": 1,"a":[ ]}', '"a\"\u00e9"', '1.50', 'true', 'null', '{"a":null}', '"\u0000"', '["\u0000"]');
SELECT * FROM pg_temp.cast_all('json', '{"b": 1,"a":[ ]}', '"a\"\u00e9"', '1.50', 'null');

-- Into anything else by its input function.
SELECT * FROM pg_temp.cast_all('uuid', '"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"', '"x"', '1');
SELECT * FROM pg_temp.cast_all('inet', '"10.0.0.1"', '"x"');
SELECT * FROM pg_temp.cast_all('bytea', '"\\x00ff"', '"a"');
SELECT * FROM pg_temp.cast_all('interval', '"1 day"', '"x"');
SELECT * FROM pg_temp.cast_all('integer[]', '"{1,2}"', '"{1,x}"', '"{1"');
SELECT * FROM pg_temp.cast_all('text[]', '"{a,b}"');
CREATE TYPE mood AS ENUM ('sad', 'ok');
SELECT * FROM pg_temp.cast_all('mood', '"ok"', '"happy"');
CREATE TYPE pair AS (a integer, b text);
SELECT * FROM pg_temp.cast_all('pair', '"(1,x)"', '"(x,1)"');

-- Domains.
CREATE DOMAIN positive AS integer CHECK (VALUE > 0);
CREATE DOMAIN required AS text NOT NULL;
CREATE DOMAIN moment AS timestamptz;
CREATE DOMAIN label AS varchar(3);
SELECT * FROM pg_temp.cast_all('positive', '1', '1.0', '"1"', '0', '"x"', '3000000000', 'null');
SELECT * FROM pg_temp.cast_all('required', '"a"', 'null');
SELECT * FROM pg_temp.cast_all('moment', '1655564376361', '"2022-06-18T14:59:36.361Z"');
SELECT * FROM pg_temp.cast_all('label', '"abc"', '"abcd"', '123');

--
-- Whole records.
--
-- A missing key is the default, where there is one; null is NULL.
CREATE TABLE defaults (a integer, b integer DEFAULT 7, c text DEFAULT 'c' NOT NULL, d text NOT NULL, n serial);
SELECT * FROM pg_temp.load('defaults', E'{"a":1,"b":2,"c":"x","d":"y"}\n{"d":"y"}\n{"b":null,"d":"y"}\n{"c":null,"d":"y"}\n{"a":1}\n{"d":null}\n');
SELECT * FROM defaults;
SELECT record_no, column_name, sqlstate, message FROM stedi.reject ORDER BY object_id DESC, record_no LIMIT 3;
-- A domain's default counts as the column's.
CREATE DOMAIN answer AS integer DEFAULT 42 NOT NULL;
CREATE TABLE domain_default (a answer, b integer);
SELECT * FROM pg_temp.load('domain_default', E'{"b":1}\n{"a":null,"b":2}\n');
SELECT * FROM domain_default;

-- Keys match without case and underscores; the last duplicate wins; what
-- matches no column goes to "rescued", or away.
CREATE TABLE keys (serial_number text, "timeStamp" bigint, rescued jsonb);
SELECT * FROM pg_temp.load('keys', E'{"serialNumber":"a","timestamp":1}\n{"serialnumber":"b","time_stamp":2}\n{"SERIAL_NUMBER":"c","timeStamp":3}\n'
						   '{"serialNumber":"x","serial_number":"d","more":1,"other_thing":{"k":"v"}}\n'
						   '{"rescued":1,"serial-number":"e"}\n'
						   '{"serial\\u005fnumber":"f"}\n'
						   '{"more":1,"more":2}\n');
SELECT * FROM keys;
CREATE TABLE no_rescue (a integer);
SELECT * FROM pg_temp.load('no_rescue', '{"a":1,"b":2}');
SELECT * FROM no_rescue;

-- Dropped columns, and a target that is quoted.
CREATE SCHEMA "Regress Load";
CREATE TABLE "Regress Load"."Strange ""Name" ("A b" integer, gone text, c text);
ALTER TABLE "Regress Load"."Strange ""Name" DROP COLUMN gone;
SELECT * FROM pg_temp.load('"Regress Load"."Strange ""Name"', '{"a b":1,"c":"x","gone":2}');
SELECT * FROM "Regress Load"."Strange ""Name";
DROP TABLE "Regress Load"."Strange ""Name";
DROP SCHEMA "Regress Load";

-- A table without columns takes records.
CREATE TABLE nothing ();
SELECT * FROM pg_temp.load('nothing', E'{"a":1}\n{}\n');
SELECT count(*) FROM nothing;

-- Identity and generated columns.
CREATE TABLE generated (
	i integer GENERATED ALWAYS AS IDENTITY,
	d integer GENERATED BY DEFAULT AS IDENTITY (START 100),
	a integer,
	twice integer GENERATED ALWAYS AS (a * 2) STORED
);
SELECT * FROM pg_temp.load('generated', E'{"a":1}\n{"a":2,"d":50}\n{"a":3,"twice":1}\n{"a":2000000000}\n');
SELECT * FROM generated ORDER BY a;
-- an identity that the record brings along stays, as in COPY
SELECT * FROM pg_temp.load('generated', '{"a":5,"i":77}');
SELECT a FROM generated WHERE i = 77;

-- Constraints: a record that breaks one is a reject.
CREATE TABLE parent (id integer PRIMARY KEY);
INSERT INTO parent VALUES (1), (2);
CREATE TABLE checked (
	id integer UNIQUE,
	parent integer REFERENCES parent,
	positive integer CONSTRAINT positive CHECK (positive > 0),
	during int4range,
	EXCLUDE USING gist (during WITH &&)
);
SELECT * FROM pg_temp.load('checked', E'{"id":1,"parent":1,"positive":1,"during":"[1,5)"}\n{"id":1}\n{"id":2,"positive":0}\n{"id":3,"parent":2}\n{"id":4,"during":"[4,6)"}\n{"id":5}\n');
SELECT * FROM checked ORDER BY id;
SELECT record_no, column_name, sqlstate, message FROM stedi.reject ORDER BY object_id DESC, record_no LIMIT 3;
-- A foreign key is checked when the statement ends.
SELECT * FROM pg_temp.load('checked', E'{"id":6,"parent":1}\n{"id":7,"parent":9}\n');
SELECT id, parent FROM checked WHERE id >= 6;
-- With stop they are errors, as in COPY.
SELECT * FROM regress.error($$SELECT * FROM pg_temp.load('checked', E'{"id":8}\n{"id":8}\n', 'stop')$$) WHERE error !~ '^CONTEXT';
SELECT * FROM regress.error($$SELECT * FROM pg_temp.load('checked', E'{"id":8}\n{"id":9,"positive":0}\n', 'stop')$$) WHERE error !~ '^CONTEXT';
SELECT count(*) FROM checked WHERE id >= 8;

-- Triggers run, may change a row, drop it, or refuse it.
CREATE TABLE triggered (a integer, note text);
CREATE FUNCTION pg_temp.look() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	CASE NEW.a
		WHEN 1 THEN NEW.note := 'changed';
		WHEN 2 THEN RETURN NULL;
		WHEN 3 THEN RAISE EXCEPTION 'three is refused';
		WHEN 4 THEN RAISE EXCEPTION 'four is refused' USING ERRCODE = 'check_violation';
		ELSE
	END CASE;
	RETURN NEW;
END
$$;
CREATE TRIGGER look BEFORE INSERT ON triggered FOR EACH ROW EXECUTE FUNCTION pg_temp.look();
SELECT * FROM pg_temp.load('triggered', E'{"a":1}\n{"a":2}\n{"a":3}\n{"a":4}\n{"a":5}\n');
SELECT * FROM triggered;
SELECT record_no, sqlstate, message FROM stedi.reject ORDER BY object_id DESC, record_no LIMIT 2;
SELECT * FROM regress.error($$SELECT * FROM pg_temp.load('triggered', E'{"a":5}\n{"a":3}\n', 'stop')$$) WHERE error !~ '^CONTEXT';

-- Partitioned tables; a row that no partition takes is a reject.
CREATE TABLE parted (a integer, b text, record_id bigint) PARTITION BY RANGE (a);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (10) TO (20);
SELECT * FROM pg_temp.load('parted', E'{"a":1}\n{"a":11}\n{"a":21}\n{"b":"x"}\n');
SELECT tableoid::regclass, a, record_id & 4294967295 AS record_no FROM parted ORDER BY a;
SELECT record_no, sqlstate, message FROM stedi.reject ORDER BY object_id DESC, record_no LIMIT 2;
-- a partition, too, guards its bounds
SELECT * FROM pg_temp.load('parted_1', E'{"a":2}\n{"a":12}\n');
SELECT a FROM parted_1 ORDER BY a;

-- Views: simple ones, and with an INSTEAD OF trigger.
CREATE TABLE base (a integer, b text);
CREATE VIEW updatable AS SELECT a FROM base WHERE a > 0 WITH CHECK OPTION;
SELECT * FROM pg_temp.load('updatable', E'{"a":1}\n{"a":-1}\n');
CREATE VIEW instead AS SELECT a, b FROM base LIMIT 100;
CREATE FUNCTION pg_temp.instead() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO base VALUES (NEW.a, 'instead');
	RETURN NEW;
END
$$;
CREATE TRIGGER instead INSTEAD OF INSERT ON instead FOR EACH ROW EXECUTE FUNCTION pg_temp.instead();
SELECT * FROM pg_temp.load('instead', E'{"a":2}\n');
SELECT * FROM base ORDER BY a;
-- What cannot be inserted into.
CREATE VIEW fixed AS SELECT 1 AS a;
SELECT * FROM regress.error($$SELECT * FROM pg_temp.load('fixed', '{"a":1}')$$) LIMIT 1;
CREATE MATERIALIZED VIEW frozen AS SELECT 1 AS a;
SELECT * FROM regress.error($$SELECT * FROM pg_temp.load('frozen', '{"a":1}')$$) LIMIT 1;
CREATE SEQUENCE counter;
SELECT * FROM regress.error($$SELECT * FROM pg_temp.load('counter', '{"last_value":1,"log_cnt":0,"is_called":true}')$$) LIMIT 1;
CREATE INDEX base_a_idx ON base (a);
SELECT left(error, 5) AS sqlstate FROM regress.error($$SELECT * FROM pg_temp.load('base_a_idx', '{"a":1}')$$) LIMIT 1;
-- temporary and unlogged tables
CREATE TEMP TABLE temporary (a integer);
SELECT * FROM pg_temp.load('temporary', '{"a":1}');
CREATE UNLOGGED TABLE unlogged (a integer);
SELECT * FROM pg_temp.load('unlogged', '{"a":1}');
SELECT (SELECT count(*) FROM temporary) AS temporary, (SELECT count(*) FROM unlogged) AS unlogged;

-- Row security: what its policy refuses is an error, not a reject, as nobody can
-- tell it from a missing privilege; who bypasses it is not asked.
CREATE TABLE secured (a integer, record_id bigint);
ALTER TABLE secured ENABLE ROW LEVEL SECURITY;
CREATE POLICY small ON secured FOR ALL USING (true) WITH CHECK (a < 10);
CREATE ROLE regress_loader;
GRANT USAGE ON SCHEMA stedi TO regress_loader;
GRANT EXECUTE ON FUNCTION stedi.load TO regress_loader;
GRANT INSERT, SELECT, DELETE ON secured TO regress_loader;
GRANT pg_read_server_files TO regress_loader;
CALL regress.put('load/secured.json', E'{"a":1}\n{"a":11}\n');
SELECT regress.uri('load/secured.json') AS secured_uri \gset
SET ROLE regress_loader;
SELECT * FROM regress.error(format('SELECT * FROM stedi.load(''secured'', %L, on_error => ''reject'')', :'secured_uri'));
RESET ROLE;
SELECT count(*) FROM secured;
SELECT count(*) FROM stedi.object WHERE target = 'secured'::regclass;
CALL regress.put('load/secured.json', E'{"a":1}\n');
SET ROLE regress_loader;
SELECT status, rows_loaded, rows_rejected FROM stedi.load('secured', :'secured_uri', on_error => 'reject');
RESET ROLE;
CALL regress.put('load/secured.json', E'{"a":1}\n{"a":11}\n');
SELECT status, rows_loaded, rows_rejected FROM stedi.load('secured', :'secured_uri');
SELECT a FROM secured ORDER BY a;

-- Indexes are kept up, expression and partial ones too.
CREATE TABLE indexed (a integer, b text);
CREATE INDEX ON indexed (a);
CREATE INDEX ON indexed (lower(b)) WHERE a > 0;
CREATE INDEX ON indexed USING brin (a);
SELECT status, parsed, loaded FROM pg_temp.load('indexed', (SELECT string_agg(format('{"a":%s,"b":"B%s"}', i, i), E'\n') FROM generate_series(1, 2500) AS i));
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SELECT * FROM indexed WHERE a = 2500;
SELECT a FROM indexed WHERE lower(b) = 'b1234' AND a > 0;
RESET enable_seqscan;
RESET enable_bitmapscan;
SELECT count(*), count(DISTINCT a), sum(a) FROM indexed;
-- Large values, that are stored out of line.
CREATE TABLE large (a text);
SELECT status, parsed, loaded FROM pg_temp.load('large', (SELECT string_agg(format('{"a":"%s"}', r), E'\n')
	FROM (SELECT string_agg(md5((g * 10000 + i)::text), '') AS r FROM generate_series(1, 3) AS g, generate_series(1, 3000) AS i GROUP BY g) AS x));
SELECT length(a) FROM large;

--
-- Arguments.
--
CREATE TABLE numbers (a integer, record_id bigint);
CALL regress.make_directory('load/n');
CALL regress.put('load/n/1.json', E'{"a":1}\n{"a":2}\n');
CALL regress.put('load/n/2.json', E'{"a":3}\n{"a":"x"}\n{"a":4}\n');
CALL regress.put('load/n/3.json', E'{"a":5}\n');
SELECT regress.uri('load/n/') AS uri \gset
CREATE FUNCTION pg_temp.with_options(options text) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT regress.error(format('SELECT * FROM stedi.load(''numbers'', %L, %s)', regress.uri('load/n/'), options));
$$;
SELECT * FROM pg_temp.with_options('on_error => ''ignore''');
SELECT * FROM pg_temp.with_options('format => ''csv''');
SELECT * FROM pg_temp.with_options('compression => ''lz4''');
SELECT * FROM pg_temp.with_options('max_bytes => ''much''');
SELECT left(e, 5) FROM pg_temp.with_options('max_objects => -1') AS e LIMIT 1;
SELECT left(e, 5) FROM pg_temp.with_options('max_objects => 0') AS e LIMIT 1;
SELECT left(e, 5) FROM pg_temp.with_options('reject_limit => -1') AS e LIMIT 1;
SELECT left(e, 5) FROM pg_temp.with_options('max_bytes => ''-1''') AS e LIMIT 1;
SELECT * FROM regress.error($$SELECT * FROM stedi.load(NULL, 'file:///tmp/')$$);
SELECT * FROM regress.error($$SELECT * FROM stedi.load('numbers', NULL)$$);
SELECT * FROM regress.error(format('SELECT * FROM stedi.load(''numbers'', %L)', regress.uri('load/n/none*')));
SELECT * FROM regress.error(format('SELECT * FROM stedi.load(''numbers'', %L)', regress.uri('load/n/none.json')));

-- dry_run: reads and checks, changes nothing.
SELECT regress.clean(uri) AS uri, status, rows_parsed, rows_loaded, rows_rejected, bytes, first_error
FROM stedi.load('numbers', :'uri', on_error => 'reject', dry_run => true);
SELECT count(*) FROM numbers;
SELECT count(*) FROM stedi.object WHERE target = 'numbers'::regclass;
SELECT * FROM pg_temp.with_options('dry_run => true');

-- stop: nothing at all is loaded.  The session goes on as after any error.
SELECT * FROM pg_temp.with_options('on_error => ''stop''');
\set VERBOSITY sqlstate
SELECT count(*) FROM stedi.load('numbers', :'uri');
\set VERBOSITY default
SELECT count(*) FROM numbers;
BEGIN;
SAVEPOINT before;
\set VERBOSITY sqlstate
SELECT count(*) FROM stedi.load('numbers', :'uri');
SELECT 1;
\set VERBOSITY default
ROLLBACK TO before;
SELECT count(*) FROM numbers;
COMMIT;
SELECT count(*) FROM stedi.object WHERE target = 'numbers'::regclass;

-- skip_object: nothing of the object, all of the others.
SELECT regress.clean(uri) AS uri, status, rows_parsed, rows_loaded, rows_rejected, first_error
FROM stedi.load('numbers', :'uri', on_error => 'skip_object');
SELECT a FROM numbers ORDER BY a;
SELECT count(*) FROM stedi.reject AS r JOIN stedi.object AS o USING (object_id) WHERE o.target = 'numbers'::regclass;

-- reject, with a limit: the failed object is tried again.
SELECT regress.clean(uri) AS uri, status, rows_loaded, rows_rejected, first_error
FROM stedi.load('numbers', :'uri', on_error => 'REJECT', reject_limit => 0);
SELECT count(*) FROM stedi.reject AS r JOIN stedi.object AS o USING (object_id) WHERE o.target = 'numbers'::regclass;
SELECT regress.clean(uri) AS uri, status, rows_loaded, rows_rejected, first_error
FROM stedi.load('numbers', :'uri', on_error => 'reject', reject_limit => 1);
SELECT a FROM numbers ORDER BY a;
-- and then there is nothing to do
SELECT count(*) FROM stedi.load('numbers', :'uri', on_error => 'reject');

-- max_objects and max_bytes bound one call; one object is always taken.
TRUNCATE numbers;
CREATE TABLE bounded (LIKE numbers);
SELECT regress.clean(uri) AS uri, status FROM stedi.load('bounded', :'uri', on_error => 'reject', max_objects => 2);
SELECT regress.clean(uri) AS uri, status FROM stedi.load('bounded', :'uri', on_error => 'reject', max_objects => 2);
SELECT regress.clean(uri) AS uri, status FROM stedi.load('bounded', :'uri', on_error => 'reject', max_objects => 2);
TRUNCATE bounded;
CREATE TABLE bounded_bytes (LIKE numbers);
SELECT regress.clean(uri) AS uri, status FROM stedi.load('bounded_bytes', :'uri', on_error => 'reject', max_bytes => '1');
SELECT regress.clean(uri) AS uri, status FROM stedi.load('bounded_bytes', :'uri', on_error => 'reject', max_bytes => '36 bytes');
SELECT count(*) FROM stedi.load('bounded_bytes', :'uri', on_error => 'reject', max_bytes => '1kB');

-- Two targets do not know of each other.
SELECT count(*) FROM bounded_bytes;

-- Objects without records.
CALL regress.put('load/n/empty.json', '');
SELECT regress.clean(uri) AS uri, status, rows_parsed, rows_loaded, bytes FROM stedi.load('bounded', :'uri', on_error => 'reject');

-- Aliases.
CREATE TABLE aliased (email text, rescued jsonb);
CALL regress.put('load/aliased.json', E'{"user":"a@example.com","User":"b@example.com"}\n{"e_mail":"c@example.com"}\n');
SELECT status FROM stedi.load('aliased', regress.uri('load/aliased.json'), aliases => '{"user": "email"}');
SELECT * FROM aliased;
SELECT * FROM regress.error(format('SELECT * FROM stedi.load(''numbers'', %L, aliases => ''{"id": "record_id"}'')', :'uri'));

-- Values of every kind, with NULLs between them, lie in a row as an INSERT puts them.
CREATE TABLE laid_out (a bool, b "char", c int2, d bool, e int8, f text, g uuid, h bool, i name, j int4, k bool,
					   l float8, m text, n numeric, o text, p int[], q text, r bool);
ALTER TABLE laid_out ALTER q SET STORAGE PLAIN;
CALL regress.put('load/laid_out.json',
	'{"a":true,"b":"x","c":2,"d":true,"e":5,"f":"short","g":"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11","h":true,"i":"name","j":4,"k":true,'
	|| '"l":0.5,"m":"' || repeat('long ', 50) || '","n":1.25,"o":"' || repeat('toast', 50000) || '","p":"{1,2}","q":"plain","r":true}'
	|| '{"a":true,"d":false,"f":"","h":true,"j":4,"l":0.5,"n":1,"p":"{}","r":true}'
	|| '{"b":"x","c":2,"e":5,"g":"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11","i":"name","k":true,"m":"","o":"o","q":""}{}{"f":"last"}');
SELECT status, rows_loaded FROM stedi.load('laid_out', regress.uri('load/laid_out.json'));
SELECT l.a, b, c, d, e, f, g, h, i, j, k, l.l, length(m) AS m, n, length(o) AS o, md5(o) = md5(repeat('toast', 50000)) AS same, p, q, r FROM laid_out AS l;
CREATE TABLE inserted (LIKE laid_out INCLUDING STORAGE);
INSERT INTO inserted SELECT * FROM laid_out;
SELECT count(*) AS rows_that_differ FROM (
	SELECT l.*::text, pg_column_size(f), pg_column_size(n), pg_column_size(o), pg_column_size(q) FROM laid_out AS l
	EXCEPT SELECT l.*::text, pg_column_size(f), pg_column_size(n), pg_column_size(o), pg_column_size(q) FROM inserted AS l) AS d;
DROP TABLE laid_out, inserted;

-- Pages: they are filled as INSERT fills them, those that were added for nothing are
-- used by the next load, and the ledger knows where the rows are.
CREATE TABLE paged (n integer, t text, record_id bigint);
SELECT string_agg(format('{"n":%s,"t":"%s"}', i, repeat('x', i % 50)), E'\n') AS content FROM generate_series(1, 50000) AS i \gset
SELECT loaded FROM generate_series(1, 5) AS i, LATERAL pg_temp.load('paged', :'content' || repeat(E'\n', i));
CREATE TABLE inserted AS SELECT * FROM paged;
SELECT count(*), count(DISTINCT record_id), sum(n), sum(length(t)) FROM paged;
SELECT pg_relation_size('paged') < 1.04 * pg_relation_size('inserted') AS is_full;
SELECT count(*) FROM stedi.object AS o,
	LATERAL (SELECT min(b), max(b) FROM paged, LATERAL (SELECT (ctid::text::point)[0] AS b) AS t WHERE record_id >> 32 = o.object_id) AS b
WHERE target = 'paged'::regclass AND first_block = b.min AND last_block = b.max;
DROP TABLE paged, inserted;
-- rows that are small once they are compressed
CREATE TABLE paged (t text);
SELECT loaded FROM pg_temp.load('paged', (SELECT string_agg(format('{"t":"%s%s"}', i, repeat('x', 3000)), E'\n') FROM generate_series(1, 2000) AS i));
CREATE TABLE inserted (t text);
INSERT INTO inserted SELECT i || repeat('x', 3000) FROM generate_series(1, 2000) AS i;
SELECT count(*) FROM (SELECT * FROM paged EXCEPT SELECT * FROM inserted) AS d;
SELECT count(DISTINCT (ctid::text::point)[0]) * current_setting('block_size')::integer <= pg_relation_size('inserted') AS is_full FROM paged;
DROP TABLE paged, inserted;

-- On the table itself, a load has no lock that INSERT does not have.
BEGIN;
SELECT count(*) FROM stedi.load('bounded', :'uri');
SELECT mode FROM pg_locks WHERE relation = 'bounded'::regclass AND pid = pg_backend_pid() ORDER BY mode;
ROLLBACK;

DROP TABLE defaults, domain_default, keys, no_rescue, nothing, generated, checked, parent, triggered, parted, secured, indexed, large,
	numbers, bounded, bounded_bytes, aliased, unlogged CASCADE;
\set VERBOSITY terse
DROP TABLE base CASCADE;
DROP VIEW fixed;
DROP MATERIALIZED VIEW frozen;
DROP SEQUENCE counter;
DROP DOMAIN positive, required, moment, label, answer;
DROP TYPE mood, pair;
DROP OWNED BY regress_loader;
DROP ROLE regress_loader;
