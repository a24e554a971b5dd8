-- Rebuilding the zones.

CREATE TABLE stedi.zone (
	name regclass PRIMARY KEY,
	position integer NOT NULL UNIQUE,
	rows bigint,
	refreshed_at timestamptz,
	elapsed interval,
	rules text
);
COMMENT ON TABLE stedi.zone IS 'the materialized views in dependency order, and their last refresh()';
COMMENT ON COLUMN stedi.zone.name IS 'the materialized view';
COMMENT ON COLUMN stedi.zone.position IS 'place in the order of refresh';
COMMENT ON COLUMN stedi.zone.rows IS 'rows after the last refresh()';
COMMENT ON COLUMN stedi.zone.refreshed_at IS 'when refresh() last rebuilt it';
COMMENT ON COLUMN stedi.zone.elapsed IS 'how long that took';

COMMENT ON COLUMN stedi.zone.rules IS 'rules that it was rebuilt by: strict or published';

INSERT INTO stedi.zone (name, position) VALUES
	('stedi.customer_trusted', 1),
	('stedi.accelerometer_trusted', 2),
	('stedi.customers_curated', 3),
	('stedi.device_owner', 4),
	('stedi.step_trainer_trusted', 5),
	('stedi.machine_learning_curated', 6);

CREATE TYPE stedi.refresh_result AS (
	zone text,
	rows bigint,
	elapsed interval
);
COMMENT ON TYPE stedi.refresh_result IS 'one zone after its refresh';

CREATE FUNCTION stedi.refresh_zone(zone regclass, concurrently boolean DEFAULT false)
RETURNS bigint
LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'stedi_refresh_zone';
COMMENT ON FUNCTION stedi.refresh_zone(regclass, boolean) IS
	'rebuild a materialized view as REFRESH MATERIALIZED VIEW does, and tell how many rows it has; for its owner, from PostgreSQL 17 on also with MAINTAIN';

-- The same for several, one after the other, with fresh statistics of each for the
-- queries of the next.  elapsed is with statistics and indexes.
CREATE FUNCTION stedi.refresh_zones(zones regclass[], concurrently boolean DEFAULT false)
RETURNS TABLE (zone regclass, rows bigint, elapsed interval)
LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'stedi_refresh_zones';
COMMENT ON FUNCTION stedi.refresh_zones(regclass[], boolean) IS
	'rebuild materialized views in the order given, as refresh_zone() does, their statistics and then their indexes; for their owner';

-- SECURITY DEFINER because REFRESH and ANALYZE take ownership, which whoever
-- runs the job should not need.  It takes no names and runs fixed statements.
CREATE FUNCTION stedi.refresh(concurrently boolean DEFAULT false,
							  force boolean DEFAULT false)
RETURNS SETOF stedi.refresh_result
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
SET default_statistics_target = 30
AS $$
DECLARE
	z record;
	result stedi.refresh_result;
BEGIN
	-- Without fresh statistics the joins are planned for empty tables.  A small sample
	-- is enough for that; of landing, which may be wide, the columns that they join on.
	-- Autovacuum takes a larger one afterwards.
	-- In the order in which ingest() and forget() lock them.
	ANALYZE stedi.accelerometer_landing (email, "timestamp");
	ANALYZE stedi.customer_landing (email, serial_number);
	ANALYZE stedi.step_trainer_landing (serial_number, sensor_reading_time);

	IF force IS NOT TRUE THEN
		PERFORM stedi.check_expectations();
	END IF;

	FOR z IN
		SELECT r.zone, c.relname, r.rows, r.elapsed
		FROM stedi.refresh_zones(ARRAY(SELECT name FROM stedi.zone ORDER BY position),
								 refresh.concurrently IS TRUE) AS r
		JOIN pg_class AS c ON c.oid = r.zone
		JOIN stedi.zone AS o ON o.name = r.zone
		ORDER BY o.position
	LOOP
		UPDATE stedi.zone
		SET rows = z.rows, refreshed_at = clock_timestamp(), elapsed = z.elapsed,
			rules = stedi.policy('rules')
		WHERE name = z.zone;
		result.zone := z.relname;
		result.rows := z.rows;
		result.elapsed := z.elapsed;
		RETURN NEXT result;
	END LOOP;
END
$$;
COMMENT ON FUNCTION stedi.refresh(boolean, boolean) IS
	'rebuild the zones in dependency order, with fresh statistics for each; force: also if an expectation of severity fail is not met';

