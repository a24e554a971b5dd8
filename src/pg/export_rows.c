/*
 * export_rows.c
 *		The rows of a query as text, made by each process that makes rows.
 *
 *	 Gather                    Gather                         chunks of text
 *	   Seq Scan    ==>           Custom Scan (stedi sink)     rows --> text
 *	                               Seq Scan                   rows
 *
 * So the workers of a parallel query do not send rows, for another process to take
 * apart and format, but chunks of text, each as one row.  Without workers all of it
 * happens in the one process.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/parallel.h"
#include "access/xact.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "lib/stringinfo.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "tcop/dest.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "pg/compat.h"
#include "pg/export_rows.h"

/* Two of them fit into the queue of a worker, which has 64 kB: one to be read while
 * the next one is made. */
#define CHUNK_BYTES		(30 * 1024)

/*
 * A chunk is formatted where it lies in the tuple that is sent: behind the header the
 * number of its rows, an int8, then the text, a bytea.
 */
#define ROWS_AT			(MAXALIGN(SizeofHeapTupleHeader) - MINIMAL_TUPLE_OFFSET)
#define TEXT_AT			(ROWS_AT + sizeof(int64))
#define CHUNK_COLUMNS	2

typedef struct TextSink
{
	StediFormatter *formatter;
	StringInfoData chunk;
	int64		rows;			/* in the chunk */
	TupleTableSlot *slot;		/* for a chunk */
	MemoryContext row_context;
} TextSink;

typedef struct TextReceiver
{
	DestReceiver base;			/* first: the executor sees only this */
	StediTextReceiver receive;
	void	   *arg;
} TextReceiver;

static PlannedStmt *plan_query(const char *query);
static Query *analyze_query(const char *query);
static void receive_nothing(DestReceiver *self);
static void receive_startup(DestReceiver *self, int operation, TupleDesc desc);
static bool receive_chunk(TupleTableSlot *slot, DestReceiver *self);
static void *begin_text(CustomScanState *node, void *shared);
static TupleTableSlot *format_row(void *state, TupleTableSlot *slot);
static TupleTableSlot *end_text(void *state);
static TupleTableSlot *chunk_of(TextSink *sink);
static void empty_chunk(TextSink *sink);
static List *chunk_columns(void);
static bool is_parallel_safe(const List *columns);

const StediSink stedi_text_sink = {
	.begin = begin_text,
	.take = format_row,
	.end = end_text,
	.columns = chunk_columns,
	.is_parallel_safe = is_parallel_safe,
};

StediRows *
stedi_rows_begin(const char *query, StediFormat format, bool camel, bool epoch_ms)
{
	StediRows  *rows = palloc0(sizeof(StediRows));
	PlannedStmt *plan = plan_query(query);

	rows->desc = ExecCleanTypeFromTL(plan->planTree->targetlist);
	stedi_sink_put(plan, STEDI_SINK_TEXT, NULL,
				   list_make3(makeInteger(format), makeInteger(camel), makeInteger(epoch_ms)));

	PushCopiedSnapshot(GetActiveSnapshot());
	UpdateActiveSnapshotCommandId();
	rows->query = CreateQueryDesc(plan, query, GetActiveSnapshot(), InvalidSnapshot,
								  None_Receiver, NULL, NULL, 0);
	ExecutorStart(rows->query, 0);
	rows->formatter = stedi_formatter_create(rows->desc, format, camel, epoch_ms);
	return rows;
}

/*
 * What goes from workers to us are chunks, so rows cost nothing on the way, if the
 * plan is one in which workers make chunks.
 */
static PlannedStmt *
plan_query(const char *query)
{
	Query	   *analyzed = analyze_query(query);
	int			nest_level = NewGUCNestLevel();
	PlannedStmt *plan;

	(void) set_config_option("parallel_tuple_cost", "0", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	plan = pg_plan_query(copyObject(analyzed), query, CURSOR_OPT_PARALLEL_OK, NULL);
	AtEOXact_GUC(true, nest_level);
	if (stedi_sink_has_workers(plan, STEDI_SINK_TEXT))
		return plan;
	return pg_plan_query(analyzed, query, CURSOR_OPT_PARALLEL_OK, NULL);
}

static Query *
analyze_query(const char *query)
{
	List	   *parsed = pg_parse_query(query);
	List	   *rewritten;
	Query	   *first;

	if (list_length(parsed) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("an export takes one query")));
	rewritten = pg_analyze_and_rewrite_fixedparams(linitial_node(RawStmt, parsed), query, NULL, 0, NULL);
	first = list_length(rewritten) == 1 ? linitial_node(Query, rewritten) : NULL;
	if (first == NULL || first->commandType != CMD_SELECT || first->utilityStmt != NULL ||
		first->hasModifyingCTE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("an export takes a query that only reads"),
				 errhint("Use SELECT, VALUES or TABLE.")));
	return first;
}

void
stedi_rows_run(StediRows *rows, StediTextReceiver receive, void *arg)
{
	TextReceiver receiver = {
		.base = {
			.receiveSlot = receive_chunk,
			.rStartup = receive_startup,
			.rShutdown = receive_nothing,
			.rDestroy = receive_nothing,
			.mydest = DestNone,
		},
		.receive = receive,
		.arg = arg,
	};

	rows->query->dest = &receiver.base;
	StediExecutorRun(rows->query);
	rows->query->dest = None_Receiver;
	ExecutorFinish(rows->query);
}

void
stedi_rows_end(StediRows *rows)
{
	ExecutorEnd(rows->query);
	FreeQueryDesc(rows->query);
	rows->query = NULL;
	PopActiveSnapshot();
}

void
stedi_rows_abort(void)
{
	AtEOSubXact_Parallel(false, GetCurrentSubTransactionId());
}

static void
receive_startup(DestReceiver *self, int operation, TupleDesc desc)
{
}

static void
receive_nothing(DestReceiver *self)
{
}

static bool
receive_chunk(TupleTableSlot *slot, DestReceiver *self)
{
	TextReceiver *receiver = (TextReceiver *) self;
	struct varlena *text;

	slot_getallattrs(slot);
	text = (struct varlena *) DatumGetPointer(slot->tts_values[1]);
	receiver->receive(receiver->arg, VARDATA_ANY(text), VARSIZE_ANY_EXHDR(text),
					  DatumGetInt64(slot->tts_values[0]));
	return true;
}

static void *
begin_text(CustomScanState *node, void *shared)
{
	TextSink   *sink = palloc0(sizeof(TextSink));
	List	   *options = stedi_sink_options(node);

	sink->formatter = stedi_formatter_create(stedi_sink_rows(node), intVal(linitial(options)),
											 intVal(lsecond(options)), intVal(lthird(options)));
	sink->slot = MakeSingleTupleTableSlot(node->ss.ps.ps_ResultTupleDesc, &TTSOpsMinimalTuple);
	sink->row_context = AllocSetContextCreate(CurrentMemoryContext, "stedi export row", ALLOCSET_DEFAULT_SIZES);
	initStringInfo(&sink->chunk);
	empty_chunk(sink);
	return sink;
}

static TupleTableSlot *
format_row(void *state, TupleTableSlot *slot)
{
	TextSink   *sink = state;
	MemoryContext old;

	if (sink->chunk.len >= CHUNK_BYTES)
		empty_chunk(sink);
	old = MemoryContextSwitchTo(sink->row_context);
	stedi_format_row(sink->formatter, slot, &sink->chunk);
	MemoryContextSwitchTo(old);
	MemoryContextReset(sink->row_context);
	sink->rows++;
	return sink->chunk.len >= CHUNK_BYTES ? chunk_of(sink) : NULL;
}

static TupleTableSlot *
end_text(void *state)
{
	TextSink   *sink = state;

	/* If it is full, it is gone. */
	return sink->rows > 0 && sink->chunk.len < CHUNK_BYTES ? chunk_of(sink) : NULL;
}

/* Valid until the chunk is emptied. */
static TupleTableSlot *
chunk_of(TextSink *sink)
{
	MinimalTuple tuple = (MinimalTuple) sink->chunk.data;

	memset(tuple, 0, ROWS_AT);
	tuple->t_len = sink->chunk.len;
	tuple->t_infomask2 = CHUNK_COLUMNS;
	tuple->t_infomask = HEAP_HASVARWIDTH;
	tuple->t_hoff = ROWS_AT + MINIMAL_TUPLE_OFFSET;
	memcpy(sink->chunk.data + ROWS_AT, &sink->rows, sizeof(sink->rows));
	SET_VARSIZE(sink->chunk.data + TEXT_AT, sink->chunk.len - TEXT_AT);
	return ExecStoreMinimalTuple(tuple, sink->slot, false);
}

static void
empty_chunk(TextSink *sink)
{
	sink->chunk.len = TEXT_AT + VARHDRSZ;
	sink->rows = 0;
}

/* Constants, because a plan wants to know where columns come from. */
static List *
chunk_columns(void)
{
	return list_make2(makeTargetEntry((Expr *) makeNullConst(INT8OID, -1, InvalidOid),
									  1, "rows", false),
					  makeTargetEntry((Expr *) makeNullConst(BYTEAOID, -1, InvalidOid),
									  2, "text", false));
}

/* As for a cast to text, the output functions decide. */
static bool
is_parallel_safe(const List *columns)
{
	ListCell   *cell;

	foreach(cell, columns)
	{
		Oid			output;
		bool		is_varlena;

		getTypeOutputInfo(exprType((Node *) lfirst_node(TargetEntry, cell)->expr), &output, &is_varlena);
		if (func_parallel(output) != PROPARALLEL_SAFE)
			return false;
	}
	return true;
}
