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

#include "access/genam.h"
#include "access/heapam.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/catalog.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
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

/* As COPY: so many rows, or so many bytes, whichever comes first. */
#define BATCH_ROWS	1000
#define BATCH_BYTES	(64 * 1024)

struct StediInserter
{
	Relation	rel;
	TupleDesc	desc;			/* a copy: the slots outlive resource owners */
	MemoryContext batch_context;
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
	BlockNumber first_block;	/* invalid: no row yet */
	BlockNumber last_block;

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
static void flush_batch(StediInserter *inserter);
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
	/* What a batch takes stays with the context when that is reset. */
	inserter->batch_context = AllocSetContextCreate(CurrentMemoryContext, "stedi rows",
													4 * BATCH_BYTES, 4 * BATCH_BYTES,
													ALLOCSET_DEFAULT_MAXSIZE);
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
	inserter->first_block = InvalidBlockNumber;
	inserter->last_block = 0;
}

StediInserted
stedi_inserter_add(StediInserter *inserter, Datum *values, bool *nulls, StediRowError *error)
{
	MemoryContext old;
	HeapTuple	tuple;
	TupleTableSlot **slot;

	if (inserter->plan != NULL)
		return insert_row(inserter, values, nulls, error);

	slot = &inserter->slots[inserter->n_rows];
	if (*slot == NULL)
	{
		old = MemoryContextSwitchTo(GetMemoryChunkContext(inserter));
		*slot = MakeSingleTupleTableSlot(inserter->desc, &TTSOpsHeapTuple);
		MemoryContextSwitchTo(old);
	}

	old = MemoryContextSwitchTo(inserter->batch_context);
	tuple = stedi_form_tuple(inserter->layout, values, nulls);
	MemoryContextSwitchTo(old);
	/* The slot owns it, or table_multi_insert() would copy it once more. */
	ExecStoreHeapTuple(tuple, *slot, true);
	inserter->n_rows++;
	inserter->n_bytes += tuple->t_len;
	if (inserter->n_rows == BATCH_ROWS || inserter->n_bytes > BATCH_BYTES)
		flush_batch(inserter);
	return STEDI_INSERTED;
}

static void
flush_batch(StediInserter *inserter)
{
	MemoryContext old = MemoryContextSwitchTo(inserter->batch_context);
	instr_time	begun;

	INSTR_TIME_SET_CURRENT(begun);
	if (inserter->n_rows > 0)
		table_multi_insert(inserter->rel, inserter->slots, inserter->n_rows,
						   GetCurrentCommandId(true), inserter->options, inserter->bulk);
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
	MemoryContextSwitchTo(old);
	MemoryContextReset(inserter->batch_context);
	if (inserter->clock != NULL)
		stedi_add_time(inserter->clock, begun);
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

	flush_batch(inserter);
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
	if (inserter->estate != NULL)
	{
		FreeBulkInsertState(inserter->bulk);
		ExecCloseIndices(inserter->result_rel);
		FreeExecutorState(inserter->estate);
		inserter->estate = NULL;
	}
	MemoryContextReset(inserter->batch_context);
}
