-- Writing rows back to the lake.

CREATE TABLE stedi.export_run (
	run_id text PRIMARY KEY,
	source text NOT NULL,
	uri text NOT NULL,
	files integer NOT NULL,
	rows bigint NOT NULL,
	bytes bigint NOT NULL,
	exported_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
	replaced_at timestamptz
);
COMMENT ON TABLE stedi.export_run IS 'exports that were finished';
COMMENT ON COLUMN stedi.export_run.run_id IS 'part of the names of its files, and in its manifest';
COMMENT ON COLUMN stedi.export_run.source IS 'table or view that was exported, or query';
COMMENT ON COLUMN stedi.export_run.uri IS 'prefix that the files were written under';
COMMENT ON COLUMN stedi.export_run.files IS 'data files written';
COMMENT ON COLUMN stedi.export_run.rows IS 'rows written';
COMMENT ON COLUMN stedi.export_run.bytes IS 'bytes as stored';
COMMENT ON COLUMN stedi.export_run.exported_at IS 'when';
COMMENT ON COLUMN stedi.export_run.replaced_at IS 'when an export to the same place removed its files';
SELECT pg_catalog.pg_extension_config_dump('stedi.export_run', '');

CREATE TYPE stedi.export_result AS (
	uri text,
	rows bigint,
	bytes bigint,
	etag text
);
COMMENT ON TYPE stedi.export_result IS 'one object that an export wrote';

CREATE FUNCTION stedi.export(source regclass,
							 uri text,
							 format text DEFAULT 'ndjson',
							 compression text DEFAULT 'none',
							 max_file_size text DEFAULT NULL,
							 mode text DEFAULT 'fail',
							 keys text DEFAULT 'camel',
							 timestamps text DEFAULT 'epoch_ms')
RETURNS SETOF stedi.export_result
LANGUAGE C AS 'MODULE_PATHNAME', 'stedi_export';
COMMENT ON FUNCTION stedi.export(regclass, text, text, text, text, text, text, text) IS
	'write the rows of a table or view to objects under a URI';

CREATE FUNCTION stedi.export_query(query text,
								   uri text,
								   format text DEFAULT 'ndjson',
								   compression text DEFAULT 'none',
								   max_file_size text DEFAULT NULL,
								   mode text DEFAULT 'fail',
								   keys text DEFAULT 'camel',
								   timestamps text DEFAULT 'epoch_ms')
RETURNS SETOF stedi.export_result
LANGUAGE C AS 'MODULE_PATHNAME', 'stedi_export_query';
COMMENT ON FUNCTION stedi.export_query(text, text, text, text, text, text, text, text) IS
	'write the rows of a query to objects under a URI';

