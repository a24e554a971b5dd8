/*
 * test_manifest.c
 *		Manifests are read back as they were written, and what could do harm is
 *		refused.
 */
#include <stdlib.h>

#include "core/bytes.h"
#include "store/manifest.h"
#include "tap.h"

#define LENGTH(a)	((int) (sizeof(a) / sizeof((a)[0])))

#define HEAD \
	"\"run_id\":\"r\",\"created_at\":\"t\",\"producer\":\"p\",\"source\":\"s\"," \
	"\"format\":\"csv\",\"compression\":\"none\",\"rules\":\"strict\""
#define DOCUMENT(objects) \
	"{\"format_version\":1," HEAD ",\"columns\":[],\"objects\":[" objects "],\"snapshot\":null}"

static const char expected[] =
	"{\n"
	"  \"format_version\": 1,\n"
	"  \"run_id\": \"20240229-1\",\n"
	"  \"created_at\": \"2024-02-29T23:59:58Z\",\n"
	"  \"producer\": \"stedi 1.0\",\n"
	"  \"source\": \"SELECT 'a/b', \\\"x\\\"\",\n"
	"  \"format\": \"ndjson\",\n"
	"  \"compression\": \"gzip\",\n"
	"  \"rules\": null,\n"
	"  \"rows\": 18446744073709551615,\n"
	"  \"bytes\": 300,\n"
	"  \"columns\": [\n"
	"    {\n"
	"      \"name\": \"sensorReadingTime\",\n"
	"      \"type\": \"timestamp with time zone\"\n"
	"    }\n"
	"  ],\n"
	"  \"objects\": [\n"
	"    {\n"
	"      \"key\": \"part-00000-\xC3\xA9.ndjson.gz\",\n"
	"      \"etag\": \"abc-2\",\n"
	"      \"rows\": 18446744073709551605,\n"
	"      \"bytes\": 100\n"
	"    },\n"
	"    {\n"
	"      \"key\": \"part-00001.ndjson.gz\",\n"
	"      \"etag\": null,\n"
	"      \"rows\": 10,\n"
	"      \"bytes\": 200\n"
	"    }\n"
	"  ],\n"
	"  \"snapshot\": {\n"
	"    \"lsn\": \"0/1\",\n"
	"    \"ratio\": 1.50,\n"
	"    \"list\": [\n"
	"      null,\n"
	"      true\n"
	"    ]\n"
	"  }\n"
	"}\n";

static StediManifestColumn columns[] = {{"sensorReadingTime", "timestamp with time zone"}};
static StediManifestObject objects[] = {
	{"part-00000-\xC3\xA9.ndjson.gz", "abc-2", UINT64_MAX - 10, 100},
	{"part-00001.ndjson.gz", NULL, 10, 200},
};
static StediManifest sample = {
	.run_id = "20240229-1", .created_at = "2024-02-29T23:59:58Z", .producer = "stedi 1.0",
	.source = "SELECT 'a/b', \"x\"", .format = "ndjson", .compression = "gzip", .rules = NULL,
	.snapshot = "{\"lsn\":\"0/1\",\"ratio\":1.50,\"list\":[null,true]}",
	.columns = columns, .n_columns = 1, .objects = objects, .n_objects = 2,
};

static void
test_round_trip(void)
{
	char	   *text = stedi_manifest_format(&sample);
	char	   *again;
	StediManifest manifest;
	StediStatus status;

	is(text, expected, "a manifest is written");
	if (!ok(stedi_manifest_parse(text, strlen(text), &manifest, &status), "and read"))
	{
		printf("# %s %s\n", status.message, status.detail);
		free(text);
		return;
	}
	is(manifest.run_id, sample.run_id, "run_id");
	is(manifest.created_at, sample.created_at, "created_at");
	is(manifest.producer, sample.producer, "producer");
	is(manifest.source, sample.source, "source");
	is(manifest.format, sample.format, "format");
	is(manifest.compression, sample.compression, "compression");
	is(manifest.rules, NULL, "rules");
	is(manifest.snapshot, sample.snapshot, "snapshot");
	ok(manifest.n_columns == 1 && strcmp(manifest.columns[0].name, columns[0].name) == 0 &&
	   strcmp(manifest.columns[0].type, columns[0].type) == 0, "columns");
	ok(manifest.n_objects == 2 && strcmp(manifest.objects[0].key, objects[0].key) == 0 &&
	   strcmp(manifest.objects[0].etag, "abc-2") == 0 && manifest.objects[0].rows == UINT64_MAX - 10 &&
	   manifest.objects[0].bytes == 100 && manifest.objects[1].etag == NULL &&
	   manifest.objects[1].rows == 10 && manifest.objects[1].bytes == 200, "objects");
	again = stedi_manifest_format(&manifest);
	is(again, expected, "and written again as it was");
	free(again);
	stedi_manifest_free(&manifest);
	stedi_manifest_free(&manifest);
	ok(manifest.objects == NULL && manifest.n_objects == 0, "and freed, twice");
	free(text);
}

static void
test_snapshots(void)
{
	static const struct
	{
		const char *snapshot;
		const char *read_back;
	}			cases[] = {
		{NULL, NULL}, {"null", NULL}, {"[]", "[]"}, {"42", "42"}, {"\"a/b\"", "\"a/b\""},
		{"\"\xC3\xA9\"", "\"\xC3\xA9\""},
		{" {\"a\" : 1} \n", "{\"a\":1}"}, {"0.1000", "0.1000"}, {"true", "true"},
		{"not JSON", "\"not JSON\""}, {"{\"a\":1} x", "\"{\\\"a\\\":1} x\""}, {"", "\"\""},
		{"[1", "\"[1\""},
	};

	for (int i = 0; i < LENGTH(cases); i++)
	{
		StediManifest manifest = {.run_id = "r", .snapshot = (char *) cases[i].snapshot};
		StediManifest back;
		StediStatus status;
		char	   *text = stedi_manifest_format(&manifest);

		ok(text != NULL && stedi_manifest_parse(text, strlen(text), &back, &status),
		   "a manifest without objects, with a snapshot");
		is(back.snapshot, cases[i].read_back, "is the snapshot it was");
		stedi_manifest_free(&back);
		free(text);
	}
}

static void
test_accepted(void)
{
	static const char *const accepted[] = {
		DOCUMENT(""),
		DOCUMENT("") "\r\n\t ",
		"  " DOCUMENT(""),
		"{\"format_version\":1,\"new\":{\"a\":[1,2]}," HEAD ",\"columns\":[],\"objects\":[]}",
		DOCUMENT("{\"key\":\"..a\",\"etag\":\"e\",\"rows\":0,\"bytes\":0,\"sha256\":\"x\"}"),
		DOCUMENT("{\"key\":\"a\\\\b c\",\"etag\":null,\"rows\":1,\"bytes\":2}"),
	};

	for (int i = 0; i < LENGTH(accepted); i++)
	{
		StediManifest manifest;
		StediStatus status;

		if (ok(stedi_manifest_parse(accepted[i], strlen(accepted[i]), &manifest, &status),
			   "a manifest of some 1.x version"))
			stedi_manifest_free(&manifest);
		else
			printf("# %s\n# %s %s\n", accepted[i], status.message, status.detail);
	}
}

#define OBJECT(key)	DOCUMENT("{\"key\":" key ",\"etag\":\"e\",\"rows\":1,\"bytes\":1}")

static void
test_refused(void)
{
	static const struct
	{
		const char *name;
		const char *text;
		StediCode	code;
	}			cases[] = {
		{"nothing", "", STEDI_CORRUPT},
		{"blanks", " \n", STEDI_CORRUPT},
		{"null", "null", STEDI_CORRUPT},
		{"a list", "[]", STEDI_CORRUPT},
		{"a number", "1", STEDI_CORRUPT},
		{"half a document", "{\"format_version\":1", STEDI_CORRUPT},
		{"junk after the document", DOCUMENT("") "x", STEDI_CORRUPT},
		{"two documents", DOCUMENT("") DOCUMENT(""), STEDI_CORRUPT},
		{"a comment", "/* SECRET */" DOCUMENT(""), STEDI_CORRUPT},
		{"single quotes", "{'format_version':1}", STEDI_CORRUPT},
		{"invalid UTF-8", OBJECT("\"a\xFF\""), STEDI_CORRUPT},
		{"a letter outside a string", "\xC3\xA9" DOCUMENT(""), STEDI_CORRUPT},
		{"a comma too many", "{\"format_version\":1," HEAD ",\"columns\":[],\"objects\":[],}",
		STEDI_CORRUPT},
		{"no format version", "{" HEAD ",\"columns\":[],\"objects\":[]}", STEDI_CORRUPT},
		{"a format version that is a string", "{\"format_version\":\"1\"}", STEDI_CORRUPT},
		{"format version 2", "{\"format_version\":2}", STEDI_UNSUPPORTED},
		{"format version 0", "{\"format_version\":0}", STEDI_UNSUPPORTED},
		{"format version 2^32 + 1", "{\"format_version\":4294967297}", STEDI_UNSUPPORTED},
		{"a missing string", "{\"format_version\":1,\"run_id\":\"r\",\"columns\":[],\"objects\":[]}",
		STEDI_CORRUPT},
		{"no objects", "{\"format_version\":1," HEAD ",\"columns\":[]}", STEDI_CORRUPT},
		{"no columns", "{\"format_version\":1," HEAD ",\"objects\":[]}", STEDI_CORRUPT},
		{"objects that are no list", "{\"format_version\":1," HEAD ",\"columns\":[],\"objects\":{}}",
		STEDI_CORRUPT},
		{"an object that is null", DOCUMENT("null"), STEDI_CORRUPT},
		{"an object that is a number", DOCUMENT("1"), STEDI_CORRUPT},
		{"an object without a key", DOCUMENT("{\"etag\":\"e\",\"rows\":1,\"bytes\":1}"), STEDI_CORRUPT},
		{"a key that is null", OBJECT("null"), STEDI_CORRUPT},
		{"a key that is a number", OBJECT("1"), STEDI_CORRUPT},
		{"a key that is empty", OBJECT("\"\""), STEDI_CORRUPT},
		{"a key that leads up", OBJECT("\"../SECRET\""), STEDI_CORRUPT},
		{"a key that is absolute", OBJECT("\"/SECRET\""), STEDI_CORRUPT},
		{"a key with an escaped slash", OBJECT("\"a\\/SECRET\""), STEDI_CORRUPT},
		{"a key with a slash by number", OBJECT("\"a\\u002fSECRET\""), STEDI_CORRUPT},
		{"the directory above", OBJECT("\"..\""), STEDI_CORRUPT},
		{"the directory itself", OBJECT("\".\""), STEDI_CORRUPT},
		{"a key with a NUL", OBJECT("\"a\\u0000SECRET\""), STEDI_CORRUPT},
		{"a key with a line end", OBJECT("\"a\\nSECRET\""), STEDI_CORRUPT},
		{"a bad key after a good one",
		DOCUMENT("{\"key\":\"a\",\"etag\":\"e\",\"rows\":1,\"bytes\":1},"
				 "{\"key\":\"/b\",\"etag\":\"e\",\"rows\":1,\"bytes\":1}"), STEDI_CORRUPT},
		{"negative rows", DOCUMENT("{\"key\":\"a\",\"etag\":\"e\",\"rows\":-1,\"bytes\":1}"), STEDI_CORRUPT},
		{"rows with a fraction", DOCUMENT("{\"key\":\"a\",\"etag\":\"e\",\"rows\":1.5,\"bytes\":1}"),
		STEDI_CORRUPT},
		{"no bytes", DOCUMENT("{\"key\":\"a\",\"etag\":\"e\",\"rows\":1}"), STEDI_CORRUPT},
	};

	for (int i = 0; i < LENGTH(cases); i++)
	{
		StediManifest manifest;
		StediStatus status;

		if (!ok(!stedi_manifest_parse(cases[i].text, strlen(cases[i].text), &manifest, &status),
				cases[i].name))
		{
			stedi_manifest_free(&manifest);
			continue;
		}
		is_int(status.code, cases[i].code, "is refused with its code");
		ok(strstr(status.message, "SECRET") == NULL && strstr(status.detail, "SECRET") == NULL &&
		   manifest.run_id == NULL && manifest.objects == NULL, "echoes nothing and leaves nothing");
	}
}

static void
test_embedded_nul(void)
{
	static const char text[] = DOCUMENT("") "\0junk";
	StediManifest manifest;
	StediStatus status;

	ok(!stedi_manifest_parse(text, sizeof(text) - 1, &manifest, &status),
	   "a NUL does not hide what comes after it");
}

static void
test_truncation(void)
{
	int			accepted = 0;

	for (size_t length = 0; length < strlen(expected) - 1; length++)
	{
		char	   *copy = malloc(length + 1);
		StediManifest manifest;
		StediStatus status;

		memcpy(copy, expected, length);
		copy[length] = '}';
		if (stedi_manifest_parse(copy, length, &manifest, &status))
		{
			accepted++;
			stedi_manifest_free(&manifest);
		}
		free(copy);
	}
	is_int(accepted, 0, "no part of a manifest is a manifest");
}

static void
test_depth(void)
{
	StediBytes	text;
	StediManifest manifest;
	StediManifest back;
	StediStatus status;
	char	   *formatted;

	for (int depth = 30; depth <= 100; depth += 1)
	{
		stedi_bytes_init(&text, 0);
		for (int i = 0; i < depth; i++)
			stedi_bytes_append_char(&text, '[');
		for (int i = 0; i < depth; i++)
			stedi_bytes_append_char(&text, ']');
		memset(&manifest, 0, sizeof(manifest));
		manifest.snapshot = text.data;
		formatted = stedi_manifest_format(&manifest);
		if (formatted == NULL || !stedi_manifest_parse(formatted, strlen(formatted), &back, &status))
		{
			ok(false, "a nested snapshot makes a manifest that can be read");
			printf("# depth %d\n", depth);
		}
		else
			stedi_manifest_free(&back);
		free(formatted);
		stedi_bytes_free(&text);
	}
	ok(true, "snapshots nested 30 to 100 deep were written and read");
}

int
main(void)
{
	test_round_trip();
	test_snapshots();
	test_accepted();
	test_refused();
	test_embedded_nul();
	test_truncation();
	test_depth();
	return tap_done();
}
