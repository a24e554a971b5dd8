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
COMMENT ON COLUMN stedi.erasure.hash IS 'the same, or keyed hash of the serial number of a device of this person';
COMMENT ON COLUMN stedi.erasure.erased_at IS 'when it was asked for';
SELECT pg_catalog.pg_extension_config_dump('stedi.erasure', '');

CREATE FUNCTION stedi.erasure_hash(kind text, value text) RETURNS text
LANGUAGE C STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'stedi_erasure_hash';
COMMENT ON FUNCTION stedi.erasure_hash(text, text) IS
	'keyed hash of an email or serial_number, as in stedi.erasure';

CREATE FUNCTION stedi.json_strings(raw bytea) RETURNS SETOF text
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'stedi_json_strings';
COMMENT ON FUNCTION stedi.json_strings(bytea) IS
	'every string in a piece of JSON that may be damaged, escapes decoded';

CREATE TYPE stedi.forget_result AS (
	kind text,
	name text,
	records bigint
);
COMMENT ON TYPE stedi.forget_result IS 'what forget() has erased, and what it could not reach';

-- SECURITY DEFINER because whoever handles such requests need not be able to
-- read the landing tables.
CREATE FUNCTION stedi.forget(email text, refresh boolean DEFAULT true)
RETURNS SETOF stedi.forget_result
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	person text;
	serial_numbers text[];
	landing regclass;
	condition text;
	result stedi.forget_result;
	object_ids bigint[] := '{}';	-- that named the person, and in how many records
	counts bigint[] := '{}';
	found_ids bigint[];
	found_counts bigint[];
BEGIN
	IF email IS NULL OR email = '' THEN
		RAISE null_value_not_allowed USING MESSAGE = 'email must not be empty';
	END IF;
	person := stedi.erasure_hash('email', email);

	-- A load that is under way would bring back what is deleted here.  In the order
	-- in which ingest() takes them.
	LOCK TABLE stedi.accelerometer_landing, stedi.customer_landing, stedi.step_trainer_landing
		IN SHARE ROW EXCLUSIVE MODE;

	-- Which devices are this person's, as of now.
	REFRESH MATERIALIZED VIEW stedi.device_owner;
	serial_numbers := ARRAY(SELECT o.serial_number FROM stedi.device_owner AS o
							WHERE o.email = forget.email);

	INSERT INTO stedi.erasure (person, hash)
	SELECT person, person
	UNION
	SELECT person, stedi.erasure_hash('serial_number', s) FROM unnest(serial_numbers) AS s
	ON CONFLICT DO NOTHING;

	FOREACH landing IN ARRAY ARRAY['stedi.customer_landing', 'stedi.accelerometer_landing',
								   'stedi.step_trainer_landing']::regclass[]
	LOOP
		condition := CASE landing WHEN 'stedi.step_trainer_landing'::regclass
								  THEN 'serial_number = ANY ($2)' ELSE 'email = $1' END;
		EXECUTE format(
			'WITH gone AS (DELETE FROM %1$s WHERE %2$s RETURNING record_id),
			 objects AS (SELECT record_id >> 32 AS object_id, count(*) AS n FROM gone GROUP BY 1),
			 ledger AS (UPDATE stedi.object AS o SET rows = o.rows - s.n, erased = o.erased + s.n
						FROM objects AS s WHERE s.object_id = o.object_id)
			 SELECT coalesce(sum(n), 0), array_agg(object_id), array_agg(n) FROM objects',
			landing, condition)
		INTO result.records, found_ids, found_counts USING email, serial_numbers;
		object_ids := object_ids || found_ids;
		counts := counts || found_counts;
		result.kind := 'rows erased';
		result.name := landing::text;
		RETURN NEXT result;

		-- Somebody else's record may name this person under a key of its own.
		EXECUTE format(
			'WITH scrubbed AS (
				UPDATE %s AS t
				SET rescued = (SELECT jsonb_object_agg(r.key, r.value) FROM jsonb_each(t.rescued) AS r
							   WHERE NOT (r.key || '' '' || r.value::text) ILIKE $1)
				WHERE rescued::text ILIKE $1
				RETURNING record_id),
			 objects AS (SELECT record_id >> 32 AS object_id, count(*) AS n FROM scrubbed GROUP BY 1)
			 SELECT coalesce(sum(n), 0), array_agg(object_id), array_agg(n) FROM objects',
			landing)
		INTO result.records, found_ids, found_counts
		USING '%' || regexp_replace(ltrim(rtrim(to_jsonb(email)::text, '"'), '"'), '([\\%_])', '\\\1', 'g') || '%';
		object_ids := object_ids || found_ids;
		counts := counts || found_counts;
		result.kind := 'rescued values erased';
		IF result.records > 0 THEN
			RETURN NEXT result;
		END IF;
	END LOOP;

	WITH mentions AS (
		UPDATE stedi.reject AS r SET raw = ''
		WHERE position(convert_to(email, 'UTF8') IN r.raw) > 0
		   OR EXISTS (SELECT FROM stedi.json_strings(r.raw) AS s
					  WHERE position(lower(email) IN lower(s)) > 0 OR s = ANY (serial_numbers))
		RETURNING r.object_id),
	objects AS (SELECT object_id, count(*) AS n FROM mentions GROUP BY 1)
	SELECT coalesce(sum(n), 0), array_agg(object_id::bigint), array_agg(n)
	INTO result.records, found_ids, found_counts FROM objects;
	object_ids := object_ids || found_ids;
	counts := counts || found_counts;
	result.kind := 'rejects erased';
	result.name := 'stedi.reject';
	RETURN NEXT result;

	IF refresh THEN
		PERFORM stedi.refresh();
	END IF;

	-- What is out of reach: the person's bytes in the lake, and in the files of
	-- those to whom exports were given.
	RETURN QUERY
	SELECT 'object still holds records', o.uri, sum(i.n)::bigint
	FROM unnest(object_ids, counts) AS i(object_id, n)
	JOIN stedi.object AS o ON o.object_id = i.object_id
	GROUP BY o.uri ORDER BY o.uri;
	RETURN QUERY
	SELECT 'export made earlier', e.uri || '_manifest.json', e.rows
	FROM stedi.export_run AS e
	WHERE e.replaced_at IS NULL ORDER BY e.exported_at;
	RETURN QUERY
	SELECT 'other spelling of the email', c.email, count(*)
	FROM stedi.customer_landing AS c
	WHERE lower(c.email) = lower(forget.email) AND c.email <> forget.email
	GROUP BY c.email ORDER BY c.email;
END
$$;
COMMENT ON FUNCTION stedi.forget(text, boolean) IS
	'erase a person from landing, rejects and zones, keep them out, and list what still holds their data';

CREATE FUNCTION stedi.unforget(email text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	DELETE FROM stedi.erasure WHERE person = stedi.erasure_hash('email', email);
	RETURN FOUND;
END
$$;
COMMENT ON FUNCTION stedi.unforget(text) IS
	'let a person be loaded again from now on; objects loaded meanwhile have to be loaded with force';

