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
#include "pg/export_rows.h"
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

/* What is put into a plan. */
typedef struct Putting
{
	StediSinkKind kind;
	List	   *private;		/* kind, handle of the shared memory, options */
	List	   *columns;		/* of the query's rows */
	int			node_id;
} Putting;

static bool has_workers(const Plan *plan, const StediSink *sink);
static void put_sinks(Plan **plan, Putting *putting);
static bool is_gathered(const Plan *plan, const StediSink *sink);
static bool is_append(const Plan *plan);
static Plan *put_sink(Plan *child, Putting *putting);
static List *columns_of(const List *targetlist, int varno);
static Node *create_state(CustomScan *node);
static void begin_sink(CustomScanState *node, EState *estate, int eflags);
static TupleTableSlot *run_sink(CustomScanState *node);
static void end_sink(CustomScanState *node);
static void rescan_sink(CustomScanState *node);

static const StediSink *const sinks[] = {
	[STEDI_SINK_HEAP] = &stedi_heap_sink,
	[STEDI_SINK_READINGS] = &stedi_reading_sink,
	[STEDI_SINK_TEXT] = &stedi_text_sink,
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
stedi_sink_put(PlannedStmt *plan, StediSinkKind kind, dsm_segment *shared, List *options)
{
	dsm_handle	handle = shared != NULL ? dsm_segment_handle(shared) : DSM_HANDLE_INVALID;
	Putting		putting = {
		.kind = kind,
		.private = list_make3(makeInteger(kind), makeInteger((int) handle), options),
		.columns = plan->planTree->targetlist,
		.node_id = SINK_NODE_ID
	};

	put_sinks(&plan->planTree, &putting);
}

bool
stedi_sink_has_workers(const PlannedStmt *plan, StediSinkKind kind)
{
	return has_workers(plan->planTree, sinks[kind]);
}

static bool
has_workers(const Plan *plan, const StediSink *sink)
{
	ListCell   *cell;

	if (!is_append(plan))
		return is_gathered(plan, sink);
	foreach(cell, ((const Append *) plan)->appendplans)
	{
		if (has_workers(lfirst(cell), sink))
			return true;
	}
	return false;
}

static void
put_sinks(Plan **plan, Putting *putting)
{
	Plan	   *child;
	ListCell   *cell;

	if (!has_workers(*plan, sinks[putting->kind]))
	{
		*plan = put_sink(*plan, putting);
		return;
	}
	if (is_append(*plan))
	{
		foreach(cell, ((Append *) *plan)->appendplans)
			put_sinks((Plan **) &lfirst(cell), putting);
		child = linitial(((Append *) *plan)->appendplans);
	}
	else
		child = outerPlan(*plan) = put_sink(outerPlan(*plan), putting);
	(*plan)->targetlist = columns_of(child->targetlist, OUTER_VAR);
}

/* Does it gather the rows of its child as they are?  What workers must not compute
 * it computes. */
static bool
is_gathered(const Plan *plan, const StediSink *sink)
{
	ListCell   *cell;

	if (!IsA(plan, Gather) || plan->qual != NIL ||
		list_length(plan->targetlist) != list_length(outerPlan(plan)->targetlist))
		return false;
	foreach(cell, plan->targetlist)
	{
		const TargetEntry *column = lfirst_node(TargetEntry, cell);
		const Var  *var = (const Var *) column->expr;

		if (!IsA(var, Var) || var->varno != OUTER_VAR || var->varattno != column->resno)
			return false;
	}
	return sink->is_parallel_safe == NULL || sink->is_parallel_safe(plan->targetlist);
}

/* Does it hand on the rows of its children, as that of a UNION ALL?  An asynchronous
 * child tells the Append itself when it has rows. */
static bool
is_append(const Plan *plan)
{
	ListCell   *cell;

	if (!IsA(plan, Append))
		return false;
	foreach(cell, ((const Append *) plan)->appendplans)
	{
		if (((const Plan *) lfirst(cell))->async_capable)
			return false;
	}
	return true;
}

static Plan *
put_sink(Plan *child, Putting *putting)
{
	const StediSink *sink = sinks[putting->kind];
	CustomScan *node = makeNode(CustomScan);
	Plan	   *plan = &node->scan.plan;

	plan->startup_cost = child->startup_cost;
	plan->total_cost = child->total_cost;
	plan->plan_rows = child->plan_rows;
	plan->plan_width = child->plan_width;
	plan->parallel_safe = child->parallel_safe;
	plan->plan_node_id = putting->node_id++;
	plan->extParam = child->extParam;
	plan->allParam = child->allParam;
	plan->targetlist = sink->columns != NULL ? sink->columns() : columns_of(putting->columns, INDEX_VAR);
	node->custom_scan_tlist = columns_of(putting->columns, OUTER_VAR);
	outerPlan(plan) = child;
	node->custom_private = putting->private;
	node->methods = &scan_methods;
	return plan;
}

/* The same columns of the node below, or of what that has. */
static List *
columns_of(const List *targetlist, int varno)
{
	List	   *columns = NIL;
	ListCell   *cell;

	foreach(cell, targetlist)
	{
		TargetEntry *column = lfirst_node(TargetEntry, cell);
		Var		   *var = makeVarFromTargetEntry(varno, column);

		columns = lappend(columns, makeTargetEntry((Expr *) var, column->resno, column->resname,
												   column->resjunk));
	}
	return columns;
}

List *
stedi_sink_options(const CustomScanState *node)
{
	return lthird(((const CustomScan *) node->ss.ps.plan)->custom_private);
}

TupleDesc
stedi_sink_rows(const CustomScanState *node)
{
	const List *columns = ((const CustomScan *) node->ss.ps.plan)->custom_scan_tlist;
	TupleDesc	desc = ExecTypeFromTL(unconstify(List *, columns));
	ListCell   *cell;

	foreach(cell, columns)
	{
		const TargetEntry *column = lfirst_node(TargetEntry, cell);

		if (column->resjunk)
			TupleDescAttr(desc, column->resno - 1)->attisdropped = true;
	}
	return desc;
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
	List	   *private = ((CustomScan *) node->ss.ps.plan)->custom_private;
	dsm_handle	handle = (dsm_handle) intVal(lsecond(private));

	self->sink = sinks[intVal(linitial(private))];
	if (handle != DSM_HANDLE_INVALID)
		self->shared = stedi_sink_shared(handle);
	outerPlanState(node) = ExecInitNode(outerPlan(node->ss.ps.plan), estate, eflags);
	/* Its slots are handed on, of whatever kind they are. */
	node->ss.ps.resultopsset = true;
	node->ss.ps.resultopsfixed = false;
}

void *
stedi_sink_shared(dsm_handle handle)
{
	dsm_segment *segment = dsm_find_mapping(handle);

	if (segment == NULL)
	{
		/* in a worker, which has it until it ends */
		segment = dsm_attach(handle);
		if (segment == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("could not map dynamic shared memory segment")));
		dsm_pin_mapping(segment);
	}
	return dsm_segment_address(segment);
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

		self->state = self->sink->begin(node, self->shared);
		MemoryContextSwitchTo(old);
	}
	for (;;)
	{
		TupleTableSlot *slot;

		CHECK_FOR_INTERRUPTS();
		slot = ExecProcNode(outerPlanState(node));
		if (TupIsNull(slot))
			break;
		slot = self->sink->take(self->state, slot);
		if (slot != NULL)
			return slot;
	}
	self->done = true;
	return self->sink->end(self->state);
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
