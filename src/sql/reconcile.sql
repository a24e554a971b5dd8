-- What the choice between the rules "strict" and "published" amounts to.
--
-- Both rules, worked out from the landing tables as they are now, whichever is
-- in force; the zones are neither read nor changed.  Every row that a zone has
-- under either rule is counted once: under both, or under one of them with the
-- first cause that applies, in the order of the CASE that names it.
--
-- A zone that is the same under both has one row, without a cause.
--
-- Rows are counted, never made.  The published zone 4 has a row for each reading
-- and each customer who claims its device; here a reading meets only its
-- device's owner, and what the other claimants add is a product of two counts.
-- No nested loops: the planner takes the counts for far fewer than they are.

CREATE FUNCTION stedi.reconcile()
RETURNS TABLE (zone text, published_rows bigint, strict_rows bigint, cause text, rows bigint)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
SET jit = off
SET enable_nestloop = off
AS $$
WITH customer AS MATERIALIZED (
	-- Zone 1, under either rule.
	SELECT email, serial_number, share_with_research_as_of_date AS consent
	FROM stedi.customer_latest
	WHERE share_with_research_as_of_date IS NOT NULL
), accelerometer AS MATERIALIZED (
	-- Published zone 2, by customer and moment.
	SELECT a.email, a."timestamp" AS at, count(*) AS rows,
		   a."timestamp" >= c.consent AS consented
	FROM stedi.accelerometer_landing AS a
	JOIN customer AS c ON c.email = a.email
	GROUP BY a.email, a."timestamp", c.consent
), moment AS (
	SELECT at, sum(rows) AS rows FROM accelerometer GROUP BY at
), curated AS MATERIALIZED (
	-- Published zone 3; has_consented tells who is in the strict one.
	SELECT c.email, c.serial_number, c.consent, h.has_consented
	FROM customer AS c
	JOIN (SELECT email, coalesce(bool_or(consented), false) AS has_consented
		  FROM accelerometer GROUP BY email) AS h ON h.email = c.email
), device AS MATERIALIZED (
	-- claims: customers of the published zone 3 who claim it, the owner too.
	SELECT d.serial_number, d.basis, o.email, o.consent, o.has_consented,
		   coalesce(l.claims, 0) AS claims,
		   coalesce(o.serial_number = d.serial_number, false) AS owner_claims,
		   c.email IS NOT NULL AS owner_agreed
	FROM stedi.device_evidence AS d
	LEFT JOIN customer AS c ON c.email = d.email
	LEFT JOIN curated AS o ON o.email = d.email
	LEFT JOIN (SELECT serial_number, count(*) AS claims
			   FROM curated GROUP BY serial_number) AS l ON l.serial_number = d.serial_number
), reading AS (
	-- Readings of a device, by why the strict rules keep them even from its owner
	-- (NULL: they do not), and how often they meet an accelerometer reading of the
	-- same moment: anybody's, and the owner's.
	SELECT d.serial_number,
		   CASE WHEN s.at IS NULL THEN 'reading without a time'
				WHEN s.at < d.consent THEN 'reading before consent'
				WHEN NOT d.has_consented THEN 'customer without a reading after consent'
		   END AS withheld,
		   sum(s.rows) AS rows,
		   sum(s.rows * coalesce(m.rows, 0)) AS anybodys,
		   sum(s.rows * coalesce(a.rows, 0)) AS owners
	FROM (SELECT serial_number, sensor_reading_time AS at, count(*) AS rows
		  FROM stedi.step_trainer_landing
		  GROUP BY serial_number, sensor_reading_time) AS s
	JOIN device AS d ON d.serial_number = s.serial_number
	LEFT JOIN moment AS m ON m.at = s.at
	LEFT JOIN accelerometer AS a ON a.at = s.at AND a.email = d.email
	GROUP BY 1, 2
), given AS (
	-- To whom the rules give these readings.  The published rules: to claimants
	-- who are not the owner, and to the owner who claims the device.  The strict
	-- rules: to the owner.
	SELECT CASE WHEN d.basis = 'unresolved' THEN 'unresolved device'
				WHEN NOT d.owner_agreed THEN 'device of a customer without consent'
				ELSE 'device of another customer'
		   END AS cause,
		   (d.claims - d.owner_claims::integer) * r.rows AS published, 0 AS strict,
		   (d.claims - d.owner_claims::integer) * r.anybodys AS published_pairs, 0 AS strict_pairs
	FROM reading AS r
	JOIN device AS d ON d.serial_number = r.serial_number
	UNION ALL
	SELECT r.withheld,
		   r.rows, CASE WHEN r.withheld IS NULL THEN r.rows ELSE 0 END,
		   r.anybodys, CASE WHEN r.withheld IS NULL THEN r.owners ELSE 0 END
	FROM reading AS r
	JOIN device AS d ON d.serial_number = r.serial_number
	WHERE d.owner_claims
	UNION ALL
	SELECT CASE d.basis WHEN 'evidence' THEN 'device not claimed by its owner, settled by evidence'
						ELSE 'device claimed by an earlier record of its owner'
		   END,
		   0, r.rows, 0, r.owners
	FROM reading AS r
	JOIN device AS d ON d.serial_number = r.serial_number
	WHERE d.email IS NOT NULL AND NOT d.owner_claims AND r.withheld IS NULL
), counted AS (
	SELECT 'customer_trusted' AS zone, NULL AS cause,
		   count(*)::numeric AS published, count(*)::numeric AS strict
	FROM customer
	UNION ALL
	SELECT 'accelerometer_trusted',
		   CASE WHEN consented THEN NULL
				WHEN at IS NULL THEN 'reading without a time'
				ELSE 'reading before consent'
		   END,
		   rows, CASE WHEN consented THEN rows ELSE 0 END
	FROM accelerometer
	UNION ALL
	SELECT 'customers_curated',
		   CASE WHEN NOT has_consented THEN 'customer without a reading after consent' END,
		   1, has_consented::integer
	FROM curated
	UNION ALL
	SELECT 'step_trainer_trusted', cause, published, strict
	FROM given
	UNION ALL
	SELECT 'machine_learning_curated', cause,
		   CASE WHEN cause IS NULL THEN strict_pairs ELSE published_pairs END,
		   strict_pairs
	FROM given
	UNION ALL
	-- A reading that both rules give its owner meets others' phones as well.
	SELECT 'machine_learning_curated', 'accelerometer of another customer',
		   published_pairs - strict_pairs, 0
	FROM given
	WHERE cause IS NULL
), total AS (
	SELECT z.position, z.zone, c.cause,
		   coalesce(sum(c.published), 0) AS published, coalesce(sum(c.strict), 0) AS strict
	FROM (VALUES (1, 'customer_trusted'),
				 (2, 'accelerometer_trusted'),
				 (3, 'customers_curated'),
				 (4, 'step_trainer_trusted'),
				 (5, 'machine_learning_curated')) AS z (position, zone)
	LEFT JOIN counted AS c ON c.zone = z.zone AND (c.published <> 0 OR c.strict <> 0)
	GROUP BY z.position, z.zone, c.cause
), difference AS (
	SELECT position, zone, cause, strict - published AS rows,
		   sum(published) OVER of_zone AS published_rows,
		   sum(strict) OVER of_zone AS strict_rows,
		   count(cause) OVER of_zone AS causes
	FROM total
	WINDOW of_zone AS (PARTITION BY position)
)
SELECT zone, published_rows::bigint, strict_rows::bigint, cause, rows::bigint
FROM difference
WHERE cause IS NOT NULL OR causes = 0
ORDER BY position, rows, cause
$$;
COMMENT ON FUNCTION stedi.reconcile() IS
	'rows of each zone under the published and the strict rules, and each cause of a difference: published_rows plus the rows of all causes is strict_rows';

