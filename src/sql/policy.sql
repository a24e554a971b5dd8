-- The rules that the zones follow.

CREATE TABLE stedi.policy (
	name text PRIMARY KEY,
	value text NOT NULL,
	CHECK (CASE name
		   WHEN 'rules' THEN value IN ('strict', 'published')
		   WHEN 'min_matches' THEN value::integer BETWEEN 1 AND 1000
		   WHEN 'min_claim_matches' THEN value::integer BETWEEN 0 AND 1000
		   WHEN 'min_ratio' THEN value::numeric BETWEEN 1 AND 1000
		   WHEN 'sample_size' THEN value::integer BETWEEN 64 AND 100000
		   ELSE false END)
);
COMMENT ON TABLE stedi.policy IS 'the rules that the zones follow from the next refresh on';
COMMENT ON COLUMN stedi.policy.name IS
	'rules: strict or published; min_matches, min_ratio: evidence that settles a device''s owner; min_claim_matches: evidence that a claim needs, 0 none, 1 to believe no claim that nothing supports; sample_size: moments of a device that are looked at';
COMMENT ON COLUMN stedi.policy.value IS 'the setting';

CREATE TRIGGER replace_row BEFORE INSERT ON stedi.policy
	FOR EACH ROW EXECUTE FUNCTION stedi.replace_row('name');
SELECT pg_catalog.pg_extension_config_dump('stedi.policy', '');

INSERT INTO stedi.policy (name, value) VALUES
	('rules', 'strict'),
	('min_matches', '3'),
	('min_claim_matches', '0'),
	('min_ratio', '2'),
	('sample_size', '64');

CREATE FUNCTION stedi.policy(name text) RETURNS text
LANGUAGE sql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT p.value FROM stedi.policy AS p WHERE p.name = $1;
$$;
COMMENT ON FUNCTION stedi.policy(text) IS 'one setting of stedi.policy';

CREATE FUNCTION stedi.set_policy(rules text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF rules IS NULL OR rules NOT IN ('strict', 'published') THEN
		RAISE invalid_parameter_value USING
			MESSAGE = format('unknown rules "%s"', rules),
			HINT = 'Valid rules are strict and published.';
	END IF;
	INSERT INTO stedi.policy (name, value) VALUES ('rules', rules);
END
$$;
COMMENT ON FUNCTION stedi.set_policy(text) IS
	'choose the rules, strict or published, that the next refresh follows';

