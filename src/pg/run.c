/*
 * run.c
 *		CALL stedi.run(): the whole job, for a scheduler.
 *
 * Ingest, refresh and export, with a commit after each step, and during ingest
 * after each batch of objects.  A lock on the procedure, held by the session and
 * let go whatever happens, keeps a second run out.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/lock.h"
#include "tcop/pquery.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "pg/ingest.h"

PG_FUNCTION_INFO_V1(stedi_run);

typedef struct RunTotals
{
	int64		objects;
	int64		loaded;
	int64		rejected;
	int64		failed;
} RunTotals;

static void run_job(int64 max_objects, int64 max_bytes, bool concurrently);
static void ingest_source(const char *name, int64 max_objects, int64 max_bytes);
static List *source_names(MemoryContext context);
static void count_outcome(void *arg, const StediOutcome *outcome);
static void refresh_zones(bool concurrently);
static void export_targets(void);
static void commit_step(void);

PGDLLEXPORT Datum
stedi_run(PG_FUNCTION_ARGS)
{
	bool		atomic = fcinfo->context == NULL || !IsA(fcinfo->context, CallContext) ||
		castNode(CallContext, fcinfo->context)->atomic;
	int64		max_objects = PG_ARGISNULL(0) ? -1 : PG_GETARG_INT64(0);
	int64		max_bytes = PG_ARGISNULL(1) ? -1 :
		DatumGetInt64(DirectFunctionCall1(pg_size_bytes, PG_GETARG_DATUM(1)));
	bool		concurrently = !PG_ARGISNULL(2) && PG_GETARG_BOOL(2);
	bool		wait = !PG_ARGISNULL(3) && PG_GETARG_BOOL(3);
	LOCKTAG		tag;

	if (atomic)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
				 errmsg("stedi.run() cannot run inside a transaction block"),
				 errdetail("It commits after each step.")));
	if (max_objects == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_objects must be greater than zero")));

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, ProcedureRelationId, fcinfo->flinfo->fn_oid, 0);
	if (LockAcquire(&tag, ExclusiveLock, true, !wait) == LOCKACQUIRE_NOT_AVAIL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("stedi.run() is running already"),
				 errhint("Use wait => true to run after it.")));
	PG_TRY();
	{
		SPI_connect_ext(SPI_OPT_NONATOMIC);
		run_job(max_objects, max_bytes, concurrently);
		SPI_finish();
	}
	PG_FINALLY();
	{
		LockRelease(&tag, ExclusiveLock, true);
	}
	PG_END_TRY();
	PG_RETURN_VOID();
}

static void
run_job(int64 max_objects, int64 max_bytes, bool concurrently)
{
	List	   *names = source_names(CurrentMemoryContext);
	ListCell   *cell;

	foreach(cell, names)
		ingest_source(lfirst(cell), max_objects, max_bytes);
	refresh_zones(concurrently);
	commit_step();
	export_targets();
	commit_step();
}

static List *
source_names(MemoryContext context)
{
	List	   *names = NIL;
	List	   *jobs;
	ListCell   *cell;

	SPI_connect();
	jobs = stedi_source_jobs(NULL);
	foreach(cell, jobs)
	{
		StediJob   *job = lfirst(cell);
		MemoryContext old = MemoryContextSwitchTo(context);

		names = lappend(names, pstrdup(job->source));
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
	return names;
}

/* Batches in key order, each in its own transaction, to the end of the listing. */
static void
ingest_source(const char *name, int64 max_objects, int64 max_bytes)
{
	RunTotals	totals = {0};
	MemoryContext context = CurrentMemoryContext;
	char	   *after = NULL;
	char	   *last_key;

	do
	{
		StediJob   *job;

		SPI_connect();
		job = linitial(stedi_source_jobs(name));
		job->max_objects = max_objects;
		job->max_bytes = max_bytes;
		job->after = after;
		job->report = count_outcome;
		job->arg = &totals;
		last_key = stedi_run_job(job);
		if (last_key != NULL)
			after = MemoryContextStrdup(context, last_key);
		SPI_finish();
		commit_step();
	} while (last_key != NULL);

	ereport(NOTICE,
			(errmsg("ingest %s: " INT64_FORMAT " objects, " INT64_FORMAT " rows loaded, "
					INT64_FORMAT " rejected, " INT64_FORMAT " objects failed",
					name, totals.objects, totals.loaded, totals.rejected, totals.failed)));
}

static void
count_outcome(void *arg, const StediOutcome *outcome)
{
	RunTotals  *totals = arg;

	totals->objects++;
	totals->loaded += outcome->loaded;
	totals->rejected += outcome->rejected;
	if (strcmp(outcome->status, "failed") == 0)
	{
		totals->failed++;
		ereport(WARNING,
				(errmsg("object %s was not loaded", outcome->uri),
				 errdetail("%s", outcome->first_error)));
	}
}

static void
refresh_zones(bool concurrently)
{
	Oid			types[1] = {BOOLOID};
	Datum		values[1] = {BoolGetDatum(concurrently)};

	if (SPI_execute_with_args("SELECT zone, rows FROM stedi.refresh($1)", 1, types, values, NULL,
							  false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not refresh the zones");
	for (uint64 i = 0; i < SPI_processed; i++)
		ereport(NOTICE,
				(errmsg("refresh %s: %s rows",
						SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1),
						SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2))));
}

static void
export_targets(void)
{
	static const char *const command =
		"SELECT t.uri, pg_catalog.sum(e.rows), pg_catalog.count(*)"
		" FROM stedi.export_target AS t,"
		"  stedi.export(t.source, t.uri, t.format, t.compression, t.max_file_size,"
		"               mode => 'overwrite') AS e"
		" GROUP BY t.uri";

	if (SPI_execute(command, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not export");
	for (uint64 i = 0; i < SPI_processed; i++)
		ereport(NOTICE,
				(errmsg("export %s: %s rows in %s files",
						SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1),
						SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2),
						SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 3))));
}

static void
commit_step(void)
{
	SPI_commit();
	/* What runs outside of SPI wants a snapshot again. */
	EnsurePortalSnapshotExists();
}
