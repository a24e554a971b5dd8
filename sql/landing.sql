--
-- ingest(): the three landing tables, from objects as they arrive.
--
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
DELETE FROM stedi.source;
DELETE FROM stedi.export_target;
TRUNCATE stedi.customer_landing, stedi.accelerometer_landing, stedi.step_trainer_landing;
CALL regress.make_directory('landing');

-- Without sources there is nothing to do, and it says so.
SELECT * FROM regress.error('SELECT * FROM stedi.ingest()');
SELECT * FROM regress.error('SELECT * FROM stedi.ingest(''customer'')');

-- attach() sets three sources and where to export to; again moves them.
SELECT stedi.attach('s3://regress-elsewhere');
SELECT name, uri, target, aliases, on_error, reject_limit, enabled FROM stedi.source ORDER BY name;
SELECT * FROM stedi.export_target;
UPDATE stedi.source SET on_error = 'skip_object', reject_limit = 10 WHERE name = 'customer';
SELECT stedi.attach(rtrim(regress.uri('landing/'), '/'));
SELECT name, regress.clean(uri) AS uri, target, aliases, on_error, reject_limit, enabled FROM stedi.source ORDER BY name;
SELECT source, regress.clean(uri) AS uri FROM stedi.export_target;
UPDATE stedi.source SET on_error = 'reject', reject_limit = NULL WHERE name = 'customer';

-- What a source may be.
INSERT INTO stedi.source VALUES ('', 's3://bucket/', 'stedi.customer_landing');
INSERT INTO stedi.source VALUES ('other', 's3://bucket/', 'stedi.customer_landing', '["user"]');
INSERT INTO stedi.source VALUES ('other', 's3://bucket/', 'stedi.customer_landing', '{}', 'ignore');
INSERT INTO stedi.source VALUES ('other', 's3://bucket/', 'stedi.customer_landing', '{}', 'stop', -1);

-- Nothing there yet: no objects and no error, but a notice for each.
\set VERBOSITY sqlstate
SELECT * FROM stedi.ingest();
\set VERBOSITY default

-- Landing data: with every spelling of the keys, and every framing.
CALL regress.make_directory('landing/customer/landing');
CALL regress.make_directory('landing/accelerometer/landing/2022/06');
CALL regress.make_directory('landing/step_trainer/landing');
CALL regress.put('landing/customer/landing/customer-1.json',
	E'{"customerName":"Ann Able","email":"ann@example.com","phone":"5550001","birthDay":"1961-02-28","serialNumber":"s-1",'
	'"registrationDate":1655293787680,"lastUpdateDate":1655293787680,"shareWithResearchAsOfDate":1655293787680,'
	'"shareWithPublicAsOfDate":1655293787681,"shareWithFriendsAsOfDate":1655293787682}\n'
	'{"customername":"Bob Baker","email":"bob@example.com","phone":"5550002","birthday":"1962-03-01","serialnumber":"s-2",'
	'"registrationdate":1655293823654,"lastupdatedate":1655293823654}\n');
CALL regress.put('landing/customer/landing/customer-2.json',
	E'[\n  {\n    "customer_name": "Cy Clark",\n    "email": "cy@example.com",\n    "phone": 5550003,\n    "birth_day": "1963-04-02",\n'
	'    "serial_number": "s-3",\n    "registration_date": 1655293867463,\n    "last_update_date": null,\n    "loyalty": {"level": 3}\n  }\n]\n');
CALL regress.put('landing/customer/landing/_SUCCESS', '');
CALL regress.put('landing/accelerometer/landing/2022/06/accelerometer-1.json',
	'{"user":"ann@example.com","timeStamp":1655564444103,"x":1.0,"y":-1.0,"z":0.5}'
	'{"user":"ann@example.com","timestamp":1655564446116,"x":1,"y":-1,"z":-1e-1}'
	'{"email":"bob@example.com","timeStamp":1655564448129,"x":null}');
CALL regress.put('landing/step_trainer/landing/step_trainer-1.json',
	E'\uFEFF{"sensorReadingTime":1655564444103,"serialNumber":"s-1","distanceFromObject":204},\r\n'
	'{"sensorReadingTime":1655564446116.0,"serialNumber":"s-1","distanceFromObject":2.05e2},\r\n');

SELECT source, regress.clean(uri) AS uri, status, rows_parsed, rows_loaded, rows_rejected, bytes, first_error, download >= '0' AND parse > '0' AND insert > '0' AND download + parse + insert = elapsed AS timed
FROM stedi.ingest();
SELECT customer_name, email, phone, birth_day, serial_number, registration_date, last_update_date FROM stedi.customer_landing ORDER BY record_id;
SELECT customer_name, share_with_research_as_of_date, share_with_public_as_of_date, share_with_friends_as_of_date, rescued FROM stedi.customer_landing ORDER BY record_id;
SELECT email, "timestamp", x, y, z, rescued FROM stedi.accelerometer_landing ORDER BY record_id;
SELECT sensor_reading_time, serial_number, distance_from_object, rescued FROM stedi.step_trainer_landing ORDER BY record_id;

-- Every row says where it came from.
SELECT c.customer_name, regress.clean(p.uri) AS uri, p.record_no, p.source, p.status
FROM stedi.customer_landing AS c, stedi.provenance(c.record_id) AS p ORDER BY c.record_id;
SELECT count(*) FROM stedi.accelerometer_landing AS a, stedi.provenance(a.record_id) AS p, stedi.object AS o
WHERE o.object_id = p.object_id AND o.uri = p.uri AND o.etag = p.etag AND o.size = p.size
  AND a.record_id = o.object_id * 4294967296 + p.record_no;
SELECT count(*) FROM stedi.provenance(0);
SELECT count(*) FROM stedi.provenance(NULL);
SELECT count(*) FROM stedi.provenance(-1);
SELECT count(*) FROM stedi.provenance(9223372036854775807);

-- The ledger, numbered in key order within an ingest.
SELECT source, target, regress.clean(uri) AS uri, status, rows, rejects, bytes, size, version_id,
	   object_id - min(object_id) OVER () AS n, tried_at <= clock_timestamp() AS tried, elapsed IS NOT NULL AS timed, error
FROM stedi.object WHERE source IS NOT NULL ORDER BY object_id;

-- Once is enough; one source by name.
SELECT * FROM stedi.ingest();
CALL regress.put('landing/customer/landing/customer-0.json', '{"customerName":"Di Dunn","email":"di@example.com"}');
CALL regress.put('landing/step_trainer/landing/step_trainer-2.json', '{"sensorReadingTime":1655564448129,"serialNumber":"s-1","distanceFromObject":206}');
SELECT source, regress.clean(uri) AS uri, status, rows_loaded FROM stedi.ingest('step_trainer');
SELECT source, regress.clean(uri) AS uri, status, rows_loaded FROM stedi.ingest('customer');
SELECT * FROM regress.error('SELECT * FROM stedi.ingest(''customers'')');

-- A source that is not enabled is passed over, unless it is named.
UPDATE stedi.source SET enabled = false WHERE name = 'customer';
CALL regress.put('landing/customer/landing/customer-3.json', '{"customerName":"Ed Early","email":"ed@example.com"}');
SELECT count(*) FROM stedi.ingest();
SELECT regress.clean(uri) AS uri, status FROM stedi.ingest('customer');
UPDATE stedi.source SET enabled = true WHERE name = 'customer';

-- A source's policies, and what overrides them for one call.
CALL regress.put('landing/customer/landing/customer-4.json', E'{"customerName":"Flo","email":"flo@example.com","birthDay":"soon"}\n{"customerName":"Gus","email":"gus@example.com"}\n');
UPDATE stedi.source SET on_error = 'stop' WHERE name = 'customer';
SELECT * FROM regress.error('SELECT * FROM stedi.ingest(''customer'')');
UPDATE stedi.source SET on_error = 'skip_object' WHERE name = 'customer';
SELECT regress.clean(uri) AS uri, status, rows_loaded, rows_rejected, first_error FROM stedi.ingest('customer');
UPDATE stedi.source SET on_error = 'reject', reject_limit = 0 WHERE name = 'customer';
SELECT regress.clean(uri) AS uri, status, rows_loaded, rows_rejected, first_error FROM stedi.ingest('customer');
SELECT regress.clean(uri) AS uri, status, rows_loaded, rows_rejected FROM stedi.ingest('customer', reject_limit => 1, dry_run => true);
SELECT regress.clean(uri) AS uri, status, rows_loaded, rows_rejected FROM stedi.ingest('customer', reject_limit => 1);
UPDATE stedi.source SET reject_limit = NULL WHERE name = 'customer';

-- How the lake stands.
CALL regress.put('landing/customer/landing/customer-5.json', '{"customerName":"Hal","email":"hal@example.com"}');
SELECT kind, name, regress.clean(uri) AS uri, pending_objects, pending_bytes, loaded_objects, failed_objects, rows, rejects, last_run IS NOT NULL AS ran, error
FROM stedi.status ORDER BY kind, name COLLATE "C";
-- also when a store cannot be reached, or a source makes no sense
INSERT INTO stedi.source (name, uri, target, enabled) VALUES ('nonsense', 'gs://bucket/', 'stedi.customer_landing', false);
SELECT name, pending_objects, rows, error FROM stedi.status WHERE kind = 'source' ORDER BY name;
DELETE FROM stedi.source WHERE name = 'nonsense';
SELECT * FROM stedi.pending('costumer');
SELECT regress.clean(uri) AS uri, status FROM stedi.ingest('customer');
SELECT pending_objects FROM stedi.status WHERE name = 'customer';

-- A table of one's own is a source, too.
CREATE TABLE visits (page text, at timestamptz, rescued jsonb, record_id bigint);
CALL regress.make_directory('landing/visits');
CALL regress.put('landing/visits/1.json', '{"url":"/","at":"2022-06-18T14:59:36Z","agent":"x"}');
INSERT INTO stedi.source (name, uri, target, aliases) VALUES ('visits', regress.uri('landing/visits/*.json'), 'visits', '{"url": "page"}');
SELECT source, regress.clean(uri) AS uri, status FROM stedi.ingest();
SELECT page, at, rescued FROM visits;
DELETE FROM stedi.source WHERE name = 'visits';
DROP TABLE visits;
