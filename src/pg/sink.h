/*
 * sink.h
 *		Running a query whose rows are taken where they arise, also in the processes
 *		of a parallel query, instead of being sent to the one that called.
 */
#ifndef STEDI_PG_SINK_H
#define STEDI_PG_SINK_H

#include "nodes/execnodes.h"
#include "nodes/plannodes.h"
#include "storage/dsm.h"

/* What every process that takes part does with the rows that it has. */
typedef struct StediSink
{
	/* A state for this process, before its first row; shared is the same memory for
	 * all.  What it allocates lives as long as the query. */
	void	   *(*begin) (CustomScanState *node, void *shared);

	/* What is to go to the process that called instead of the row; NULL: nothing. */
	TupleTableSlot *(*take) (void *state, TupleTableSlot *row);

	/* The same after the last row; not called after an error, nor if there was no
	 * begin. */
	TupleTableSlot *(*end) (void *state);

	/* The columns of what goes to that process; NULL: those of the rows. */
	List	   *(*columns) (void);

	/* May workers take rows of these columns?  NULL: they always may. */
	bool		(*is_parallel_safe) (const List *columns);
} StediSink;

typedef enum StediSinkKind
{
	STEDI_SINK_HEAP,			/* heap_writer.h */
	STEDI_SINK_READINGS,		/* match.h */
	STEDI_SINK_TEXT,			/* export_rows.h */
} StediSinkKind;

/* At the start of the library, in parallel workers, too. */
extern void stedi_sink_init(void);

/*
 * Let the rows of a planned query, which is yet to be run once, go to a sink.  What
 * it gives back goes where they would go else; from several processes, in no order.
 * If the sink writes, the transaction must have its id before the query is run.
 * shared: NULL if it needs none; options: for the sink to find, nodes that can be
 * copied.
 */
extern void stedi_sink_put(PlannedStmt *plan, StediSinkKind kind, dsm_segment *shared, List *options);

/* Would workers give it rows? */
extern bool stedi_sink_has_workers(const PlannedStmt *plan, StediSinkKind kind);

/* For plan nodes: the memory that the processes of a query share. */
extern void *stedi_sink_shared(dsm_handle handle);

/* For the sink: its options, and the rows as they come, named as the query names
 * them.  Columns that are no part of its result are dropped ones there; palloc'd. */
extern List *stedi_sink_options(const CustomScanState *node);
extern TupleDesc stedi_sink_rows(const CustomScanState *node);

#endif							/* STEDI_PG_SINK_H */
