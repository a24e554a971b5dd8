\echo Use "CREATE EXTENSION stedi" to load this file. \quit

-- A row put into one of the small configuration tables replaces the row with
-- the same key.  So a restored dump takes the place of what CREATE EXTENSION
-- has just made up.
CREATE FUNCTION stedi.replace_row() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	EXECUTE format('DELETE FROM %I.%I WHERE %I = ($1).%I',
				   TG_TABLE_SCHEMA, TG_TABLE_NAME, TG_ARGV[0], TG_ARGV[0])
	USING NEW;
	RETURN NEW;
END
$$;
COMMENT ON FUNCTION stedi.replace_row() IS
	'trigger: an inserted configuration row replaces the one with the same key';

