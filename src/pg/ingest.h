/*
 * ingest.h
 *		Loading the pending objects of a URI into a table.
 */
#ifndef STEDI_PG_INGEST_H
#define STEDI_PG_INGEST_H

#include "fmgr.h"
#include "nodes/pg_list.h"
#include "utils/jsonb.h"
#include "utils/relcache.h"

#include "core/codec.h"

#include "pg/lake.h"

typedef enum StediOnError
{
	STEDI_ON_ERROR_REJECT,		/* into stedi.reject, go on */
	STEDI_ON_ERROR_SKIP_OBJECT, /* load nothing of the object, go on with the next */
	STEDI_ON_ERROR_STOP			/* throw */
} StediOnError;

/* What became of one object. */
typedef struct StediOutcome
{
	const char *source;			/* or NULL */
	const char *uri;
	const char *status;			/* loaded, partial, failed */
	int64		parsed;
	int64		loaded;
	int64		rejected;
	int64		erased;			/* of people who were forgotten */
	int64		bytes;			/* decompressed */
	const char *first_error;	/* or NULL */
	int64		elapsed;		/* microseconds, */
	int64		download;		/* of these waiting for bytes, */
	int64		insert;			/* and putting rows into the target and the ledger */
} StediOutcome;

typedef struct StediJob
{
	const char *source;			/* name in stedi.source; NULL: load() */
	const char *uri;
	Oid			target;
	const Jsonb *aliases;		/* or NULL */
	StediOnError on_error;
	int64		reject_limit;	/* per object; -1: none */
	bool		force;			/* load what is loaded already, too */
	bool		dry_run;		/* read and check, change nothing */
	int64		max_objects;	/* -1: all */
	int64		max_bytes;		/* as stored; -1: all; one object is always taken */
	StediCompression compression;
	const char *after;			/* only keys after this one; NULL: all */

	/* A part of a job, whose target another backend of this lock group has locked
	 * against other loads.  NULL: all that is pending is loaded. */
	const StediObject *objects;
	int			n_objects;
	StediLake  *lake;			/* open already, and stays so; NULL: opened */

	void		(*report) (void *arg, const StediOutcome *outcome);
	void	   *arg;
} StediJob;

/* A bigint argument; -1 for NULL, 22023 for less than least. */
extern int64 stedi_limit_option(FunctionCallInfo fcinfo, int argno, const char *name, int64 least);
/* The same for a size in text, such as '128MB', of at least a byte. */
extern int64 stedi_size_option(FunctionCallInfo fcinfo, int argno, const char *name);

/* Jobs of one source, or of all that are enabled (name NULL), with the policies
 * of stedi.source; 42704 when there is none.  SPI must be connected. */
extern List *stedi_source_jobs(const char *name);

/* Open the table, and lock it against other loads unless the job names objects;
 * NULL: that would have to wait, and should not.  42501, 42P01, 42809, 0A000 when
 * it cannot be loaded into. */
extern Relation stedi_open_target(const StediJob *job, bool wait);

/*
 * Load; returns the key of the last object that was taken, palloc'd, or NULL when
 * nothing was pending.  SPI must be connected.
 */
extern char *stedi_run_job(const StediJob *job);

#endif							/* STEDI_PG_INGEST_H */
