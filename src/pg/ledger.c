/*
 * ledger.c
 *		stedi.object and stedi.reject.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "core/json_reader.h"

#include "pg/lake.h"
#include "pg/ledger.h"

#define MAX_ARGS 11

/* A statement whose plan is kept for the session. */
typedef struct LedgerStatement
{
	const char *command;
	int			expected;		/* SPI_OK_... */
	int			nargs;
	Oid			types[MAX_ARGS];
	SPIPlanPtr	plan;
} LedgerStatement;

static LedgerStatement pending_statement = {
	"SELECT l.place"
	" FROM ROWS FROM (unnest($2), unnest($3), unnest($4)) WITH ORDINALITY AS l(uri, tag, size, place)"
	" JOIN stedi.object AS o"
	"   ON o.target = $1 AND o.uri = l.uri AND coalesce(o.version_id, o.etag) = l.tag"
	"  AND o.size = l.size"
	" WHERE o.status IN ('loaded', 'partial')",
	SPI_OK_SELECT, 4, {REGCLASSOID, TEXTARRAYOID, TEXTARRAYOID, INT8ARRAYOID}, NULL
};

static LedgerStatement begin_statement = {
	"INSERT INTO stedi.object AS o"
	" (source, target, uri, etag, version_id, size, last_modified, status)"
	" VALUES ($1, $2, $3, $4, $5, $6, $7, 'loading')"
	" ON CONFLICT (target, uri, (coalesce(version_id, etag)), size)"
	" DO UPDATE SET source = excluded.source, etag = excluded.etag,"
	"  last_modified = excluded.last_modified, status = 'loading',"
	"  tried_at = clock_timestamp(), error = NULL"
	" RETURNING o.object_id",
	SPI_OK_INSERT_RETURNING, 7,
	{TEXTOID, REGCLASSOID, TEXTOID, TEXTOID, TEXTOID, INT8OID, TIMESTAMPTZOID}, NULL
};

/* An array, unlike OR and IN, is a condition that an index scan takes. */
static LedgerStatement supersede_statement = {
	"WITH old AS ("
	"  UPDATE stedi.object SET status = 'replaced'"
	"  WHERE target = $1 AND uri = $2 AND object_id <> $3 AND status IN ('loaded', 'partial')"
	"  RETURNING object_id"
	" ), rejects AS ("
	"  DELETE FROM stedi.reject"
	"  WHERE object_id = ANY (ARRAY(SELECT $3 UNION ALL SELECT object_id FROM old))"
	" )"
	" SELECT object_id, rows, filenode, first_block, last_block FROM stedi.object"
	" WHERE object_id = ANY (ARRAY(SELECT $3 UNION ALL SELECT object_id FROM old)) AND rows > 0",
	SPI_OK_SELECT, 3, {REGCLASSOID, TEXTOID, INT4OID}, NULL
};

static LedgerStatement finish_statement = {
	"UPDATE stedi.object"
	" SET status = $2, rows = $3, rejects = $4, bytes = $5, elapsed = $6, error = $7,"
	"  filenode = $8, first_block = $9, last_block = $10, erased = $11"
	" WHERE object_id = $1",
	SPI_OK_UPDATE, 11,
	{INT4OID, TEXTOID, INT8OID, INT8OID, INT8OID, INTERVALOID, TEXTOID, OIDOID, INT8OID, INT8OID, INT8OID},
	NULL
};

static LedgerStatement fail_statement = {
	"INSERT INTO stedi.object AS o"
	" (source, target, uri, etag, version_id, size, last_modified, status, rejects, bytes, elapsed, error)"
	" VALUES ($1, $2, $3, $4, $5, $6, $7, 'failed', $8, $9, $10, $11)"
	" ON CONFLICT (target, uri, (coalesce(version_id, etag)), size)"
	" DO UPDATE SET tried_at = clock_timestamp(), elapsed = excluded.elapsed, error = excluded.error,"
	"  status = CASE WHEN o.status IN ('loaded', 'partial') THEN o.status ELSE 'failed' END,"
	"  rejects = CASE WHEN o.status IN ('loaded', 'partial') THEN o.rejects ELSE excluded.rejects END,"
	"  bytes = CASE WHEN o.status IN ('loaded', 'partial') THEN o.bytes ELSE excluded.bytes END",
	SPI_OK_INSERT, 11,
	{TEXTOID, REGCLASSOID, TEXTOID, TEXTOID, TEXTOID, INT8OID, TIMESTAMPTZOID, INT8OID, INT8OID,
	INTERVALOID, TEXTOID}, NULL
};

static LedgerStatement reject_statement = {
	"INSERT INTO stedi.reject VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
	SPI_OK_INSERT, 9,
	{INT4OID, INT8OID, INT8OID, INT8OID, INT8OID, TEXTOID, TEXTOID, TEXTOID, BYTEAOID}, NULL
};

static void execute(LedgerStatement *statement, Datum *values, const char *nulls);
static void set_entry(const StediLedgerEntry *entry, Datum *values, char *nulls);
static Datum text_or_null(const char *text, char *null);
static const char *version_tag(const StediObject *object);

StediIdentity
stedi_become_owner(void)
{
	Oid			ledger = get_relname_relid("object", get_namespace_oid("stedi", false));
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(ledger));
	StediIdentity self;
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation \"stedi.object\" does not exist"),
				 errhint("CREATE EXTENSION stedi;")));
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);

	/* The caller's operators and functions must not be run as the owner. */
	self.guc_level = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	GetUserIdAndSecContext(&self.userid, &self.sec_context);
	SetUserIdAndSecContext(owner, self.sec_context | SECURITY_LOCAL_USERID_CHANGE);
	return self;
}

void
stedi_become_self(StediIdentity self)
{
	SetUserIdAndSecContext(self.userid, self.sec_context);
	AtEOXact_GUC(true, self.guc_level);
}

static void
execute(LedgerStatement *statement, Datum *values, const char *nulls)
{
	MemoryContext old = CurrentMemoryContext;
	StediIdentity self = stedi_become_owner();
	int			result;

	/* A plan that is kept was made when the ledger was small; it has to be good
	 * for a large one, too.  Every statement has its index. */
	(void) set_config_option("enable_seqscan", "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	if (statement->plan == NULL)
	{
		SPIPlanPtr	plan = SPI_prepare(statement->command, statement->nargs, statement->types);

		if (plan == NULL || SPI_keepplan(plan) != 0)
			elog(ERROR, "could not prepare ledger statement: %s", SPI_result_code_string(SPI_result));
		statement->plan = plan;
	}
	result = SPI_execute_plan(statement->plan, values, nulls, false, 0);
	if (result != statement->expected)
		elog(ERROR, "ledger statement failed: %s", SPI_result_code_string(result));
	stedi_become_self(self);
	/* SPI leaves the caller in its own context, which lasts for the whole load. */
	MemoryContextSwitchTo(old);
}

static Datum
text_or_null(const char *text, char *null)
{
	*null = text == NULL ? 'n' : ' ';
	return text == NULL ? (Datum) 0 : CStringGetTextDatum(text);
}

/* What tells versions of one key apart, together with the size. */
static const char *
version_tag(const StediObject *object)
{
	return object->version_id != NULL ? object->version_id : object->etag;
}

void
stedi_ledger_pending(Oid target, int n, char *const *uris, const StediObject *objects,
					 bool *pending)
{
	Datum	   *uri_items = palloc(sizeof(Datum) * n);
	Datum	   *tag_items = palloc(sizeof(Datum) * n);
	Datum	   *size_items = palloc(sizeof(Datum) * n);
	Datum		values[4];

	for (int i = 0; i < n; i++)
	{
		uri_items[i] = CStringGetTextDatum(uris[i]);
		tag_items[i] = CStringGetTextDatum(version_tag(&objects[i]));
		size_items[i] = Int64GetDatum((int64) objects[i].size);
		pending[i] = true;
	}
	values[0] = ObjectIdGetDatum(target);
	values[1] = PointerGetDatum(construct_array(uri_items, n, TEXTOID, -1, false, TYPALIGN_INT));
	values[2] = PointerGetDatum(construct_array(tag_items, n, TEXTOID, -1, false, TYPALIGN_INT));
	values[3] = PointerGetDatum(construct_array(size_items, n, INT8OID, sizeof(int64),
												FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	execute(&pending_statement, values, NULL);

	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		Datum		place = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull);

		pending[DatumGetInt64(place) - 1] = false;
	}
	SPI_freetuptable(SPI_tuptable);
}

/* The first seven parameters: which object version it is. */
static void
set_entry(const StediLedgerEntry *entry, Datum *values, char *nulls)
{
	const StediObject *object = entry->object;

	values[0] = text_or_null(entry->source, &nulls[0]);
	values[1] = ObjectIdGetDatum(entry->target);
	values[2] = CStringGetTextDatum(entry->uri);
	values[3] = CStringGetTextDatum(object->etag);
	values[4] = text_or_null(object->version_id, &nulls[4]);
	values[5] = Int64GetDatum((int64) object->size);
	values[6] = TimestampTzGetDatum(stedi_unix_timestamp(object->last_modified));
}

int32
stedi_ledger_begin(const StediLedgerEntry *entry)
{
	Datum		values[7];
	char		nulls[] = "       ";
	bool		isnull;
	int32		object_id;

	set_entry(entry, values, nulls);
	execute(&begin_statement, values, nulls);
	object_id = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_freetuptable(SPI_tuptable);
	return object_id;
}

List *
stedi_ledger_supersede(const StediLedgerEntry *entry, int32 object_id)
{
	Datum		values[3];
	List	   *extents = NIL;

	values[0] = ObjectIdGetDatum(entry->target);
	values[1] = CStringGetTextDatum(entry->uri);
	values[2] = Int32GetDatum(object_id);
	execute(&supersede_statement, values, NULL);

	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		StediExtent *extent = palloc0(sizeof(StediExtent));
		bool		isnull;

		extent->object_id = DatumGetInt32(SPI_getbinval(row, desc, 1, &isnull));
		extent->rows = DatumGetInt64(SPI_getbinval(row, desc, 2, &isnull));
		extent->filenode = DatumGetObjectId(SPI_getbinval(row, desc, 3, &isnull));
		extent->first_block = DatumGetInt64(SPI_getbinval(row, desc, 4, &isnull));
		extent->last_block = DatumGetInt64(SPI_getbinval(row, desc, 5, &isnull));
		extents = lappend(extents, extent);
	}
	SPI_freetuptable(SPI_tuptable);
	return extents;
}

void
stedi_ledger_finish(int32 object_id, const StediLedgerResult *result)
{
	Interval	elapsed = {0};
	Datum		values[11];
	char		nulls[] = "           ";

	elapsed.time = result->elapsed;
	values[0] = Int32GetDatum(object_id);
	values[1] = CStringGetTextDatum(result->status);
	values[2] = Int64GetDatum(result->rows);
	values[3] = Int64GetDatum(result->rejects);
	values[4] = Int64GetDatum(result->bytes);
	values[5] = IntervalPGetDatum(&elapsed);
	values[6] = text_or_null(result->error, &nulls[6]);
	values[7] = ObjectIdGetDatum(result->extent.filenode);
	values[8] = Int64GetDatum(result->extent.first_block);
	values[9] = Int64GetDatum(result->extent.last_block);
	values[10] = Int64GetDatum(result->erased);
	if (!OidIsValid(result->extent.filenode))
		nulls[7] = nulls[8] = nulls[9] = 'n';
	execute(&finish_statement, values, nulls);
}

void
stedi_ledger_fail(const StediLedgerEntry *entry, const StediLedgerResult *result)
{
	Interval	elapsed = {0};
	Datum		values[11];
	char		nulls[] = "           ";

	elapsed.time = result->elapsed;
	set_entry(entry, values, nulls);
	values[7] = Int64GetDatum(result->rejects);
	values[8] = Int64GetDatum(result->bytes);
	values[9] = IntervalPGetDatum(&elapsed);
	values[10] = text_or_null(result->error, &nulls[10]);
	execute(&fail_statement, values, nulls);
}

void
stedi_ledger_reject(int32 object_id, const StediReject *reject)
{
	size_t		kept = Min(reject->raw_length, STEDI_JSON_REJECT_KEEP);
	Datum		values[9];
	char		nulls[] = "         ";

	values[0] = Int32GetDatum(object_id);
	values[1] = Int64GetDatum(reject->record_no);
	values[2] = Int64GetDatum(reject->byte_offset);
	values[3] = Int64GetDatum(reject->byte_length);
	values[4] = Int64GetDatum(reject->line);
	values[5] = text_or_null(reject->column_name, &nulls[5]);
	values[6] = CStringGetTextDatum(unpack_sql_state(reject->sqlstate));
	values[7] = CStringGetTextDatum(reject->message);
	/* text and bytea are laid out alike */
	values[8] = PointerGetDatum(cstring_to_text_with_len(reject->raw, (int) kept));
	execute(&reject_statement, values, nulls);
}
