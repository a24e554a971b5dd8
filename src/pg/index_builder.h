/*
 * index_builder.h
 *		Building the indexes of tables that have been filled anew, several at a time.
 */
#ifndef STEDI_PG_INDEX_BUILDER_H
#define STEDI_PG_INDEX_BUILDER_H

#include "nodes/pg_list.h"

typedef struct StediIndexedTable
{
	Oid			relid;
	uint64		rows;			/* all that this transaction has put into it */
	double		milliseconds;	/* what the indexes take is added to it */
} StediIndexedTable;

/*
 * Do what REINDEX TABLE does, for tables that the transaction has locked so that
 * nobody else uses them, as the current user.  Up to
 * max_parallel_maintenance_workers workers help; each process uses
 * maintenance_work_mem.  23505 if a unique index does not hold.
 */
extern void stedi_build_indexes(StediIndexedTable *tables, int n_tables);

/*
 * Let the planner know of no index of a table, in parallel workers neither, until the
 * caller's nest level of settings ends, in whatever way.
 */
extern void stedi_hide_indexes(Oid relid);

/* At the start of the library, in parallel workers, too. */
extern void stedi_index_builder_init(void);

#endif							/* STEDI_PG_INDEX_BUILDER_H */
