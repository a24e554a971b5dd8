-- Pseudonyms: a keyed hash stands for a person or a device in the curated zone.

CREATE TABLE stedi.pseudonym_key (
	singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
	key bytea NOT NULL CHECK (pg_catalog.length(key) >= 32),
	created_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);
COMMENT ON TABLE stedi.pseudonym_key IS
	'the secret key of pseudonyms; whoever has it and an email can tell the pseudonym';
COMMENT ON COLUMN stedi.pseudonym_key.singleton IS 'there is one key';
COMMENT ON COLUMN stedi.pseudonym_key.key IS 'HMAC-SHA-256 key';
COMMENT ON COLUMN stedi.pseudonym_key.created_at IS 'when it was made';

CREATE TRIGGER replace_row BEFORE INSERT ON stedi.pseudonym_key
	FOR EACH ROW EXECUTE FUNCTION stedi.replace_row('singleton');
SELECT pg_catalog.pg_extension_config_dump('stedi.pseudonym_key', '');

-- 488 random bits from the server's strong random source.
INSERT INTO stedi.pseudonym_key (key)
SELECT pg_catalog.sha256(pg_catalog.string_agg(pg_catalog.uuid_send(pg_catalog.gen_random_uuid()), ''))
FROM pg_catalog.generate_series(1, 4);

CREATE FUNCTION stedi.pseudonym(kind text, value text) RETURNS text
LANGUAGE C STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'stedi_pseudonym';
COMMENT ON FUNCTION stedi.pseudonym(text, text) IS
	'keyed hash of a value; kind (subject, device) keeps equal values of different kinds apart';

