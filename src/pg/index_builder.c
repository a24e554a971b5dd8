/*
 * index_builder.c
 *		Building the indexes of tables that have been filled anew, several at a time.
 *
 * PostgreSQL builds one index after the other, each with workers that sort and a
 * leader that merges.  Here each process builds whole indexes, the largest first,
 * which costs less where there are several: nothing is merged.  Those whose keys
 * have one size are written by btree_writer.c, the others as ever.
 */
#include "postgres.h"

#include "access/amapi.h"
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/parallel.h"
#include "access/table.h"
#include "access/visibilitymap.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "catalog/pg_am.h"
#include "catalog/pg_index.h"
#include "commands/tablecmds.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "optimizer/plancat.h"
#include "port/atomics.h"
#include "portability/instr_time.h"
#include "storage/bufmgr.h"
#include "storage/predicate.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "pg/btree_writer.h"
#include "pg/compat.h"
#include "pg/index_builder.h"

#define KEY_JOBS 1				/* in the shared memory */

typedef struct Job
{
	Oid			heap;
	Oid			index;
	BlockNumber heap_blocks;
	uint64		heap_rows;		/* before it is built, and after */
	uint64		index_rows;
	double		milliseconds;
} Job;

typedef struct Jobs
{
	pg_atomic_uint32 next;
	int			n;
	Job			jobs[FLEXIBLE_ARRAY_MEMBER];
} Jobs;

PGDLLEXPORT void stedi_build_indexes_worker(dsm_segment *segment, shm_toc *toc);

static List *list_jobs(const StediIndexedTable *tables, int n_tables);
static bool fits_job(Relation index);
static int	larger_first(const ListCell *a, const ListCell *b);
static void build_alone(Job *job);
static void build_together(List *list);
static void empty_index(Oid indexid);
static void run_jobs(Jobs *jobs);
static void run_job(Job *job);
static void set_statistics(const Job *job);
static void hide_indexes(PlannerInfo *root, Oid relid, bool inhparent, RelOptInfo *rel);

static char *unindexed;			/* setting */
static get_relation_info_hook_type next_hook;

void
stedi_build_indexes(StediIndexedTable *tables, int n_tables)
{
	List	   *jobs = list_jobs(tables, n_tables);
	List	   *together = NIL;
	bool		sorted = false;
	ListCell   *cell;

	foreach(cell, jobs)
	{
		Job		   *job = lfirst(cell);
		Relation	index = index_open(job->index, AccessExclusiveLock);

		CheckTableNotInUse(index, "REINDEX INDEX");
		if (fits_job(index))
		{
			together = lappend(together, job);
			sorted = sorted || !stedi_btree_is_plain(index);
		}
		index_close(index, NoLock);
	}
	/* One alone is better sorted by several processes. */
	if (list_length(together) == 1 && sorted)
		together = NIL;

	foreach(cell, jobs)
	{
		if (!list_member_ptr(together, lfirst(cell)))
			build_alone(lfirst(cell));
	}
	if (together != NIL)
	{
		list_sort(together, larger_first);
		build_together(together);
	}

	foreach(cell, jobs)
	{
		const Job  *job = lfirst(cell);

		for (int i = 0; i < n_tables; i++)
		{
			if (tables[i].relid == job->heap)
				tables[i].milliseconds += job->milliseconds;
		}
	}
	list_free_deep(jobs);
}

static List *
list_jobs(const StediIndexedTable *tables, int n_tables)
{
	List	   *jobs = NIL;

	for (int i = 0; i < n_tables; i++)
	{
		Relation	heap = table_open(tables[i].relid, NoLock);
		List	   *indexes = RelationGetIndexList(heap);
		ListCell   *cell;

		foreach(cell, indexes)
		{
			Job		   *job = palloc0(sizeof(Job));

			job->heap = tables[i].relid;
			job->index = lfirst_oid(cell);
			job->heap_blocks = RelationGetNumberOfBlocks(heap);
			job->heap_rows = tables[i].rows;
			jobs = lappend(jobs, job);
		}
		list_free(indexes);
		table_close(heap, NoLock);
	}
	return jobs;
}

/* Nothing is run but comparisons, and what is not as it should be is not mended. */
static bool
fits_job(Relation index)
{
	return index->rd_rel->relam == BTREE_AM_OID && index->rd_index->indisvalid &&
		!index->rd_index->indcheckxmin &&
		heap_attisnull(index->rd_indextuple, Anum_pg_index_indexprs, NULL) &&
		heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL);
}

static int
larger_first(const ListCell *a, const ListCell *b)
{
	const Job  *left = lfirst(a);
	const Job  *right = lfirst(b);

	if (left->heap_blocks != right->heap_blocks)
		return left->heap_blocks > right->heap_blocks ? -1 : 1;
	return 0;
}

static void
build_alone(Job *job)
{
	instr_time	begun;
	instr_time	elapsed;

	INSTR_TIME_SET_CURRENT(begun);
	StediReindexIndex(job->index);
	CommandCounterIncrement();
	INSTR_TIME_SET_CURRENT(elapsed);
	INSTR_TIME_SUBTRACT(elapsed, begun);
	job->milliseconds = INSTR_TIME_GET_MILLISEC(elapsed);
}

static void
build_together(List *list)
{
	Size		size = offsetof(Jobs, jobs) + sizeof(Job) * list_length(list);
	int			n_workers = Min(max_parallel_maintenance_workers, list_length(list) - 1);
	ParallelContext *context;
	Jobs	   *jobs;
	ListCell   *cell;

	foreach(cell, list)
		empty_index(((Job *) lfirst(cell))->index);

	EnterParallelMode();
	context = CreateParallelContext("$libdir/stedi", "stedi_build_indexes_worker", n_workers);
	shm_toc_estimate_chunk(&context->estimator, size);
	shm_toc_estimate_keys(&context->estimator, 1);
	InitializeParallelDSM(context);
	jobs = shm_toc_allocate(context->toc, size);
	pg_atomic_init_u32(&jobs->next, 0);
	jobs->n = list_length(list);
	foreach(cell, list)
		jobs->jobs[foreach_current_index(cell)] = *(Job *) lfirst(cell);
	shm_toc_insert(context->toc, KEY_JOBS, jobs);

	LaunchParallelWorkers(context);
	run_jobs(jobs);
	WaitForParallelWorkersToFinish(context);
	foreach(cell, list)
		*(Job *) lfirst(cell) = jobs->jobs[foreach_current_index(cell)];
	DestroyParallelContext(context);
	ExitParallelMode();

	foreach(cell, list)
		set_statistics(lfirst(cell));
	CommandCounterIncrement();
}

static void
empty_index(Oid indexid)
{
	Relation	index = index_open(indexid, NoLock);

	/* as reindex_index() */
	TransferPredicateLocksToHeapRelation(index);
	StediSetNewStorage(index);
	index_close(index, NoLock);
}

PGDLLEXPORT void
stedi_build_indexes_worker(dsm_segment *segment, shm_toc *toc)
{
	run_jobs(shm_toc_lookup(toc, KEY_JOBS, false));
}

static void
run_jobs(Jobs *jobs)
{
	uint32		at;

	while ((at = pg_atomic_fetch_add_u32(&jobs->next, 1)) < (uint32) jobs->n)
		run_job(&jobs->jobs[at]);
}

static void
run_job(Job *job)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "stedi index", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	/* Workers hold the locks of their leader as well. */
	Relation	heap = table_open(job->heap, AccessShareLock);
	Relation	index = index_open(job->index, AccessShareLock);
	instr_time	begun;
	instr_time	elapsed;

	INSTR_TIME_SET_CURRENT(begun);
	if (stedi_btree_is_plain(index) && stedi_btree_write(heap, index, job->heap_rows))
		job->index_rows = job->heap_rows;
	else
	{
		IndexBuildResult *result = index->rd_indam->ambuild(heap, index, BuildIndexInfo(index));

		job->heap_rows = (uint64) result->heap_tuples;
		job->index_rows = (uint64) result->index_tuples;
	}
	INSTR_TIME_SET_CURRENT(elapsed);
	INSTR_TIME_SUBTRACT(elapsed, begun);
	job->milliseconds = INSTR_TIME_GET_MILLISEC(elapsed);

	index_close(index, AccessShareLock);
	table_close(heap, AccessShareLock);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

/* As index_build() does. */
static void
set_statistics(const Job *job)
{
	Relation	heap = table_open(job->heap, NoLock);
	Relation	index = index_open(job->index, NoLock);
	BlockNumber all_visible;

	visibilitymap_count(heap, &all_visible, NULL);
	StediUpdateRelStats(heap, RelationGetNumberOfBlocks(heap), (double) job->heap_rows, all_visible, true);
	StediUpdateRelStats(index, RelationGetNumberOfBlocks(index), (double) job->index_rows, 0, false);
	CacheInvalidateRelcache(heap);
	index_close(index, NoLock);
	table_close(heap, NoLock);
}

/* A setting, because workers get those of their leader. */
void
stedi_index_builder_init(void)
{
	DefineCustomStringVariable("stedi.unindexed",
							   "OIDs of tables whose indexes the planner does not use.",
							   "Set by stedi.refresh_zones() while they are out of date.",
							   &unindexed, "", PGC_SUSET,
							   GUC_NO_SHOW_ALL | GUC_NO_RESET_ALL | GUC_NOT_IN_SAMPLE | GUC_DISALLOW_IN_FILE,
							   NULL, NULL, NULL);
	next_hook = get_relation_info_hook;
	get_relation_info_hook = hide_indexes;
}

void
stedi_hide_indexes(Oid relid)
{
	set_config_option("stedi.unindexed", psprintf("%s %u", unindexed, relid), PGC_SUSET, PGC_S_SESSION,
					  GUC_ACTION_SAVE, true, 0, false);
}

static void
hide_indexes(PlannerInfo *root, Oid relid, bool inhparent, RelOptInfo *rel)
{
	char	   *end;

	if (next_hook != NULL)
		next_hook(root, relid, inhparent, rel);
	for (const char *at = unindexed; *at != '\0'; at = end)
	{
		if ((Oid) strtoul(at, &end, 10) == relid)
			rel->indexlist = NIL;
		if (end == at)
			break;
	}
}
