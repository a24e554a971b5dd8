-- Zone 2: accelerometer readings of consenting customers.
--
-- strict: taken at or after the consent date.  published: whenever taken.

CREATE MATERIALIZED VIEW stedi.accelerometer_trusted AS
SELECT a.email, a."timestamp", a.x, a.y, a.z, a.record_id
FROM stedi.accelerometer_landing AS a
JOIN stedi.customer_trusted AS c ON c.email = a.email
WHERE a."timestamp" >= c.share_with_research_as_of_date
   OR (SELECT stedi.policy('rules')) = 'published';

CREATE UNIQUE INDEX accelerometer_trusted_record_id_key ON stedi.accelerometer_trusted (record_id);
COMMENT ON MATERIALIZED VIEW stedi.accelerometer_trusted IS
	'trusted zone: accelerometer readings taken with consent';

