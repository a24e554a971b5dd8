/*
 * ingest.c
 *		Loading the pending objects of a URI into a table.
 *
 *	 list --> pending? --> window of gets --> scan --> row --> insert
 *			  (ledger)     (prefetch)			|				  |
 *												+-- reject		  |
 *												v				  v
 *										   stedi.reject		target table
 *
 * The target is locked against other loads (not against readers, writers, VACUUM
 * or ANALYZE) before the ledger is looked at, and stays so until the transaction
 * ends; so two sessions cannot take the same object.  Each object is loaded in a
 * subtransaction together with its ledger row: an object that fails leaves things
 * as they were, but for what the ledger then says about it.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/progress.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/backend_progress.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "pg/clock.h"
#include "pg/erasure.h"
#include "pg/error.h"
#include "pg/ingest.h"
#include "pg/insert.h"
#include "pg/lake.h"
#include "pg/ledger.h"
#include "pg/worklist.h"
#include "pg/row.h"
#include "pg/scan.h"
#include "pg/settings.h"

PG_FUNCTION_INFO_V1(stedi_ingest);
PG_FUNCTION_INFO_V1(stedi_load);

#define WINDOW_OBJECTS		64	/* MAX_CONCURRENCY of stedi.concurrency */
#define MAX_LOST_OBJECTS	3	/* in a row, to connection errors: the store is gone */
#define LOADABLE_RELKINDS	"rpvf"	/* tables, also partitioned and foreign, and views */
#define PROGRESS_ROWS		4096	/* rows between two progress updates */

/* An object whose bytes are on their way. */
typedef struct InFlight
{
	StediObject *object;
	char	   *uri;
	StediGet   *get;			/* NULL: could not be started, see status */
	StediStatus status;
} InFlight;

typedef struct LoadState
{
	const StediJob *job;
	StediLake  *lake;
	Relation	rel;
	StediRowBuilder *builder;
	StediInserter *inserter;
	StediErasures *erasures;	/* NULL: nobody was forgotten */
	MemoryContext object_context;	/* reset for each object */
	MemoryContext row_context;	/* reset for each record */

	StediWorklist *worklist;		/* NULL: the job names its objects */

	/* prefetch window: a ring */
	InFlight	window[WINDOW_OBJECTS];
	int			window_first;
	int			window_size;
	int64		taken;			/* objects put into the window so far */
	char	   *last_key;		/* of the last of them */
	int64		taken_bytes;

	/* where we are, for the error context and progress */
	const char *uri;
	uint32		record_no;
	instr_time	inserting;		/* time spent on rows and ledger of the object */
	int64		done_bytes;
	int64		done_rows;
	int64		done_rejects;
} LoadState;

static StediOnError on_error_option(const char *value);
static int64 check_limit(int64 limit, const char *name, int64 least);
static void format_option(const char *value);
static char *text_arg(FunctionCallInfo fcinfo, int argno);
static void put_outcome(void *arg, const StediOutcome *outcome);
static Datum interval_datum(int64 microseconds);
static void open_target(LoadState *state);
static void fill_window(LoadState *state);
static const StediObject *next_object(LoadState *state, bool take);
static void take(LoadState *state, InFlight *entry, const StediObject *object);
static void drop(InFlight *entry);
static void load_object(LoadState *state, InFlight *entry);
static bool replace_older(LoadState *state, const StediLedgerEntry *entry, int32 object_id,
						  StediOutcome *outcome);
static char *target_name(LoadState *state);
static void delete_rows(LoadState *state, const StediExtent *extent);
static int64 execute_delete(LoadState *state, const StediExtent *extent, const char *condition);
static StediExtent loaded_extent(LoadState *state, int64 rows);
static bool load_records(LoadState *state, InFlight *entry, int32 object_id,
						 StediOutcome *outcome);
static bool note_reject(LoadState *state, int32 object_id, StediReject *reject,
						StediOutcome *outcome);
static bool object_lost(LoadState *state, const StediStatus *status, StediOutcome *outcome);
static void show_progress(LoadState *state, const StediScan *scan, const StediOutcome *outcome);
static void load_error_context(void *arg);

PGDLLEXPORT Datum
stedi_ingest(PG_FUNCTION_ARGS)
{
	char	   *name = text_arg(fcinfo, 0);
	char	   *on_error = text_arg(fcinfo, 1);
	char	   *compression = text_arg(fcinfo, 8);
	List	   *jobs;
	ListCell   *cell;

	InitMaterializedSRF(fcinfo, 0);
	format_option(text_arg(fcinfo, 7));

	SPI_connect();
	jobs = stedi_source_jobs(name);
	foreach(cell, jobs)
	{
		StediJob   *job = lfirst(cell);

		if (on_error != NULL)
			job->on_error = on_error_option(on_error);
		if (!PG_ARGISNULL(2))
			job->reject_limit = stedi_limit_option(fcinfo, 2, "reject_limit", 0);
		job->force = !PG_ARGISNULL(3) && PG_GETARG_BOOL(3);
		job->dry_run = !PG_ARGISNULL(4) && PG_GETARG_BOOL(4);
		job->max_objects = stedi_limit_option(fcinfo, 5, "max_objects", 1);
		job->max_bytes = stedi_size_option(fcinfo, 6, "max_bytes");
		if (compression != NULL)
			job->compression = stedi_compression_option(compression, true);
		job->report = put_outcome;
		job->arg = fcinfo->resultinfo;
		stedi_run_job(job);
	}
	SPI_finish();
	return (Datum) 0;
}

PGDLLEXPORT Datum
stedi_load(PG_FUNCTION_ARGS)
{
	StediJob	job = {0};
	char	   *on_error = text_arg(fcinfo, 3);
	char	   *compression = text_arg(fcinfo, 10);

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("target and uri must not be NULL")));
	InitMaterializedSRF(fcinfo, 0);
	format_option(text_arg(fcinfo, 9));

	job.target = PG_GETARG_OID(0);
	job.uri = text_arg(fcinfo, 1);
	job.aliases = PG_ARGISNULL(2) ? NULL : PG_GETARG_JSONB_P(2);
	job.on_error = on_error == NULL ? STEDI_ON_ERROR_STOP : on_error_option(on_error);
	job.reject_limit = stedi_limit_option(fcinfo, 4, "reject_limit", 0);
	job.force = !PG_ARGISNULL(5) && PG_GETARG_BOOL(5);
	job.dry_run = !PG_ARGISNULL(6) && PG_GETARG_BOOL(6);
	job.max_objects = stedi_limit_option(fcinfo, 7, "max_objects", 1);
	job.max_bytes = stedi_size_option(fcinfo, 8, "max_bytes");
	job.compression = compression == NULL ? STEDI_COMPRESSION_AUTO :
		stedi_compression_option(compression, true);
	job.report = put_outcome;
	job.arg = fcinfo->resultinfo;

	SPI_connect();
	stedi_run_job(&job);
	SPI_finish();
	return (Datum) 0;
}

static StediOnError
on_error_option(const char *value)
{
	if (pg_strcasecmp(value, "reject") == 0)
		return STEDI_ON_ERROR_REJECT;
	if (pg_strcasecmp(value, "skip_object") == 0)
		return STEDI_ON_ERROR_SKIP_OBJECT;
	if (pg_strcasecmp(value, "stop") == 0)
		return STEDI_ON_ERROR_STOP;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown on_error \"%s\"", value),
			 errhint("Valid values are reject, skip_object and stop.")));
	pg_unreachable();
}

int64
stedi_limit_option(FunctionCallInfo fcinfo, int argno, const char *name, int64 least)
{
	return PG_ARGISNULL(argno) ? -1 : check_limit(PG_GETARG_INT64(argno), name, least);
}

int64
stedi_size_option(FunctionCallInfo fcinfo, int argno, const char *name)
{
	return PG_ARGISNULL(argno) ? -1 :
		check_limit(DatumGetInt64(DirectFunctionCall1(pg_size_bytes, PG_GETARG_DATUM(argno))), name, 1);
}

static int64
check_limit(int64 limit, const char *name, int64 least)
{
	if (limit < least)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be at least " INT64_FORMAT, name, least),
				 errhint("NULL means no limit.")));
	return limit;
}

/* One reader takes every framing, so the names people know all mean the same. */
static void
format_option(const char *value)
{
	if (value == NULL || pg_strcasecmp(value, "json") == 0 || pg_strcasecmp(value, "ndjson") == 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown format \"%s\"", value),
			 errhint("Valid values are json and ndjson; both take records in any framing.")));
}

static char *
text_arg(FunctionCallInfo fcinfo, int argno)
{
	return PG_ARGISNULL(argno) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(argno));
}

static void
put_outcome(void *arg, const StediOutcome *outcome)
{
	ReturnSetInfo *rsinfo = arg;
	/* what is neither the one nor the other, decompression included */
	int64		parse = Max(outcome->elapsed - outcome->download - outcome->insert, 0);
	Datum		values[12];
	bool		nulls[12] = {0};

	nulls[0] = outcome->source == NULL;
	if (!nulls[0])
		values[0] = CStringGetTextDatum(outcome->source);
	values[1] = CStringGetTextDatum(outcome->uri);
	values[2] = CStringGetTextDatum(outcome->status);
	values[3] = Int64GetDatum(outcome->parsed);
	values[4] = Int64GetDatum(outcome->loaded);
	values[5] = Int64GetDatum(outcome->rejected);
	values[6] = Int64GetDatum(outcome->bytes);
	nulls[7] = outcome->first_error == NULL;
	if (!nulls[7])
		values[7] = CStringGetTextDatum(outcome->first_error);
	values[8] = interval_datum(outcome->elapsed);
	values[9] = interval_datum(outcome->download);
	values[10] = interval_datum(parse);
	values[11] = interval_datum(outcome->insert);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

static Datum
interval_datum(int64 microseconds)
{
	Interval   *interval = palloc0(sizeof(Interval));

	interval->time = microseconds;
	return IntervalPGetDatum(interval);
}

List *
stedi_source_jobs(const char *name)
{
	static const char *const command =
		"SELECT name, uri, target, aliases, on_error, coalesce(reject_limit, -1)"
		" FROM stedi.source WHERE name = $1 OR $1 IS NULL AND enabled ORDER BY name";
	StediIdentity self = stedi_become_owner();
	Oid			types[1] = {TEXTOID};
	Datum		values[1] = {name == NULL ? (Datum) 0 : CStringGetTextDatum(name)};
	List	   *jobs = NIL;

	if (SPI_execute_with_args(command, 1, types, values, name == NULL ? "n" : " ", true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read stedi.source");
	stedi_become_self(self);

	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		StediJob   *job = palloc0(sizeof(StediJob));
		bool		isnull;

		job->source = SPI_getvalue(row, desc, 1);
		job->uri = SPI_getvalue(row, desc, 2);
		job->target = DatumGetObjectId(SPI_getbinval(row, desc, 3, &isnull));
		job->aliases = DatumGetJsonbPCopy(SPI_getbinval(row, desc, 4, &isnull));
		job->on_error = on_error_option(SPI_getvalue(row, desc, 5));
		job->reject_limit = DatumGetInt64(SPI_getbinval(row, desc, 6, &isnull));
		job->max_objects = -1;
		job->max_bytes = -1;
		job->compression = STEDI_COMPRESSION_AUTO;
		jobs = lappend(jobs, job);
	}
	if (jobs == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 name == NULL ? errmsg("there is no source to ingest")
				 : errmsg("source \"%s\" does not exist", name),
				 errhint("SELECT stedi.attach('s3://bucket/'); sets the sources, stedi.source lists them.")));
	return jobs;
}

char *
stedi_run_job(const StediJob *job)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "stedi load",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	LoadState  *state = palloc0(sizeof(LoadState));
	ErrorContextCallback callback;
	bool		nothing;
	char	   *last_key;

	callback.callback = load_error_context;
	callback.arg = state;
	callback.previous = error_context_stack;
	error_context_stack = &callback;

	state->job = job;
	open_target(state);
	state->lake = job->lake != NULL ? job->lake : stedi_lake_open(job->uri, STEDI_READ, false);
	state->object_context = AllocSetContextCreate(context, "stedi object", ALLOCSET_DEFAULT_SIZES);
	state->row_context = AllocSetContextCreate(context, "stedi row", ALLOCSET_DEFAULT_SIZES);
	if (job->objects == NULL)
		state->worklist = stedi_worklist_begin(state->lake, job->target, job->after, job->force);

	pgstat_progress_start_command(PROGRESS_COMMAND_COPY, job->target);
	pgstat_progress_update_param(PROGRESS_COPY_COMMAND, PROGRESS_COPY_COMMAND_FROM);
	pgstat_progress_update_param(PROGRESS_COPY_TYPE, PROGRESS_COPY_TYPE_CALLBACK);

	for (;;)
	{
		fill_window(state);
		if (state->window_size == 0)
			break;
		load_object(state, &state->window[state->window_first]);
		drop(&state->window[state->window_first]);
		state->window_first = (state->window_first + 1) % WINDOW_OBJECTS;
		state->window_size--;
	}
	pgstat_progress_end_command();

	nothing = state->worklist != NULL && stedi_worklist_listed(state->worklist) == 0;
	if (nothing && job->source == NULL)
		stedi_lake_no_match(state->lake);
	if (nothing && job->after == NULL)
		ereport(NOTICE,
				(errmsg("source \"%s\": no object matches \"%s\"", job->source, job->uri)));

	error_context_stack = callback.previous;
	table_close(state->rel, NoLock);
	if (job->lake == NULL)
		stedi_lake_close(state->lake);
	MemoryContextSwitchTo(old);
	last_key = state->last_key != NULL ? pstrdup(state->last_key) : NULL;
	MemoryContextDelete(context);
	return last_key;
}

static void
open_target(LoadState *state)
{
	const StediJob *job = state->job;

	state->rel = stedi_open_target(job, true);
	state->builder = stedi_row_builder_create(RelationGetDescr(state->rel), state->rel, job->aliases);
	state->inserter = stedi_inserter_create(state->rel, job->on_error != STEDI_ON_ERROR_STOP,
											&state->inserting);
	state->erasures = stedi_erasures_load(RelationGetDescr(state->rel));
}

Relation
stedi_open_target(const StediJob *job, bool wait)
{
	LOCKMODE	mode = job->dry_run ? AccessShareLock : RowExclusiveLock;
	Relation	rel;

	/* Before any lock that others would have to wait for. */
	stedi_check_insert(job->target);
	/* Versions that others have loaded since the snapshot have to be seen. */
	if (IsolationUsesXactSnapshot() && !job->dry_run)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot load in a transaction of isolation level repeatable read or serializable"),
				 errhint("Use read committed.")));
	if (wait)
		LockRelationOid(job->target, mode);
	else if (!ConditionalLockRelationOid(job->target, mode))
		return NULL;
	rel = try_table_open(job->target, NoLock);
	if (rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the target was dropped while it was to be locked")));
	if (strchr(LOADABLE_RELKINDS, rel->rd_rel->relkind) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("cannot load into relation \"%s\"", RelationGetRelationName(rel)),
				 errdetail_relkind_not_supported(rel->rd_rel->relkind)));
	/* Nothing but loads takes this kind of lock on a relation. */
	if (job->dry_run || job->objects != NULL)
		return rel;
	if (wait)
		LockDatabaseObject(RelationRelationId, job->target, 0, ExclusiveLock);
	else if (!ConditionalLockDatabaseObject(RelationRelationId, job->target, 0, ExclusiveLock))
	{
		table_close(rel, mode);
		return NULL;
	}
	return rel;
}

/* Start gets until the window is full or the job's bounds are reached. */
static void
fill_window(LoadState *state)
{
	const StediJob *job = state->job;

	while (state->window_size < stedi_concurrency &&
		   (job->max_objects < 0 || state->taken < job->max_objects))
	{
		const StediObject *object = next_object(state, false);

		if (object == NULL ||
			(job->max_bytes >= 0 && state->taken > 0 &&
			 state->taken_bytes + (int64) object->size > job->max_bytes))
			return;
		take(state, &state->window[(state->window_first + state->window_size) % WINDOW_OBJECTS],
			 next_object(state, true));
		state->window_size++;
	}
}

/* The next object to load, or NULL; take: and go on to the one after it. */
static const StediObject *
next_object(LoadState *state, bool take)
{
	const StediJob *job = state->job;

	if (state->worklist != NULL)
		return take ? stedi_worklist_next(state->worklist) : stedi_worklist_peek(state->worklist);
	return state->taken < job->n_objects ? &job->objects[state->taken] : NULL;
}

/* Keep a copy of an object, which goes before the window does, and start its get. */
static void
take(LoadState *state, InFlight *entry, const StediObject *object)
{
	memset(entry, 0, sizeof(*entry));
	entry->object = stedi_object_keep(object);
	entry->uri = stedi_lake_uri(state->lake, object->key);
	entry->get = stedi_store_get(state->lake->store, entry->object, &entry->status);

	state->taken++;
	if (state->last_key != NULL)
		pfree(state->last_key);
	state->last_key = pstrdup(object->key);
	state->taken_bytes += (int64) object->size;
	pgstat_progress_update_param(PROGRESS_COPY_BYTES_TOTAL, state->taken_bytes);
}

static void
drop(InFlight *entry)
{
	pfree(entry->object->key);
	pfree(entry->object->etag);
	if (entry->object->version_id != NULL)
		pfree(entry->object->version_id);
	pfree(entry->object);
	pfree(entry->uri);
}

static void
load_object(LoadState *state, InFlight *entry)
{
	const StediJob *job = state->job;
	ResourceOwner owner = CurrentResourceOwner;
	MemoryContext old = MemoryContextSwitchTo(state->object_context);
	StediLedgerEntry ledger_entry = {job->source, job->target, entry->uri, entry->object};
	StediOutcome outcome = {0};
	TimestampTz started = GetCurrentTimestamp();
	int32		object_id = 0;
	volatile bool loaded = false;

	outcome.source = job->source;
	outcome.uri = entry->uri;
	state->uri = entry->uri;
	state->record_no = 0;
	INSTR_TIME_SET_ZERO(state->inserting);

	if (job->dry_run)
		loaded = load_records(state, entry, object_id, &outcome);
	else
	{
		BeginInternalSubTransaction(NULL);
		MemoryContextSwitchTo(state->object_context);
		PG_TRY();
		{
			instr_time	begun;

			INSTR_TIME_SET_CURRENT(begun);
			object_id = stedi_ledger_begin(&ledger_entry);
			loaded = replace_older(state, &ledger_entry, object_id, &outcome);
			stedi_add_time(&state->inserting, begun);
			if (loaded)
			{
				stedi_inserter_begin(state->inserter);
				loaded = load_records(state, entry, object_id, &outcome);
				if (loaded)
					stedi_inserter_end(state->inserter);
				else
					stedi_inserter_abandon(state->inserter);
			}
		}
		PG_CATCH();
		{
			/* Whoever handles the error knows nothing of this subtransaction. */
			stedi_rollback_and_rethrow(state->object_context, owner);
		}
		PG_END_TRY();
		if (loaded)
			ReleaseCurrentSubTransaction();
		else
			RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(state->object_context);
		CurrentResourceOwner = owner;
	}

	if (entry->get != NULL)
		stedi_get_close(entry->get);
	entry->get = NULL;
	if (!loaded)
		outcome.loaded = outcome.erased = 0;
	outcome.status = !loaded ? "failed" : outcome.rejected > 0 ? "partial" : "loaded";
	outcome.elapsed = GetCurrentTimestamp() - started;
	outcome.insert = (int64) INSTR_TIME_GET_MICROSEC(state->inserting);
	if (!job->dry_run)
	{
		StediLedgerResult result = {
			outcome.status, outcome.loaded, outcome.rejected, outcome.erased, outcome.bytes, outcome.elapsed,
			outcome.first_error, loaded_extent(state, outcome.loaded)
		};

		if (loaded)
			stedi_ledger_finish(object_id, &result);
		else
			stedi_ledger_fail(&ledger_entry, &result);
	}
	job->report(job->arg, &outcome);

	state->done_bytes += (int64) entry->object->size;
	state->done_rows += outcome.loaded;
	state->done_rejects += outcome.rejected;
	show_progress(state, NULL, NULL);
	state->uri = NULL;
	MemoryContextSwitchTo(old);
	MemoryContextReset(state->object_context);
	stedi_lake_check(state->lake);
}

/* Take back what older versions of the object have left in the target. */
static bool
replace_older(LoadState *state, const StediLedgerEntry *entry, int32 object_id,
			  StediOutcome *outcome)
{
	List	   *extents = stedi_ledger_supersede(entry, object_id);
	ListCell   *cell;

	if (extents == NIL)
		return true;
	if (stedi_row_builder_record_id(state->builder) < 0)
	{
		if (state->job->force)
			return true;
		if (state->job->on_error == STEDI_ON_ERROR_STOP)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("object \"%s\" has changed since it was loaded", stedi_printable(entry->uri)),
					 errdetail("Table \"%s\" has no bigint column record_id, by which the old rows could be told.",
							   RelationGetRelationName(state->rel)),
					 errhint("Use force => true to load it in addition.")));
		outcome->first_error = "object has changed since it was loaded, and the table has no bigint column record_id by which the old rows could be told";
		return false;
	}
	if (pg_class_aclcheck(state->job->target, GetUserId(), ACL_DELETE) != ACLCHECK_OK ||
		pg_class_aclcheck(state->job->target, GetUserId(), ACL_SELECT) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for table %s", RelationGetRelationName(state->rel)),
				 errdetail("The rows of an object that has changed are replaced."),
				 errhint("GRANT SELECT, DELETE ON %s TO %s;", target_name(state),
						 quote_identifier(GetUserNameFromId(GetUserId(), false)))));
	foreach(cell, extents)
		delete_rows(state, lfirst(cell));
	return true;
}

static char *
target_name(LoadState *state)
{
	return quote_qualified_identifier(get_namespace_name(RelationGetNamespace(state->rel)),
									  RelationGetRelationName(state->rel));
}

/*
 * Delete the rows of an object: between the blocks they went to, and if some are
 * not there (the table was rewritten or restored, rows were updated), wherever
 * they are.
 */
static void
delete_rows(LoadState *state, const StediExtent *extent)
{
	int64		deleted = 0;

	if (OidIsValid(extent->filenode) && extent->filenode == state->rel->rd_rel->relfilenode)
		deleted = execute_delete(state, extent,
								 psprintf(" AND ctid >= '(" INT64_FORMAT ",0)' AND ctid < '(" INT64_FORMAT ",0)'",
										  extent->first_block, extent->last_block + 1));
	if (deleted < extent->rows)
		execute_delete(state, extent, "");
}

static int64
execute_delete(LoadState *state, const StediExtent *extent, const char *condition)
{
	char	   *command = psprintf("DELETE FROM %s WHERE record_id >= $1 AND record_id < $2%s",
								   target_name(state), condition);
	Oid			types[2] = {INT8OID, INT8OID};
	Datum		values[2];
	MemoryContext old = CurrentMemoryContext;

	values[0] = Int64GetDatum((int64) extent->object_id << 32);
	values[1] = Int64GetDatum(((int64) extent->object_id + 1) << 32);
	if (SPI_execute_with_args(command, 2, types, values, NULL, false, 0) != SPI_OK_DELETE)
		elog(ERROR, "could not delete the rows of object %d", extent->object_id);
	MemoryContextSwitchTo(old);
	return (int64) SPI_processed;
}

static StediExtent
loaded_extent(LoadState *state, int64 rows)
{
	StediExtent extent = {0};
	BlockNumber first;
	BlockNumber last;

	extent.rows = rows;
	if (rows > 0 && stedi_inserter_blocks(state->inserter, &first, &last))
	{
		extent.filenode = state->rel->rd_rel->relfilenode;
		extent.first_block = first;
		extent.last_block = last;
	}
	return extent;
}

/* False: the object failed, outcome->first_error says why. */
static bool
load_records(LoadState *state, InFlight *entry, int32 object_id, StediOutcome *outcome)
{
	const StediJob *job = state->job;
	TupleDesc	desc = RelationGetDescr(state->rel);
	Datum	   *values = palloc(sizeof(Datum) * Max(desc->natts, 1));
	bool	   *nulls = palloc(sizeof(bool) * Max(desc->natts, 1));
	int			record_id = stedi_row_builder_record_id(state->builder);
	StediScan  *scan;
	StediStatus status = {0};
	bool		whole = true;

	if (entry->get == NULL)
		return object_lost(state, &entry->status, outcome);
	scan = stedi_scan_begin(state->lake, entry->get, stedi_row_builder_schema(state->builder),
							job->compression, stedi_row_builder_rescued(state->builder) >= 0);
	entry->get = NULL;

	while (whole)
	{
		StediJsonRecord record;
		StediRowError error = {0};
		StediReject reject = {0};
		MemoryContext old;
		StediJsonEvent event = stedi_scan_next(scan, &record, &status);
		StediInserted inserted = STEDI_INSERTED;
		bool		good;

		if (event == STEDI_JSON_END)
			break;
		if (event == STEDI_JSON_FAILED)
		{
			whole = object_lost(state, &status, outcome);
			break;
		}

		state->record_no = record.record_no;
		outcome->parsed++;
		reject.record_no = record.record_no;
		reject.byte_offset = (int64) record.byte_offset;
		reject.byte_length = (int64) record.byte_length;
		reject.raw = record.text;
		reject.raw_length = record.length;

		if (event == STEDI_JSON_REJECT)
		{
			reject.sqlstate = stedi_fault_sqlstate(record.fault);
			reject.message = record.message;
			reject.line = (int64) stedi_scan_line(scan);
			whole = note_reject(state, object_id, &reject, outcome);
			MemoryContextReset(state->row_context);
			continue;
		}

		old = MemoryContextSwitchTo(state->row_context);
		good = stedi_row_build(state->builder, &record, values, nulls, &error);
		if (good && stedi_erased_row(state->erasures, values, nulls))
		{
			outcome->erased++;
			MemoryContextSwitchTo(old);
			MemoryContextReset(state->row_context);
			continue;
		}
		if (good)
			stedi_erase_rescued(state->erasures, values, nulls);
		if (good && record_id >= 0)
		{
			values[record_id] = Int64GetDatum((int64) object_id << 32 | record.record_no);
			nulls[record_id] = false;
		}
		if (good && !job->dry_run)
			inserted = stedi_inserter_add(state->inserter, values, nulls, &error);
		MemoryContextSwitchTo(old);

		if (good && inserted != STEDI_REFUSED)
			outcome->loaded += inserted == STEDI_INSERTED;
		else
		{
			reject.sqlstate = error.sqlstate;
			reject.message = error.message;
			reject.column_name = error.column;
			reject.line = (int64) stedi_scan_line(scan);
			whole = note_reject(state, object_id, &reject, outcome);
		}
		MemoryContextReset(state->row_context);
		if (outcome->parsed % PROGRESS_ROWS == 0)
			show_progress(state, scan, outcome);
	}

	if (whole)
		state->lake->lost = 0;
	outcome->bytes = (int64) stedi_scan_bytes(scan);
	outcome->download = stedi_scan_waited(scan);
	stedi_scan_end(scan);
	return whole;
}

/* False: too many, the object is not to be loaded. */
static bool
note_reject(LoadState *state, int32 object_id, StediReject *reject, StediOutcome *outcome)
{
	const StediJob *job = state->job;
	MemoryContext old;
	instr_time	begun;

	outcome->rejected++;
	if (outcome->first_error == NULL)
		outcome->first_error = psprintf("record " INT64_FORMAT ", line " INT64_FORMAT "%s%s: %s",
										reject->record_no, reject->line,
										reject->column_name ? ", column " : "",
										reject->column_name ? reject->column_name : "",
										reject->message);

	if (job->on_error == STEDI_ON_ERROR_STOP)
		ereport(ERROR,
				(errcode(reject->sqlstate),
				 errmsg("%s", reject->message),
				 errdetail("Line " INT64_FORMAT ", byte " INT64_FORMAT ", " INT64_FORMAT " bytes long%s%s.",
						   reject->line, reject->byte_offset, reject->byte_length,
						   reject->column_name ? ", column " : "",
						   reject->column_name ? reject->column_name : ""),
				 errhint("With on_error => 'reject' the rest is loaded, and this goes into stedi.reject.")));
	if (job->on_error == STEDI_ON_ERROR_SKIP_OBJECT)
		return false;
	if (job->reject_limit >= 0 && outcome->rejected > job->reject_limit)
	{
		outcome->first_error = psprintf("more than " INT64_FORMAT " rejects; first: %s",
										job->reject_limit, outcome->first_error);
		return false;
	}

	if (!job->dry_run)
	{
		INSTR_TIME_SET_CURRENT(begun);
		old = MemoryContextSwitchTo(state->row_context);
		if (stedi_erased_text(state->erasures, reject->raw, reject->raw_length))
			reject->raw_length = 0;
		stedi_ledger_reject(object_id, reject);
		MemoryContextSwitchTo(old);
		stedi_add_time(&state->inserting, begun);
	}
	return true;
}

/*
 * The object could not be read.  One such object is a failed object; a store
 * that cannot be reached, or does not know us, is an error.
 */
static bool
object_lost(LoadState *state, const StediStatus *status, StediOutcome *outcome)
{
	bool		unreachable = status->code == STEDI_CONNECTION || status->code == STEDI_THROTTLED;

	state->lake->lost = unreachable ? state->lake->lost + 1 : 0;
	if (state->job->on_error == STEDI_ON_ERROR_STOP ||
		status->code == STEDI_CREDENTIALS || status->code == STEDI_NO_MEMORY ||
		state->lake->lost >= MAX_LOST_OBJECTS)
		stedi_lake_fail(state->lake, status);
	outcome->first_error = stedi_status_line(status);
	return false;
}

static void
show_progress(LoadState *state, const StediScan *scan, const StediOutcome *outcome)
{
	static const int params[] = {
		PROGRESS_COPY_BYTES_PROCESSED,
		PROGRESS_COPY_TUPLES_PROCESSED,
		PROGRESS_COPY_TUPLES_EXCLUDED
	};
	int64		values[lengthof(params)];

	values[0] = state->done_bytes + (scan ? (int64) stedi_scan_stored_bytes(scan) : 0);
	values[1] = state->done_rows + (outcome ? outcome->loaded : 0);
	values[2] = state->done_rejects + (outcome ? outcome->rejected : 0);
	pgstat_progress_update_multi_param(lengthof(params), params, values);
}

static void
load_error_context(void *arg)
{
	LoadState  *state = arg;

	if (state->uri == NULL)
		return;
	if (state->record_no > 0)
		errcontext("loading object %s, record %u", stedi_printable(state->uri), state->record_no);
	else
		errcontext("loading object %s", stedi_printable(state->uri));
}
