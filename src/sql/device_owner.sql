-- Whose device is it?  One row per serial number in step_trainer_landing, but for
-- those of more than 1,000 bytes, which are no device's.
--
-- The serial number in a customer's record cannot be trusted, what the device
-- reports can.  While someone exercises, phone and Step Trainer read at the same
-- moments; so the customer whose accelerometer readings coincide with a device's
-- is the one who wears it.  In this order:
--
--   evidence    the best customer matches at least min_matches moments of the
--               device, and at least min_ratio times as many as the runner-up
--   claim       exactly one email ever claimed the serial number, that customer
--               matches at least min_claim_matches of the device's moments, and
--               nobody else matches more
--   unresolved  everything else
--
-- min_claim_matches is 0 at first: a claim that nothing contradicts is believed.  Set
-- to 1 it keeps out devices of people whose phone is silent and whose number was
-- written into the record of somebody else.
--
-- Everyone's readings are evidence, also of those who did not consent: else
-- their devices would fall to whoever comes second.  At most sample_size moments
-- of a device are looked at, chosen by a hash among those at which anybody's
-- phone took a reading; no claim is ever joined with readings.

-- device_evidence tells it from the landing tables as they are now; device_owner
-- keeps what it told at the last refresh, with the pseudonyms.

-- SECURITY DEFINER because nobody else may read the key of the hashes.  It tells
-- nothing but what it is asked for, of a serial number that the caller knows.
CREATE FUNCTION stedi.erased_rival(serial_number text, OUT claimed boolean, OUT matched bigint)
LANGUAGE C STABLE STRICT PARALLEL RESTRICTED SECURITY DEFINER AS 'MODULE_PATHNAME', 'stedi_erased_rival';
COMMENT ON FUNCTION stedi.erased_rival(text) IS
	'whether people who were forgotten claimed a device, and how many of its moments one of them matched';

-- One row per serial number in step_trainer_landing.  emails are whose phones took
-- readings at its moments, of those looked at, and matched at how many: the most
-- first, ties in the order of the emails.  Both landing tables are read once, with
-- the caller's rights.
CREATE FUNCTION stedi.match_devices(sample_size integer)
RETURNS TABLE (serial_number text, emails text[], matched bigint[])
LANGUAGE C STABLE STRICT PARALLEL RESTRICTED ROWS 100000
AS 'MODULE_PATHNAME', 'stedi_match_devices';
COMMENT ON FUNCTION stedi.match_devices(integer) IS
	'whose phones took readings at the moments of each device, of at most so many, and at how many';

CREATE VIEW stedi.device_match WITH (security_invoker = true) AS
SELECT d.serial_number, m.email, m.matched
FROM stedi.match_devices((SELECT stedi.policy('sample_size')::integer)) AS d,
	 unnest(d.emails, d.matched) AS m(email, matched);
COMMENT ON VIEW stedi.device_match IS
	'at how many moments of a device, of those looked at, whose phone took a reading';

CREATE VIEW stedi.device_evidence WITH (security_invoker = true) AS
WITH claim AS (
	SELECT serial_number, count(*) AS claimants, min(email) AS claimant
	FROM (SELECT DISTINCT serial_number, email FROM stedi.customer_landing
		  WHERE serial_number IS NOT NULL AND email IS NOT NULL) AS c
	GROUP BY serial_number
), contest AS (
	SELECT d.serial_number, d.emails, d.matched, d.best, d.best_matched, d.second_matched,
		   coalesce(l.claimants, 0) AS claimants,
		   l.claimant
	FROM (SELECT serial_number, emails, matched,
				 emails[1] AS best,
				 coalesce(matched[1], 0) AS best_matched,
				 coalesce(matched[2], 0) AS second_matched
		  FROM stedi.match_devices((SELECT stedi.policy('sample_size')::integer))
		  WHERE octet_length(serial_number) <= 1000	-- what an index can hold
		  OFFSET 0) AS d	-- else arrays are unpacked wherever an element is used
	LEFT JOIN claim AS l USING (serial_number)
), verdict AS (
	SELECT serial_number, claimants, claimant, best, best_matched, second_matched,
		   CASE
			   WHEN best_matched >= (SELECT stedi.policy('min_matches')::integer)
				AND best_matched >= second_matched * (SELECT stedi.policy('min_ratio')::numeric)
				AND best_matched > second_matched
			   THEN 'evidence'
			   WHEN claimants = 1
				AND coalesce(matched[array_position(emails, claimant)], 0) >= (SELECT stedi.policy('min_claim_matches')::integer)
				AND coalesce(matched[array_position(emails, claimant)], 0) = best_matched
			   THEN 'claim'
			   ELSE 'unresolved'
		   END AS basis,
		   stedi.erased_rival(serial_number) AS rival
	FROM contest
	OFFSET 0	-- else both are computed wherever they are used
), objection AS (
	-- Somebody who was forgotten speaks against the owner as before.
	SELECT v.*,
		   coalesce(CASE basis
					WHEN 'claim' THEN (rival).claimed OR (rival).matched > best_matched
					WHEN 'evidence' THEN best_matched <= (rival).matched
						 OR best_matched < (rival).matched * (SELECT stedi.policy('min_ratio')::numeric)
					END, false) AS contests
	FROM verdict AS v
	OFFSET 0
)
SELECT serial_number,
	   CASE WHEN NOT contests THEN CASE basis WHEN 'evidence' THEN best WHEN 'claim' THEN claimant END END AS email,
	   CASE WHEN contests THEN 'unresolved' ELSE basis END AS basis,
	   claimants,
	   best_matched AS matched,
	   second_matched AS runner_up
FROM objection;
COMMENT ON VIEW stedi.device_evidence IS
	'whose device each serial number is by the landing tables as they are now';

CREATE MATERIALIZED VIEW stedi.device_owner AS
SELECT serial_number, stedi.pseudonym('device', serial_number) AS device,
	   email, basis, claimants, matched, runner_up
FROM stedi.device_evidence;

CREATE UNIQUE INDEX device_owner_serial_number_key ON stedi.device_owner (serial_number);
COMMENT ON MATERIALIZED VIEW stedi.device_owner IS
	'whose device each serial number is, and on what ground: evidence, claim or unresolved';
COMMENT ON COLUMN stedi.device_owner.serial_number IS 'of the Step Trainer readings';
COMMENT ON COLUMN stedi.device_owner.device IS 'its pseudonym';
COMMENT ON COLUMN stedi.device_owner.email IS 'the owner; NULL: not settled';
COMMENT ON COLUMN stedi.device_owner.basis IS 'evidence: whose phone took readings at its moments; claim: the one customer who names it; unresolved';
COMMENT ON COLUMN stedi.device_owner.claimants IS 'customers who name the serial number as theirs';
COMMENT ON COLUMN stedi.device_owner.matched IS 'moments at which the best matching phone took a reading';
COMMENT ON COLUMN stedi.device_owner.runner_up IS 'the same of the second best';

CREATE VIEW stedi.step_trainer_unattributed AS
SELECT s.sensor_reading_time, s.serial_number, s.distance_from_object, s.record_id,
	   o.claimants, o.matched, o.runner_up
FROM stedi.step_trainer_landing AS s
LEFT JOIN stedi.device_owner AS o ON o.serial_number = s.serial_number
WHERE o.email IS NULL;
COMMENT ON VIEW stedi.step_trainer_unattributed IS
	'Step Trainer readings of devices whose owner is not settled; they stay out of the trusted zone';

