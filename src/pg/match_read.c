/*
 * match_read.c
 *		Reading the landing tables for stedi.match_devices().
 *
 *		step_trainer_landing --> partitions of moments and devices
 *			--> filter: at which moments there can be a device
 *		accelerometer_landing, through the filter --> partitions of moments and phones
 *
 * If the plan is nothing but a scan of the table, a node of our own takes its place,
 * as the executor's work for each of some million rows would cost about as much again.
 * Else, as with row security, the rows of the plan go to a sink.
 *
 * Workers of a parallel query fill partitions of their own, which the leader adds
 * to its.  If those of one do not fit into its part of the memory, the leader reads
 * alone from then on.
 */
#include "postgres.h"

#include "access/tableam.h"
#include "common/hashfn.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/extensible.h"
#include "optimizer/cost.h"
#include "port/atomics.h"
#include "storage/dsm.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/dsa.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "pg/compat.h"
#include "pg/match.h"
#include "pg/match_read.h"

#define MIN_NAMES 1024			/* a power of two */

/* Of ten moments at which there is no device the filter lets one through. */
#define FILTER_BITS 8

static bool same_text(const text *a, const text *b);

typedef struct NameEntry
{
	uint32		hash;
	uint32		id;
	text	   *value;
	char		status;
} NameEntry;

#define SH_PREFIX names
#define SH_ELEMENT_TYPE NameEntry
#define SH_KEY_TYPE text *
#define SH_KEY value
#define SH_HASH_KEY(table, key) \
	hash_bytes((const unsigned char *) VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key))
#define SH_EQUAL(table, a, b) same_text(a, b)
#define SH_STORE_HASH
#define SH_GET_HASH(table, element) (element)->hash
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* What a worker has read, in shared memory: readings, partition after partition,
 * and then the names, each aligned. */
typedef struct Share
{
	uint32		n_readings[STEDI_MAX_PARTITIONS];
	uint32		n_names;
	StediReading readings[FLEXIBLE_ARRAY_MEMBER];
} Share;

#define MAX_SHARES 64			/* more workers read nothing */

/* What processes that read a landing table share. */
typedef struct SharedPass
{
	int			leader_pid;
	bool		is_phones;
	Size		max_memory;		/* of a worker */
	uint64		first;
	uint64		last;
	int			filter_shift;
	dsa_handle	area;
	pg_atomic_uint32 n_shares;
	dsa_pointer shares[MAX_SHARES];
	bool		full;			/* a worker had no room: the pass is in vain */
	uint64		filter[FLEXIBLE_ARRAY_MEMBER];
} SharedPass;

/* Of one process */
typedef struct Reader
{
	SharedPass *shared;
	StediPass  *pass;
	StediSide  *side;
} Reader;

/* A scan of a landing table whose rows are read there and then. */
typedef struct ReaderScan
{
	CustomScanState base;
	SharedPass *shared;
	int			time;			/* attribute numbers */
	int			name;
	TableScanDesc scan;			/* NULL: not begun, not shared */
	bool		done;
} ReaderScan;

static void start_pass(StediPass *pass);
static void read_landing(StediPass *pass, const char *text, StediSide *side);
static dsm_segment *share_pass(const StediPass *pass, const StediSide *side, dsa_area *area);
static PlannedStmt *plan_query(const char *text, bool alone);
static void run_plan(PlannedStmt *plan, const char *text, dsm_segment *shared);
static bool is_plain_scan(const Plan *plan);
static bool is_column(const TargetEntry *entry);
static Plan *make_reader_scan(const Plan *plan, dsm_segment *shared);
static Node *create_reader_scan(CustomScan *node);
static void begin_reader_scan(CustomScanState *node, EState *estate, int eflags);
static TupleTableSlot *run_reader_scan(CustomScanState *node);
static void end_reader_scan(CustomScanState *node);
static void rescan_reader_scan(CustomScanState *node);
static Size estimate_reader_scan(CustomScanState *node, ParallelContext *context);
static void share_reader_scan(CustomScanState *node, ParallelContext *context, void *shared);
static void join_reader_scan(CustomScanState *node, shm_toc *toc, void *shared);
static void *begin_reading(CustomScanState *node, void *shared);
static TupleTableSlot *receive_reading(void *state, TupleTableSlot *slot);
static TupleTableSlot *end_reading(void *state);
static void read_row(Reader *reader, Datum time, bool no_time, Datum name, bool no_name);
static dsa_pointer make_share(dsa_area *area, const StediSide *side, int n_partitions);
static void add_share(StediPass *pass, StediSide *side, const Share *share);
static void take_reading(StediPass *pass, StediSide *side, uint64 number, uint32 id);
static void put_away_batch(StediPass *pass, StediSide *side);
static void put_away(StediPass *pass, StediSide *side, const StediReading *reading);
static bool add_chunk(StediPass *pass, StediPartition *partition);
static Size needed_memory(const StediPass *pass);
static void give_up_partition(StediPass *pass);
static void free_chunks(StediPass *pass, StediPartition *partition);
static void make_filter(StediPass *pass);
static int	shift_for(uint64 width, int bits);
static uint32 name_id(StediNames *names, text *value);

/* Whom the leader's part of a parallel query reads for. */
static StediPass *leader;

const StediSink stedi_reading_sink = {.begin = begin_reading, .take = receive_reading, .end = end_reading};

static const CustomScanMethods scan_methods = {
	.CustomName = "stedi reader",
	.CreateCustomScanState = create_reader_scan,
};

static const CustomExecMethods exec_methods = {
	.CustomName = "stedi reader",
	.BeginCustomScan = begin_reader_scan,
	.ExecCustomScan = run_reader_scan,
	.EndCustomScan = end_reader_scan,
	.ReScanCustomScan = rescan_reader_scan,
	.EstimateDSMCustomScan = estimate_reader_scan,
	.InitializeDSMCustomScan = share_reader_scan,
	.InitializeWorkerCustomScan = join_reader_scan,
};

void
stedi_match_init(void)
{
	RegisterCustomScanMethods(&scan_methods);
}

StediPass *
stedi_pass_create(Size max_memory)
{
	StediPass  *pass = palloc0(sizeof(StediPass));

	pass->max_memory = max_memory;
	pass->context = AllocSetContextCreate(CurrentMemoryContext, "stedi readings", ALLOCSET_DEFAULT_SIZES);
	pass->devices.names.by_value = names_create(CurrentMemoryContext, MIN_NAMES, NULL);
	pass->phones.names.by_value = names_create(CurrentMemoryContext, MIN_NAMES, NULL);
	pass->last = PG_UINT64_MAX;
	return pass;
}

bool
stedi_pass_read(StediPass *pass)
{
	start_pass(pass);
	read_landing(pass, "SELECT sensor_reading_time, serial_number FROM stedi.step_trainer_landing",
				 &pass->devices);
	if (!pass->full)
	{
		make_filter(pass);
		read_landing(pass, "SELECT \"timestamp\", email FROM stedi.accelerometer_landing",
					 &pass->phones);
	}
	if (pass->full)
		MemoryContextReset(pass->context);
	return !pass->full;
}

bool
stedi_pass_next(StediPass *pass)
{
	uint64		width;

	MemoryContextReset(pass->context);
	if (pass->last == PG_UINT64_MAX)
		return false;
	/* A partition of the next is as wide as what has fit into this one. */
	width = Min(pass->last - pass->first, PG_UINT64_MAX >> STEDI_PARTITION_BITS) << STEDI_PARTITION_BITS;
	width |= STEDI_MAX_PARTITIONS - 1;
	pass->first = pass->last + 1;
	pass->last = pass->first + Min(width, PG_UINT64_MAX - pass->first);
	return true;
}
static void
start_pass(StediPass *pass)
{
	StediSide  *sides[] = {&pass->devices, &pass->phones};
	uint64		width = pass->last - pass->first;

	pass->shift = shift_for(width, STEDI_PARTITION_BITS);
	pass->n_partitions = (int) (width >> pass->shift) + 1;
	pass->full = false;
	pass->memory = 0;
	pass->max_chunks = 0;
	pass->filter = NULL;
	for (size_t i = 0; i < lengthof(sides); i++)
	{
		memset(sides[i]->partitions, 0, sizeof(sides[i]->partitions));
		for (int p = 0; p < STEDI_MAX_PARTITIONS; p++)
			sides[i]->partitions[p].n_first = STEDI_CHUNK_READINGS;
		sides[i]->n_batch = 0;
		sides[i]->last.id = PG_UINT32_MAX;
	}
}

static void
read_landing(StediPass *pass, const char *text, StediSide *side)
{
	StediPass  *outer = leader;
	PlannedStmt *plan = plan_query(text, pass->alone);
	dsa_area   *area = plan->parallelModeNeeded ? dsa_create(LWTRANCHE_PARALLEL_QUERY_DSA) : NULL;
	dsm_segment *segment = share_pass(pass, side, area);
	SharedPass *shared = dsm_segment_address(segment);
	uint32		n_shares;

	leader = pass;
	PG_TRY();
	{
		run_plan(plan, text, segment);
	}
	PG_FINALLY();
	{
		leader = outer;
	}
	PG_END_TRY();
	put_away_batch(pass, side);

	n_shares = Min(pg_atomic_read_u32(&shared->n_shares), MAX_SHARES);
	for (uint32 i = 0; i < n_shares && !pass->full && !shared->full; i++)
	{
		add_share(pass, side, dsa_get_address(area, shared->shares[i]));
		dsa_free(area, shared->shares[i]);
	}
	if (shared->full)
		pass->alone = pass->full = true;
	dsm_detach(segment);
	if (area != NULL)
		dsa_detach(area);
}

/* area: NULL if there are no workers. */
static dsm_segment *
share_pass(const StediPass *pass, const StediSide *side, dsa_area *area)
{
	Size		n_words = pass->filter == NULL || area == NULL ? 0 :
		((pass->last - pass->first) >> pass->filter_shift) / 64 + 1;
	dsm_segment *segment = dsm_create(offsetof(SharedPass, filter) + sizeof(uint64) * n_words, 0);
	SharedPass *shared = dsm_segment_address(segment);

	memset(shared, 0, offsetof(SharedPass, filter));
	shared->leader_pid = MyProcPid;
	shared->is_phones = side == &pass->phones;
	shared->max_memory = (pass->max_memory - Min(pass->memory, pass->max_memory)) /
		(max_parallel_workers_per_gather + 1);
	shared->first = pass->first;
	shared->last = pass->last;
	shared->filter_shift = pass->filter_shift;
	if (area != NULL)
		shared->area = dsa_get_handle(area);
	pg_atomic_init_u32(&shared->n_shares, 0);
	if (n_words > 0)
		memcpy(shared->filter, pass->filter, sizeof(uint64) * n_words);
	return segment;
}

static PlannedStmt *
plan_query(const char *text, bool alone)
{
	RawStmt    *raw = linitial_node(RawStmt, pg_parse_query(text));
	List	   *queries = pg_analyze_and_rewrite_fixedparams(raw, text, NULL, 0, NULL);

	return pg_plan_query(linitial_node(Query, queries), text, alone ? 0 : CURSOR_OPT_PARALLEL_OK, NULL);
}

static void
run_plan(PlannedStmt *plan, const char *text, dsm_segment *shared)
{
	Plan	  **scan = IsA(plan->planTree, Gather) ? &outerPlan(plan->planTree) : &plan->planTree;
	QueryDesc  *desc;

	if (is_plain_scan(*scan))
		*scan = make_reader_scan(*scan, shared);
	else
		stedi_sink_put(plan, STEDI_SINK_READINGS, shared, NIL);
	desc = CreateQueryDesc(plan, text, GetActiveSnapshot(), InvalidSnapshot, None_Receiver, NULL, NULL, 0);
	ExecutorStart(desc, 0);
	StediExecutorRun(desc);
	ExecutorFinish(desc);
	ExecutorEnd(desc);
	FreeQueryDesc(desc);
}

/* Of a time and a name that are columns of a table, all its rows. */
static bool
is_plain_scan(const Plan *plan)
{
	return IsA(plan, SeqScan) && plan->qual == NIL &&
		is_column(linitial(plan->targetlist)) && is_column(lsecond(plan->targetlist));
}

static bool
is_column(const TargetEntry *entry)
{
	return IsA(entry->expr, Var) && ((const Var *) entry->expr)->varattno > 0;
}

static Plan *
make_reader_scan(const Plan *plan, dsm_segment *shared)
{
	CustomScan *node = makeNode(CustomScan);
	const TargetEntry *time = linitial(plan->targetlist);
	const TargetEntry *name = lsecond(plan->targetlist);

	node->scan = *(const Scan *) plan;
	NodeSetTag(node, T_CustomScan);
	node->custom_private = list_make3(makeInteger((int) dsm_segment_handle(shared)),
									  makeInteger(((const Var *) time->expr)->varattno),
									  makeInteger(((const Var *) name->expr)->varattno));
	node->methods = &scan_methods;
	return &node->scan.plan;
}

static Node *
create_reader_scan(CustomScan *node)
{
	ReaderScan *self = palloc0(sizeof(ReaderScan));

	NodeSetTag(self, T_CustomScanState);
	self->base.methods = &exec_methods;
	return (Node *) self;
}

static void
begin_reader_scan(CustomScanState *node, EState *estate, int eflags)
{
	ReaderScan *self = (ReaderScan *) node;
	List	   *private = ((CustomScan *) node->ss.ps.plan)->custom_private;

	self->shared = stedi_sink_shared((dsm_handle) intVal(linitial(private)));
	self->time = intVal(lsecond(private));
	self->name = intVal(lthird(private));
}

/* Returns no row. */
static TupleTableSlot *
run_reader_scan(CustomScanState *node)
{
	ReaderScan *self = (ReaderScan *) node;
	EState	   *estate = node->ss.ps.state;
	Relation	rel = node->ss.ss_currentRelation;
	int			n_attributes = Max(self->time, self->name);
	MemoryContext old;
	TupleTableSlot *slot;
	Reader	   *reader;

	if (self->done)
		return NULL;
	old = MemoryContextSwitchTo(estate->es_query_cxt);
	reader = begin_reading(node, self->shared);
	slot = table_slot_create(rel, &estate->es_tupleTable);
	if (self->scan == NULL)
		self->scan = table_beginscan(rel, estate->es_snapshot, 0, NULL);
	while (table_scan_getnextslot(self->scan, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		slot_getsomeattrs(slot, n_attributes);
		read_row(reader, slot->tts_values[self->time - 1], slot->tts_isnull[self->time - 1],
				 slot->tts_values[self->name - 1], slot->tts_isnull[self->name - 1]);
	}
	end_reading(reader);
	MemoryContextSwitchTo(old);
	self->done = true;
	return NULL;
}

static void
end_reader_scan(CustomScanState *node)
{
	ReaderScan *self = (ReaderScan *) node;

	if (self->scan != NULL)
		table_endscan(self->scan);
}

static void
rescan_reader_scan(CustomScanState *node)
{
	elog(ERROR, "the rows of a query cannot be taken twice");
}

static Size
estimate_reader_scan(CustomScanState *node, ParallelContext *context)
{
	return table_parallelscan_estimate(node->ss.ss_currentRelation, node->ss.ps.state->es_snapshot);
}

static void
share_reader_scan(CustomScanState *node, ParallelContext *context, void *shared)
{
	table_parallelscan_initialize(node->ss.ss_currentRelation, shared, node->ss.ps.state->es_snapshot);
	join_reader_scan(node, NULL, shared);
}

static void
join_reader_scan(CustomScanState *node, shm_toc *toc, void *shared)
{
	((ReaderScan *) node)->scan = table_beginscan_parallel(node->ss.ss_currentRelation, shared);
}

static void *
begin_reading(CustomScanState *node, void *state)
{
	SharedPass *shared = state;
	Reader	   *reader = palloc0(sizeof(Reader));
	StediPass  *pass = leader;

	if (shared->leader_pid != MyProcPid)
	{
		pass = palloc0(sizeof(StediPass));
		pass->is_worker = true;
		pass->max_memory = shared->max_memory;
		pass->context = CurrentMemoryContext;
		pass->devices.names.by_value = names_create(CurrentMemoryContext, MIN_NAMES, NULL);
		pass->phones.names.by_value = names_create(CurrentMemoryContext, MIN_NAMES, NULL);
		pass->first = shared->first;
		pass->last = shared->last;
		start_pass(pass);
		pass->filter_shift = shared->filter_shift;
		if (shared->is_phones)
			pass->filter = shared->filter;
	}
	reader->shared = shared;
	reader->pass = pass;
	reader->side = shared->is_phones ? &pass->phones : &pass->devices;
	return reader;
}

static TupleTableSlot *
receive_reading(void *state, TupleTableSlot *slot)
{
	slot_getallattrs(slot);
	read_row(state, slot->tts_values[0], slot->tts_isnull[0], slot->tts_values[1], slot->tts_isnull[1]);
	return NULL;
}

static TupleTableSlot *
end_reading(void *state)
{
	Reader	   *reader = state;
	SharedPass *shared = reader->shared;
	dsa_area   *area;
	uint32		at;

	if (!reader->pass->is_worker)
		return NULL;
	put_away_batch(reader->pass, reader->side);
	at = pg_atomic_fetch_add_u32(&shared->n_shares, 1);
	if (reader->pass->full || at >= MAX_SHARES)
	{
		shared->full = true;
		return NULL;
	}
	area = dsa_attach(shared->area);
	shared->shares[at] = make_share(area, reader->side, reader->pass->n_partitions);
	dsa_detach(area);
	return NULL;
}

static void
read_row(Reader *reader, Datum time, bool no_time, Datum name, bool no_name)
{
	StediPass  *pass = reader->pass;
	StediSide  *side = reader->side;
	text	   *value;

	if (pass->full || no_name)
		return;
	if (no_time)
	{
		/* A device is known by any reading. */
		if (side == &pass->phones)
			return;
		value = DatumGetTextPP(name);
		name_id(&side->names, value);
	}
	else
	{
		uint64		number = stedi_mix((uint64) DatumGetTimestampTz(time));

		if (number < pass->first || number > pass->last)
			return;
		value = DatumGetTextPP(name);
		take_reading(pass, side, number, name_id(&side->names, value));
	}
	if (PointerGetDatum(value) != name)
		pfree(value);
}

static dsa_pointer
make_share(dsa_area *area, const StediSide *side, int n_partitions)
{
	uint32		n_names = side->names.n;
	Size		size = 0;
	dsa_pointer pointer;
	Share	   *share;
	StediReading *reading;
	char	   *name;

	for (int p = 0; p < n_partitions; p++)
		size += sizeof(StediReading) * stedi_count_readings(&side->partitions[p]);
	size = MAXALIGN(offsetof(Share, readings) + size);
	for (uint32 i = 0; i < n_names; i++)
		size += MAXALIGN(VARSIZE_ANY(side->names.values[i]));

	pointer = dsa_allocate_extended(area, size, DSA_ALLOC_HUGE);
	share = dsa_get_address(area, pointer);
	memset(share, 0, offsetof(Share, readings));
	reading = share->readings;
	for (int p = 0; p < n_partitions; p++)
	{
		uint32		n = side->partitions[p].n_first;

		share->n_readings[p] = stedi_count_readings(&side->partitions[p]);
		for (const StediChunk *chunk = side->partitions[p].chunks; chunk != NULL; chunk = chunk->next)
		{
			memcpy(reading, chunk->readings, sizeof(StediReading) * n);
			reading += n;
			n = STEDI_CHUNK_READINGS;
		}
	}
	share->n_names = n_names;
	name = (char *) MAXALIGN(reading);
	for (uint32 i = 0; i < n_names; i++)
	{
		memcpy(name, side->names.values[i], VARSIZE_ANY(side->names.values[i]));
		name += MAXALIGN(VARSIZE_ANY(name));
	}
	return pointer;
}

static void
add_share(StediPass *pass, StediSide *side, const Share *share)
{
	uint32	   *ids = stedi_palloc_huge(sizeof(uint32) * share->n_names);
	const StediReading *reading = share->readings;
	Size		n_readings = 0;
	text	   *name;

	for (int p = 0; p < STEDI_MAX_PARTITIONS; p++)
		n_readings += share->n_readings[p];
	name = (text *) MAXALIGN(reading + n_readings);
	for (uint32 i = 0; i < share->n_names; i++)
	{
		ids[i] = name_id(&side->names, name);
		name = (text *) ((char *) name + MAXALIGN(VARSIZE_ANY(name)));
	}
	for (Size i = 0; i < n_readings && !pass->full; i++)
	{
		StediReading own = {reading[i].number, ids[reading[i].id]};

		CHECK_FOR_INTERRUPTS();
		put_away(pass, side, &own);
	}
	pfree(ids);
}

static void
take_reading(StediPass *pass, StediSide *side, uint64 number, uint32 id)
{
	/* A phone takes several readings at a moment. */
	if (side->last.id == id && side->last.number == number)
		return;
	if (pass->filter != NULL)
		stedi_prefetch(&pass->filter[(number - pass->first) >> pass->filter_shift >> 6]);
	side->last.number = number;
	side->last.id = id;
	side->batch[side->n_batch++] = side->last;
	if (side->n_batch == STEDI_BATCH)
		put_away_batch(pass, side);
}

static void
put_away_batch(StediPass *pass, StediSide *side)
{
	for (int i = 0; i < side->n_batch && !pass->full; i++)
	{
		uint64		bit = (side->batch[i].number - pass->first) >> pass->filter_shift;

		if (pass->filter == NULL || (pass->filter[bit / 64] >> bit % 64 & 1) != 0)
			put_away(pass, side, &side->batch[i]);
	}
	side->n_batch = 0;
}

static void
put_away(StediPass *pass, StediSide *side, const StediReading *reading)
{
	StediPartition *partition = &side->partitions[(reading->number - pass->first) >> pass->shift];

	/* Its partition may have been given up meanwhile. */
	if (reading->number <= pass->last &&
		(partition->n_first < STEDI_CHUNK_READINGS || add_chunk(pass, partition)))
		partition->chunks->readings[partition->n_first++] = *reading;
}

/* False if there is no room: the pass is in vain, or the partition given up. */
static bool
add_chunk(StediPass *pass, StediPartition *partition)
{
	StediChunk *chunk;

	if (partition->n_chunks == PG_UINT32_MAX / STEDI_CHUNK_READINGS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("too many readings at one moment")));
	chunk = MemoryContextAlloc(pass->context, sizeof(StediChunk));
	chunk->next = partition->chunks;
	partition->chunks = chunk;
	partition->n_first = 0;
	partition->n_chunks++;
	pass->memory += sizeof(StediChunk);
	pass->max_chunks = Max(pass->max_chunks, partition->n_chunks);

	while (needed_memory(pass) > pass->max_memory && pass->n_partitions > 1 && !pass->is_worker)
		give_up_partition(pass);
	/* A single moment cannot be divided. */
	pass->full = (pass->shift > 0 || pass->is_worker) && needed_memory(pass) > pass->max_memory;
	return partition->chunks != NULL && !pass->full;
}

/* To sort a partition takes as much again: devices, phones and where they go. */
static Size
needed_memory(const StediPass *pass)
{
	return pass->memory + sizeof(StediChunk) * 3 * pass->max_chunks;
}

/* The one with the largest numbers is left to the next pass. */
static void
give_up_partition(StediPass *pass)
{
	pass->n_partitions--;
	pass->last = pass->first + ((uint64) pass->n_partitions << pass->shift) - 1;
	free_chunks(pass, &pass->devices.partitions[pass->n_partitions]);
	free_chunks(pass, &pass->phones.partitions[pass->n_partitions]);

	pass->max_chunks = 0;
	for (int p = 0; p < pass->n_partitions; p++)
	{
		pass->max_chunks = Max(pass->max_chunks, pass->devices.partitions[p].n_chunks);
		pass->max_chunks = Max(pass->max_chunks, pass->phones.partitions[p].n_chunks);
	}
}

static void
free_chunks(StediPass *pass, StediPartition *partition)
{
	StediChunk *chunk = partition->chunks;

	while (chunk != NULL)
	{
		StediChunk *next = chunk->next;

		pfree(chunk);
		chunk = next;
	}
	pass->memory -= sizeof(StediChunk) * partition->n_chunks;
	partition->chunks = NULL;
	partition->n_chunks = 0;
}

/* Most readings of phones are taken while their owners wear no device. */
static void
make_filter(StediPass *pass)
{
	uint64		width = pass->last - pass->first;
	uint64		n_chunks = 0;
	int			bits;
	uint64		n_words;

	for (int p = 0; p < pass->n_partitions; p++)
		n_chunks += pass->devices.partitions[p].n_chunks;
	bits = pg_ceil_log2_64(Max(n_chunks, 1) * STEDI_CHUNK_READINGS * FILTER_BITS);
	pass->filter_shift = shift_for(width, bits);
	n_words = (width >> pass->filter_shift) / 64 + 1;
	pass->filter = MemoryContextAllocExtended(pass->context, sizeof(uint64) * n_words,
												 MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	pass->memory += sizeof(uint64) * n_words;

	for (int p = 0; p < pass->n_partitions; p++)
	{
		uint32		n = pass->devices.partitions[p].n_first;

		CHECK_FOR_INTERRUPTS();
		for (StediChunk *chunk = pass->devices.partitions[p].chunks; chunk != NULL; chunk = chunk->next)
		{
			for (uint32 i = 0; i < n; i++)
			{
				uint64		bit = (chunk->readings[i].number - pass->first) >> pass->filter_shift;

				pass->filter[bit / 64] |= UINT64CONST(1) << bit % 64;
			}
			n = STEDI_CHUNK_READINGS;
		}
	}
}

/* By how many bits a number has to be shifted, if the largest one is width, to have
 * at most so many bits. */
static int
shift_for(uint64 width, int bits)
{
	return width == 0 ? 0 : Max(pg_leftmost_one_pos64(width) + 1 - bits, 0);
}

static uint32
name_id(StediNames *names, text *value)
{
	NameEntry  *name;
	bool		found;

	if (names->values != NULL && same_text(names->values[names->last], value))
		return names->last;
	name = names_insert(names->by_value, value, &found);
	if (!found)
	{
		MemoryContext old = MemoryContextSwitchTo(names->by_value->ctx);

		name->id = names->n++;
		if (name->id == names->capacity)
		{
			names->capacity = Max(names->capacity * 2, MIN_NAMES);
			names->values = names->values == NULL ?
				stedi_palloc_huge(sizeof(text *) * names->capacity) :
				repalloc_huge(names->values, sizeof(text *) * names->capacity);
		}
		name->value = names->values[name->id] = memcpy(palloc(VARSIZE_ANY(value)), value, VARSIZE_ANY(value));
		MemoryContextSwitchTo(old);
	}
	names->last = name->id;
	return name->id;
}

static bool
same_text(const text *a, const text *b)
{
	return VARSIZE_ANY_EXHDR(a) == VARSIZE_ANY_EXHDR(b) &&
		memcmp(VARDATA_ANY(a), VARDATA_ANY(b), VARSIZE_ANY_EXHDR(a)) == 0;
}
