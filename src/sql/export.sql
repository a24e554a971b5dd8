-- Writing rows back to the lake.

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

