/*
 * test_json_reader.c
 *		The JSON reader: framing, strictness, recovery, cells, chunks.
 *
 * Every input is read whole and at every chunk size, and each time the events
 * are written down as text and compared:
 *
 *	 0+7(1,"x")				a record: offset + length (cells)
 *	 8+3!syntax@10:2		a reject: offset + length ! fault @ where noticed : line
 *
 * Whatever the input is, each run also checks what must hold always: events in
 * input order, no overlap, nothing but separators between them, text and line
 * as in the input.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "core/bytes.h"
#include "core/json_reader.h"
#include "tap.h"

typedef struct Setup
{
	StediJsonSchema *schema;
	int			n_columns;
	StediJsonReaderOptions options;
} Setup;

static const char *const fault_names[] = {
	"none", "syntax", "utf8", "truncated", "notobject", "depth", "size"
};

static uint64_t random_state = UINT64_C(0x9E3779B97F4A7C15);

static uint64_t
random_below(uint64_t n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (random_state * UINT64_C(2685821657736338717) >> 11) % n;
}

static void
write_cell(StediBytes *out, const StediJsonCell *cell)
{
	if (cell->type == STEDI_JSON_MISSING)
		stedi_bytes_append_char(out, '-');
	else if (cell->type == STEDI_JSON_STRING)
	{
		stedi_bytes_append_char(out, '"');
		stedi_bytes_append(out, cell->text, cell->length);
		stedi_bytes_append_char(out, '"');
		if (cell->has_nul)
			stedi_bytes_append_text(out, "NUL");
	}
	else
	{
		stedi_bytes_append(out, cell->text, cell->length);
		if (cell->type == STEDI_JSON_NUMBER && cell->is_integer)
			stedi_bytes_printf(out, "=%" PRId64, cell->integer);
	}
}

/* What must hold for any input.  *done is where the last event ended. */
static const char *
check_event(const StediJsonReader *reader, const StediJsonRecord *record, bool reject,
			const char *input, size_t length, uint32_t number, uint64_t *done)
{
	uint64_t	line = 1;
	size_t		keep = reject && record->byte_length > STEDI_JSON_REJECT_KEEP ?
		STEDI_JSON_REJECT_KEEP : (size_t) record->byte_length;

	if (record->record_no != number)
		return "wrong record number";
	if (record->byte_offset < *done)
		return "overlap, or out of order";
	if (record->byte_offset + record->byte_length > length)
		return "beyond the input";
	if (record->length != keep ||
		memcmp(record->text, input + record->byte_offset, keep) != 0)
		return "text is not that of the input";
	if (reject && record->byte_length == 0 && record->byte_offset != length)
		return "empty reject before the end";
	if (reject && (record->fault == STEDI_JSON_FAULT_NONE || record->message == NULL))
		return "reject without a reason";
	if (record->byte_length > 0 && strchr(" \t\r\n", record->text[0]) != NULL && record->text[0])
		return "starts with whitespace";
	for (uint64_t i = *done; i < record->byte_offset; i++)
	{
		if (strchr(" \t\r\n,[]", input[i]) == NULL || input[i] == '\0')
		{
			if (i > 2 || memcmp(input, "\xEF\xBB\xBF", 3) != 0)
				return "a byte is in no record and no reject";
		}
	}
	for (uint64_t i = 0; i < record->byte_offset; i++)
		line += input[i] == '\n';
	if (stedi_json_reader_line(reader) != line)
		return "wrong line";
	*done = record->byte_offset + record->byte_length;
	return NULL;
}

/* chunk 0: cut at random */
static char *
read_all(const Setup *setup, const char *input, size_t length, size_t chunk)
{
	StediJsonReader *reader = stedi_json_reader_new(setup->schema, &setup->options);
	StediBytes	out;
	size_t		fed = 0;
	uint64_t	done = 0;
	uint64_t	line = 0;
	uint32_t	number = 0;
	bool		finished = false;

	stedi_bytes_init(&out, 0);
	stedi_bytes_append_text(&out, "");
	for (;;)
	{
		StediJsonRecord record;
		StediStatus status;
		StediJsonEvent event = stedi_json_reader_next(reader, &record, &status);
		const char *wrong;

		if (event == STEDI_JSON_END || event == STEDI_JSON_FAILED)
		{
			if (event == STEDI_JSON_FAILED)
				stedi_bytes_printf(&out, " FAILED %s", status.message);
			break;
		}
		if (event == STEDI_JSON_NEED_INPUT)
		{
			size_t		available;
			char	   *space = stedi_json_reader_space(reader, &available);
			size_t		n = chunk > 0 ? chunk : 1 + (size_t) random_below(1 + random_below(40));

			if (finished)
			{
				stedi_bytes_append_text(&out, " ASKS FOR MORE AFTER THE END");
				break;
			}
			/* now and then, as it costs a scan; the window moves on every 200 kB or so */
			if (number > 0 && fed % 4099 == 0 && stedi_json_reader_line(reader) != line)
				stedi_bytes_append_text(&out, " [line forgotten]");
			if (n > available)
				n = available;
			if (n > length - fed)
				n = length - fed;
			if (n == 0)
			{
				stedi_json_reader_finish(reader);
				finished = true;
				continue;
			}
			memcpy(space, input + fed, n);
			fed += n;
			stedi_json_reader_filled(reader, n);
			/* knowing the end early must make no difference */
			if (fed == length && (chunk == 0 || chunk >= length))
			{
				stedi_json_reader_finish(reader);
				finished = true;
			}
			continue;
		}

		if (out.length > 0)
			stedi_bytes_append_char(&out, ' ');
		wrong = check_event(reader, &record, event == STEDI_JSON_REJECT, input, length,
							++number, &done);
		if (wrong != NULL)
			stedi_bytes_printf(&out, "[%s] ", wrong);
		line = stedi_json_reader_line(reader);
		stedi_bytes_printf(&out, "%" PRIu64 "+%" PRIu64, record.byte_offset,
						   record.byte_length);
		if (event == STEDI_JSON_REJECT)
			stedi_bytes_printf(&out, "!%s@%" PRIu64 ":%" PRIu64, fault_names[record.fault],
							   record.fault_offset, stedi_json_reader_line(reader));
		else
		{
			for (int i = 0; i < setup->n_columns; i++)
			{
				stedi_bytes_append_char(&out, i == 0 ? '(' : ',');
				write_cell(&out, &record.cells[i]);
			}
			if (setup->n_columns > 0)
				stedi_bytes_append_char(&out, ')');
			if (record.rescued != NULL)
			{
				stedi_bytes_append_char(&out, '~');
				stedi_bytes_append(&out, record.rescued, record.rescued_length);
			}
		}
	}
	for (uint64_t i = done; i < length; i++)
	{
		if (strchr(" \t\r\n,[]", input[i]) == NULL || input[i] == '\0')
		{
			if (i > 2 || memcmp(input, "\xEF\xBB\xBF", 3) != 0)
			{
				stedi_bytes_append_text(&out, " [a byte at the end was lost]");
				break;
			}
		}
	}
	stedi_json_reader_free(reader);
	return stedi_bytes_steal(&out);
}

static void
check(const Setup *setup, const char *input, size_t length, const char *expected,
	  const char *name)
{
	char	   *whole = read_all(setup, input, length, length + 1);

	if (is(whole, expected, name))
	{
		for (size_t chunk = 1; chunk <= length; chunk++)
		{
			char	   *cut = read_all(setup, input, length, chunk);
			bool		same = strcmp(cut, whole) == 0;

			if (!same)
			{
				char		title[200];

				snprintf(title, sizeof(title), "%s, chunk size %zu", name, chunk);
				is(cut, whole, title);
			}
			free(cut);
			if (!same)
				break;
		}
	}
	free(whole);
}

static Setup
make_setup(const char *const *names, int n_columns)
{
	Setup		setup = {.schema = stedi_json_schema_new(n_columns), .n_columns = n_columns};
	StediStatus status;

	for (int i = 0; i < n_columns; i++)
		stedi_json_schema_add(setup.schema, i, names[i], &status);
	return setup;
}

typedef struct Case
{
	const char *input;
	const char *expected;
} Case;

static void
check_cases(const Setup *setup, const Case *cases, size_t n, const char *what)
{
	for (size_t i = 0; i < n; i++)
	{
		char		name[200];
		size_t		length;

		length = (size_t) snprintf(name, sizeof(name), "%s: %s", what, cases[i].input);
		for (size_t k = 0; k < length && k < sizeof(name) - 1; k++)
		{
			if ((unsigned char) name[k] < ' ' || (unsigned char) name[k] > 0x7E || name[k] == '#')
				name[k] = '.';
		}
		check(setup, cases[i].input, strlen(cases[i].input), cases[i].expected, name);
	}
}

#define CHECK_CASES(setup, cases, what) \
	check_cases(setup, cases, sizeof(cases) / sizeof((cases)[0]), what)

static const char *const ab[] = {"a", "b"};

static void
test_framing(void)
{
	static const Case cases[] = {
		{"", ""},
		{" \t\r\n \n", ""},
		{"{}", "0+2(-,-)"},
		{"{\"a\":1}", "0+7(1=1,-)"},
		{"{\"a\":1}\n", "0+7(1=1,-)"},
		{"{\"a\":1}\n{\"a\":2}\n", "0+7(1=1,-) 8+7(2=2,-)"},
		{"{\"a\":1}\r\n\r\n  {\"a\":2}  \r\n", "0+7(1=1,-) 13+7(2=2,-)"},
		{"{\"a\":1} {\"a\":2}\t{}", "0+7(1=1,-) 8+7(2=2,-) 16+2(-,-)"},
		{"{\"a\":1}{\"a\":2}{}", "0+7(1=1,-) 7+7(2=2,-) 14+2(-,-)"},
		{"{\"a\":1},{\"a\":2}", "0+7(1=1,-) 8+7(2=2,-)"},
		{"{\"a\":1},\n{\"a\":2},\n", "0+7(1=1,-) 9+7(2=2,-)"},
		{"{\"a\":1}\n,\n{\"a\":2}", "0+7(1=1,-) 10+7(2=2,-)"},
		{"[]", ""},
		{" [ ] [] \n[\n]\n", ""},
		{"[{\"a\":1}]", "1+7(1=1,-)"},
		{"[{\"a\":1},{\"a\":2}]", "1+7(1=1,-) 9+7(2=2,-)"},
		{"[\n  {\"a\":1},\n  {\"a\":2}\n]\n", "4+7(1=1,-) 15+7(2=2,-)"},
		{"[{\"a\":1}][{\"a\":2}]", "1+7(1=1,-) 10+7(2=2,-)"},
		{"[{\"a\":1}],\n[{\"a\":2}]\n", "1+7(1=1,-) 12+7(2=2,-)"},
		{"{\"a\":1}[{\"a\":2}]{\"a\":3}", "0+7(1=1,-) 8+7(2=2,-) 16+7(3=3,-)"},
		{"[],{\"a\":1}", "3+7(1=1,-)"},
		{"{\n  \"a\": 1,\n  \"b\": [\n    1\n  ]\n}\n{\n  \"b\" : null\n}",
		"0+32(1=1,[\n    1\n  ]) 33+16(-,null)"},
		{"\xEF\xBB\xBF{\"a\":1}", "3+7(1=1,-)"},
		{"\xEF\xBB\xBF\r\n[{\"a\":1}]", "6+7(1=1,-)"},
		{"\xEF\xBB\xBF", ""},

		/* no comma where one should be: nothing is lost, nothing rejected */
		{"[{\"a\":1}{\"a\":2}\n{\"a\":3}]", "1+7(1=1,-) 8+7(2=2,-) 16+7(3=3,-)"},

		/* one stray byte each, and reading goes on right after it */
		{",", "0+1!syntax@0:1"},
		{",{\"a\":1}", "0+1!syntax@0:1 1+7(1=1,-)"},
		{"{\"a\":1},,{\"a\":2}", "0+7(1=1,-) 8+1!syntax@8:1 9+7(2=2,-)"},
		{"{\"a\":1},\n,\n, {\"a\":2}", "0+7(1=1,-) 9+1!syntax@9:2 11+1!syntax@11:3 13+7(2=2,-)"},
		{"[,{\"a\":1}]", "1+1!syntax@1:1 2+7(1=1,-)"},
		{"[{\"a\":1},]", "1+7(1=1,-) 8+1!syntax@8:1"},
		{"[{\"a\":1}\n,\n\n]\n{}", "1+7(1=1,-) 9+1!syntax@9:2 14+2(-,-)"},
		{"[{\"a\":1},,{\"a\":2}]", "1+7(1=1,-) 9+1!syntax@9:1 10+7(2=2,-)"},
		{"[{\"a\":1},,]", "1+7(1=1,-) 9+1!syntax@9:1"},
		{"[{\"a\":1},}]", "1+7(1=1,-) 9+1!syntax@9:1"},
		{"[{\"a\":1},}{}]", "1+7(1=1,-) 9+1!syntax@9:1 10+2(-,-)"},
		{"[,]", "1+1!syntax@1:1"},
		{"{\"a\":1},[,{\"a\":2}]", "0+7(1=1,-) 9+1!syntax@9:1 10+7(2=2,-)"},
		{"{\"a\":1}[,{\"a\":2}]", "0+7(1=1,-) 8+1!syntax@8:1 9+7(2=2,-)"},
		{"]", "0+1!syntax@0:1"},
		{"{\"a\":1}]{\"a\":2}", "0+7(1=1,-) 7+1!syntax@7:1 8+7(2=2,-)"},
		{"[{\"a\":1}]]\n{}", "1+7(1=1,-) 9+1!syntax@9:1 11+2(-,-)"},
		{"{\"a\":1}}{\"a\":2}", "0+7(1=1,-) 7+1!syntax@7:1 8+7(2=2,-)"},

		/* arrays left open */
		{"[", "1+0!truncated@1:1"},
		{"[\n", "2+0!truncated@2:2"},
		{"[{\"a\":1}", "1+7(1=1,-) 8+0!truncated@8:1"},
		{"[{\"a\":1},\n", "1+7(1=1,-) 10+0!truncated@10:2"},
		{"[{\"a\":1},{\"a\"", "1+7(1=1,-) 9+4!truncated@13:1"},
		{"[{\"a\":1},{\"a\":x}\n{}\n", "1+7(1=1,-) 9+7!syntax@14:1 17+2(-,-)"},
		{"[{\"a\":x}\n{}\n]\n", "1+7!syntax@6:1 9+2(-,-)"},
		{"[{\"a\":x}\n{}]\n[{}", "1+7!syntax@6:1 9+2(-,-) 14+2(-,-) 16+0!truncated@16:3"},
		{"x [\n{}\n]\n]", "0+3!syntax@0:1 4+2(-,-) 9+1!syntax@9:4"},
		{"x\n{}\n[{}", "0+1!syntax@0:1 2+2(-,-) 6+2(-,-) 8+0!truncated@8:3"},
		{"[{\"a\":x}]\n{}\n[{}]\n", "1+8!syntax@6:1 10+2(-,-) 14+2(-,-)"},

		/* not records */
		{"1", "0+1!notobject@0:1"},
		{"-1", "0+2!notobject@0:1"},
		{"\"x\"\n", "0+3!notobject@0:1"},
		{"true\n{}", "0+4!notobject@0:1 5+2(-,-)"},
		{"null {}\n{}", "0+7!notobject@0:1 8+2(-,-)"},
		{"[false,\n{}]", "1+6!notobject@1:1 8+2(-,-)"},
		{"[[{}]]\n{}", "1+5!notobject@1:1 7+2(-,-)"},
		{"{} 1,\n{}", "0+2(-,-) 3+2!notobject@3:1 6+2(-,-)"},
		{"hello\n{}", "0+5!syntax@0:1 6+2(-,-)"},
		{"\xEF\xBB", "0+2!syntax@0:1"},
		{"\xEF\xBB{}\n{}", "0+4!syntax@0:1 5+2(-,-)"},
		{"\xC2\xA0\n{}", "0+2!syntax@0:1 3+2(-,-)"},
		{"{}\n\xEF\xBB\xBF{}\n{}", "0+2(-,-) 3+5!syntax@3:2 9+2(-,-)"},
		{"\f{}\n{}", "0+3!syntax@0:1 4+2(-,-)"},
	};
	Setup		setup = make_setup(ab, 2);

	CHECK_CASES(&setup, cases, "framing");
	check(&setup, "{}\0\n{}", 6, "0+2(-,-) 2+1!syntax@2:1 4+2(-,-)", "framing: a NUL byte");
	check(&setup, "{\"a\":\0001}\n{}", 11, "0+8!syntax@5:1 9+2(-,-)",
		  "framing: a NUL byte in a record");
	check(&setup, "{\"a\":\"\0\"}\n{}", 12, "0+9!syntax@6:1 10+2(-,-)",
		  "framing: a NUL byte in a string");
	check(&setup, "{\"a\":1\0", 7, "0+7!syntax@6:1", "framing: a NUL byte at the very end");
	stedi_json_schema_free(setup.schema);
}

static void
test_strictness(void)
{
	/* values that stand after {"a": ; offset is where the damage is noticed */
	static const struct
	{
		const char *value;
		const char *fault;		/* NULL: good */
		int			noticed;
	}			cases[] = {
		{"1", NULL, 0}, {"-0", NULL, 0}, {"0.0", NULL, 0}, {"1e5", NULL, 0},
		{"1E+05", NULL, 0}, {"-1.5e-5", NULL, 0}, {"true", NULL, 0}, {"false", NULL, 0},
		{"null", NULL, 0}, {"\"\"", NULL, 0}, {"[]", NULL, 0}, {"{}", NULL, 0},
		{"[ ]", NULL, 0}, {"{ }", NULL, 0}, {"[1, 2 ,3]", NULL, 0},
		{"{\"x\" : [ {} , [] ] , \"y\":{\"z\":\"\"}}", NULL, 0}, {"\"\x7F\"", NULL, 0},
		{"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\"", NULL, 0}, {"\"\\uD83D\\uDE00\"", NULL, 0},
		{"\"\\ud83d\\ude00\"", NULL, 0}, {"\"\\uFFFF\"", NULL, 0}, {"\"\\u0000\"", NULL, 0},
		{"\"\xC2\x80 \xDF\xBF \xE0\xA0\x80 \xED\x9F\xBF \xEE\x80\x80 \xEF\xBF\xBF\"", NULL, 0},
		{"\"\xF0\x90\x80\x80 \xF4\x8F\xBF\xBF\"", NULL, 0},
		{"\"0123456789abcde\xC3\xA9""0123456789abcdef0123456789\"", NULL, 0},

		{"NaN", "syntax", 0}, {"nan", "syntax", 1}, {"Infinity", "syntax", 0},
		{"-Infinity", "syntax", 1}, {"+1", "syntax", 0}, {"01", "syntax", 1},
		{"-01", "syntax", 2}, {"00", "syntax", 1}, {".5", "syntax", 0}, {"1.", "syntax", 2},
		{"-", "syntax", 1}, {"-.5", "syntax", 1}, {"1.e5", "syntax", 2}, {"1e", "syntax", 2},
		{"1e+", "syntax", 3}, {"1.5.5", "syntax", 3}, {"0x1F", "syntax", 1}, {"1_000", "syntax", 1},
		{"1 2", "syntax", 2}, {"'x'", "syntax", 0}, {"True", "syntax", 0}, {"trueX", "syntax", 4},
		{"truE", "syntax", 3}, {"nul", "syntax", 3}, {"undefined", "syntax", 0},
		{"/* c */ 1", "syntax", 0}, {"1 // c", "syntax", 2}, {"", "syntax", 0},
		{"[1,]", "syntax", 3}, {"[,1]", "syntax", 1}, {"[1,,2]", "syntax", 3}, {"[1 2]", "syntax", 3},
		{"[1}", "syntax", 2}, {"{\"x\":1,}", "syntax", 7}, {"{,}", "syntax", 1},
		{"{\"x\" 1}", "syntax", 5}, {"{\"x\"::1}", "syntax", 5}, {"{\"x\"=1}", "syntax", 4}, {"{x:1}", "syntax", 1},
		{"{'x':1}", "syntax", 1}, {"{1:1}", "syntax", 1}, {"{\"x\"}", "syntax", 4},
		{"{\"x\":1 \"y\":2}", "syntax", 7}, {"{\"x\":1]", "syntax", 6}, {"{\"x\":}", "syntax", 5},
		{"[1\v]", "syntax", 2}, {"[1\f]", "syntax", 2}, {"[1\xC2\xA0]", "syntax", 2},
		{"\"\t\"", "syntax", 1}, {"\"\x1F\"", "syntax", 1}, {"\"0123456789abcdef\x01\"", "syntax", 17},
		{"\"\\x41\"", "syntax", 2}, {"\"\\'\"", "syntax", 2}, {"\"\\v\"", "syntax", 2}, {"\"\\U0041\"", "syntax", 2},
		{"\"\\0\"", "syntax", 2}, {"\"\\ \"", "syntax", 2}, {"\"\\u004\"", "syntax", 6},
		{"\"\\u00G0\"", "syntax", 5}, {"\"\\u 041\"", "syntax", 3}, {"\"\\u-041\"", "syntax", 3},
		{"\"\\", "syntax", 2}, {"[\"x\"\"y\"]", "syntax", 4},

		{"\"\\uD800\"", "utf8", 7}, {"\"\\uD800x\"", "utf8", 7}, {"\"\\uD800\\n\"", "utf8", 8},
		{"\"\\uD800\\u0041\"", "utf8", 12}, {"\"\\uD800\\uD800\"", "utf8", 12},
		{"\"\\uDBFF\\uE000\"", "utf8", 12}, {"\"\\uDC00\"", "utf8", 6},
		{"\"\\uDFFF\\uD800\"", "utf8", 6}, {"\"\\uD800\\uG000\"", "syntax", 9},
		{"\"\x80\"", "utf8", 1}, {"\"\xBF\"", "utf8", 1}, {"\"\xC0\x80\"", "utf8", 1},
		{"\"\xC1\xBF\"", "utf8", 1}, {"\"\xC3\"", "utf8", 2}, {"\"\xC3x\"", "utf8", 2},
		{"\"\xE0\x9F\xBF\"", "utf8", 2}, {"\"\xE2\x82\"", "utf8", 3}, {"\"\xED\xA0\x80\"", "utf8", 2},
		{"\"\xED\xBF\xBF\"", "utf8", 2}, {"\"\xF0\x8F\xBF\xBF\"", "utf8", 2},
		{"\"\xF0\x90\x80\"", "utf8", 4}, {"\"\xF4\x90\x80\x80\"", "utf8", 2},
		{"\"\xF5\x80\x80\x80\"", "utf8", 1}, {"\"\xFE\"", "utf8", 1}, {"\"\xFF\"", "utf8", 1},
		{"\"ok \xC3\xA9 \xC3\xA9\xC3\"", "utf8", 10}, {"\"\xC3\xA9\x80\"", "utf8", 3},
		{"[\"\xFF\"]", "utf8", 2}, {"{\"\xFF\":1}", "utf8", 2}, {"{\"k\":\"\\uDC00\"}", "utf8", 11},
	};
	Setup		none = make_setup(ab, 0);
	static const Case keys[] = {
		{"{a:1}\n", "0+5!syntax@1:1"},
		{"{'a':1}\n", "0+7!syntax@1:1"},
		{"{\"a\"}\n", "0+5!syntax@4:1"},
		{"{\"a\":1,}\n", "0+8!syntax@7:1"},
		{"{,\"a\":1}\n", "0+8!syntax@1:1"},
		{"{\"a\":1,,\"a\":1}\n", "0+14!syntax@7:1"},
		{"{\"a\":1 \"a\":1}\n", "0+13!syntax@7:1"},
		{"{\"a\" \"a\":1}\n", "0+11!syntax@5:1"},
		{"{\"a\":1]\n", "0+7!syntax@6:1"},
		{"{\"\\x\":1}\n", "0+8!syntax@3:1"},
		{"{\"\xFF\":1}\n", "0+7!utf8@2:1"},
		{"{\"\\uD800\":1}\n", "0+12!utf8@8:1"},
		{"{\"a\tb\":1}\n", "0+9!syntax@3:1"},
		{"{{}}\n", "0+4!syntax@1:1"},
		{"{]\n", "0+2!syntax@1:1"},
		/* a hint from a good record must not let a bad one through */
		{"{\"a\":1}\n{\"a\":}\n{\"a\":2}", "0+7 8+6!syntax@13:2 15+7"},
		{"{\"a\":1}\n{\"a\"1}\n{\"a\":2}", "0+7 8+6!syntax@12:2 15+7"},
		{"{\"a\": 1}\n{\"a\":\n2}\n{\"a\" :3}", "0+8 9+8 18+8"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		char		input[200];
		char		expected[200];
		char		name[200];
		char	   *events;
		int			length = snprintf(input, sizeof(input), "{\"a\":%s}\n{\"a\":0}", cases[i].value);
		bool		in_list = true;

		snprintf(name, sizeof(name), "%s: {\"a\":%s}", cases[i].fault ? "refused" : "accepted",
				 cases[i].value);
		for (char *p = name; *p; p++)
		{
			if ((unsigned char) *p < ' ' || (unsigned char) *p > 0x7E)
				*p = '.';
		}
		if (cases[i].fault == NULL)
			snprintf(expected, sizeof(expected), "0+%d %d+7", length - 8, length - 7);
		else
			snprintf(expected, sizeof(expected), "0+%d!%s@%d:1 %d+7", length - 8,
					 cases[i].fault, cases[i].noticed + 5, length - 7);
		check(&none, input, (size_t) length, expected, name);

		/* the same one level down */
		length = snprintf(input, sizeof(input), "{\"n\":[%s]}\n{\"a\":0}", cases[i].value);
		events = read_all(&none, input, (size_t) length, (size_t) length);
		if (*cases[i].value != '\0')
			in_list = (strchr(events, '!') != NULL) == (cases[i].fault != NULL);
		free(events);
		ok(in_list, "the same in a list");
	}
	CHECK_CASES(&none, keys, "keys");
	stedi_json_schema_free(none.schema);
}

static void
test_recovery(void)
{
	static const Case cases[] = {
		/* one bad line */
		{"{\"a\":1}\n{\"a\":x}\n{\"a\":2}\n", "0+7(1=1,-) 8+7!syntax@13:2 16+7(2=2,-)"},
		{"{\"a\":1}\n{\"a\":x}  \r\n\r\n{\"a\":2}\n", "0+7(1=1,-) 8+7!syntax@13:2 21+7(2=2,-)"},
		{"{\"a\":1},\n{\"a\":x},\n{\"a\":2}\n", "0+7(1=1,-) 9+8!syntax@14:2 18+7(2=2,-)"},
		{"[\n{\"a\":1},\n{\"a\":x},\n{\"a\":2}\n]\n", "2+7(1=1,-) 11+8!syntax@16:3 20+7(2=2,-)"},
		{"{\"a\":x}\n{\"a\":y}\n{\"a\":2}\n", "0+7!syntax@5:1 8+7!syntax@13:2 16+7(2=2,-)"},
		{"{\"a\":x}{\"a\":1}\n{\"a\":2}\n", "0+14!syntax@5:1 15+7(2=2,-)"},
		{"{\"a\":1}{\"a\":x}{\"a\":3}\n{\"a\":2}\n", "0+7(1=1,-) 7+14!syntax@12:1 22+7(2=2,-)"},
		{"{\"a\":1} junk\njunk\n\n junk\n{\"a\":2}\n", "0+7(1=1,-) 8+16!syntax@8:1 25+7(2=2,-)"},

		/* the damage is noticed at or before the line feed: the next line counts */
		{"{\"a\":1,\"b\n{\"a\":2}\n", "0+9!syntax@9:1 10+7(2=2,-)"},
		{"{\"a\":1,\"b\":\n{\"a\":2}\n{\"a\":3}\n", "0+19!syntax@20:1 20+7(3=3,-)"},
		{"{\"a\":1,\n{\"a\":2}\n", "0+7!syntax@8:1 8+7(2=2,-)"},
		{"{\"a\":{\n{\"b\":1}\n", "0+6!syntax@7:1 7+7(-,1=1)"},
		{"{\"a\":\n{\"b\":1}\n{\"b\":2}\n", "0+13!syntax@14:1 14+7(-,2=2)"},
		{"{\"a\":\n{\"b\":x}}\n{\"a\":1}\n", "0+14!syntax@11:1 15+7(1=1,-)"},
		{"{\"a\"\n{\"b\":1}\n", "0+4!syntax@5:1 5+7(-,1=1)"},
		{"{\"a\":\"\xC3\n{\"b\":1}\n", "0+7!utf8@7:1 8+7(-,1=1)"},
		{"{\"a\":\"\\\n{\"b\":1}\n", "0+7!syntax@7:1 8+7(-,1=1)"},
		{"{\"a\":\"\\uD800\n{\"b\":1}\n", "0+12!utf8@12:1 13+7(-,1=1)"},
		{"{\"a\":tru\n{\"b\":1}\n", "0+8!syntax@8:1 9+7(-,1=1)"},
		{"{\"a\":-\n{\"b\":1}\n", "0+6!syntax@6:1 7+7(-,1=1)"},

		/* pretty-printed: an object inside is no record, nor is a line indented deeper */
		{"{\n  \"a\": x,\n  \"b\":\n  {\n    \"a\": 1\n  }\n}\n{\"a\":2}\n",
		"0+39!syntax@9:1 40+7(2=2,-)"},
		{"  {\n    \"a\": x\n  },\n  {\n    \"a\": 1\n  }\n", "2+17!syntax@13:1 22+16(1=1,-)"},
		{"  {\"a\":x}\n{\"a\":1}\n", "2+7!syntax@7:1 10+7(1=1,-)"},
		{"  {\"a\":x}\n  {\"a\":1}\n", "2+7!syntax@7:1 12+7(1=1,-)"},
		{"  {\"a\":x}\n\t {\"a\":1}\n", "2+7!syntax@7:1 12+7(1=1,-)"},
		{"  {\"a\":x}\n   {\"a\":1}\n", "2+18!syntax@7:1"},
		{"{\"a\":x}\n {\"a\":1}\n", "0+16!syntax@5:1"},
		{"{\n  \"a\":1\n  }, {\"a\":x}\n  {\"a\":2}\n   {\"a\":3}\n",
		"0+13(1=1,-) 15+7!syntax@20:3 25+7(2=2,-) 36+7(3=3,-)"},
		{"  {}{\"a\":x}\n   {\"a\":1}\n  {\"a\":2}\n", "2+2(-,-) 4+18!syntax@9:1 25+7(2=2,-)"},
		{"\xEF\xBB\xBF {\"a\":x}\n  {\"a\":1}\n {\"a\":2}\n", "4+17!syntax@9:1 23+7(2=2,-)"},
		{"\r{\"a\":x}\n\r{\"a\":1}\n", "1+7!syntax@6:1 10+7(1=1,-)"},
		{" {} x\n {}\n  y\n  {\"a\":1}\n",
		"1+2(-,-) 4+1!syntax@4:1 7+2(-,-) 12+1!syntax@12:3 16+7(1=1,-)"},
		{" x\n  {}\n {}\n", "1+6!syntax@1:1 9+2(-,-)"},
		{"{\"a\":x}\n[{\"a\":1}]\n{\"a\":2}\n", "0+17!syntax@5:1 18+7(2=2,-)"},

		/* truncated */
		{"{", "0+1!truncated@1:1"},
		{"{\"a\":1", "0+6!truncated@6:1"},
		{"{\"a\":1  \n \n", "0+6!truncated@11:1"},
		{"{\"a\":\"x", "0+7!truncated@7:1"},
		{"{}\n{\"a\":tr", "0+2(-,-) 3+7!truncated@10:2"},
		{"{\"a\":1}\n{\"a\":\"\xE2\x82", "0+7(1=1,-) 8+8!truncated@16:2"},
		{"{\"a\":\"\\uD8", "0+10!truncated@10:1"},
		{"{\"a\":\"\\uD800", "0+12!truncated@12:1"},
		{"{\"a\":[1,{\"b\":", "0+13!truncated@13:1"},
		{"{\"a\":x", "0+6!syntax@5:1"},
		{"{}\nx", "0+2(-,-) 3+1!syntax@3:2"},
	};
	Setup		setup = make_setup(ab, 2);

	CHECK_CASES(&setup, cases, "recovery");
	stedi_json_schema_free(setup.schema);
}

static void
test_cells(void)
{
	static const Case cases[] = {
		{"{\"a\":\"x\",\"b\":\"\"}", "0+16(\"x\",\"\")"},
		{"{\"a\":true,\"b\":false}", "0+20(true,false)"},
		{"{\"a\":null}", "0+10(null,-)"},
		{"{\"a\":-0,\"b\":0.0}", "0+16(-0=0,0.0)"},
		{"{\"a\":1655564376361,\"b\":1655564376361.0}",
		"0+39(1655564376361=1655564376361,1655564376361.0)"},
		{"{\"a\":9223372036854775807,\"b\":-9223372036854775808}",
		"0+50(9223372036854775807=9223372036854775807,-9223372036854775808=-9223372036854775808)"},
		{"{\"a\":9223372036854775808,\"b\":-9223372036854775809}",
		"0+50(9223372036854775808,-9223372036854775809)"},
		{"{\"a\":18446744073709551617,\"b\":1e3}", "0+34(18446744073709551617,1e3)"},
		{"{\"a\":123456789012345678901234567890,\"b\":-1E-5}",
		"0+46(123456789012345678901234567890,-1E-5)"},
		{"{\"a\":{\"b\" : [1, {}]}, \"b\":[ ]}", "0+30({\"b\" : [1, {}]},[ ])"},
		{"{\"a\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\",\"b\":\"x\\u0041y\"}",
		"0+39(\"\"\\/\b\f\n\r\t\",\"xAy\")"},
		{"{\"a\":\"\\u00e9\\u20AC\\uD83D\\ude00\",\"b\":\"\xC3\xA9\\n\xE2\x82\xAC\"}",
		"0+46(\"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\",\"\xC3\xA9\n\xE2\x82\xAC\")"},
		{"{\"a\":\"\\u007f\\u0080\\u07ff\\u0800\\uffff\\ud800\\udc00\\udbff\\udfff\"}",
		"0+62(\"\x7F\xC2\x80\xDF\xBF\xE0\xA0\x80\xEF\xBF\xBF\xF0\x90\x80\x80\xF4\x8F\xBF\xBF\",-)"},
		{"{\"a\":\"\\\\u0041\"}", "0+15(\"\\u0041\",-)"},
		{"{\"a\":\"0123456789abcdef\",\"b\":\"0123456789abcde\\\"0123456789abcdef\"}",
		"0+64(\"0123456789abcdef\",\"0123456789abcde\"0123456789abcdef\")"},

		/* the last duplicate wins, between spellings too, whatever its type */
		{"{\"a\":1,\"a\":2}", "0+13(2=2,-)"},
		{"{\"a\":\"\\n\",\"A\":\"x\"}", "0+18(\"x\",-)"},
		{"{\"a\":\"x\",\"_A_\":\"\\n\"}", "0+20(\"\n\",-)"},
		{"{\"a\":\"\\n\",\"a\":null,\"b\":\"\\t\"}", "0+28(null,\"\t\")"},
		{"{\"a\":12,\"b\":1,\"\\u0061\":[1]}", "0+27([1],1=1)"},

		/* keys of objects inside are not the record's */
		{"{\"x\":{\"a\":1},\"b\":2}", "0+19(-,2=2)"},
		{"{\"a\":{\"a\":1,\"b\":2}}", "0+19({\"a\":1,\"b\":2},-)"},
	};
	Setup		setup = make_setup(ab, 2);
	StediJsonReader *reader;
	StediJsonRecord record;
	StediStatus status;
	size_t		available;
	static const char nul[] = "{\"a\":\"x\\u0000y\",\"b\":\"\\u0001\"}";

	CHECK_CASES(&setup, cases, "cells");

	reader = stedi_json_reader_new(setup.schema, &setup.options);
	memcpy(stedi_json_reader_space(reader, &available), nul, sizeof(nul) - 1);
	stedi_json_reader_filled(reader, sizeof(nul) - 1);
	ok(stedi_json_reader_next(reader, &record, &status) == STEDI_JSON_RECORD &&
	   record.cells[0].has_nul && record.cells[0].length == 3 &&
	   memcmp(record.cells[0].text, "x\0y", 3) == 0, "U+0000 is decoded and told");
	ok(!record.cells[1].has_nul && record.cells[1].length == 1, "U+0001 is not U+0000");
	stedi_json_reader_free(reader);
	stedi_json_schema_free(setup.schema);
}

static void
test_keys(void)
{
	static const char *const names[] = {"email", "serial_number", "timeStamp"};
	static const Case cases[] = {
		{"{\"email\":1,\"serialNumber\":2,\"timestamp\":3}", "0+42(1=1,2=2,3=3)"},
		{"{\"user\":1,\"serialnumber\":2,\"time_stamp\":3}", "0+42(1=1,2=2,3=3)"},
		{"{\"USER\":1,\"SERIAL_NUMBER\":2,\"TimeStamp\":3}", "0+42(1=1,2=2,3=3)"},
		{"{\"__email__\":1,\"_s_erial__number\":2,\"timestam\":3}", "0+49(1=1,2=2,-)"},
		{"{\"e\\u006dail\":1,\"serial\\u005Fnumber\":2,\"timestampp\":3}", "0+54(1=1,2=2,-)"},
		{"{\"email \":1,\"serial-number\":2,\"\":3}", "0+35(-,-,-)"},
		{"{\"email\\u0000\":1,\"emai\":2,\"emaii\":3}", "0+36(-,-,-)"},
		{"{\"user\":1,\"email\":2}\n{\"email\":2,\"user\":1}", "0+20(2=2,-,-) 21+20(1=1,-,-)"},

		/* the same keys in other places than in the record before */
		{"{\"email\":1,\"serialNumber\":2}\n{\"serialNumber\":1,\"email\":2}\n{\"email\":3}",
		"0+28(1=1,2=2,-) 29+28(2=2,1=1,-) 58+11(3=3,-,-)"},
		{"{\"email\":1}\n{\"emailx\":1}\n{\"email\" : 1}\n{ \"email\": 1}\n{\"email\":  1}",
		"0+11(1=1,-,-) 12+12(-,-,-) 25+13(1=1,-,-) 39+13(1=1,-,-) 53+13(1=1,-,-)"},
		{"{\"email_____________\":1}\n{\"email____________x\":1}\n{\"email_____________\" :1}",
		"0+24(1=1,-,-) 25+24(-,-,-) 50+25(1=1,-,-)"},
		{"{\"email__________________\":1}\n{\"email_________________x\":1}",
		"0+29(1=1,-,-) 30+29(-,-,-)"},
		{"{\"a key that is longer than what is remembered of keys\":1,\"email\":2}",
		"0+68(2=2,-,-)"},
	};
	Setup		setup = make_setup(names, 3);
	StediStatus status;
	StediJsonSchema *wide = stedi_json_schema_new(1000);
	StediBytes	input;
	bool		all = true;
	char	   *events;

	ok(stedi_json_schema_add(setup.schema, 0, "user", &status), "an alias");
	ok(stedi_json_schema_add(setup.schema, 0, "USER", &status), "the same alias again");
	CHECK_CASES(&setup, cases, "keys");
	ok(!stedi_json_schema_add(setup.schema, 1, "User_", &status) &&
	   status.code == STEDI_BAD_ARGUMENT, "a name claimed by two columns");
	ok(!stedi_json_schema_add(setup.schema, 3, "x", &status) &&
	   status.code == STEDI_BAD_ARGUMENT, "a column that does not exist");
	ok(!stedi_json_schema_add(setup.schema, -1, "x", &status) &&
	   status.code == STEDI_BAD_ARGUMENT, "a negative column");
	stedi_json_schema_free(setup.schema);
	stedi_json_schema_free(NULL);

	/* many columns, and a record that has them all, backwards */
	stedi_bytes_init(&input, 0);
	for (int i = 0; i < 1000; i++)
	{
		char		name[32];

		snprintf(name, sizeof(name), "Column_%d", i);
		all &= stedi_json_schema_add(wide, i, name, &status);
		stedi_bytes_printf(&input, "%s\"column%d\":%d", i == 0 ? "{" : ",", 999 - i, i);
	}
	stedi_bytes_append_char(&input, '}');
	setup = (Setup) {.schema = wide, .n_columns = 1000};
	events = read_all(&setup, input.data, input.length, 0);
	ok(all && strstr(events, "(999=999,998=998,997=997,") != NULL &&
	   strstr(events, ",2=2,1=1,0=0)") != NULL, "a thousand columns");
	free(events);
	stedi_bytes_free(&input);
	stedi_json_schema_free(wide);
}

static void
test_rescued(void)
{
	static const Case cases[] = {
		{"{\"a\":1,\"b\":2}", "0+13(1=1,2=2)"},
		{"{}", "0+2(-,-)"},
		{"{\"x\":1}", "0+7(-,-)~{\"x\":1}"},
		{"{\"a\":1,\"x\" : \"\\u0041\" , \"b\":2, \"y\":{\"a\":[1, 2]} }\n{\"a\":1}\n{\"z\":null}",
		"0+49(1=1,2=2)~{\"x\" : \"\\u0041\",\"y\":{\"a\":[1, 2]}} 50+7(1=1,-) 58+10(-,-)~{\"z\":null}"},
		{"{\"x\":1,\"x\":2,\"\\u0078\":3}", "0+24(-,-)~{\"x\":1,\"x\":2,\"\\u0078\":3}"},
		{"{\"x\":1,\"y\":!}\n{\"a\":2}", "0+13!syntax@11:1 14+7(2=2,-)"},
	};
	Setup		setup = make_setup(ab, 2);

	setup.options.want_rescued = true;
	CHECK_CASES(&setup, cases, "rescued");
	stedi_json_schema_free(setup.schema);
}

static void
test_depth(void)
{
	Setup		setup = make_setup(ab, 0);

	for (int kind = 0; kind < 3; kind++)
	{
		for (int extra = 0; extra < 2; extra++)
		{
			StediBytes	input;
			char		expected[100];
			char	   *whole;
			char	   *cut;
			size_t		fault = 0;

			stedi_bytes_init(&input, 0);
			stedi_bytes_append_text(&input, "{\"a\":");
			for (int i = 0; i < STEDI_JSON_MAX_DEPTH - 1 + extra; i++)
			{
				bool		array = kind == 0 || (kind == 2 && i % 2);

				fault = input.length;
				if (array)
					stedi_bytes_append_char(&input, '[');
				else
					stedi_bytes_append_text(&input, i % 3 ? "{\"a\":" : "{\"b\":0,\"a\":");
			}
			stedi_bytes_append_text(&input, "1");
			for (int i = STEDI_JSON_MAX_DEPTH - 2 + extra; i >= 0; i--)
				stedi_bytes_append_char(&input, kind == 0 || (kind == 2 && i % 2) ? ']' : '}');
			stedi_bytes_append_text(&input, "}\n{}");

			if (extra)
				snprintf(expected, sizeof(expected), "0+%zu!depth@%zu:1 %zu+2",
						 input.length - 3, fault, input.length - 2);
			else
				snprintf(expected, sizeof(expected), "0+%zu %zu+2", input.length - 3,
						 input.length - 2);
			whole = read_all(&setup, input.data, input.length, input.length + 1);
			cut = read_all(&setup, input.data, input.length, 1);
			is(whole, expected, extra ? "one level too deep" : "as deep as can be");
			is(cut, expected, "byte by byte");
			free(whole);
			free(cut);
			stedi_bytes_free(&input);
		}
	}

	/* depth counts what is open, not what was */
	{
		StediBytes	input;
		char	   *events;

		stedi_bytes_init(&input, 0);
		stedi_bytes_append_text(&input, "{\"a\":[0");
		for (int i = 0; i < 2000; i++)
			stedi_bytes_append_text(&input, ",[],{},[{}]");
		stedi_bytes_append_text(&input, "]}");
		events = read_all(&setup, input.data, input.length, 0);
		ok(strchr(events, '!') == NULL, "many siblings are not deep");
		free(events);
		stedi_bytes_free(&input);
	}
	stedi_json_schema_free(setup.schema);
}

static void
test_size(void)
{
	static const Case cases[] = {
		/* the limit is 20 bytes */
		{"{\"a\":\"0123456789ab\"}", "0+20(\"0123456789ab\",-)"},
		{"{\"a\":\"0123456789abc\"}", "0+21!size@20:1"},
		{"{\"a\":\"0123456789ab\"}\n{\"a\":\"0123456789abc\"}\n{\"a\":1}\n",
		"0+20(\"0123456789ab\",-) 21+21!size@41:2 43+7(1=1,-)"},
		{"{\"a\":\"0123456789abcdefghijklmnopqrstuvwxyz\"}\n{\"a\":1}",
		"0+44!size@20:1 45+7(1=1,-)"},
		{"{\"a\":\"0123456789abcdefghijklmnop\xFF\"}\n{\"a\":1}", "0+35!size@20:1 36+7(1=1,-)"},
		{"{\"a\":\"0123456789ab\xFF\"}\n{\"a\":1}", "0+21!utf8@18:1 22+7(1=1,-)"},
		{"{\"a\":\"0123456789abc\xFF\"}\n{\"a\":1}", "0+22!utf8@19:1 23+7(1=1,-)"},
		{"{\"a\":\"0123456789abcd\xFF\"}\n{\"a\":1}", "0+23!size@20:1 24+7(1=1,-)"},
		{"{\"a\":\"0123456789abcd", "0+20!truncated@20:1"},
		{"{\"a\":\"0123456789abcde", "0+21!size@20:1"},
		{"{\n\"a\":\n\"0123456789abc\"\n}\n{\"a\":1}", "0+24!size@20:1 25+7(1=1,-)"},
		{"{                    }\n{}", "0+22!size@20:1 23+2(-,-)"},
		{"                                  {}\n{}", "34+2(-,-) 37+2(-,-)"},
		{"[{\"a\":\"0123456789abcdefghij\"},\n{}]", "1+29!size@21:1 31+2(-,-)"},
	};
	Setup		setup = make_setup(ab, 2);

	setup.options.max_record_size = 20;
	CHECK_CASES(&setup, cases, "size");
	stedi_json_schema_free(setup.schema);
}

/* Records and damage larger than the window. */
static void
test_long_input(void)
{
	Setup		setup = make_setup(ab, 1);
	StediBytes	input;
	size_t		chunks[] = {1, 1000, 65536, SIZE_MAX};
	char		expected[200];
	size_t		size = 1000000;
	size_t		at;

	stedi_bytes_init(&input, 0);
	stedi_bytes_append_text(&input, "{\"a\":1}\n{\"x\":\"");
	for (size_t i = 0; i < size; i++)
		stedi_bytes_append_char(&input, 'x');
	stedi_bytes_append_text(&input, "\"}\n[{\"a\":2} ,");
	for (size_t i = 0; i < size; i++)
		stedi_bytes_append_char(&input, i % 100 == 0 ? '\n' : ' ');
	stedi_bytes_append_text(&input, "]\nx");
	for (size_t i = 0; i < size; i++)
		stedi_bytes_append_text(&input, i % 100 == 0 ? "\n  {" : "y");
	stedi_bytes_append_text(&input, "   \n\n{\"a\":3}\n");
	at = 8 + 6 + size + 3;
	snprintf(expected, sizeof(expected),
			 "0+7(1=1) 8+%zu(-) %zu+7(2=2) %zu+1!syntax@%zu:3 %zu+%zu!syntax@%zu:10004 %zu+7(3=3)",
			 size + 8, at + 1, at + 9, at + 9, at + size + 12, size + size / 100 * 3 + 1,
			 at + size + 12, at + size + 12 + size + size / 100 * 3 + 1 + 5);
	for (size_t i = 0; i < sizeof(chunks) / sizeof(chunks[0]); i++)
	{
		char	   *events = read_all(&setup, input.data, input.length,
									  chunks[i] < input.length ? chunks[i] : input.length);

		is(events, expected, "records, blanks and damage longer than the window");
		free(events);
	}

	/* with a limit that the long record breaks, no line opens a record until the last */
	setup.options.max_record_size = 500000;
	at += size + 12 + size + size / 100 * 3 + 1;
	snprintf(expected, sizeof(expected), "0+7(1=1) 8+%zu!size@500008:2 %zu+7(3=3)", at - 8, at + 5);
	for (size_t i = 0; i < sizeof(chunks) / sizeof(chunks[0]); i++)
	{
		char	   *events = read_all(&setup, input.data, input.length,
									  chunks[i] < input.length ? chunks[i] : input.length);

		is(events, expected, "a record over the size limit");
		free(events);
	}
	stedi_bytes_free(&input);
	stedi_json_schema_free(setup.schema);
}

/* Memory stays bounded: what space() offers never grows far past the limit. */
static void
test_memory(void)
{
	Setup		setup = make_setup(ab, 1);
	StediJsonReader *reader;
	StediJsonRecord record;
	StediStatus status;
	size_t		largest = 0;
	uint64_t	fed = 0;

	setup.options.max_record_size = 1000000;
	reader = stedi_json_reader_new(setup.schema, &setup.options);
	while (fed < 30000000)
	{
		size_t		available;
		char	   *space = stedi_json_reader_space(reader, &available);

		if (available > largest)
			largest = available;
		memset(space, 'x', available);
		if (fed == 0)
			memcpy(space, "{\"a\":\"", 6);
		stedi_json_reader_filled(reader, available);
		fed += available;
		if (stedi_json_reader_next(reader, &record, &status) != STEDI_JSON_NEED_INPUT)
			break;
	}
	stedi_json_reader_finish(reader);
	ok(stedi_json_reader_next(reader, &record, &status) == STEDI_JSON_REJECT &&
	   record.byte_length == fed && record.length == STEDI_JSON_REJECT_KEEP &&
	   record.fault == STEDI_JSON_FAULT_SIZE, "an endless record is one reject, clipped");
	ok(largest <= 1000000 + 512 * 1024, "the window does not grow with it");
	ok(stedi_json_reader_next(reader, &record, &status) == STEDI_JSON_END, "then the end");
	ok(stedi_json_reader_next(reader, &record, &status) == STEDI_JSON_END, "and again the end");
	stedi_json_reader_free(reader);
	stedi_json_reader_free(NULL);
	stedi_json_schema_free(setup.schema);
}

/* An incomplete record is parsed again only now and then, but not too late. */
static void
test_promptness(void)
{
	Setup		setup = make_setup(ab, 1);
	StediJsonReader *reader;
	StediJsonRecord record;
	StediStatus status;
	StediBytes	input;
	StediJsonEvent event = STEDI_JSON_NEED_INPUT;
	size_t		fed = 0;

	setup.options.max_record_size = 1000;
	stedi_bytes_init(&input, 0);
	stedi_bytes_append_text(&input, "{\"a\":\"");
	while (input.length < 1010)
		stedi_bytes_append_char(&input, 'x');
	stedi_bytes_append_text(&input, "\n{}\n{}\n");
	reader = stedi_json_reader_new(setup.schema, &setup.options);
	while (event == STEDI_JSON_NEED_INPUT && fed < input.length)
	{
		size_t		available;

		*stedi_json_reader_space(reader, &available) = input.data[fed++];
		stedi_json_reader_filled(reader, 1);
		event = stedi_json_reader_next(reader, &record, &status);
	}
	ok(event == STEDI_JSON_REJECT && fed == 1012,
	   "a record over the limit is noticed at the limit");
	*stedi_json_reader_space(reader, &fed) = '}';
	stedi_json_reader_filled(reader, 1);
	ok(stedi_json_reader_next(reader, &record, &status) == STEDI_JSON_RECORD,
	   "a small record does not wait because a large one did");
	stedi_json_reader_free(reader);
	stedi_bytes_free(&input);
	stedi_json_schema_free(setup.schema);
}

/* Valid input, damaged at random: what must hold always, at any cut. */
static void
test_random_damage(void)
{
	static const char *const pieces[] = {
		"{\"a\":1}", "{\"a\":\"x\\ny\",\"b\":[1,2,{\"a\":{}}]}", "{\n  \"a\": 1,\n  \"b\":\n  {\n  }\n}",
		"{}", "[", "]", ",", "\n", "\n", "\n", " ", "  ", "\r\n", "{\"user_x\":\"\xC3\xA9\xE2\x82\xAC\"}",
		"{\"b\":\"\\uD83D\\uDE00\",\"c\":-1.5e-7}", "[{\"a\":1},{\"a\":2}]", "{\"a\":1},\n",
		"{\"x\":true,\"y\":null}", "\t{\"a\":false}\n",
	};
	static const char bytes[] = "{}[],:\"\\\n \t\r0123456789-+.eEtrufalsn/x\x01\x80\xC3\xFF";
	Setup		setup = make_setup(ab, 2);
	bool		all = true;

	setup.options.want_rescued = true;
	for (int round = 0; round < 6000 && all; round++)
	{
		StediBytes	input;
		char	   *first;
		char	   *second;
		uint64_t	n = 1 + random_below(12);

		setup.options.max_record_size = round % 4 == 0 ? 1 + random_below(60) : 0;
		stedi_bytes_init(&input, 0);
		for (uint64_t i = 0; i < n; i++)
			stedi_bytes_append_text(&input, pieces[random_below(sizeof(pieces) / sizeof(pieces[0]))]);
		for (uint64_t i = random_below(5); i > 0; i--)
		{
			size_t		at = (size_t) random_below(input.length);
			char		byte = bytes[random_below(sizeof(bytes))];

			if (random_below(3) == 0)
				input.length = at + 1;
			else if (random_below(2) == 0)
				input.data[at] = byte;
			else
			{
				stedi_bytes_append_char(&input, 0);
				memmove(input.data + at + 1, input.data + at, input.length - 1 - at);
				input.data[at] = byte;
			}
		}

		first = read_all(&setup, input.data, input.length, input.length + 1);
		second = read_all(&setup, input.data, input.length, round % 3);
		if (strcmp(first, second) != 0 || strstr(first, " [") != NULL || first[0] == '[' ||
			strstr(first, "ASKS") != NULL)
		{
			all = false;
			printf("# round %d, input:\n# ", round);
			for (size_t i = 0; i < input.length; i++)
				printf("%02x", (unsigned char) input.data[i]);
			printf("\n# whole: %s\n# cut:   %s\n", first, second);
		}
		free(first);
		free(second);
		stedi_bytes_free(&input);
	}
	ok(all, "random damage: nothing lost, the same at any cut");
	stedi_json_schema_free(setup.schema);
}

int
main(void)
{
	test_framing();
	test_strictness();
	test_recovery();
	test_cells();
	test_keys();
	test_rescued();
	test_depth();
	test_size();
	test_long_input();
	test_memory();
	test_promptness();
	test_random_damage();
	return tap_done();
}
