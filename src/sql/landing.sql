-- The landing zone: records as they came, one table per kind.  record_id is the
-- ledger's object_id times 2^32 plus the place of the record in the object.  No
-- index slows the load: the ledger knows between which blocks an object's rows
-- lie, which is what replacing it takes.

CREATE TABLE stedi.customer_landing (
	customer_name text,
	email text,
	phone text,
	birth_day date,
	serial_number text,
	registration_date timestamptz,
	last_update_date timestamptz,
	share_with_research_as_of_date timestamptz,
	share_with_public_as_of_date timestamptz,
	share_with_friends_as_of_date timestamptz,
	rescued jsonb,
	record_id bigint NOT NULL
);
COMMENT ON TABLE stedi.customer_landing IS 'customer records from the fulfilment web site';
COMMENT ON COLUMN stedi.customer_landing.serial_number IS
	'claimed Step Trainer; wrong for many customers, see stedi.device_owner';
COMMENT ON COLUMN stedi.customer_landing.share_with_research_as_of_date IS
	'consent to use for research, from this moment; NULL: none';
COMMENT ON COLUMN stedi.customer_landing.rescued IS 'keys that match no column';
COMMENT ON COLUMN stedi.customer_landing.record_id IS 'where it came from, see stedi.provenance()';

CREATE TABLE stedi.accelerometer_landing (
	email text,
	"timestamp" timestamptz,
	x double precision,
	y double precision,
	z double precision,
	rescued jsonb,
	record_id bigint NOT NULL
);
COMMENT ON TABLE stedi.accelerometer_landing IS 'readings of the phone app''s accelerometer';
COMMENT ON COLUMN stedi.accelerometer_landing.email IS 'whose phone it was; the key "user" in the objects';
COMMENT ON COLUMN stedi.accelerometer_landing.rescued IS 'keys that match no column';
COMMENT ON COLUMN stedi.accelerometer_landing.record_id IS 'where it came from, see stedi.provenance()';

CREATE TABLE stedi.step_trainer_landing (
	sensor_reading_time timestamptz,
	serial_number text,
	distance_from_object integer,
	rescued jsonb,
	record_id bigint NOT NULL
);
COMMENT ON TABLE stedi.step_trainer_landing IS 'readings of the Step Trainer motion sensor';
COMMENT ON COLUMN stedi.step_trainer_landing.serial_number IS 'the device''s own, correct serial number';
COMMENT ON COLUMN stedi.step_trainer_landing.rescued IS 'keys that match no column';
COMMENT ON COLUMN stedi.step_trainer_landing.record_id IS 'where it came from, see stedi.provenance()';

SELECT pg_catalog.pg_extension_config_dump('stedi.customer_landing', '');
SELECT pg_catalog.pg_extension_config_dump('stedi.accelerometer_landing', '');
SELECT pg_catalog.pg_extension_config_dump('stedi.step_trainer_landing', '');

