/*
 * fuzz_json_reader.c
 *		libFuzzer target: the JSON reader on any input.
 *
 * The first two bytes choose the options, how the input is cut, and whether the
 * reader's window ends within it.  The rest is read twice, whole and in pieces;
 * both must give the same events, events must be in input order and without
 * overlap, and what is in none of them must be a separator.  A record must read
 * the same by itself as after others, and what is rescued must be a record.
 * Whatever number comes out is converted, too.
 */
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "core/json_internal.h"

#define N_COLUMNS 4
#define WINDOW_SIZE (256 * 1024)	/* the reader's */

#define MUST(condition) \
	do { \
		if (!(condition)) \
			abort(); \
	} while (0)

static bool
is_separator(const uint8_t *input, size_t length, uint64_t at)
{
	return (input[at] != '\0' && strchr(" \t\r\n,[]", input[at]) != NULL) ||
		(at < 3 && length >= 3 && memcmp(input, "\xEF\xBB\xBF", 3) == 0);
}

static void
convert(const StediJsonCell *cell)
{
	int64_t		integer;
	double		value;

	if (cell->type == STEDI_JSON_STRING)
		(void) stedi_json_is_number(cell->text, cell->length);
	if (cell->type != STEDI_JSON_NUMBER)
		return;
	MUST(stedi_json_is_number(cell->text, cell->length));
	(void) stedi_json_to_double(cell->text, cell->length, &value);
	if (stedi_json_to_int64(cell->text, cell->length, &integer) == STEDI_JSON_NUMBER_OK)
		MUST(!cell->is_integer || cell->integer == integer);
	else
		MUST(!cell->is_integer);
}

/* What the parser remembers of other records must make no difference. */
static void
read_alone(const StediJsonSchema *schema, const StediJsonReaderOptions *options,
		   const StediJsonRecord *record)
{
	StediJsonParser parser;
	char	   *text = calloc(1, record->length + STEDI_JSON_PADDING);

	MUST(text != NULL && stedi_json_parser_init(&parser, schema, options->want_rescued));
	memcpy(text, record->text, record->length);
	MUST(stedi_json_parse_record(&parser, text) == text + record->length);
	for (int i = 0; i < N_COLUMNS; i++)
	{
		const StediJsonCell *one = &parser.cells[i];
		const StediJsonCell *other = &record->cells[i];

		MUST(one->type == other->type && one->is_integer == other->is_integer &&
			 one->integer == other->integer && one->has_nul == other->has_nul &&
			 one->length == other->length &&
			 (one->length == 0 || memcmp(one->text, other->text, one->length) == 0));
	}
	MUST(parser.rescued.length == record->rescued_length);
	if (record->rescued_length > 0)
	{
		char	   *rescued = calloc(1, record->rescued_length + STEDI_JSON_PADDING);

		MUST(rescued != NULL &&
			 memcmp(parser.rescued.data, record->rescued, record->rescued_length) == 0);
		memcpy(rescued, record->rescued, record->rescued_length);
		MUST(stedi_json_parse_record(&parser, rescued) == rescued + record->rescued_length);
		for (int i = 0; i < N_COLUMNS; i++)
			MUST(parser.cells[i].type == STEDI_JSON_MISSING);
		free(rescued);
	}
	stedi_json_parser_free(&parser);
	free(text);
}

/* Everything about the events, as bytes. */
static void
read_all(const StediJsonSchema *schema, const StediJsonReaderOptions *options,
		 const uint8_t *input, size_t length, size_t chunk, StediBytes *events)
{
	StediJsonReader *reader = stedi_json_reader_new(schema, options);
	size_t		fed = 0;
	uint64_t	done = 0;
	uint32_t	number = 0;

	MUST(reader != NULL);
	for (;;)
	{
		StediJsonRecord record;
		StediStatus status;
		StediJsonEvent event = stedi_json_reader_next(reader, &record, &status);
		uint64_t	line;

		MUST(event != STEDI_JSON_FAILED);
		if (event == STEDI_JSON_END)
			break;
		if (event == STEDI_JSON_NEED_INPUT)
		{
			size_t		n;
			char	   *space = stedi_json_reader_space(reader, &n);

			MUST(space != NULL && n > 0);
			if (n > chunk)
				n = chunk;
			if (n > length - fed)
				n = length - fed;
			if (n > 0)
				memcpy(space, input + fed, n);
			fed += n;
			stedi_json_reader_filled(reader, n);
			if (n == 0)
				stedi_json_reader_finish(reader);
			continue;
		}

		MUST(record.record_no == ++number);
		MUST(record.byte_offset >= done);
		MUST(record.byte_offset + record.byte_length <= length);
		MUST(record.length <= record.byte_length);
		MUST(memcmp(record.text, input + record.byte_offset, record.length) == 0);
		for (; done < record.byte_offset; done++)
			MUST(is_separator(input, length, done));
		done += record.byte_length;
		line = stedi_json_reader_line(reader);
		stedi_bytes_append(events, &event, sizeof(event));
		stedi_bytes_append(events, &record.byte_offset, sizeof(record.byte_offset));
		stedi_bytes_append(events, &record.byte_length, sizeof(record.byte_length));
		stedi_bytes_append(events, &line, sizeof(line));

		if (event == STEDI_JSON_REJECT)
		{
			stedi_bytes_append(events, &record.fault, sizeof(record.fault));
			stedi_bytes_append(events, &record.fault_offset, sizeof(record.fault_offset));
			stedi_bytes_append_text(events, record.message);
			continue;
		}
		MUST(record.text[0] == '{' && record.text[record.length - 1] == '}');
		read_alone(schema, options, &record);
		for (int i = 0; i < N_COLUMNS; i++)
		{
			const StediJsonCell *cell = &record.cells[i];

			stedi_bytes_append(events, &cell->type, sizeof(cell->type));
			stedi_bytes_append_char(events, (char) cell->has_nul);
			stedi_bytes_append(events, &cell->length, sizeof(cell->length));
			stedi_bytes_append(events, cell->text, cell->length);
			convert(cell);
		}
		stedi_bytes_append(events, record.rescued, record.rescued_length);
	}
	for (; done < length; done++)
		MUST(is_separator(input, length, done));
	stedi_json_reader_free(reader);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const names[] = {"a", "serial_number", "timestamp", "registration_date"};
	StediJsonSchema *schema = stedi_json_schema_new(N_COLUMNS);
	StediJsonReaderOptions options = {0};
	StediStatus status;
	StediBytes	whole;
	StediBytes	cut;
	uint8_t    *input;
	size_t		length;
	size_t		before;

	if (size < 2)
	{
		stedi_json_schema_free(schema);
		return 0;
	}
	MUST(schema != NULL);
	for (int i = 0; i < N_COLUMNS; i++)
		MUST(stedi_json_schema_add(schema, i, names[i], &status));
	options.want_rescued = (data[0] & 1) != 0;
	options.max_record_size = (data[0] & 2) != 0 ? 1 + (data[0] >> 2) : 0;


	/* a long record, so that the window ends up to 127 bytes into the input */
	before = data[1] < 0x80 ? 0 : WINDOW_SIZE + 0x80 - data[1];
	length = before + size - 2;
	input = malloc(length + 1);
	MUST(input != NULL);
	if (before > 0)
	{
		memset(input, 'x', before);
		memcpy(input, "{\"q\":\"", 6);
		memcpy(input + before - 2, "\"}", 2);
	}
	memcpy(input + before, data + 2, size - 2);

	stedi_bytes_init(&whole, 0);
	stedi_bytes_init(&cut, 0);
	read_all(schema, &options, input, length, length + 1, &whole);
	read_all(schema, &options, input, length, before / 4 + 1 + (data[0] >> 4), &cut);
	MUST(!whole.failed && whole.length == cut.length);
	MUST(whole.length == 0 || memcmp(whole.data, cut.data, whole.length) == 0);
	stedi_bytes_free(&whole);
	stedi_bytes_free(&cut);
	stedi_json_schema_free(schema);
	free(input);
	return 0;
}
