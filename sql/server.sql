--
-- Servers and user mappings: option checks, and which server covers a URI.
--
SET stedi.max_attempts = 1;
SET stedi.connect_timeout = '2s';

-- Options that do not exist.
CREATE SERVER regress_bad FOREIGN DATA WRAPPER stedi OPTIONS (regoin 'eu-west-1');
CREATE SERVER regress_bad FOREIGN DATA WRAPPER stedi OPTIONS (access_key_id 'AKIAREGRESS');
CREATE SERVER regress_bad FOREIGN DATA WRAPPER stedi OPTIONS ("Scope" 's3://');
ALTER FOREIGN DATA WRAPPER stedi OPTIONS (region 'eu-west-1');

-- Values that make no sense.
CREATE SERVER regress_bad FOREIGN DATA WRAPPER stedi OPTIONS (scope 'bucket/');
CREATE SERVER regress_bad FOREIGN DATA WRAPPER stedi OPTIONS (scope 'file:///tmp/');
CREATE SERVER regress_bad FOREIGN DATA WRAPPER stedi OPTIONS (scope '');
CREATE SERVER regress_bad FOREIGN DATA WRAPPER stedi OPTIONS (region 'eu west');
CREATE SERVER regress_bad FOREIGN DATA WRAPPER stedi OPTIONS (region '');
CREATE SERVER regress_bad FOREIGN DATA WRAPPER stedi OPTIONS (endpoint 'localhost:9000');
CREATE SERVER regress_bad FOREIGN DATA WRAPPER stedi OPTIONS (endpoint 'ftp://localhost');
CREATE SERVER regress_bad FOREIGN DATA WRAPPER stedi OPTIONS (endpoint 'https://');
CREATE SERVER regress_bad FOREIGN DATA WRAPPER stedi OPTIONS (endpoint 'https://localhost/path');
CREATE SERVER regress_bad FOREIGN DATA WRAPPER stedi OPTIONS (endpoint 'https://user:hunter2@localhost');
CREATE SERVER regress_bad FOREIGN DATA WRAPPER stedi OPTIONS (url_style 'vhost');
CREATE SERVER regress_bad FOREIGN DATA WRAPPER stedi OPTIONS (credentials 'instance');
CREATE SERVER regress_bad FOREIGN DATA WRAPPER stedi OPTIONS (server_side_encryption 'AES128');
CREATE SERVER regress_bad FOREIGN DATA WRAPPER stedi OPTIONS (storage_class 'DEEP_ARCHIVE');
CREATE SERVER regress_bad FOREIGN DATA WRAPPER stedi OPTIONS (requester_pays 'perhaps');
CREATE SERVER regress_bad FOREIGN DATA WRAPPER stedi OPTIONS (kms_key_id 'alias/lake');
CREATE SERVER regress_bad FOREIGN DATA WRAPPER stedi OPTIONS (kms_key_id 'alias/lake', server_side_encryption 'AES256');
CREATE SERVER regress_bad FOREIGN DATA WRAPPER stedi OPTIONS (kms_key_id E'alias\r\nx-amz-acl: public-read', server_side_encryption 'aws:kms');
SELECT count(*) FROM pg_foreign_server WHERE srvname LIKE 'regress%';

-- What is written and how; upper and lower case are the same.
CREATE SERVER regress_store FOREIGN DATA WRAPPER stedi
	OPTIONS (server_side_encryption 'AWS:KMS', kms_key_id 'alias/lake', storage_class 'standard_ia', requester_pays 'ON');
ALTER SERVER regress_store OPTIONS (SET server_side_encryption 'aws:kms:dsse');
ALTER SERVER regress_store OPTIONS (SET server_side_encryption 'aes256');
ALTER SERVER regress_store OPTIONS (DROP server_side_encryption);
ALTER SERVER regress_store OPTIONS (DROP kms_key_id, SET server_side_encryption 'None');
DROP SERVER regress_store;

-- Secrets: belong into a mapping, in pairs, and are never repeated.
CREATE SERVER regress_lake FOREIGN DATA WRAPPER stedi
	OPTIONS (region 'eu-west-1', scope 's3://regress-lake/', endpoint 'http://127.0.0.1:1', url_style 'PATH');
CREATE USER MAPPING FOR CURRENT_USER SERVER regress_lake OPTIONS (region 'eu-west-1');
CREATE USER MAPPING FOR CURRENT_USER SERVER regress_lake OPTIONS (access_key_id 'AKIAREGRESS');
CREATE USER MAPPING FOR CURRENT_USER SERVER regress_lake OPTIONS (secret_access_key 'hunter2');
CREATE USER MAPPING FOR CURRENT_USER SERVER regress_lake
	OPTIONS (access_key_id 'AKIAREGRESS', secret_access_key 'hunter2 hunter2');
CREATE USER MAPPING FOR CURRENT_USER SERVER regress_lake
	OPTIONS (access_key_id 'AKIAREGRESS', secret_access_key E'hunter2\n');
CREATE USER MAPPING FOR CURRENT_USER SERVER regress_lake
	OPTIONS (access_key_id 'AKIAREGRESS', secret_access_key 'hünter2');
CREATE USER MAPPING FOR CURRENT_USER SERVER regress_lake
	OPTIONS (access_key_id 'AKIAREGRESS', secret_access_key '');
CREATE USER MAPPING FOR CURRENT_USER SERVER regress_lake
	OPTIONS (access_key_id 'AKIAREGRESS', secret_access_key 'hunter2', session_token '');
SELECT count(*) FROM pg_user_mappings WHERE srvname = 'regress_lake';

-- A server that is not there.  Neither key nor secret show.
CREATE USER MAPPING FOR CURRENT_USER SERVER regress_lake
	OPTIONS (access_key_id 'AKIAREGRESS', secret_access_key 'hunter2', session_token 'tokentoken');
CREATE FUNCTION pg_temp.unreachable(statement text) RETURNS TABLE (sqlstate text, shows_secret boolean)
LANGUAGE sql AS $$
	SELECT left(string_agg(line, ' '), 5), string_agg(line, ' ') ~* 'hunter2|akiaregress|tokentoken|signature'
	FROM regress.error(statement) AS line;
$$;
SELECT * FROM pg_temp.unreachable('SELECT * FROM stedi.list_objects(''s3://regress-lake/'')');
SELECT * FROM pg_temp.unreachable('SELECT * FROM stedi.read_json(''s3://regress-lake/a.json'')');
SELECT * FROM pg_temp.unreachable('SELECT * FROM stedi.export_query(''SELECT 1'', ''s3://regress-lake/out/'')');
CREATE TABLE regress_target (a integer);
SELECT * FROM pg_temp.unreachable('SELECT * FROM stedi.load(''regress_target'', ''s3://regress-lake/'')');
DROP TABLE regress_target;
DROP USER MAPPING FOR CURRENT_USER SERVER regress_lake;

-- Which server?  Without a mapping the error names the one that was chosen.
CREATE FUNCTION pg_temp.server_of(uri text) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT regress.error(format('SELECT * FROM stedi.list_objects(%L)', uri)) LIMIT 1;
$$;
CREATE SERVER regress_any FOREIGN DATA WRAPPER stedi;
CREATE SERVER regress_team FOREIGN DATA WRAPPER stedi OPTIONS (scope 's3://regress-lake/team');
CREATE SERVER regress_team_raw FOREIGN DATA WRAPPER stedi OPTIONS (scope 's3://regress-lake/team/raw/');
CREATE SERVER regress_bucket FOREIGN DATA WRAPPER stedi OPTIONS (scope 's3://regress-other');
SELECT uri, pg_temp.server_of(uri) AS error
FROM (VALUES (1, 's3://elsewhere/'),
			 (2, 's3://regress-lake/'),
			 (3, 's3://regress-lake/a.json'),
			 (4, 's3://regress-lake/team/'),
			 (5, 's3://regress-lake/team'),
			 (6, 's3://regress-lake/team-b/'),
			 (7, 's3://regress-lake/team/a.json'),
			 (8, 's3://regress-lake/team/raw/a.json'),
			 (9, 's3://regress-lake/team/rawer/'),
			 (10, 's3://regress-other/a'),
			 (11, 's3://regress-other'),
			 (12, 's3://regress-other-too/a')) AS u(n, uri)
ORDER BY n;

-- Two servers of one scope; a more specific one settles it.
CREATE SERVER regress_lake_again FOREIGN DATA WRAPPER stedi OPTIONS (scope 's3://regress-lake/');
SELECT * FROM regress.error('SELECT * FROM stedi.list_objects(''s3://regress-lake/a.json'')') WHERE error !~ '^DETAIL';
SELECT * FROM pg_temp.server_of('s3://regress-lake/team/raw/a.json');
DROP SERVER regress_lake_again;

-- A server counts only for those who may use it.
CREATE ROLE regress_engineer;
GRANT USAGE ON SCHEMA stedi TO regress_engineer;
GRANT EXECUTE ON FUNCTION stedi.list_objects(text) TO regress_engineer;
GRANT USAGE ON FOREIGN SERVER regress_any TO regress_engineer;
SET ROLE regress_engineer;
SELECT * FROM pg_temp.server_of('s3://regress-lake/a.json');
RESET ROLE;
REVOKE USAGE ON FOREIGN SERVER regress_any FROM regress_engineer;
DROP SERVER regress_any;
SET ROLE regress_engineer;
SELECT * FROM stedi.list_objects('s3://regress-other/a.json');
SELECT * FROM stedi.list_objects('s3://elsewhere/');
RESET ROLE;

-- What chooses a host is the superuser's to set.
GRANT USAGE ON FOREIGN DATA WRAPPER stedi TO regress_engineer;
SET ROLE regress_engineer;
CREATE SERVER regress_own FOREIGN DATA WRAPPER stedi OPTIONS (endpoint 'http://169.254.169.254');
CREATE SERVER regress_own FOREIGN DATA WRAPPER stedi OPTIONS (ca_file '/etc/passwd');
CREATE SERVER regress_own FOREIGN DATA WRAPPER stedi OPTIONS (proxy 'http://127.0.0.1:3128');
CREATE SERVER regress_own FOREIGN DATA WRAPPER stedi
	OPTIONS (scope 's3://regress-own/', region 'eu-west-1', url_style 'virtual', credentials 'mapping');
ALTER SERVER regress_own OPTIONS (ADD endpoint 'http://127.0.0.1:1');
SELECT * FROM stedi.list_objects('s3://regress-own/a.json');
RESET ROLE;
ALTER SERVER regress_own OPTIONS (ADD endpoint 'http://127.0.0.1:1');

-- Whose mapping?  One's own, else PUBLIC's; anonymous needs none.
CREATE USER MAPPING FOR CURRENT_USER SERVER regress_own
	OPTIONS (access_key_id 'AKIAREGRESS', secret_access_key 'hunter2');
SET ROLE regress_engineer;
SELECT * FROM stedi.list_objects('s3://regress-own/a.json');
CREATE USER MAPPING FOR PUBLIC SERVER regress_own
	OPTIONS (access_key_id 'AKIAREGRESS', secret_access_key 'hunter2');
\set VERBOSITY sqlstate
SELECT * FROM stedi.list_objects('s3://regress-own/a.json');
DROP USER MAPPING FOR PUBLIC SERVER regress_own;
CREATE USER MAPPING FOR CURRENT_USER SERVER regress_own;
SELECT * FROM stedi.list_objects('s3://regress-own/a.json');
RESET ROLE;
ALTER SERVER regress_own OPTIONS (SET credentials 'anonymous');
SET ROLE regress_engineer;
SELECT * FROM stedi.list_objects('s3://regress-own/a.json');
\set VERBOSITY default
RESET ROLE;

-- It has no foreign tables.
CREATE FOREIGN TABLE regress_foreign (a integer) SERVER regress_own OPTIONS (path 'x');
CREATE FOREIGN TABLE regress_foreign (a integer) SERVER regress_own;
SELECT * FROM regress_foreign;

\set VERBOSITY terse
DROP SERVER regress_own CASCADE;
DROP SERVER regress_lake, regress_team, regress_team_raw, regress_bucket;
DROP OWNED BY regress_engineer;
DROP ROLE regress_engineer;
