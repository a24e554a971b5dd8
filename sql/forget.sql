--
-- forget(): a person is removed from all of the lake that is in the database, and
-- kept out.  Nobody else is touched.
--
SET timezone = 'UTC';
SET client_min_messages = warning;
SET datestyle = 'ISO, MDY';
DROP ROLE IF EXISTS regress_officer;
DELETE FROM stedi.source;
DELETE FROM stedi.export_target;
TRUNCATE stedi.customer_landing, stedi.accelerometer_landing, stedi.step_trainer_landing;
CALL regress.make_directory('forget');
CALL regress.make_directory('forget/customer/landing');
CALL regress.make_directory('forget/accelerometer/landing');
CALL regress.make_directory('forget/step_trainer/landing');
SELECT stedi.attach(regress.uri('forget/'));

--
-- Dora is to be forgotten.  Bob carries the same serial number in his record, Isadora
-- an address that ends as Dora's does.  Dora is also spelled in other ways.
--
CALL regress.put('forget/customer/landing/1.json',
	E'{"customerName":"Dora","email":"dora@example.net","phone":"5550001","birthDay":"1961-02-28","serialNumber":"shared-1","lastUpdateDate":1000}\n'
	'{"customerName":"Bob","email":"bob@example.net","phone":"5550002","serialNumber":"shared-1","lastUpdateDate":1000,"shareWithResearchAsOfDate":1000,'
	'"friend":"dora@example.net","friends":["Dora@Example.net"],"note":"mail dora\\u0040example.net","dora@example.net":true,"loyalty":{"level":3}}\n'
	'{"customerName":"Isadora","email":"isadora@example.net","serialNumber":"dev-isadora","lastUpdateDate":1000,"shareWithResearchAsOfDate":1000,'
	'"otherEmail":"isadora@example.net","backup":"dora@example.net.example"}\n');
CALL regress.put('forget/customer/landing/2.json',
	'{"customerName":"Dora","email":"dora@example.net","serialNumber":"shared-1","lastUpdateDate":2000,"shareWithResearchAsOfDate":1000}'
	'{"customerName":"Dora","email":"Dora@Example.net","serialNumber":"shared-1","lastUpdateDate":2000}');
CALL regress.put('forget/customer/landing/3.json', '{"customerName":"Bob","email":"bob@example.net","serialNumber":"shared-1","lastUpdateDate":1500,"shareWithResearchAsOfDate":1000}');
DO $$
DECLARE
	who text;
	base integer := 0;
	readings text;
BEGIN
	FOREACH who IN ARRAY ARRAY['dora', 'bob', 'isadora'] LOOP
		FOR i IN 1..3 LOOP
			CALL regress.put(format('forget/accelerometer/landing/%s-%s.json', who, i),
				format(E'{"user":"%s@example.net","timeStamp":%s,"x":%s}\n', who, base + i * 1000, i));
		END LOOP;
		SELECT string_agg(format(E'{"sensorReadingTime":%s,"serialNumber":"dev-%s","distanceFromObject":%s}\n', base + i * 1000, who, i), '')
		INTO readings FROM generate_series(1, 3) AS i;
		CALL regress.put(format('forget/step_trainer/landing/%s.json', who), readings);
		base := base + 10000;
	END LOOP;
END
$$;
CALL regress.put('forget/accelerometer/landing/mixed.json',
	E'{"user":"dora@example.net","timeStamp":2000,"x":4}\n{"user":"bob@example.net","timeStamp":12000,"x":4}\n{"user":"dora@example.net","timeStamp":3000,"x":5}\n'
	'{"user":"DORA@EXAMPLE.NET","timeStamp":4000,"x":6}\n');

-- Damaged records, an object each: whether they name Dora, or her device.
CREATE TABLE damage (n serial, kind text, names_her boolean, content text);
INSERT INTO damage (kind, names_her, content) VALUES
	('accelerometer', true, '{"user":"dora@example.net","x":"bad value"}'),
	('accelerometer', true, '{"user":"dora@example.net",}'),
	('accelerometer', true, '{"user":"dora\u0040example.net","x":"escaped"}'),
	('accelerometer', true, '{"user":"\u0064\u006F\u0072a\u0040example\u002enet","x":"more of it"}'),
	('accelerometer', true, '{"user":"DORA@Example.net","x":"other case"}'),
	('accelerometer', true, '{"user":"DORA\u0040Example.net","x":"both"}'),
	('accelerometer', true, '{"user":"bob@example.net","x":"bad","note":"mail dora@example.net today"}'),
	('accelerometer', true, '{"user":"bob@example.net","x":"bad","note":"Dora <Dora@Example.net>"}'),
	('accelerometer', true, '{"user":"bob@example.net","x":"bad","note":"1.\tBob\n2.\tdora\u0040example.net\n"}'),
	('accelerometer', true, '{"user":"bob@example.net","x":"bad","note":"\ud83d\ude00 dora\u0040example.net"}'),
	('accelerometer', true, '{"user":dora@example.net,"x":"no quotes"}'),
	('accelerometer', true, '{"user":DORA@EXAMPLE.NET,"x":"no quotes"}'),
	('accelerometer', true, '{"user:"dora@example.net","x":"quotes out of step"}'),
	('accelerometer', true, '{"user":"\"dora@example.net","x":"quotes out of step"}'),
	('accelerometer', true, '{"x":"bad","user":"dora@example.net'),
	('accelerometer', true, '{''user'':''dora@example.net''}'),
	('accelerometer', true, 'dora@example.net;1000;1'),
	('accelerometer', true, 'DORA@EXAMPLE.NET;1000;1'),
	('step_trainer', true, '{"serialNumber":"dev-dora","distanceFromObject":"near"}'),
	('step_trainer', true, '{"serialNumber":"dev\u002Ddora",}'),
	('accelerometer', false, '{"user":"bob@example.net","x":"bad value"}'),
	('accelerometer', false, '{"user":"isadora@example.net","x":"bad value"}'),
	('accelerometer', false, '{"user":isadora@example.net,"x":"no quotes"}'),
	('accelerometer', false, '{"user":"dora@example.net.example","x":"bad value"}'),
	('accelerometer', false, '{"user":"dora@example.ne","x":"bad value"}'),
	('customer', false, '{"email":"bob@example.net","serialNumber":"shared-1","birthDay":"soon"}'),
	('step_trainer', false, '{"serialNumber":"dev-dora-2","distanceFromObject":"near"}'),
	('step_trainer', false, '{"serialNumber":"dev-bob","distanceFromObject":"near"}');
CREATE PROCEDURE pg_temp.put_damage(suffix text) LANGUAGE plpgsql AS $$
DECLARE
	d damage;
BEGIN
	FOR d IN SELECT * FROM damage LOOP
		CALL regress.put(format('forget/%s/landing/damage-%s.json', d.kind, lpad(d.n::text, 2, '0')), d.content || suffix);
	END LOOP;
END
$$;
CALL pg_temp.put_damage('');
-- Those whose reject is not as it ought to be: without bytes if it names her, else with.
CREATE VIEW damage_object AS
SELECT d.*, o.object_id, o.uri
FROM damage AS d
LEFT JOIN stedi.object AS o ON o.status <> 'replaced'
	AND o.uri = regress.uri(format('forget/%s/landing/damage-%s.json', d.kind, lpad(d.n::text, 2, '0')));
CREATE VIEW wrong_reject AS
SELECT d.n, d.names_her, d.content, r.byte_length, octet_length(r.raw) AS bytes
FROM damage_object AS d LEFT JOIN stedi.reject AS r USING (object_id)
WHERE r.object_id IS NULL OR octet_length(r.raw) <> CASE WHEN d.names_her THEN 0 ELSE r.byte_length END
ORDER BY d.n;

-- Everything in the schema that names her; her other spellings are somebody else's.
CREATE FUNCTION pg_temp.traces(pattern text DEFAULT '(^|[^a-z])(dora@example\.net($|[^.a-z])|dev-dora($|[^-]))')
RETURNS TABLE (relation regclass, rows bigint) LANGUAGE plpgsql AS $$
BEGIN
	FOR relation IN SELECT oid::regclass FROM pg_class
		WHERE relnamespace = 'stedi'::regnamespace AND relkind IN ('r', 'm') ORDER BY relname
	LOOP
		EXECUTE format('SELECT count(*) FROM (SELECT replace(t::text, %L, '''') AS row FROM %s AS t) AS r WHERE row ~ %L',
					   regress.base(), relation, pattern) INTO rows;
		IF rows > 0 THEN
			RETURN NEXT;
		END IF;
	END LOOP;
END
$$;
CREATE VIEW ledger AS
SELECT regexp_replace(o.uri, '^.*/forget/', '') AS object, o.status, o.rows, o.rejects, o.erased
FROM stedi.object AS o
WHERE o.uri LIKE regress.uri('forget/') || '%' AND o.uri NOT LIKE '%/damage-%'
ORDER BY o.uri COLLATE "C", o.object_id;

SELECT source, sum(rows_parsed) AS parsed, sum(rows_loaded) AS loaded, sum(rows_rejected) AS rejected FROM stedi.ingest() GROUP BY source ORDER BY source;
SELECT zone, rows FROM stedi.refresh();
SELECT serial_number, email, basis FROM stedi.device_owner ORDER BY 1;
SELECT count(*) AS kept FROM damage_object JOIN stedi.reject USING (object_id) WHERE octet_length(raw) = byte_length;
SELECT * FROM pg_temp.traces();
SELECT count(*) FROM stedi.export('stedi.machine_learning_curated', regress.uri('forget/replaced/'));
SELECT count(*) FROM stedi.export('stedi.machine_learning_curated', regress.uri('forget/replaced/'), mode => 'overwrite');
SELECT count(*) FROM stedi.export('stedi.customer_trusted', regress.uri('forget/stands/'), format => 'csv');
-- what the others have, to compare with
CREATE VIEW record AS
SELECT 'customer' AS kind, c.email AS who, to_jsonb(c) - 'record_id' - 'rescued' AS content FROM stedi.customer_landing AS c
UNION ALL SELECT 'accelerometer', a.email, to_jsonb(a) - 'record_id' FROM stedi.accelerometer_landing AS a
UNION ALL SELECT 'step_trainer', s.serial_number, to_jsonb(s) - 'record_id' FROM stedi.step_trainer_landing AS s
UNION ALL SELECT 'training', coalesce(c.email, 'somebody'), to_jsonb(m) - '{step_trainer_record_id,accelerometer_record_id}'::text[]
	FROM stedi.machine_learning_curated AS m LEFT JOIN stedi.customers_curated AS c USING (subject);
CREATE TABLE before AS SELECT * FROM record;
SELECT kind, who, count(*) FROM before GROUP BY kind, who ORDER BY kind, who COLLATE "C";
CREATE VIEW lost AS SELECT kind, who, count(*) FROM (SELECT * FROM before EXCEPT ALL SELECT * FROM record) AS r GROUP BY kind, who ORDER BY kind, who COLLATE "C";
CREATE VIEW gained AS SELECT kind, who, count(*) FROM (SELECT * FROM record EXCEPT ALL SELECT * FROM before) AS r GROUP BY kind, who ORDER BY kind, who COLLATE "C";

--
-- Whom it takes, and who may.
--
SELECT * FROM regress.error('SELECT * FROM stedi.forget(NULL)');
SELECT * FROM regress.error('SELECT * FROM stedi.forget('''')');
SELECT stedi.unforget(NULL), stedi.unforget(''), stedi.unforget('nobody@example.net');
CREATE ROLE regress_officer;
GRANT USAGE ON SCHEMA stedi TO regress_officer;
SET ROLE regress_officer;
SELECT * FROM regress.error('SELECT * FROM stedi.forget(''dora@example.net'')');
SELECT * FROM regress.error('SELECT stedi.unforget(''dora@example.net'')');
RESET ROLE;
SELECT count(*) FROM stedi.erasure;

--
-- Forgotten, by one who may do nothing else.
--
GRANT EXECUTE ON FUNCTION stedi.forget TO regress_officer;
SET ROLE regress_officer;
CREATE TEMP TABLE told AS SELECT * FROM stedi.forget('dora@example.net');
SELECT kind, regress.clean(name) AS name, records FROM told
WHERE name NOT LIKE '%/damage-%' AND (kind <> 'export made earlier' OR name LIKE regress.uri('forget/') || '%');
SELECT t, e FROM unnest(ARRAY['customer_landing', 'accelerometer_landing', 'step_trainer_landing', 'device_owner', 'reject', 'object', 'erasure', 'erasure_key', 'export_run']) AS t,
	LATERAL (SELECT e FROM regress.error('SELECT * FROM stedi.' || t) AS e LIMIT 1) AS e;
SELECT * FROM regress.error('SELECT stedi.erasure_hash(''email'', ''dora@example.net'')');
SELECT * FROM regress.error('SELECT stedi.unforget(''dora@example.net'')');
RESET ROLE;
-- it names the objects of the damaged records, too: those that name her, and no others
SELECT d.n, d.names_her, d.content, t.kind, t.records FROM damage_object AS d LEFT JOIN told AS t ON t.name = d.uri
WHERE d.names_her <> (t.records IS NOT DISTINCT FROM 1 AND t.kind = 'object still holds records') ORDER BY d.n;
DROP TABLE told;

-- Nothing is left of her, and all of the others.
SELECT * FROM pg_temp.traces();
SELECT * FROM wrong_reject;
SELECT * FROM lost;
SELECT * FROM gained;
SELECT customer_name, rescued FROM stedi.customer_landing WHERE rescued IS NOT NULL ORDER BY record_id;
SELECT name, rows FROM stedi.zone ORDER BY position;
SELECT serial_number, email, basis FROM stedi.device_owner ORDER BY 1;
-- the ledger tells how many
SELECT * FROM ledger WHERE erased > 0;
SELECT count(*) AS wrong FROM stedi.object AS o,
	LATERAL (SELECT count(*) AS n FROM (SELECT record_id FROM stedi.customer_landing UNION ALL SELECT record_id FROM stedi.accelerometer_landing
										UNION ALL SELECT record_id FROM stedi.step_trainer_landing) AS r WHERE record_id >> 32 = o.object_id) AS l
WHERE o.uri LIKE regress.uri('forget/') || '%' AND o.status IN ('loaded', 'partial') AND o.rows <> l.n;
-- who it was is kept as keyed hashes of the email and of the device's serial number
SELECT count(DISTINCT person) AS persons, bool_and(person ~ '^[0-9a-f]{32,}$' AND hash ~ '^[0-9a-f]{32,}$') AS hashes,
	   bool_or(hash = stedi.erasure_hash('email', 'dora@example.net')) AS her, bool_or(hash = stedi.erasure_hash('serial_number', 'dev-dora')) AS her_device,
	   bool_or(hash = stedi.erasure_hash('serial_number', 'shared-1')) AS the_shared_number
FROM stedi.erasure;

-- Again, there is nothing left to do; whom nobody knows can be forgotten, too.
SELECT kind, name, records FROM stedi.forget('dora@example.net') WHERE kind NOT LIKE 'export%';
SELECT kind, name, records FROM stedi.forget('nobody@example.net', refresh => false) WHERE kind NOT LIKE 'export%';
SELECT count(DISTINCT person) AS persons FROM stedi.erasure;

--
-- Kept out: of new objects, of rewritten ones, and of all when they are loaded anew.
--
CALL regress.put('forget/customer/landing/4.json',
	'{"customerName":"Dora","email":"dora@example.net","serialNumber":"shared-1","lastUpdateDate":3000,"shareWithResearchAsOfDate":1000}'
	'{"customerName":"Dora","email":"d\u006fra\u0040example.net"}');
CALL regress.put('forget/step_trainer/landing/new.json', '{"sensorReadingTime":5000,"serialNumber":"dev-dora","distanceFromObject":9}{"sensorReadingTime":5000,"serialNumber":"dev-new","distanceFromObject":9}');
CALL regress.put('forget/accelerometer/landing/mixed.json',
	E'{"user":"dora@example.net","timeStamp":2000,"x":4}\n{"user":"dora@example.net","timeStamp":5000,"x":4}\n{"user":"bob@example.net","timeStamp":12000,"x":4}\n{"user":"nobody@example.net","x":1}\n'
	'{"user":"DORA@EXAMPLE.NET","timeStamp":4000,"x":6}\n');
SELECT status, rows_parsed, rows_loaded FROM stedi.ingest(dry_run => true) ORDER BY uri COLLATE "C";
SELECT regress.clean(uri) AS uri, status, rows_parsed, rows_loaded, rows_rejected FROM stedi.ingest() ORDER BY uri COLLATE "C";
SELECT * FROM ledger WHERE object ~ 'mixed|new|customer';
SELECT * FROM pg_temp.traces();
SELECT * FROM lost;
SELECT * FROM gained;

-- New versions of what is damaged, and what was rescued of Bob's record.
CALL pg_temp.put_damage(' ');
SELECT source, sum(rows_rejected) AS rejected FROM stedi.ingest() GROUP BY source ORDER BY source;
SELECT * FROM wrong_reject;
SELECT source, sum(rows_parsed) AS parsed, sum(rows_loaded) AS loaded, sum(rows_rejected) AS rejected FROM stedi.ingest(force => true) GROUP BY source ORDER BY source;
SELECT * FROM wrong_reject;
SELECT * FROM ledger WHERE erased > 0;
SELECT zone, rows FROM stedi.refresh();
SELECT * FROM pg_temp.traces();
SELECT customer_name, rescued FROM stedi.customer_landing WHERE rescued IS NOT NULL ORDER BY record_id;
SELECT * FROM lost;
SELECT * FROM gained;

-- load() keeps them out of any table that has a column email or, without one, serial_number.
CREATE TABLE phones (email text, x float8, record_id bigint);
CREATE TABLE devices (serial_number text, distance_from_object integer);
CREATE TABLE neither ("user" text, x float8);
SELECT rows_parsed, rows_loaded FROM stedi.load('phones', regress.uri('forget/accelerometer/landing/mixed.json'), aliases => '{"user": "email"}');
SELECT rows_parsed, rows_loaded FROM stedi.load('devices', regress.uri('forget/step_trainer/landing/new.json'));
SELECT rows_parsed, rows_loaded FROM stedi.load('neither', regress.uri('forget/accelerometer/landing/mixed.json'));
SELECT target, rows, erased FROM stedi.object WHERE target IN ('phones'::regclass, 'devices'::regclass, 'neither'::regclass) ORDER BY object_id;
SELECT email, x FROM phones;
SELECT * FROM devices;
DROP TABLE phones, devices, neither;

--
-- Unforgotten: what was loaded meanwhile comes back when it is loaded with force.
--
SELECT stedi.unforget('DORA@example.net');
SELECT stedi.unforget('dora@example.net');
SELECT stedi.unforget('dora@example.net');
SELECT stedi.unforget('nobody@example.net');
SELECT count(*) FROM stedi.erasure;
SELECT count(*) FROM stedi.ingest();
SELECT count(*) FROM stedi.ingest(force => true) WHERE rows_loaded + rows_rejected <> rows_parsed;
SELECT sum(erased) FROM stedi.object WHERE source IS NOT NULL AND uri LIKE regress.uri('forget/') || '%' AND status IN ('loaded', 'partial');
SELECT zone, rows FROM stedi.refresh();
SELECT serial_number, email, basis FROM stedi.device_owner ORDER BY 1;
SELECT * FROM lost;
SELECT * FROM gained;
SELECT count(*) AS kept FROM damage_object JOIN stedi.reject USING (object_id) WHERE octet_length(raw) = byte_length;
SELECT rescued FROM stedi.customer_landing WHERE email = 'bob@example.net' AND rescued IS NOT NULL;

-- Without a refresh the zones are as they were, until the next one.
SELECT kind, name, records FROM stedi.forget('dora@example.net', refresh => false) WHERE kind = 'rows erased';
SELECT count(*) FROM stedi.customer_landing WHERE email = 'dora@example.net';
SELECT count(*) FROM stedi.customers_curated WHERE email = 'dora@example.net';
SELECT count(*) FROM stedi.refresh();
SELECT count(*) FROM stedi.customers_curated WHERE email = 'dora@example.net';
SELECT * FROM pg_temp.traces();

-- Rolled back, nobody was forgotten.
BEGIN;
SELECT kind, name, records FROM stedi.forget('bob@example.net') WHERE kind = 'rows erased';
ROLLBACK;
SELECT count(*) FROM stedi.customer_landing WHERE email = 'bob@example.net';
SELECT count(DISTINCT person) FROM stedi.erasure;

-- A new key for pseudonyms changes the subjects at the next refresh.  Who was
-- forgotten is told by a key of its own, and stays out.
CREATE TABLE old_subject AS SELECT email, subject FROM stedi.customers_curated;
SELECT count(*) FROM old_subject;
SELECT stedi.rotate_pseudonym_key();
SELECT count(*) FROM stedi.customers_curated JOIN old_subject USING (email, subject);
SELECT count(*) FROM stedi.refresh();
SELECT count(*), count(*) FILTER (WHERE c.subject = o.subject) AS same FROM stedi.customers_curated AS c JOIN old_subject AS o USING (email);
SELECT count(*) FROM stedi.machine_learning_curated WHERE subject IN (SELECT subject FROM old_subject);
SELECT sum(rows_parsed) - sum(rows_loaded) - sum(rows_rejected) AS erased FROM stedi.ingest(force => true);
SELECT * FROM pg_temp.traces();
BEGIN;
SELECT kind, name, records FROM stedi.forget('bob@example.net') WHERE kind = 'rows erased';
ROLLBACK;
DROP TABLE old_subject;

-- What stops a refresh does not stop an erasure.
INSERT INTO stedi.expectation VALUES ('customer_serial_number_shared', 'fail');
SELECT * FROM regress.error('SELECT * FROM stedi.refresh()') LIMIT 1;
SELECT * FROM regress.error('SELECT * FROM stedi.forget(''isadora@example.net'')');
SELECT count(*) FROM stedi.customer_landing WHERE email = 'isadora@example.net';
SELECT count(*) FROM stedi.customers_curated WHERE email = 'isadora@example.net';
INSERT INTO stedi.expectation VALUES ('customer_serial_number_shared', 'warn');

-- The characters of LIKE are characters like any other.
CALL regress.put('forget/customer/landing/5.json',
	'{"email":"d_%\\@example.net","friend":"dxx@example.net"}{"email":"dxx@example.net","friend":"d_%\\@example.net","serialNumber":"shared-1"}{"email":"d__@example.net","friend":"d_x\\@example.net"}');
SELECT rows_loaded FROM stedi.ingest('customer');
SELECT kind, regress.clean(name) AS name, records FROM stedi.forget('d_%\@example.net', refresh => false) WHERE kind NOT LIKE 'export%' AND records > 0;
SELECT email, rescued FROM stedi.customer_landing WHERE email LIKE 'd_%@example.net' AND email <> 'dora@example.net' ORDER BY email;

-- Whose device it is does not change for the others.  One that both Eve and Fay claim,
-- and one that Eve claims and Gus's phone speaks against, are nobody's before, and
-- not Eve's after.
CALL regress.put('forget/customer/landing/6.json',
	'{"email":"eve@example.net","serialNumber":"dev-both","lastUpdateDate":1000,"shareWithResearchAsOfDate":1000}'
	'{"email":"eve@example.net","serialNumber":"dev-gus","lastUpdateDate":1000,"shareWithResearchAsOfDate":1000}'
	'{"email":"fay@example.net","serialNumber":"dev-both","lastUpdateDate":1000}'
	'{"email":"gus@example.net","lastUpdateDate":1000}');
CALL regress.put('forget/accelerometer/landing/eve.json',
	'{"user":"eve@example.net","timeStamp":90000,"x":1}{"user":"gus@example.net","timeStamp":92000,"x":1}{"user":"gus@example.net","timeStamp":93000,"x":1}');
CALL regress.put('forget/step_trainer/landing/either.json',
	'{"sensorReadingTime":91000,"serialNumber":"dev-both","distanceFromObject":1}'
	'{"sensorReadingTime":92000,"serialNumber":"dev-gus","distanceFromObject":1}{"sensorReadingTime":93000,"serialNumber":"dev-gus","distanceFromObject":1}');
SELECT count(*) FROM stedi.ingest();
SELECT count(*) FROM stedi.refresh();
SELECT serial_number, email, basis FROM stedi.device_owner WHERE serial_number IN ('dev-both', 'dev-gus') ORDER BY 1;
SELECT count(*) FROM stedi.forget('fay@example.net') WHERE kind = 'rows erased';
SELECT count(*) FROM stedi.forget('gus@example.net') WHERE kind = 'rows erased';
SELECT serial_number, email, basis FROM stedi.device_owner WHERE serial_number IN ('dev-both', 'dev-gus') ORDER BY 1;
SELECT count(*) FROM stedi.step_trainer_trusted WHERE email = 'eve@example.net';

-- Of several who were forgotten one claim is enough, and the most matches count.
INSERT INTO stedi.erasure_device (person, hash, claimed, matched)
SELECT person, stedi.erasure_hash('serial_number', 'dev-old'), claimed, matched
FROM (VALUES ('one', true, 2), ('two', false, 5), ('three', false, 1)) AS p(person, claimed, matched);
SELECT * FROM stedi.erased_rival('dev-old');
SELECT * FROM stedi.erased_rival('dev-unheard-of');
DELETE FROM stedi.erasure_device WHERE person IN ('one', 'two', 'three');

DROP VIEW wrong_reject, damage_object, lost, gained, ledger, record;
DROP TABLE damage, before;
DELETE FROM stedi.erasure;
DELETE FROM stedi.source;
DELETE FROM stedi.export_target;
TRUNCATE stedi.customer_landing, stedi.accelerometer_landing, stedi.step_trainer_landing;
SELECT count(*) FROM stedi.refresh();
DROP OWNED BY regress_officer;
DROP ROLE regress_officer;
