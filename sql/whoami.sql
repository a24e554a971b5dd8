--
-- Whose credentials: the options that say so, who may set and use them, and
-- stedi.whoami().
--
SET stedi.max_attempts = 1;

-- Options.
CREATE SERVER regress_bad FOREIGN DATA WRAPPER stedi OPTIONS (profile 'etl');
CREATE SERVER regress_bad FOREIGN DATA WRAPPER stedi OPTIONS (credentials 'mapping', profile 'etl');
CREATE SERVER regress_bad FOREIGN DATA WRAPPER stedi OPTIONS (credentials 'chain', profile '');
CREATE SERVER regress_bad FOREIGN DATA WRAPPER stedi OPTIONS (credentials 'anonymous', role_arn 'arn:aws:iam::1:role/r');
CREATE SERVER regress_bad FOREIGN DATA WRAPPER stedi OPTIONS (role_arn 'arn:aws:iam::1:role/a b');
CREATE SERVER regress_bad FOREIGN DATA WRAPPER stedi OPTIONS (external_id 'x');
CREATE SERVER regress_bad FOREIGN DATA WRAPPER stedi OPTIONS (sts_endpoint 'sts.example.com');

-- As whom, and where: with a mapping.
CREATE SERVER regress_lake FOREIGN DATA WRAPPER stedi OPTIONS (scope 's3://regress-lake/', region 'eu-west-1');
CREATE USER MAPPING FOR CURRENT_USER SERVER regress_lake
	OPTIONS (access_key_id 'AKIAREGRESSWHOAMI', secret_access_key 'hunter2');
\x
SELECT * FROM stedi.whoami('s3://regress-lake/');
ALTER USER MAPPING FOR CURRENT_USER SERVER regress_lake OPTIONS (SET access_key_id 'AKIAREGRESS');
ALTER SERVER regress_lake OPTIONS (DROP region, ADD endpoint 'http://[::1]:9000', ADD url_style 'PATH');
SELECT * FROM stedi.whoami('s3://regress-lake/team/a[b.json');
ALTER SERVER regress_lake OPTIONS (ADD credentials 'ANONYMOUS');
SELECT * FROM stedi.whoami('s3://regress-lake/');
SELECT server, scope, region, endpoint, url_style, access_key_id, expires_at, role_arn,
	   credentials ~ '^operating system user ".+"$' AS credentials
FROM stedi.whoami('file:///tmp/');
\x
SELECT stedi.whoami(NULL) IS NULL AS nothing;
SELECT * FROM stedi.whoami('s3://elsewhere/');
SELECT * FROM stedi.whoami('nonsense');

-- A role that cannot be assumed, with the mapping's keys.
ALTER SERVER regress_lake OPTIONS (SET credentials 'mapping', ADD role_arn 'arn:aws:iam::1:role/r',
	ADD external_id 'x', ADD sts_endpoint 'http://127.0.0.1:1');
SELECT regexp_replace(line, '/: .*', '/: ...') FROM regress.error('SELECT * FROM stedi.whoami(''s3://regress-lake/'')') AS line;

-- The chain: a mapping with keys comes first.
ALTER SERVER regress_lake OPTIONS (DROP role_arn, DROP external_id, DROP sts_endpoint,
	SET credentials 'chain', ADD profile 'regress nobody');
SELECT credentials FROM stedi.whoami('s3://regress-lake/');
DROP USER MAPPING FOR CURRENT_USER SERVER regress_lake;
SELECT * FROM stedi.whoami('s3://regress-lake/');
SELECT * FROM stedi.list_objects('s3://regress-lake/');
-- what was got for a server is forgotten when a mapping changes
CREATE USER MAPPING FOR PUBLIC SERVER regress_lake OPTIONS (access_key_id 'AKIAPUBLIC', secret_access_key 'hunter2');
SELECT credentials FROM stedi.whoami('s3://regress-lake/');
DROP USER MAPPING FOR PUBLIC SERVER regress_lake;

-- Who may set these options.
CREATE ROLE regress_engineer;
GRANT USAGE ON SCHEMA stedi TO regress_engineer;
GRANT USAGE ON FOREIGN DATA WRAPPER stedi TO regress_engineer;
SET ROLE regress_engineer;
CREATE SERVER regress_own FOREIGN DATA WRAPPER stedi OPTIONS (credentials 'chain');
CREATE SERVER regress_own FOREIGN DATA WRAPPER stedi OPTIONS (credentials 'Chain');
CREATE SERVER regress_own FOREIGN DATA WRAPPER stedi OPTIONS (role_arn 'arn:aws:iam::1:role/r');
CREATE SERVER regress_own FOREIGN DATA WRAPPER stedi OPTIONS (sts_endpoint 'http://169.254.169.254');
CREATE SERVER regress_own FOREIGN DATA WRAPPER stedi OPTIONS (scope 's3://regress-own/');
ALTER SERVER regress_own OPTIONS (ADD credentials 'chain');
ALTER SERVER regress_own OPTIONS (ADD profile 'etl');
SELECT * FROM stedi.whoami('s3://regress-own/');
RESET ROLE;
GRANT EXECUTE ON FUNCTION stedi.whoami(text) TO regress_engineer;

-- And use them: only where a superuser owns the server.
ALTER SERVER regress_own OPTIONS (ADD credentials 'chain', ADD profile 'regress nobody');
SET ROLE regress_engineer;
SELECT * FROM stedi.whoami('s3://regress-own/');
SELECT * FROM stedi.whoami('s3://regress-lake/');
RESET ROLE;
SELECT * FROM stedi.whoami('s3://regress-own/');
GRANT USAGE ON FOREIGN SERVER regress_lake TO regress_engineer;
SET ROLE regress_engineer;
SELECT * FROM stedi.whoami('s3://regress-lake/');
RESET ROLE;
ALTER SERVER regress_lake OWNER TO regress_engineer;
SET ROLE regress_engineer;
SELECT * FROM stedi.whoami('s3://regress-lake/');
ALTER SERVER regress_lake OPTIONS (ADD region 'eu-west-1');
ALTER SERVER regress_lake OPTIONS (DROP profile);
RESET ROLE;
SELECT * FROM stedi.whoami('s3://regress-lake/');
-- an owner who is a superuser no longer
ALTER ROLE regress_engineer SUPERUSER;
SELECT * FROM stedi.whoami('s3://regress-lake/');
ALTER ROLE regress_engineer NOSUPERUSER;
SELECT * FROM stedi.whoami('s3://regress-lake/');

DROP SERVER regress_own, regress_lake;
DROP OWNED BY regress_engineer;
DROP ROLE regress_engineer;
