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

-- 488 random bits from the server's strong random source.  TRUNCATE, because a
-- deleted key would stay in the table's file until it is vacuumed.
CREATE FUNCTION stedi.rotate_pseudonym_key() RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp
AS $$
	TRUNCATE stedi.pseudonym_key;
	INSERT INTO stedi.pseudonym_key (key)
	SELECT sha256(string_agg(uuid_send(gen_random_uuid()), ''))
	FROM generate_series(1, 4);
$$;
COMMENT ON FUNCTION stedi.rotate_pseudonym_key() IS
	'a new key for pseudonyms; the old one is gone. Zones keep the old pseudonyms until the next refresh(), exported files keep them for good';

SELECT stedi.rotate_pseudonym_key();

CREATE FUNCTION stedi.pseudonym(kind text, value text) RETURNS uuid
LANGUAGE C STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'stedi_pseudonym';
COMMENT ON FUNCTION stedi.pseudonym(text, text) IS
	'keyed hash of a value, in the form of a UUID; kind (subject, device) keeps equal values of different kinds apart';

