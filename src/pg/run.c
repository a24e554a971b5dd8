/*
 * run.c
 *		CALL stedi.run(): the whole job, for a scheduler.
 *
 * Ingest, refresh and export, with a commit after each step, and during ingest
 * after each batch of objects; the batches can be loaded by background workers.  A
 * lock on the procedure, held by the session and let go whatever happens, keeps a
 * second run out.
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
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "pg/error.h"
#include "pg/ingest.h"
#include "pg/ledger.h"
#include "pg/pending.h"
#include "pg/worker.h"

PG_FUNCTION_INFO_V1(stedi_run);

typedef struct RunTotals
{
	int64		objects;
	int64		loaded;
	int64		rejected;
	int64		failed;
	int64		elapsed;		/* microseconds, of all workers together */
	int64		download;
	int64		insert;
} RunTotals;

/* A source, and how far it has been loaded. */
typedef struct Source
{
	char	   *name;
	RunTotals	totals;
	char	   *key;			/* of the last object taken, or NULL */
	bool		done;			/* there is no other */
	bool		readable;		/* so far */
	int64		elapsed;		/* microseconds, by workers */
} Source;

static void run_job(int64 max_objects, int64 max_bytes, bool concurrently, int workers);
static List *begin_ingest(int64 max_objects, int64 max_bytes, int workers);
static void ingest_by_workers(List *jobs, List *sources, int workers);
static void ingest_source(Source *source, int64 max_objects, int64 max_bytes);
static void ingest_step(Source *source, int64 max_objects, int64 max_bytes);
static void report_ingest(const Source *source, int64 elapsed);
static void count_outcome(void *arg, const StediOutcome *outcome);
static void refresh_zones(bool concurrently);
static void export_targets(void);
static void commit_step(void);

PGDLLEXPORT Datum
stedi_run(PG_FUNCTION_ARGS)
{
	bool		atomic = fcinfo->context == NULL || !IsA(fcinfo->context, CallContext) ||
		castNode(CallContext, fcinfo->context)->atomic;
	int64		max_objects = stedi_limit_option(fcinfo, 0, "max_objects", 1);
	int64		max_bytes = stedi_size_option(fcinfo, 1, "max_bytes");
	bool		concurrently = !PG_ARGISNULL(2) && PG_GETARG_BOOL(2);
	bool		wait = !PG_ARGISNULL(3) && PG_GETARG_BOOL(3);
	int			workers = PG_ARGISNULL(4) ? 0 : PG_GETARG_INT32(4);
	LOCKTAG		tag;

	if (atomic)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
				 errmsg("stedi.run() cannot run inside a transaction block"),
				 errdetail("It commits after each step.")));
	if (workers < 0 || workers > STEDI_MAX_WORKERS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("workers must be between 0 and %d", STEDI_MAX_WORKERS)));
	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, ProcedureRelationId, fcinfo->flinfo->fn_oid, 0);
	if (LockAcquire(&tag, ExclusiveLock, true, !wait) == LOCKACQUIRE_NOT_AVAIL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("stedi.run() is running already"),
				 errhint("Use wait => true to run after it.")));
	PG_TRY();
	{
		SPI_connect_ext(SPI_OPT_NONATOMIC);
		run_job(max_objects, max_bytes, concurrently, workers);
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
run_job(int64 max_objects, int64 max_bytes, bool concurrently, int workers)
{
	List	   *sources;
	int			failed = 0;
	ListCell   *cell;

	stedi_pending_clean(NULL);
	commit_step();
	sources = begin_ingest(max_objects, max_bytes, workers);
	commit_step();
	foreach(cell, sources)
	{
		Source	   *source = lfirst(cell);

		ingest_source(source, max_objects, max_bytes);
		failed += !source->readable;
	}
	refresh_zones(concurrently);
	commit_step();
	export_targets();

	/* All that could be done is done and committed; a scheduler still has to see it. */
	if (failed > 0)
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("%d of %d sources could not be loaded to the end", failed, list_length(sources)),
				 errdetail("What was loaded has been refreshed and exported."),
				 errhint("The warnings above say why.")));
}

/* The sources, and with workers all of them that those can load. */
static List *
begin_ingest(int64 max_objects, int64 max_bytes, int workers)
{
	MemoryContext context = CurrentMemoryContext;
	List	   *sources = NIL;
	List	   *jobs;
	ListCell   *cell;

	/* What is allocated here lives as long as the connection, whatever is committed. */
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	jobs = stedi_source_jobs(NULL);
	foreach(cell, jobs)
	{
		StediJob   *job = lfirst(cell);
		MemoryContext old = MemoryContextSwitchTo(context);
		Source	   *source = palloc0(sizeof(Source));

		source->name = pstrdup(job->source);
		source->readable = true;
		sources = lappend(sources, source);
		MemoryContextSwitchTo(old);

		job->max_objects = max_objects;
		job->max_bytes = max_bytes;
		job->report = count_outcome;
		job->arg = &source->totals;
	}
	if (workers > 0)
		ingest_by_workers(jobs, sources, workers);
	SPI_finish();
	return sources;
}

static void
ingest_by_workers(List *jobs, List *sources, int workers)
{
	StediWorkerLoad *loads = palloc0(sizeof(StediWorkerLoad) * list_length(jobs));
	int			begun = 0;

	for (int i = 0; i < list_length(jobs); i++)
		loads[i].job = list_nth(jobs, i);
	while (begun < list_length(jobs))
	{
		begun += stedi_run_workers(loads + begun, list_length(jobs) - begun, workers);
		commit_step();
	}
	for (int i = 0; i < list_length(sources); i++)
	{
		Source	   *source = list_nth(sources, i);

		source->done = loads[i].complete;
		source->elapsed = loads[i].elapsed;
		if (loads[i].last_key != NULL)
			source->key = MemoryContextStrdup(GetMemoryChunkContext(source), loads[i].last_key);
		source->readable = !loads[i].failed;
	}
}

/* In batches in key order, each in its own transaction, to the end of the listing. */
static void
ingest_source(Source *source, int64 max_objects, int64 max_bytes)
{
	TimestampTz started = GetCurrentTimestamp();

	while (source->readable && !source->done)
	{
		ingest_step(source, max_objects, max_bytes);
		commit_step();
	}
	report_ingest(source, source->elapsed + GetCurrentTimestamp() - started);
}

static void
report_ingest(const Source *source, int64 elapsed)
{
	const RunTotals *totals = &source->totals;
	int64		parse = Max(totals->elapsed - totals->download - totals->insert, 0);

	ereport(NOTICE,
			(errmsg("ingest %s: " INT64_FORMAT " objects, " INT64_FORMAT " rows loaded, "
					INT64_FORMAT " rejected, " INT64_FORMAT " objects failed",
					source->name, totals->objects, totals->loaded, totals->rejected, totals->failed),
			 totals->objects > 0 ?
			 errdetail("It took %.3f s; the objects %.3f s: download %.3f, parse %.3f, insert %.3f.",
					   elapsed / (double) USECS_PER_SEC, totals->elapsed / (double) USECS_PER_SEC,
					   totals->download / (double) USECS_PER_SEC, parse / (double) USECS_PER_SEC,
					   totals->insert / (double) USECS_PER_SEC) : 0));
}

static void
ingest_step(Source *source, int64 max_objects, int64 max_bytes)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	RunTotals	before = source->totals;

	BeginInternalSubTransaction(NULL);
	PG_TRY();
	{
		StediJob   *job;
		char	   *last_key;

		SPI_connect();
		job = linitial(stedi_source_jobs(source->name));
		job->max_objects = max_objects;
		job->max_bytes = max_bytes;
		job->after = source->key;
		job->report = count_outcome;
		job->arg = &source->totals;
		last_key = stedi_run_job(job);
		source->done = last_key == NULL;
		source->key = last_key != NULL ? MemoryContextStrdup(context, last_key) : NULL;
		SPI_finish();
		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
	}
	PG_CATCH();
	{
		ErrorData  *error = stedi_rollback_caught(context, owner);

		if (!stedi_concerns_source(error->sqlerrcode))
			ReThrowError(error);
		source->totals = before;	/* the batch was rolled back */
		stedi_warn_source(source->name, error);
		source->readable = false;
	}
	PG_END_TRY();
}

static void
count_outcome(void *arg, const StediOutcome *outcome)
{
	RunTotals  *totals = arg;

	totals->objects++;
	totals->loaded += outcome->loaded;
	totals->rejected += outcome->rejected;
	totals->elapsed += outcome->elapsed;
	totals->download += outcome->download;
	totals->insert += outcome->insert;
	if (strcmp(outcome->status, "failed") == 0)
	{
		totals->failed++;
		ereport(WARNING,
				(errmsg("object %s was not loaded", stedi_printable(outcome->uri)),
				 errdetail("%s", outcome->first_error)));
	}
}

static void
refresh_zones(bool concurrently)
{
	Oid			types[1] = {BOOLOID};
	Datum		values[1] = {BoolGetDatum(concurrently)};

	if (SPI_execute_with_args("SELECT pg_catalog.count(*) FROM stedi.refresh($1)", 1, types, values, NULL,
							  false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not refresh the zones");
}

/*
 * The targets are read as the owner, as the sources are; the export is the caller's.
 * Each is committed: what one has written stands, whatever becomes of the next.
 */
static void
export_targets(void)
{
	static const char *const targets_command =
		"SELECT source, uri, format, compression, max_file_size FROM stedi.export_target ORDER BY uri";
	static const char *const export_command =
		"SELECT pg_catalog.sum(rows), pg_catalog.count(*)"
		" FROM stedi.export($1, $2, $3, $4, $5, mode => 'overwrite')";
	Oid			types[5] = {REGCLASSOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID};
	StediIdentity self = stedi_become_owner();
	SPITupleTable *targets;
	uint64		n_targets;

	if (SPI_execute(targets_command, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read stedi.export_target");
	stedi_become_self(self);
	targets = SPI_tuptable;
	n_targets = SPI_processed;

	for (uint64 i = 0; i < n_targets; i++)
	{
		Datum		values[5];
		char		nulls[] = "     ";

		for (int column = 0; column < 5; column++)
		{
			bool		isnull;

			values[column] = SPI_getbinval(targets->vals[i], targets->tupdesc, column + 1, &isnull);
			nulls[column] = isnull ? 'n' : ' ';
		}
		if (SPI_execute_with_args(export_command, 5, types, values, nulls, false, 0) != SPI_OK_SELECT)
			elog(ERROR, "could not export");
		ereport(NOTICE,
				(errmsg("export %s: %s rows in %s files",
						SPI_getvalue(targets->vals[i], targets->tupdesc, 2),
						SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1),
						SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2))));
		commit_step();
	}
}

static void
commit_step(void)
{
	SPI_commit();
	/* What runs outside of SPI wants a snapshot again. */
	EnsurePortalSnapshotExists();
}
