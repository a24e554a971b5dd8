/*
 * heap_writer.h
 *		Filling a new file of a heap page by page, by several processes at a time.
 *
 * Until it is complete nobody else knows the file: the table has its old rows.
 */
#ifndef STEDI_PG_HEAP_WRITER_H
#define STEDI_PG_HEAP_WRITER_H

#include "storage/dsm.h"
#include "utils/relcache.h"

#include "pg/sink.h"

/* Takes the rows that need no TOAST; the shared memory is that of a writer. */
extern const StediSink stedi_heap_sink;

/*
 * Make the file.  rel, which is locked against everybody else, says how rows lie in
 * it; the transaction must have its id.  The segment is freed with the current
 * resource owner, the file when the (sub)transaction is rolled back.  Rows appear as
 * inserted by the current command, and frozen.
 */
extern dsm_segment *stedi_heap_writer_create(Relation rel);

/*
 * After all processes are done: write the visibility map, and let rel have the file
 * instead of its own, with no other statistics than those of an empty table.  Indexes
 * and TOAST are still those of the old rows.  The number of rows.
 */
extern uint64 stedi_heap_writer_finish(dsm_segment *writer, Relation rel);

#endif							/* STEDI_PG_HEAP_WRITER_H */
