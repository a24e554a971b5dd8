-- Sources: which landing prefix is loaded into which table.

CREATE TABLE stedi.source (
	name text PRIMARY KEY CHECK (name <> ''),
	uri text NOT NULL,
	target regclass NOT NULL,
	aliases jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(aliases) = 'object'),
	on_error text NOT NULL DEFAULT 'reject'
		CHECK (on_error IN ('reject', 'skip_object', 'stop')),
	reject_limit bigint CHECK (reject_limit >= 0),
	enabled boolean NOT NULL DEFAULT true
);
COMMENT ON TABLE stedi.source IS 'landing prefixes and the tables they are loaded into';
COMMENT ON COLUMN stedi.source.name IS 'what ingest(source) calls it';
COMMENT ON COLUMN stedi.source.uri IS 's3:// or file:/// prefix, object or glob';
COMMENT ON COLUMN stedi.source.target IS 'table that the records go into';
COMMENT ON COLUMN stedi.source.aliases IS 'JSON keys that go to a column of another name: {"key": "column"}';
COMMENT ON COLUMN stedi.source.on_error IS 'what a damaged record does: reject, skip_object or stop';
COMMENT ON COLUMN stedi.source.reject_limit IS 'an object with more rejects than this is not loaded';
COMMENT ON COLUMN stedi.source.enabled IS 'false: ingest() of all sources passes it over';
SELECT pg_catalog.pg_extension_config_dump('stedi.source', '');

-- Where run() exports to.

CREATE TABLE stedi.export_target (
	source regclass PRIMARY KEY,
	uri text NOT NULL,
	format text NOT NULL DEFAULT 'ndjson' CHECK (format IN ('ndjson', 'csv')),
	compression text NOT NULL DEFAULT 'none' CHECK (compression IN ('none', 'gzip', 'zstd')),
	max_file_size text
);
COMMENT ON TABLE stedi.export_target IS 'what run() exports, and where to';
COMMENT ON COLUMN stedi.export_target.source IS 'table or view that is exported';
COMMENT ON COLUMN stedi.export_target.uri IS 's3:// or file:/// prefix that the files are written under';
COMMENT ON COLUMN stedi.export_target.format IS 'ndjson or csv';
COMMENT ON COLUMN stedi.export_target.compression IS 'none, gzip or zstd';
COMMENT ON COLUMN stedi.export_target.max_file_size IS 'a new file is begun past this size, such as 128MB';
SELECT pg_catalog.pg_extension_config_dump('stedi.export_target', '');

CREATE FUNCTION stedi.attach(root text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF root IS NULL OR root !~ '^(s3://[^/]|file:///)' THEN
		RAISE invalid_parameter_value USING
			MESSAGE = format('invalid lake root "%s"', root),
			HINT = 'The root is s3://bucket/, s3://bucket/prefix/ or file:///directory/.';
	END IF;
	root := regexp_replace(root, '([^/])$', '\1/');

	INSERT INTO stedi.source AS s (name, uri, target, aliases) VALUES
		('customer', root || 'customer/landing/', 'stedi.customer_landing', '{}'),
		('accelerometer', root || 'accelerometer/landing/', 'stedi.accelerometer_landing', '{"user": "email"}'),
		('step_trainer', root || 'step_trainer/landing/', 'stedi.step_trainer_landing', '{}')
	ON CONFLICT (name) DO UPDATE SET uri = excluded.uri, target = excluded.target;

	INSERT INTO stedi.export_target AS t (source, uri)
	VALUES ('stedi.machine_learning_curated', root || 'machine_learning_curated/')
	ON CONFLICT (source) DO UPDATE SET uri = excluded.uri;
END
$$;
COMMENT ON FUNCTION stedi.attach(text) IS
	'set the three landing sources and the export target below one root URI';

