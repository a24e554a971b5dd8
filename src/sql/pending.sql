-- Multipart uploads under way, and those that a crash has left.

CREATE FUNCTION stedi.upload_records(OUT uri text, OUT upload_id text, OUT server text,
									 OUT role text, OUT database text, OUT pid integer,
									 OUT active boolean, OUT started_at timestamptz)
RETURNS SETOF record
LANGUAGE C AS 'MODULE_PATHNAME', 'stedi_upload_records';
COMMENT ON FUNCTION stedi.upload_records() IS
	'what stedi.pending_uploads shows';

CREATE VIEW stedi.pending_uploads WITH (security_invoker = true) AS
SELECT * FROM stedi.upload_records();
COMMENT ON VIEW stedi.pending_uploads IS
	'multipart uploads that are neither completed nor aborted: of roles that one has the privileges of, in this database; of all for members of pg_read_all_stats';
COMMENT ON COLUMN stedi.pending_uploads.uri IS 'object that is to be';
COMMENT ON COLUMN stedi.pending_uploads.upload_id IS 'the store''s id; NULL: it had not answered yet';
COMMENT ON COLUMN stedi.pending_uploads.server IS 'foreign server that the upload goes through';
COMMENT ON COLUMN stedi.pending_uploads.role IS 'who exports; NULL: dropped since';
COMMENT ON COLUMN stedi.pending_uploads.database IS 'where; NULL: dropped since';
COMMENT ON COLUMN stedi.pending_uploads.pid IS 'process that began it';
COMMENT ON COLUMN stedi.pending_uploads.active IS 'true: the export goes on; false: the next export to the same place, or run(), aborts the upload';
COMMENT ON COLUMN stedi.pending_uploads.started_at IS 'when it was last written down';
