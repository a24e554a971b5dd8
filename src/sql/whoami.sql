-- As whom, and where, a URI would be read and written.
CREATE FUNCTION stedi.whoami(uri text,
							 OUT server text, OUT scope text, OUT region text, OUT endpoint text,
							 OUT url_style text, OUT credentials text, OUT access_key_id text,
							 OUT expires_at timestamptz, OUT role_arn text)
LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'stedi_whoami';
COMMENT ON FUNCTION stedi.whoami(text) IS
	'the server, address and credentials that a URI leads to; gets the credentials, but asks nothing of the store';
