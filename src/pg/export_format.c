/*
 * export_format.c
 *		Rows as NDJSON or CSV text.
 *
 * What reads back with stedi.read_json() into the same columns: JSON has no NaN
 * and no infinity, so those are strings; timestamptz keeps its microseconds as a
 * fraction of the millisecond.
 */
#include "postgres.h"

#include <ctype.h>
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

#include "pg/export_format.h"

#define US_PER_MS 1000

typedef struct FormatColumn FormatColumn;
typedef void (*FormatValue) (FormatColumn *column, Datum value, StringInfo out);

struct FormatColumn
{
	const char *name;			/* as in the files; NULL: dropped */
	const char *prefix;			/* NDJSON: {"name": or ,"name": */
	FormatValue format;
	bool		bare;			/* needs no quotes in JSON */
	FmgrInfo	output;
};

struct StediFormatter
{
	StediFormat format;
	int			n_columns;
	FormatColumn *columns;
	StringInfoData scratch;
};

static void init_column(FormatColumn *column, Form_pg_attribute attribute, bool camel, bool epoch_ms);
static char *camel_case(const char *name);
static void format_int(FormatColumn *column, Datum value, StringInfo out);
static void format_bigint(FormatColumn *column, Datum value, StringInfo out);
static void format_smallint(FormatColumn *column, Datum value, StringInfo out);
static void format_float(FormatColumn *column, Datum value, StringInfo out);
static void format_bool(FormatColumn *column, Datum value, StringInfo out);
static void format_epoch_ms(FormatColumn *column, Datum value, StringInfo out);
static void format_iso(FormatColumn *column, Datum value, StringInfo out);
static void format_to_json(FormatColumn *column, Datum value, StringInfo out);
static void append_json(StringInfo out, char *json);
static void format_output(FormatColumn *column, Datum value, StringInfo out);
static void put_json(StediFormatter *formatter, FormatColumn *column, Datum value, StringInfo out);
static void put_csv(StediFormatter *formatter, FormatColumn *column, Datum value, StringInfo out);
static void append_csv_field(StringInfo out, const char *text, int length);

StediFormatter *
stedi_formatter_create(TupleDesc desc, StediFormat format, bool camel, bool epoch_ms)
{
	StediFormatter *formatter = palloc0(sizeof(StediFormatter));
	bool		first = true;

	formatter->format = format;
	formatter->n_columns = desc->natts;
	formatter->columns = palloc0(sizeof(FormatColumn) * Max(desc->natts, 1));
	initStringInfo(&formatter->scratch);

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
		appendStringInfoChar(&prefix, first ? '{' : ',');
		escape_json(&prefix, column->name);
		appendStringInfoChar(&prefix, ':');
		column->prefix = prefix.data;
		first = false;
	}
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
	column->format = format_output;

	switch (type)
	{
		case INT2OID:
			column->format = format_smallint;
			column->bare = true;
			return;
		case INT4OID:
			column->format = format_int;
			column->bare = true;
			return;
		case INT8OID:
			column->format = format_bigint;
			column->bare = true;
			return;
		case FLOAT8OID:
			column->format = format_float;
			column->bare = true;	/* unless NaN or infinite */
			return;
		case BOOLOID:
			column->format = format_bool;
			column->bare = true;
			return;
		case TIMESTAMPTZOID:
			column->format = epoch_ms ? format_epoch_ms : format_iso;
			column->bare = epoch_ms;	/* unless infinite */
			return;
		case JSONOID:
		case JSONBOID:
			column->bare = true;
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
		column->format = format_to_json;
		column->bare = true;
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
	bool		first = true;

	if (formatter->format != STEDI_FORMAT_CSV)
		return;
	for (int i = 0; i < formatter->n_columns; i++)
	{
		const char *name = formatter->columns[i].name;

		if (name == NULL)
			continue;
		if (!first)
			appendStringInfoChar(out, ',');
		append_csv_field(out, name, strlen(name));
		first = false;
	}
	appendStringInfoChar(out, '\n');
}

void
stedi_format_row(StediFormatter *formatter, TupleTableSlot *slot, StringInfo out)
{
	bool		csv = formatter->format == STEDI_FORMAT_CSV;
	bool		first = true;

	slot_getallattrs(slot);
	for (int i = 0; i < formatter->n_columns; i++)
	{
		FormatColumn *column = &formatter->columns[i];

		if (column->name == NULL)
			continue;
		if (csv && !first)
			appendStringInfoChar(out, ',');
		if (!csv)
			appendStringInfoString(out, column->prefix);
		if (!slot->tts_isnull[i])
		{
			if (csv)
				put_csv(formatter, column, slot->tts_values[i], out);
			else
				put_json(formatter, column, slot->tts_values[i], out);
		}
		else if (!csv)
			appendBinaryStringInfo(out, "null", 4);
		first = false;
	}
	if (csv)
		appendStringInfoChar(out, '\n');
	else
		appendStringInfoString(out, first ? "{}\n" : "}\n");
}

static void
put_json(StediFormatter *formatter, FormatColumn *column, Datum value, StringInfo out)
{
	int			start = out->len;

	if (!column->bare)
	{
		resetStringInfo(&formatter->scratch);
		column->format(column, value, &formatter->scratch);
		escape_json(out, formatter->scratch.data);
		return;
	}

	column->format(column, value, out);
	/* NaN, Infinity, -Infinity and infinity are no JSON. */
	if ((column->format == format_float || column->format == format_epoch_ms) &&
		isalpha((unsigned char) out->data[out->len - 1]))
	{
		char	   *word = pstrdup(out->data + start);

		out->len = start;
		appendStringInfo(out, "\"%s\"", word);
	}
}

static void
put_csv(StediFormatter *formatter, FormatColumn *column, Datum value, StringInfo out)
{
	resetStringInfo(&formatter->scratch);
	column->format(column, value, &formatter->scratch);
	append_csv_field(out, formatter->scratch.data, formatter->scratch.len);
}

/* Quoted where RFC 4180 wants it, and when empty, to tell it from NULL. */
static void
append_csv_field(StringInfo out, const char *text, int length)
{
	if (length > 0 && strcspn(text, ",\"\r\n") == (size_t) length &&
		text[0] != ' ' && text[length - 1] != ' ')
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

static void
format_smallint(FormatColumn *column, Datum value, StringInfo out)
{
	enlargeStringInfo(out, 8);
	out->len += pg_itoa(DatumGetInt16(value), out->data + out->len);
}

static void
format_int(FormatColumn *column, Datum value, StringInfo out)
{
	enlargeStringInfo(out, 12);
	out->len += pg_ltoa(DatumGetInt32(value), out->data + out->len);
}

static void
format_bigint(FormatColumn *column, Datum value, StringInfo out)
{
	enlargeStringInfo(out, MAXINT8LEN + 1);
	out->len += pg_lltoa(DatumGetInt64(value), out->data + out->len);
}

/* The shortest text that reads back as the same number. */
static void
format_float(FormatColumn *column, Datum value, StringInfo out)
{
	enlargeStringInfo(out, DOUBLE_SHORTEST_DECIMAL_LEN);
	out->len += double_to_shortest_decimal_buf(DatumGetFloat8(value), out->data + out->len);
}

static void
format_bool(FormatColumn *column, Datum value, StringInfo out)
{
	appendStringInfoString(out, DatumGetBool(value) ? "true" : "false");
}

static void
format_epoch_ms(FormatColumn *column, Datum value, StringInfo out)
{
	TimestampTz timestamp = DatumGetTimestampTz(value);
	int64		micros;

	if (TIMESTAMP_NOT_FINITE(timestamp))
	{
		appendStringInfoString(out, TIMESTAMP_IS_NOBEGIN(timestamp) ? "-infinity" : "infinity");
		return;
	}

	micros = timestamp + (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
	if (micros < 0)
	{
		appendStringInfoChar(out, '-');
		micros = -micros;
	}
	enlargeStringInfo(out, MAXINT8LEN + 1);
	out->len += pg_lltoa(micros / US_PER_MS, out->data + out->len);
	if (micros % US_PER_MS != 0)
		appendStringInfo(out, ".%03d", (int) (micros % US_PER_MS));
}

static void
format_iso(FormatColumn *column, Datum value, StringInfo out)
{
	char		text[MAXDATELEN + 1];

	JsonEncodeDateTime(text, value, TIMESTAMPTZOID, NULL);
	appendStringInfoString(out, text);
}

static void
format_to_json(FormatColumn *column, Datum value, StringInfo out)
{
	append_json(out, text_to_cstring(DatumGetTextPP(FunctionCall1(&column->output, value))));
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

/* Also json and jsonb. */
static void
format_output(FormatColumn *column, Datum value, StringInfo out)
{
	char	   *text = OutputFunctionCall(&column->output, value);

	if (column->bare)
		append_json(out, text);
	else
		appendStringInfoString(out, text);
}
