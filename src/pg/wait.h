/*
 * wait.h
 *		Waiting inside a backend: the store's waiter.
 */
#ifndef STEDI_PG_WAIT_H
#define STEDI_PG_WAIT_H

#include "datatype/timestamp.h"
#include "storage/latch.h"
#include "utils/elog.h"

#include "pg/compat.h"
#include "store/store.h"

typedef struct StediBackendWait
{
	WaitEventSet *set;
	int			fd;				/* the one in set, or -1 */
	ErrorData  *error;			/* what an interrupt raised, to be rethrown */
	MemoryContext context;		/* where error lives */
	TimestampTz deadline;		/* give up then; 0: never */
} StediBackendWait;

/* wait must outlive the store that uses the waiter. */
extern void stedi_wait_init(StediBackendWait *wait);
extern StediWaiter stedi_waiter(StediBackendWait *wait);
/* Give up in so many milliseconds, whatever is waited for: for cleaning up after
 * an error. */
extern void stedi_wait_limit(StediBackendWait *wait, long timeout_ms);
extern void stedi_wait_free(StediBackendWait *wait);	/* idempotent, never throws */

#endif							/* STEDI_PG_WAIT_H */
