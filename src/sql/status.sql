-- How the lake stands.

-- Objects of a source that ingest() would load now.  A store that cannot be
-- reached shows as an error text, so that the view still answers.
CREATE FUNCTION stedi.pending(source text, OUT objects bigint, OUT bytes bigint, OUT error text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF NOT EXISTS (SELECT FROM stedi.source AS s WHERE s.name = pending.source) THEN
		RAISE undefined_object USING MESSAGE = format('source "%s" does not exist', source);
	END IF;
	SELECT count(*), coalesce(sum(l.size), 0)
	INTO objects, bytes
	FROM stedi.source AS s,
		 stedi.list_objects(s.uri) AS l
	WHERE s.name = source
	  AND NOT EXISTS (SELECT FROM stedi.object AS o
					  WHERE o.target = s.target AND o.uri = l.uri AND o.size = l.size
						AND coalesce(o.version_id, o.etag) = coalesce(l.version_id, l.etag)
						AND o.status IN ('loaded', 'partial'));
EXCEPTION WHEN OTHERS THEN
	objects := NULL;
	bytes := NULL;
	error := format('%s: %s', SQLSTATE, SQLERRM);
END
$$;
COMMENT ON FUNCTION stedi.pending(text) IS
	'objects and bytes of a source that are not loaded yet, or why that cannot be told';

-- SECURITY DEFINER because whoever watches the lake need not be able to read the
-- landing tables.  It tells a time and nothing else.
CREATE FUNCTION stedi.newest_time(target regclass) RETURNS timestamptz
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	time_of text := CASE target
		WHEN 'stedi.customer_landing'::regclass THEN 'greatest(registration_date, last_update_date)'
		WHEN 'stedi.accelerometer_landing'::regclass THEN '"timestamp"'
		WHEN 'stedi.step_trainer_landing'::regclass THEN 'sensor_reading_time'
	END;
	newest timestamptz;
BEGIN
	-- A clock that is ahead of ours does not make the data new.
	IF time_of IS NOT NULL THEN
		EXECUTE format('SELECT max(%1$s) FROM %2$s WHERE %1$s <= now()', time_of, target) INTO newest;
	END IF;
	RETURN newest;
END
$$;
COMMENT ON FUNCTION stedi.newest_time(regclass) IS
	'the newest time in a landing table; NULL for other tables';

CREATE VIEW stedi.status WITH (security_invoker = true) AS
SELECT 'source' AS kind, s.name, s.uri,
	   p.objects AS pending_objects, p.bytes AS pending_bytes,
	   coalesce(o.loaded, 0) AS loaded_objects,
	   coalesce(o.failed, 0) AS failed_objects,
	   coalesce(o.rows, 0) AS rows,
	   coalesce(o.rejects, 0) AS rejects,
	   o.last AS last_run,
	   n.newest, pg_catalog.clock_timestamp() - n.newest AS age,
	   coalesce(p.error, o.error) AS error
FROM stedi.source AS s
CROSS JOIN LATERAL stedi.pending(s.name) AS p
CROSS JOIN LATERAL stedi.newest_time(s.target) AS n (newest)
LEFT JOIN (
	SELECT source,
		   count(*) FILTER (WHERE status IN ('loaded', 'partial')) AS loaded,
		   count(*) FILTER (WHERE status = 'failed') AS failed,
		   sum(rows) FILTER (WHERE status IN ('loaded', 'partial'))::bigint AS rows,
		   sum(rejects) FILTER (WHERE status IN ('loaded', 'partial'))::bigint AS rejects,
		   max(tried_at) AS last,
		   (array_agg(error ORDER BY tried_at DESC) FILTER (WHERE status = 'failed'))[1] AS error
	FROM stedi.object
	GROUP BY source
) AS o ON o.source = s.name
UNION ALL
SELECT 'zone', z.name::text, NULL, NULL, NULL, NULL, NULL, z.rows, NULL, z.refreshed_at,
	   NULL, NULL, NULL
FROM stedi.zone AS z;
COMMENT ON VIEW stedi.status IS
	'per source what is pending, loaded and rejected, and how old its newest reading is; per zone rows and last refresh()';
COMMENT ON COLUMN stedi.status.kind IS 'source or zone';
COMMENT ON COLUMN stedi.status.name IS 'of the source, or of the materialized view';
COMMENT ON COLUMN stedi.status.uri IS 'of the source; NULL for a zone';
COMMENT ON COLUMN stedi.status.pending_objects IS 'objects that ingest() would load now; NULL: error says why that cannot be told';
COMMENT ON COLUMN stedi.status.pending_bytes IS 'their bytes, as stored';
COMMENT ON COLUMN stedi.status.loaded_objects IS 'objects loaded, with rejects or without';
COMMENT ON COLUMN stedi.status.failed_objects IS 'objects of which nothing was loaded, and which are tried again';
COMMENT ON COLUMN stedi.status.rows IS 'rows loaded from the source, or rows of the zone after its last refresh()';
COMMENT ON COLUMN stedi.status.rejects IS 'damaged regions and bad records, in stedi.reject';
COMMENT ON COLUMN stedi.status.last_run IS 'when an object was last loaded or tried, or the zone refreshed';
COMMENT ON COLUMN stedi.status.newest IS 'the newest reading or record that is not in the future';
COMMENT ON COLUMN stedi.status.age IS 'how old that is now';
COMMENT ON COLUMN stedi.status.error IS 'why the store could not be listed, or why the last object that failed did';

