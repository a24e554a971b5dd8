--
-- What the other tests use: files with exact bytes below the data directory, and
-- errors as rows, without the paths of this machine.
--
SET client_min_messages = warning;
DROP ROLE IF EXISTS regress_operator, regress_engineer, regress_scientist, regress_loader;
RESET client_min_messages;

CREATE SCHEMA regress;
GRANT USAGE ON SCHEMA regress TO PUBLIC;

CREATE FUNCTION regress.base() RETURNS text LANGUAGE sql STABLE SECURITY DEFINER
RETURN current_setting('data_directory') || '/stedi_regress/';

CREATE FUNCTION regress.uri(path text) RETURNS text LANGUAGE sql STABLE
RETURN 'file://' || regress.base() || path;

-- Text with /base/ for the directory that the files are in, and the names of
-- exported files without the run's id.
CREATE FUNCTION regress.clean(text) RETURNS text LANGUAGE sql STABLE
RETURN regexp_replace(replace($1, regress.base(), '/base/'),
					  '(part-\d+)-[0-9a-f]{8}-\d{8}T\d{6}Z-[0-9a-f]{8}', '\1-ID', 'g');

-- An empty directory.
CREATE PROCEDURE regress.make_directory(path text) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('COPY (SELECT 1 WHERE false) TO PROGRAM %L',
				   format('rm -rf "%1$s" && mkdir -p "%1$s"', regress.base() || path));
END
$$;

CREATE PROCEDURE regress.put_bytes(path text, content bytea) LANGUAGE plpgsql AS $$
DECLARE
	id oid := lo_from_bytea(0, content);
BEGIN
	PERFORM lo_export(id, regress.base() || path);
	PERFORM lo_unlink(id);
END
$$;

CREATE PROCEDURE regress.put(path text, content text) LANGUAGE plpgsql AS $$
BEGIN
	CALL regress.put_bytes(path, convert_to(content, 'UTF8'));
END
$$;

-- Many files, one for each line: xaaaa, xaaab and so on.
CREATE PROCEDURE regress.put_lines(path text, lines text[]) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('COPY (SELECT unnest(%L::text[])) TO PROGRAM %L', lines,
				   format('cd "%s" && split -l 1 -a 4', regress.base() || path));
END
$$;

CREATE PROCEDURE regress.remove(path text) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('COPY (SELECT 1 WHERE false) TO PROGRAM %L',
				   format('rm "%s"', regress.base() || path));
END
$$;

CREATE FUNCTION regress.get(path text) RETURNS text LANGUAGE sql
RETURN convert_from(pg_read_binary_file(regress.base() || path), 'UTF8');

-- The names in a directory, hidden ones too.
CREATE FUNCTION regress.files(path text) RETURNS SETOF text LANGUAGE sql
BEGIN ATOMIC
	SELECT name FROM pg_ls_dir(regress.base() || path) AS name ORDER BY name COLLATE "C";
END;

-- Run a statement, and tell the error that it ends with.
CREATE FUNCTION regress.error(statement text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	state text;
	message text;
	detail text;
	hint text;
	context text;
BEGIN
	EXECUTE statement;
	RETURN NEXT 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS
		state = RETURNED_SQLSTATE,
		message = MESSAGE_TEXT,
		detail = PG_EXCEPTION_DETAIL,
		hint = PG_EXCEPTION_HINT,
		context = PG_EXCEPTION_CONTEXT;
	RETURN NEXT regress.clean(state || ': ' || message);
	IF detail <> '' THEN
		RETURN NEXT regress.clean('DETAIL: ' || detail);
	END IF;
	IF hint <> '' THEN
		RETURN NEXT regress.clean('HINT: ' || hint);
	END IF;
	IF context ~ '(?n)^(loading|reading) object' THEN
		RETURN NEXT regress.clean('CONTEXT: ' || substring(context FROM '(?n)^(?:loading|reading) object .*$'));
	END IF;
END
$$;
