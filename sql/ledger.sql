--
-- stedi.object: each object version is loaded exactly once.
--
CALL regress.make_directory('ledger');
CREATE TABLE items (a integer, record_id bigint);
SELECT regress.uri('ledger/') AS uri \gset
CREATE FUNCTION pg_temp.load(options text DEFAULT '')
RETURNS TABLE (object text, status text, loaded bigint, rejected bigint) LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY EXECUTE format('SELECT replace(uri, %1$L, ''''), status, rows_loaded, rows_rejected'
								' FROM stedi.load(''items'', %1$L, on_error => ''reject'' %2$s)', regress.uri('ledger/'), options);
END
$$;
CREATE VIEW ledger AS
SELECT object_id - (SELECT min(object_id) FROM stedi.object WHERE target = 'items'::regclass) AS n,
	   replace(uri, regress.uri('ledger/'), '') AS object, status, rows, rejects,
	   (SELECT count(*) FROM stedi.reject AS r WHERE r.object_id = o.object_id) AS reject_rows,
	   (SELECT string_agg(i.a::text, ',' ORDER BY i.record_id) FROM items AS i WHERE i.record_id >> 32 = o.object_id) AS a
FROM stedi.object AS o WHERE target = 'items'::regclass ORDER BY object_id;

-- Numbered in key order.
CALL regress.put('ledger/b.json', E'{"a":3}\n{"a":4}\n');
CALL regress.put('ledger/a.json', E'{"a":1}\n{"a":2}\n');
SELECT * FROM pg_temp.load();
SELECT * FROM ledger;

-- Nothing twice, by whatever URI.
SELECT * FROM pg_temp.load();
SELECT count(*) FROM stedi.load('items', :'uri' || 'a.json');
SELECT count(*) FROM stedi.load('items', :'uri' || '*');
SELECT count(*) FROM items;

-- The ledger row and the rows it stands for come and go together.
CALL regress.put('ledger/c.json', E'{"a":5}\n');
BEGIN;
SELECT * FROM pg_temp.load();
ROLLBACK;
SELECT * FROM ledger;
SELECT * FROM pg_temp.load();
SELECT object, status, a FROM ledger;

-- Changed content replaces the old rows, in one transaction.
CALL regress.put('ledger/a.json', E'{"a":10}\n{"a":20}\n{"a":"x"}\n');
BEGIN;
SELECT * FROM pg_temp.load();
SELECT a FROM items ORDER BY record_id;
ROLLBACK;
SELECT a FROM items ORDER BY record_id;
SELECT * FROM pg_temp.load();
SELECT object, status, rows, rejects, reject_rows, a FROM ledger;
SELECT a FROM items ORDER BY record_id;
-- what is replaced keeps its place in the ledger, and its provenance
SELECT p.status, replace(p.uri, :'uri', '') AS object FROM stedi.object AS o, stedi.provenance(o.object_id * 4294967296 + 1) AS p
WHERE o.target = 'items'::regclass ORDER BY o.object_id;

-- Also when the size stays the same.
SELECT pg_sleep(0.05);
CALL regress.put('ledger/a.json', E'{"a":11}\n{"a":21}\n{"a":"y"}\n');
SELECT * FROM pg_temp.load();
SELECT object, status, rows, rejects, reject_rows, a FROM ledger;

-- A new version that fails leaves the old rows; it is tried again.
CALL regress.put('ledger/a.json', E'{"a":12}\n{"a":"y"}\n{"a":"z"}\n{"a":22}\n');
SELECT * FROM pg_temp.load(', reject_limit => 1');
SELECT object, status, rows, rejects, reject_rows, a FROM ledger;
SELECT * FROM pg_temp.load(', reject_limit => 1');
SELECT * FROM pg_temp.load();
SELECT object, status, rows, rejects, reject_rows, a FROM ledger;
SELECT count(*) = count(DISTINCT object_id) AS one_row_each FROM stedi.object WHERE target = 'items'::regclass;

-- An object that is gone keeps its rows: only a new version replaces.
CALL regress.remove('ledger/c.json');
SELECT * FROM pg_temp.load();
SELECT object, status, a FROM ledger WHERE object = 'c.json';

-- force loads again what is loaded, in place of its rows.
SELECT * FROM pg_temp.load(', force => true');
SELECT object, status, rows, rejects, reject_rows, a FROM ledger;
SELECT * FROM pg_temp.load(', force => true, dry_run => true');
SELECT * FROM pg_temp.load(', force => true, max_objects => 1');
SELECT count(*), count(DISTINCT record_id) FROM items;

-- Wherever the rows have gone meanwhile, they are replaced.
CREATE TABLE moved (a integer, filler text DEFAULT repeat('x', 500), record_id bigint);
CALL regress.put('ledger/m.json', repeat(E'{"a":1}\n', 50));
CALL regress.put('ledger/n.json', repeat(E'{"a":2}\n', 50));
SELECT status, rows_loaded FROM stedi.load('moved', :'uri' || '[mn].json');
UPDATE moved SET filler = filler || 'y' WHERE a = 1;
CALL regress.put('ledger/m.json', '{"a":3}');
SELECT status, rows_loaded FROM stedi.load('moved', :'uri' || '[mn].json');
SELECT a, count(*) FROM moved GROUP BY a ORDER BY a;
VACUUM FULL moved;
CALL regress.put('ledger/n.json', '{"a":4} ');
SELECT status, rows_loaded FROM stedi.load('moved', :'uri' || '[mn].json');
SELECT a, count(*) FROM moved GROUP BY a ORDER BY a;
-- rows that somebody has deleted are not missed
DELETE FROM moved;
CALL regress.put('ledger/n.json', '{"a":5}  ');
SELECT status, rows_loaded FROM stedi.load('moved', :'uri' || '[mn].json');
SELECT a, count(*) FROM moved GROUP BY a ORDER BY a;
CALL regress.remove('ledger/m.json');
CALL regress.remove('ledger/n.json');
DROP TABLE moved;

-- Two sources that hold the same object share it when they share the target.
INSERT INTO stedi.source (name, uri, target) VALUES ('one', :'uri', 'items'), ('two', :'uri' || 'a*', 'items');
SELECT count(*) FROM stedi.ingest('one') WHERE status = 'loaded';
SELECT count(*) FROM stedi.ingest('two');
DELETE FROM stedi.source WHERE name IN ('one', 'two');

-- A target that cannot tell its rows: a new version is an error, or a failed object.
CREATE TABLE anonymous (a integer);
SELECT status, rows_loaded FROM stedi.load('anonymous', :'uri' || 'b.json');
CALL regress.put('ledger/b.json', E'{"a":3}\n{"a":4}\n{"a":5}\n');
SELECT * FROM regress.error(format('SELECT * FROM stedi.load(''anonymous'', %L)', :'uri' || 'b.json'));
SELECT status, rows_loaded, first_error FROM stedi.load('anonymous', :'uri' || 'b.json', on_error => 'reject');
SELECT status FROM stedi.object WHERE target = 'anonymous'::regclass ORDER BY object_id;
SELECT a FROM anonymous;
SELECT status, rows_loaded FROM stedi.load('anonymous', :'uri' || 'b.json', force => true);
SELECT a FROM anonymous;
SELECT status FROM stedi.object WHERE target = 'anonymous'::regclass ORDER BY object_id;

-- A record_id of another type is a column like any other.
CREATE TABLE own_id (record_id text, a integer);
SELECT status FROM stedi.load('own_id', :'uri' || 'b.json');
SELECT * FROM own_id;
-- and what a record says about record_id does not get in
CREATE TABLE forged (a integer, record_id bigint, rescued jsonb);
CALL regress.put('ledger/d.json', '{"a":1,"record_id":1,"recordId":2}');
SELECT status FROM stedi.load('forged', :'uri' || 'd.json');
SELECT f.a, f.record_id = o.object_id * 4294967296 + 1 AS ours, f.rescued FROM forged AS f, stedi.object AS o WHERE o.target = 'forged'::regclass;

-- Partitions and views are replaced in, too.
CREATE TABLE parts (a integer, record_id bigint) PARTITION BY HASH (a);
CREATE TABLE parts_0 PARTITION OF parts FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE VIEW window_on_parts AS SELECT * FROM parts;
SELECT status, rows_loaded FROM stedi.load('parts', :'uri' || 'b.json');
SELECT status, rows_loaded FROM stedi.load('window_on_parts', :'uri' || 'a.json', on_error => 'reject');
CALL regress.put('ledger/b.json', E'{"a":6}\n');
CALL regress.put('ledger/a.json', E'{"a":7}\n');
SELECT status, rows_loaded FROM stedi.load('parts', :'uri' || 'b.json');
SELECT status, rows_loaded FROM stedi.load('window_on_parts', :'uri' || 'a.json');
SELECT a FROM parts ORDER BY a;

-- Many objects, in one call or in many.
CALL regress.make_directory('ledger/many');
SELECT array_agg(format('{"a":%s}', i)) AS lines FROM generate_series(1, 1100) AS i \gset
CALL regress.put_lines('ledger/many', :'lines');
CREATE TABLE many (a integer, record_id bigint);
SELECT count(*) FROM stedi.load('many', :'uri' || 'many/', max_objects => 50);
SET stedi.concurrency = 64;
SELECT count(*) FROM stedi.load('many', :'uri' || 'many/', max_objects => 1000);
SET stedi.concurrency = 1;
SELECT count(*) FROM stedi.load('many', :'uri' || 'many/');
RESET stedi.concurrency;
SELECT count(*), count(DISTINCT a), min(a), max(a) FROM many;
SELECT bool_and(object_id > previous) AS in_key_order
FROM (SELECT object_id, lag(object_id) OVER (ORDER BY uri COLLATE "C") AS previous FROM stedi.object WHERE target = 'many'::regclass) AS o;

DROP VIEW ledger;
DROP VIEW window_on_parts;
DROP TABLE items, anonymous, own_id, forged, parts, many;

-- A changed object is found by the blocks that its rows went to, not by reading the table.
CREATE TABLE located (id int, filler text, record_id bigint);
CALL regress.make_directory('ledger/located');
DO $$
DECLARE
	content text := (SELECT string_agg(format(E'{"id":%s,"filler":"%s"}\n', n, repeat('x', 500)), '') FROM generate_series(1, 300) AS n);
BEGIN
	FOR i IN 11..30 LOOP
		CALL regress.put(format('ledger/located/%s.json', i), content);
	END LOOP;
END
$$;
SELECT count(*), sum(rows_loaded) FROM stedi.load('located', regress.uri('ledger/located/'));
CREATE FUNCTION pg_temp.blocks_touched() RETURNS bigint LANGUAGE sql
RETURN (SELECT heap_blks_read + heap_blks_hit FROM pg_statio_user_tables WHERE relid = 'located'::regclass);
CALL regress.put('ledger/located/20.json', E'{"id":0}\n');
SELECT pg_stat_force_next_flush();
SELECT pg_temp.blocks_touched() AS before \gset
SELECT status, rows_loaded FROM stedi.load('located', regress.uri('ledger/located/'));
SELECT pg_stat_force_next_flush();
-- its 300 rows, and the blocks that they lie in, but not those of the others
SELECT pg_temp.blocks_touched() - :before BETWEEN 300 AND 300 + pg_relation_size('located') / 8192 / 5 AS found,
	   pg_relation_size('located') / 8192 > 400 AS is_large;
SELECT count(*), count(*) FILTER (WHERE id = 0) AS new FROM located;
DROP FUNCTION pg_temp.blocks_touched();
DROP TABLE located;
