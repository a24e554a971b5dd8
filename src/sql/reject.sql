-- Rejects: one row for every region of an object that could not be loaded.

CREATE TABLE stedi.reject (
	object_id integer NOT NULL REFERENCES stedi.object,
	record_no bigint NOT NULL,
	byte_offset bigint NOT NULL,
	byte_length bigint NOT NULL,
	line bigint NOT NULL,
	column_name text,
	sqlstate text NOT NULL,
	message text NOT NULL,
	raw bytea NOT NULL,
	PRIMARY KEY (object_id, record_no)
);
COMMENT ON TABLE stedi.reject IS 'damaged regions and bad records of objects, with their bytes';
COMMENT ON COLUMN stedi.reject.object_id IS 'the object, in stedi.object';
COMMENT ON COLUMN stedi.reject.record_no IS 'place among the records and rejects of the object, from 1';
COMMENT ON COLUMN stedi.reject.byte_offset IS 'first byte, in the decompressed object, from 0';
COMMENT ON COLUMN stedi.reject.byte_length IS 'full length of the region in bytes';
COMMENT ON COLUMN stedi.reject.line IS 'line of the first byte, from 1';
COMMENT ON COLUMN stedi.reject.column_name IS 'column whose value was bad, if it was that';
COMMENT ON COLUMN stedi.reject.sqlstate IS 'kind of the error';
COMMENT ON COLUMN stedi.reject.message IS 'what is wrong';
COMMENT ON COLUMN stedi.reject.raw IS 'the bytes, the first 64 kB of them at most';
SELECT pg_catalog.pg_extension_config_dump('stedi.reject', '');

