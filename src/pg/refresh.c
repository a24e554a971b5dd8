/*
 * refresh.c
 *		stedi.refresh_zone(): what REFRESH MATERIALIZED VIEW does, in less time.
 *
 * The query is planned to run in parallel, with the memory of maintenance.  Plain,
 * each process writes its rows to a new heap, which then takes the place of the old
 * one; concurrently, they go to diff.c.  Locks, rights, the
 * security-restricted operation and what readers see are those of the command.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/multixact.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "commands/cluster.h"
#include "commands/matview.h"
#include "commands/tablecmds.h"
#include "executor/executor.h"
#include "executor/tstoreReceiver.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "pgstat.h"
#include "rewrite/prs2lock.h"
#include "rewrite/rewriteHandler.h"
#include "storage/lmgr.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"

#include "pg/compat.h"
#include "pg/diff.h"
#include "pg/heap_writer.h"
#include "pg/insert.h"
#include "pg/sink.h"

PG_FUNCTION_INFO_V1(stedi_refresh_zone);

typedef struct DiffReceiver
{
	DestReceiver base;
	StediDiff  *diff;
} DiffReceiver;

static Relation open_zone(Oid relid, bool concurrently);
static void check_concurrently(Relation rel);
static bool identifies_rows(Relation index);
static Query *zone_query(Relation rel);
static void set_for_refresh(void);
static uint64 replace_rows(Relation rel, Query *query);
static uint64 fill_heap(Relation rel, Query *query);
static uint64 insert_rest(Relation rel, Tuplestorestate *rest);
static uint64 merge_rows(Relation rel, Query *query);
static uint64 run_query(Query *query, dsm_segment *writer, DestReceiver *receiver);
static void start_rows(DestReceiver *self, int operation, TupleDesc desc);
static bool receive_row(TupleTableSlot *slot, DestReceiver *self);
static void end_rows(DestReceiver *self);

PGDLLEXPORT Datum
stedi_refresh_zone(PG_FUNCTION_ARGS)
{
	bool		concurrently = PG_GETARG_BOOL(1);
	Relation	rel;
	Query	   *query;
	Oid			userid;
	int			sec_context;
	int			nest_level;
	uint64		rows;

	PreventCommandIfReadOnly("stedi.refresh_zone()");
	rel = open_zone(PG_GETARG_OID(0), concurrently);

	/* Functions of the query and of indexes are run as the view's owner, and must
	 * not change what the caller does later.  So it is from here on: a look at the
	 * predicate of an index runs functions, and the rewriter asks who the user is
	 * whose row security holds. */
	GetUserIdAndSecContext(&userid, &sec_context);
	SetUserIdAndSecContext(rel->rd_rel->relowner, sec_context | SECURITY_RESTRICTED_OPERATION);
	nest_level = NewGUCNestLevel();
	set_for_refresh();

	if (concurrently)
		check_concurrently(rel);
	query = zone_query(rel);
	rows = concurrently ? merge_rows(rel, query) : replace_rows(rel, query);

	table_close(rel, NoLock);
	AtEOXact_GUC(false, nest_level);
	SetUserIdAndSecContext(userid, sec_context);
	PG_RETURN_INT64((int64) rows);
}

/* Locked until the end of the transaction. */
static Relation
open_zone(Oid relid, bool concurrently)
{
	char	   *name = get_rel_name(relid);
	Relation	rel;

	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid)));
	if (get_rel_relkind(relid) != RELKIND_MATVIEW)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a materialized view", name)));
	/* Before a lock that others would wait for. */
	if (!StediMayMaintain(relid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_MATVIEW, name);

	rel = table_open(relid, concurrently ? ExclusiveLock : AccessExclusiveLock);
	CheckTableNotInUse(rel, "REFRESH MATERIALIZED VIEW");
	return rel;
}

static void
check_concurrently(Relation rel)
{
	char	   *name = RelationGetRelationName(rel);
	List	   *indexes;
	ListCell   *cell;
	bool		identified = false;

	if (!RelationIsPopulated(rel))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("materialized view \"%s\" cannot be refreshed concurrently before it is populated", name),
				 errhint("Refresh it without concurrently first.")));
	indexes = RelationGetIndexList(rel);
	foreach(cell, indexes)
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);

		identified = identified || identifies_rows(index);
		index_close(index, NoLock);
	}
	if (!identified)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot refresh materialized view \"%s\" concurrently", name),
				 errhint("Create a unique index with no WHERE clause on one or more columns of the materialized view.")));
}

/* Unique, on all rows, by columns alone. */
static bool
identifies_rows(Relation index)
{
	Form_pg_index form = index->rd_index;

	if (!form->indisunique || !form->indimmediate || !form->indisvalid ||
		RelationGetIndexPredicate(index) != NIL)
		return false;
	for (int i = 0; i < form->indnkeyatts; i++)
	{
		if (form->indkey.values[i] <= 0)
			return false;
	}
	return form->indnkeyatts > 0;
}

static Query *
zone_query(Relation rel)
{
	RuleLock   *rules = rel->rd_rules;
	List	   *rewritten;
	Query	   *query;

	if (rules == NULL || rules->numLocks != 1 || rules->rules[0]->event != CMD_SELECT ||
		list_length(rules->rules[0]->actions) != 1)
		elog(ERROR, "materialized view \"%s\" does not have one query", RelationGetRelationName(rel));
	/* A copy: planning scribbles on it. */
	query = copyObject(linitial_node(Query, rules->rules[0]->actions));
	AcquireRewriteLocks(query, true, false);
	rewritten = QueryRewrite(query);
	if (list_length(rewritten) != 1)
		elog(ERROR, "unexpected rewrite result for \"%s\"", RelationGetRelationName(rel));
	return linitial_node(Query, rewritten);
}

/* Until the end of the GUC nest level. */
static void
set_for_refresh(void)
{
	const char *const settings[][2] = {
		{"search_path", "pg_catalog, pg_temp"},
		/* Workers send few rows, or the leader has nothing else to do than to take them. */
		{"parallel_tuple_cost", "0"},
		{"work_mem", psprintf("%dkB", Max(work_mem, maintenance_work_mem))},
		{"jit", "off"},
	};

	for (size_t i = 0; i < lengthof(settings); i++)
		set_config_option(settings[i][0], settings[i][1], PGC_USERSET, PGC_S_SESSION,
						  GUC_ACTION_SAVE, true, 0, false);
}

static uint64
replace_rows(Relation rel, Query *query)
{
	Oid			relid = RelationGetRelid(rel);
	char		persistence = rel->rd_rel->relpersistence;
	Relation	new_rel;
	Oid			new_relid;
	uint64		rows;

	/* This assigns the transaction id, which cannot be done once workers run. */
	SetMatViewPopulatedState(rel, true);
	new_relid = make_new_heap(relid, rel->rd_rel->reltablespace, rel->rd_rel->relam, persistence,
							  ExclusiveLock);
	LockRelationOid(new_relid, AccessExclusiveLock);

	new_rel = table_open(new_relid, NoLock);
	rows = fill_heap(new_rel, query);
	table_close(new_rel, NoLock);

	finish_heap_swap(relid, new_relid, false, false, true, true, RecentXmin, ReadNextMultiXactId(),
					 persistence);
	pgstat_count_truncate(rel);
	pgstat_count_heap_insert(rel, rows);
	return rows;
}

static uint64
fill_heap(Relation rel, Query *query)
{
	dsm_segment *writer = stedi_heap_writer_create(rel);
	Tuplestorestate *rest = tuplestore_begin_heap(false, false, work_mem);
	DestReceiver *receiver = CreateTuplestoreDestReceiver();
	uint64		rows;

	SetTuplestoreDestReceiverParams(receiver, rest, CurrentMemoryContext, false, NULL, NULL);
	run_query(query, writer, receiver);
	receiver->rDestroy(receiver);
	rows = stedi_heap_writer_finish(writer, rel);
	dsm_detach(writer);

	rows += insert_rest(rel, rest);
	tuplestore_end(rest);
	return rows;
}

/* The rows that want TOAST. */
static uint64
insert_rest(Relation rel, Tuplestorestate *rest)
{
	StediInserter *inserter = stedi_inserter_create_bulk(rel, TABLE_INSERT_SKIP_FSM | TABLE_INSERT_FROZEN);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(rel), &TTSOpsMinimalTuple);

	stedi_inserter_begin(inserter);
	while (tuplestore_gettupleslot(rest, true, false, slot))
	{
		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(slot);
		stedi_inserter_add(inserter, slot->tts_values, slot->tts_isnull, NULL);
	}
	stedi_inserter_end(inserter);
	ExecDropSingleTupleTableSlot(slot);
	return tuplestore_tuple_count(rest);
}

static uint64
merge_rows(Relation rel, Query *query)
{
	DiffReceiver receiver = {0};
	uint64		rows;

	receiver.base.receiveSlot = receive_row;
	receiver.base.rStartup = start_rows;
	receiver.base.rShutdown = end_rows;
	receiver.base.rDestroy = end_rows;
	receiver.base.mydest = DestTransientRel;
	(void) GetCurrentTransactionId();	/* while there are no workers */
	receiver.diff = stedi_diff_begin(rel);
	rows = run_query(query, NULL, &receiver.base);
	stedi_diff_end(receiver.diff);
	return rows;
}

/* The number of rows that came to the receiver.  writer: which takes them before. */
static uint64
run_query(Query *query, dsm_segment *writer, DestReceiver *receiver)
{
	PlannedStmt *plan = pg_plan_query(query, "REFRESH MATERIALIZED VIEW", CURSOR_OPT_PARALLEL_OK, NULL);
	QueryDesc  *desc;
	uint64		rows;

	if (writer != NULL)
		stedi_sink_put(plan, STEDI_SINK_HEAP, writer);

	/* Not the snapshot of the caller, which may have waited for forget(). */
	PushActiveSnapshot(GetLatestSnapshot());
	desc = CreateQueryDesc(plan, "REFRESH MATERIALIZED VIEW", GetActiveSnapshot(), InvalidSnapshot,
						   receiver, NULL, NULL, 0);
	ExecutorStart(desc, 0);
	StediExecutorRun(desc);
	rows = desc->estate->es_processed;
	ExecutorFinish(desc);
	ExecutorEnd(desc);
	FreeQueryDesc(desc);
	PopActiveSnapshot();
	return rows;
}

static void
start_rows(DestReceiver *self, int operation, TupleDesc desc)
{
}

static bool
receive_row(TupleTableSlot *slot, DestReceiver *self)
{
	slot_getallattrs(slot);
	stedi_diff_add(((DiffReceiver *) self)->diff, slot);
	return true;
}

static void
end_rows(DestReceiver *self)
{
}
