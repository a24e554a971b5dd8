/*
 * worker.h
 *		Loading with background workers.
 */
#ifndef STEDI_PG_WORKER_H
#define STEDI_PG_WORKER_H

#include "pg/ingest.h"

#define STEDI_MAX_WORKERS 64

/*
 * Load what is pending of a source with background workers: at most n_workers of
 * them, each batch of objects in a transaction of its own, within the job's
 * max_objects and max_bytes.  The job's report is called for what was committed.
 *
 * False: the caller has to load the rest itself, from what comes after *last_key
 * on (palloc'd; NULL: from the start), because no worker could be had, or the
 * target is no plain table, or there is nothing below the URI.  An error of a
 * batch is thrown once the other batches have ended.  Inside a transaction, with
 * SPI connected; the target is locked against other loads until it ends.
 */
extern bool stedi_run_workers(const StediJob *job, int n_workers, char **last_key);

#endif							/* STEDI_PG_WORKER_H */
