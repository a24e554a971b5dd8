-- Zone 3: consenting customers who have at least one trusted accelerometer
-- reading.  subject is the pseudonym under which they appear in zone 5.
--
-- GROUP BY lets workers reduce the readings before they are joined.

CREATE MATERIALIZED VIEW stedi.customers_curated AS
SELECT c.*, stedi.pseudonym('subject', c.email) AS subject
FROM stedi.customer_trusted AS c
WHERE c.email IN (SELECT email FROM stedi.accelerometer_trusted GROUP BY email);

CREATE UNIQUE INDEX customers_curated_email_key ON stedi.customers_curated (email);
COMMENT ON MATERIALIZED VIEW stedi.customers_curated IS
	'curated zone: consenting customers with trusted accelerometer readings';

