-- Erasure: people who asked to be forgotten.

CREATE TABLE stedi.erasure_key (
	singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
	key bytea NOT NULL CHECK (pg_catalog.length(key) >= 32)
);
COMMENT ON TABLE stedi.erasure_key IS
	'the secret key of stedi.erasure; it is never changed, else nobody in there would be recognized';
COMMENT ON COLUMN stedi.erasure_key.singleton IS 'there is one key';
COMMENT ON COLUMN stedi.erasure_key.key IS 'HMAC-SHA-256 key';
CREATE TRIGGER replace_row BEFORE INSERT ON stedi.erasure_key
	FOR EACH ROW EXECUTE FUNCTION stedi.replace_row('singleton');
SELECT pg_catalog.pg_extension_config_dump('stedi.erasure_key', '');

INSERT INTO stedi.erasure_key (key)
SELECT pg_catalog.sha256(pg_catalog.string_agg(pg_catalog.uuid_send(pg_catalog.gen_random_uuid()), ''))
FROM pg_catalog.generate_series(1, 4);

CREATE TABLE stedi.erasure (
	person text NOT NULL,
	hash text NOT NULL,
	erased_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
	PRIMARY KEY (person, hash)
);
COMMENT ON TABLE stedi.erasure IS
	'who must not be loaded again: keyed hashes of emails and of serial numbers';
COMMENT ON COLUMN stedi.erasure.person IS 'keyed hash of the email';
COMMENT ON COLUMN stedi.erasure.hash IS
	'the same, or keyed hash of the email in lower case, or of the serial number of a device of this person';
COMMENT ON COLUMN stedi.erasure.erased_at IS 'when it was asked for';
SELECT pg_catalog.pg_extension_config_dump('stedi.erasure', '');

CREATE FUNCTION stedi.erasure_hash(kind text, value text) RETURNS text
LANGUAGE C STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'stedi_erasure_hash';
COMMENT ON FUNCTION stedi.erasure_hash(text, text) IS
	'keyed hash of an email or serial_number, as in stedi.erasure';

CREATE FUNCTION stedi.json_strings(raw bytea) RETURNS SETOF text
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'stedi_json_strings';
COMMENT ON FUNCTION stedi.json_strings(bytea) IS
	'every string in a piece of JSON that may be damaged, and every word in it, escapes decoded';

-- What the person's records said about the devices of others: without it forgetting
-- one person would make another the owner of a device that is not theirs.
CREATE TABLE stedi.erasure_device (
	person text NOT NULL,
	hash text NOT NULL,
	claimed boolean NOT NULL,
	matched bigint NOT NULL,
	PRIMARY KEY (person, hash)
);
COMMENT ON TABLE stedi.erasure_device IS
	'devices that somebody who was forgotten claimed, or whose moments their phone matched';
COMMENT ON COLUMN stedi.erasure_device.person IS 'keyed hash of the email';
COMMENT ON COLUMN stedi.erasure_device.hash IS 'keyed hash of the serial number';
COMMENT ON COLUMN stedi.erasure_device.claimed IS 'whether a customer record carried it';
COMMENT ON COLUMN stedi.erasure_device.matched IS 'moments of the device at which the phone took a reading';
SELECT pg_catalog.pg_extension_config_dump('stedi.erasure_device', '');

