/*
 * worklist.h
 *		The objects of a URI that are still to be loaded, in key order.
 */
#ifndef STEDI_PG_WORKLIST_H
#define STEDI_PG_WORKLIST_H

#include "pg/lake.h"

typedef struct StediWorklist StediWorklist;

/*
 * List what the lake's URI names after the key "after" (NULL: all of it), without
 * what the ledger says is in target already, unless force.  Lives in the current
 * memory context; its memory is bounded, however much is listed.  SPI must be
 * connected.
 */
extern StediWorklist *stedi_worklist_begin(StediLake *lake, Oid target, const char *after, bool force);

/* The next of them, or NULL; valid until the next call.  peek leaves it there. */
extern const StediObject *stedi_worklist_peek(StediWorklist *list);
extern const StediObject *stedi_worklist_next(StediWorklist *list);

/* How many are known to be left at least: those of the page that was listed last. */
extern int	stedi_worklist_known(const StediWorklist *list);

/* Objects listed so far, pending or not. */
extern int64 stedi_worklist_listed(const StediWorklist *list);

#endif							/* STEDI_PG_WORKLIST_H */
