-- Erasure: forgetting people.

CREATE TYPE stedi.forget_result AS (
	kind text,
	name text,
	records bigint
);
COMMENT ON TYPE stedi.forget_result IS 'what forget() has erased, and what it could not reach';

CREATE FUNCTION stedi.json_mentions(raw bytea, email text, serial_numbers text[]) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT EXISTS (SELECT FROM stedi.json_strings(raw) AS s
				   WHERE lower(s COLLATE "C") = lower(email COLLATE "C") OR s = ANY (serial_numbers));
$$;
COMMENT ON FUNCTION stedi.json_mentions(bytea, text, text[]) IS
	'whether a piece of JSON that may be damaged names this person, in upper or lower case, or one of these devices';

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
	-- Records that others have loaded since the snapshot have to be seen.
	IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
		RAISE feature_not_supported USING
			MESSAGE = 'cannot forget in a transaction of isolation level ' || current_setting('transaction_isolation'),
			HINT = 'Use read committed.';
	END IF;
	person := stedi.erasure_hash('email', email);

	-- A load that is under way would bring back what is deleted here.  In the order
	-- in which ingest() takes them.
	LOCK TABLE stedi.accelerometer_landing, stedi.customer_landing, stedi.step_trainer_landing
		IN SHARE ROW EXCLUSIVE MODE;

	-- Which devices are this person's, as of now, and what the person's records say
	-- of others.
	PERFORM stedi.refresh_zone('stedi.device_owner');
	serial_numbers := ARRAY(SELECT o.serial_number FROM stedi.device_owner AS o
							WHERE o.email = forget.email);

	INSERT INTO stedi.erasure (person, hash)
	SELECT person, person
	UNION
	SELECT person, stedi.erasure_hash('mention', lower(email COLLATE "C"))
	UNION
	SELECT person, stedi.erasure_hash('serial_number', s) FROM unnest(serial_numbers) AS s
	ON CONFLICT DO NOTHING;
	INSERT INTO stedi.erasure_device AS d (person, hash, claimed, matched)
	SELECT person, stedi.erasure_hash('serial_number', s.serial_number), bool_or(s.claimed), max(s.matched)
	FROM (SELECT c.serial_number, true AS claimed, 0 AS matched
		  FROM stedi.customer_landing AS c
		  WHERE c.email = forget.email
		  UNION ALL
		  SELECT m.serial_number, false, m.matched
		  FROM stedi.device_match AS m
		  WHERE m.email = forget.email) AS s
	WHERE s.serial_number IS NOT NULL AND s.serial_number <> ALL (serial_numbers)
	GROUP BY s.serial_number
	ON CONFLICT ON CONSTRAINT erasure_device_pkey DO UPDATE
	SET claimed = d.claimed OR excluded.claimed, matched = greatest(d.matched, excluded.matched);

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
							   WHERE NOT stedi.json_mentions(convert_to(jsonb_build_object(r.key, r.value)::text, ''UTF8''), $1, $2))
				WHERE rescued IS NOT NULL AND stedi.json_mentions(convert_to(rescued::text, ''UTF8''), $1, $2)
				RETURNING record_id),
			 objects AS (SELECT record_id >> 32 AS object_id, count(*) AS n FROM scrubbed GROUP BY 1)
			 SELECT coalesce(sum(n), 0), array_agg(object_id), array_agg(n) FROM objects',
			landing)
		INTO result.records, found_ids, found_counts
		USING email, serial_numbers;
		object_ids := object_ids || found_ids;
		counts := counts || found_counts;
		result.kind := 'rescued values erased';
		IF result.records > 0 THEN
			RETURN NEXT result;
		END IF;
	END LOOP;

	WITH mentions AS (
		UPDATE stedi.reject AS r SET raw = ''
		WHERE stedi.json_mentions(r.raw, email, serial_numbers)
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
		-- whatever is expected of the landing tables
		PERFORM stedi.refresh(concurrently => false, force => true);
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
	SELECT 'other spelling of the email', r.email, count(*)
	FROM (SELECT c.email FROM stedi.customer_landing AS c
		  UNION ALL SELECT a.email FROM stedi.accelerometer_landing AS a) AS r
	WHERE lower(r.email) = lower(forget.email) AND r.email <> forget.email
	GROUP BY r.email ORDER BY r.email;
END
$$;
COMMENT ON FUNCTION stedi.forget(text, boolean) IS
	'erase a person from landing, rejects and zones, keep them out, and list what still holds their data';

CREATE FUNCTION stedi.unforget(email text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	DELETE FROM stedi.erasure_device WHERE person = stedi.erasure_hash('email', email);
	DELETE FROM stedi.erasure WHERE person = stedi.erasure_hash('email', email);
	RETURN FOUND;
END
$$;
COMMENT ON FUNCTION stedi.unforget(text) IS
	'let a person be loaded again from now on; objects loaded meanwhile have to be loaded with force';

