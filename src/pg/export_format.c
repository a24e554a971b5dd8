/*
 * export_format.c
 *		Rows as NDJSON or CSV text.
 *
 * What reads back with stedi.read_json() into the same columns: JSON has no NaN
 * and no infinity, so those are strings; timestamptz keeps its microseconds as a
 * fraction of the millisecond.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "common/shortest_dec.h"
#include "fmgr.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/fmgroids.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "core/json_scan.h"

#include "pg/export_format.h"

#define US_PER_MS 1000
#define MAX_FIXED_WIDTH 48		/* the longest: a time stamp in ISO 8601, quoted */

typedef enum FormatKind
{
	FORMAT_INT2,
	FORMAT_INT4,
	FORMAT_INT8,
	FORMAT_FLOAT8,
	FORMAT_BOOL,
	FORMAT_UUID,
	FORMAT_EPOCH_MS,
	FORMAT_ISO8601,
	FORMAT_LAST_FIXED = FORMAT_ISO8601, /* up to here no longer than MAX_FIXED_WIDTH */
	FORMAT_TEXT,				/* text and its like: as stored */
	FORMAT_JSON,				/* the output function writes JSON */
	FORMAT_TO_JSON,				/* to_json() does */
	FORMAT_OUTPUT				/* the output function writes text */
} FormatKind;

typedef struct FormatColumn
{
	const char *name;			/* as in the files; NULL: dropped */
	const char *prefix;			/* NDJSON: {"name": or ,"name":; CSV: a comma or nothing */
	int			prefix_length;
	FormatKind	kind;
	FmgrInfo	output;
} FormatColumn;

struct StediFormatter
{
	StediFormat format;
	int			n_columns;
	FormatColumn *columns;
	int			fixed_width;	/* a row has no more but for its FORMAT_TEXT and beyond */
};

static void init_column(FormatColumn *column, Form_pg_attribute attribute, bool camel, bool epoch_ms);
static char *camel_case(const char *name);
static char *put_fixed(FormatKind kind, Datum value, bool json, char *p);
static char *put_float(double value, bool json, char *p);
static char *put_uuid(const pg_uuid_t *value, bool json, char *p);
static char *put_epoch_ms(TimestampTz value, bool json, char *p);
static char *put_word(const char *word, bool quoted, char *p);
static void put_variable(StediFormatter *formatter, FormatColumn *column, Datum value, StringInfo out);
static void append_json_string(StringInfo out, const char *text, int length);
static void append_json(StringInfo out, char *json);
static void append_csv_field(StringInfo out, const char *text, int length);

StediFormatter *
stedi_formatter_create(TupleDesc desc, StediFormat format, bool camel, bool epoch_ms)
{
	StediFormatter *formatter = palloc0(sizeof(StediFormatter));
	bool		first = true;

	formatter->format = format;
	formatter->n_columns = desc->natts;
	formatter->columns = palloc0(sizeof(FormatColumn) * Max(desc->natts, 1));

	for (int i = 0; i < desc->natts; i++)
	{
		FormatColumn *column = &formatter->columns[i];
		StringInfoData prefix;

		if (TupleDescAttr(desc, i)->attisdropped)
			continue;
		init_column(column, TupleDescAttr(desc, i), camel, epoch_ms);
		for (int j = 0; j < i; j++)
		{
			if (formatter->columns[j].name != NULL && strcmp(formatter->columns[j].name, column->name) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_DUPLICATE_COLUMN),
						 errmsg("two columns would be written as \"%s\"", column->name),
						 errhint("Rename one of them, or use keys => 'column'.")));
		}

		initStringInfo(&prefix);
		if (format == STEDI_FORMAT_NDJSON)
		{
			appendStringInfoChar(&prefix, first ? '{' : ',');
			escape_json(&prefix, column->name);
			appendStringInfoChar(&prefix, ':');
		}
		else if (!first)
			appendStringInfoChar(&prefix, ',');
		column->prefix = prefix.data;
		column->prefix_length = prefix.len;
		formatter->fixed_width += prefix.len + MAX_FIXED_WIDTH;
		first = false;
	}
	formatter->fixed_width += sizeof("{}\n");
	return formatter;
}

static void
init_column(FormatColumn *column, Form_pg_attribute attribute, bool camel, bool epoch_ms)
{
	Oid			type = getBaseType(attribute->atttypid);
	Oid			output;
	bool		is_varlena;
	char		category;
	bool		preferred;

	column->name = camel ? camel_case(NameStr(attribute->attname)) : pstrdup(NameStr(attribute->attname));
	getTypeOutputInfo(attribute->atttypid, &output, &is_varlena);
	fmgr_info(output, &column->output);
	column->kind = FORMAT_OUTPUT;

	switch (type)
	{
		case INT2OID:
			column->kind = FORMAT_INT2;
			return;
		case INT4OID:
			column->kind = FORMAT_INT4;
			return;
		case INT8OID:
			column->kind = FORMAT_INT8;
			return;
		case FLOAT8OID:
			column->kind = FORMAT_FLOAT8;
			return;
		case BOOLOID:
			column->kind = FORMAT_BOOL;
			return;
		case UUIDOID:
			column->kind = FORMAT_UUID;
			return;
		case TIMESTAMPTZOID:
			column->kind = epoch_ms ? FORMAT_EPOCH_MS : FORMAT_ISO8601;
			return;
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
			column->kind = FORMAT_TEXT;
			return;
		case JSONOID:
		case JSONBOID:
			column->kind = FORMAT_JSON;
			return;
	}

	/* Numbers, arrays and rows as PostgreSQL's own to_json() writes them. */
	get_type_category_preferred(type, &category, &preferred);
	if (type_is_rowtype(type) || category == TYPCATEGORY_ARRAY || type == NUMERICOID || type == FLOAT4OID)
	{
		fmgr_info(F_TO_JSON, &column->output);
		fmgr_info_set_expr((Node *) makeFuncExpr(F_TO_JSON, JSONOID,
												 list_make1(makeNullConst(attribute->atttypid, -1,
																		  attribute->attcollation)),
												 InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL),
						   &column->output);
		column->kind = FORMAT_TO_JSON;
	}
}

static char *
camel_case(const char *name)
{
	char	   *result = palloc(strlen(name) + 1);
	char	   *to = result;

	for (const char *from = name; *from; from++)
	{
		if (*from == '_' && to != result && from[1] >= 'a' && from[1] <= 'z')
			*to++ = pg_ascii_toupper((unsigned char) *++from);
		else
			*to++ = *from;
	}
	*to = '\0';
	return result;
}

const char *
stedi_formatter_name(const StediFormatter *formatter, int column)
{
	return formatter->columns[column].name;
}

void
stedi_format_header(StediFormatter *formatter, StringInfo out)
{
	if (formatter->format != STEDI_FORMAT_CSV)
		return;
	for (int i = 0; i < formatter->n_columns; i++)
	{
		const FormatColumn *column = &formatter->columns[i];

		if (column->name == NULL)
			continue;
		appendBinaryStringInfo(out, column->prefix, column->prefix_length);
		append_csv_field(out, column->name, strlen(column->name));
	}
	appendStringInfoChar(out, '\n');
}

void
stedi_format_row(StediFormatter *formatter, TupleTableSlot *slot, StringInfo out)
{
	bool		json = formatter->format == STEDI_FORMAT_NDJSON;
	bool		empty = true;
	char	   *p;

	slot_getallattrs(slot);
	/* From here to the next column of variable width there is room. */
	enlargeStringInfo(out, formatter->fixed_width);
	p = out->data + out->len;
	for (int i = 0; i < formatter->n_columns; i++)
	{
		FormatColumn *column = &formatter->columns[i];

		if (column->name == NULL)
			continue;
		empty = false;
		memcpy(p, column->prefix, column->prefix_length);
		p += column->prefix_length;
		if (slot->tts_isnull[i])
		{
			if (json)
				p = put_word("null", false, p);
		}
		else if (column->kind <= FORMAT_LAST_FIXED)
			p = put_fixed(column->kind, slot->tts_values[i], json, p);
		else
		{
			out->len = p - out->data;
			put_variable(formatter, column, slot->tts_values[i], out);
			enlargeStringInfo(out, formatter->fixed_width);
			p = out->data + out->len;
		}
	}
	if (json)
		p = put_word(empty ? "{}" : "}", false, p);
	*p++ = '\n';
	*p = '\0';
	out->len = p - out->data;
}

/* In NDJSON a line feed ends a row, in CSV one that is not in quotes. */
size_t
stedi_format_row_length(const StediFormatter *formatter, const char *text, size_t length)
{
	bool		quoted = false;
	size_t		i;

	if (formatter->format == STEDI_FORMAT_NDJSON)
		return (const char *) memchr(text, '\n', length) + 1 - text;
	for (i = 0; text[i] != '\n' || quoted; i++)
		quoted ^= text[i] == '"';
	return i + 1;
}

/* Writes at p, at most MAX_FIXED_WIDTH bytes, and returns the end. */
static char *
put_fixed(FormatKind kind, Datum value, bool json, char *p)
{
	char		text[MAXDATELEN + 1];

	switch (kind)
	{
		case FORMAT_INT2:
			return p + pg_itoa(DatumGetInt16(value), p);
		case FORMAT_INT4:
			return p + pg_ltoa(DatumGetInt32(value), p);
		case FORMAT_INT8:
			return p + pg_lltoa(DatumGetInt64(value), p);
		case FORMAT_FLOAT8:
			return put_float(DatumGetFloat8(value), json, p);
		case FORMAT_BOOL:
			return put_word(DatumGetBool(value) ? "true" : "false", false, p);
		case FORMAT_UUID:
			return put_uuid(DatumGetUUIDP(value), json, p);
		case FORMAT_EPOCH_MS:
			return put_epoch_ms(DatumGetTimestampTz(value), json, p);
		default:
			JsonEncodeDateTime(text, value, TIMESTAMPTZOID, NULL);
			return put_word(text, json, p);
	}
}

/*
 * The shortest text that reads back as the same number.  For small integers,
 * which accelerometers send, that is known without looking for it; minus zero is
 * none of them.
 */
static char *
put_float(double value, bool json, char *p)
{
	if (value >= -1e6 && value <= 1e6 && value == (double) (int32) value &&
		(value != 0 || !signbit(value)))
		return p + pg_ltoa((int32) value, p);
	if (isfinite(value))
		return p + double_to_shortest_decimal_buf(value, p);
	/* no JSON, so a string */
	return put_word(isnan(value) ? "NaN" : value < 0 ? "-Infinity" : "Infinity", json, p);
}

static char *
put_uuid(const pg_uuid_t *value, bool json, char *p)
{
	static const char digits[] = "0123456789abcdef";

	if (json)
		*p++ = '"';
	for (int i = 0; i < UUID_LEN; i++)
	{
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*p++ = '-';
		*p++ = digits[value->data[i] >> 4];
		*p++ = digits[value->data[i] & 0x0F];
	}
	if (json)
		*p++ = '"';
	return p;
}

static char *
put_epoch_ms(TimestampTz value, bool json, char *p)
{
	int64		micros;

	if (TIMESTAMP_NOT_FINITE(value))
		return put_word(TIMESTAMP_IS_NOBEGIN(value) ? "-infinity" : "infinity", json, p);

	micros = value + (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
	if (micros < 0)
	{
		*p++ = '-';
		micros = -micros;
	}
	p += pg_lltoa(micros / US_PER_MS, p);
	if (micros % US_PER_MS != 0)
		p += sprintf(p, ".%03d", (int) (micros % US_PER_MS));
	return p;
}

static char *
put_word(const char *word, bool quoted, char *p)
{
	size_t		length = strlen(word);

	if (quoted)
		*p++ = '"';
	memcpy(p, word, length);
	p += length;
	if (quoted)
		*p++ = '"';
	return p;
}

static void
put_variable(StediFormatter *formatter, FormatColumn *column, Datum value, StringInfo out)
{
	bool		json = formatter->format == STEDI_FORMAT_NDJSON;
	const char *text;
	int			length;

	if (column->kind == FORMAT_TEXT || column->kind == FORMAT_TO_JSON)
	{
		struct varlena *stored = PG_DETOAST_DATUM_PACKED(column->kind == FORMAT_TEXT ? value :
														 FunctionCall1(&column->output, value));

		text = VARDATA_ANY(stored);
		length = VARSIZE_ANY_EXHDR(stored);
	}
	else
	{
		text = OutputFunctionCall(&column->output, value);
		length = strlen(text);
	}

	if (!json)
		append_csv_field(out, text, length);
	else if (column->kind == FORMAT_TEXT || column->kind == FORMAT_OUTPUT)
		append_json_string(out, text, length);
	else
		append_json(out, pnstrdup(text, length));
}

/* Copied with its quotes, unless the scanner then finds something to escape. */
static void
append_json_string(StringInfo out, const char *text, int length)
{
	char	   *start;
	const char *stop;

	enlargeStringInfo(out, length + 2 + STEDI_JSON_PADDING);
	start = out->data + out->len;
	start[0] = '"';
	memcpy(start + 1, text, length);
	start[length + 1] = '"';
	for (stop = start + 1;; stop++)
	{
		stop = stedi_json_scan_plain(stop);
		if ((unsigned char) *stop < 0x80)
			break;
	}
	if (stop == start + length + 1)
		out->len += length + 2;
	else
		escape_json(out, pnstrdup(text, length));
	out->data[out->len] = '\0';
}

/* Line feeds between the tokens of a json value would break NDJSON. */
static void
append_json(StringInfo out, char *json)
{
	for (char *p = json; *p; p++)
	{
		if (*p == '\n' || *p == '\r')
			*p = ' ';
	}
	appendStringInfoString(out, json);
}

/* Quoted where RFC 4180 wants it, when empty, to tell it from NULL, and when COPY
 * would take it for the end of the data. */
static void
append_csv_field(StringInfo out, const char *text, int length)
{
	bool		plain = length > 0 && text[0] != ' ' && text[length - 1] != ' ' &&
		!(length == 2 && memcmp(text, "\\.", 2) == 0);

	for (int i = 0; plain && i < length; i++)
		plain = text[i] != ',' && text[i] != '"' && text[i] != '\r' && text[i] != '\n';
	if (plain)
	{
		appendBinaryStringInfo(out, text, length);
		return;
	}
	appendStringInfoChar(out, '"');
	for (int i = 0; i < length; i++)
	{
		if (text[i] == '"')
			appendStringInfoChar(out, '"');
		appendStringInfoChar(out, text[i]);
	}
	appendStringInfoChar(out, '"');
}
