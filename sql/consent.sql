--
-- Consent: whose readings are trusted, and from when on.
--
SET timezone = 'UTC';
SET client_min_messages = warning;
SET datestyle = 'ISO, MDY';
TRUNCATE stedi.customer_landing, stedi.accelerometer_landing, stedi.step_trainer_landing;
CREATE FUNCTION pg_temp.at(integer) RETURNS timestamptz LANGUAGE sql IMMUTABLE
RETURN timestamptz '2022-06-18 15:00:00+00' + $1 * interval '1 second';

-- Records of customers: who, when updated, consent.  Everyone takes readings at
-- the moments 1 to 5.
CREATE PROCEDURE pg_temp.customer(who text, VARIADIC records integer[]) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1..array_length(records, 1) BY 2 LOOP
		INSERT INTO stedi.customer_landing (customer_name, email, last_update_date, share_with_research_as_of_date, record_id)
		SELECT who, who || '@example.com', pg_temp.at(records[i]), pg_temp.at(records[i + 1]), coalesce(max(record_id), 0) + 1
		FROM stedi.customer_landing;
	END LOOP;
END
$$;
CALL pg_temp.customer('always', -10, -10);
CALL pg_temp.customer('never', -10, NULL);
CALL pg_temp.customer('late', -10, 3);
CALL pg_temp.customer('too-late', -10, 6);
-- consent at the very moment of a reading counts for it
CALL pg_temp.customer('at-once', -10, 5);
-- withdrawn: the latest record carries none
CALL pg_temp.customer('withdrawn', -10, -10, 2, NULL);
-- given later on: the first record carries none
CALL pg_temp.customer('given', -10, NULL, 2, 2);
-- withdrawn and given again: from the new date on, the older consent does not count
CALL pg_temp.customer('again', -10, -10, 2, NULL, 4, 4);
-- the latest is told by its date, not by when it arrived
CALL pg_temp.customer('out-of-order', 4, NULL, -10, -10);
CALL pg_temp.customer('out-of-order-given', 4, 2, -10, NULL);
-- the same date: the record without consent wins, then the later consent
CALL pg_temp.customer('tie-none', 0, -10, 0, NULL);
CALL pg_temp.customer('tie-none-first', 0, NULL, 0, -10);
CALL pg_temp.customer('tie-later', 0, 2, 0, 4);
CALL pg_temp.customer('tie-later-first', 0, 4, 0, 2);
-- a record without a date is older than any with one
CALL pg_temp.customer('undated', NULL, NULL, -10, -10);
CALL pg_temp.customer('undated-consent', -10, NULL, NULL, -10);
CALL pg_temp.customer('undated-only', NULL, 3);
-- emails are compared as they are
CALL pg_temp.customer('Case', -10, -10);
CALL pg_temp.customer('case', -10, NULL);
-- and a record without one is nobody's
INSERT INTO stedi.customer_landing (customer_name, last_update_date, share_with_research_as_of_date, record_id)
VALUES ('nobody', pg_temp.at(-10), pg_temp.at(-10), 1000), ('nobody', pg_temp.at(-10), pg_temp.at(-10), 1001);

INSERT INTO stedi.accelerometer_landing (email, "timestamp", x, record_id)
SELECT email, pg_temp.at(i), i, (row_number() OVER (ORDER BY email COLLATE "C")) * 10 + i
FROM (SELECT DISTINCT email FROM stedi.customer_landing) AS c, generate_series(1, 5) AS i;
INSERT INTO stedi.accelerometer_landing (email, "timestamp", x, record_id)
VALUES ('always@example.com', NULL, 0, 2000), ('stranger@example.com', pg_temp.at(1), 0, 2001), ('always@example.com', pg_temp.at(1), 7, 2002);

SELECT zone, rows FROM stedi.refresh() WHERE zone IN ('customer_trusted', 'accelerometer_trusted', 'customers_curated');
CREATE VIEW outcome AS
SELECT c.customer_name AS customer,
	   (SELECT string_agg(extract(epoch FROM t.share_with_research_as_of_date - pg_temp.at(0))::integer::text, ',')
		FROM stedi.customer_trusted AS t WHERE t.email = c.email) AS trusted_from,
	   (SELECT string_agg(a.x::text, ',' ORDER BY a.x) FROM stedi.accelerometer_trusted AS a WHERE a.email = c.email) AS readings,
	   EXISTS (SELECT FROM stedi.customers_curated AS k WHERE k.email = c.email) AS curated
FROM (SELECT customer_name, email, min(record_id) AS n FROM stedi.customer_landing GROUP BY 1, 2) AS c
ORDER BY c.n;
SELECT * FROM outcome;

-- The consent date is that of the record that governs; one row per customer.
SELECT customer_name, count(*) FROM stedi.customer_trusted GROUP BY 1 HAVING count(*) > 1;
SELECT count(*) FROM stedi.accelerometer_trusted AS a JOIN stedi.customer_trusted AS c USING (email)
WHERE a."timestamp" < c.share_with_research_as_of_date;

-- published: the same customers, but any consent counts for any reading.
SELECT stedi.set_policy('published');
SELECT zone, rows FROM stedi.refresh() WHERE zone IN ('customer_trusted', 'accelerometer_trusted', 'customers_curated');
SELECT * FROM outcome WHERE readings IS NOT NULL;
SELECT stedi.set_policy('strict');

-- A later record takes a customer out again, with all that hangs on him.
SELECT count(*) FROM stedi.refresh();
SELECT count(*) FROM stedi.accelerometer_trusted WHERE email = 'always@example.com';
CALL pg_temp.customer('always', 10, NULL);
SELECT count(*) FROM stedi.refresh(concurrently => true);
SELECT * FROM outcome WHERE customer = 'always';
SELECT count(*) FROM stedi.accelerometer_trusted WHERE email = 'always@example.com';

DROP VIEW outcome;
TRUNCATE stedi.customer_landing, stedi.accelerometer_landing, stedi.step_trainer_landing;
SELECT count(*) FROM stedi.refresh();
