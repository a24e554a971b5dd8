/*
 * btree_writer.c
 *		Writing a unique b-tree over a column of integers, all at once.
 *
 * What ambuild() does for any index, from a heap that this transaction has just
 * filled: every row is in it.  Index tuples of one size lie one after the other in
 * memory, and are sorted there, by radix.  How many of them a page takes is known, and
 * so is the place of every page.
 *
 *		block 0         metapage
 *		block 1 ...     leaf pages, from left to right
 *		...             the level above, and so on
 *		last block      root
 *
 * How pages and tuples look is described in PostgreSQL's access/nbtree.h, and why in
 * src/backend/access/nbtree/README there.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/itup.h"
#include "access/nbtree.h"
#include "access/tupmacs.h"
#include "catalog/index.h"
#include "catalog/pg_am.h"
#include "catalog/pg_index.h"
#include "catalog/pg_opfamily.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/bufpage.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "pg/btree_writer.h"
#include "pg/compat.h"
#include "pg/page_writer.h"

#define MAX_TUPLE_SIZE 256
#define MAX_LEVELS 32
#define RADIX 256
#define SMALL_SORT 32			/* sorted by comparison */
#define TUPLES_PER_CHECK 65536	/* for interrupts */

#define PAGE_SPACE (BLCKSZ - SizeOfPageHeaderData - MAXALIGN(sizeof(BTPageOpaqueData)))

typedef struct KeyColumn
{
	AttrNumber	heap_column;
	int16		len;			/* of its values, in bytes */
	bool		byval;
	Size		offset;			/* in an index tuple */
	Oid			collation;
	FmgrInfo   *compare;
} KeyColumn;

typedef struct BTreeWriter
{
	Relation	index;
	int			n_columns;
	KeyColumn	columns[INDEX_MAX_KEYS];
	Size		tuple_size;
	char	   *tuples;
	Size		n_tuples;

	StediLocator file;
	bool		logged;
	char	   *pages;			/* of STEDI_CHUNK_PAGES */
	int			n_pages;		/* in use */
	BlockNumber first;			/* block of the first of them */
} BTreeWriter;

static bool describe_columns(BTreeWriter *writer);
static bool read_heap(BTreeWriter *writer, Relation heap, uint64 n_rows);
static bool add_row(BTreeWriter *writer, HeapTuple row, TupleDesc desc);
static void sort_tuples(BTreeWriter *writer, char *tuples, Size n, int shift);
static uint64 first_key(const BTreeWriter *writer, const char *tuple);
static int	compare_tuples(const void *a, const void *b, void *writer);
static bool all_differ(BTreeWriter *writer);
static void write_tree(BTreeWriter *writer);
static IndexTuple *write_leaves(BTreeWriter *writer, BlockNumber n_pages, int per_page);
static IndexTuple *write_level(BTreeWriter *writer, int level, BlockNumber first, BlockNumber n_pages,
							   int per_page, IndexTuple *lows, BlockNumber first_child, BlockNumber n_children);
static Page next_page(BTreeWriter *writer);
static Page next_tree_page(BTreeWriter *writer, int level, BlockNumber at, BlockNumber first, BlockNumber n_pages);
static void add_item(Page page, IndexTuple tuple);
static void flush_pages(BTreeWriter *writer);

bool
stedi_btree_is_plain(Relation index)
{
	BTreeWriter writer = {.index = index};

	return index->rd_rel->relam == BTREE_AM_OID && index->rd_index->indisunique &&
		index->rd_index->indnatts == index->rd_index->indnkeyatts &&
		index->rd_opfamily[0] == INTEGER_BTREE_FAM_OID && index->rd_opcintype[0] == INT8OID &&
		describe_columns(&writer);
}

static bool
describe_columns(BTreeWriter *writer)
{
	TupleDesc	desc = RelationGetDescr(writer->index);
	Size		size = MAXALIGN(sizeof(IndexTupleData));

	writer->n_columns = desc->natts;
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		KeyColumn  *column = &writer->columns[i];

		if (attribute->attlen <= 0 || writer->index->rd_indoption[i] != 0)
			return false;
		column->heap_column = writer->index->rd_index->indkey.values[i];
		column->len = attribute->attlen;
		column->byval = attribute->attbyval;
		column->collation = writer->index->rd_indcollation[i];
		column->compare = index_getprocinfo(writer->index, i + 1, BTORDER_PROC);
		column->offset = att_align_nominal(size, attribute->attalign);
		size = column->offset + attribute->attlen;
	}
	writer->tuple_size = MAXALIGN(size);
	return writer->tuple_size <= MAX_TUPLE_SIZE;
}

bool
stedi_btree_write(Relation heap, Relation index, uint64 n_rows)
{
	BTreeWriter writer = {.index = index};
	bool		written;

	if (!describe_columns(&writer) ||
		n_rows > (uint64) maintenance_work_mem * 1024 / writer.tuple_size)
		return false;
	writer.tuples = MemoryContextAllocHuge(CurrentMemoryContext, Max(n_rows, 1) * writer.tuple_size);
	written = read_heap(&writer, heap, n_rows);
	if (written)
	{
		sort_tuples(&writer, writer.tuples, writer.n_tuples, BITS_PER_BYTE * (sizeof(uint64) - 1));
		written = all_differ(&writer);
	}
	if (written)
		write_tree(&writer);
	pfree(writer.tuples);
	return written;
}

/* Whether it is as expected. */
static bool
read_heap(BTreeWriter *writer, Relation heap, uint64 n_rows)
{
	BlockNumber n_blocks = RelationGetNumberOfBlocks(heap);
	BufferAccessStrategy strategy = GetAccessStrategy(BAS_BULKREAD);
	bool		as_expected = true;

	for (BlockNumber block = 0; block < n_blocks && as_expected; block++)
	{
		Buffer		buffer;
		Page		page;
		OffsetNumber last;

		CHECK_FOR_INTERRUPTS();
		buffer = ReadBufferExtended(heap, MAIN_FORKNUM, block, RBM_NORMAL, strategy);
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		page = BufferGetPage(buffer);
		last = PageGetMaxOffsetNumber(page);
		for (OffsetNumber at = FirstOffsetNumber; at <= last && as_expected; at++)
		{
			ItemId		item = PageGetItemId(page, at);
			HeapTupleData row;

			as_expected = ItemIdIsNormal(item) && writer->n_tuples < n_rows;
			if (!as_expected)
				break;
			row.t_data = (HeapTupleHeader) PageGetItem(page, item);
			row.t_len = ItemIdGetLength(item);
			row.t_tableOid = RelationGetRelid(heap);
			ItemPointerSet(&row.t_self, block, at);
			as_expected = add_row(writer, &row, RelationGetDescr(heap));
		}
		UnlockReleaseBuffer(buffer);
	}
	FreeAccessStrategy(strategy);
	return as_expected && writer->n_tuples == n_rows;
}

static bool
add_row(BTreeWriter *writer, HeapTuple row, TupleDesc desc)
{
	char	   *tuple = writer->tuples + writer->n_tuples * writer->tuple_size;
	IndexTuple	header = (IndexTuple) tuple;

	memset(tuple, 0, writer->tuple_size);
	header->t_tid = row->t_self;
	header->t_info = writer->tuple_size;
	for (int i = 0; i < writer->n_columns; i++)
	{
		const KeyColumn *column = &writer->columns[i];
		bool		is_null;
		Datum		value = heap_getattr(row, column->heap_column, desc, &is_null);

		if (is_null)
			return false;
		if (column->byval)
			store_att_byval(tuple + column->offset, value, column->len);
		else
			memcpy(tuple + column->offset, DatumGetPointer(value), column->len);
	}
	writer->n_tuples++;
	return true;
}

/*
 * By the byte of the first column that begins at shift, and those below it, then as
 * the index compares.  In place: each tuple goes where the next of its byte belongs,
 * and the one that was there goes on (McIlroy, Bostic, McIlroy: Engineering Radix
 * Sort, Computing Systems 6(1), 1993).
 */
static void
sort_tuples(BTreeWriter *writer, char *tuples, Size n, int shift)
{
	Size		size = writer->tuple_size;
	Size		next[RADIX];
	Size		ends[RADIX];
	Size		counts[RADIX];
	char		moving[MAX_TUPLE_SIZE];
	char		other[MAX_TUPLE_SIZE];
	Size		at;
	Size		moved = 0;

	for (;; shift -= BITS_PER_BYTE)
	{
		if (n <= SMALL_SORT || shift < 0)
		{
			qsort_interruptible(tuples, n, size, compare_tuples, writer);
			return;
		}
		memset(counts, 0, sizeof(counts));
		for (Size i = 0; i < n; i++)
		{
			if (i % TUPLES_PER_CHECK == 0)
				CHECK_FOR_INTERRUPTS();
			counts[(first_key(writer, tuples + i * size) >> shift) & (RADIX - 1)]++;
		}
		/* else all have the same byte here */
		if (counts[(first_key(writer, tuples) >> shift) & (RADIX - 1)] != n)
			break;
	}

	at = 0;
	for (int byte = 0; byte < RADIX; byte++)
	{
		next[byte] = at;
		at += counts[byte];
		ends[byte] = at;
	}
	for (int byte = 0; byte < RADIX; byte++)
	{
		while (next[byte] < ends[byte])
		{
			int			target = (first_key(writer, tuples + next[byte] * size) >> shift) & (RADIX - 1);

			if (moved++ % TUPLES_PER_CHECK == 0)
				CHECK_FOR_INTERRUPTS();
			if (target == byte)
			{
				next[byte]++;
				continue;
			}
			memcpy(moving, tuples + next[byte] * size, size);
			do
			{
				char	   *place = tuples + next[target]++ * size;

				memcpy(other, place, size);
				memcpy(place, moving, size);
				memcpy(moving, other, size);
				target = (first_key(writer, moving) >> shift) & (RADIX - 1);
			} while (target != byte);
			memcpy(tuples + next[byte]++ * size, moving, size);
		}
	}
	for (int byte = 0; byte < RADIX; byte++)
	{
		if (counts[byte] > 1)
			sort_tuples(writer, tuples + (ends[byte] - counts[byte]) * size, counts[byte],
						shift - BITS_PER_BYTE);
	}
}

/* In the order of unsigned integers */
static uint64
first_key(const BTreeWriter *writer, const char *tuple)
{
	uint64		key;

	memcpy(&key, tuple + writer->columns[0].offset, sizeof(key));
	return key ^ (UINT64CONST(1) << 63);
}

static int
compare_tuples(const void *a, const void *b, void *arg)
{
	BTreeWriter *writer = arg;
	uint64		left = first_key(writer, a);
	uint64		right = first_key(writer, b);

	if (left != right)
		return left < right ? -1 : 1;
	for (int i = 1; i < writer->n_columns; i++)
	{
		const KeyColumn *column = &writer->columns[i];
		int32		order = DatumGetInt32(
			FunctionCall2Coll(column->compare, column->collation,
							  fetch_att((const char *) a + column->offset, column->byval, column->len),
							  fetch_att((const char *) b + column->offset, column->byval, column->len)));

		if (order != 0)
			return order;
	}
	return 0;
}

static bool
all_differ(BTreeWriter *writer)
{
	for (Size i = 1; i < writer->n_tuples; i++)
	{
		char	   *tuple = writer->tuples + i * writer->tuple_size;

		if (i % TUPLES_PER_CHECK == 0)
			CHECK_FOR_INTERRUPTS();
		if (compare_tuples(tuple - writer->tuple_size, tuple, writer) == 0)
			return false;
	}
	return true;
}

/* How many pages of each level there are is worked out first: the metapage, which is
 * written first, tells where the root is. */
static void
write_tree(BTreeWriter *writer)
{
	Size		item_size = writer->tuple_size + sizeof(ItemIdData);
	/* All pages but the last have a high key as well. */
	int			per_leaf = (PAGE_SPACE - BTGetTargetPageFreeSpace(writer->index)) / item_size - 1;
	int			per_inner = PAGE_SPACE * BTREE_NONLEAF_FILLFACTOR / 100 / item_size - 1;
	BlockNumber n_pages[MAX_LEVELS];
	BlockNumber first[MAX_LEVELS];
	IndexTuple *lows;
	int			top = 0;
	Page		metapage;

	writer->file = StediLocatorOf(writer->index);
	writer->logged = !StediSkipsWAL(writer->file);
	writer->pages = stedi_alloc_pages(STEDI_CHUNK_PAGES);

	first[0] = BTREE_METAPAGE + 1;
	n_pages[0] = (writer->n_tuples + per_leaf - 1) / per_leaf;
	while (n_pages[top] > 1)
	{
		first[top + 1] = first[top] + n_pages[top];
		n_pages[top + 1] = (n_pages[top] + per_inner - 1) / per_inner;
		top++;
	}
	metapage = next_page(writer);
	_bt_initmetapage(metapage, n_pages[0] == 0 ? P_NONE : first[top], top,
					 _bt_allequalimage(writer->index, false));

	lows = write_leaves(writer, n_pages[0], per_leaf);
	for (int level = 1; level <= top; level++)
		lows = write_level(writer, level, first[level], n_pages[level], per_inner,
						   lows, first[level - 1], n_pages[level - 1]);
	flush_pages(writer);
}

/* The low key of each page but the first, as short as it can be. */
static IndexTuple *
write_leaves(BTreeWriter *writer, BlockNumber n_pages, int per_page)
{
	IndexTuple *lows = palloc0(sizeof(IndexTuple) * (n_pages + 1));
	BTScanInsert order = _bt_mkscankey(writer->index, NULL);
	Size		size = writer->tuple_size;

	for (BlockNumber at = 0; at < n_pages; at++)
	{
		Page		page = next_tree_page(writer, 0, at, BTREE_METAPAGE + 1, n_pages);
		char	   *tuples = writer->tuples + (Size) at * per_page * size;
		char	   *end = writer->tuples + Min((Size) (at + 1) * per_page, writer->n_tuples) * size;

		CHECK_FOR_INTERRUPTS();
		if (at + 1 < n_pages)
		{
			lows[at + 1] = _bt_truncate(writer->index, (IndexTuple) (end - size), (IndexTuple) end, order);
			add_item(page, lows[at + 1]);
		}
		for (char *tuple = tuples; tuple < end; tuple += size)
			add_item(page, (IndexTuple) tuple);
	}
	pfree(order);
	return lows;
}

/* The same for a level of pages whose children have these low keys. */
static IndexTuple *
write_level(BTreeWriter *writer, int level, BlockNumber first, BlockNumber n_pages, int per_page,
			IndexTuple *lows, BlockNumber first_child, BlockNumber n_children)
{
	IndexTuple *own_lows = palloc0(sizeof(IndexTuple) * (n_pages + 1));

	for (BlockNumber at = 0; at < n_pages; at++)
	{
		Page		page = next_tree_page(writer, level, at, first, n_pages);
		BlockNumber begin = at * per_page;
		BlockNumber end = Min(begin + per_page, n_children);
		IndexTupleData lowest = {.t_info = sizeof(IndexTupleData)};

		CHECK_FOR_INTERRUPTS();
		if (at + 1 < n_pages)
		{
			own_lows[at + 1] = lows[end];
			add_item(page, lows[end]);
		}
		BTreeTupleSetNAtts(&lowest, 0, false);
		BTreeTupleSetDownLink(&lowest, first_child + begin);
		add_item(page, &lowest);
		for (BlockNumber child = begin + 1; child < end; child++)
		{
			BTreeTupleSetDownLink(lows[child], first_child + child);
			add_item(page, lows[child]);
		}
	}
	pfree(lows);
	return own_lows;
}

static Page
next_tree_page(BTreeWriter *writer, int level, BlockNumber at, BlockNumber first, BlockNumber n_pages)
{
	Page		page = next_page(writer);
	BTPageOpaque opaque;

	_bt_pageinit(page, BLCKSZ);
	opaque = BTPageGetOpaque(page);
	opaque->btpo_prev = at == 0 ? P_NONE : first + at - 1;
	opaque->btpo_next = at + 1 == n_pages ? P_NONE : first + at + 1;
	opaque->btpo_level = level;
	opaque->btpo_flags = (level == 0 ? BTP_LEAF : 0) | (n_pages == 1 ? BTP_ROOT : 0);
	return page;
}

static void
add_item(Page page, IndexTuple tuple)
{
	if (PageAddItem(page, (Item) tuple, IndexTupleSize(tuple), InvalidOffsetNumber, false, false) == InvalidOffsetNumber)
		elog(ERROR, "could not add an item to an index page");
}

static Page
next_page(BTreeWriter *writer)
{
	if (writer->n_pages == STEDI_CHUNK_PAGES)
		flush_pages(writer);
	return writer->pages + (Size) writer->n_pages++ * BLCKSZ;
}

static void
flush_pages(BTreeWriter *writer)
{
	stedi_append_pages(writer->file, MAIN_FORKNUM, writer->logged, writer->first,
					   writer->pages, writer->n_pages);
	writer->first += writer->n_pages;
	writer->n_pages = 0;
}
