-- The zones under the rules "strict", in the SQL that DuckDB and Spark share.
-- Each block is one table, in dependency order.  Times are epoch milliseconds;
-- pseudonyms are plain MD5, which is cheaper than stedi's keyed hash.  No sample
-- is taken of a device's moments: the landing data has 30 of each, and stedi looks
-- at 64.

-- table customer_trusted
SELECT customer_name, email, phone, birth_day, serial_number, registration_date,
       last_update_date, research_date, public_date, friends_date
FROM (SELECT *, row_number() OVER (PARTITION BY email
                                   ORDER BY last_update_date DESC NULLS LAST,
                                            research_date DESC NULLS FIRST,
                                            registration_date DESC, serial_number DESC,
                                            customer_name DESC, phone DESC, birth_day DESC) AS place
      FROM customer_landing) AS c
WHERE place = 1 AND research_date IS NOT NULL

-- table accelerometer_trusted
SELECT a.email, a.reading_time, a.x, a.y, a.z, a.record_id
FROM accelerometer_landing AS a
JOIN customer_trusted AS c ON c.email = a.email
WHERE a.reading_time >= c.research_date

-- table customers_curated
SELECT c.*, md5(concat('subject', c.email)) AS subject
FROM customer_trusted AS c
WHERE EXISTS (SELECT 1 FROM accelerometer_trusted AS a WHERE a.email = c.email)

-- table device_owner
WITH matches AS (
    SELECT s.serial_number, a.email, count(DISTINCT s.sensor_reading_time) AS matched
    FROM step_trainer_landing AS s
    JOIN (SELECT DISTINCT email, reading_time FROM accelerometer_landing) AS a
      ON a.reading_time = s.sensor_reading_time
    GROUP BY s.serial_number, a.email
), contest AS (
    SELECT serial_number, email AS best, matched,
           lead(matched) OVER (PARTITION BY serial_number ORDER BY matched DESC, email) AS second,
           row_number() OVER (PARTITION BY serial_number ORDER BY matched DESC, email) AS place
    FROM matches
), claim AS (
    SELECT serial_number, count(DISTINCT email) AS claimants, min(email) AS claimant
    FROM customer_landing
    GROUP BY serial_number
), verdict AS (
    SELECT d.serial_number, l.claimant, c.best,
           coalesce(l.claimants, 0) AS claimants,
           coalesce(c.matched, 0) AS matched,
           coalesce(c.second, 0) AS runner_up,
           CASE WHEN c.matched >= 3 AND c.matched >= 2 * coalesce(c.second, 0) THEN 'evidence'
                WHEN l.claimants = 1 AND coalesce(m.matched, 0) = coalesce(c.matched, 0) THEN 'claim'
                ELSE 'unresolved' END AS basis
    FROM (SELECT DISTINCT serial_number FROM step_trainer_landing) AS d
    LEFT JOIN contest AS c ON c.serial_number = d.serial_number AND c.place = 1
    LEFT JOIN claim AS l ON l.serial_number = d.serial_number
    LEFT JOIN matches AS m ON m.serial_number = d.serial_number AND m.email = l.claimant
)
SELECT serial_number, md5(concat('device', serial_number)) AS device,
       CASE basis WHEN 'evidence' THEN best WHEN 'claim' THEN claimant END AS email,
       basis, claimants, matched, runner_up
FROM verdict

-- table step_trainer_trusted
SELECT s.sensor_reading_time, s.serial_number, s.distance_from_object,
       c.email, c.subject, o.device, s.record_id
FROM step_trainer_landing AS s
JOIN device_owner AS o ON o.serial_number = s.serial_number
JOIN customers_curated AS c ON c.email = o.email
WHERE s.sensor_reading_time >= c.research_date

-- table machine_learning_curated
SELECT s.subject, s.device, s.sensor_reading_time, s.distance_from_object,
       a.x, a.y, a.z,
       s.record_id AS step_trainer_record_id,
       a.record_id AS accelerometer_record_id
FROM step_trainer_trusted AS s
JOIN accelerometer_trusted AS a
  ON a.reading_time = s.sensor_reading_time AND a.email = s.email
