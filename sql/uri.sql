--
-- URIs: what is refused, and what list_objects() finds.
--
CALL regress.make_directory('uri');

-- Refused before anything is looked at.
CREATE FUNCTION pg_temp.list(uri text) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT regress.error(format('SELECT * FROM stedi.list_objects(%L)', uri));
$$;
SELECT * FROM pg_temp.list('');
SELECT * FROM pg_temp.list('/etc/passwd');
SELECT * FROM pg_temp.list('bucket/key');
SELECT * FROM pg_temp.list('gs://bucket/key');
SELECT * FROM pg_temp.list('http://127.0.0.1:1/bucket');
SELECT * FROM pg_temp.list('s3a://bucket/key');
SELECT * FROM pg_temp.list('s3://');
SELECT * FROM pg_temp.list('s3:///key');
SELECT * FROM pg_temp.list('s3://buc*et/key');
SELECT * FROM pg_temp.list('s3://../key');
SELECT * FROM pg_temp.list('s3://bucket/key?endpoint=http://127.0.0.1:1');
SELECT * FROM pg_temp.list('s3://bucket/key?versionId=1');
SELECT * FROM pg_temp.list('s3://AKIAREGRESS:hunter2@bucket/key');
SELECT * FROM pg_temp.list('s3://AKIAREGRESS:hunter/2@bucket/key?a=b');
SELECT * FROM pg_temp.list('file:relative');
SELECT * FROM pg_temp.list('file://relative/path');
SELECT * FROM pg_temp.list('file://localhost/path');
SELECT * FROM pg_temp.list('file://./path');
SELECT * FROM pg_temp.list(E's3://bucket/a\nb');
SELECT * FROM pg_temp.list('s3://bucket/' || repeat('k', 1025));
SELECT stedi.list_objects(NULL);

-- Export targets are literal: no globs, no query parts, and a prefix.
SELECT * FROM regress.error($$SELECT * FROM stedi.export_query('SELECT 1', 'file:///tmp/out')$$);
SELECT * FROM regress.error($$SELECT * FROM stedi.export_query('SELECT 1', 'file:///tmp/out/?acl=public-read')$$);
SELECT * FROM regress.error($$SELECT * FROM stedi.export_query('SELECT 1', 'file://out/')$$);
SELECT * FROM regress.error($$SELECT stedi.attach('bucket/')$$);
SELECT * FROM regress.error($$SELECT stedi.attach('s3://')$$);
SELECT * FROM regress.error($$SELECT stedi.attach(NULL)$$);
SELECT count(*) FROM stedi.source;
DELETE FROM stedi.source;
DELETE FROM stedi.export_target;

-- A tree to look at.
CALL regress.make_directory('uri/2024/01');
CALL regress.make_directory('uri/2024/02');
CALL regress.make_directory('uri/2024/_temporary/0');
CALL regress.make_directory('uri/2024/.hidden');
CALL regress.make_directory('uri/2024/empty');
CALL regress.put('uri/2024/a.json', '{}');
CALL regress.put('uri/2024/a-b.json', '{"a":1}');
CALL regress.put('uri/2024/ab.json', '');
CALL regress.put('uri/2024/B.json', '{}');
CALL regress.put('uri/2024/c d+e%20.json', '{}');
CALL regress.put('uri/2024/é.json', '{}');
CALL regress.put('uri/2024/q?.json', '{}');
CALL regress.put('uri/2024/q[1].json', '{}');
CALL regress.put('uri/2024/x.txt', '{}');
CALL regress.put('uri/2024/_SUCCESS', '');
CALL regress.put('uri/2024/.crc', '');
CALL regress.put('uri/2024/01/a.json', '{}');
CALL regress.put('uri/2024/01/_delta.json', '{}');
CALL regress.put('uri/2024/02/a.json', '{}');
CALL regress.put('uri/2024/_temporary/0/a.json', '{}');
CALL regress.put('uri/2024/.hidden/a.json', '{}');
CALL regress.put('uri/2024-old.json', '{}');

CREATE FUNCTION pg_temp.listed(pattern text) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT replace(uri, regress.uri('uri/'), '') FROM stedi.list_objects(regress.uri('uri/' || pattern));
$$;
-- A prefix: everything below it, in byte order of the whole key.
SELECT * FROM pg_temp.listed('2024/');
SELECT * FROM pg_temp.listed('2024/empty/');
SELECT * FROM pg_temp.listed('nowhere/');
-- * and ? stay within a directory, ** does not.
SELECT * FROM pg_temp.listed('2024/*.json');
SELECT * FROM pg_temp.listed('2024/a*.json');
SELECT * FROM pg_temp.listed('2024/?.json');
SELECT * FROM pg_temp.listed('2024/*/a.json');
SELECT * FROM pg_temp.listed('2024/**/a.json');
SELECT * FROM pg_temp.listed('2024/**');
SELECT * FROM pg_temp.listed('20*/0[2-9]/*');
SELECT * FROM pg_temp.listed('2024/[!a]*.json');
SELECT * FROM pg_temp.listed('2024/[ab].json');
-- Quoting.
SELECT * FROM pg_temp.listed('2024/q[[]1].json');
SELECT * FROM pg_temp.listed('2024/q\[1].json');
SELECT * FROM pg_temp.listed('2024/q[?].json');
-- Nothing is decoded or normalised.
SELECT * FROM pg_temp.listed('2024/c d+e%20.json');
SELECT * FROM pg_temp.listed('2024/é.json');
-- Hidden names are hidden, unless they are asked for by name.
SELECT * FROM pg_temp.listed('2024/_*');
SELECT * FROM pg_temp.listed('2024/_SUCCESS');
SELECT * FROM pg_temp.listed('2024/_temporary/0/');
SELECT * FROM pg_temp.listed('2024/.hidden/*.json');
-- One object has to be there.
SELECT * FROM regress.error(format('SELECT * FROM stedi.list_objects(%L)', regress.uri('uri/2024/none.json')));
SELECT * FROM regress.error(format('SELECT * FROM stedi.list_objects(%L)', regress.uri('uri/2024')));

-- The other columns.
SELECT replace(uri, regress.uri('uri/'), '') AS uri, size, etag <> '' AS has_etag, version_id,
	   last_modified BETWEEN now() - interval '1 hour' AND clock_timestamp() + interval '1 minute' AS recent
FROM stedi.list_objects(regress.uri('uri/2024/a*.json'));
SELECT l.etag = m.etag AND l.last_modified = m.last_modified AS same
FROM stedi.list_objects(regress.uri('uri/2024/a.json')) AS l, stedi.list_objects(regress.uri('uri/2024/a.jso*')) AS m;
CREATE TEMP TABLE before AS SELECT * FROM stedi.list_objects(regress.uri('uri/2024/a.json'));
SELECT pg_sleep(0.05);
CALL regress.put('uri/2024/a.json', '[]');
SELECT l.size = b.size AS same_size, l.etag = b.etag AS same_etag
FROM stedi.list_objects(regress.uri('uri/2024/a.json')) AS l, before AS b;

-- More than one page's worth.
CALL regress.make_directory('uri/many');
SELECT array_fill('{}'::text, ARRAY[1203]) AS lines \gset
CALL regress.put_lines('uri/many', :'lines');
SELECT count(*), count(DISTINCT uri) AS uris,
	   bool_and(uri COLLATE "C" > previous COLLATE "C") AS in_order
FROM (SELECT uri, lag(uri) OVER (ORDER BY n) AS previous
	  FROM stedi.list_objects(regress.uri('uri/many/')) WITH ORDINALITY AS l(uri, size, last_modified, etag, version_id, n)) AS l;
