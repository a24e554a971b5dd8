/*
 * pending.h
 *		Records of multipart uploads that outlive transaction and process.
 */
#ifndef STEDI_PG_PENDING_H
#define STEDI_PG_PENDING_H

#include "store/store.h"

#include "pg/lake.h"

typedef struct StediPending StediPending;

/*
 * For the puts to come to a lake, one at a time: palloc'd, valid as long as the
 * lake.  Until the (sub)transaction ends, what they have under way is nobody
 * else's to clean up.  A file:// lake has no multipart uploads and no records.
 */
extern StediPending *stedi_pending_open(StediLake *lake);

/* Have the put that gets these options recorded, if it becomes an upload.  When
 * the record cannot be written the put fails and stedi_lake_fail() says why. */
extern void stedi_pending_put(StediPending *pending, const char *key, StediPutOptions *options);

/* The upload of the last put is gone: completed or aborted.  Never throws. */
extern void stedi_pending_forget(StediPending *pending);

/*
 * Abort the uploads of this database whose transaction is no more and whose role
 * the current user has the privileges of: those below a URI, or all with NULL.
 * What cannot be aborted is a warning, and its record stays.  A server that cannot
 * be reached is tried once.
 */
extern void stedi_pending_clean(const char *uri);

#endif							/* STEDI_PG_PENDING_H */
