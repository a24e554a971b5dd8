/*
 * fuzz_json_differential.c
 *		The JSON reader against json-c: one document, two verdicts, two sets of
 *		values.
 *
 * json-c runs at its strictest.  Where both take the document, every member must
 * have the same value, doubles to the bit.  Where only one does, or the values
 * differ, the reason must be one of the classes below, told by the bytes of the
 * document.  Each class has an example that is looked at first: one that no
 * longer occurs (another json-c) fails as well.
 */
#include <json-c/json.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/json_reader.h"
#include "core/uri.h"

#define N_COLUMNS 3

#define MUST(condition) \
	do { \
		if (!(condition)) \
			abort(); \
	} while (0)

typedef enum Difference
{
	NONE,

	/* json-c takes what RFC 8259 does not allow */
	NOT_A_NUMBER,				/* NaN, Infinity, -Infinity */
	LEADING_ZERO,				/* 00, -01 */
	BARE_POINT,					/* 1. and -.5 */
	SINGLE_QUOTES,				/* around a key */
	CONTROL_CHARACTER,			/* raw, in a string */
	INVALID_UTF8,				/* overlong, a surrogate, above U+10FFFF */
	LONE_SURROGATE,				/* half a pair of escapes becomes U+FFFD */

	/* or counts otherwise: nothing in the innermost, and it takes one level more */
	TOO_DEEP,

	/* the reader reads a stream of records, json-c one value */
	FRAMING,					/* byte order mark, comma or brackets around it */

	/* both take it */
	SATURATED,					/* json-c clamps integers that do not fit */
	KEY_CUT_AT_NUL,				/* json-c's keys are C strings */

	N_DIFFERENCES
} Difference;

typedef struct Document
{
	const char *text;
	size_t		length;
	bool		accepted;		/* by the reader: one record and nothing damaged */
	bool		framed;			/* with more than white space around it */
	size_t		fault_offset;	/* else: where the first damage was noticed */
	StediJsonFault fault;
} Document;

static const char *const names[N_COLUMNS] = {"a", "b", "serial_number"};
static StediJsonSchema *schema;

extern int	LLVMFuzzerInitialize(int *argc, char ***argv);
extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool
is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool
all_space(const char *text, size_t length)
{
	while (length > 0 && is_space(text[length - 1]))
		length--;
	return length == 0;
}

/* NULL: refused.  What is not read to its end is. */
static struct json_object *
parse_with_json_c(const char *text, size_t length)
{
	/* one more: what is in the innermost takes a level, too */
	struct json_tokener *tokener = json_tokener_new_ex(STEDI_JSON_MAX_DEPTH + 1);
	struct json_object *value;
	size_t		end;

	MUST(tokener != NULL);
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	value = json_tokener_parse_ex(tokener, text, (int) length);
	end = json_tokener_get_parse_end(tokener);
	json_tokener_free(tokener);
	if (value != NULL && all_space(text + end, length - end))
		return value;
	json_object_put(value);
	return NULL;
}

/* --------------------------------------------------------------- one value */

/* What the reader makes of a number must hold by itself, and be json-c's. */
static bool
same_number(const StediJsonCell *cell, struct json_object *value, Difference *difference)
{
	char	   *text = strndup(cell->text, cell->length);
	double		expected = strtod(text, NULL);	/* in the C locale */
	double		number = 12345;
	int64_t		integer;
	bool		fits;

	free(text);
	MUST(stedi_json_is_number(cell->text, cell->length));
	MUST(stedi_json_to_double(cell->text, cell->length, &number) ==
		 (isinf(expected) ? STEDI_JSON_NUMBER_OUT_OF_RANGE : STEDI_JSON_NUMBER_OK));
	MUST(memcmp(&number, &expected, sizeof(number)) == 0);

	fits = stedi_json_to_int64(cell->text, cell->length, &integer) == STEDI_JSON_NUMBER_OK;
	if (cell->is_integer)
		MUST(fits && cell->integer == integer);
	if (fits && integer > -(INT64_C(1) << 53) && integer < INT64_C(1) << 53)
		MUST((double) integer == number);

	if (json_object_is_type(value, json_type_double))
	{
		double		theirs = json_object_get_double(value);

		return memcmp(&theirs, &number, sizeof(number)) == 0;
	}
	if (!json_object_is_type(value, json_type_int))
		return false;
	if (fits)
		return json_object_get_int64(value) == integer;
	if (json_object_get_int64(value) != (*cell->text == '-' ? INT64_MIN : INT64_MAX))
		return false;
	*difference = SATURATED;
	return true;
}

/* Is the cell that value?  *difference is set when it is, but for a known reason. */
static bool
same_value(const StediJsonCell *cell, struct json_object *value, Difference *difference)
{
	struct json_object *nested;
	bool		same;

	switch (cell->type)
	{
		case STEDI_JSON_MISSING:
			return false;
		case STEDI_JSON_NULL:
			return value == NULL;
		case STEDI_JSON_FALSE:
		case STEDI_JSON_TRUE:
			return json_object_is_type(value, json_type_boolean) &&
				json_object_get_boolean(value) == (cell->type == STEDI_JSON_TRUE);
		case STEDI_JSON_NUMBER:
			return same_number(cell, value, difference);
		case STEDI_JSON_STRING:
			return json_object_is_type(value, json_type_string) &&
				(size_t) json_object_get_string_len(value) == cell->length &&
				memcmp(json_object_get_string(value), cell->text, cell->length) == 0 &&
				cell->has_nul == (memchr(cell->text, '\0', cell->length) != NULL);
		default:
			break;
	}
	/* a part that ends too early or too late would not be this value */
	nested = parse_with_json_c(cell->text, cell->length);
	same = nested != NULL && json_object_equal(nested, value);
	json_object_put(nested);
	return same;
}

/* ----------------------------------------------------------------- members */

static int
column_of(const char *key)
{
	char		folded[64];
	size_t		n = 0;

	for (; *key != '\0'; key++)
	{
		if (*key == '_')
			continue;
		if (n == sizeof(folded) - 1)
			return -1;
		folded[n++] = (char) (*key >= 'A' && *key <= 'Z' ? *key - 'A' + 'a' : *key);
	}
	folded[n] = '\0';
	return strcmp(folded, "a") == 0 ? 0 : strcmp(folded, "b") == 0 ? 1 :
		strcmp(folded, "serialnumber") == 0 ? 2 : -1;
}

/* Every member is in its cell, or rescued; and every cell is a member. */
static Difference
compare_members(const Document *document, struct json_object *object,
				const StediJsonRecord *record)
{
	struct json_object *rescued = NULL;
	Difference	difference = NONE;
	bool		found[N_COLUMNS] = {false};
	bool		present[N_COLUMNS] = {false};
	bool		same = true;
	int			n_rescued = 0;

	if (record->rescued != NULL)
	{
		rescued = parse_with_json_c(record->rescued, record->rescued_length);
		same = rescued != NULL;
	}

	json_object_object_foreach(object, key, value)
	{
		struct json_object *other = NULL;
		int			column = column_of(key);

		if (column < 0)
		{
			n_rescued++;
			same = same && json_object_object_get_ex(rescued, key, &other) &&
				(other == value || json_object_equal(other, value));
			continue;
		}
		/* of keys that mean one column, json-c does not say which came last */
		present[column] = true;
		found[column] = found[column] || same_value(&record->cells[column], value, &difference);
	}
	for (int i = 0; i < N_COLUMNS; i++)
		same = same && found[i] == present[i] &&
			present[i] == (record->cells[i].type != STEDI_JSON_MISSING);
	same = same && n_rescued == (rescued != NULL ? json_object_object_length(rescued) : 0);
	json_object_put(rescued);

	if (same)
		return difference;
	MUST(memmem(document->text, document->length, "\\u0000", 6) != NULL);
	return KEY_CUT_AT_NUL;
}

/* ---------------------------------------------------------------- verdicts */

/* Is that byte within a string?  What comes before it is valid. */
static bool
in_string(const Document *document, size_t at)
{
	bool		within = false;

	for (size_t i = 0; i < at; i++)
	{
		if (document->text[i] == '"')
			within = !within;
		else if (within && document->text[i] == '\\')
			i++;
	}
	return within;
}

static bool
starts_with(const Document *document, size_t at, const char *word)
{
	return document->length - at >= strlen(word) &&
		memcmp(document->text + at, word, strlen(word)) == 0;
}

/* How many objects and arrays are open before that byte? */
static int
depth_at(const Document *document, size_t at)
{
	int			depth = 0;

	for (size_t i = 0; i < at; i++)
	{
		if (strchr("[]{}", document->text[i]) != NULL && !in_string(document, i))
			depth += document->text[i] == '[' || document->text[i] == '{' ? 1 : -1;
	}
	return depth;
}

/* Half a pair: where it was noticed is within the twelve bytes of the pair. */
static bool
after_surrogate(const Document *document, size_t at)
{
	for (size_t i = at < 12 ? 0 : at - 12; i < at; i++)
	{
		if ((starts_with(document, i, "\\ud") || starts_with(document, i, "\\uD")) &&
			i + 3 < document->length && strchr("89abcdefABCDEF", document->text[i + 3]) != NULL)
			return true;
	}
	return false;
}

/* json-c takes what the reader refuses: may it? */
static Difference
why_refused(const Document *document)
{
	size_t		at = document->fault_offset;
	char		before = at > 0 ? document->text[at - 1] : '\0';
	char		c = document->text[at];

	MUST(at < document->length);
	if (in_string(document, at))
	{
		if (document->fault == STEDI_JSON_FAULT_SYNTAX && (unsigned char) c < ' ')
			return CONTROL_CHARACTER;
		MUST(document->fault == STEDI_JSON_FAULT_UTF8);
		if (!stedi_utf8_valid(document->text, document->length))
			return INVALID_UTF8;
		MUST(after_surrogate(document, at));
		return LONE_SURROGATE;
	}
	if (document->fault == STEDI_JSON_FAULT_DEPTH)
	{
		MUST(depth_at(document, at) == STEDI_JSON_MAX_DEPTH);
		return TOO_DEEP;
	}
	MUST(document->fault == STEDI_JSON_FAULT_SYNTAX);
	if (starts_with(document, at, "NaN") || starts_with(document, at, "Infinity"))
		return NOT_A_NUMBER;
	if (c == '\'')
		return SINGLE_QUOTES;
	if (before == '.' || (before == '-' && c == '.'))
		return BARE_POINT;
	MUST(before == '0' && c >= '0' && c <= '9');
	return LEADING_ZERO;
}

static StediJsonReader *
open_reader(const char *text, size_t length)
{
	StediJsonReaderOptions options = {.want_rescued = true};
	StediJsonReader *reader = stedi_json_reader_new(schema, &options);
	size_t		n;

	MUST(reader != NULL);
	memcpy(stedi_json_reader_space(reader, &n), text, length);
	MUST(n >= length);
	stedi_json_reader_filled(reader, length);
	stedi_json_reader_finish(reader);
	return reader;
}

/* The reader's verdict. */
static void
judge(Document *document)
{
	StediJsonReader *reader = open_reader(document->text, document->length);
	StediJsonRecord record;
	StediStatus status;
	StediJsonEvent event;
	size_t		end;

	for (int n = 0; (event = stedi_json_reader_next(reader, &record, &status)) != STEDI_JSON_END; n++)
	{
		MUST(event == STEDI_JSON_RECORD || event == STEDI_JSON_REJECT);
		end = record.byte_offset + record.byte_length;
		document->accepted = n == 0 && event == STEDI_JSON_RECORD;
		document->framed = !all_space(document->text, record.byte_offset) ||
			!all_space(document->text + end, document->length - end);
		if (event == STEDI_JSON_REJECT && document->fault == STEDI_JSON_FAULT_NONE)
		{
			document->fault = record.fault;
			document->fault_offset = record.fault_offset;
		}
	}
	stedi_json_reader_free(reader);
}

static Difference
compare(const char *text, size_t length)
{
	Document	document = {.text = text, .length = length};
	struct json_object *object = parse_with_json_c(text, length);
	Difference	difference = NONE;

	if (!json_object_is_type(object, json_type_object))
	{
		json_object_put(object);
		object = NULL;
	}
	judge(&document);
	if (document.accepted && object != NULL)
	{
		StediJsonReader *reader = open_reader(text, length);
		StediJsonRecord record;
		StediStatus status;

		MUST(stedi_json_reader_next(reader, &record, &status) == STEDI_JSON_RECORD);
		difference = compare_members(&document, object, &record);
		stedi_json_reader_free(reader);
	}
	else if (document.accepted)
	{
		MUST(document.framed);
		difference = FRAMING;
	}
	else if (object != NULL)
		difference = why_refused(&document);
	json_object_put(object);
	return difference;
}

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
#define EXAMPLE(text, difference)	{text, sizeof(text) - 1, difference}
	static const struct
	{
		const char *text;
		size_t		length;
		Difference	difference;
	}			examples[] = {
		EXAMPLE("{\"a\":1, \"b\":[1.5,{\"c\":\"\\ud83d\\ude00\"}], \"x\":null}", NONE),
		EXAMPLE("{\"a\":1e400, \"serialNumber\":-0.0}", NONE),
		EXAMPLE("{\"a\":1} {\"b\":2}", NONE),	/* two: neither takes it as one */
		EXAMPLE("{\"a\":NaN}", NOT_A_NUMBER),
		EXAMPLE("{\"a\":-Infinity}", NOT_A_NUMBER),
		EXAMPLE("{\"a\":00}", LEADING_ZERO),
		EXAMPLE("{\"a\":1.}", BARE_POINT),
		EXAMPLE("{\"a\":-.5}", BARE_POINT),
		EXAMPLE("{'a':1}", SINGLE_QUOTES),
		EXAMPLE("{\"a\":\"\x01\"}", CONTROL_CHARACTER),
		EXAMPLE("{\"a\":\"\xC0\x80\"}", INVALID_UTF8),
		EXAMPLE("{\"a\":\"\xED\xA0\x80\"}", INVALID_UTF8),
		EXAMPLE("{\"a\":\"\\ud800\"}", LONE_SURROGATE),
		EXAMPLE("\xEF\xBB\xBF{\"a\":1}", FRAMING),
		EXAMPLE("[{\"a\":1}]", FRAMING),
		EXAMPLE("{\"a\":1},", FRAMING),
		EXAMPLE("{\"a\":99999999999999999999}", SATURATED),
		EXAMPLE("{\"a\\u0000b\":1}", KEY_CUT_AT_NUL),
	};
	bool		seen[N_DIFFERENCES] = {false};
	char		deep[2 * STEDI_JSON_MAX_DEPTH + 6] = "{\"a\":";
	StediStatus status;

	(void) argc;
	(void) argv;
	schema = stedi_json_schema_new(N_COLUMNS);
	MUST(schema != NULL);
	for (int i = 0; i < N_COLUMNS; i++)
		MUST(stedi_json_schema_add(schema, i, names[i], &status));

	for (size_t i = 0; i < sizeof(examples) / sizeof(examples[0]); i++)
	{
		if (compare(examples[i].text, examples[i].length) != examples[i].difference)
		{
			fprintf(stderr, "another difference than expected: %s\n", examples[i].text);
			abort();
		}
		seen[examples[i].difference] = true;
	}
	memset(deep + 5, '[', STEDI_JSON_MAX_DEPTH);
	memset(deep + 5 + STEDI_JSON_MAX_DEPTH, ']', STEDI_JSON_MAX_DEPTH);
	deep[sizeof(deep) - 1] = '}';
	MUST(compare(deep, sizeof(deep)) == TOO_DEEP);
	seen[TOO_DEEP] = true;

	for (int i = 0; i < N_DIFFERENCES; i++)
		MUST(seen[i]);
	return 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	compare((const char *) data, size);
	return 0;
}
