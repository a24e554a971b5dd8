/*
 * lake.h
 *		A URI opened in a backend: the store, its waiter, and who may use it.
 */
#ifndef STEDI_PG_LAKE_H
#define STEDI_PG_LAKE_H

#include "datatype/timestamp.h"

#include "core/uri.h"
#include "store/store.h"

#include "pg/server.h"
#include "pg/wait.h"

typedef enum StediAccess
{
	STEDI_READ,
	STEDI_WRITE
} StediAccess;

typedef struct StediLake
{
	StediUri	uri;
	StediServer *server;		/* NULL: files */
	StediStore *store;
	StediBackendWait wait;
	int			reserved_fds;
	int			lost;			/* for its user: objects lost in a row to connection errors */
	MemoryContextCallback callback;
} StediLake;

/*
 * Parse the URI, check that the current user may use it, and open its store.
 * Bound to the current memory context: it is closed when that goes.  With
 * literal, glob characters have no meaning.  Errors: see uri.h and server.h;
 * 42501 for a file URI without the role that core wants.
 */
extern StediLake *stedi_lake_open(const char *uri, StediAccess access, bool literal);
extern void stedi_lake_close(StediLake *lake);	/* idempotent, never throws */

/* The key of a listed object as a URI; palloc'd. */
extern char *stedi_lake_uri(const StediLake *lake, const char *key);

/*
 * The objects that the lake's URI names, in key order: all that match a prefix
 * or a glob, or the one object, which must exist (58P01).  Each is palloc'd in
 * the current memory context; NULL at the end.
 */
typedef struct StediLakeListing
{
	StediLake  *lake;
	StediListing *listing;
	bool		done;
} StediLakeListing;

/* after: leave out this key and all before it; NULL: nothing. */
extern StediLakeListing *stedi_lake_list(StediLake *lake, const char *after);
extern StediObject *stedi_lake_next(StediLakeListing *listing);

/* A palloc'd copy of an object of the store's; without an etag it is "". */
extern StediObject *stedi_object_keep(const StediObject *object);

/* A store's time, microseconds since 1970, as PostgreSQL counts it. */
extern TimestampTz stedi_unix_timestamp(int64 microseconds);

/* Nothing matched: 58P01 */
pg_noreturn extern void stedi_lake_no_match(const StediLake *lake);

/* Throw what a store call reported: the caught interrupt if there is one, else
 * the status. */
pg_noreturn extern void stedi_lake_fail(StediLake *lake, const StediStatus *status);

/* CHECK_FOR_INTERRUPTS with the same care: throws what was caught before. */
extern void stedi_lake_check(StediLake *lake);

#endif							/* STEDI_PG_LAKE_H */
