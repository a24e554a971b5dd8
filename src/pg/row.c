/*
 * row.c
 *		From the cells of a JSON record to the columns of a row.
 *
 * The types that landing data is made of are converted here; every other type
 * goes through its input function, whose errors are caught, since a bad value
 * rejects one record and never a load.  Messages do not repeat the value: it is
 * personal data, and the bytes are kept with the reject.
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/int.h"
#include "executor/executor.h"
#include "fmgr.h"
#if PG_VERSION_NUM >= 160000
#include "nodes/miscnodes.h"
#endif
#include "rewrite/rewriteHandler.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "pg/error.h"
#include "pg/row.h"

#define MS_PER_S		1000
#define US_PER_MS		1000
#define UNIX_EPOCH_US	((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)

typedef struct StediColumn StediColumn;
typedef bool (*StediConvert) (StediColumn *column, const StediJsonCell *cell,
							  Datum *value, StediRowError *error);

struct StediColumn
{
	int			attribute;		/* 0-based */
	const char *name;
	const char *type_name;
	Oid			type;
	int32		typmod;
	bool		not_null;
	bool		is_domain;
	bool		is_constrained; /* a domain, or a type with a modifier */
	Oid			base_type;		/* of a domain; else type */
	StediConvert convert;
	FmgrInfo	input;
	Oid			input_param;
	ExprState  *default_expr;	/* for a missing key; NULL: none */
};

struct StediRowBuilder
{
	TupleDesc	desc;
	StediColumn *columns;		/* one per cell of the schema */
	int			n_columns;
	int			record_id;		/* attribute, or -1 */
	int			rescued;		/* attribute, or -1 */
	StediColumn rescued_column;
	StediJsonSchema *schema;
	ExprContext *econtext;
	MemoryContextCallback callback;
};

static void release_builder(void *arg);
static void init_column(StediColumn *column, Form_pg_attribute attribute, Relation rel,
						EState *estate);
static void add_aliases(StediRowBuilder *builder, const Jsonb *aliases);
static void add_name(StediRowBuilder *builder, int column, const char *name);
static bool null_value(StediColumn *column, StediRowError *error);
static bool convert_cell(StediColumn *column, const StediJsonCell *cell, Datum *value,
						 bool *isnull, StediRowError *error);
static bool convert_text(StediColumn *column, const StediJsonCell *cell, Datum *value, StediRowError *error);
static bool convert_int(StediColumn *column, const StediJsonCell *cell, Datum *value, StediRowError *error);
static bool convert_float8(StediColumn *column, const StediJsonCell *cell, Datum *value, StediRowError *error);
static bool convert_bool(StediColumn *column, const StediJsonCell *cell, Datum *value, StediRowError *error);
static bool convert_date(StediColumn *column, const StediJsonCell *cell, Datum *value, StediRowError *error);
static bool convert_timestamp(StediColumn *column, const StediJsonCell *cell, Datum *value, StediRowError *error);
static bool to_micros(const StediJsonCell *cell, int64 *micros);
static bool convert_json(StediColumn *column, const StediJsonCell *cell, Datum *value, StediRowError *error);
static bool convert_constrained(StediColumn *column, Datum base, Datum *value, StediRowError *error);
static bool convert_by_input(StediColumn *column, const StediJsonCell *cell, Datum *value, StediRowError *error);
static bool call_input(StediColumn *column, char *text, Datum *value, StediRowError *error);
static bool bad_value(StediColumn *column, int sqlstate, StediRowError *error);
static bool number_text(const StediJsonCell *cell, const char **text, size_t *length);

/*
 * Domains and types with a modifier go through the input function, which checks
 * them; where numbers mean something of their own, what they mean does.
 */
static const struct
{
	Oid			type;
	StediConvert convert;
	bool		number_to_text;	/* convert_constrained() knows it */
}			converters[] =
{
	{TEXTOID, convert_text, false},
	{INT2OID, convert_int, true},
	{INT4OID, convert_int, true},
	{INT8OID, convert_int, true},
	{FLOAT8OID, convert_float8, false},
	{BOOLOID, convert_bool, false},
	{DATEOID, convert_date, false},
	{TIMESTAMPOID, convert_timestamp, true},
	{TIMESTAMPTZOID, convert_timestamp, true},
	{JSONOID, convert_json, false},
	{JSONBOID, convert_json, false},
};

StediRowBuilder *
stedi_row_builder_create(TupleDesc desc, Relation rel, const Jsonb *aliases)
{
	StediRowBuilder *builder = palloc0(sizeof(StediRowBuilder));
	EState	   *estate = NULL;

	builder->desc = desc;
	builder->record_id = -1;
	builder->rescued = -1;
	builder->columns = palloc0(sizeof(StediColumn) * Max(desc->natts, 1));
	builder->callback.func = release_builder;
	builder->callback.arg = builder;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &builder->callback);

	if (rel != NULL)
	{
		estate = CreateExecutorState();
		builder->econtext = GetPerTupleExprContext(estate);
	}

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		if (attribute->attisdropped || attribute->attgenerated != '\0')
			continue;
		if (rel != NULL && strcmp(NameStr(attribute->attname), "record_id") == 0 &&
			attribute->atttypid == INT8OID)
			builder->record_id = i;
		else if (strcmp(NameStr(attribute->attname), "rescued") == 0 &&
				 attribute->atttypid == JSONBOID)
		{
			builder->rescued = i;
			init_column(&builder->rescued_column, attribute, rel, estate);
		}
		else
			init_column(&builder->columns[builder->n_columns++], attribute, rel, estate);
	}

	builder->schema = stedi_json_schema_new(builder->n_columns);
	if (builder->schema == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	for (int i = 0; i < builder->n_columns; i++)
		add_name(builder, i, builder->columns[i].name);
	if (aliases != NULL)
		add_aliases(builder, aliases);
	return builder;
}

static void
release_builder(void *arg)
{
	StediRowBuilder *builder = arg;

	stedi_json_schema_free(builder->schema);
	builder->schema = NULL;
}

static void
init_column(StediColumn *column, Form_pg_attribute attribute, Relation rel, EState *estate)
{
	Oid			input;

	column->attribute = attribute->attnum - 1;
	column->name = pstrdup(NameStr(attribute->attname));
	column->type = attribute->atttypid;
	column->typmod = attribute->atttypmod;
	column->type_name = format_type_be(attribute->atttypid);
	column->not_null = rel != NULL && attribute->attnotnull;
	column->is_domain = get_typtype(attribute->atttypid) == TYPTYPE_DOMAIN;
	column->is_constrained = column->is_domain || column->typmod >= 0;
	column->base_type = getBaseType(column->type);
	column->convert = convert_by_input;
	for (int i = 0; i < (int) lengthof(converters); i++)
	{
		if (converters[i].type == column->base_type &&
			(!column->is_constrained || converters[i].number_to_text))
			column->convert = converters[i].convert;
	}
	getTypeInputInfo(column->type, &input, &column->input_param);
	fmgr_info(input, &column->input);

	if (rel != NULL)
	{
		Expr	   *expr = (Expr *) build_column_default(rel, attribute->attnum);

		if (expr != NULL)
			column->default_expr = ExecPrepareExpr(expr, estate);
	}
}

static void
add_aliases(StediRowBuilder *builder, const Jsonb *aliases)
{
	JsonbIterator *iterator = JsonbIteratorInit(unconstify(JsonbContainer *, &aliases->root));
	JsonbIteratorToken token;
	JsonbValue	item;
	char	   *key = NULL;

	if (!JB_ROOT_IS_OBJECT(aliases))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("aliases must be a JSON object"),
				 errhint("For example: {\"user\": \"email\"}, JSON key to column.")));

	while ((token = JsonbIteratorNext(&iterator, &item, true)) != WJB_DONE)
	{
		int			column;
		char	   *name;

		if (token == WJB_KEY)
			key = pnstrdup(item.val.string.val, item.val.string.len);
		if (token != WJB_VALUE)
			continue;

		name = item.type == jbvString ? pnstrdup(item.val.string.val, item.val.string.len) : NULL;
		for (column = 0; name != NULL && column < builder->n_columns; column++)
		{
			if (strcmp(builder->columns[column].name, name) == 0)
				break;
		}
		if (name == NULL || column == builder->n_columns)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("alias \"%s\" does not name a column that can be loaded", key),
					 errhint("An alias is {\"key\": \"column\"}; record_id, rescued and generated columns take no key.")));
		add_name(builder, column, key);
	}
}

static void
add_name(StediRowBuilder *builder, int column, const char *name)
{
	StediStatus status = {0};

	if (stedi_json_schema_add(builder->schema, column, name, &status))
		return;
	if (status.code == STEDI_BAD_ARGUMENT)
		ereport(ERROR,
				(errcode(ERRCODE_AMBIGUOUS_COLUMN),
				 errmsg("JSON key \"%s\" could mean more than one column", name),
				 errdetail("Keys are compared without regard to case and underscores.")));
	stedi_report(&status);
}

const StediJsonSchema *
stedi_row_builder_schema(const StediRowBuilder *builder)
{
	return builder->schema;
}

int
stedi_row_builder_rescued(const StediRowBuilder *builder)
{
	return builder->rescued;
}

int
stedi_row_builder_record_id(const StediRowBuilder *builder)
{
	return builder->record_id;
}

bool
stedi_row_build(StediRowBuilder *builder, const StediJsonRecord *record,
				Datum *values, bool *nulls, StediRowError *error)
{
	memset(nulls, true, sizeof(bool) * builder->desc->natts);

	for (int i = 0; i < builder->n_columns; i++)
	{
		StediColumn *column = &builder->columns[i];
		const StediJsonCell *cell = &record->cells[i];
		Datum	   *value = &values[column->attribute];
		bool	   *isnull = &nulls[column->attribute];

		if (cell->type == STEDI_JSON_MISSING && column->default_expr != NULL)
			*value = ExecEvalExpr(column->default_expr, builder->econtext, isnull);
		else if (!convert_cell(column, cell, value, isnull, error))
		{
			error->column = column->name;
			return false;
		}

		if (*isnull && column->not_null)
			return null_value(column, error);
	}

	if (builder->rescued >= 0 && record->rescued == NULL)
	{
		StediColumn *column = &builder->rescued_column;

		if (column->default_expr != NULL)
			values[builder->rescued] = ExecEvalExpr(column->default_expr, builder->econtext,
													&nulls[builder->rescued]);
		if (nulls[builder->rescued] && column->not_null)
			return null_value(column, error);
	}
	else if (builder->rescued >= 0)
	{
		StediJsonCell cell = {STEDI_JSON_OBJECT, false, false, record->rescued, record->rescued_length, 0};

		nulls[builder->rescued] = false;
		if (!convert_json(&builder->rescued_column, &cell, &values[builder->rescued], error))
		{
			error->column = builder->rescued_column.name;
			return false;
		}
	}
	return true;
}

static bool
null_value(StediColumn *column, StediRowError *error)
{
	error->sqlstate = ERRCODE_NOT_NULL_VIOLATION;
	error->message = "null value in a column that is NOT NULL";
	error->column = column->name;
	return false;
}

static bool
convert_cell(StediColumn *column, const StediJsonCell *cell, Datum *value, bool *isnull,
			 StediRowError *error)
{
	if (cell->type == STEDI_JSON_MISSING || cell->type == STEDI_JSON_NULL)
	{
		*isnull = true;
		/* A domain may refuse NULL. */
		return !column->is_domain || call_input(column, NULL, value, error);
	}

	*isnull = false;
	if (cell->has_nul)
	{
		error->sqlstate = ERRCODE_UNTRANSLATABLE_CHARACTER;
		error->message = "\\u0000 cannot be stored";
		return false;
	}
	if (!column->convert(column, cell, value, error))
		return false;
	return !column->is_constrained || column->convert == convert_by_input ||
		convert_constrained(column, *value, value, error);
}

/* A value of the base type as text, so that the input function sees it. */
static bool
convert_constrained(StediColumn *column, Datum base, Datum *value, StediRowError *error)
{
	char		text[MAXDATELEN + 1];

	switch (column->base_type)
	{
		case INT2OID:
			pg_itoa(DatumGetInt16(base), text);
			break;
		case INT4OID:
			pg_ltoa(DatumGetInt32(base), text);
			break;
		case INT8OID:
			pg_lltoa(DatumGetInt64(base), text);
			break;
		default:
			/* ISO 8601 means the same under every DateStyle */
			JsonEncodeDateTime(text, base, column->base_type, NULL);
			break;
	}
	return call_input(column, text, value, error);
}

static bool
convert_text(StediColumn *column, const StediJsonCell *cell, Datum *value, StediRowError *error)
{
	text	   *result = palloc(cell->length + VARHDRSZ);

	SET_VARSIZE(result, cell->length + VARHDRSZ);
	memcpy(VARDATA(result), cell->text, cell->length);
	*value = PointerGetDatum(result);
	return true;
}

/* A JSON number, or a string that is one. */
static bool
number_text(const StediJsonCell *cell, const char **text, size_t *length)
{
	*text = cell->text;
	*length = cell->length;
	return cell->type == STEDI_JSON_NUMBER ||
		(cell->type == STEDI_JSON_STRING && stedi_json_is_number(cell->text, cell->length));
}

static bool
convert_int(StediColumn *column, const StediJsonCell *cell, Datum *value, StediRowError *error)
{
	int64		number = cell->integer;

	if (!cell->is_integer)
	{
		const char *text;
		size_t		length;

		if (!number_text(cell, &text, &length))
			return bad_value(column, ERRCODE_INVALID_TEXT_REPRESENTATION, error);
		switch (stedi_json_to_int64(text, length, &number))
		{
			case STEDI_JSON_NUMBER_OK:
				break;
			case STEDI_JSON_NUMBER_NOT_INTEGRAL:
				return bad_value(column, ERRCODE_INVALID_TEXT_REPRESENTATION, error);
			case STEDI_JSON_NUMBER_OUT_OF_RANGE:
				return bad_value(column, ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE, error);
		}
	}

	if (column->base_type == INT8OID)
		*value = Int64GetDatum(number);
	else if (column->base_type == INT4OID && number >= PG_INT32_MIN && number <= PG_INT32_MAX)
		*value = Int32GetDatum((int32) number);
	else if (column->base_type == INT2OID && number >= PG_INT16_MIN && number <= PG_INT16_MAX)
		*value = Int16GetDatum((int16) number);
	else
		return bad_value(column, ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE, error);
	return true;
}

static bool
convert_float8(StediColumn *column, const StediJsonCell *cell, Datum *value, StediRowError *error)
{
	double		number;

	if (cell->type != STEDI_JSON_NUMBER)
		return convert_by_input(column, cell, value, error);
	if (stedi_json_to_double(cell->text, cell->length, &number) != STEDI_JSON_NUMBER_OK)
		return bad_value(column, ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE, error);
	*value = Float8GetDatum(number);
	return true;
}

static bool
convert_bool(StediColumn *column, const StediJsonCell *cell, Datum *value, StediRowError *error)
{
	if (cell->type != STEDI_JSON_TRUE && cell->type != STEDI_JSON_FALSE)
		return convert_by_input(column, cell, value, error);
	*value = BoolGetDatum(cell->type == STEDI_JSON_TRUE);
	return true;
}

/* YYYY-MM-DD means the same under every DateStyle; the rest is the type's own. */
static bool
convert_date(StediColumn *column, const StediJsonCell *cell, Datum *value, StediRowError *error)
{
	static const char pattern[] = "0000-00-00";
	int			part[3] = {0, 0, 0};
	int			n = 0;

	if (cell->type != STEDI_JSON_STRING || cell->length != sizeof(pattern) - 1)
		return convert_by_input(column, cell, value, error);
	for (size_t i = 0; i < sizeof(pattern) - 1; i++)
	{
		if (pattern[i] == '-' && cell->text[i] == '-')
			n++;
		else if (pattern[i] == '0' && cell->text[i] >= '0' && cell->text[i] <= '9')
			part[n] = part[n] * 10 + (cell->text[i] - '0');
		else
			return convert_by_input(column, cell, value, error);
	}
	if (part[0] < 1 || part[1] < 1 || part[1] > MONTHS_PER_YEAR || part[2] < 1 ||
		part[2] > day_tab[isleap(part[0])][part[1] - 1])
		return bad_value(column, ERRCODE_DATETIME_FIELD_OVERFLOW, error);
	*value = DateADTGetDatum(date2j(part[0], part[1], part[2]) - POSTGRES_EPOCH_JDATE);
	return true;
}

/* A number is milliseconds since 1970 UTC, fractions down to microseconds. */
static bool
convert_timestamp(StediColumn *column, const StediJsonCell *cell, Datum *value, StediRowError *error)
{
	int64		micros;

	if (cell->type != STEDI_JSON_NUMBER)
		return convert_by_input(column, cell, value, error);

	if (!to_micros(cell, &micros))
		return bad_value(column, ERRCODE_DATETIME_FIELD_OVERFLOW, error);
	if (pg_sub_s64_overflow(micros, UNIX_EPOCH_US, &micros) || !IS_VALID_TIMESTAMP(micros))
		return bad_value(column, ERRCODE_DATETIME_FIELD_OVERFLOW, error);
	*value = TimestampTzGetDatum(micros);
	return true;
}

/* Milliseconds to microseconds; what is finer is rounded. */
static bool
to_micros(const StediJsonCell *cell, int64 *micros)
{
	double		millis;
	char	   *scaled;

	if (cell->is_integer)
		return !pg_mul_s64_overflow(cell->integer, US_PER_MS, micros);

	/* Exact where decimal digits are: far from 1970 a double has too few. */
	if (memchr(cell->text, 'e', cell->length) == NULL && memchr(cell->text, 'E', cell->length) == NULL)
	{
		scaled = psprintf("%.*se3", (int) cell->length, cell->text);
		if (stedi_json_to_int64(scaled, strlen(scaled), micros) == STEDI_JSON_NUMBER_OK)
			return true;
	}
	if (stedi_json_to_double(cell->text, cell->length, &millis) != STEDI_JSON_NUMBER_OK ||
		fabs(millis) >= (double) PG_INT64_MAX / US_PER_MS)
		return false;
	*micros = (int64) rint(millis * US_PER_MS);
	return true;
}

static bool
convert_json(StediColumn *column, const StediJsonCell *cell, Datum *value, StediRowError *error)
{
	char	   *text = pnstrdup(cell->text, cell->length);

	if (cell->type == STEDI_JSON_STRING)
	{
		StringInfoData quoted;

		initStringInfo(&quoted);
		escape_json(&quoted, text);
		text = quoted.data;
	}
	return call_input(column, text, value, error);
}

bool
stedi_jsonb_value(const char *text, size_t length, Datum *value, StediRowError *error)
{
	StediColumn column = {0};
	Oid			input;

	column.type = JSONBOID;
	column.typmod = -1;
	column.type_name = "jsonb";
	getTypeInputInfo(JSONBOID, &input, &column.input_param);
	fmgr_info(input, &column.input);
	return call_input(&column, pnstrdup(text, length), value, error);
}

static bool
convert_by_input(StediColumn *column, const StediJsonCell *cell, Datum *value, StediRowError *error)
{
	return call_input(column, pnstrdup(cell->text, cell->length), value, error);
}

#if PG_VERSION_NUM >= 160000

static bool
call_input(StediColumn *column, char *text, Datum *value, StediRowError *error)
{
	ErrorSaveContext escontext = {0};

	escontext.type = T_ErrorSaveContext;
	escontext.details_wanted = true;
	if (InputFunctionCallSafe(&column->input, text, column->input_param, column->typmod,
							  (Node *) &escontext, value))
		return true;
	return bad_value(column, escontext.error_data->sqlerrcode, error);
}

#else

/* PostgreSQL 15 has hard errors only; a subtransaction undoes what they leave. */
static bool
call_input(StediColumn *column, char *text, Datum *value, StediRowError *error)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile int sqlstate = 0;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		*value = InputFunctionCall(&column->input, text, column->input_param, column->typmod);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *data = stedi_rollback_caught(context, owner);
		int			category = ERRCODE_TO_CATEGORY(data->sqlerrcode);

		if (category != ERRCODE_DATA_EXCEPTION &&
			category != ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION &&
			category != ERRCODE_PROGRAM_LIMIT_EXCEEDED)
			ReThrowError(data);
		sqlstate = data->sqlerrcode;
		FreeErrorData(data);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;

	return sqlstate == 0 || bad_value(column, sqlstate, error);
}

#endif

static bool
bad_value(StediColumn *column, int sqlstate, StediRowError *error)
{
	const char *format = "value is not valid for type %s";

	if (sqlstate == ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE || sqlstate == ERRCODE_DATETIME_FIELD_OVERFLOW)
		format = "value is out of range for type %s";
	else if (sqlstate == ERRCODE_STRING_DATA_RIGHT_TRUNCATION)
		format = "value is too long for type %s";
	else if (ERRCODE_TO_CATEGORY(sqlstate) == ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION)
		format = "value violates a constraint of type %s";
	error->sqlstate = sqlstate;
	error->message = psprintf(format, column->type_name);
	return false;
}
