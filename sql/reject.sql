--
-- stedi.reject: every damaged region is one row, with its bytes, and what is good
-- around it is loaded.
--
CALL regress.make_directory('reject');
CREATE TABLE good (a text, n integer, record_id bigint);

CREATE SEQUENCE pg_temp.object_no;
-- Load a text; its rejects.
CREATE FUNCTION pg_temp.rejects(content bytea)
RETURNS TABLE (no bigint, "offset" bigint, length bigint, line bigint, col text, sqlstate text, message text, raw text) LANGUAGE plpgsql AS $$
DECLARE
	path text := format('reject/%s.json', nextval('pg_temp.object_no'));
BEGIN
	CALL regress.put_bytes(path, content);
	PERFORM FROM stedi.load('good', regress.uri(path), on_error => 'reject');
	RETURN QUERY
		SELECT r.record_no, r.byte_offset, r.byte_length, r.line, r.column_name, r.sqlstate, r.message, encode(r.raw, 'escape')
		FROM stedi.reject AS r JOIN stedi.object AS o USING (object_id)
		WHERE o.uri = regress.uri(path) ORDER BY r.record_no;
END
$$;
CREATE FUNCTION pg_temp.rejects(content text) RETURNS TABLE (no bigint, "offset" bigint, length bigint, line bigint, col text, sqlstate text, message text, raw text)
LANGUAGE sql AS $$ SELECT * FROM pg_temp.rejects(convert_to(content, 'UTF8')) $$;
-- What the last object loaded.
CREATE FUNCTION pg_temp.loaded() RETURNS TABLE (record_no bigint, a text, n integer) LANGUAGE sql AS $$
	SELECT record_id & 4294967295, a, n FROM good
	WHERE record_id >> 32 = (SELECT max(object_id) FROM stedi.object) ORDER BY record_id
$$;

-- Bytes, offset, line.
SELECT * FROM pg_temp.rejects(E'{"a":"1"}\n{"a":"2",}\n{"a":"3"}\r\n\r\n  {"a" "4"}  \r\n{"a":"5"}\n');
SELECT * FROM pg_temp.loaded();
SELECT status, rows, rejects, bytes, error FROM stedi.object ORDER BY object_id DESC LIMIT 1;

-- Not JSON by RFC 8259: each of these is one reject.
CREATE TABLE damage (n serial, content text);
INSERT INTO damage (content) VALUES
	('{"a":NaN}'), ('{"a":Infinity}'), ('{"n":01}'), ('{"n":+1}'), ('{"n":1.}'), ('{"n":.5}'), ('{"n":1e}'), ('{"n":0x1}'), ('{"n":-}'),
	('{"a":''x''}'), ('{a:1}'), ('{"a":1,}'), ('{,}'), ('{"a"}'), ('{"a":}'), ('{"a":1 "b":2}'), ('{"a":[1,]}'), ('{"a":[1 2]}'), ('{"a":{"b":1,}}'),
	('{"a":1 /* c */}'), ('{"a":tru}'), ('{"a":TRUE}'), ('{"a":nul}'), ('{"a":undefined}'),
	(E'{"a":"\t"}'), ('{"a":"\x"}'), ('{"a":"\u12"}'), ('{"a":"\ud800"}'), ('{"a":"\udc00"}'), ('{"a":"\ud800\u0041"}'), ('{"a":"\ud83d\ud83d"}'),
	('null'), ('true'), ('1'), ('"a"'), ('-'), ('x'), ('#'), ('}'), (']'), ('{"a":1}}'), ('{"a":1}]'), (',{"a":1}'), ('{"a":1},,{"a":2}'), ('[,{"a":1}]'), ('[{"a":1},]'),
	('[[{"a":1}]]'), ('[1]'), ('{"a":1'), ('{"a":"x'), ('{"a":"\u00'), ('{'), ('['), ('[{"a":1}'), ('[{"a":1},');
CREATE FUNCTION pg_temp.damages() RETURNS TABLE (content text, sqlstate text, message text, "offset" bigint, length bigint, raw text, loaded text)
LANGUAGE plpgsql AS $$
DECLARE
	d damage;
BEGIN
	FOR d IN SELECT * FROM damage ORDER BY n LOOP
		content := d.content;
		FOR sqlstate, message, "offset", length, raw IN
			SELECT r.sqlstate, r.message, r."offset", r.length, r.raw FROM pg_temp.rejects(d.content) AS r
		LOOP
			SELECT string_agg(l.a, ',') INTO loaded FROM pg_temp.loaded() AS l;
			RETURN NEXT;
		END LOOP;
	END LOOP;
END
$$;
SELECT * FROM pg_temp.damages();

-- Not UTF-8.
SELECT no, "offset", length, sqlstate, message, raw FROM pg_temp.rejects('\x7b2261223a22c3287d227d'::bytea);
SELECT no, "offset", length, sqlstate, message, raw FROM pg_temp.rejects('\x7b2261223a22c080227d0a7b2261223a2232227d'::bytea);
SELECT * FROM pg_temp.loaded();
SELECT no, sqlstate, message, raw FROM pg_temp.rejects('\x7b2261223a22eda080227d'::bytea);
SELECT no, sqlstate, message, raw FROM pg_temp.rejects('\x7b2261223a22f4908080227d'::bytea);
SELECT no, sqlstate, message, raw FROM pg_temp.rejects('\x7b2261223a22c3'::bytea);
SELECT no, sqlstate, message, raw FROM pg_temp.rejects('\x7b2261223a220041227d'::bytea);
SELECT no, sqlstate, message, raw FROM pg_temp.rejects('\xfffe7b00'::bytea);

-- Values that do not fit: the whole record is the region.
SELECT * FROM pg_temp.rejects(E'{"a":"1","n":1}\n{"a":"2","n":"x"}\n{"a":"3","n":3000000000}{"a":"4","n":1.5}\n{"a":"5\\u0000"}\n');
SELECT * FROM pg_temp.loaded();

-- A region goes on until a line begins with a record; all that is skipped is one reject.
SELECT * FROM pg_temp.rejects(E'{"a":"1"}\n{"a":\n"2"\n"3"\n}\n{"a":"4"}\n');
SELECT * FROM pg_temp.loaded();
SELECT * FROM pg_temp.rejects(E'{"a":"1"}\n{"a":"2" {"a":"3"} {"a":"4"}\n{"a":"5"}\n');
SELECT * FROM pg_temp.loaded();
SELECT * FROM pg_temp.rejects(E'garbage\nmore garbage\n\n   {"a":"indented"}\n{"a":"1"}\n');
SELECT * FROM pg_temp.loaded();
-- pretty-printed, the inner object does not pass for a record
SELECT * FROM pg_temp.rejects(E'[\n  {\n    "a": bad,\n    "b":\n    {"a": "inner"}\n  },\n  {"a": "2"}\n]\n');
SELECT * FROM pg_temp.loaded();
-- a truncated tail is one reject
SELECT * FROM pg_temp.rejects(E'{"a":"1"}\n{"a":"2","n":');
SELECT * FROM pg_temp.loaded();
-- a record that is cut off by the next line's record
SELECT * FROM pg_temp.rejects(E'{"a":"1","n"\n{"a":"2"}\n');
SELECT * FROM pg_temp.loaded();

-- Nested too deeply, and too large.
SELECT no, length, sqlstate, message, left(raw, 12) AS raw FROM pg_temp.rejects('{"a":' || repeat('[', 511) || repeat(']', 511) || '}');
SELECT no, length, sqlstate, message, left(raw, 12) AS raw FROM pg_temp.rejects('{"a":' || repeat('[', 512) || repeat(']', 512) || E'}\n{"a":"2"}\n');
SELECT * FROM pg_temp.loaded();
SET stedi.max_record_size = '1kB';
SELECT no, "offset", length, line, sqlstate, message FROM pg_temp.rejects('{"a":"' || repeat('x', 1016) || E'"}\n');
SELECT no, "offset", length, line, sqlstate, message FROM pg_temp.rejects(E'{"a":"1"}\n{"a":"' || repeat('x', 1017) || E'"}\n{"a":"3"}\n');
SELECT * FROM pg_temp.loaded();
RESET stedi.max_record_size;

-- What is kept are the first 64 kB; the length is the region's.
SELECT r.no, r."offset", r.length, r.sqlstate, length(r.raw) AS kept, r.raw = left('{"a":"' || repeat('x', 70000), 65536) AS first_bytes
FROM pg_temp.rejects(E'{"a":"1"}\n{"a":"' || repeat('x', 70000) || E'" oops}\n{"a":"3"}\n') AS r;
SELECT * FROM pg_temp.loaded();
SELECT r.no, r.length, r.col, r.sqlstate, length(r.raw) AS kept
FROM pg_temp.rejects('{"n":"' || repeat('x', 70000) || '"}') AS r;
SELECT r.length, length(r.raw) AS kept FROM pg_temp.rejects('{"n":"' || repeat('x', 65528) || '"}') AS r;
SELECT r.length, length(r.raw) AS kept FROM pg_temp.rejects('{"n":"' || repeat('x', 65529) || '"}') AS r;

-- Offsets and bytes are those of the decompressed object.
DO $$
BEGIN
	EXECUTE format('COPY (SELECT unnest(ARRAY[''{"a":"1"}'', ''{"a":2 3}'', ''{"a":"4"}''])) TO PROGRAM %L',
				   format('gzip -n > "%s"', regress.base() || 'reject/gz'));
END
$$;
SELECT status, rows_parsed, rows_loaded, rows_rejected, bytes FROM stedi.load('good', regress.uri('reject/gz'), on_error => 'reject');
SELECT record_no, byte_offset, byte_length, line, encode(raw, 'escape') AS raw FROM stedi.reject ORDER BY object_id DESC LIMIT 1;

-- An object that cannot be read fails as a whole; the others are loaded.
CALL regress.make_directory('reject/broken');
CALL regress.put('reject/broken/1.json', '{"a":"1"}');
CALL regress.put_bytes('reject/broken/2.json', substring(pg_read_binary_file(regress.base() || 'reject/gz') FOR 20));
CALL regress.put('reject/broken/3.json', '{"a":"3"}');
SELECT regress.clean(uri) AS uri, status, rows_loaded, rows_rejected, first_error
FROM stedi.load('good', regress.uri('reject/broken/'), on_error => 'reject');
SELECT status, rows, rejects, error FROM stedi.object WHERE uri = regress.uri('reject/broken/2.json');
SELECT count(*) FROM good WHERE record_id >> 32 = (SELECT object_id FROM stedi.object WHERE uri = regress.uri('reject/broken/2.json'));
SELECT left(e, 5) FROM regress.error(format('SELECT * FROM stedi.load(''good'', %L)', regress.uri('reject/broken/'))) AS e LIMIT 1;

-- A message never repeats the value: that is in the bytes, and maybe private.
SELECT count(*) FROM stedi.reject WHERE message ~ '3000000000|xxx|oops';

DROP TABLE good, damage;
