/*
 * pending.h
 *		The objects of a URI that are still to be loaded, in key order.
 */
#ifndef STEDI_PG_PENDING_H
#define STEDI_PG_PENDING_H

#include "pg/lake.h"

typedef struct StediPending StediPending;

/*
 * List what the lake's URI names after the key "after" (NULL: all of it), without
 * what the ledger says is in target already, unless force.  Lives in the current
 * memory context; its memory is bounded, however much is listed.  SPI must be
 * connected.
 */
extern StediPending *stedi_pending_begin(StediLake *lake, Oid target, const char *after, bool force);

/* The next of them, or NULL; valid until the next call.  peek leaves it there. */
extern const StediObject *stedi_pending_peek(StediPending *pending);
extern const StediObject *stedi_pending_next(StediPending *pending);

/* How many are known to be left at least: those of the page that was listed last. */
extern int	stedi_pending_known(const StediPending *pending);

/* Objects listed so far, pending or not. */
extern int64 stedi_pending_listed(const StediPending *pending);

#endif							/* STEDI_PG_PENDING_H */
