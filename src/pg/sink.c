/*
 * sink.c
 *		Running a query whose rows are taken where they arise.
 *
 * The plan gets a node of our own at its top or, where the rows of workers are
 * gathered there as they are, below that: so each worker, and the leader, takes the rows that it has
 * made.  That spares sending them through a queue, and what is done with them is
 * done in parallel.
 *
 *		Gather                  Gather
 *		  Hash Join    ==>        Custom Scan (stedi sink)
 *		    ...                     Hash Join
 *		                              ...
 */
#include "postgres.h"

#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/extensible.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/plannodes.h"
#include "storage/dsm.h"

#include "pg/compat.h"
#include "pg/heap_writer.h"
#include "pg/match.h"
#include "pg/sink.h"

/* The first: no plan has so many others. */
#define SINK_NODE_ID 1000000

typedef struct SinkState
{
	CustomScanState base;
	const StediSink *sink;
	void	   *shared;
	void	   *state;			/* NULL: not begun */
	bool		done;
} SinkState;

static Plan *put_sinks(Plan *plan, StediSinkKind kind, dsm_segment *shared, int *node_id);
static bool passes_on(const Plan *plan);
static bool has_async(const Append *append);
static Plan *put_sink(Plan *child, StediSinkKind kind, dsm_segment *shared, int *node_id);
static List *columns_of(Plan *plan, int varno);
static Node *create_state(CustomScan *node);
static void begin_sink(CustomScanState *node, EState *estate, int eflags);
static TupleTableSlot *run_sink(CustomScanState *node);
static void end_sink(CustomScanState *node);
static void rescan_sink(CustomScanState *node);

static const StediSink *const sinks[] = {
	[STEDI_SINK_HEAP] = &stedi_heap_sink,
	[STEDI_SINK_READINGS] = &stedi_reading_sink,
};

static const CustomScanMethods scan_methods = {
	.CustomName = "stedi sink",
	.CreateCustomScanState = create_state,
};

static const CustomExecMethods exec_methods = {
	.CustomName = "stedi sink",
	.BeginCustomScan = begin_sink,
	.ExecCustomScan = run_sink,
	.EndCustomScan = end_sink,
	.ReScanCustomScan = rescan_sink,
};

void
stedi_sink_init(void)
{
	RegisterCustomScanMethods(&scan_methods);
}

void
stedi_sink_put(PlannedStmt *plan, StediSinkKind kind, dsm_segment *shared)
{
	int			node_id = SINK_NODE_ID;

	plan->planTree = put_sinks(plan->planTree, kind, shared, &node_id);
}

static Plan *
put_sinks(Plan *plan, StediSinkKind kind, dsm_segment *shared, int *node_id)
{
	ListCell   *cell;

	if (IsA(plan, Gather) && passes_on(plan))
		outerPlan(plan) = put_sink(outerPlan(plan), kind, shared, node_id);
	else if (IsA(plan, Append) && !has_async(castNode(Append, plan)))	/* of a UNION ALL */
	{
		foreach(cell, castNode(Append, plan)->appendplans)
			lfirst(cell) = put_sinks(lfirst(cell), kind, shared, node_id);
	}
	else
		return put_sink(plan, kind, shared, node_id);
	return plan;
}

/* Are its rows those of its child?  What workers must not compute it computes. */
static bool
passes_on(const Plan *plan)
{
	ListCell   *cell;

	if (plan->qual != NIL || list_length(plan->targetlist) != list_length(outerPlan(plan)->targetlist))
		return false;
	foreach(cell, plan->targetlist)
	{
		const TargetEntry *column = lfirst_node(TargetEntry, cell);
		const Var  *var = (const Var *) column->expr;

		if (!IsA(var, Var) || var->varno != OUTER_VAR || var->varattno != column->resno)
			return false;
	}
	return true;
}

/* Such a child tells the Append itself when it has rows. */
static bool
has_async(const Append *append)
{
	ListCell   *cell;

	foreach(cell, append->appendplans)
	{
		if (((const Plan *) lfirst(cell))->async_capable)
			return true;
	}
	return false;
}

/* A node above that has the columns of its child. */
static Plan *
put_sink(Plan *child, StediSinkKind kind, dsm_segment *shared, int *node_id)
{
	CustomScan *node = makeNode(CustomScan);
	Plan	   *plan = &node->scan.plan;

	plan->startup_cost = child->startup_cost;
	plan->total_cost = child->total_cost;
	plan->plan_rows = child->plan_rows;
	plan->plan_width = child->plan_width;
	plan->parallel_safe = child->parallel_safe;
	plan->plan_node_id = (*node_id)++;
	plan->extParam = child->extParam;
	plan->allParam = child->allParam;
	plan->targetlist = columns_of(child, INDEX_VAR);
	node->custom_scan_tlist = columns_of(child, OUTER_VAR);
	outerPlan(plan) = child;
	node->custom_private = list_make2(makeInteger(kind), makeInteger((int) dsm_segment_handle(shared)));
	node->methods = &scan_methods;
	return plan;
}

static List *
columns_of(Plan *plan, int varno)
{
	List	   *columns = NIL;
	ListCell   *cell;

	foreach(cell, plan->targetlist)
	{
		TargetEntry *column = lfirst_node(TargetEntry, cell);
		Var		   *var = makeVarFromTargetEntry(varno, column);

		columns = lappend(columns, makeTargetEntry((Expr *) var, column->resno, column->resname,
												   column->resjunk));
	}
	return columns;
}

static Node *
create_state(CustomScan *node)
{
	SinkState  *state = palloc0(sizeof(SinkState));

	NodeSetTag(state, T_CustomScanState);
	state->base.methods = &exec_methods;
	return (Node *) state;
}

static void
begin_sink(CustomScanState *node, EState *estate, int eflags)
{
	SinkState  *self = (SinkState *) node;
	CustomScan *plan = (CustomScan *) node->ss.ps.plan;
	dsm_handle	handle = (dsm_handle) intVal(lsecond(plan->custom_private));
	dsm_segment *shared = dsm_find_mapping(handle);

	if (shared == NULL)
	{
		/* in a worker, which has it until it ends */
		shared = dsm_attach(handle);
		if (shared == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("could not map dynamic shared memory segment")));
		dsm_pin_mapping(shared);
	}
	self->sink = sinks[intVal(linitial(plan->custom_private))];
	self->shared = dsm_segment_address(shared);
	outerPlanState(node) = ExecInitNode(outerPlan(plan), estate, eflags);
	/* Its slots are handed on, of whatever kind they are. */
	node->ss.ps.resultopsset = true;
	node->ss.ps.resultopsfixed = false;
}

static TupleTableSlot *
run_sink(CustomScanState *node)
{
	SinkState  *self = (SinkState *) node;

	if (self->done)
		return NULL;
	if (self->state == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(node->ss.ps.state->es_query_cxt);

		self->state = self->sink->begin(self->shared);
		MemoryContextSwitchTo(old);
	}
	for (;;)
	{
		TupleTableSlot *slot;

		CHECK_FOR_INTERRUPTS();
		slot = ExecProcNode(outerPlanState(node));
		if (TupIsNull(slot))
			break;
		slot_getallattrs(slot);
		if (!self->sink->take(self->state, slot))
			return slot;
	}
	self->sink->end(self->state);
	self->done = true;
	return NULL;
}

static void
end_sink(CustomScanState *node)
{
	ExecEndNode(outerPlanState(node));
}

/* Nothing stands above it that would ask for the rows again. */
static void
rescan_sink(CustomScanState *node)
{
	elog(ERROR, "the rows of a query cannot be taken twice");
}
