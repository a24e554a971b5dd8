-- Looking at objects without loading them.

CREATE TYPE stedi.object_info AS (
	uri text,
	size bigint,
	last_modified timestamptz,
	etag text,
	version_id text
);
COMMENT ON TYPE stedi.object_info IS 'an object as the store lists it';

CREATE FUNCTION stedi.list_objects(uri text) RETURNS SETOF stedi.object_info
LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'stedi_list_objects';
COMMENT ON FUNCTION stedi.list_objects(text) IS
	'list the objects that a URI names: a prefix that ends in /, a glob, or one object';

CREATE TYPE stedi.json_record AS (
	uri text,
	record_no bigint,
	byte_offset bigint,
	value jsonb
);
COMMENT ON TYPE stedi.json_record IS 'one JSON record of an object';

CREATE FUNCTION stedi.read_json(uri text,
								compression text DEFAULT 'auto',
								on_error text DEFAULT 'stop')
RETURNS SETOF stedi.json_record
LANGUAGE C AS 'MODULE_PATHNAME', 'stedi_read_json';
COMMENT ON FUNCTION stedi.read_json(text, text, text) IS
	'read the JSON records of the objects that a URI names, as jsonb';

CREATE FUNCTION stedi.read_json(row_type anyelement,
								uri text,
								aliases jsonb DEFAULT '{}',
								compression text DEFAULT 'auto',
								on_error text DEFAULT 'stop')
RETURNS SETOF anyelement
LANGUAGE C AS 'MODULE_PATHNAME', 'stedi_read_json_rows';
COMMENT ON FUNCTION stedi.read_json(anyelement, text, jsonb, text, text) IS
	'read the JSON records of the objects that a URI names, as rows of a type: read_json(NULL::my_table, uri)';

