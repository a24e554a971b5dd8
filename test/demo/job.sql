-- The whole job, as a data engineer would type it.
\pset footer off
\pset null '-'

\echo 'SELECT stedi.attach(''':root''');'
SELECT stedi.attach(:'root') \g /dev/null

\echo
\echo '-- landing: one row per object'
SELECT source, regexp_replace(uri, '^.*/', '') AS object, status,
       rows_loaded, rows_rejected, bytes, first_error
FROM stedi.ingest();

\echo '-- landing: what could not be loaded'
SELECT regexp_replace(o.uri, '^.*/', '') AS object, r.line, r.byte_length, r.column_name, r.sqlstate, r.message
FROM stedi.reject AS r JOIN stedi.object AS o USING (object_id)
ORDER BY o.uri, r.record_no;

\echo '-- the zones'
SELECT 'landing: customer' AS zone, count(*) AS rows FROM stedi.customer_landing
UNION ALL SELECT 'landing: accelerometer', count(*) FROM stedi.accelerometer_landing
UNION ALL SELECT 'landing: step_trainer', count(*) FROM stedi.step_trainer_landing
UNION ALL SELECT zone, rows FROM stedi.refresh();

\echo '-- whose device is it?'
SELECT basis, count(*) AS devices FROM stedi.device_owner GROUP BY basis ORDER BY basis;

\echo '-- a few training rows'
SELECT subject, device, sensor_reading_time, distance_from_object, x, y, z
FROM stedi.machine_learning_curated
ORDER BY step_trainer_record_id, accelerometer_record_id LIMIT 5;

\echo '-- where the first of them came from'
SELECT p.record_no, p.uri
FROM (SELECT step_trainer_record_id, accelerometer_record_id
      FROM stedi.machine_learning_curated
      ORDER BY step_trainer_record_id, accelerometer_record_id LIMIT 1) AS m,
     LATERAL (SELECT * FROM stedi.provenance(m.step_trainer_record_id)
              UNION ALL SELECT * FROM stedi.provenance(m.accelerometer_record_id)) AS p;

\echo '-- the export'
SELECT uri, rows, bytes
FROM stedi.export('stedi.machine_learning_curated', :'root' || 'machine_learning_curated/',
                  max_file_size => '4MB');

\echo '-- read back: how many records, and how many differ from the zone'
SELECT count(*) AS records,
       (SELECT count(*)
        FROM (SELECT * FROM stedi.machine_learning_curated
              EXCEPT ALL
              SELECT * FROM stedi.read_json(NULL::stedi.machine_learning_curated,
                                            :'root' || 'machine_learning_curated/')) AS d) AS missing
FROM stedi.read_json(:'root' || 'machine_learning_curated/');
