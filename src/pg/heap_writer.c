/*
 * heap_writer.c
 *		Filling a new file of a heap page by page, by several processes at a time.
 *
 * Each process collects pages, and when it has some asks for the next blocks of the
 * file.  What a buffer would cost is spared: a page is written once, not first as
 * zeros and later as evicted, and nobody waits for the extension lock.
 */
#include "postgres.h"

#include "access/heaptoast.h"
#include "access/htup_details.h"
#include "access/multixact.h"
#include "access/table.h"
#include "access/visibilitymapdefs.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "catalog/storage.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/bufpage.h"
#include "storage/lwlock.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "pg/compat.h"
#include "pg/heap_writer.h"
#include "pg/page_writer.h"
#include "pg/tuple.h"

/* How many heap blocks a page of the visibility map tells of, see visibilitymap.c */
#define MAP_BYTES (BLCKSZ - MAXALIGN(SizeOfPageHeaderData))
#define BLOCKS_PER_MAP_BYTE (BITS_PER_BYTE / BITS_PER_HEAPBLOCK)
#define BLOCKS_PER_MAP_PAGE ((BlockNumber) MAP_BYTES * BLOCKS_PER_MAP_BYTE)

typedef struct SharedWriter
{
	StediLocator file;
	bool		logged;
	Oid			relid;
	TransactionId xid;
	CommandId	cid;

	/* Held in shared mode while blocks are asked for and written; alone by whoever
	 * writes the first block of a file segment, since that wants the one before
	 * full. */
	LWLock		lock;
	pg_atomic_uint32 n_blocks;
	pg_atomic_uint64 n_rows;
} SharedWriter;

/* Of one process */
typedef struct HeapWriter
{
	SharedWriter *shared;
	Relation	rel;			/* whose rows it takes */
	bool		checked;		/* they have its types */
	StediLayout *layout;
	Size		reserved;		/* space left free on a page, see fillfactor */
	char	   *tuple;			/* of TOAST_TUPLE_THRESHOLD bytes */
	char	   *pages;			/* of STEDI_CHUNK_PAGES */
	int			n_pages;		/* in use, the last one is being filled */
	uint64		n_rows;
} HeapWriter;

static void *begin_heap(CustomScanState *node, void *shared);
static TupleTableSlot *take_row(void *state, TupleTableSlot *slot);
static TupleTableSlot *end_heap(void *state);
static void check_types(HeapWriter *writer, TupleDesc desc);
static Page page_with_room(HeapWriter *writer, Size length);
static void write_chunk(HeapWriter *writer);
static BlockNumber claim_blocks(SharedWriter *shared, uint32 n);
static bool begins_segment(BlockNumber first, uint32 n);
static void take_file(Relation rel, StediLocator file);

const StediSink stedi_heap_sink = {.begin = begin_heap, .take = take_row, .end = end_heap};

dsm_segment *
stedi_heap_writer_create(Relation rel)
{
	dsm_segment *segment = dsm_create(sizeof(SharedWriter), 0);
	SharedWriter *shared = dsm_segment_address(segment);

	shared->file = StediCreateStorage(rel);
	shared->logged = !StediSkipsWAL(shared->file);
	shared->relid = RelationGetRelid(rel);
	shared->xid = GetCurrentTransactionId();
	shared->cid = GetCurrentCommandId(true);
	/* a tranche of its own would be lost with each call */
	LWLockInitialize(&shared->lock, LWTRANCHE_PARALLEL_APPEND);
	pg_atomic_init_u32(&shared->n_blocks, 0);
	pg_atomic_init_u64(&shared->n_rows, 0);
	return segment;
}

static void *
begin_heap(CustomScanState *node, void *shared)
{
	HeapWriter *writer = palloc0(sizeof(HeapWriter));

	writer->shared = shared;
	/* Workers hold the locks of their leader as well. */
	writer->rel = table_open(writer->shared->relid, AccessShareLock);
	writer->layout = stedi_layout_create(RelationGetDescr(writer->rel));
	writer->reserved = RelationGetTargetPageFreeSpace(writer->rel, HEAP_DEFAULT_FILLFACTOR);
	writer->tuple = palloc(TOAST_TUPLE_THRESHOLD);
	writer->pages = stedi_alloc_pages(STEDI_CHUNK_PAGES);
	return writer;
}

static TupleTableSlot *
take_row(void *state, TupleTableSlot *slot)
{
	HeapWriter *writer = state;
	Size		length;
	HeapTupleHeader header = (HeapTupleHeader) writer->tuple;
	Page		page;

	slot_getallattrs(slot);
	if (!writer->checked)
		check_types(writer, slot->tts_tupleDescriptor);
	length = stedi_form_tuple_at(writer->layout, slot->tts_values, slot->tts_isnull,
								 writer->tuple, TOAST_TUPLE_THRESHOLD);
	if (length == 0)
		return slot;
	page = page_with_room(writer, MAXALIGN(length));
	header->t_infomask |= HEAP_XMAX_INVALID | HEAP_XMIN_FROZEN;
	HeapTupleHeaderSetXmin(header, writer->shared->xid);
	HeapTupleHeaderSetCmin(header, writer->shared->cid);
	if (PageAddItem(page, (Item) header, length, InvalidOffsetNumber, false, true) == InvalidOffsetNumber)
		elog(ERROR, "could not add a row to a new page");
	writer->n_rows++;
	return NULL;
}

/* There may be more columns, by which the rows were sorted. */
static void
check_types(HeapWriter *writer, TupleDesc desc)
{
	TupleDesc	own = RelationGetDescr(writer->rel);

	for (int i = 0; i < own->natts; i++)
	{
		if (i >= desc->natts || TupleDescAttr(desc, i)->atttypid != TupleDescAttr(own, i)->atttypid)
			elog(ERROR, "rows do not have the types of \"%s\"", RelationGetRelationName(writer->rel));
	}
	writer->checked = true;
}

static Page
page_with_room(HeapWriter *writer, Size length)
{
	Page		page;

	if (writer->n_pages > 0)
	{
		page = writer->pages + (Size) (writer->n_pages - 1) * BLCKSZ;
		if (PageGetHeapFreeSpace(page) >= length + writer->reserved)
			return page;
	}
	if (writer->n_pages == STEDI_CHUNK_PAGES)
		write_chunk(writer);
	page = writer->pages + (Size) writer->n_pages++ * BLCKSZ;
	PageInit(page, BLCKSZ, 0);
	PageSetAllVisible(page);
	return page;
}

static TupleTableSlot *
end_heap(void *state)
{
	HeapWriter *writer = state;

	write_chunk(writer);
	pg_atomic_fetch_add_u64(&writer->shared->n_rows, writer->n_rows);
	table_close(writer->rel, AccessShareLock);
	return NULL;
}

static void
write_chunk(HeapWriter *writer)
{
	SharedWriter *shared = writer->shared;
	BlockNumber first;

	if (writer->n_pages == 0)
		return;
	first = claim_blocks(shared, writer->n_pages);
	for (int i = 0; i < writer->n_pages; i++)
	{
		Page		page = writer->pages + (Size) i * BLCKSZ;
		OffsetNumber last = PageGetMaxOffsetNumber(page);

		for (OffsetNumber at = FirstOffsetNumber; at <= last; at++)
		{
			HeapTupleHeader header = (HeapTupleHeader) PageGetItem(page, PageGetItemId(page, at));

			ItemPointerSet(&header->t_ctid, first + i, at);
		}
	}
	stedi_append_pages(shared->file, MAIN_FORKNUM, shared->logged, first, writer->pages, writer->n_pages);
	LWLockRelease(&shared->lock);
	writer->n_pages = 0;
}

/* The lock is held then. */
static BlockNumber
claim_blocks(SharedWriter *shared, uint32 n)
{
	uint32		first;

	LWLockAcquire(&shared->lock, LW_SHARED);
	first = pg_atomic_read_u32(&shared->n_blocks);
	while (!begins_segment(first, n))
	{
		if (pg_atomic_compare_exchange_u32(&shared->n_blocks, &first, first + n))
			return first;
	}
	LWLockRelease(&shared->lock);

	/* Whoever else has blocks has written them before this returns. */
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	first = pg_atomic_read_u32(&shared->n_blocks);
	if (first > MaxBlockNumber - n)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("too many rows for one relation")));
	pg_atomic_write_u32(&shared->n_blocks, first + n);
	return first;
}

static bool
begins_segment(BlockNumber first, uint32 n)
{
	return first % RELSEG_SIZE == 0 || first / RELSEG_SIZE != (first + n - 1) / RELSEG_SIZE;
}

uint64
stedi_heap_writer_finish(dsm_segment *writer, Relation rel)
{
	SharedWriter *shared = dsm_segment_address(writer);
	BlockNumber n_blocks = pg_atomic_read_u32(&shared->n_blocks);
	char	   *page = stedi_alloc_pages(1);

	if (n_blocks > 0)
		smgrcreate(StediOpenStorage(shared->file), VISIBILITYMAP_FORKNUM, false);
	for (BlockNumber block = 0; block < n_blocks; block += BLOCKS_PER_MAP_PAGE)
	{
		BlockNumber n = Min(n_blocks - block, BLOCKS_PER_MAP_PAGE);
		uint8	   *map = (uint8 *) PageGetContents(page);

		/* visible to all, and frozen */
		PageInit(page, BLCKSZ, 0);
		memset(map, 0xFF, n / BLOCKS_PER_MAP_BYTE);
		if (n % BLOCKS_PER_MAP_BYTE != 0)
			map[n / BLOCKS_PER_MAP_BYTE] = (1 << (n % BLOCKS_PER_MAP_BYTE * BITS_PER_HEAPBLOCK)) - 1;
		stedi_append_pages(shared->file, VISIBILITYMAP_FORKNUM, shared->logged,
						   block / BLOCKS_PER_MAP_PAGE, page, 1);
	}
	take_file(rel, shared->file);
	return pg_atomic_read_u64(&shared->n_rows);
}

/* What RelationSetNewRelfilenode() does, with a file that is there. */
static void
take_file(Relation rel, StediLocator file)
{
	Relation	pg_class = table_open(RelationRelationId, RowExclusiveLock);
	HeapTuple	tuple = SearchSysCacheCopy1(RELOID, ObjectIdGetDatum(RelationGetRelid(rel)));
	Form_pg_class form;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", RelationGetRelid(rel));
	RelationDropStorage(rel);
	form = (Form_pg_class) GETSTRUCT(tuple);
	form->relfilenode = StediFileNumber(file);
	form->relpages = 0;
	form->reltuples = -1;
	form->relallvisible = 0;
#if PG_VERSION_NUM >= 180000
	form->relallfrozen = 0;
#endif
	form->relfrozenxid = RecentXmin;
	form->relminmxid = GetOldestMultiXactId();
	CatalogTupleUpdate(pg_class, &tuple->t_self, tuple);
	heap_freetuple(tuple);
	table_close(pg_class, RowExclusiveLock);
	CommandCounterIncrement();
	StediAssumeNewStorage(rel);
}
