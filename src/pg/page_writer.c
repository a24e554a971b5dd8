/*
 * page_writer.c
 *		Appending pages to a file that nobody else knows yet.
 */
#include "postgres.h"

#include "storage/bufpage.h"
#include "storage/proc.h"
#include "storage/smgr.h"

#include "pg/page_writer.h"
#include "pg/wal.h"

#define IO_ALIGNMENT 4096		/* of pages in memory, for direct I/O */

static void log_pages(StediLocator file, ForkNumber fork, BlockNumber first, char *pages, int n);
static void extend(StediLocator file, ForkNumber fork, bool logged, BlockNumber first, char *pages, int n);

char *
stedi_alloc_pages(int n)
{
	return (char *) TYPEALIGN(IO_ALIGNMENT, palloc((Size) n * BLCKSZ + IO_ALIGNMENT));
}

/*
 * A checkpoint that begins meanwhile must not take the log for written and miss
 * the pages: it waits until they are with the kernel, and their file on the list
 * of what is to be flushed.
 */
void
stedi_append_pages(StediLocator file, ForkNumber fork, bool logged,
				   BlockNumber first, char *pages, int n)
{
	MyProc->delayChkptFlags |= DELAY_CHKPT_START;
	PG_TRY();
	{
		if (logged)
			log_pages(file, fork, first, pages, n);
		extend(file, fork, logged, first, pages, n);
	}
	PG_FINALLY();
	{
		MyProc->delayChkptFlags &= ~DELAY_CHKPT_START;
	}
	PG_END_TRY();
	if (logged)
		stedi_wake_wal_writer();
}

static void
log_pages(StediLocator file, ForkNumber fork, BlockNumber first, char *pages, int n)
{
	BlockNumber blocks[STEDI_CHUNK_PAGES];
	Page		images[STEDI_CHUNK_PAGES];

	Assert(n <= STEDI_CHUNK_PAGES);
	for (int i = 0; i < n; i++)
	{
		blocks[i] = first + i;
		images[i] = pages + (Size) i * BLCKSZ;
	}
	StediLogNewPages(file, fork, n, blocks, images);
}

static void
extend(StediLocator file, ForkNumber fork, bool logged, BlockNumber first, char *pages, int n)
{
	SMgrRelation smgr = StediOpenStorage(file);

	for (int i = 0; i < n; i++)
	{
		Page		page = pages + (Size) i * BLCKSZ;
		BlockNumber block = first + i;
		/* Once for all of a file.  What is not logged is flushed at commit. */
		bool		flush_later = logged && (i == n - 1 || (block + 1) % RELSEG_SIZE == 0);

		PageSetChecksumInplace(page, block);
		smgrextend(smgr, fork, block, page, !flush_later);
	}
}
