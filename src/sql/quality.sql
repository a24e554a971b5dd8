-- What is expected of the landing tables, and how far they meet it.

CREATE TABLE stedi.expectation (
	name text PRIMARY KEY CHECK (name IN (
		'customer_email_missing',
		'customer_email_case',
		'customer_serial_number_shared',
		'accelerometer_customer_missing',
		'accelerometer_email_case',
		'accelerometer_before_registration',
		'accelerometer_clock',
		'accelerometer_duplicate',
		'step_trainer_owner_missing',
		'step_trainer_before_registration',
		'step_trainer_clock',
		'step_trainer_duplicate')),
	severity text NOT NULL DEFAULT 'warn' CHECK (severity IN ('warn', 'fail'))
);
COMMENT ON TABLE stedi.expectation IS 'what is expected of the landing tables, see stedi.quality';
COMMENT ON COLUMN stedi.expectation.name IS 'what stedi.quality calls it';
COMMENT ON COLUMN stedi.expectation.severity IS
	'warn: stedi.quality tells; fail: refresh() and run() stop as well, before any zone is replaced';

CREATE TRIGGER replace_row BEFORE INSERT ON stedi.expectation
	FOR EACH ROW EXECUTE FUNCTION stedi.replace_row('name');
SELECT pg_catalog.pg_extension_config_dump('stedi.expectation', '');

INSERT INTO stedi.expectation (name) VALUES
	('customer_email_missing'),
	('customer_email_case'),
	('customer_serial_number_shared'),
	('accelerometer_customer_missing'),
	('accelerometer_email_case'),
	('accelerometer_before_registration'),
	('accelerometer_clock'),
	('accelerometer_duplicate'),
	('step_trainer_owner_missing'),
	('step_trainer_before_registration'),
	('step_trainer_clock'),
	('step_trainer_duplicate');

-- Rows are rows of the landing table that "zone" names.  The example is the
-- record_id of one that fails, never a personal value.
--
-- The two WITH parts read their tables once for several expectations.  Asked for
-- some names, the view works out nothing else.

CREATE VIEW stedi.quality WITH (security_invoker = true) AS
WITH customer AS (
	SELECT email, min(registration_date) AS registered
	FROM stedi.customer_landing
	WHERE email IS NOT NULL
	GROUP BY email
), accelerometer AS MATERIALIZED (
	SELECT coalesce(sum(r.rows), 0) AS rows,
		   coalesce(sum(r.rows) FILTER (WHERE r.unknown), 0) AS unknown,
		   min(r.example) FILTER (WHERE r.unknown) AS unknown_example,
		   coalesce(sum(r.rows) FILTER (WHERE f.email IS NOT NULL), 0) AS respelled,
		   min(r.example) FILTER (WHERE f.email IS NOT NULL) AS respelled_example,
		   coalesce(sum(r.early), 0) AS early,
		   min(r.early_example) AS early_example
	FROM (
		SELECT a.email, c.email IS NULL AS unknown,
			   count(*) AS rows, min(a.record_id) AS example,
			   count(*) FILTER (WHERE a."timestamp" < c.registered) AS early,
			   min(a.record_id) FILTER (WHERE a."timestamp" < c.registered) AS early_example
		FROM stedi.accelerometer_landing AS a
		LEFT JOIN customer AS c ON c.email = a.email
		GROUP BY a.email, c.email
	) AS r
	LEFT JOIN (SELECT DISTINCT lower(email) AS email FROM customer) AS f
	  ON r.unknown AND f.email = lower(r.email)
), step_trainer AS MATERIALIZED (
	SELECT count(*) AS rows,
		   count(*) FILTER (WHERE d.email IS NULL) AS unowned,
		   min(s.record_id) FILTER (WHERE d.email IS NULL) AS unowned_example,
		   count(*) FILTER (WHERE s.sensor_reading_time < c.registered) AS early,
		   min(s.record_id) FILTER (WHERE s.sensor_reading_time < c.registered) AS early_example
	FROM stedi.step_trainer_landing AS s
	LEFT JOIN stedi.device_evidence AS d ON d.serial_number = s.serial_number
	LEFT JOIN customer AS c ON c.email = d.email
), result AS (
	-- Customer records that name nobody: without an email, or with none that the
	-- zones take.
	SELECT 'customer_email_missing' AS name, 'customer_landing' AS zone,
		   count(*)::bigint AS rows_checked,
		   count(*) FILTER (WHERE (octet_length(email) BETWEEN 1 AND 1000) IS NOT TRUE) AS rows_failing,
		   min(record_id) FILTER (WHERE (octet_length(email) BETWEEN 1 AND 1000) IS NOT TRUE) AS example
	FROM stedi.customer_landing
	UNION ALL
	-- Customer records under emails that differ only in case.  They count as
	-- different people until someone decides.
	SELECT 'customer_email_case', 'customer_landing',
		   coalesce(sum(rows), 0)::bigint,
		   coalesce(sum(rows) FILTER (WHERE several), 0)::bigint,
		   min(example) FILTER (WHERE several)
	FROM (SELECT count(*) AS rows, min(email) <> max(email) AS several, min(record_id) AS example
		  FROM stedi.customer_landing
		  WHERE email IS NOT NULL
		  GROUP BY lower(email)) AS spelling
	UNION ALL
	-- Customer records with a serial number that several customers claim.
	SELECT 'customer_serial_number_shared', 'customer_landing',
		   coalesce(sum(rows), 0)::bigint,
		   coalesce(sum(rows) FILTER (WHERE several), 0)::bigint,
		   min(example) FILTER (WHERE several)
	FROM (SELECT count(*) AS rows, min(email) <> max(email) AS several, min(record_id) AS example
		  FROM stedi.customer_landing
		  WHERE serial_number IS NOT NULL
		  GROUP BY serial_number) AS claim
	UNION ALL
	-- Accelerometer readings of nobody who is a customer.
	SELECT 'accelerometer_customer_missing', 'accelerometer_landing',
		   rows::bigint, unknown::bigint, unknown_example
	FROM accelerometer
	UNION ALL
	-- Those of them that would be a customer's, were case of no account.
	SELECT 'accelerometer_email_case', 'accelerometer_landing',
		   rows::bigint, respelled::bigint, respelled_example
	FROM accelerometer
	UNION ALL
	-- Accelerometer readings from before the customer's first registration.
	SELECT 'accelerometer_before_registration', 'accelerometer_landing',
		   rows::bigint, early::bigint, early_example
	FROM accelerometer
	UNION ALL
	-- Accelerometer readings without a time, from before 2000, or later than
	-- their object was written.
	SELECT 'accelerometer_clock', 'accelerometer_landing',
		   count(*), count(*) FILTER (WHERE off), min(record_id) FILTER (WHERE off)
	FROM (SELECT a.record_id,
				 (a."timestamp" BETWEEN '2000-01-01 00:00:00+00'
									AND coalesce(o.last_modified, now())) IS NOT TRUE AS off
		  FROM stedi.accelerometer_landing AS a
		  LEFT JOIN stedi.object AS o ON o.object_id = a.record_id >> 32) AS clock
	UNION ALL
	-- Accelerometer readings that an earlier row equals in every value.
	SELECT 'accelerometer_duplicate', 'accelerometer_landing',
		   coalesce(sum(rows), 0)::bigint,
		   coalesce(sum(rows - 1), 0)::bigint,
		   min(example) FILTER (WHERE rows > 1)
	FROM (SELECT count(*) AS rows, max(record_id) AS example
		  FROM stedi.accelerometer_landing
		  GROUP BY email, "timestamp", x, y, z) AS reading
	UNION ALL
	-- Step Trainer readings of devices whose owner is not settled.
	SELECT 'step_trainer_owner_missing', 'step_trainer_landing',
		   rows, unowned, unowned_example
	FROM step_trainer
	UNION ALL
	-- Step Trainer readings from before their owner's first registration.
	SELECT 'step_trainer_before_registration', 'step_trainer_landing',
		   rows, early, early_example
	FROM step_trainer
	UNION ALL
	-- Step Trainer readings without a time, from before 2000, or later than their
	-- object was written.
	SELECT 'step_trainer_clock', 'step_trainer_landing',
		   count(*), count(*) FILTER (WHERE off), min(record_id) FILTER (WHERE off)
	FROM (SELECT s.record_id,
				 (s.sensor_reading_time BETWEEN '2000-01-01 00:00:00+00'
											AND coalesce(o.last_modified, now())) IS NOT TRUE AS off
		  FROM stedi.step_trainer_landing AS s
		  LEFT JOIN stedi.object AS o ON o.object_id = s.record_id >> 32) AS clock
	UNION ALL
	-- Step Trainer readings that an earlier row equals in every value.
	SELECT 'step_trainer_duplicate', 'step_trainer_landing',
		   coalesce(sum(rows), 0)::bigint,
		   coalesce(sum(rows - 1), 0)::bigint,
		   min(example) FILTER (WHERE rows > 1)
	FROM (SELECT count(*) AS rows, max(record_id) AS example
		  FROM stedi.step_trainer_landing
		  GROUP BY serial_number, sensor_reading_time, distance_from_object) AS reading
)
SELECT r.name, r.zone, e.severity, r.rows_checked, r.rows_failing, r.example
FROM stedi.expectation AS e
JOIN result AS r ON r.name = e.name;
COMMENT ON VIEW stedi.quality IS
	'expectations of the landing tables as they are now: rows checked, rows failing, the record_id of one that fails';
COMMENT ON COLUMN stedi.quality.name IS 'the expectation, in stedi.expectation';
COMMENT ON COLUMN stedi.quality.zone IS 'landing table whose rows are counted';
COMMENT ON COLUMN stedi.quality.severity IS 'warn or fail, from stedi.expectation';
COMMENT ON COLUMN stedi.quality.rows_checked IS 'rows that the expectation applies to';
COMMENT ON COLUMN stedi.quality.rows_failing IS 'rows that do not meet it';
COMMENT ON COLUMN stedi.quality.example IS 'record_id of one of them, see stedi.provenance()';

CREATE FUNCTION stedi.check_expectations() RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
DECLARE
	required text[] := (SELECT array_agg(name) FROM stedi.expectation WHERE severity = 'fail');
	names text;
	details text;
BEGIN
	IF required IS NULL THEN
		RETURN;
	END IF;
	-- As a constant, so that the plan leaves out what is not asked for.
	EXECUTE format(
		$query$
		SELECT string_agg(name, ', ' ORDER BY name),
			   string_agg(format('%%s: %%s of %%s rows of %%s, for example record %%s.',
								 name, rows_failing, rows_checked, zone, example),
						  chr(10) ORDER BY name)
		FROM stedi.quality
		WHERE name = ANY (%L) AND rows_failing > 0
		$query$, required)
	INTO names, details;
	IF names IS NOT NULL THEN
		RAISE check_violation USING
			MESSAGE = format('landing data does not meet %s', names),
			DETAIL = details,
			HINT = 'No zone was replaced. See stedi.quality and stedi.provenance(); stedi.expectation says which expectations stop a refresh.';
	END IF;
END
$$;
COMMENT ON FUNCTION stedi.check_expectations() IS
	'an error if an expectation of severity fail is not met; refresh() calls it before it replaces a zone';

