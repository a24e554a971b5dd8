/*
 * read.c
 *		stedi.read_json(): records of objects, without loading them.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/typcache.h"

#include "pg/error.h"
#include "pg/lake.h"
#include "pg/row.h"
#include "pg/scan.h"
#include "pg/settings.h"

PG_FUNCTION_INFO_V1(stedi_read_json);
PG_FUNCTION_INFO_V1(stedi_read_json_rows);

typedef struct ReadState
{
	StediLake  *lake;
	StediCompression compression;
	bool		skip;			/* damaged records: warn and go on */
	bool		whole_records;	/* as jsonb; the builder has no columns then */
	StediRowBuilder *builder;
	MemoryContext row_context;
	ReturnSetInfo *rsinfo;
	const char *uri;			/* for the error context */
	uint32		record_no;
} ReadState;

static void read_objects(ReadState *state, const char *uri);
static void read_object(ReadState *state, StediGet *get);
static bool put_record(ReadState *state, const StediJsonRecord *record, StediRowError *error);
static void read_options(ReadState *state, text *compression, text *on_error);
static void damaged(ReadState *state, int sqlstate, const char *message, const char *column,
					const StediScan *scan, const StediJsonRecord *record);
static void read_error_context(void *arg);

PGDLLEXPORT Datum
stedi_read_json(PG_FUNCTION_ARGS)
{
	ReadState	state = {0};

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("uri, compression and on_error must not be NULL")));
	InitMaterializedSRF(fcinfo, 0);
	read_options(&state, PG_GETARG_TEXT_PP(1), PG_GETARG_TEXT_PP(2));
	state.rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	state.whole_records = true;
	state.builder = stedi_row_builder_create(CreateTemplateTupleDesc(0), NULL, NULL);
	read_objects(&state, text_to_cstring(PG_GETARG_TEXT_PP(0)));
	return (Datum) 0;
}

PGDLLEXPORT Datum
stedi_read_json_rows(PG_FUNCTION_ARGS)
{
	ReadState	state = {0};
	Oid			type = get_fn_expr_argtype(fcinfo->flinfo, 0);

	if (!OidIsValid(type) || get_typtype(type) != TYPTYPE_COMPOSITE)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("first argument of read_json must be of a named row type"),
				 errhint("SELECT * FROM stedi.read_json(NULL::my_table, 's3://bucket/key');")));
	if (PG_ARGISNULL(1) || PG_ARGISNULL(3) || PG_ARGISNULL(4))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("uri, compression and on_error must not be NULL")));

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	read_options(&state, PG_GETARG_TEXT_PP(3), PG_GETARG_TEXT_PP(4));
	state.rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	/* What was planned for; the type may have been altered since. */
	state.builder = stedi_row_builder_create(state.rsinfo->setDesc, NULL,
											 PG_ARGISNULL(2) ? NULL : PG_GETARG_JSONB_P(2));
	read_objects(&state, text_to_cstring(PG_GETARG_TEXT_PP(1)));
	return (Datum) 0;
}

static void
read_options(ReadState *state, text *compression, text *on_error)
{
	char	   *value = text_to_cstring(on_error);

	state->compression = stedi_compression_option(text_to_cstring(compression), true);
	state->skip = pg_strcasecmp(value, "skip") == 0;
	if (!state->skip && pg_strcasecmp(value, "stop") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown on_error \"%s\"", value),
				 errhint("Valid values are stop and skip; skip warns about each region that is left out.")));
}

static void
read_objects(ReadState *state, const char *uri)
{
	ErrorContextCallback callback;
	MemoryContext object_context;
	StediLakeListing *listing;
	int64		objects = 0;

	callback.callback = read_error_context;
	callback.arg = state;
	callback.previous = error_context_stack;
	error_context_stack = &callback;

	state->lake = stedi_lake_open(uri, STEDI_READ, false);
	listing = stedi_lake_list(state->lake, NULL);
	object_context = AllocSetContextCreate(CurrentMemoryContext, "stedi object", ALLOCSET_DEFAULT_SIZES);
	state->row_context = AllocSetContextCreate(CurrentMemoryContext, "stedi row", ALLOCSET_DEFAULT_SIZES);

	for (;; objects++)
	{
		MemoryContext old = MemoryContextSwitchTo(object_context);
		StediObject *object = stedi_lake_next(listing);
		StediStatus status = {0};
		StediGet   *get;

		if (object == NULL)
		{
			MemoryContextSwitchTo(old);
			break;
		}
		state->uri = stedi_lake_uri(state->lake, object->key);
		state->record_no = 0;
		get = stedi_store_get(state->lake->store, object, &status);
		if (get == NULL)
			stedi_lake_fail(state->lake, &status);
		read_object(state, get);
		state->uri = NULL;
		MemoryContextSwitchTo(old);
		MemoryContextReset(object_context);
	}
	if (objects == 0)
		stedi_lake_no_match(state->lake);

	stedi_lake_close(state->lake);
	error_context_stack = callback.previous;
}

static void
read_object(ReadState *state, StediGet *get)
{
	StediScan  *scan = stedi_scan_begin(state->lake, get, stedi_row_builder_schema(state->builder),
										state->compression,
										stedi_row_builder_rescued(state->builder) >= 0);
	StediStatus status = {0};

	for (;;)
	{
		StediJsonRecord record;
		StediRowError error = {0};
		StediJsonEvent event = stedi_scan_next(scan, &record, &status);
		MemoryContext old;

		if (event == STEDI_JSON_END)
			break;
		if (event == STEDI_JSON_FAILED)
			stedi_lake_fail(state->lake, &status);

		state->record_no = record.record_no;
		old = MemoryContextSwitchTo(state->row_context);
		if (event == STEDI_JSON_REJECT)
			damaged(state, stedi_fault_sqlstate(record.fault), record.message, NULL, scan, &record);
		else if (!put_record(state, &record, &error))
			damaged(state, error.sqlstate, error.message, error.column, scan, &record);
		MemoryContextSwitchTo(old);
		MemoryContextReset(state->row_context);
	}
	stedi_scan_end(scan);
}

static bool
put_record(ReadState *state, const StediJsonRecord *record, StediRowError *error)
{
	ReturnSetInfo *rsinfo = state->rsinfo;
	int			natts = rsinfo->setDesc->natts;
	Datum	   *values = palloc(sizeof(Datum) * Max(natts, 1));
	bool	   *nulls = palloc0(sizeof(bool) * Max(natts, 1));

	if (!state->whole_records)
	{
		if (!stedi_row_build(state->builder, record, values, nulls, error))
			return false;
	}
	else
	{
		values[0] = CStringGetTextDatum(state->uri);
		values[1] = Int64GetDatum(record->record_no);
		values[2] = Int64GetDatum((int64) record->byte_offset);
		if (!stedi_jsonb_value(record->text, record->length, &values[3], error))
			return false;
	}
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	return true;
}

static void
damaged(ReadState *state, int sqlstate, const char *message, const char *column,
		const StediScan *scan, const StediJsonRecord *record)
{
	ereport(state->skip ? WARNING : ERROR,
			(errcode(sqlstate),
			 errmsg("%s", message),
			 errdetail("Line " UINT64_FORMAT ", byte " UINT64_FORMAT ", " UINT64_FORMAT " bytes long%s%s.",
					   stedi_scan_line(scan), record->byte_offset, record->byte_length,
					   column ? ", column " : "", column ? column : ""),
			 state->skip ? 0 : errhint("With on_error => 'skip' it is left out with a warning.")));
}

static void
read_error_context(void *arg)
{
	ReadState  *state = arg;

	if (state->uri != NULL && state->record_no > 0)
		errcontext("reading object %s, record %u", stedi_printable(state->uri), state->record_no);
	else if (state->uri != NULL)
		errcontext("reading object %s", stedi_printable(state->uri));
}
