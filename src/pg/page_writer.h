/*
 * page_writer.h
 *		Appending pages to a file that nobody else knows yet.
 *
 * As CREATE INDEX and CLUSTER write: pages are made in private memory, logged whole,
 * and appended to the file past the shared buffers.
 */
#ifndef STEDI_PG_PAGE_WRITER_H
#define STEDI_PG_PAGE_WRITER_H

#include "pg/compat.h"

/* How many pages are best written at a time, and the most that can be */
#define STEDI_CHUNK_PAGES 64

/* n pages, aligned as direct I/O wants them, in the current memory context. */
extern char *stedi_alloc_pages(int n);

/*
 * Write n pages as the blocks from first on, their checksums set.  All blocks before
 * the first of a segment of the file must have been written.  What is not logged,
 * because the file is flushed at the end of the transaction (see StediSkipsWAL()), is
 * not told to the checkpointer either.
 */
extern void stedi_append_pages(StediLocator file, ForkNumber fork, bool logged,
							   BlockNumber first, char *pages, int n);

#endif							/* STEDI_PG_PAGE_WRITER_H */
