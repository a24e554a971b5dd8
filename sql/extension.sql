--
-- CREATE EXTENSION: what it makes, and that it leaves nothing behind.
--
CREATE EXTENSION stedi SCHEMA public;
CREATE EXTENSION stedi;

-- The SQL surface.  Row types and array types go with what they belong to.
CREATE TEMP VIEW member AS
SELECT d.classid, d.objid, i.type, i.identity
FROM pg_depend AS d
JOIN pg_extension AS e ON e.oid = d.refobjid AND e.extname = 'stedi'
CROSS JOIN LATERAL pg_identify_object(d.classid, d.objid, 0) AS i
WHERE d.deptype = 'e' AND d.refclassid = 'pg_extension'::regclass
  AND NOT (d.classid = 'pg_type'::regclass AND EXISTS (
	SELECT FROM pg_type AS t
	LEFT JOIN pg_class AS c ON c.oid = t.typrelid
	WHERE t.oid = d.objid AND (t.typelem <> 0 OR c.relkind <> 'c')));
SELECT type, identity FROM member ORDER BY type COLLATE "C", identity COLLATE "C";

-- Everything says what it is for.
SELECT type, identity FROM member
WHERE coalesce(obj_description(objid, classid::regclass::text), '') = '';

-- Nothing is granted to PUBLIC.
SELECT p.oid::regprocedure AS routine, a.privilege_type
FROM pg_proc AS p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS a
WHERE p.pronamespace = 'stedi'::regnamespace AND a.grantee = 0;
SELECT c.oid::regclass AS relation, a.privilege_type
FROM pg_class AS c,
	 aclexplode(coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner))) AS a
WHERE c.relnamespace = 'stedi'::regnamespace AND a.grantee = 0;
SELECT f.fdwname, a.privilege_type
FROM pg_foreign_data_wrapper AS f, aclexplode(coalesce(f.fdwacl, acldefault('F', f.fdwowner))) AS a
WHERE f.fdwname = 'stedi' AND a.grantee = 0;
SELECT n.nspname, a.privilege_type
FROM pg_namespace AS n, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) AS a
WHERE n.nspname = 'stedi' AND a.grantee = 0;

-- Every argument has a name, and every function of the SQL languages its own
-- search_path.
SELECT oid::regprocedure FROM pg_proc
WHERE pronamespace = 'stedi'::regnamespace AND pronargs > 0
  AND coalesce(cardinality(array_remove(proargnames, '')), 0) < pronargs
  AND oid <> 'stedi.fdw_validator'::regproc;
SELECT p.oid::regprocedure
FROM pg_proc AS p JOIN pg_language AS l ON l.oid = p.prolang
WHERE p.pronamespace = 'stedi'::regnamespace AND l.lanname IN ('sql', 'plpgsql')
  AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (p.proconfig), false);
-- These run with their owner's rights.
SELECT oid::regprocedure FROM pg_proc
WHERE pronamespace = 'stedi'::regnamespace AND prosecdef ORDER BY proname;

-- What pg_dump takes along.
SELECT c::regclass FROM pg_extension, unnest(extconfig) AS c
WHERE extname = 'stedi' ORDER BY c::regclass::text COLLATE "C";

-- The zones are there, populated and empty, with a unique index each, as REFRESH
-- CONCURRENTLY wants it.
SELECT z.position, z.name, c.relispopulated,
	   EXISTS (SELECT FROM pg_index AS i WHERE i.indrelid = c.oid AND i.indisunique
			   AND i.indpred IS NULL AND i.indexprs IS NULL) AS has_unique_index
FROM stedi.zone AS z JOIN pg_class AS c ON c.oid = z.name ORDER BY z.position;
SELECT matviewname FROM pg_matviews
WHERE schemaname = 'stedi' AND format('%I.%I', schemaname, matviewname)::regclass NOT IN (SELECT name FROM stedi.zone);
SELECT (SELECT count(*) FROM stedi.customer_trusted) + (SELECT count(*) FROM stedi.accelerometer_trusted)
	 + (SELECT count(*) FROM stedi.customers_curated) + (SELECT count(*) FROM stedi.device_owner)
	 + (SELECT count(*) FROM stedi.step_trainer_trusted) + (SELECT count(*) FROM stedi.machine_learning_curated) AS rows;

SELECT * FROM stedi.policy ORDER BY name;
SELECT count(*), min(length(key)) AS bytes FROM stedi.pseudonym_key;

-- The settings.
LOAD 'stedi';
SELECT name, boot_val, unit, min_val, max_val, context
FROM pg_settings WHERE name LIKE 'stedi.%' ORDER BY name COLLATE "C";
SET stedi.max_atempts = 1;
SET stedi.max_attempts = 0;

-- Drop and create again: nothing is left behind, and the pseudonyms are new ones.
CREATE TEMP TABLE before AS SELECT key FROM stedi.pseudonym_key;
CREATE SERVER regress_lake FOREIGN DATA WRAPPER stedi;
DROP EXTENSION stedi;
DROP SERVER regress_lake;
DROP EXTENSION stedi;
SELECT count(*) FROM pg_class WHERE relnamespace = 'stedi'::regnamespace;
SELECT count(*) FROM pg_proc WHERE pronamespace = 'stedi'::regnamespace;
SELECT count(*) FROM pg_type WHERE typnamespace = 'stedi'::regnamespace;
SELECT count(*) FROM pg_foreign_data_wrapper WHERE fdwname = 'stedi';
DROP VIEW member;
CREATE EXTENSION stedi;
SELECT count(*) FROM stedi.pseudonym_key AS k JOIN before USING (key);
SELECT extversion FROM pg_extension WHERE extname = 'stedi';

-- A configuration row takes the place of the one with its key, so that a dump can
-- be restored over what CREATE EXTENSION has made.
INSERT INTO stedi.policy VALUES ('min_matches', '5');
SELECT * FROM stedi.policy ORDER BY name;
INSERT INTO stedi.policy VALUES ('min_matches', '3');
INSERT INTO stedi.pseudonym_key (key) SELECT key FROM before;
SELECT count(*) AS keys, bool_and(k.key = b.key) AS restored FROM stedi.pseudonym_key AS k, before AS b;

-- Settings that make no sense are refused.
INSERT INTO stedi.policy VALUES ('min_matches', '0');
INSERT INTO stedi.policy VALUES ('sample_size', '63');
INSERT INTO stedi.policy VALUES ('min_ratio', '0.5');
INSERT INTO stedi.policy VALUES ('rules', 'lenient');
INSERT INTO stedi.policy VALUES ('min_macthes', '3');
SELECT stedi.set_policy('lenient');
SELECT stedi.set_policy(NULL);
\set VERBOSITY terse
INSERT INTO stedi.pseudonym_key (key) VALUES ('\x00');
\set VERBOSITY default
SELECT * FROM stedi.policy ORDER BY name;

-- A pseudonym is a function of key, kind and value.
SELECT stedi.pseudonym('subject', 'a@example.com') = stedi.pseudonym('subject', 'a@example.com') AS same_value,
	   stedi.pseudonym('subject', 'a@example.com') = stedi.pseudonym('subject', 'b@example.com') AS other_value,
	   stedi.pseudonym('subject', 'a@example.com') = stedi.pseudonym('device', 'a@example.com') AS other_kind,
	   stedi.pseudonym('subject', 'a@example.com')::text ~ '^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$' AS looks,
	   stedi.pseudonym('subject', NULL) IS NULL AS of_null;
BEGIN;
INSERT INTO stedi.pseudonym_key (key) VALUES (decode(repeat('0b', 32), 'hex'));
SELECT stedi.pseudonym('subject', 'a@example.com');
ROLLBACK;
