/*
 * sink.h
 *		Running a query whose rows are taken where they arise, also in the processes
 *		of a parallel query, instead of being sent to the one that called.
 */
#ifndef STEDI_PG_SINK_H
#define STEDI_PG_SINK_H

#include "executor/tuptable.h"
#include "nodes/plannodes.h"
#include "storage/dsm.h"

/* What every process that takes part does with the rows that it has. */
typedef struct StediSink
{
	/* A state for this process, before its first row; shared is the same memory for
	 * all.  What it allocates lives as long as the query. */
	void	   *(*begin) (void *shared);

	/* False: the row is to go to the process that called.  All attributes of the
	 * slot are fetched. */
	bool		(*take) (void *state, TupleTableSlot *slot);

	/* After the last row; not called after an error, nor if there was no begin. */
	void		(*end) (void *state);
} StediSink;

typedef enum StediSinkKind
{
	STEDI_SINK_HEAP,			/* heap_writer.h */
	STEDI_SINK_READINGS,		/* match.h */
} StediSinkKind;

/* At the start of the library, in parallel workers, too. */
extern void stedi_sink_init(void);

/*
 * Let the rows of a planned query, which is yet to be run once, go to a sink.
 * Those that it does not take go where they would go else, in no order.  If the
 * sink writes, the transaction must have its id before the query is run.
 */
extern void stedi_sink_put(PlannedStmt *plan, StediSinkKind kind, dsm_segment *shared);

#endif							/* STEDI_PG_SINK_H */
