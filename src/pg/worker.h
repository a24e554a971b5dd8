/*
 * worker.h
 *		Loading with background workers.
 */
#ifndef STEDI_PG_WORKER_H
#define STEDI_PG_WORKER_H

#include "pg/ingest.h"

#define STEDI_MAX_WORKERS 64

/* What workers did of a source. */
typedef struct StediWorkerLoad
{
	StediJob   *job;
	char	   *last_key;		/* of the last object that was handed out, or NULL */
	bool		complete;		/* all that was pending has been handed out */
	bool		failed;			/* there was an error of the source, and a warning */
	int64		elapsed;		/* microseconds */
} StediWorkerLoad;

/*
 * Load what is pending of some sources with background workers: at most n_workers
 * of them, each batch of objects in a transaction of its own, within the job's
 * max_objects and max_bytes.  A job's report is called for what was committed.
 * Returns how many of the sources were begun, one at least: for the next the caller
 * has to end its transaction first, as somebody else has locked its target.
 *
 * Where a load is not complete, the caller has to load the rest itself, from what
 * comes after its last_key on: no worker could be had, or the target is no plain
 * table, or there is nothing below the URI.  An error that is not one of a source
 * is thrown once the other batches have ended.  Inside a transaction, with SPI
 * connected; the targets are locked against other loads until it ends.
 */
extern int	stedi_run_workers(StediWorkerLoad *loads, int n_loads, int n_workers);

#endif							/* STEDI_PG_WORKER_H */
