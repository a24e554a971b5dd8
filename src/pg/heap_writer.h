/*
 * heap_writer.h
 *		Filling a new heap page by page, by several processes at a time.
 *
 * As CREATE INDEX and CLUSTER write: pages are made in private memory, logged whole,
 * and appended to the file past the shared buffers.  Nobody else may know the file
 * yet, and nobody may insert into the table otherwise until the writer is done.
 */
#ifndef STEDI_PG_HEAP_WRITER_H
#define STEDI_PG_HEAP_WRITER_H

#include "storage/dsm.h"
#include "utils/relcache.h"

#include "pg/sink.h"

/* Takes the rows that need no TOAST; the shared memory is that of a writer. */
extern const StediSink stedi_heap_sink;

/*
 * Get ready to fill rel, which is empty and whose storage this (sub)transaction
 * made.  The segment is freed with the current resource owner.  Rows appear as
 * inserted by the current command, and frozen.
 */
extern dsm_segment *stedi_heap_writer_create(Relation rel);

/* After all processes are done: write the visibility map.  The number of rows. */
extern uint64 stedi_heap_writer_finish(dsm_segment *writer, Relation rel);

#endif							/* STEDI_PG_HEAP_WRITER_H */
