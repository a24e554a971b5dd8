/*
 * insert.c
 *		Putting rows into a target table.
 *
 * Plain tables get table_multi_insert() in batches, as COPY does it.  Everything
 * that wants the executor's care (triggers, rules, CHECK, unique and foreign keys, row
 * security, generated columns, partitions, views, foreign tables) gets a
 * prepared INSERT, run with the caller's rights.
 */
#include "postgres.h"

#include <fcntl.h>

#include "access/genam.h"
#include "access/heapam.h"
#include "access/heaptoast.h"
#include "access/hio.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/catalog.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/fd.h"
#include "storage/freespace.h"
#include "storage/lmgr.h"
#include "storage/smgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/rls.h"

#include "pg/clock.h"
#include "pg/compat.h"
#include "pg/error.h"
#include "pg/insert.h"
#include "pg/tuple.h"
#include "pg/wal.h"

/* As COPY: so many rows, or so many bytes, whichever comes first. */
#define BATCH_ROWS	1000
#define BATCH_BYTES	(64 * 1024)

/*
 * From PostgreSQL 16 on, heapam adds pages to a table many at a time.  On 15 it adds
 * one, which it writes full of zeros, while whoever else needs one waits for the
 * lock.  So there a batch is what fits into a page, and pages for the batches to
 * come are added here, which are written once: at most MAX_PAGES_AHEAD, and one
 * for every PAGES_PER_AHEAD that were filled, so that few are left over.
 */
#define ADDS_PAGES	(PG_VERSION_NUM < 160000)
#define MAX_PAGES_AHEAD	64
#define PAGES_PER_AHEAD	8

/* A bulk insert has a ring of so many buffers, or an eighth of all. */
#define RING_PAGES	(16 * 1024 * 1024 / BLCKSZ)

/* A page that was added to the table, and the buffer that it got. */
typedef struct AddedPage
{
	BlockNumber block;
	Buffer		buffer;
} AddedPage;

struct StediInserter
{
	Relation	rel;
	TupleDesc	desc;			/* a copy: the slots outlive resource owners */
	MemoryContext batch_context;	/* rows that wait; each is freed with its slot */
	MemoryContext flush_context;	/* reset after each batch */
	instr_time *clock;			/* or NULL */

	/* table_multi_insert */
	int			options;
	EState	   *estate;
	ResultRelInfo *result_rel;
	BulkInsertState bulk;
	TupleTableSlot *slots[BATCH_ROWS];
	StediLayout *layout;
	int			n_rows;
	size_t		n_bytes;
	size_t		max_bytes;		/* of a batch */
	bool		is_wide;		/* a row of the batch is one to be toasted */
	BlockNumber first_block;	/* invalid: no row yet */
	BlockNumber last_block;

	/* pages that were added to the table, pinned, the next of them first */
	Buffer		pages[MAX_PAGES_AHEAD];
	int			next_page;
	int			end_page;
	BlockNumber n_filled;		/* since the inserter is there */
	AddedPage	added[RING_PAGES];	/* the last of them, in a ring */
	size_t		n_added;		/* since begin */
	size_t		n_written;		/* of them, the first ones */

	/* INSERT */
	SPIPlanPtr	plan;			/* NULL: multi-insert is used */
	bool		catch_errors;
	int		   *parameters;		/* attribute of each parameter */
	int			n_parameters;
	Datum	   *values;
	char	   *nulls;
};

static bool has_unique_index(Relation rel);
static void prepare_insert(StediInserter *inserter);
static void flush_batch(StediInserter *inserter, bool full);
static void put_batch(StediInserter *inserter, bool full);
static void add_pages(StediInserter *inserter);
static bool reserve_space(Relation rel, BlockNumber first, BlockNumber n);
static void note_added(StediInserter *inserter, BlockNumber block, Buffer buffer);
static void write_pages(StediInserter *inserter, int n);
static void leave_pages(StediInserter *inserter);
static StediInserted insert_row(StediInserter *inserter, Datum *values, bool *nulls, StediRowError *error);
static StediInserted execute_insert(StediInserter *inserter);

void
stedi_check_insert(Oid relid)
{
	if (pg_class_aclcheck(relid, GetUserId(), ACL_INSERT) == ACLCHECK_OK)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied for table %s", get_rel_name(relid)),
			 errhint("GRANT INSERT ON %s TO %s;",
					 quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)),
												get_rel_name(relid)),
					 quote_identifier(GetUserNameFromId(GetUserId(), false)))));
}

StediInserter *
stedi_inserter_create(Relation rel, bool catch_errors, instr_time *clock)
{
	StediInserter *inserter;

	if (IsSystemRelation(rel))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied: \"%s\" is a system catalog", RelationGetRelationName(rel))));

	inserter = stedi_inserter_create_bulk(rel, 0);
	inserter->catch_errors = catch_errors;
	inserter->clock = clock;
	if (!stedi_takes_multi_insert(rel))
		prepare_insert(inserter);
	return inserter;
}

StediInserter *
stedi_inserter_create_bulk(Relation rel, int options)
{
	StediInserter *inserter = palloc0(sizeof(StediInserter));

	inserter->rel = rel;
	inserter->desc = CreateTupleDescCopy(RelationGetDescr(rel));
	inserter->options = options;
	inserter->batch_context = AllocSetContextCreate(CurrentMemoryContext, "stedi rows",
													ALLOCSET_DEFAULT_SIZES);
	/* What a batch takes stays with the context when that is reset. */
	inserter->flush_context = AllocSetContextCreate(CurrentMemoryContext, "stedi batch",
													BATCH_BYTES, BATCH_BYTES,
													ALLOCSET_DEFAULT_MAXSIZE);
	inserter->max_bytes = ADDS_PAGES ? BLCKSZ - SizeOfPageHeaderData -
		RelationGetTargetPageFreeSpace(rel, HEAP_DEFAULT_FILLFACTOR) : BATCH_BYTES;
	inserter->layout = stedi_layout_create(inserter->desc);
	return inserter;
}

bool
stedi_takes_multi_insert(Relation rel)
{
	return rel->rd_rel->relkind == RELKIND_RELATION &&
		rel->rd_rel->relam == HEAP_TABLE_AM_OID &&
		rel->trigdesc == NULL &&
		rel->rd_rules == NULL &&
		(rel->rd_att->constr == NULL ||
		 (rel->rd_att->constr->num_check == 0 && !StediHasGenerated(rel->rd_att->constr))) &&
		!has_unique_index(rel) &&
		!rel->rd_rel->relispartition &&
		check_enable_rls(RelationGetRelid(rel), InvalidOid, true) != RLS_ENABLED;
}

static bool
has_unique_index(Relation rel)
{
	List	   *oids = RelationGetIndexList(rel);
	ListCell   *cell;
	bool		found = false;

	foreach(cell, oids)
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);

		found = found || index->rd_index->indisunique || index->rd_index->indisexclusion;
		index_close(index, AccessShareLock);
	}
	list_free(oids);
	return found;
}

static void
prepare_insert(StediInserter *inserter)
{
	TupleDesc	desc = RelationGetDescr(inserter->rel);
	StringInfoData columns;
	StringInfoData parameters;
	Oid		   *types = palloc(sizeof(Oid) * Max(desc->natts, 1));
	char	   *command;

	inserter->parameters = palloc(sizeof(int) * Max(desc->natts, 1));
	inserter->values = palloc(sizeof(Datum) * Max(desc->natts, 1));
	inserter->nulls = palloc(Max(desc->natts, 1));
	initStringInfo(&columns);
	initStringInfo(&parameters);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		const char *comma = inserter->n_parameters > 0 ? ", " : "";

		if (attribute->attisdropped || attribute->attgenerated != '\0')
			continue;
		types[inserter->n_parameters] = attribute->atttypid;
		inserter->parameters[inserter->n_parameters++] = i;
		appendStringInfo(&columns, "%s%s", comma, quote_identifier(NameStr(attribute->attname)));
		appendStringInfo(&parameters, "%s$%d", comma, inserter->n_parameters);
	}

	command = psprintf("INSERT INTO %s (%s) OVERRIDING SYSTEM VALUE VALUES (%s)",
					   quote_qualified_identifier(get_namespace_name(RelationGetNamespace(inserter->rel)),
												  RelationGetRelationName(inserter->rel)),
					   columns.data, parameters.data);
	inserter->plan = SPI_prepare(command, inserter->n_parameters, types);
	if (inserter->plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
}

void
stedi_inserter_begin(StediInserter *inserter)
{
	if (inserter->plan != NULL)
		return;

	inserter->estate = CreateExecutorState();
	inserter->result_rel = makeNode(ResultRelInfo);
	InitResultRelInfo(inserter->result_rel, inserter->rel, 0, NULL, 0);
	ExecOpenIndices(inserter->result_rel, false);
	inserter->bulk = GetBulkInsertState();
	inserter->n_added = 0;
	inserter->n_written = 0;
	inserter->first_block = InvalidBlockNumber;
	inserter->last_block = 0;
}

StediInserted
stedi_inserter_add(StediInserter *inserter, Datum *values, bool *nulls, StediRowError *error)
{
	MemoryContext old;
	HeapTuple	tuple;
	size_t		size;
	TupleTableSlot **slot;

	if (inserter->plan != NULL)
		return insert_row(inserter, values, nulls, error);

	old = MemoryContextSwitchTo(inserter->batch_context);
	tuple = stedi_form_tuple(inserter->layout, values, nulls);
	MemoryContextSwitchTo(old);
	size = MAXALIGN(tuple->t_len) + sizeof(ItemIdData);
	if (inserter->n_rows == BATCH_ROWS ||
		inserter->n_bytes + size > (inserter->is_wide ? BATCH_BYTES : inserter->max_bytes))
		flush_batch(inserter, true);

	slot = &inserter->slots[inserter->n_rows];
	if (*slot == NULL)
	{
		old = MemoryContextSwitchTo(GetMemoryChunkContext(inserter));
		*slot = MakeSingleTupleTableSlot(inserter->desc, &TTSOpsHeapTuple);
		MemoryContextSwitchTo(old);
	}

	/* The slot owns it, or table_multi_insert() would copy it once more. */
	ExecStoreHeapTuple(tuple, *slot, true);
	inserter->n_rows++;
	inserter->n_bytes += size;
	inserter->is_wide = inserter->is_wide || tuple->t_len > TOAST_TUPLE_THRESHOLD;
	return STEDI_INSERTED;
}

/* full: there is no room for one more row. */
static void
flush_batch(StediInserter *inserter, bool full)
{
	MemoryContext old;
	instr_time	begun;

	if (inserter->n_rows == 0)
		return;
	old = MemoryContextSwitchTo(inserter->flush_context);
	INSTR_TIME_SET_CURRENT(begun);
	put_batch(inserter, full);
	if (RelationNeedsWAL(inserter->rel))
		stedi_wake_wal_writer();
	for (int i = 0; i < inserter->n_rows; i++)
	{
		BlockNumber block = ItemPointerGetBlockNumber(&inserter->slots[i]->tts_tid);

		inserter->first_block = Min(inserter->first_block, block);	/* invalid is the greatest */
		inserter->last_block = Max(inserter->last_block, block);
		if (inserter->result_rel->ri_NumIndices > 0)
		{
			list_free(StediInsertIndexTuples(inserter->result_rel, inserter->slots[i],
											 inserter->estate));
			ResetPerTupleExprContext(inserter->estate);
		}
		ExecClearTuple(inserter->slots[i]);
	}
	inserter->n_rows = 0;
	inserter->n_bytes = 0;
	inserter->is_wide = false;
	MemoryContextSwitchTo(old);
	MemoryContextReset(inserter->flush_context);
	if (inserter->clock != NULL)
		stedi_add_time(inserter->clock, begun);
}

/*
 * Where the rows go is heapam's choice; a page that was added for them is proposed
 * to it.  Pages are added once it has found none with room but a new one.
 */
static void
put_batch(StediInserter *inserter, bool full)
{
	bool		fills_page = ADDS_PAGES && full && !inserter->is_wide;
	Buffer		page = fills_page && inserter->next_page < inserter->end_page ?
		inserter->pages[inserter->next_page++] : InvalidBuffer;
	BlockNumber n_blocks = fills_page && page == InvalidBuffer ? RelationGetNumberOfBlocks(inserter->rel) : 0;

	if (page != InvalidBuffer)
	{
		ReleaseBulkInsertStatePin(inserter->bulk);
		RelationSetTargetBlock(inserter->rel, BufferGetBlockNumber(page));
	}
	table_multi_insert(inserter->rel, inserter->slots, inserter->n_rows,
					   GetCurrentCommandId(true), inserter->options, inserter->bulk);
	inserter->n_filled += fills_page;
	if (page != InvalidBuffer)
		ReleaseBuffer(page);
	else if (fills_page)
	{
		BlockNumber block = ItemPointerGetBlockNumber(&inserter->slots[inserter->n_rows - 1]->tts_tid);

		if (block >= n_blocks)
		{
			note_added(inserter, block, inserter->bulk->current_buf);
			add_pages(inserter);
		}
	}
}

/*
 * Extend the file to its new length, as a copy of a database does it: as far as
 * nothing is written yet, it reads as zeros, which are empty pages.  The buffers
 * come first, while nobody else can have put anything into the pages, so that they
 * need not be read; and they stay pinned until they are used, whoever does.  Where
 * there is no space for the pages, heapam will complain of it.
 */
static void
add_pages(StediInserter *inserter)
{
	Relation	rel = inserter->rel;
	bool		locks = !RELATION_IS_LOCAL(rel);
	int			most = Min(MAX_PAGES_AHEAD, NBuffers / MaxBackends);
	BlockNumber n = Min(inserter->n_filled / PAGES_PER_AHEAD, most);
	BlockNumber got = 0;
	PGAlignedBlock zeros = {0};
	BlockNumber first;

	if (n == 0 || RelationUsesLocalBuffers(rel))
		return;
	write_pages(inserter, n);
	if (locks)
		LockRelationForExtension(rel, ExclusiveLock);
	first = RelationGetNumberOfBlocks(rel);
	/* heapam begins the files of a table, each of so many blocks. */
	n = first % RELSEG_SIZE == 0 ? 0 : Min(n, RELSEG_SIZE - first % RELSEG_SIZE);
	inserter->next_page = 0;
	inserter->end_page = 0;
	while (got < n && first + got < MaxBlockNumber)
	{
		Buffer		page = ReadBufferExtended(rel, MAIN_FORKNUM, first + got,
											  RBM_ZERO_AND_LOCK, inserter->bulk->strategy);
		bool		is_new = PageIsNew(BufferGetPage(page));

		LockBuffer(page, BUFFER_LOCK_UNLOCK);
		/* From beyond the end of the file?  heapam will complain of that, too. */
		if (!is_new)
		{
			ReleaseBuffer(page);
			break;
		}
		inserter->pages[got++] = page;
	}
	if (got > 0 && reserve_space(rel, first, got - 1))
	{
		smgrextend(RelationGetSmgr(rel), MAIN_FORKNUM, first + got - 1, zeros.data, false);
		inserter->end_page = got;
		for (BlockNumber i = 0; i < got; i++)
			note_added(inserter, first + i, inserter->pages[i]);
	}
	else
	{
		for (BlockNumber i = 0; i < got; i++)
			ReleaseBuffer(inserter->pages[i]);
	}
	if (locks)
		UnlockRelationForExtension(rel, ExclusiveLock);
}

/*
 * Have the file system keep space for n pages at the end of a file, which the file
 * then has, or a checkpoint would find out that there is none.  The one after them
 * is not among these: it is written, which nobody may have done before.
 */
static bool
reserve_space(Relation rel, BlockNumber first, BlockNumber n)
{
	char	   *path = StediRelationPath(rel);
	BlockNumber segment = first / RELSEG_SIZE;
	int			fd;
	bool		reserved;

	if (n == 0)
		return true;
	if (segment > 0)
		path = psprintf("%s.%u", path, segment);
	fd = OpenTransientFile(path, O_RDWR | PG_BINARY);
	reserved = fd >= 0 &&
		posix_fallocate(fd, (off_t) (first % RELSEG_SIZE) * BLCKSZ, (off_t) n * BLCKSZ) == 0;
	if (fd >= 0)
		CloseTransientFile(fd);
	return reserved;
}

static void
note_added(StediInserter *inserter, BlockNumber block, Buffer buffer)
{
	AddedPage  *page = &inserter->added[inserter->n_added++ % RING_PAGES];

	page->block = block;
	page->buffer = buffer;
}

/*
 * Write out the pages whose buffers the next n pages will get, which otherwise
 * happened while they are added, with others waiting.
 */
static void
write_pages(StediInserter *inserter, int n)
{
	size_t		ring = Min(RING_PAGES, NBuffers / 8);
	/* Some of the ring are pages that heapam has added. */
	size_t		kept = ring - ring / 8;

	for (; inserter->n_written < inserter->n_added && inserter->n_written + kept < inserter->n_added + n;
		 inserter->n_written++)
	{
		const AddedPage *page = &inserter->added[inserter->n_written % RING_PAGES];

		if (!ReadRecentBuffer(StediLocatorOf(inserter->rel), MAIN_FORKNUM, page->block, page->buffer))
			continue;
		LockBuffer(page->buffer, BUFFER_LOCK_SHARE);
		FlushOneBuffer(page->buffer);
		UnlockReleaseBuffer(page->buffer);
	}
}

/* Leave the pages that no batch has filled to others. */
static void
leave_pages(StediInserter *inserter)
{
	BlockNumber first;
	BlockNumber block;

	if (inserter->next_page == inserter->end_page)
		return;
	first = BufferGetBlockNumber(inserter->pages[inserter->next_page]);
	for (block = first; inserter->next_page < inserter->end_page; block++)
	{
		ReleaseBuffer(inserter->pages[inserter->next_page++]);
		RecordPageWithFreeSpace(inserter->rel, block, BLCKSZ - SizeOfPageHeaderData);
	}
	FreeSpaceMapVacuumRange(inserter->rel, first, block);
}

static StediInserted
insert_row(StediInserter *inserter, Datum *values, bool *nulls, StediRowError *error)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile StediInserted inserted = STEDI_INSERTED;
	instr_time	begun;

	/* a statement per row: two looks at the clock are nothing to that */
	INSTR_TIME_SET_CURRENT(begun);
	for (int i = 0; i < inserter->n_parameters; i++)
	{
		inserter->values[i] = values[inserter->parameters[i]];
		inserter->nulls[i] = nulls[inserter->parameters[i]] ? 'n' : ' ';
	}

	if (!inserter->catch_errors)
		inserted = execute_insert(inserter);
	else
	{
		BeginInternalSubTransaction(NULL);
		MemoryContextSwitchTo(context);
		PG_TRY();
		{
			inserted = execute_insert(inserter);
			ReleaseCurrentSubTransaction();
		}
		PG_CATCH();
		{
			ErrorData  *data = stedi_rollback_caught(context, owner);
			int			category = ERRCODE_TO_CATEGORY(data->sqlerrcode);

			if (category != ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION &&
				category != ERRCODE_DATA_EXCEPTION &&
				category != ERRCODE_WITH_CHECK_OPTION_VIOLATION &&
				data->sqlerrcode != ERRCODE_RAISE_EXCEPTION)
				ReThrowError(data);
			inserted = STEDI_REFUSED;
			error->sqlstate = data->sqlerrcode;
			error->message = data->message;
			error->column = data->column_name;
		}
		PG_END_TRY();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
	}
	stedi_add_time(inserter->clock, begun);
	return inserted;
}

static StediInserted
execute_insert(StediInserter *inserter)
{
	int			result = SPI_execute_plan(inserter->plan, inserter->values, inserter->nulls, false, 0);

	/* the latter when a rule has put something else in its place */
	if (result != SPI_OK_INSERT && result != SPI_OK_REWRITTEN)
		elog(ERROR, "SPI_execute_plan failed: %s", SPI_result_code_string(result));
	return SPI_processed > 0 ? STEDI_INSERTED : STEDI_NOT_INSERTED;
}

void
stedi_inserter_end(StediInserter *inserter)
{
	if (inserter->plan != NULL)
		return;

	flush_batch(inserter, false);
	leave_pages(inserter);
	FreeBulkInsertState(inserter->bulk);
	table_finish_bulk_insert(inserter->rel, inserter->options);
	ExecCloseIndices(inserter->result_rel);
	FreeExecutorState(inserter->estate);
	inserter->estate = NULL;
}

bool
stedi_inserter_blocks(const StediInserter *inserter, BlockNumber *first, BlockNumber *last)
{
	*first = inserter->first_block;
	*last = inserter->last_block;
	return inserter->plan == NULL && inserter->first_block != InvalidBlockNumber;
}

void
stedi_inserter_abandon(StediInserter *inserter)
{
	for (int i = 0; i < inserter->n_rows; i++)
		ExecClearTuple(inserter->slots[i]);
	inserter->n_rows = 0;
	inserter->n_bytes = 0;
	inserter->is_wide = false;
	if (inserter->estate != NULL)
	{
		leave_pages(inserter);
		FreeBulkInsertState(inserter->bulk);
		ExecCloseIndices(inserter->result_rel);
		FreeExecutorState(inserter->estate);
		inserter->estate = NULL;
	}
}
