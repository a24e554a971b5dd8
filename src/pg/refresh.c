/*
 * refresh.c
 *		stedi.refresh_zone() and stedi.refresh_zones(): what REFRESH MATERIALIZED VIEW
 *		does, in less time.
 *
 * The query is planned to run in parallel, with the memory of maintenance.  Plain,
 * each process writes its rows to a new file, which the view gets in place of its
 * own, and the indexes are built anew; concurrently, rows go to diff.c.  Locks, rights, the
 * security-restricted operation and what readers see are those of the command.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/matview.h"
#include "commands/tablecmds.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "executor/tstoreReceiver.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "pgstat.h"
#include "portability/instr_time.h"
#include "rewrite/prs2lock.h"
#include "rewrite/rewriteHandler.h"
#include "storage/lmgr.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "pg/compat.h"
#include "pg/diff.h"
#include "pg/heap_writer.h"
#include "pg/index_builder.h"
#include "pg/sink.h"

PG_FUNCTION_INFO_V1(stedi_refresh_zone);
PG_FUNCTION_INFO_V1(stedi_refresh_zones);

/* Whose rights and settings hold */
typedef struct Identity
{
	Oid			userid;
	int			sec_context;
	int			nest_level;		/* of settings */
} Identity;

typedef struct DiffReceiver
{
	DestReceiver base;
	StediDiff  *diff;
} DiffReceiver;

static void refresh_zones(StediIndexedTable *zones, int n_zones, bool concurrently);
static void analyze(Oid relid);
static uint64 refresh_rows(Oid relid, bool concurrently, Oid *owner);
static void build_indexes(StediIndexedTable *zones, int n_zones, Oid owner);
static Identity become_owner(Oid owner);
static void become_self(Identity self);
static Relation open_zone(Oid relid, bool concurrently);
static void check_concurrently(Relation rel);
static bool identifies_rows(Relation index);
static Query *zone_query(Relation rel);
static void set_for_refresh(void);
static uint64 replace_rows(Relation rel, Query *query);
static void empty_toast(Oid relid);
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
	StediIndexedTable zone = {0};
	Oid			owner;

	PreventCommandIfReadOnly("stedi.refresh_zone()");
	zone.relid = PG_GETARG_OID(0);
	zone.rows = refresh_rows(zone.relid, concurrently, &owner);
	if (!concurrently)
		build_indexes(&zone, 1, owner);
	PG_RETURN_INT64((int64) zone.rows);
}

/* One after the other, each with statistics for the queries of the next.  Their
 * indexes serve nobody until the end of the transaction, and are built last. */
PGDLLEXPORT Datum
stedi_refresh_zones(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(0);
	bool		concurrently = PG_GETARG_BOOL(1);
	StediIndexedTable *zones;
	Datum	   *oids;
	bool	   *nulls;
	int			n_zones;

	PreventCommandIfReadOnly("stedi.refresh_zones()");
	deconstruct_array(array, REGCLASSOID, sizeof(Oid), true, TYPALIGN_INT, &oids, &nulls, &n_zones);
	zones = palloc0(sizeof(StediIndexedTable) * Max(n_zones, 1));
	for (int i = 0; i < n_zones; i++)
		zones[i].relid = nulls[i] ? InvalidOid : DatumGetObjectId(oids[i]);

	InitMaterializedSRF(fcinfo, 0);
	refresh_zones(zones, n_zones, concurrently);

	for (int i = 0; i < n_zones; i++)
	{
		Interval   *elapsed = palloc0(sizeof(Interval));
		Datum		values[3];
		bool		no_nulls[3] = {false};

		elapsed->time = (TimeOffset) (zones[i].milliseconds * 1000);
		values[0] = ObjectIdGetDatum(zones[i].relid);
		values[1] = Int64GetDatum((int64) zones[i].rows);
		values[2] = IntervalPGetDatum(elapsed);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, no_nulls);
	}
	return (Datum) 0;
}

static void
refresh_zones(StediIndexedTable *zones, int n_zones, bool concurrently)
{
	StediIndexedTable *last = palloc0(sizeof(StediIndexedTable) * Max(n_zones, 1));
	int			n_last = 0;
	Oid			owner_of_last = InvalidOid;
	int			nest_level = NewGUCNestLevel();

	for (int i = 0; i < n_zones; i++)
	{
		StediIndexedTable *zone = &zones[i];
		instr_time	begun;
		instr_time	elapsed;
		Oid			owner;

		for (int before = 0; before < i; before++)
		{
			if (zones[before].relid == zone->relid)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("materialized view \"%s\" is named twice", get_rel_name(zone->relid))));
		}
		INSTR_TIME_SET_CURRENT(begun);
		zone->rows = refresh_rows(zone->relid, concurrently, &owner);
		if (!concurrently && n_last > 0 && owner != owner_of_last)
			build_indexes(zone, 1, owner);
		else if (!concurrently)
		{
			owner_of_last = owner;
			last[n_last].relid = zone->relid;
			last[n_last++].rows = zone->rows;
			stedi_hide_indexes(zone->relid);
		}
		analyze(zone->relid);
		INSTR_TIME_SET_CURRENT(elapsed);
		INSTR_TIME_SUBTRACT(elapsed, begun);
		zone->milliseconds += INSTR_TIME_GET_MILLISEC(elapsed);
		/* Rows show when all zones are done; whoever waits sees this. */
		ereport(NOTICE,
				(errmsg("refresh %s: " UINT64_FORMAT " rows", get_rel_name(zone->relid), zone->rows)));
	}
	AtEOXact_GUC(false, nest_level);

	build_indexes(last, n_last, owner_of_last);
	for (int i = 0, at = 0; at < n_last; i++)
	{
		if (zones[i].relid == last[at].relid)
			zones[i].milliseconds += last[at++].milliseconds;
	}
}

static void
analyze(Oid relid)
{
	char	   *command = psprintf("ANALYZE %s",
								   quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)),
															  get_rel_name(relid)));

	SPI_connect();
	if (SPI_execute(command, false, 0) != SPI_OK_UTILITY)
		elog(ERROR, "could not analyze \"%s\"", get_rel_name(relid));
	SPI_finish();
}

/* Without the indexes, which are still those of the old rows unless concurrently. */
static uint64
refresh_rows(Oid relid, bool concurrently, Oid *owner)
{
	Relation	rel = open_zone(relid, concurrently);
	Identity	self = become_owner(rel->rd_rel->relowner);
	Query	   *query;
	uint64		rows;

	if (concurrently)
		check_concurrently(rel);
	query = zone_query(rel);
	rows = concurrently ? merge_rows(rel, query) : replace_rows(rel, query);
	become_self(self);

	*owner = rel->rd_rel->relowner;
	table_close(rel, NoLock);
	return rows;
}

static void
build_indexes(StediIndexedTable *zones, int n_zones, Oid owner)
{
	Identity	self;

	if (n_zones == 0)
		return;
	self = become_owner(owner);
	stedi_build_indexes(zones, n_zones);
	become_self(self);
}

/* Functions of the query and of indexes are run as the view's owner, and must not
 * change what the caller does later.  So it is for all that is done to the view: a
 * look at the predicate of an index runs functions, and the rewriter asks who the
 * user is whose row security holds. */
static Identity
become_owner(Oid owner)
{
	Identity	self;

	GetUserIdAndSecContext(&self.userid, &self.sec_context);
	SetUserIdAndSecContext(owner, self.sec_context | SECURITY_RESTRICTED_OPERATION);
	self.nest_level = NewGUCNestLevel();
	set_for_refresh();
	return self;
}

static void
become_self(Identity self)
{
	AtEOXact_GUC(false, self.nest_level);
	SetUserIdAndSecContext(self.userid, self.sec_context);
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
	/* Nor from somebody who has it no more. */
	if (!StediMayMaintain(relid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_MATVIEW, name);
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
	Tuplestorestate *rest = tuplestore_begin_heap(false, false, work_mem);
	DestReceiver *receiver = CreateTuplestoreDestReceiver();
	dsm_segment *writer;
	uint64		rows;

	if (rel->rd_rel->relam != HEAP_TABLE_AM_OID)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the table access method of materialized view \"%s\" is not heap",
						RelationGetRelationName(rel)),
				 errhint("Use REFRESH MATERIALIZED VIEW.")));

	/* This assigns the transaction id, which cannot be done once workers run. */
	SetMatViewPopulatedState(rel, true);
	writer = stedi_heap_writer_create(rel);
	SetTuplestoreDestReceiverParams(receiver, rest, CurrentMemoryContext, false, NULL, NULL);
	run_query(query, writer, receiver);
	receiver->rDestroy(receiver);

	rows = stedi_heap_writer_finish(writer, rel);
	dsm_detach(writer);
	if (OidIsValid(rel->rd_rel->reltoastrelid))
		empty_toast(rel->rd_rel->reltoastrelid);
	rows += insert_rest(rel, rest);
	tuplestore_end(rest);
	pgstat_count_truncate(rel);
	pgstat_count_heap_insert(rel, rows);
	return rows;
}

static void
empty_toast(Oid relid)
{
	Relation	toast = table_open(relid, AccessExclusiveLock);
	List	   *indexes = RelationGetIndexList(toast);
	ListCell   *cell;

	StediSetNewStorage(toast);
	foreach(cell, indexes)
		StediReindexIndex(lfirst_oid(cell));
	CommandCounterIncrement();
	table_close(toast, NoLock);
}

/* The rows that want TOAST. */
static uint64
insert_rest(Relation rel, Tuplestorestate *rest)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(rel), &TTSOpsMinimalTuple);
	BulkInsertState bulk = GetBulkInsertState();
	CommandId	cid = GetCurrentCommandId(true);

	while (tuplestore_gettupleslot(rest, true, false, slot))
	{
		CHECK_FOR_INTERRUPTS();
		table_tuple_insert(rel, slot, cid, TABLE_INSERT_SKIP_FSM | TABLE_INSERT_FROZEN, bulk);
	}
	FreeBulkInsertState(bulk);
	table_finish_bulk_insert(rel, TABLE_INSERT_SKIP_FSM | TABLE_INSERT_FROZEN);
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
		stedi_sink_put(plan, STEDI_SINK_HEAP, writer, NIL);

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
