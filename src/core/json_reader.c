/*
 * json_reader.c
 *		Strict, streaming, schema-directed JSON reader.
 *
 * The window holds what has not been handed out yet:
 *
 *	 data          start                          end        capacity
 *	 | handed out  | record being read ...        | NUL pad  |
 *
 * Two layers: framing, which is what may stand between records, and recovery,
 * which skips a damaged region in bounded memory.  json_record.c is the third
 * and lowest: one record.
 *
 * A record that is incomplete is parsed again from its first byte, but only
 * once the bytes there have doubled, so the cost stays linear for any chunk
 * size.  Whether something is a record, and which fault it has, depends on the
 * bytes up to the one where that is noticed and on nothing after it; so events
 * don't depend on how the input is cut.
 */
#include <stdlib.h>

#include "core/bytes.h"
#include "core/json_internal.h"

#define DEFAULT_MAX_RECORD	((size_t) 16 * 1024 * 1024)
#define WINDOW_SIZE			((size_t) 256 * 1024)
#define WINDOW_ROOM			((size_t) 64 * 1024)	/* least that space() offers */

/* A position whose line number and indentation are known. */
typedef struct LineMark
{
	uint64_t	offset;
	uint64_t	newlines;		/* before offset */
	size_t		indent;			/* leading blanks of the line it is on, as far as offset */
	bool		indented;		/* indent is final: a byte that is not blank came */
} LineMark;

/* The damaged region being skipped. */
typedef struct Region
{
	bool		active;
	StediJsonFault fault;
	const char *message;
	uint64_t	fault_offset;
	uint64_t	offset;
	uint64_t	length;			/* up to the last byte that is not whitespace */
	uint64_t	line;			/* that it starts on */
	size_t		indent;			/* of that line */
	size_t		blanks;			/* leading blanks seen on the line now looked at */
	bool		mid_line;		/* that line can't be the one to resume at */
} Region;

struct StediJsonReader
{
	StediJsonParser parser;
	size_t		max_record_size;

	/* window */
	char	   *data;
	size_t		start;
	size_t		end;
	size_t		capacity;		/* without the padding */
	uint64_t	base;			/* offset of data[0] in the input */
	bool		finished;
	size_t		retry_size;		/* an incomplete record is parsed again from here on */

	/* framing */
	bool		begun;			/* past the BOM */
	bool		in_array;
	bool		unsure;			/* damage skipped since: brackets may be lost */
	bool		comma_allowed;
	bool		comma_pending;	/* in an array: seen, and no record after it yet */
	uint64_t	comma_offset;
	uint64_t	comma_line;		/* of the pending one; 0 = to be counted from mark */
	uint64_t	record_no;

	/* recovery */
	Region		region;
	StediBytes	kept;			/* first bytes of the region */

	/* lines */
	LineMark	mark;
	uint64_t	event_offset;	/* of the last record or reject */
	uint64_t	event_line;		/* 0 = to be counted from mark */
};

/* framing */
static StediJsonEvent read_record(StediJsonReader *reader, StediJsonRecord *record,
								  StediStatus *status);
static StediJsonEvent end_of_input(StediJsonReader *reader, StediJsonRecord *record,
								   StediStatus *status);
static bool skip_bom(StediJsonReader *reader);
static StediJsonEvent reject_stray(StediJsonReader *reader, const char *text,
								   uint64_t offset, const char *message,
								   StediJsonRecord *record, StediStatus *status);
static StediJsonEvent emit(StediJsonReader *reader, StediJsonEvent event, uint64_t line,
						   StediJsonRecord *record, StediStatus *status);
static void advance_mark(StediJsonReader *reader, uint64_t offset);
static void move_mark(StediJsonReader *reader, uint64_t offset);

/* recovery */
static StediJsonEvent skip_from(StediJsonReader *reader, StediJsonFault fault,
								const char *message, size_t noticed,
								StediJsonRecord *record, StediStatus *status);
static StediJsonEvent skip_on(StediJsonReader *reader, StediJsonRecord *record,
							  StediStatus *status);
static void skip_to(StediJsonReader *reader, size_t position);

static inline bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* ---------------------------------------------------------------- window */

StediJsonReader *
stedi_json_reader_new(const StediJsonSchema *schema, const StediJsonReaderOptions *options)
{
	StediJsonReader *reader = calloc(1, sizeof(StediJsonReader));

	if (reader == NULL)
		return NULL;
	reader->max_record_size = options->max_record_size;
	if (reader->max_record_size == 0)
		reader->max_record_size = DEFAULT_MAX_RECORD;
	if (reader->max_record_size > SIZE_MAX / 8)
		reader->max_record_size = SIZE_MAX / 8;
	reader->event_line = 1;
	stedi_bytes_init(&reader->kept, STEDI_JSON_REJECT_KEEP);
	reader->capacity = WINDOW_SIZE;
	reader->data = malloc(reader->capacity + STEDI_JSON_PADDING);
	if (!stedi_json_parser_init(&reader->parser, schema, options->want_rescued) ||
		reader->data == NULL)
	{
		stedi_json_reader_free(reader);
		return NULL;
	}
	memset(reader->data, 0, STEDI_JSON_PADDING);
	return reader;
}

void
stedi_json_reader_free(StediJsonReader *reader)
{
	if (reader == NULL)
		return;
	stedi_bytes_free(&reader->kept);
	stedi_json_parser_free(&reader->parser);
	free(reader->data);
	free(reader);
}

char *
stedi_json_reader_space(StediJsonReader *reader, size_t *available)
{
	if (reader->capacity - reader->end < WINDOW_ROOM)
	{
		size_t		pending = reader->end - reader->start;

		advance_mark(reader, reader->base + reader->start);
		memmove(reader->data, reader->data + reader->start, pending);
		reader->base += reader->start;
		reader->start = 0;
		reader->end = pending;

		if (reader->capacity - pending < WINDOW_ROOM)
		{
			/* next() takes records out before they reach the limit */
			size_t		capacity = reader->capacity * 2;
			char	   *data;

			if (capacity > reader->max_record_size + WINDOW_SIZE)
				capacity = reader->max_record_size + WINDOW_SIZE;
			if (capacity < pending + WINDOW_ROOM)
				capacity = pending + WINDOW_ROOM;
			data = realloc(reader->data, capacity + STEDI_JSON_PADDING);
			if (data != NULL)
			{
				reader->data = data;
				reader->capacity = capacity;
			}
		}
		memset(reader->data + reader->end, 0, STEDI_JSON_PADDING);
	}

	*available = reader->capacity - reader->end;
	return *available > 0 ? reader->data + reader->end : NULL;
}

void
stedi_json_reader_filled(StediJsonReader *reader, size_t length)
{
	reader->end += length;
	memset(reader->data + reader->end, 0, STEDI_JSON_PADDING);
}

void
stedi_json_reader_finish(StediJsonReader *reader)
{
	reader->finished = true;
}

/* --------------------------------------------------------------- framing */

StediJsonEvent
stedi_json_reader_next(StediJsonReader *reader, StediJsonRecord *record, StediStatus *status)
{
	if (!reader->begun && !skip_bom(reader))
		return STEDI_JSON_NEED_INPUT;
	if (reader->region.active)
		return skip_on(reader, record, status);

	for (;;)
	{
		const char *p = stedi_json_skip_space(reader->data + reader->start);
		uint64_t	offset;

		reader->start = (size_t) (p - reader->data);
		if (reader->start == reader->end)
			return end_of_input(reader, record, status);
		offset = reader->base + reader->start;

		switch (*p)
		{
			case '{':
				return read_record(reader, record, status);

			case ',':
				reader->start++;
				if (!reader->comma_allowed)
					return reject_stray(reader, ",", offset, "comma without a record before it",
										record, status);
				reader->comma_allowed = false;
				reader->comma_pending = reader->in_array;
				reader->comma_offset = offset;
				reader->comma_line = 0;
				break;

			case '[':
				if (reader->in_array && !reader->unsure)
					return skip_from(reader, STEDI_JSON_FAULT_NOT_OBJECT,
									 "array where a record should be", reader->start,
									 record, status);
				reader->start++;
				reader->in_array = true;
				reader->unsure = false;
				reader->comma_allowed = false;
				reader->comma_pending = false;
				break;

			case ']':
				if (reader->comma_pending)
					return reject_stray(reader, ",", reader->comma_offset,
										"comma without a record after it", record, status);
				reader->start++;
				if (!reader->in_array && !reader->unsure)
					return reject_stray(reader, "]", offset, "\"]\" without \"[\"",
										record, status);
				reader->in_array = false;
				reader->unsure = false;
				reader->comma_allowed = true;
				break;

			case '}':
				reader->start++;
				return reject_stray(reader, "}", offset, "\"}\" without \"{\"", record, status);

			case '"':
			case '-':
			case 't':
			case 'f':
			case 'n':
				return skip_from(reader, STEDI_JSON_FAULT_NOT_OBJECT,
								 "value that is not an object where a record should be",
								 reader->start, record, status);

			default:
				if (stedi_json_is_digit(*p))
					return skip_from(reader, STEDI_JSON_FAULT_NOT_OBJECT,
									 "value that is not an object where a record should be",
									 reader->start, record, status);
				return skip_from(reader, STEDI_JSON_FAULT_SYNTAX, "expected a record",
								 reader->start, record, status);
		}
	}
}

/* The window's first byte opens a record. */
static StediJsonEvent
read_record(StediJsonReader *reader, StediJsonRecord *record, StediStatus *status)
{
	StediJsonParser *parser = &reader->parser;
	const char *from = reader->data + reader->start;
	size_t		limit = reader->max_record_size;
	size_t		available = reader->end - reader->start;
	const char *to;
	size_t		noticed;

	if (available < reader->retry_size && !reader->finished)
		return STEDI_JSON_NEED_INPUT;

	if (available <= limit)
		to = stedi_json_parse_record(parser, from);
	else
	{
		/* let the parser see no more than a record may have */
		char	   *guard = reader->data + reader->start + limit;
		char		saved = *guard;

		*guard = '\0';
		to = stedi_json_parse_record(parser, from);
		*guard = saved;
	}

	if (parser->no_memory)
	{
		stedi_status_set(status, STEDI_NO_MEMORY, "out of memory");
		return STEDI_JSON_FAILED;
	}

	if (to != NULL)
	{
		record->byte_offset = reader->base + reader->start;
		record->byte_length = record->length = (size_t) (to - from);
		record->text = from;
		record->cells = parser->cells;
		record->rescued = parser->rescued.length > 0 ? parser->rescued.data : NULL;
		record->rescued_length = parser->rescued.length;
		record->fault = STEDI_JSON_FAULT_NONE;
		record->message = NULL;
		record->fault_offset = 0;
		reader->start += record->length;
		reader->comma_allowed = true;
		return emit(reader, STEDI_JSON_RECORD, 0, record, status);
	}

	noticed = (size_t) (parser->stop - from);
	if (noticed == limit && available > limit)
		return skip_from(reader, STEDI_JSON_FAULT_SIZE, "record is too large",
						 reader->start + limit, record, status);
	if (noticed < available)
		return skip_from(reader, parser->fault, parser->message,
						 reader->start + noticed, record, status);
	if (reader->finished)
		return skip_from(reader, STEDI_JSON_FAULT_TRUNCATED, "input ends inside a record",
						 reader->end, record, status);

	reader->retry_size = available < limit / 2 ? available * 2 : limit + 1;
	return STEDI_JSON_NEED_INPUT;
}

static StediJsonEvent
end_of_input(StediJsonReader *reader, StediJsonRecord *record, StediStatus *status)
{
	if (!reader->finished)
		return STEDI_JSON_NEED_INPUT;
	if (!reader->in_array || reader->unsure)
		return STEDI_JSON_END;

	reader->in_array = false;
	memset(record, 0, sizeof(*record));
	record->byte_offset = reader->base + reader->end;
	record->text = "";
	record->fault = STEDI_JSON_FAULT_TRUNCATED;
	record->message = "top-level array is not closed";
	record->fault_offset = record->byte_offset;
	return emit(reader, STEDI_JSON_REJECT, 0, record, status);
}

/* False while it can't be told yet whether there is one. */
static bool
skip_bom(StediJsonReader *reader)
{
	static const char bom[] = "\xEF\xBB\xBF";
	size_t		length = reader->end < 3 ? reader->end : 3;

	if (memcmp(reader->data, bom, length) == 0)
	{
		if (length < 3 && !reader->finished)
			return false;
		if (length == 3)
		{
			/* it is not part of the first line's indentation */
			reader->start = 3;
			reader->mark.offset = 3;
		}
	}
	reader->begun = true;
	return true;
}

/*
 * One byte that is damage all by itself; what follows it is read on.  text is
 * that byte again, as a pending comma may have left the window.
 */
static StediJsonEvent
reject_stray(StediJsonReader *reader, const char *text, uint64_t offset,
			 const char *message, StediJsonRecord *record, StediStatus *status)
{
	memset(record, 0, sizeof(*record));
	record->byte_offset = offset;
	record->byte_length = record->length = 1;
	record->text = text;
	record->fault = STEDI_JSON_FAULT_SYNTAX;
	record->message = message;
	record->fault_offset = offset;
	return emit(reader, STEDI_JSON_REJECT,
				offset == reader->comma_offset ? reader->comma_line : 0, record, status);
}

/*
 * Number an event.  line: where known, else 0.  A pending comma now has something
 * after it: of two stray bytes in a row the second is the reject.
 */
static StediJsonEvent
emit(StediJsonReader *reader, StediJsonEvent event, uint64_t line,
	 StediJsonRecord *record, StediStatus *status)
{
	if (reader->record_no == STEDI_JSON_MAX_RECORDS)
	{
		stedi_status_set(status, STEDI_LIMIT, "more than %llu records in one object",
						 (unsigned long long) STEDI_JSON_MAX_RECORDS);
		return STEDI_JSON_FAILED;
	}
	record->record_no = (uint32_t) ++reader->record_no;
	reader->event_offset = record->byte_offset;
	reader->event_line = line;
	reader->comma_pending = false;
	reader->retry_size = 0;
	return event;
}

uint64_t
stedi_json_reader_line(const StediJsonReader *reader)
{
	if (reader->event_line > 0)
		return reader->event_line;
	return reader->mark.newlines + 1 +
		stedi_count_newlines(reader->data + (reader->mark.offset - reader->base),
							 (size_t) (reader->event_offset - reader->mark.offset));
}

/*
 * Move the mark forward, to a byte in the window, and on the way note the lines
 * that may still be asked for.
 */
static void
advance_mark(StediJsonReader *reader, uint64_t offset)
{
	if (reader->event_line == 0 && reader->event_offset < offset)
	{
		move_mark(reader, reader->event_offset);
		reader->event_line = reader->mark.newlines + 1;
	}
	if (reader->comma_pending && reader->comma_line == 0)
	{
		move_mark(reader, reader->comma_offset);
		reader->comma_line = reader->mark.newlines + 1;
	}
	move_mark(reader, offset);
}

static void
move_mark(StediJsonReader *reader, uint64_t offset)
{
	LineMark   *mark = &reader->mark;
	const char *p = reader->data + (mark->offset - reader->base);
	size_t		length = (size_t) (offset - mark->offset);
	const char *to = p + length;
	const char *newline = memrchr(p, '\n', length);

	mark->offset = offset;
	if (newline != NULL)
	{
		mark->newlines += stedi_count_newlines(p, length);
		mark->indent = 0;
		mark->indented = false;
		p = newline + 1;
	}
	for (; p < to && !mark->indented; p++)
	{
		if (is_blank(*p))
			mark->indent++;
		else
			mark->indented = true;
	}
}

/* -------------------------------------------------------------- recovery */

/*
 * The window's first byte is the first of a damaged region; the damage was
 * noticed at the given position in the window.
 */
static StediJsonEvent
skip_from(StediJsonReader *reader, StediJsonFault fault, const char *message,
		  size_t noticed, StediJsonRecord *record, StediStatus *status)
{
	Region	   *region = &reader->region;
	const char *from = reader->data + reader->start;
	const char *newline = memrchr(from, '\n', noticed - reader->start);

	/* the one allocation, made before anything changes */
	stedi_bytes_reset(&reader->kept);
	if (!stedi_bytes_reserve(&reader->kept, STEDI_JSON_REJECT_KEEP))
	{
		stedi_status_set(status, STEDI_NO_MEMORY, "out of memory");
		return STEDI_JSON_FAILED;
	}

	region->active = true;
	region->fault = fault;
	region->message = message;
	region->offset = reader->base + reader->start;
	region->fault_offset = reader->base + noticed;
	region->length = 0;
	reader->comma_allowed = false;
	reader->unsure = true;
	advance_mark(reader, region->offset);
	region->line = reader->mark.newlines + 1;
	region->indent = reader->mark.indent;

	/* the line it was noticed on may itself be the one to resume at */
	region->mid_line = newline == NULL;
	region->blanks = 0;
	skip_to(reader, newline != NULL ? (size_t) (newline + 1 - reader->data) : noticed);
	return skip_on(reader, record, status);
}

/*
 * Look for the line to resume at: its first byte that is not blank opens a
 * record, at or after the fault, and it is not indented deeper than the line
 * the region starts on, which an object inside a damaged record would be.
 */
static StediJsonEvent
skip_on(StediJsonReader *reader, StediJsonRecord *record, StediStatus *status)
{
	Region	   *region = &reader->region;
	const char *end = reader->data + reader->end;
	const char *p = reader->data + reader->start;

	while (p < end)
	{
		if (region->mid_line)
		{
			const char *newline = memchr(p, '\n', (size_t) (end - p));

			p = newline != NULL ? newline + 1 : end;
			region->mid_line = newline == NULL;
			region->blanks = 0;
		}
		else if (is_blank(*p))
		{
			region->blanks++;
			p++;
		}
		else if (*p == '\n')
		{
			region->blanks = 0;
			p++;
		}
		else if (*p == '{' && region->blanks <= region->indent &&
				 reader->base + (size_t) (p - reader->data) >= region->fault_offset)
			break;
		else
			region->mid_line = true;
	}
	skip_to(reader, (size_t) (p - reader->data));
	if (p == end && !reader->finished)
		return STEDI_JSON_NEED_INPUT;

	region->active = false;
	memset(record, 0, sizeof(*record));
	record->byte_offset = region->offset;
	record->byte_length = region->length;
	record->text = reader->kept.data;
	record->length = region->length < STEDI_JSON_REJECT_KEEP ?
		(size_t) region->length : STEDI_JSON_REJECT_KEEP;
	record->fault = region->fault;
	record->message = region->message;
	record->fault_offset = region->fault_offset;
	return emit(reader, STEDI_JSON_REJECT, region->line, record, status);
}

/* The region goes on up to that position in the window. */
static void
skip_to(StediJsonReader *reader, size_t position)
{
	Region	   *region = &reader->region;
	size_t		room = STEDI_JSON_REJECT_KEEP - reader->kept.length;
	size_t		length = position - reader->start;
	size_t		solid = position;

	stedi_bytes_append(&reader->kept, reader->data + reader->start,
					   length < room ? length : room);
	while (solid > reader->start && stedi_json_is_space(reader->data[solid - 1]))
		solid--;
	if (solid > reader->start)
		region->length = reader->base + solid - region->offset;
	reader->start = position;
}
