-- The ledger: one row for every object version ever seen.

CREATE SEQUENCE stedi.object_id_seq AS integer;
COMMENT ON SEQUENCE stedi.object_id_seq IS 'numbers of the ledger''s rows';

CREATE TABLE stedi.object (
	object_id integer PRIMARY KEY DEFAULT pg_catalog.nextval('stedi.object_id_seq'),
	source text,
	target regclass NOT NULL,
	uri text NOT NULL,
	etag text NOT NULL,
	version_id text,
	size bigint NOT NULL,
	last_modified timestamptz,
	status text NOT NULL
		CHECK (status IN ('loading', 'loaded', 'partial', 'failed', 'replaced', 'removed')),
	rows bigint NOT NULL DEFAULT 0,
	rejects bigint NOT NULL DEFAULT 0,
	erased bigint NOT NULL DEFAULT 0,
	bytes bigint NOT NULL DEFAULT 0,
	tried_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	elapsed interval,
	error text,
	filenode oid,
	first_block bigint,
	last_block bigint
);
ALTER SEQUENCE stedi.object_id_seq OWNED BY stedi.object.object_id;
CREATE UNIQUE INDEX object_version_key ON stedi.object
	(target, uri, (coalesce(version_id, etag)), size);
COMMENT ON TABLE stedi.object IS 'the ledger: one row for every object version ever seen';
COMMENT ON COLUMN stedi.object.object_id IS 'upper half of the record_id of the rows it stands for';
COMMENT ON COLUMN stedi.object.source IS 'name in stedi.source; NULL: loaded with load()';
COMMENT ON COLUMN stedi.object.target IS 'table that the records went into';
COMMENT ON COLUMN stedi.object.uri IS 'bucket and key, or file';
COMMENT ON COLUMN stedi.object.etag IS 'the store''s tag of this version, compared for equality only';
COMMENT ON COLUMN stedi.object.version_id IS 'the store''s version id, where it has one';
COMMENT ON COLUMN stedi.object.size IS 'bytes as stored';
COMMENT ON COLUMN stedi.object.last_modified IS 'when it was written, by the store''s clock';
COMMENT ON COLUMN stedi.object.status IS
	'loaded; partial: with rejects; failed: nothing of it was loaded, it is tried again; replaced: a newer version took its place; removed: its rows were removed';
COMMENT ON COLUMN stedi.object.rows IS 'records loaded';
COMMENT ON COLUMN stedi.object.rejects IS 'damaged regions and bad records';
COMMENT ON COLUMN stedi.object.erased IS 'records of people who were forgotten, not counted in rows';
COMMENT ON COLUMN stedi.object.bytes IS 'bytes of JSON after decompression';
COMMENT ON COLUMN stedi.object.tried_at IS 'when it was last loaded or tried';
COMMENT ON COLUMN stedi.object.elapsed IS 'how long that took';
COMMENT ON COLUMN stedi.object.error IS 'why it failed, or its first reject';
COMMENT ON COLUMN stedi.object.filenode IS 'file of the target that the blocks are in';
COMMENT ON COLUMN stedi.object.first_block IS 'the rows lie between this block of the target';
COMMENT ON COLUMN stedi.object.last_block IS '... and this one, unless they were moved';
SELECT pg_catalog.pg_extension_config_dump('stedi.object', '');
SELECT pg_catalog.pg_extension_config_dump('stedi.object_id_seq', '');

CREATE FUNCTION stedi.provenance(record_id bigint)
RETURNS TABLE (uri text, record_no bigint, object_id integer, source text, etag text,
			   version_id text, size bigint, last_modified timestamptz, status text)
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
	SELECT o.uri, $1 & 4294967295, o.object_id, o.source, o.etag,
		   o.version_id, o.size, o.last_modified, o.status
	FROM stedi.object AS o
	WHERE o.object_id = ($1 >> 32)::integer;
$$;
COMMENT ON FUNCTION stedi.provenance(bigint) IS
	'the object version, and the record in it, that a landing row was loaded from';

