/*
 * insert.h
 *		Putting rows into a target table.
 */
#ifndef STEDI_PG_INSERT_H
#define STEDI_PG_INSERT_H

#include "portability/instr_time.h"
#include "storage/block.h"
#include "utils/relcache.h"

#include "pg/row.h"

typedef struct StediInserter StediInserter;

typedef enum StediInserted
{
	STEDI_INSERTED,
	STEDI_NOT_INSERTED,			/* a trigger or rule suppressed it */
	STEDI_REFUSED				/* the table did not take it, see the error */
} StediInserted;

/* 42501, with a hint, unless the current user may INSERT. */
extern void stedi_check_insert(Oid relid);

/* Is rel a plain table, whose rows need nothing of the executor's care? */
extern bool stedi_takes_multi_insert(Relation rel);

/*
 * Get ready to put rows into rel, which must not be a system catalog (42501).
 * Lives in the current memory context.  With catch_errors, a row that the table
 * refuses (a constraint, a trigger) is reported instead of thrown, at the price of
 * a subtransaction per row where the table has any such thing.  The time that
 * inserting takes is added to clock, which must outlive the inserter.  SPI must be
 * connected.
 */
extern StediInserter *stedi_inserter_create(Relation rel, bool catch_errors, instr_time *clock);

/*
 * The same without the executor's care, and without SPI: rows of a materialized
 * view.  options are those of table_multi_insert(); indexes are maintained.
 */
extern StediInserter *stedi_inserter_create_bulk(Relation rel, int options);

/*
 * begin and end enclose the rows of one object, inside one (sub)transaction.
 * add copies what it keeps; the row may sit in a buffer until end.
 */
extern void stedi_inserter_begin(StediInserter *inserter);
extern StediInserted stedi_inserter_add(StediInserter *inserter, Datum *values, bool *nulls,
										StediRowError *error);
extern void stedi_inserter_end(StediInserter *inserter);

/* Between which blocks the rows since begin went; false: not known. */
extern bool stedi_inserter_blocks(const StediInserter *inserter, BlockNumber *first,
								  BlockNumber *last);

/* Instead of end: forget buffered rows and let go of the table's buffers, before
 * the subtransaction around them is rolled back. */
extern void stedi_inserter_abandon(StediInserter *inserter);

#endif							/* STEDI_PG_INSERT_H */
