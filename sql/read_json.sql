--
-- read_json(): records in any framing, as jsonb and as rows of a type.
--
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
CALL regress.make_directory('read_json');

-- The records of a text, as they are numbered and where they begin.
CREATE FUNCTION pg_temp.records(content text, OUT record_no bigint, OUT byte_offset bigint, OUT value jsonb)
RETURNS SETOF record LANGUAGE plpgsql AS $$
BEGIN
	CALL regress.put('read_json/text.json', content);
	RETURN QUERY SELECT r.record_no, r.byte_offset, r.value
				 FROM stedi.read_json(regress.uri('read_json/text.json')) AS r;
END
$$;

-- Framings: one record a line, several a line, nothing between, commas without
-- brackets, arrays, pretty-printed; BOM, CRLF, blank lines, no final newline.
SELECT * FROM pg_temp.records(E'{"a":1}\n{"a":2}\n');
SELECT * FROM pg_temp.records(E'{"a":1}\n{"a":2}');
SELECT * FROM pg_temp.records('{"a":1} {"a":2}	{"a":3}');
SELECT * FROM pg_temp.records('{"a":1}{"a":2}');
SELECT * FROM pg_temp.records(E'{"a":1},\n{"a":2},\n');
SELECT * FROM pg_temp.records('[{"a":1},{"a":2}]');
SELECT * FROM pg_temp.records(E'[{"a":1}]\n[]\n[{"a":2}, {"a":3}]');
SELECT * FROM pg_temp.records(E'[\n  {\n    "a": {\n      "b": [1, 2]\n    }\n  },\n  {"a": 2}\n]\n');
SELECT * FROM pg_temp.records(E'\uFEFF{"a":1}\r\n\r\n   \r\n{"a":2}  \r\n');
SELECT * FROM pg_temp.records('');
SELECT * FROM pg_temp.records(E' \r\n\t\n');
SELECT * FROM pg_temp.records('[]');
SELECT * FROM pg_temp.records('{}');

-- Values come through as they are.
SELECT * FROM pg_temp.records('{"s":"\u00e9\ud83d\ude00\"\\\/\b\f\n\r\t","n":-1.50e+2,"big":123456789012345678901234567890,"t":true,"f":false,"z":null,"o":{"k":[]},"a":1,"a":2}');

-- Gzip is told by the content, not by the name; also when there is more than one member.
CREATE PROCEDURE pg_temp.gzip(path text, VARIADIC contents text[]) LANGUAGE plpgsql AS $$
DECLARE
	content text;
BEGIN
	CALL regress.put(path, '');
	FOREACH content IN ARRAY contents LOOP
		EXECUTE format('COPY (SELECT %L) TO PROGRAM %L', content,
					   format('gzip -n >> "%s"', regress.base() || path));
	END LOOP;
END
$$;
CALL pg_temp.gzip('read_json/gz.json', '{"a":1}');
CALL pg_temp.gzip('read_json/members.json.gz', '{"a":1}', '{"a":2}');
SELECT record_no, byte_offset, value FROM stedi.read_json(regress.uri('read_json/gz.json'));
SELECT record_no, byte_offset, value FROM stedi.read_json(regress.uri('read_json/gz.json'), compression => 'GZIP');
SELECT record_no, byte_offset, value FROM stedi.read_json(regress.uri('read_json/members.json.gz'));
CALL regress.put('read_json/plain.json.gz', '{"a":1}');
SELECT record_no, byte_offset, value FROM stedi.read_json(regress.uri('read_json/plain.json.gz'));
SELECT * FROM regress.error(format('SELECT * FROM stedi.read_json(%L, compression => ''gzip'')', regress.uri('read_json/plain.json.gz')));
SELECT * FROM regress.error(format('SELECT * FROM stedi.read_json(%L, compression => ''none'')', regress.uri('read_json/gz.json'))) LIMIT 1;
-- cut off in the middle
CALL regress.put_bytes('read_json/cut.gz', substring(pg_read_binary_file(regress.base() || 'read_json/gz.json') FOR 20));
SELECT * FROM regress.error(format('SELECT * FROM stedi.read_json(%L)', regress.uri('read_json/cut.gz'))) LIMIT 1;

-- Several objects, in order, each with numbers of its own.
CALL regress.make_directory('read_json/many');
CALL regress.put('read_json/many/b.json', E'{"a":3}\n');
CALL regress.put('read_json/many/a.json', E'{"a":1}\n{"a":2}\n');
CALL regress.put('read_json/many/_hidden.json', E'{"a":4}\n');
SELECT regress.clean(uri) AS uri, record_no, byte_offset, value FROM stedi.read_json(regress.uri('read_json/many/'));
SELECT regress.clean(uri) AS uri, record_no, value FROM stedi.read_json(regress.uri('read_json/many/b*'));
SELECT * FROM regress.error(format('SELECT * FROM stedi.read_json(%L)', regress.uri('read_json/many/c*')));
SELECT * FROM regress.error(format('SELECT * FROM stedi.read_json(%L)', regress.uri('read_json/none/')));
SELECT * FROM regress.error(format('SELECT * FROM stedi.read_json(%L)', regress.uri('read_json/none.json')));

-- Damage stops it, or is left out with a warning.
CALL regress.put('read_json/bad.json', E'{"a":1}\n{"a":NaN}\n{"a":3}\n');
SELECT * FROM regress.error(format('SELECT * FROM stedi.read_json(%L)', regress.uri('read_json/bad.json')));
\set VERBOSITY terse
SELECT record_no, byte_offset, value FROM stedi.read_json(regress.uri('read_json/bad.json'), on_error => 'skip');
-- no jsonb can hold it
CALL regress.put('read_json/nul.json', E'{"a":"\\u0000"}\n{"a":2}\n');
SELECT record_no, byte_offset, value FROM stedi.read_json(regress.uri('read_json/nul.json'), on_error => 'skip');
\set VERBOSITY default
SELECT * FROM regress.error(format('SELECT * FROM stedi.read_json(%L)', regress.uri('read_json/nul.json')));
SELECT * FROM regress.error(format('SELECT * FROM stedi.read_json(%L, on_error => ''reject'')', regress.uri('read_json/bad.json')));
SELECT * FROM regress.error(format('SELECT * FROM stedi.read_json(%L, compression => ''bzip2'')', regress.uri('read_json/bad.json')));

-- No URI, no records.
SELECT count(*) FROM stedi.read_json(NULL::text);

--
-- As rows.
--
CREATE TYPE reading AS (sensor_reading_time timestamptz, serial_number text, distance integer);
CALL regress.put('read_json/readings.json',
				 E'{"sensorReadingTime":1655564444103,"serialNumber":"s1","distance":204}\n'
				 '{"SENSOR_READING_TIME":1655564444103.5,"serialnumber":"s2","Distance":2.0e2,"more":true}\n'
				 '{"distance":null}\n'
				 '{}\n');
SELECT * FROM stedi.read_json(NULL::reading, regress.uri('read_json/readings.json'));
-- the expression's value does not matter, its type does
SELECT * FROM stedi.read_json(ROW(now(), 'x', 1)::reading, regress.uri('read_json/readings.json')) LIMIT 1;
SELECT (stedi.read_json(NULL::reading, regress.uri('read_json/readings.json'))).distance;

-- What matches no column goes to "rescued", if there is one.
CREATE TYPE rescuing AS (serial_number text, rescued jsonb);
SELECT * FROM stedi.read_json(NULL::rescuing, regress.uri('read_json/readings.json'));

-- A table's type: defaults and NOT NULL are for loading only, as is record_id.
CREATE TABLE readings (serial_number text NOT NULL DEFAULT 'none', record_id bigint, gone text, distance integer);
ALTER TABLE readings DROP COLUMN gone;
SELECT * FROM stedi.read_json(NULL::readings, regress.uri('read_json/readings.json'));

-- Aliases lead other keys to columns; the last of several wins.
CREATE TYPE person AS (email text, birth_day date);
CALL regress.put('read_json/people.json',
				 E'{"user":"a@example.com","birthDay":"1961-02-28"}\n'
				 '{"email":"b@example.com","USER":"c@example.com","birthDay":"2000-02-29"}\n'
				 '{"user":null}\n');
SELECT * FROM stedi.read_json(NULL::person, regress.uri('read_json/people.json'));
SELECT * FROM stedi.read_json(NULL::person, regress.uri('read_json/people.json'), aliases => '{"user": "email"}');
SELECT * FROM stedi.read_json(NULL::person, regress.uri('read_json/people.json'), aliases => NULL) LIMIT 1;
CREATE FUNCTION pg_temp.with_aliases(aliases jsonb) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT regress.error(format('SELECT * FROM stedi.read_json(NULL::person, %L, aliases => %L)',
								regress.uri('read_json/people.json'), aliases));
$$;
SELECT * FROM pg_temp.with_aliases('{"user": "e_mail"}');
SELECT * FROM pg_temp.with_aliases('{"user": 1}');
SELECT * FROM pg_temp.with_aliases('{"user": null}');
SELECT * FROM pg_temp.with_aliases('["user"]');
SELECT * FROM pg_temp.with_aliases('{"birth_day": "email"}');
SELECT * FROM pg_temp.with_aliases('{"birthDay": "birth_day", "birthday": "birth_day"}');
CREATE TYPE twins AS (serial_number text, serialnumber text);
SELECT * FROM regress.error(format('SELECT * FROM stedi.read_json(NULL::twins, %L)', regress.uri('read_json/people.json')));

-- A value that does not fit.
CALL regress.put('read_json/unfit.json', E'{"birthDay":"1961-02-28"}\n\n{"birthDay":"1961-02-30"}\n{"birthDay":"x"}\n');
SELECT * FROM regress.error(format('SELECT * FROM stedi.read_json(NULL::person, %L)', regress.uri('read_json/unfit.json')));
\set VERBOSITY terse
SELECT * FROM stedi.read_json(NULL::person, regress.uri('read_json/unfit.json'), on_error => 'skip');
\set VERBOSITY default

-- Not a row type.
SELECT * FROM regress.error(format('SELECT * FROM stedi.read_json(NULL::integer, %L)', regress.uri('read_json/people.json')));
SELECT * FROM regress.error(format('SELECT * FROM stedi.read_json(NULL::person, NULL)'));

-- A domain over a row type is refused: its constraints would not be checked.  Rows in a join.
CREATE DOMAIN some_person AS person;
SELECT * FROM stedi.read_json(NULL::some_person, regress.uri('read_json/people.json')) LIMIT 1;
SELECT p.n, r.email FROM generate_series(1, 2) AS p(n),
	LATERAL stedi.read_json(NULL::person, regress.uri('read_json/people.json'), '{"user": "email"}') AS r
WHERE r.email IS NOT NULL ORDER BY 1, 2;

DROP TABLE readings;
DROP DOMAIN some_person;
DROP TYPE reading, rescuing, person, twins;
