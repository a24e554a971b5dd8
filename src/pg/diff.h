/*
 * diff.h
 *		Making a relation hold given rows by writing only what differs.
 */
#ifndef STEDI_PG_DIFF_H
#define STEDI_PG_DIFF_H

#include "executor/tuptable.h"
#include "utils/relcache.h"

typedef struct StediDiff StediDiff;

/*
 * Read the rows that rel has; it must be locked against everybody who writes, and
 * the transaction must have its id.  Lives in the current memory context.
 */
extern StediDiff *stedi_diff_begin(Relation rel);

/* One of the rows that it is to have.  All attributes of the slot are fetched. */
extern void stedi_diff_add(StediDiff *diff, TupleTableSlot *slot);

/*
 * Delete the rows that were not added, insert those that were not there.  Indexes are
 * maintained, 23505 if a unique one does not hold.  No triggers, no constraints.
 */
extern void stedi_diff_end(StediDiff *diff);

#endif							/* STEDI_PG_DIFF_H */
