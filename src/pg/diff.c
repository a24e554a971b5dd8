/*
 * diff.c
 *		Making a relation hold given rows by writing only what differs.
 *
 *		rows that are there --> hash, tid --+
 *		                                    +--> same: stays
 *		rows that are added --> hash -------+--> not there: inserted
 *		                                    +--> nobody added it: deleted
 *
 * Rows are the same if all values are, byte by byte.  A hash of 128 bits under
 * random seeds stands for them.  If the hashes do not fit into memory, only the
 * rows with small ones are looked at while rows are added; the others wait in a
 * tuplestore for further passes.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "common/hashfn.h"
#include "executor/executor.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"

#include "pg/compat.h"
#include "pg/diff.h"
#include "pg/insert.h"

#define MIN_ROWS 1024			/* of the hash table */

typedef struct RowHash
{
	uint64		high;
	uint64		low;
} RowHash;

typedef struct OldRow
{
	RowHash		hash;
	ItemPointerData tid;
	bool		same;			/* it was added, too */
	char		status;
} OldRow;

#define SH_PREFIX rows
#define SH_ELEMENT_TYPE OldRow
#define SH_KEY_TYPE RowHash
#define SH_KEY hash
#define SH_HASH_KEY(table, key) ((uint32) (key).low)
#define SH_EQUAL(table, a, b) ((a).high == (b).high && (a).low == (b).low)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

struct StediDiff
{
	Relation	rel;
	MemoryContext context;
	MemoryContext row_context;
	StringInfoData image;		/* of a row */
	uint64		seeds[2];

	/* Rows whose hash has its higher half between these are looked at in this pass. */
	uint64		first;
	uint64		last;
	rows_hash  *old_rows;
	Tuplestorestate *later;		/* NULL: none */

	Tuplestorestate *new_rows;	/* to be inserted */
	ItemPointerData *gone;		/* to be deleted */
	uint64		n_gone;
	uint64		max_gone;
};

static void start_pass(StediDiff *diff);
static bool read_old_rows(StediDiff *diff);
static void end_pass(StediDiff *diff);
static RowHash hash_row(StediDiff *diff, TupleTableSlot *slot);
static void add_gone(StediDiff *diff, ItemPointer tid);
static void delete_gone(StediDiff *diff);
static void insert_new_rows(StediDiff *diff);
static int	compare_tids(const void *a, const void *b);

StediDiff *
stedi_diff_begin(Relation rel)
{
	StediDiff  *diff = palloc0(sizeof(StediDiff));

	diff->rel = rel;
	diff->context = CurrentMemoryContext;
	diff->row_context = AllocSetContextCreate(diff->context, "stedi row", ALLOCSET_SMALL_SIZES);
	initStringInfo(&diff->image);
	if (!pg_strong_random(diff->seeds, sizeof(diff->seeds)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not generate a random number")));
	diff->new_rows = tuplestore_begin_heap(false, false, work_mem);
	diff->last = PG_UINT64_MAX;
	start_pass(diff);
	return diff;
}

void
stedi_diff_add(StediDiff *diff, TupleTableSlot *slot)
{
	RowHash		hash = hash_row(diff, slot);
	MemoryContext old = MemoryContextSwitchTo(diff->context);

	if (hash.high > diff->last)
	{
		if (diff->later == NULL)
			diff->later = tuplestore_begin_heap(false, false, work_mem);
		tuplestore_puttupleslot(diff->later, slot);
	}
	else
	{
		OldRow	   *row = rows_lookup(diff->old_rows, hash);

		if (row != NULL && !row->same)
			row->same = true;
		else
			tuplestore_puttupleslot(diff->new_rows, slot);
	}
	MemoryContextSwitchTo(old);
}

void
stedi_diff_end(StediDiff *diff)
{
	end_pass(diff);
	while (diff->last != PG_UINT64_MAX)
	{
		uint64		width = diff->last - diff->first;
		Tuplestorestate *rows = diff->later;

		diff->first = diff->last + 1;
		diff->last = diff->first + Min(width, PG_UINT64_MAX - diff->first);
		diff->later = NULL;
		start_pass(diff);
		if (rows != NULL)
		{
			TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(diff->rel), &TTSOpsMinimalTuple);

			while (tuplestore_gettupleslot(rows, true, false, slot))
			{
				CHECK_FOR_INTERRUPTS();
				slot_getallattrs(slot);
				stedi_diff_add(diff, slot);
			}
			ExecDropSingleTupleTableSlot(slot);
			tuplestore_end(rows);
		}
		end_pass(diff);
	}
	/* All that goes first: a new row may have the key of an old one. */
	delete_gone(diff);
	insert_new_rows(diff);
	CommandCounterIncrement();
}

/* With half of the range, and half of that, until it fits. */
static void
start_pass(StediDiff *diff)
{
	uint64		n_gone = diff->n_gone;

	while (!read_old_rows(diff))
	{
		rows_destroy(diff->old_rows);
		diff->n_gone = n_gone;
		diff->last = diff->first + (diff->last - diff->first) / 2;
	}
}

/* False: they are too many. */
static bool
read_old_rows(StediDiff *diff)
{
	uint64		max_rows = pg_prevpower2_64(get_hash_memory_limit() / sizeof(OldRow)) / 10 * 9;
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	TableScanDesc scan = table_beginscan(diff->rel, snapshot, 0, NULL);
	TupleTableSlot *slot = table_slot_create(diff->rel, NULL);
	bool		fits = true;

	diff->old_rows = rows_create(diff->context, MIN_ROWS, NULL);
	while (fits && table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		RowHash		hash;
		OldRow	   *row;
		bool		found;

		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(slot);
		hash = hash_row(diff, slot);
		if (hash.high < diff->first || hash.high > diff->last)
			continue;
		row = rows_insert(diff->old_rows, hash, &found);
		if (found)
			add_gone(diff, &slot->tts_tid);
		else
		{
			row->tid = slot->tts_tid;
			row->same = false;
		}
		fits = diff->old_rows->members < max_rows || diff->first == diff->last;
	}
	ExecDropSingleTupleTableSlot(slot);
	table_endscan(scan);
	UnregisterSnapshot(snapshot);
	return fits;
}

static void
end_pass(StediDiff *diff)
{
	rows_iterator iterator;
	OldRow	   *row;

	rows_start_iterate(diff->old_rows, &iterator);
	while ((row = rows_iterate(diff->old_rows, &iterator)) != NULL)
	{
		if (!row->same)
			add_gone(diff, &row->tid);
	}
	rows_destroy(diff->old_rows);
}

/* Of all values, out of line or compressed or not. */
static RowHash
hash_row(StediDiff *diff, TupleTableSlot *slot)
{
	TupleDesc	desc = RelationGetDescr(diff->rel);
	StringInfo	image = &diff->image;
	MemoryContext old = MemoryContextSwitchTo(diff->row_context);
	RowHash		hash;

	resetStringInfo(image);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		Datum		value = slot->tts_values[i];

		appendStringInfoCharMacro(image, slot->tts_isnull[i]);
		if (slot->tts_isnull[i])
			continue;
		if (attribute->attbyval)
		{
			/* Beyond its length, an expression and a tuple may leave different bits. */
			char		bytes[sizeof(Datum)];

			store_att_byval(bytes, value, attribute->attlen);
			appendBinaryStringInfo(image, bytes, attribute->attlen);
		}
		else if (attribute->attlen > 0)
			appendBinaryStringInfo(image, DatumGetPointer(value), attribute->attlen);
		else if (attribute->attlen == -1)
		{
			struct varlena *varlena = PG_DETOAST_DATUM_PACKED(value);
			int32		length = VARSIZE_ANY_EXHDR(varlena);

			appendBinaryStringInfo(image, (char *) &length, sizeof(length));
			appendBinaryStringInfo(image, VARDATA_ANY(varlena), length);
		}
		else
			appendBinaryStringInfo(image, DatumGetCString(value), strlen(DatumGetCString(value)) + 1);
	}
	hash.high = hash_bytes_extended((unsigned char *) image->data, image->len, diff->seeds[0]);
	hash.low = hash_bytes_extended((unsigned char *) image->data, image->len, diff->seeds[1]);
	MemoryContextSwitchTo(old);
	MemoryContextReset(diff->row_context);
	return hash;
}

static void
add_gone(StediDiff *diff, ItemPointer tid)
{
	if (diff->n_gone == diff->max_gone)
	{
		diff->max_gone = Max(diff->max_gone * 2, MIN_ROWS);
		diff->gone = diff->gone == NULL ?
			MemoryContextAlloc(diff->context, sizeof(ItemPointerData) * diff->max_gone) :
			repalloc_huge(diff->gone, sizeof(ItemPointerData) * diff->max_gone);
	}
	diff->gone[diff->n_gone++] = *tid;
}

/* Page after page. */
static void
delete_gone(StediDiff *diff)
{
	if (diff->n_gone > 0)
		qsort(diff->gone, diff->n_gone, sizeof(ItemPointerData), compare_tids);
	for (uint64 i = 0; i < diff->n_gone; i++)
	{
		CHECK_FOR_INTERRUPTS();
		simple_table_tuple_delete(diff->rel, &diff->gone[i], GetActiveSnapshot());
	}
}

static void
insert_new_rows(StediDiff *diff)
{
	StediInserter *inserter = stedi_inserter_create_bulk(diff->rel, 0);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(diff->rel), &TTSOpsMinimalTuple);

	stedi_inserter_begin(inserter);
	while (tuplestore_gettupleslot(diff->new_rows, true, false, slot))
	{
		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(slot);
		stedi_inserter_add(inserter, slot->tts_values, slot->tts_isnull, NULL);
	}
	stedi_inserter_end(inserter);
	ExecDropSingleTupleTableSlot(slot);
	tuplestore_end(diff->new_rows);
}

static int
compare_tids(const void *a, const void *b)
{
	return ItemPointerCompare((ItemPointer) a, (ItemPointer) b);
}
