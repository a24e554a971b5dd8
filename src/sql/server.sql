-- Where the lake is: a foreign data wrapper without foreign tables.  Its servers
-- hold connection options, its user mappings the secrets.

CREATE FUNCTION stedi.fdw_validator(options text[], catalog oid) RETURNS void
LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'stedi_fdw_validator';
COMMENT ON FUNCTION stedi.fdw_validator(text[], oid) IS
	'checks the options of stedi''s servers and user mappings';

CREATE FOREIGN DATA WRAPPER stedi NO HANDLER VALIDATOR stedi.fdw_validator;
COMMENT ON FOREIGN DATA WRAPPER stedi IS
	'S3 buckets: connection options (server) and secrets (user mapping)';

