-- The whole job, for a scheduler.

CREATE PROCEDURE stedi.run(max_objects bigint DEFAULT 1000,
						   max_bytes text DEFAULT '4GB',
						   concurrently boolean DEFAULT false,
						   wait boolean DEFAULT false,
						   workers integer DEFAULT 0)
LANGUAGE C AS 'MODULE_PATHNAME', 'stedi_run';
COMMENT ON PROCEDURE stedi.run(bigint, text, boolean, boolean, integer) IS
	'ingest in transactions of bounded size until nothing is pending, refresh the zones, export';

