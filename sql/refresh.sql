--
-- refresh_zone(): what it shares with REFRESH MATERIALIZED VIEW, plain and concurrently;
-- and match_devices(), against the same thing in SQL.
--
SET client_min_messages = warning;
DROP ROLE IF EXISTS regress_owner, regress_other;
CREATE ROLE regress_owner;
CREATE ROLE regress_other;
GRANT USAGE ON SCHEMA stedi TO regress_owner, regress_other;
GRANT EXECUTE ON FUNCTION stedi.refresh_zone TO regress_owner, regress_other;
CREATE SCHEMA regress_zone;
GRANT USAGE, CREATE ON SCHEMA regress_zone TO regress_owner;
SET search_path = regress_zone, public;

-- Rows in many shapes: NULL keys (which a unique index takes more than once), equal
-- rows, long values in line and out of line.
SET ROLE regress_owner;
CREATE TABLE input (id int, name text, x float8, note text);
CREATE MATERIALIZED VIEW zone WITH (fillfactor = 50) AS SELECT * FROM input WITH NO DATA;
CREATE UNIQUE INDEX zone_id_key ON zone (id);
CREATE INDEX zone_lower_idx ON zone (lower(name)) WHERE id > 1;
CREATE VIEW above AS SELECT count(*), sum(id) FROM zone;
CREATE FUNCTION differs() RETURNS bigint LANGUAGE sql AS $$
	SELECT count(*) FROM ((TABLE input EXCEPT ALL TABLE zone) UNION ALL (TABLE zone EXCEPT ALL TABLE input)) AS d
$$;
INSERT INTO input
SELECT i, 'name ' || i, i / 3.0, repeat(md5(i::text), i % 100) FROM generate_series(1, 2000) AS i;
INSERT INTO input VALUES (NULL, 'none', NULL, NULL), (NULL, 'none', NULL, NULL), (NULL, NULL, '-0', '');
INSERT INTO input
SELECT -1, 'long', 'NaN', string_agg(md5(i::text), '') FROM generate_series(1, 1000) AS i;

-- Only what REFRESH would take, and only from its owner.
SELECT * FROM regress.error('SELECT stedi.refresh_zone(''zone'', true)');
SELECT ispopulated FROM pg_matviews WHERE matviewname = 'zone';
SELECT * FROM regress.error('SELECT stedi.refresh_zone(''input'')');
SELECT * FROM regress.error('SELECT stedi.refresh_zone(0)');
SET ROLE regress_other;
SELECT * FROM regress.error('SELECT stedi.refresh_zone(''regress_zone.zone'')');
SELECT * FROM regress.error('SELECT stedi.refresh_zone(''stedi.customer_trusted'', true)');
SET ROLE regress_owner;

-- Plain.
SELECT stedi.refresh_zone('zone'), differs();
SELECT ispopulated FROM pg_matviews WHERE matviewname = 'zone';
SELECT reltuples, reloptions, relowner::regrole FROM pg_class WHERE oid = 'zone'::regclass;
SELECT indexrelid::regclass, indisvalid FROM pg_index WHERE indrelid = 'zone'::regclass ORDER BY 1;
SET enable_seqscan = off;
SELECT id, x FROM zone WHERE id = 1234;
SELECT id, x FROM zone WHERE lower(name) = 'name 1234' AND id > 1;
RESET enable_seqscan;
TABLE above;

-- Concurrently: what is the same stays where it is.
CREATE TEMP TABLE before AS SELECT ctid AS tid, * FROM zone;
SELECT pg_relation_filenode('zone') AS filenode \gset
UPDATE input SET x = x + 1 WHERE id BETWEEN 11 AND 20;		-- the key of an old row
DELETE FROM input WHERE id BETWEEN 21 AND 30;
UPDATE input SET id = id + 10000 WHERE id BETWEEN 31 AND 40;
UPDATE input SET note = upper(note) WHERE id = -1;
INSERT INTO input VALUES (NULL, 'none', NULL, NULL), (3000, 'new', 0, NULL);
SELECT stedi.refresh_zone('zone', true), differs();
SELECT pg_relation_filenode('zone') = :filenode AS same_file;
-- of 2004 rows, 10 were updated, 10 deleted, 10 renumbered, 1 has a new note and 1 equals another
SELECT count(*) AS stayed FROM before AS b JOIN zone AS z ON z.ctid = b.tid AND z.id IS NOT DISTINCT FROM b.id;
SET enable_seqscan = off;
SELECT id, name FROM zone WHERE id IN (15, 25, 35, 10035);
SELECT id FROM zone WHERE lower(name) = 'name 35' AND id > 1;
RESET enable_seqscan;
-- 0 and -0, and NaN, are what they are
UPDATE input SET x = '0' WHERE x = 0;
SELECT stedi.refresh_zone('zone', true), differs();
SELECT string_agg(x::text, ' ') FROM zone WHERE x = 0;
-- nothing to do
SELECT stedi.refresh_zone('zone', true), differs();
-- with next to no memory, in many passes
SELECT stedi.refresh_zone('zone');
UPDATE input SET x = x - 1 WHERE id % 3 = 0;
DELETE FROM input WHERE id % 7 = 0;
SET maintenance_work_mem = '1MB';
INSERT INTO input SELECT i, 'name ' || i FROM generate_series(20001, 120000) AS i;
SELECT stedi.refresh_zone('zone', true), differs();
UPDATE input SET x = 0 WHERE id % 5 = 0;
DELETE FROM input WHERE id % 11 = 0;
SELECT stedi.refresh_zone('zone', true), differs();
RESET maintenance_work_mem;
DELETE FROM input WHERE id > 20000;

-- Two rows with one key.
INSERT INTO input VALUES (15, 'other');
SELECT * FROM regress.error('SELECT stedi.refresh_zone(''zone'', true)');
SELECT * FROM regress.error('SELECT stedi.refresh_zone(''zone'')');
INSERT INTO input SELECT * FROM input WHERE id = 16;
DELETE FROM input WHERE name = 'other';
SELECT * FROM regress.error('SELECT stedi.refresh_zone(''zone'', true)');
DELETE FROM input WHERE id = 16;

-- What is rolled back was not done.
SELECT stedi.refresh_zone('zone', true), differs();
BEGIN;
DELETE FROM input WHERE id < 100;
SAVEPOINT one;
SELECT stedi.refresh_zone('zone'), differs();
ROLLBACK TO one;
SELECT count(*) FROM zone;
SELECT stedi.refresh_zone('zone', true), differs();
INSERT INTO input VALUES (15, 'again');
SELECT stedi.refresh_zone('zone', true), differs();
ROLLBACK;
SELECT differs();
-- of a transaction that saw the beginning
BEGIN ISOLATION LEVEL REPEATABLE READ;
DELETE FROM input WHERE id < 0;
SELECT stedi.refresh_zone('zone', true), differs();
SELECT stedi.refresh_zone('zone'), differs();
COMMIT;

-- While it is read.
BEGIN;
DECLARE c CURSOR FOR TABLE zone;
FETCH 1 FROM c;
SELECT * FROM regress.error('SELECT stedi.refresh_zone(''zone'', true)');
ROLLBACK;

-- Without an index that tells rows apart.
DROP INDEX zone_id_key;
CREATE UNIQUE INDEX zone_some_key ON zone (id) WHERE id > 0;
CREATE UNIQUE INDEX zone_expression_key ON zone ((id + 1));
SELECT * FROM regress.error('SELECT stedi.refresh_zone(''zone'', true)');
SELECT stedi.refresh_zone('zone'), differs();

-- Functions run as the owner, cannot do everything, and leave nothing behind.
CREATE FUNCTION who(int) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	SET search_path = nowhere;
	RETURN current_user;
END
$$;
CREATE FUNCTION escape(int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE 'SET ROLE regress_other';
	RETURN 1;
END
$$;
CREATE MATERIALIZED VIEW as_owner AS SELECT current_setting('search_path') AS path, current_setting('work_mem') AS memory, who(1) AS who WITH NO DATA;
CREATE MATERIALIZED VIEW escaping AS SELECT escape(1) WITH NO DATA;
RESET ROLE;
SET work_mem = '1MB';
SET maintenance_work_mem = '2MB';
SELECT stedi.refresh_zone('as_owner');
TABLE as_owner;
SHOW search_path;
SHOW work_mem;
RESET work_mem;
RESET maintenance_work_mem;
SELECT * FROM regress.error('SELECT stedi.refresh_zone(''escaping'')');
SELECT current_user = session_user AS myself;

-- Whoever refreshes: a look at an index runs functions as the owner, too, and row
-- security is the owner's, also beneath a view of the invoker's rights.
CREATE TABLE secret (id int, who text);
ALTER TABLE secret ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON secret USING (who = current_user);
INSERT INTO secret VALUES (1, 'regress_owner'), (2, 'regress_other');
GRANT SELECT ON secret TO regress_owner;
SET ROLE regress_owner;
CREATE FUNCTION as_whom(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	RAISE WARNING 'as %', current_user;
	RETURN 1;
END
$$;
CREATE VIEW invoker WITH (security_invoker = true) AS SELECT id FROM secret;
CREATE MATERIALIZED VIEW owners AS TABLE invoker;
SET client_min_messages = error;
CREATE UNIQUE INDEX owners_key ON owners (id) WHERE as_whom(1) = 1;
RESET ROLE;
\c
SET search_path = regress_zone, public;
SELECT * FROM regress.error('SELECT stedi.refresh_zone(''owners'', true)');
SELECT stedi.refresh_zone('owners');
SET client_min_messages = error;
TABLE owners;
SET client_min_messages = warning;

-- An oid that is computed is the one that is stored.
CREATE MATERIALIZED VIEW computed AS SELECT 1 AS id, (2 ^ 31)::bigint::oid AS high, '-1'::int2 AS low;
CREATE UNIQUE INDEX computed_key ON computed (id);
SELECT stedi.refresh_zone('computed', true);
SELECT ctid FROM computed;

-- Rows of every shape: no columns, a column that only sorts, one that is in no row.
CREATE MATERIALIZED VIEW blank AS SELECT FROM generate_series(1, 10) WITH NO DATA;
CREATE MATERIALIZED VIEW sorted AS SELECT id FROM input WHERE id < 50 ORDER BY -x, id DESC WITH NO DATA;
CREATE MATERIALIZED VIEW void AS SELECT * FROM input WHERE false WITH NO DATA;
CREATE UNIQUE INDEX void_key ON void (id);
SELECT stedi.refresh_zone('blank'), stedi.refresh_zone('sorted'), stedi.refresh_zone('void');
SELECT count(*) FROM blank;
SELECT count(*), min(ctid), max(ctid) FROM sorted;
SELECT string_agg(id::text, ' ') FROM (SELECT id FROM sorted LIMIT 5) AS s;
SELECT count(*) FROM void;
-- by several processes, with rows that want TOAST among them
SET min_parallel_table_scan_size = 0;
SET parallel_setup_cost = 0;
CREATE MATERIALIZED VIEW twice AS TABLE input UNION ALL TABLE input WITH NO DATA;
INSERT INTO input SELECT -i, 'long', 0, (SELECT string_agg(md5((i * j)::text), '') FROM generate_series(1, 100) AS j)
FROM generate_series(1001, 1500) AS i;
SELECT stedi.refresh_zone('twice') - 2 * (SELECT count(*) FROM input) AS more;
SELECT count(*) FROM ((TABLE twice EXCEPT ALL (TABLE input UNION ALL TABLE input)) UNION ALL ((TABLE input UNION ALL TABLE input) EXCEPT ALL TABLE twice)) AS d;
-- readable from the visibility map alone
CREATE INDEX twice_idx ON twice (id);
SELECT stedi.refresh_zone('twice') > 0 AS filled;
SELECT relpages = pg_relation_size('twice') / 8192 AS pages, relallvisible::float8 / relpages > 0.9 AS visible,
	   reltuples = 2 * (SELECT count(*) FROM input) AS tuples FROM pg_class WHERE oid = 'twice'::regclass;
RESET min_parallel_table_scan_size;
RESET parallel_setup_cost;

-- Several indexes at a time, and several views: the second reads the first, whose
-- indexes are then of its old rows.
CREATE TABLE source AS SELECT i AS id, i % 7 AS part FROM generate_series(1, 20000) AS i;
CREATE MATERIALIZED VIEW first AS TABLE source;
CREATE UNIQUE INDEX first_id_key ON first (id);
CREATE INDEX first_part_idx ON first (part);
CREATE INDEX first_part_hash ON first USING hash (part);
CREATE INDEX first_both_idx ON first (part, id DESC);
CREATE MATERIALIZED VIEW second AS SELECT * FROM first WHERE id = 15000;
CREATE UNIQUE INDEX second_id_key ON second (id);
ANALYZE first;
SELECT relname, relpages > 0 AS pages, reltuples FROM pg_class WHERE relname LIKE 'first%idx' ORDER BY 1;
DELETE FROM source WHERE id <= 10000;
INSERT INTO source SELECT i, 8 FROM generate_series(20001, 50000) AS i;
SET client_min_messages = notice;
SELECT zone, rows, elapsed > '0' AS timed FROM stedi.refresh_zones(ARRAY['first', 'second']::regclass[]);
SET client_min_messages = warning;
TABLE second;
SET enable_seqscan = off;
SELECT count(*), min(part) FROM first WHERE id > 10005;
SELECT count(*) FROM first WHERE part = 8;
SELECT id FROM first WHERE part = 6 ORDER BY id DESC LIMIT 2;
EXPLAIN (COSTS OFF) SELECT id FROM first WHERE id = 1;
RESET enable_seqscan;
SELECT relname, relpages = pg_relation_size(oid) / 8192 AS pages, reltuples, indisvalid
FROM pg_class JOIN pg_index ON indexrelid = oid WHERE indrelid = 'first'::regclass ORDER BY 1;
-- together with a view of somebody else
ALTER MATERIALIZED VIEW second OWNER TO regress_other;
GRANT USAGE ON SCHEMA regress_zone TO regress_other;
GRANT SELECT ON first TO regress_other;
DELETE FROM source WHERE id = 15000;
SELECT zone, rows FROM stedi.refresh_zones(ARRAY['first', 'second']::regclass[]);
-- what fails at the end leaves everything as it was
INSERT INTO source VALUES (15000, 9), (16000, 9);
SELECT * FROM regress.error('SELECT stedi.refresh_zones(ARRAY[''first'', ''second'']::regclass[])');
SET enable_seqscan = off;
EXPLAIN (COSTS OFF) SELECT part FROM first WHERE id = 16000;
SELECT part FROM first WHERE id = 16000;
RESET enable_seqscan;
SELECT count(*) FROM second;
DELETE FROM source WHERE part = 9;
SELECT zone, rows FROM stedi.refresh_zones(ARRAY['first', 'second']::regclass[], true);
SELECT * FROM stedi.refresh_zones('{}');
SELECT * FROM regress.error('SELECT stedi.refresh_zones(ARRAY[NULL]::regclass[])');
SELECT * FROM regress.error('SELECT stedi.refresh_zones(''{regress_zone.source}'')');
SELECT * FROM regress.error('SELECT stedi.refresh_zones(''{first, second, first}'')');

-- Indexes whose keys are integers and have one size: of three levels, with keys of any
-- sign in any order, with many that have the first column in common.
CREATE TABLE keyed (k bigint, k2 bigint, small smallint, moment timestamptz, ratio float8, id uuid);
CREATE MATERIALIZED VIEW keys AS TABLE keyed;
CREATE UNIQUE INDEX keys_1 ON keys (k) WITH (fillfactor = 10);
CREATE UNIQUE INDEX keys_2 ON keys (k2, small, ratio, id);
CREATE UNIQUE INDEX keys_3 ON keys (k2, moment, k);
CREATE UNIQUE INDEX keys_4 ON keys (k, k2) INCLUDE (id);
CREATE UNIQUE INDEX keys_5 ON keys (k DESC, ratio DESC);
CREATE EXTENSION amcheck;
CREATE FUNCTION check_keys() RETURNS TABLE (index name, rows float4, sized boolean) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM bt_index_parent_check(indexrelid, true, true) FROM pg_index WHERE indrelid = 'keys'::regclass;
	RETURN QUERY SELECT relname, reltuples, relpages = pg_relation_size(oid) / 8192
		FROM pg_class WHERE oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = 'keys'::regclass) ORDER BY relname;
END
$$;
SELECT stedi.refresh_zone('keys');
SELECT * FROM check_keys();
INSERT INTO keyed VALUES (-1, 0, 0, '2020-01-01', 0, '00000000-0000-0000-0000-000000000000');
SELECT stedi.refresh_zone('keys');
SELECT * FROM check_keys();
INSERT INTO keyed
SELECT hashint8extended(i, 0), i % 3 - 1, -i % 30000, to_timestamp(-i), CASE i WHEN 5 THEN 'NaN' WHEN 6 THEN '-Infinity' ELSE 1.0 / (i % 10 - 5.5) END, md5(i::text)::uuid
FROM generate_series(1, 30000) AS i;
INSERT INTO keyed SELECT k, k, 1, '-infinity', k, md5(k::text)::uuid
FROM unnest('{9223372036854775807, -9223372036854775808, 1, 0, 4294967296}'::bigint[]) AS k;
SELECT stedi.refresh_zone('keys');
SELECT * FROM check_keys();
SET enable_seqscan = off;
SELECT count(*) FROM keys WHERE k < 0;
SELECT k, k2 FROM keys WHERE k > 9223000000000000000 AND k = k2;
SELECT count(*) FROM keyed AS a JOIN keys AS b USING (k) WHERE a.id = b.id;
RESET enable_seqscan;
-- with less memory than the keys take
SET maintenance_work_mem = '1MB';
SELECT stedi.refresh_zone('keys');
RESET maintenance_work_mem;
SELECT * FROM check_keys();
-- or without help
SET max_parallel_maintenance_workers = 0;
SELECT stedi.refresh_zone('keys');
RESET max_parallel_maintenance_workers;
SELECT * FROM check_keys();
-- NULL is not equal to NULL
INSERT INTO keyed (k, k2) VALUES (NULL, 5), (NULL, 5);
SELECT stedi.refresh_zone('keys');
SELECT * FROM check_keys();
-- what is equal is an error, where only the last column could tell it and where there is one
INSERT INTO keyed SELECT 77, k2, small, moment, ratio, id FROM keyed WHERE id = md5('29999')::uuid;
SELECT * FROM regress.error('SELECT stedi.refresh_zone(''keys'')');
DELETE FROM keyed WHERE k IS NULL OR k = 77;
INSERT INTO keyed SELECT k, 9 FROM keyed WHERE id = md5('29999')::uuid;
SELECT * FROM regress.error('SELECT stedi.refresh_zone(''keys'')');
SELECT * FROM check_keys();

-- What workers must not compute the leader does, here and in one part of a UNION ALL.
CREATE TABLE big AS SELECT i AS a, i % 100 AS b FROM generate_series(1, 30000) AS i;
ALTER TABLE big SET (parallel_workers = 2);
ANALYZE big;
SET min_parallel_table_scan_size = 0;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
CREATE MATERIALIZED VIEW by_leader AS
WITH n AS MATERIALIZED (SELECT b, count(*) AS n FROM big GROUP BY b)
SELECT b || 'x' AS t, (SELECT n FROM n WHERE n.b = big.b) AS n, random() AS r, a FROM big WITH NO DATA;
SELECT stedi.refresh_zone('by_leader');
SELECT count(DISTINCT t), min(n), max(n), count(*) FILTER (WHERE r > 0 AND r < 1) > 29990 AS r, sum(a) FROM by_leader;
CREATE MATERIALIZED VIEW partly AS SELECT a, random() AS r FROM big UNION ALL SELECT a, 2 FROM big WITH NO DATA;
SELECT stedi.refresh_zone('partly');
SELECT count(*) FILTER (WHERE r > 0 AND r < 1) > 29990 AS random, count(*) FILTER (WHERE r = 2) AS two, sum(a) FROM partly;

-- Parts of a UNION ALL that are waited for together: they tell their Append when they
-- have rows, and nothing may stand between.
CREATE EXTENSION postgres_fdw;
DO $$ BEGIN EXECUTE format(
	'CREATE SERVER regress_loopback FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host %L, port %L, dbname %L, async_capable ''true'')',
	current_setting('unix_socket_directories'), current_setting('port'), current_database());
END $$;
CREATE USER MAPPING FOR CURRENT_USER SERVER regress_loopback;
CREATE FOREIGN TABLE far (a int, b int) SERVER regress_loopback OPTIONS (schema_name 'regress_zone', table_name 'big');
CREATE FOREIGN TABLE farther (a int, b int) SERVER regress_loopback OPTIONS (schema_name 'regress_zone', table_name 'big');
CREATE VIEW everywhere AS
SELECT 'far' AS part, a FROM far UNION ALL SELECT 'farther', a FROM farther UNION ALL SELECT 'near', a FROM big;
CREATE MATERIALIZED VIEW gathered AS TABLE everywhere WITH NO DATA;
EXPLAIN (COSTS OFF) TABLE everywhere;
SELECT stedi.refresh_zone('gathered');
SELECT part, count(*), sum(a) FROM gathered GROUP BY part ORDER BY part;

-- A function in a worker looks into a view whose index is not built yet; another
-- refreshes a view itself; a third sees the old rows of the view that is refreshed.
CREATE TABLE pairs AS SELECT i AS k, i * 2 AS v FROM generate_series(1, 30000) AS i;
CREATE MATERIALIZED VIEW looked_at AS SELECT k, v FROM pairs;
CREATE UNIQUE INDEX looked_at_key ON looked_at (k);
ANALYZE looked_at;
CREATE FUNCTION look(i int) RETURNS int LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
BEGIN
	RETURN (SELECT v FROM regress_zone.looked_at WHERE k = i);
END
$$;
CREATE MATERIALIZED VIEW looking AS SELECT a, regress_zone.look(a) AS v FROM big WHERE a % 20 = 0 WITH NO DATA;
CREATE MATERIALIZED VIEW inner_zone AS SELECT k, v FROM pairs;
CREATE FUNCTION refresh_inner() RETURNS bigint LANGUAGE sql AS $$
	SELECT rows FROM stedi.refresh_zones('{regress_zone.inner_zone}')
$$;
CREATE FUNCTION seen(int) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
	RETURN (SELECT count(*) FROM regress_zone.itself WHERE a > 0);
EXCEPTION WHEN undefined_table THEN
	RETURN NULL;
END
$$;
CREATE MATERIALIZED VIEW nesting AS
SELECT i.rows, (SELECT sum(regress_zone.look(k)) FROM generate_series(101, 200) AS k) AS sum
FROM (SELECT regress_zone.refresh_inner() AS rows OFFSET 0) AS i WITH NO DATA;
CREATE MATERIALIZED VIEW itself AS SELECT a, regress_zone.seen(a) AS seen FROM big WHERE a <= 100;
CREATE UNIQUE INDEX itself_key ON itself (a);
TRUNCATE pairs;
INSERT INTO pairs SELECT i, i * 3 FROM generate_series(30000, 1, -1) AS i;
SELECT zone, rows FROM stedi.refresh_zones('{looked_at, looking, nesting, itself}');
SELECT count(*) AS right_ones FROM looking WHERE v = a * 3;
TABLE nesting;
SELECT seen, count(*) FROM itself GROUP BY seen;
SHOW stedi.unindexed;
RESET min_parallel_table_scan_size;
RESET parallel_setup_cost;
RESET parallel_tuple_cost;

-- It writes.
BEGIN READ ONLY;
SELECT * FROM regress.error('SELECT stedi.refresh_zone(''computed'')');
COMMIT;

-- PostgreSQL's own commands do the same to the zones.
TRUNCATE stedi.customer_landing, stedi.accelerometer_landing, stedi.step_trainer_landing;
INSERT INTO stedi.customer_landing (email, serial_number, last_update_date, share_with_research_as_of_date, record_id)
SELECT 'c' || i, 's' || i, to_timestamp(0), to_timestamp(0), i FROM generate_series(1, 50) AS i;
INSERT INTO stedi.accelerometer_landing (email, "timestamp", x, y, z, record_id)
SELECT 'c' || i % 50 + 1, to_timestamp(i / 3), i, 0, 0, i FROM generate_series(1, 6000) AS i;
INSERT INTO stedi.step_trainer_landing (sensor_reading_time, serial_number, distance_from_object, record_id)
SELECT to_timestamp(i / 2), 's' || i % 50 + 1, i, i FROM generate_series(1, 4000) AS i;
SELECT zone, rows FROM stedi.refresh();
CREATE TEMP TABLE ours AS TABLE stedi.machine_learning_curated;
CREATE TEMP TABLE owners AS TABLE stedi.device_owner;
REFRESH MATERIALIZED VIEW stedi.device_owner;
REFRESH MATERIALIZED VIEW CONCURRENTLY stedi.step_trainer_trusted;
REFRESH MATERIALIZED VIEW stedi.machine_learning_curated;
SELECT count(*) FROM ((TABLE ours EXCEPT ALL TABLE stedi.machine_learning_curated) UNION ALL (TABLE stedi.machine_learning_curated EXCEPT ALL TABLE ours)) AS d;
SELECT count(*) FROM (TABLE owners EXCEPT ALL TABLE stedi.device_owner) AS d;
SELECT zone, rows FROM stedi.refresh(concurrently => true);
SELECT count(*) FROM ((TABLE ours EXCEPT ALL TABLE stedi.machine_learning_curated) UNION ALL (TABLE stedi.machine_learning_curated EXCEPT ALL TABLE ours)) AS d;

-- Matches, against the same in SQL.  Of the 80 moments of a device each of six phones
-- shares 40, so samples of 100000 take everything, and those of 7 do not.
CREATE VIEW every_match AS
SELECT s.serial_number, a.email, count(DISTINCT s.sensor_reading_time) AS matched
FROM stedi.step_trainer_landing AS s
JOIN stedi.accelerometer_landing AS a ON a."timestamp" = s.sensor_reading_time
GROUP BY s.serial_number, a.email;
CREATE FUNCTION matches(sample_size int) RETURNS TABLE (serial_number text, email text, matched bigint) LANGUAGE sql AS $$
	SELECT d.serial_number, m.email, m.matched
	FROM stedi.match_devices(sample_size) AS d, unnest(d.emails, d.matched) AS m(email, matched);
$$;
SELECT count(*) AS pairs, sum(matched) AS matches, max(matched) FROM every_match;
SELECT count(*) FROM ((TABLE every_match EXCEPT SELECT * FROM matches(100000)) UNION ALL (SELECT * FROM matches(100000) EXCEPT TABLE every_match)) AS d;
-- and read by several processes
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SELECT count(*) FROM ((TABLE every_match EXCEPT SELECT * FROM matches(100000)) UNION ALL (SELECT * FROM matches(100000) EXCEPT TABLE every_match)) AS d;
SET parallel_leader_participation = off;
SELECT count(*) FROM ((TABLE every_match EXCEPT SELECT * FROM matches(100000)) UNION ALL (SELECT * FROM matches(100000) EXCEPT TABLE every_match)) AS d;
RESET parallel_leader_participation;
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;
SELECT * FROM regress.error('SELECT * FROM stedi.match_devices(0)');
CREATE TEMP TABLE small AS SELECT * FROM matches(7);
SELECT count(*) AS not_within FROM small AS s
WHERE NOT EXISTS (SELECT FROM every_match AS e WHERE e.serial_number = s.serial_number AND e.email = s.email AND e.matched >= s.matched);
-- each of the moments that are looked at matches three phones, but the first of all two
SELECT serial_number, sum(matched) FROM small GROUP BY serial_number HAVING sum(matched) NOT BETWEEN 20 AND 21;
-- the same sample in whatever order they come, and in whatever memory
CREATE TEMP TABLE readings AS TABLE stedi.step_trainer_landing;
TRUNCATE stedi.step_trainer_landing;
INSERT INTO stedi.step_trainer_landing SELECT * FROM readings ORDER BY distance_from_object DESC;
INSERT INTO stedi.step_trainer_landing SELECT * FROM readings;
SET maintenance_work_mem = '1MB';
SET work_mem = '64kB';
INSERT INTO stedi.step_trainer_landing (sensor_reading_time, serial_number, record_id)
SELECT to_timestamp(100000 + i), 'lonely', i FROM generate_series(1, 100000) AS i;
SELECT count(*) FROM ((TABLE small EXCEPT SELECT * FROM matches(7)) UNION ALL (SELECT * FROM matches(7) EXCEPT TABLE small)) AS d;
-- and if phones do not fit that devices leave room for: the three share the moments of the one
INSERT INTO stedi.accelerometer_landing (email, "timestamp", x, y, z, record_id)
SELECT 'walker ' || i % 3, to_timestamp(100000 + i), 0, 0, 0, i FROM generate_series(1, 100000) AS i;
RESET maintenance_work_mem;
CREATE TEMP TABLE many AS
SELECT sample_size, m.* FROM unnest('{7, 100, 1000000}'::int[]) AS sample_size, matches(sample_size) AS m;
SET maintenance_work_mem = '1MB';
SELECT sample_size, sum(matched) FROM many WHERE serial_number = 'lonely' GROUP BY sample_size ORDER BY sample_size;
SELECT count(*) FROM (
	(TABLE many EXCEPT SELECT sample_size, m.* FROM unnest('{7, 100, 1000000}'::int[]) AS sample_size, matches(sample_size) AS m)
	UNION ALL
	(SELECT sample_size, m.* FROM unnest('{7, 100, 1000000}'::int[]) AS sample_size, matches(sample_size) AS m EXCEPT TABLE many)) AS d;
-- which is too little for several processes
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SELECT count(*) FROM (
	(TABLE many EXCEPT SELECT sample_size, m.* FROM unnest('{7, 100, 1000000}'::int[]) AS sample_size, matches(sample_size) AS m)
	UNION ALL
	(SELECT sample_size, m.* FROM unnest('{7, 100, 1000000}'::int[]) AS sample_size, matches(sample_size) AS m EXCEPT TABLE many)) AS d;
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;
-- and if a single moment fills the memory
SET hash_mem_multiplier = 1;
CREATE TEMP TABLE crowd AS
SELECT to_timestamp(0) AS moment, 'crowd ' || i % 20 AS email FROM generate_series(1, 70000) AS i;
BEGIN;
TRUNCATE stedi.accelerometer_landing, stedi.step_trainer_landing;
INSERT INTO stedi.accelerometer_landing (email, "timestamp", x, y, z, record_id) SELECT email, moment, 0, 0, 0, 0 FROM crowd;
INSERT INTO stedi.accelerometer_landing (email, "timestamp", x, y, z, record_id)
SELECT 'after', to_timestamp(i), 0, 0, 0, 0 FROM generate_series(1, 100) AS i;
INSERT INTO stedi.step_trainer_landing (sensor_reading_time, serial_number, record_id)
SELECT to_timestamp(i), 'crowded', i FROM generate_series(0, 100) AS i;
SELECT count(*), sum(matched) FROM matches(1000);
ROLLBACK;
RESET hash_mem_multiplier;
RESET maintenance_work_mem;
RESET work_mem;
-- one row per device, also if no phone took a reading when it did, or nobody knows when
BEGIN;
TRUNCATE stedi.accelerometer_landing, stedi.step_trainer_landing;
INSERT INTO stedi.step_trainer_landing (sensor_reading_time, serial_number, record_id) VALUES
	(NULL, 'timeless', 1), (NULL, 'timeless', 2), (to_timestamp(1), 'alone', 3), (to_timestamp(1), NULL, 4), (NULL, NULL, 5),
	(to_timestamp(10), 'worn', 6), (NULL, 'worn', 7), (to_timestamp(20), 'worn', 8), (to_timestamp(20), 'worn', 9),
	('infinity', 'worn', 10), ('-infinity', 'worn', 11), (to_timestamp(30), '', 12);
INSERT INTO stedi.accelerometer_landing (email, "timestamp", x, y, z, record_id)
SELECT email, moment, 0, 0, 0, 0
FROM (VALUES ('c', to_timestamp(10)), ('b', to_timestamp(20)), ('b', to_timestamp(20)), ('a', to_timestamp(20)),
			 ('d', to_timestamp(10)), ('d', to_timestamp(20)), ('d', to_timestamp(10)), ('c', NULL), (NULL, to_timestamp(1)),
			 (NULL, NULL), ('d', 'infinity'), ('e', '-infinity'), ('', to_timestamp(30))) AS a(email, moment);
SELECT * FROM stedi.match_devices(64) ORDER BY 1;
SELECT * FROM stedi.device_match ORDER BY 1, 2;
SELECT * FROM stedi.device_evidence ORDER BY 1;
ROLLBACK;
-- with the rights of whoever asks
GRANT EXECUTE ON FUNCTION stedi.policy, stedi.erased_rival, stedi.match_devices TO regress_other;
GRANT SELECT ON stedi.policy, stedi.device_evidence, stedi.device_match, stedi.customer_landing, stedi.step_trainer_landing TO regress_other;
SET ROLE regress_other;
SELECT * FROM regress.error('SELECT * FROM stedi.device_evidence');
RESET ROLE;
GRANT SELECT ON stedi.accelerometer_landing TO regress_other;
SET ROLE regress_other;
SELECT basis, count(*) FROM stedi.device_evidence GROUP BY basis ORDER BY basis;
RESET ROLE;
-- of the rows that they may see
BEGIN;
CREATE POLICY regress_some ON stedi.step_trainer_landing USING (serial_number <> 'd1');
CREATE POLICY regress_some ON stedi.accelerometer_landing USING (email <> 'b');
ALTER TABLE stedi.step_trainer_landing ENABLE ROW LEVEL SECURITY;
ALTER TABLE stedi.accelerometer_landing ENABLE ROW LEVEL SECURITY;
TRUNCATE stedi.accelerometer_landing, stedi.step_trainer_landing;
INSERT INTO stedi.step_trainer_landing (sensor_reading_time, serial_number, record_id)
VALUES (to_timestamp(1), 'd1', 1), (to_timestamp(1), 'd2', 2);
INSERT INTO stedi.accelerometer_landing (email, "timestamp", x, y, z, record_id)
VALUES ('a', to_timestamp(1), 0, 0, 0, 1), ('b', to_timestamp(1), 0, 0, 0, 2);
SELECT * FROM stedi.match_devices(64) ORDER BY 1;
SET LOCAL ROLE regress_other;
SELECT * FROM stedi.match_devices(64) ORDER BY 1;
SET LOCAL parallel_setup_cost = 0;
SET LOCAL parallel_tuple_cost = 0;
SET LOCAL min_parallel_table_scan_size = 0;
SELECT * FROM stedi.match_devices(64) ORDER BY 1;
ROLLBACK;

TRUNCATE stedi.customer_landing, stedi.accelerometer_landing, stedi.step_trainer_landing;
SELECT count(*) FROM stedi.refresh();
RESET search_path;
\set VERBOSITY terse
DROP EXTENSION amcheck;
DROP EXTENSION postgres_fdw CASCADE;
DROP SCHEMA regress_zone CASCADE;
DROP OWNED BY regress_owner, regress_other;
DROP ROLE regress_owner, regress_other;
