--
-- reconcile(): the difference between the two rules, zone by zone, against the
-- zones themselves: refreshed under one rule and the other, and compared row by row.
--
SET timezone = 'UTC';
SET client_min_messages = warning;
SET datestyle = 'ISO, MDY';
TRUNCATE stedi.customer_landing, stedi.accelerometer_landing, stedi.step_trainer_landing;
CREATE FUNCTION pg_temp.at(integer) RETURNS timestamptz LANGUAGE sql IMMUTABLE
RETURN timestamptz '2022-06-18 15:00:00+00' + $1 * interval '1 second';

-- An empty lake: every zone, no cause.
SELECT * FROM stedi.reconcile();

-- Every cause once.  What each device is there for is in its serial number.
INSERT INTO stedi.customer_landing (email, serial_number, last_update_date, share_with_research_as_of_date, record_id) VALUES
	('ann', 'of ann', pg_temp.at(-9), pg_temp.at(-9), 1),
	('bob', 'of bob', pg_temp.at(-9), pg_temp.at(4), 2),	-- agreed half-way
	('cy', 'of cy', pg_temp.at(-9), NULL, 3),				-- did not agree
	('di', 'of cy', pg_temp.at(-9), pg_temp.at(-9), 4),		-- was given cy's number
	('ed', 'of ed', pg_temp.at(-9), pg_temp.at(306), 5),	-- agreed when the phone was put away
	('gil', 'of ed', pg_temp.at(-9), pg_temp.at(-9), 8),	-- was given ed's number
	('jo', 'of ann', pg_temp.at(-9), pg_temp.at(-9), 9),	-- was given ann's number
	('hal', 'of hal', pg_temp.at(-9), pg_temp.at(-9), 10),	-- whose phone tells no time
	('flo', 'old of flo', pg_temp.at(-9), NULL, 6),
	('flo', 'nobody''s', pg_temp.at(-8), pg_temp.at(-8), 7);
INSERT INTO stedi.accelerometer_landing (email, "timestamp", x, record_id)
SELECT email, pg_temp.at(moment), moment, row_number() OVER ()
FROM (VALUES ('ann', 0, 5), ('bob', 0, 7), ('bob', 10, 19), ('cy', 100, 105), ('di', 200, 205),
			 ('ed', 300, 305), ('flo', 400, 401), ('gil', 307, 307), ('gil', 500, 501),
			 ('jo', 100, 100), ('jo', 600, 601)) AS phone (email, first, last),
	 generate_series(first, last) AS moment;
INSERT INTO stedi.accelerometer_landing (email, "timestamp", x, record_id) VALUES ('ann', NULL, 0, 100), ('hal', NULL, 0, 101);
INSERT INTO stedi.step_trainer_landing (sensor_reading_time, serial_number, distance_from_object, record_id)
SELECT pg_temp.at(moment), serial_number, moment, row_number() OVER ()
FROM (VALUES ('of ann', 0, 5), ('of bob', 0, 7), ('of bob', 10, 19), ('of cy', 100, 105), ('of di', 200, 205),
			 ('of ed', 300, 308), ('old of flo', 400, 401), ('of hal', 700, 701), ('nobody''s', 800, 801)) AS device (serial_number, first, last),
	 generate_series(first, last) AS moment;
INSERT INTO stedi.step_trainer_landing (sensor_reading_time, serial_number, record_id) VALUES (NULL, 'of bob', 100);
SELECT serial_number, email, basis, matched, runner_up FROM stedi.device_evidence ORDER BY 1;
SELECT * FROM stedi.reconcile();
SELECT zone, published_rows + sum(rows) AS adds_up_to, strict_rows FROM stedi.reconcile()
GROUP BY zone, published_rows, strict_rows ORDER BY published_rows, zone COLLATE "C";

-- The zones have as many rows.  The rules in force make no difference to it, and
-- it makes none to the zones.
CREATE TEMP TABLE before AS SELECT * FROM stedi.reconcile();
CREATE FUNCTION pg_temp.refreshed(rules text) RETURNS TABLE (zone text, rows bigint) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM stedi.set_policy(rules);
	RETURN QUERY SELECT r.zone, r.rows FROM stedi.refresh() AS r WHERE r.zone <> 'device_owner';
END
$$;
CREATE TEMP TABLE strict AS SELECT * FROM pg_temp.refreshed('strict');
SELECT zone, p.rows AS published, s.rows AS strict
FROM strict AS s FULL JOIN pg_temp.refreshed('published') AS p USING (zone)
ORDER BY p.rows, zone COLLATE "C";
SELECT * FROM stedi.reconcile() EXCEPT ALL SELECT * FROM before;

-- It follows the other settings: the claims of flo and hal need a match now.
UPDATE stedi.policy SET value = '1' WHERE name = 'min_claim_matches';
SELECT * FROM (
	SELECT 'before' AS which, * FROM (SELECT * FROM before EXCEPT ALL SELECT * FROM stedi.reconcile()) AS b
	UNION ALL
	SELECT 'since', * FROM (SELECT * FROM stedi.reconcile() EXCEPT ALL SELECT * FROM before) AS s
) AS r
ORDER BY which, zone COLLATE "C", rows, cause COLLATE "C";
SELECT zone, rows FROM pg_temp.refreshed('strict') WHERE zone ~ '^(step|machine)' ORDER BY zone COLLATE "C";
UPDATE stedi.policy SET value = '0' WHERE name = 'min_claim_matches';

-- It follows the landing tables, the zones their refresh.
SELECT count(*) FROM pg_temp.refreshed('published');
SELECT count(*) FROM stedi.step_trainer_trusted;
TRUNCATE stedi.step_trainer_landing;
SELECT * FROM stedi.reconcile() WHERE zone IN ('step_trainer_trusted', 'machine_learning_curated');
SELECT count(*) FROM stedi.step_trainer_trusted;

-- Made-up populations.  The zones under either rule, with the email for its
-- pseudonym, and the difference worked out from them row by row.
CREATE FUNCTION pg_temp.pick(population integer, what text, choices integer) RETURNS integer LANGUAGE sql
RETURN abs(hashtextextended(what, population) % choices);

CREATE PROCEDURE pg_temp.populate(p integer) LANGUAGE plpgsql AS $$
BEGIN
	TRUNCATE stedi.customer_landing, stedi.accelerometer_landing, stedi.step_trainer_landing;
	-- Up to three records of a customer; serial numbers right, shared or missing.
	INSERT INTO stedi.customer_landing (email, serial_number, last_update_date, share_with_research_as_of_date, record_id)
	SELECT 'c' || c,
		   CASE pg_temp.pick(p, 'claim' || c || r, 6)
				WHEN 0 THEN NULL
				WHEN 1 THEN 'shared'
				WHEN 2 THEN 'd' || pg_temp.pick(p, 'whose' || c || r, 12)
				ELSE 'd' || c END,
		   pg_temp.at(pg_temp.pick(p, 'update' || c || r, 3)),
		   CASE WHEN pg_temp.pick(p, 'agrees' || c || r, 3) > 0
				THEN pg_temp.at(pg_temp.pick(p, 'since' || c || r, 80) - 30) END,
		   c * 3 + r
	FROM generate_series(0, 9) AS c, generate_series(0, 2) AS r
	WHERE r <= pg_temp.pick(p, 'records' || c, 3);
	-- Phones read at a quarter of the moments, some twice, some at no time.
	INSERT INTO stedi.accelerometer_landing (email, "timestamp", x, record_id)
	SELECT 'c' || c, CASE WHEN m > 0 THEN pg_temp.at(m) END, m, c * 1000 + m * 2 + n
	FROM generate_series(0, 10) AS c, generate_series(0, 40) AS m, generate_series(0, 1) AS n
	WHERE pg_temp.pick(p, 'silent' || c, 6) > 0
	  AND pg_temp.pick(p, 'phone' || c || m, 4) = 0 AND pg_temp.pick(p, 'phone' || c || m || n, 3) > 0;
	-- Devices at the moments of their wearer, or at any; the last have no wearer.
	INSERT INTO stedi.step_trainer_landing (sensor_reading_time, serial_number, distance_from_object, record_id)
	SELECT CASE WHEN m > 0 THEN pg_temp.at(m) END,
		   CASE WHEN c = 11 THEN 'shared' ELSE 'd' || c END, m, c * 1000 + m
	FROM generate_series(0, 11) AS c, generate_series(0, 40) AS m
	WHERE pg_temp.pick(p, 'phone' || c || m, 4) = 0 OR pg_temp.pick(p, 'step' || c || m, 20) = 0;
END
$$;

CREATE TEMP TABLE accelerometer (rules text, record_id bigint, no_time boolean);
CREATE TEMP TABLE curated (rules text, email text);
CREATE TEMP TABLE step (rules text, record_id bigint, email text, serial_number text, at timestamptz);
CREATE TEMP TABLE training (rules text, step_record_id bigint, accelerometer_record_id bigint, email text);

CREATE PROCEDURE pg_temp.note(rules text) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM stedi.set_policy(rules);
	PERFORM stedi.refresh();
	INSERT INTO accelerometer SELECT rules, record_id, "timestamp" IS NULL FROM stedi.accelerometer_trusted;
	INSERT INTO curated SELECT rules, email FROM stedi.customers_curated;
	INSERT INTO step SELECT rules, record_id, email, serial_number, sensor_reading_time FROM stedi.step_trainer_trusted;
	INSERT INTO training
	SELECT rules, m.step_trainer_record_id, m.accelerometer_record_id, c.email
	FROM stedi.machine_learning_curated AS m JOIN stedi.customers_curated AS c USING (subject);
END
$$;

CREATE TEMP VIEW step_cause AS
SELECT p.record_id, p.email,
	   CASE WHEN o.email IS NULL THEN 'unresolved device'
			WHEN o.email NOT IN (SELECT email FROM stedi.customer_trusted) THEN 'device of a customer without consent'
			WHEN o.email <> p.email THEN 'device of another customer'
			WHEN p.at IS NULL THEN 'reading without a time'
			WHEN p.at < t.share_with_research_as_of_date THEN 'reading before consent'
			WHEN p.email NOT IN (SELECT email FROM curated WHERE rules = 'strict') THEN 'customer without a reading after consent'
	   END AS cause
FROM step AS p
JOIN stedi.device_owner AS o USING (serial_number)
JOIN stedi.customer_trusted AS t ON t.email = p.email
WHERE p.rules = 'published'
  AND NOT EXISTS (SELECT FROM step AS s WHERE s.rules = 'strict' AND (s.record_id, s.email) = (p.record_id, p.email))
UNION ALL
SELECT s.record_id, s.email,
	   CASE o.basis WHEN 'evidence' THEN 'device not claimed by its owner, settled by evidence'
					WHEN 'claim' THEN 'device claimed by an earlier record of its owner' END
FROM step AS s
JOIN stedi.device_owner AS o USING (serial_number)
WHERE s.rules = 'strict'
  AND NOT EXISTS (SELECT FROM step AS p WHERE p.rules = 'published' AND (p.record_id, p.email) = (s.record_id, s.email));

CREATE TEMP VIEW cause AS
SELECT 'accelerometer_trusted' AS zone, -1 AS sign,
	   CASE WHEN no_time THEN 'reading without a time' ELSE 'reading before consent' END AS cause
FROM accelerometer AS p
WHERE rules = 'published' AND record_id NOT IN (SELECT record_id FROM accelerometer WHERE rules = 'strict')
UNION ALL
SELECT 'customers_curated', -1, 'customer without a reading after consent'
FROM curated
WHERE rules = 'published' AND email NOT IN (SELECT email FROM curated WHERE rules = 'strict')
UNION ALL
SELECT 'step_trainer_trusted', CASE WHEN cause ~ 'its owner' THEN 1 ELSE -1 END, cause
FROM step_cause
UNION ALL
SELECT 'machine_learning_curated', CASE WHEN p.rules = 'strict' THEN 1 ELSE -1 END,
	   coalesce(c.cause, CASE WHEN a.email <> p.email THEN 'accelerometer of another customer' END)
FROM training AS p
JOIN stedi.accelerometer_landing AS a ON a.record_id = p.accelerometer_record_id
LEFT JOIN step_cause AS c ON c.record_id = p.step_record_id AND c.email = p.email
WHERE NOT EXISTS (SELECT FROM training AS o
				  WHERE o.rules <> p.rules
					AND (o.step_record_id, o.accelerometer_record_id, o.email)
					  = (p.step_record_id, p.accelerometer_record_id, p.email));

CREATE TEMP VIEW expected AS
WITH total AS (
	SELECT 'customer_trusted' AS zone, count(*) AS published, count(*) AS strict FROM stedi.customer_trusted
	UNION ALL
	SELECT 'accelerometer_trusted', count(*) FILTER (WHERE rules = 'published'), count(*) FILTER (WHERE rules = 'strict') FROM accelerometer
	UNION ALL
	SELECT 'customers_curated', count(*) FILTER (WHERE rules = 'published'), count(*) FILTER (WHERE rules = 'strict') FROM curated
	UNION ALL
	SELECT 'step_trainer_trusted', count(*) FILTER (WHERE rules = 'published'), count(*) FILTER (WHERE rules = 'strict') FROM step
	UNION ALL
	SELECT 'machine_learning_curated', count(*) FILTER (WHERE rules = 'published'), count(*) FILTER (WHERE rules = 'strict') FROM training
)
SELECT zone, t.published, t.strict, c.cause, coalesce(sum(c.sign), 0)::bigint AS rows
FROM total AS t LEFT JOIN cause AS c USING (zone)
GROUP BY zone, t.published, t.strict, c.cause;

CREATE TEMP TABLE found (population integer, side text, zone text, published_rows bigint, strict_rows bigint, cause text, rows bigint);
CREATE TEMP TABLE told (LIKE found);
DO $$
BEGIN
	FOR p IN 1 .. 30 LOOP
		TRUNCATE accelerometer, curated, step, training;
		CALL pg_temp.populate(p);
		CALL pg_temp.note('strict');
		CALL pg_temp.note('published');
		INSERT INTO told SELECT p, NULL, * FROM stedi.reconcile();
		INSERT INTO found
		SELECT p, 'reconcile', * FROM (SELECT * FROM stedi.reconcile() EXCEPT ALL SELECT * FROM expected) AS d
		UNION ALL
		SELECT p, 'zones', * FROM (SELECT * FROM expected EXCEPT ALL SELECT * FROM stedi.reconcile()) AS d;
	END LOOP;
END
$$;
SELECT * FROM found ORDER BY population, zone, cause, side;

-- It adds up.
SELECT population, zone FROM told
GROUP BY population, zone, published_rows, strict_rows
HAVING published_rows + sum(rows) <> strict_rows OR min(published_rows) IS NULL;

-- Every cause occurred, more than once.
SELECT zone, cause FROM told GROUP BY zone, cause HAVING count(*) > 1 ORDER BY zone COLLATE "C", cause COLLATE "C" NULLS FIRST;

SELECT stedi.set_policy('strict');

-- Somebody who was forgotten speaks against a claim as before.
TRUNCATE stedi.customer_landing, stedi.accelerometer_landing, stedi.step_trainer_landing;
INSERT INTO stedi.customer_landing (email, serial_number, share_with_research_as_of_date, record_id) VALUES
	('ann', 'shared', NULL, 1),
	('bob', 'shared', pg_temp.at(0), 2);
INSERT INTO stedi.accelerometer_landing (email, "timestamp", record_id) VALUES ('bob', pg_temp.at(0), 1);
INSERT INTO stedi.step_trainer_landing (sensor_reading_time, serial_number, record_id) VALUES (pg_temp.at(100), 'shared', 1);
SELECT * FROM stedi.reconcile() WHERE zone = 'step_trainer_trusted';
SELECT kind, name, records FROM stedi.forget('ann') WHERE records > 0;
SELECT * FROM stedi.reconcile() WHERE zone = 'step_trainer_trusted';
SELECT (SELECT count(*) FROM stedi.step_trainer_trusted) AS trusted, count(*) AS unattributed FROM stedi.step_trainer_unattributed;
SELECT name, rows_failing FROM stedi.quality WHERE name = 'step_trainer_owner_missing';
SELECT stedi.unforget('ann');

TRUNCATE stedi.customer_landing, stedi.accelerometer_landing, stedi.step_trainer_landing;
SELECT count(*) FROM stedi.refresh();
