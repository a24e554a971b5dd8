/*
 * match.c
 *		stedi.match_devices(): whose phones took readings at the moments of each
 *		device, and at how many.
 *
 * Both landing tables are read once, without a sort and without a join of rows:
 *
 *		step_trainer_landing --> partitions of moments and devices
 *			--> filter: at which moments there can be a device
 *		accelerometer_landing, through the filter --> partitions of moments and phones
 *		partition after partition, both sorted by moment --> matches
 *
 * A moment is known by a number, its time mixed by a permutation.  A partition
 * holds the readings of a range of numbers, and is small enough for the
 * processor's caches.  The sample of a device are its moments with the smallest
 * numbers, so it is the same in whatever order the readings come.  If the readings
 * do not fit into memory, the partitions of the largest numbers are given up, and
 * the tables are read again for these.
 *
 * Workers of a parallel query fill partitions of their own, which the leader adds
 * to its.  If those of one do not fit into its part of the memory, the leader reads
 * alone from then on.
 */
#include "postgres.h"

#include "access/tupdesc.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "optimizer/cost.h"
#include "port/atomics.h"
#include "port/pg_bitutils.h"
#include "storage/dsm.h"
#include "tcop/tcopprot.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/dsa.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

#include "pg/compat.h"
#include "pg/match.h"

PG_FUNCTION_INFO_V1(stedi_match_devices);

#define prefetch(address) __builtin_prefetch(address)

#define MIN_ENTRIES 1024			/* of a table, a power of two */

/* So many places to append to stay in the first cache, and a part of some million
 * readings in the second. */
#define PARTITION_BITS 8
#define MAX_PARTITIONS (1 << PARTITION_BITS)

/* With the pointer 1 kB, of which MAX_PARTITIONS of devices and of phones fit into
 * the least memory that can be set. */
#define CHUNK_READINGS 84

/* Of ten moments at which there is no device the filter lets one through. */
#define FILTER_BITS 8

#define BUCKET_READINGS 2

/* Readings go through the filter, and matches are counted, so many at a time.  Where
 * to look lies anywhere in memory, and is fetched for all of them meanwhile. */
#define BATCH 64

#define MAX_MEMORY (UINT64CONST(16) * 1024 * 1024 * 1024)

static inline uint64 mix(uint64 value);
static inline uint32 hash_pair(uint64 pair);
static bool same_text(const text *a, const text *b);

/* Serial numbers or emails; each gets the next free number. */
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

typedef struct Names
{
	names_hash *by_value;
	text	  **values;			/* by id */
	uint32		capacity;
	uint32		last;			/* readings come in runs */
} Names;

/* How many moments of a device a phone matches. */
typedef struct Match
{
	uint64		pair;			/* device << 32 | phone */
	int32		matched;
	char		status;
} Match;

#define SH_PREFIX matches
#define SH_ELEMENT_TYPE Match
#define SH_KEY_TYPE uint64
#define SH_KEY pair
#define SH_HASH_KEY(table, key) hash_pair(key)
#define SH_EQUAL(table, a, b) ((a) == (b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE

#include "lib/simplehash.h"

/* Of a Step Trainer or of a phone. */
typedef struct Reading
{
	uint64		number;
	uint32		id;
} pg_attribute_packed() Reading;

typedef struct Chunk
{
	struct Chunk *next;
	Reading		readings[CHUNK_READINGS];
} Chunk;

/* The first chunk is the one that is being filled. */
typedef struct Partition
{
	Chunk	   *chunks;
	uint32		n_first;		/* readings in the first */
	uint32		n_chunks;
} Partition;

/* Step Trainers or phones */
typedef struct Side
{
	Names		names;
	Partition	partitions[MAX_PARTITIONS];
	Reading		batch[BATCH];	/* not yet in a partition */
	int			n_batch;
	Reading		last;
} Side;

typedef struct Matcher
{
	Size		max_memory;		/* of readings */
	int32		sample_size;
	MemoryContext pass_context; /* of what a pass reads */
	bool		is_worker;		/* it does not give up partitions */
	bool		alone;			/* without workers */

	Side		devices;
	Side		phones;
	int32	   *sampled;		/* by device: moments in its sample so far */
	uint32		n_sampled;
	matches_hash *matches;
	uint64		batch[BATCH];	/* pairs that are not yet counted */
	int			n_batch;

	/* Moments whose numbers lie between these are taken in this pass. */
	uint64		first;
	uint64		last;
	int			shift;			/* a partition has 2^shift numbers */
	int			n_partitions;
	bool		full;			/* a single partition does not fit */
	Size		memory;
	uint32		max_chunks;		/* of a partition */
	uint64	   *filter;			/* a bit for 2^filter_shift numbers */
	int			filter_shift;
} Matcher;

/* What a worker has read, in shared memory: readings, partition after partition,
 * and then the names, each aligned. */
typedef struct Share
{
	uint32		n_readings[MAX_PARTITIONS];
	uint32		n_names;
	Reading		readings[FLEXIBLE_ARRAY_MEMBER];
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
	Matcher    *matcher;
	Side	   *side;
} Reader;

/* Whose phone it is, and at how many moments of a device. */
typedef struct Candidate
{
	text	   *email;
	int64		matched;
} Candidate;

static bool run_pass(Matcher *matcher);
static void read_landing(Matcher *matcher, const char *text, Side *side);
static dsm_segment *share_pass(const Matcher *matcher, const Side *side, dsa_area *area);
static PlannedStmt *plan_query(const char *text, bool alone);
static void run_plan(PlannedStmt *plan, const char *text, dsm_segment *shared);
static void *begin_reading(CustomScanState *node, void *shared);
static TupleTableSlot *receive_reading(void *state, TupleTableSlot *slot);
static TupleTableSlot *end_reading(void *state);
static dsa_pointer make_share(dsa_area *area, const Side *side, int n_partitions);
static void add_share(Matcher *matcher, Side *side, const Share *share);
static void start_pass(Matcher *matcher);
static void take_reading(Matcher *matcher, Side *side, uint64 number, uint32 id);
static void put_away_batch(Matcher *matcher, Side *side);
static void put_away(Matcher *matcher, Side *side, const Reading *reading);
static bool add_chunk(Matcher *matcher, Partition *partition);
static Size needed_memory(const Matcher *matcher);
static void give_up_partition(Matcher *matcher);
static void free_chunks(Matcher *matcher, Partition *partition);
static void make_filter(Matcher *matcher);
static int	shift_for(uint64 width, int bits);
static void count_matches(Matcher *matcher);
static uint32 sort_partition(const Matcher *matcher, const Partition *partition, uint64 first,
							 Reading *readings, uint32 *starts);
static void count_partition(Matcher *matcher, const Reading *devices, uint32 n_devices,
							const Reading *phones, uint32 n_phones);
static void count_batch(Matcher *matcher);
static void return_matches(Matcher *matcher, ReturnSetInfo *rsinfo);
static uint32 name_id(Names *names, text *value);
static void *palloc_huge(Size size);

/* Whom the leader's part of a parallel query reads for. */
static Matcher *leader;

const StediSink stedi_reading_sink = {.begin = begin_reading, .take = receive_reading, .end = end_reading};

static inline uint32
count_readings(const Partition *partition)
{
	return partition->n_chunks * CHUNK_READINGS - (CHUNK_READINGS - partition->n_first);
}

static inline int
compare_readings(const Reading *a, const Reading *b)
{
	if (a->number != b->number)
		return a->number < b->number ? -1 : 1;
	return (a->id > b->id) - (a->id < b->id);
}

/* The most matches first.  Ties are in the order of SQL. */
static inline int
compare_candidates(const Candidate *a, const Candidate *b)
{
	if (a->matched != b->matched)
		return a->matched > b->matched ? -1 : 1;
	return varstr_cmp(VARDATA_ANY(a->email), VARSIZE_ANY_EXHDR(a->email),
					  VARDATA_ANY(b->email), VARSIZE_ANY_EXHDR(b->email), DEFAULT_COLLATION_OID);
}

#define ST_SORT sort_readings
#define ST_ELEMENT_TYPE Reading
#define ST_COMPARE(a, b) compare_readings(a, b)
#define ST_CHECK_FOR_INTERRUPTS
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

#define ST_SORT sort_candidates
#define ST_ELEMENT_TYPE Candidate
#define ST_COMPARE(a, b) compare_candidates(a, b)
#define ST_CHECK_FOR_INTERRUPTS
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

PGDLLEXPORT Datum
stedi_match_devices(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext context;
	MemoryContext old;
	Matcher    *matcher;

	if (PG_GETARG_INT32(0) < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("sample_size must be positive")));

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	context = AllocSetContextCreate(CurrentMemoryContext, "stedi matches", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);

	matcher = palloc0(sizeof(Matcher));
	matcher->sample_size = PG_GETARG_INT32(0);
	/* As much as a refresh has, also in a query: passes cost more than memory. */
	matcher->max_memory = Max(work_mem, maintenance_work_mem) * hash_mem_multiplier * 1024;
	matcher->max_memory = Min(matcher->max_memory, MAX_MEMORY);
	matcher->pass_context = AllocSetContextCreate(context, "stedi readings", ALLOCSET_DEFAULT_SIZES);
	matcher->devices.names.by_value = names_create(context, MIN_ENTRIES, NULL);
	matcher->phones.names.by_value = names_create(context, MIN_ENTRIES, NULL);
	matcher->matches = matches_create(context, MIN_ENTRIES, NULL);
	matcher->last = PG_UINT64_MAX;
	for (;;)
	{
		uint64		width;

		/* In vain, it has found out how much narrower it has to be. */
		if (!run_pass(matcher))
			continue;
		if (matcher->last == PG_UINT64_MAX)
			break;
		/* A partition of the next is as wide as what has fit into this one. */
		width = Min(matcher->last - matcher->first, PG_UINT64_MAX >> PARTITION_BITS) << PARTITION_BITS;
		width |= MAX_PARTITIONS - 1;
		matcher->first = matcher->last + 1;
		matcher->last = matcher->first + Min(width, PG_UINT64_MAX - matcher->first);
	}
	return_matches(matcher, rsinfo);

	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return (Datum) 0;
}

/* Takes as much of the range as fits into memory.  False: not even a partition
 * does, which becomes the range, and nothing is counted. */
static bool
run_pass(Matcher *matcher)
{
	start_pass(matcher);
	read_landing(matcher, "SELECT sensor_reading_time, serial_number FROM stedi.step_trainer_landing",
				 &matcher->devices);
	if (!matcher->full)
	{
		make_filter(matcher);
		read_landing(matcher, "SELECT \"timestamp\", email FROM stedi.accelerometer_landing",
					 &matcher->phones);
	}
	if (!matcher->full)
		count_matches(matcher);
	MemoryContextReset(matcher->pass_context);
	return !matcher->full;
}

static void
start_pass(Matcher *matcher)
{
	Side	   *sides[] = {&matcher->devices, &matcher->phones};
	uint64		width = matcher->last - matcher->first;

	matcher->shift = shift_for(width, PARTITION_BITS);
	matcher->n_partitions = (int) (width >> matcher->shift) + 1;
	matcher->full = false;
	matcher->memory = 0;
	matcher->max_chunks = 0;
	matcher->filter = NULL;
	for (size_t i = 0; i < lengthof(sides); i++)
	{
		memset(sides[i]->partitions, 0, sizeof(sides[i]->partitions));
		for (int p = 0; p < MAX_PARTITIONS; p++)
			sides[i]->partitions[p].n_first = CHUNK_READINGS;
		sides[i]->n_batch = 0;
		sides[i]->last.id = PG_UINT32_MAX;
	}
}

/* With the snapshot and the rights of the query that called. */
static void
read_landing(Matcher *matcher, const char *text, Side *side)
{
	Matcher    *outer = leader;
	PlannedStmt *plan = plan_query(text, matcher->alone);
	dsa_area   *area = plan->parallelModeNeeded ? dsa_create(LWTRANCHE_PARALLEL_QUERY_DSA) : NULL;
	dsm_segment *segment = share_pass(matcher, side, area);
	SharedPass *shared = dsm_segment_address(segment);
	uint32		n_shares;

	leader = matcher;
	PG_TRY();
	{
		run_plan(plan, text, segment);
	}
	PG_FINALLY();
	{
		leader = outer;
	}
	PG_END_TRY();
	put_away_batch(matcher, side);

	n_shares = Min(pg_atomic_read_u32(&shared->n_shares), MAX_SHARES);
	for (uint32 i = 0; i < n_shares && !matcher->full && !shared->full; i++)
	{
		add_share(matcher, side, dsa_get_address(area, shared->shares[i]));
		dsa_free(area, shared->shares[i]);
	}
	if (shared->full)
		matcher->alone = matcher->full = true;
	dsm_detach(segment);
	if (area != NULL)
		dsa_detach(area);
}

/* area: NULL if there are no workers. */
static dsm_segment *
share_pass(const Matcher *matcher, const Side *side, dsa_area *area)
{
	Size		n_words = matcher->filter == NULL || area == NULL ? 0 :
		((matcher->last - matcher->first) >> matcher->filter_shift) / 64 + 1;
	dsm_segment *segment = dsm_create(offsetof(SharedPass, filter) + sizeof(uint64) * n_words, 0);
	SharedPass *shared = dsm_segment_address(segment);

	memset(shared, 0, offsetof(SharedPass, filter));
	shared->leader_pid = MyProcPid;
	shared->is_phones = side == &matcher->phones;
	shared->max_memory = (matcher->max_memory - Min(matcher->memory, matcher->max_memory)) /
		(max_parallel_workers_per_gather + 1);
	shared->first = matcher->first;
	shared->last = matcher->last;
	shared->filter_shift = matcher->filter_shift;
	if (area != NULL)
		shared->area = dsa_get_handle(area);
	pg_atomic_init_u32(&shared->n_shares, 0);
	if (n_words > 0)
		memcpy(shared->filter, matcher->filter, sizeof(uint64) * n_words);
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
	QueryDesc  *desc;

	stedi_sink_put(plan, STEDI_SINK_READINGS, shared, NIL);
	desc = CreateQueryDesc(plan, text, GetActiveSnapshot(), InvalidSnapshot, None_Receiver, NULL, NULL, 0);
	ExecutorStart(desc, 0);
	StediExecutorRun(desc);
	ExecutorFinish(desc);
	ExecutorEnd(desc);
	FreeQueryDesc(desc);
}

static void *
begin_reading(CustomScanState *node, void *state)
{
	SharedPass *shared = state;
	Reader	   *reader = palloc0(sizeof(Reader));
	Matcher    *matcher = leader;

	if (shared->leader_pid != MyProcPid)
	{
		matcher = palloc0(sizeof(Matcher));
		matcher->is_worker = true;
		matcher->max_memory = shared->max_memory;
		matcher->pass_context = CurrentMemoryContext;
		matcher->devices.names.by_value = names_create(CurrentMemoryContext, MIN_ENTRIES, NULL);
		matcher->phones.names.by_value = names_create(CurrentMemoryContext, MIN_ENTRIES, NULL);
		matcher->first = shared->first;
		matcher->last = shared->last;
		start_pass(matcher);
		matcher->filter_shift = shared->filter_shift;
		if (shared->is_phones)
			matcher->filter = shared->filter;
	}
	reader->shared = shared;
	reader->matcher = matcher;
	reader->side = shared->is_phones ? &matcher->phones : &matcher->devices;
	return reader;
}

static TupleTableSlot *
receive_reading(void *state, TupleTableSlot *slot)
{
	Reader	   *reader = state;
	Matcher    *matcher = reader->matcher;
	Side	   *side = reader->side;
	text	   *name;

	slot_getallattrs(slot);
	if (matcher->full || slot->tts_isnull[1])
		return NULL;
	if (slot->tts_isnull[0])
	{
		/* A device is known by any reading. */
		if (side == &matcher->phones)
			return NULL;
		name = DatumGetTextPP(slot->tts_values[1]);
		name_id(&side->names, name);
	}
	else
	{
		uint64		number = mix((uint64) DatumGetTimestampTz(slot->tts_values[0]));

		if (number < matcher->first || number > matcher->last)
			return NULL;
		name = DatumGetTextPP(slot->tts_values[1]);
		take_reading(matcher, side, number, name_id(&side->names, name));
	}
	if (PointerGetDatum(name) != slot->tts_values[1])
		pfree(name);
	return NULL;
}

static TupleTableSlot *
end_reading(void *state)
{
	Reader	   *reader = state;
	SharedPass *shared = reader->shared;
	dsa_area   *area;
	uint32		at;

	if (!reader->matcher->is_worker)
		return NULL;
	put_away_batch(reader->matcher, reader->side);
	at = pg_atomic_fetch_add_u32(&shared->n_shares, 1);
	if (reader->matcher->full || at >= MAX_SHARES)
	{
		shared->full = true;
		return NULL;
	}
	area = dsa_attach(shared->area);
	shared->shares[at] = make_share(area, reader->side, reader->matcher->n_partitions);
	dsa_detach(area);
	return NULL;
}

static dsa_pointer
make_share(dsa_area *area, const Side *side, int n_partitions)
{
	uint32		n_names = side->names.by_value->members;
	Size		size = 0;
	dsa_pointer pointer;
	Share	   *share;
	Reading    *reading;
	char	   *name;

	for (int p = 0; p < n_partitions; p++)
		size += sizeof(Reading) * count_readings(&side->partitions[p]);
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

		share->n_readings[p] = count_readings(&side->partitions[p]);
		for (const Chunk *chunk = side->partitions[p].chunks; chunk != NULL; chunk = chunk->next)
		{
			memcpy(reading, chunk->readings, sizeof(Reading) * n);
			reading += n;
			n = CHUNK_READINGS;
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
add_share(Matcher *matcher, Side *side, const Share *share)
{
	uint32	   *ids = palloc_huge(sizeof(uint32) * share->n_names);
	const Reading *reading = share->readings;
	Size		n_readings = 0;
	text	   *name;

	for (int p = 0; p < MAX_PARTITIONS; p++)
		n_readings += share->n_readings[p];
	name = (text *) MAXALIGN(reading + n_readings);
	for (uint32 i = 0; i < share->n_names; i++)
	{
		ids[i] = name_id(&side->names, name);
		name = (text *) ((char *) name + MAXALIGN(VARSIZE_ANY(name)));
	}
	for (Size i = 0; i < n_readings && !matcher->full; i++)
	{
		Reading		own = {reading[i].number, ids[reading[i].id]};

		CHECK_FOR_INTERRUPTS();
		put_away(matcher, side, &own);
	}
	pfree(ids);
}

static void
take_reading(Matcher *matcher, Side *side, uint64 number, uint32 id)
{
	/* A phone takes several readings at a moment. */
	if (side->last.id == id && side->last.number == number)
		return;
	if (matcher->filter != NULL)
		prefetch(&matcher->filter[(number - matcher->first) >> matcher->filter_shift >> 6]);
	side->last.number = number;
	side->last.id = id;
	side->batch[side->n_batch++] = side->last;
	if (side->n_batch == BATCH)
		put_away_batch(matcher, side);
}

static void
put_away_batch(Matcher *matcher, Side *side)
{
	for (int i = 0; i < side->n_batch && !matcher->full; i++)
	{
		uint64		bit = (side->batch[i].number - matcher->first) >> matcher->filter_shift;

		if (matcher->filter == NULL || (matcher->filter[bit / 64] >> bit % 64 & 1) != 0)
			put_away(matcher, side, &side->batch[i]);
	}
	side->n_batch = 0;
}

static void
put_away(Matcher *matcher, Side *side, const Reading *reading)
{
	Partition  *partition = &side->partitions[(reading->number - matcher->first) >> matcher->shift];

	/* Its partition may have been given up meanwhile. */
	if (reading->number <= matcher->last &&
		(partition->n_first < CHUNK_READINGS || add_chunk(matcher, partition)))
		partition->chunks->readings[partition->n_first++] = *reading;
}

/* False if there is no room: the pass is in vain, or the partition given up. */
static bool
add_chunk(Matcher *matcher, Partition *partition)
{
	Chunk	   *chunk;

	if (partition->n_chunks == PG_UINT32_MAX / CHUNK_READINGS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("too many readings at one moment")));
	chunk = MemoryContextAlloc(matcher->pass_context, sizeof(Chunk));
	chunk->next = partition->chunks;
	partition->chunks = chunk;
	partition->n_first = 0;
	partition->n_chunks++;
	matcher->memory += sizeof(Chunk);
	matcher->max_chunks = Max(matcher->max_chunks, partition->n_chunks);

	while (needed_memory(matcher) > matcher->max_memory && matcher->n_partitions > 1 && !matcher->is_worker)
		give_up_partition(matcher);
	/* A single moment cannot be divided. */
	matcher->full = (matcher->shift > 0 || matcher->is_worker) && needed_memory(matcher) > matcher->max_memory;
	return partition->chunks != NULL && !matcher->full;
}

/* To sort a partition takes as much again: devices, phones and where they go. */
static Size
needed_memory(const Matcher *matcher)
{
	return matcher->memory + sizeof(Chunk) * 3 * matcher->max_chunks;
}

/* The one with the largest numbers is left to the next pass. */
static void
give_up_partition(Matcher *matcher)
{
	matcher->n_partitions--;
	matcher->last = matcher->first + ((uint64) matcher->n_partitions << matcher->shift) - 1;
	free_chunks(matcher, &matcher->devices.partitions[matcher->n_partitions]);
	free_chunks(matcher, &matcher->phones.partitions[matcher->n_partitions]);

	matcher->max_chunks = 0;
	for (int p = 0; p < matcher->n_partitions; p++)
	{
		matcher->max_chunks = Max(matcher->max_chunks, matcher->devices.partitions[p].n_chunks);
		matcher->max_chunks = Max(matcher->max_chunks, matcher->phones.partitions[p].n_chunks);
	}
}

static void
free_chunks(Matcher *matcher, Partition *partition)
{
	Chunk	   *chunk = partition->chunks;

	while (chunk != NULL)
	{
		Chunk	   *next = chunk->next;

		pfree(chunk);
		chunk = next;
	}
	matcher->memory -= sizeof(Chunk) * partition->n_chunks;
	partition->chunks = NULL;
	partition->n_chunks = 0;
}

/* Most readings of phones are taken while their owners wear no device. */
static void
make_filter(Matcher *matcher)
{
	uint64		width = matcher->last - matcher->first;
	uint64		n_chunks = 0;
	int			bits;
	uint64		n_words;

	for (int p = 0; p < matcher->n_partitions; p++)
		n_chunks += matcher->devices.partitions[p].n_chunks;
	bits = pg_ceil_log2_64(Max(n_chunks, 1) * CHUNK_READINGS * FILTER_BITS);
	matcher->filter_shift = shift_for(width, bits);
	n_words = (width >> matcher->filter_shift) / 64 + 1;
	matcher->filter = MemoryContextAllocExtended(matcher->pass_context, sizeof(uint64) * n_words,
												 MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	matcher->memory += sizeof(uint64) * n_words;

	for (int p = 0; p < matcher->n_partitions; p++)
	{
		uint32		n = matcher->devices.partitions[p].n_first;

		CHECK_FOR_INTERRUPTS();
		for (Chunk *chunk = matcher->devices.partitions[p].chunks; chunk != NULL; chunk = chunk->next)
		{
			for (uint32 i = 0; i < n; i++)
			{
				uint64		bit = (chunk->readings[i].number - matcher->first) >> matcher->filter_shift;

				matcher->filter[bit / 64] |= UINT64CONST(1) << bit % 64;
			}
			n = CHUNK_READINGS;
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

/* In ascending order of the numbers, each device until it has its sample. */
static void
count_matches(Matcher *matcher)
{
	uint32		n_devices = matcher->devices.names.by_value->members;
	int32	   *sampled = palloc_huge(sizeof(int32) * n_devices);
	Size		max_readings = (Size) matcher->max_chunks * CHUNK_READINGS;
	Reading    *devices;
	Reading    *phones;
	uint32	   *starts;
	MemoryContext old;

	if (matcher->sampled != NULL)
	{
		memcpy(sampled, matcher->sampled, sizeof(int32) * matcher->n_sampled);
		pfree(matcher->sampled);
	}
	matcher->sampled = sampled;
	matcher->n_sampled = n_devices;

	old = MemoryContextSwitchTo(matcher->pass_context);
	devices = palloc_huge(sizeof(Reading) * max_readings);
	phones = palloc_huge(sizeof(Reading) * max_readings);
	starts = palloc_huge(sizeof(uint32) * (max_readings + 2));
	MemoryContextSwitchTo(old);

	for (int p = 0; p < matcher->n_partitions; p++)
	{
		uint64		first = matcher->first + ((uint64) p << matcher->shift);
		uint32		n_phones = sort_partition(matcher, &matcher->phones.partitions[p], first, phones, starts);

		if (n_phones > 0)
		{
			uint32		n_devices_here = sort_partition(matcher, &matcher->devices.partitions[p], first, devices, starts);

			count_partition(matcher, devices, n_devices_here, phones, n_phones);
		}
	}
	count_batch(matcher);
}

/* Into readings, each once; returns how many.  Numbers are spread evenly over the
 * partition, so what a part of it holds is next to sorted. */
static uint32
sort_partition(const Matcher *matcher, const Partition *partition, uint64 first,
			   Reading *readings, uint32 *starts)
{
	uint32		n = count_readings(partition);
	int			bits;
	int			shift;
	uint32		n_buckets;
	uint32		n_first;
	uint32		n_distinct = 0;

	if (partition->n_chunks == 0)
		return 0;
	bits = pg_ceil_log2_32(n / BUCKET_READINGS + 1);
	shift = Max(matcher->shift - bits, 0);
	n_buckets = 1 << (matcher->shift - shift);

	/* starts[b + 2] counts bucket b, then starts[b + 1] is where it goes on. */
	memset(starts, 0, sizeof(uint32) * (n_buckets + 2));
	n_first = partition->n_first;
	for (Chunk *chunk = partition->chunks; chunk != NULL; chunk = chunk->next)
	{
		for (uint32 i = 0; i < n_first; i++)
			starts[((chunk->readings[i].number - first) >> shift) + 2]++;
		n_first = CHUNK_READINGS;
	}
	for (uint32 b = 0; b < n_buckets; b++)
		starts[b + 2] += starts[b + 1];
	n_first = partition->n_first;
	for (Chunk *chunk = partition->chunks; chunk != NULL; chunk = chunk->next)
	{
		for (uint32 i = 0; i < n_first; i++)
			readings[starts[((chunk->readings[i].number - first) >> shift) + 1]++] = chunk->readings[i];
		n_first = CHUNK_READINGS;
	}

	for (uint32 b = 0; b < n_buckets; b++)
	{
		if (starts[b + 1] - starts[b] > 1)
			sort_readings(&readings[starts[b]], starts[b + 1] - starts[b]);
		for (uint32 i = starts[b]; i < starts[b + 1]; i++)
		{
			if (n_distinct == 0 || compare_readings(&readings[n_distinct - 1], &readings[i]) != 0)
				readings[n_distinct++] = readings[i];
		}
	}
	return n_distinct;
}

static void
count_partition(Matcher *matcher, const Reading *devices, uint32 n_devices,
				const Reading *phones, uint32 n_phones)
{
	uint32		d = 0;
	uint32		p = 0;

	while (d < n_devices && p < n_phones)
	{
		uint64		number = phones[p].number;
		uint32		end;

		if (devices[d].number < number)
		{
			d++;
			continue;
		}
		for (end = p + 1; end < n_phones && phones[end].number == number;)
			end++;
		for (; d < n_devices && devices[d].number == number; d++)
		{
			uint32		device = devices[d].id;

			CHECK_FOR_INTERRUPTS();
			if (matcher->sampled[device] == matcher->sample_size)
				continue;
			matcher->sampled[device]++;
			for (uint32 i = p; i < end; i++)
			{
				uint64		pair = (uint64) device << 32 | phones[i].id;

				prefetch(&matcher->matches->data[hash_pair(pair) & matcher->matches->sizemask]);
				matcher->batch[matcher->n_batch++] = pair;
				if (matcher->n_batch == BATCH)
					count_batch(matcher);
			}
		}
		p = end;
	}
}

static void
count_batch(Matcher *matcher)
{
	for (int i = 0; i < matcher->n_batch; i++)
	{
		bool		found;
		Match	   *match = matches_insert(matcher->matches, matcher->batch[i], &found);

		if (!found)
			match->matched = 0;
		match->matched++;
	}
	matcher->n_batch = 0;
}

/* A row for each device. */
static void
return_matches(Matcher *matcher, ReturnSetInfo *rsinfo)
{
	uint32		n_devices = matcher->devices.names.by_value->members;
	uint64	   *starts = palloc_huge(sizeof(uint64) * ((Size) n_devices + 2));
	Candidate  *candidates = palloc_huge(sizeof(Candidate) * matcher->matches->members);
	MemoryContext row_context = AllocSetContextCreate(CurrentMemoryContext, "stedi matches of a device",
													  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(row_context);
	matches_iterator iterator;
	Match	   *match;

	/* By device, as in sort_partition(). */
	matches_start_iterate(matcher->matches, &iterator);
	while ((match = matches_iterate(matcher->matches, &iterator)) != NULL)
		starts[(match->pair >> 32) + 2]++;
	for (uint32 d = 0; d < n_devices; d++)
		starts[d + 2] += starts[d + 1];
	matches_start_iterate(matcher->matches, &iterator);
	while ((match = matches_iterate(matcher->matches, &iterator)) != NULL)
	{
		Candidate  *candidate = &candidates[starts[(match->pair >> 32) + 1]++];

		candidate->email = matcher->phones.names.values[match->pair & PG_UINT32_MAX];
		candidate->matched = match->matched;
	}

	for (uint32 d = 0; d < n_devices; d++)
	{
		Candidate  *first = &candidates[starts[d]];
		uint64		n = starts[d + 1] - starts[d];
		Datum	   *emails;
		Datum	   *matched;
		Datum		values[3];
		bool		nulls[3] = {false};

		CHECK_FOR_INTERRUPTS();
		sort_candidates(first, n);
		emails = palloc_huge(sizeof(Datum) * n);
		matched = palloc_huge(sizeof(Datum) * n);
		for (uint64 i = 0; i < n; i++)
		{
			emails[i] = PointerGetDatum(first[i].email);
			matched[i] = Int64GetDatum(first[i].matched);
		}
		values[0] = PointerGetDatum(matcher->devices.names.values[d]);
		values[1] = PointerGetDatum(construct_array(emails, n, TEXTOID, -1, false, TYPALIGN_INT));
		values[2] = PointerGetDatum(construct_array(matched, n, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
		MemoryContextReset(row_context);
	}
	MemoryContextSwitchTo(old);
}

static uint32
name_id(Names *names, text *value)
{
	NameEntry  *name;
	bool		found;

	if (names->values != NULL && same_text(names->values[names->last], value))
		return names->last;
	name = names_insert(names->by_value, value, &found);
	if (!found)
	{
		MemoryContext old = MemoryContextSwitchTo(names->by_value->ctx);

		name->id = names->by_value->members - 1;
		if (name->id == names->capacity)
		{
			names->capacity = Max(names->capacity * 2, MIN_ENTRIES);
			names->values = names->values == NULL ?
				palloc_huge(sizeof(text *) * names->capacity) :
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

/* Zeroed, and at least a byte. */
static void *
palloc_huge(Size size)
{
	return MemoryContextAllocExtended(CurrentMemoryContext, Max(size, 1), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
}

/* A permutation of the 64-bit numbers: the finalizer of MurmurHash3. */
static inline uint64
mix(uint64 value)
{
	value ^= value >> 33;
	value *= UINT64CONST(0xff51afd7ed558ccd);
	value ^= value >> 33;
	value *= UINT64CONST(0xc4ceb9fe1a85ec53);
	value ^= value >> 33;
	return value;
}

static inline uint32
hash_pair(uint64 pair)
{
	return (uint32) (mix(pair) >> 32);
}
