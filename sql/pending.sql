--
-- stedi.pending_uploads: who may look, and what it makes of files that are no
-- records.  Uploads themselves need an S3 server: see test/t/014_uploads.pl.
--
SELECT * FROM stedi.pending_uploads;

CREATE ROLE regress_loader;
GRANT USAGE ON SCHEMA stedi TO regress_loader;
SET ROLE regress_loader;
SELECT * FROM regress.error('SELECT * FROM stedi.pending_uploads');
SELECT * FROM regress.error('SELECT * FROM stedi.upload_records()');
RESET ROLE;
GRANT SELECT ON stedi.pending_uploads TO regress_loader;
SET ROLE regress_loader;
SELECT * FROM regress.error('SELECT * FROM stedi.pending_uploads');
RESET ROLE;
GRANT EXECUTE ON FUNCTION stedi.upload_records TO regress_loader;
SET ROLE regress_loader;
SELECT * FROM stedi.pending_uploads;
RESET ROLE;

-- Files of somebody else's, and damaged ones: a warning each, nothing worse.
CALL regress.make_directory('../stedi_uploads');
CALL regress.put('../stedi_uploads/notes', 'x');
SELECT * FROM stedi.pending_uploads;
CALL regress.remove('../stedi_uploads/notes');
CREATE FUNCTION pg_temp.try(content bytea) RETURNS void LANGUAGE plpgsql SET client_min_messages = error AS $$
DECLARE
	name text := (SELECT 'pgsql_tmp.' || oid || '.0123456789abcdef.1' FROM pg_database WHERE datname = current_database());
BEGIN
	CALL regress.put_bytes('../stedi_uploads/' || name, content);
	ASSERT NOT EXISTS (SELECT FROM stedi.pending_uploads), 'damaged record taken for one';
	-- exports to other kinds of lakes do not mind it
	PERFORM stedi.export_query('SELECT 1', regress.uri('uploads/'), mode => 'overwrite');
	ASSERT (SELECT count(*) FROM pg_ls_dir('stedi_uploads')) = 1, 'damaged record removed';
END
$$;
CALL regress.make_directory('uploads');
SELECT pg_temp.try(''), pg_temp.try('\x00'), pg_temp.try('\x01005553'),
	   -- the right magic, and zeros
	   pg_temp.try(('\x01005553' || repeat('00', 24))::bytea),
	   pg_temp.try(('\x01005553' || repeat('00', 40))::bytea),
	   -- no end of the strings
	   pg_temp.try(('\x01005553' || repeat('78', 1000))::bytea),
	   -- longer than any record
	   pg_temp.try(('\x01005553' || repeat('00', 20000))::bytea),
	   pg_temp.try(decode(repeat('ff', 100000), 'hex'));

-- Names that only look like those of records.
CALL regress.make_directory('../stedi_uploads');
CALL regress.put('../stedi_uploads/pgsql_tmp.1.1.1', '');
CALL regress.put('../stedi_uploads/pgsql_tmp.1.0123456789abcdef.1.old', '');
CALL regress.make_directory('../stedi_uploads/pgsql_tmp.1.0123456789abcdef.1');
SET client_min_messages = error;
SELECT count(*) FROM stedi.pending_uploads;
RESET client_min_messages;
CALL regress.make_directory('../stedi_uploads');

\set VERBOSITY terse
DROP OWNED BY regress_loader;
DROP ROLE regress_loader;
