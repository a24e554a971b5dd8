-- Loading objects into tables.

CREATE TYPE stedi.ingest_result AS (
	source text,
	uri text,
	status text,
	rows_parsed bigint,
	rows_loaded bigint,
	rows_rejected bigint,
	bytes bigint,
	first_error text,
	elapsed interval,
	download interval,
	parse interval,
	insert interval
);
COMMENT ON TYPE stedi.ingest_result IS 'what became of one object';
COMMENT ON COLUMN stedi.ingest_result.download IS 'of elapsed: waiting for bytes that were not prefetched';
COMMENT ON COLUMN stedi.ingest_result.parse IS 'of elapsed: decompressing and parsing, and all else';
COMMENT ON COLUMN stedi.ingest_result.insert IS 'of elapsed: writing rows, and the ledger';

CREATE FUNCTION stedi.ingest(source text DEFAULT NULL,
							 on_error text DEFAULT NULL,
							 reject_limit bigint DEFAULT NULL,
							 force boolean DEFAULT false,
							 dry_run boolean DEFAULT false,
							 max_objects bigint DEFAULT NULL,
							 max_bytes text DEFAULT NULL,
							 format text DEFAULT 'json',
							 compression text DEFAULT 'auto')
RETURNS SETOF stedi.ingest_result
LANGUAGE C AS 'MODULE_PATHNAME', 'stedi_ingest';
COMMENT ON FUNCTION stedi.ingest(text, text, bigint, boolean, boolean, bigint, text, text, text) IS
	'load the new and changed objects of one source, or of all, each exactly once';

CREATE FUNCTION stedi.load(target regclass,
						   uri text,
						   aliases jsonb DEFAULT '{}',
						   on_error text DEFAULT 'stop',
						   reject_limit bigint DEFAULT NULL,
						   force boolean DEFAULT false,
						   dry_run boolean DEFAULT false,
						   max_objects bigint DEFAULT NULL,
						   max_bytes text DEFAULT NULL,
						   format text DEFAULT 'json',
						   compression text DEFAULT 'auto')
RETURNS SETOF stedi.ingest_result
LANGUAGE C AS 'MODULE_PATHNAME', 'stedi_load';
COMMENT ON FUNCTION stedi.load(regclass, text, jsonb, text, bigint, boolean, boolean, bigint, text, text, text) IS
	'load the new and changed objects that a URI names into any table, each exactly once';

