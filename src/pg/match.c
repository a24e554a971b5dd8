/*
 * match.c
 *		stedi.match_devices(): whose phones took readings at the moments of each
 *		device, and at how many.
 *
 * Both landing tables are read once, without a sort and without a join of rows:
 *
 *		both tables --> partitions of readings by their moment (match_read.c)
 *		partition after partition, both sides sorted by moment --> matches
 *
 * The sample of a device are its moments with the smallest numbers, so it is the
 * same in whatever order the readings come.  If they do not fit into memory, there
 * is more than one pass, each over larger numbers.
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/varlena.h"

#include "pg/compat.h"
#include "pg/match_read.h"

PG_FUNCTION_INFO_V1(stedi_match_devices);

#define MIN_MATCHES 1024		/* a power of two */

#define BUCKET_READINGS 2

#define AHEAD 8					/* readings, what is counted for them is fetched */

#define MAX_MEMORY (UINT64CONST(16) * 1024 * 1024 * 1024)

static inline uint32 hash_pair(uint64 pair);

/* The phone that matched first, at how many moments.  Mostly it is the only one. */
typedef struct Device
{
	int32		sampled;		/* moments in its sample so far */
	int32		matched;		/* 0: none yet */
	uint32		phone;
} Device;

/* The same of another phone. */
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

typedef struct Matcher
{
	StediPass  *pass;
	int32		sample_size;
	Device	   *devices;		/* by id */
	uint32		n_devices;
	matches_hash *matches;
	uint64		batch[STEDI_BATCH]; /* pairs that are not yet counted */
	int			n_batch;
} Matcher;

/* Whose phone it is, and at how many moments of a device. */
typedef struct Candidate
{
	text	   *email;
	int64		matched;
} Candidate;

static void count_matches(Matcher *matcher);
static uint32 sort_partition(const StediPass *pass, const StediPartition *partition, uint64 first,
							 StediReading *readings, uint32 *starts);
static void count_partition(Matcher *matcher, const StediReading *devices, uint32 n_devices,
							const StediReading *phones, uint32 n_phones);
static void count_batch(Matcher *matcher);
static void return_matches(Matcher *matcher, ReturnSetInfo *rsinfo);

static inline int
compare_readings(const StediReading *a, const StediReading *b)
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
#define ST_ELEMENT_TYPE StediReading
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
	Size		max_memory;
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
	max_memory = Max(work_mem, maintenance_work_mem) * hash_mem_multiplier * 1024;
	matcher->pass = stedi_pass_create(Min(max_memory, MAX_MEMORY));
	matcher->matches = matches_create(context, MIN_MATCHES, NULL);
	do
	{
		/* In vain, it has found out how much narrower it has to be. */
		while (!stedi_pass_read(matcher->pass))
			;
		count_matches(matcher);
	} while (stedi_pass_next(matcher->pass));
	return_matches(matcher, rsinfo);

	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return (Datum) 0;
}

/* In ascending order of the numbers, each device until it has its sample. */
static void
count_matches(Matcher *matcher)
{
	StediPass  *pass = matcher->pass;
	Device	   *all = stedi_palloc_huge(sizeof(Device) * pass->devices.names.n);
	Size		max_readings = (Size) pass->max_chunks * STEDI_CHUNK_READINGS;
	StediReading *devices;
	StediReading *phones;
	uint32	   *starts;
	MemoryContext old;

	if (matcher->devices != NULL)
	{
		memcpy(all, matcher->devices, sizeof(Device) * matcher->n_devices);
		pfree(matcher->devices);
	}
	matcher->devices = all;
	matcher->n_devices = pass->devices.names.n;

	old = MemoryContextSwitchTo(pass->context);
	devices = stedi_palloc_huge(sizeof(StediReading) * max_readings);
	phones = stedi_palloc_huge(sizeof(StediReading) * max_readings);
	starts = stedi_palloc_huge(sizeof(uint32) * (max_readings + 2));
	MemoryContextSwitchTo(old);

	for (int p = 0; p < pass->n_partitions; p++)
	{
		uint64		first = pass->first + ((uint64) p << pass->shift);
		uint32		n_phones = sort_partition(pass, &pass->phones.partitions[p], first, phones, starts);

		if (n_phones > 0)
		{
			uint32		n_devices_here = sort_partition(pass, &pass->devices.partitions[p], first, devices, starts);

			count_partition(matcher, devices, n_devices_here, phones, n_phones);
		}
	}
	count_batch(matcher);
}

/* Into readings, each once; returns how many.  Numbers are spread evenly over the
 * partition, so what a part of it holds is next to sorted. */
static uint32
sort_partition(const StediPass *pass, const StediPartition *partition, uint64 first,
			   StediReading *readings, uint32 *starts)
{
	uint32		n = stedi_count_readings(partition);
	int			bits;
	int			shift;
	uint32		n_buckets;
	uint32		n_first;
	uint32		n_distinct = 0;

	if (partition->n_chunks == 0)
		return 0;
	bits = pg_ceil_log2_32(n / BUCKET_READINGS + 1);
	shift = Max(pass->shift - bits, 0);
	n_buckets = 1 << (pass->shift - shift);

	/* starts[b + 2] counts bucket b, then starts[b + 1] is where it goes on. */
	memset(starts, 0, sizeof(uint32) * (n_buckets + 2));
	n_first = partition->n_first;
	for (StediChunk *chunk = partition->chunks; chunk != NULL; chunk = chunk->next)
	{
		for (uint32 i = 0; i < n_first; i++)
			starts[((chunk->readings[i].number - first) >> shift) + 2]++;
		n_first = STEDI_CHUNK_READINGS;
	}
	for (uint32 b = 0; b < n_buckets; b++)
		starts[b + 2] += starts[b + 1];
	n_first = partition->n_first;
	for (StediChunk *chunk = partition->chunks; chunk != NULL; chunk = chunk->next)
	{
		for (uint32 i = 0; i < n_first; i++)
			readings[starts[((chunk->readings[i].number - first) >> shift) + 1]++] = chunk->readings[i];
		n_first = STEDI_CHUNK_READINGS;
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
count_partition(Matcher *matcher, const StediReading *devices, uint32 n_devices,
				const StediReading *phones, uint32 n_phones)
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
			uint32		id = devices[d].id;
			Device	   *device = &matcher->devices[id];

			CHECK_FOR_INTERRUPTS();
			stedi_prefetch(&matcher->devices[devices[Min(d + AHEAD, n_devices - 1)].id]);
			if (device->sampled == matcher->sample_size)
				continue;
			device->sampled++;
			for (uint32 i = p; i < end; i++)
			{
				if (device->matched == 0)
					device->phone = phones[i].id;
				if (device->phone == phones[i].id)
					device->matched++;
				else
				{
					uint64		pair = (uint64) id << 32 | phones[i].id;

					stedi_prefetch(&matcher->matches->data[hash_pair(pair) & matcher->matches->sizemask]);
					matcher->batch[matcher->n_batch++] = pair;
					if (matcher->n_batch == STEDI_BATCH)
						count_batch(matcher);
				}
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
	uint32		n_devices = matcher->n_devices;
	uint64	   *starts = stedi_palloc_huge(sizeof(uint64) * ((Size) n_devices + 2));
	Candidate  *candidates = stedi_palloc_huge(sizeof(Candidate) * ((Size) matcher->matches->members + n_devices));
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
		starts[d + 2] += starts[d + 1] + (matcher->devices[d].matched > 0);
	matches_start_iterate(matcher->matches, &iterator);
	while ((match = matches_iterate(matcher->matches, &iterator)) != NULL)
	{
		Candidate  *candidate = &candidates[starts[(match->pair >> 32) + 1]++];

		candidate->email = matcher->pass->phones.names.values[match->pair & PG_UINT32_MAX];
		candidate->matched = match->matched;
	}

	for (uint32 d = 0; d < n_devices; d++)
	{
		const Device *device = &matcher->devices[d];
		Candidate  *first = &candidates[starts[d]];
		uint64		n;
		Datum	   *emails;
		Datum	   *matched;
		Datum		values[3];
		bool		nulls[3] = {false};

		CHECK_FOR_INTERRUPTS();
		if (device->matched > 0)
		{
			Candidate  *candidate = &candidates[starts[d + 1]++];

			candidate->email = matcher->pass->phones.names.values[device->phone];
			candidate->matched = device->matched;
		}
		n = starts[d + 1] - starts[d];
		sort_candidates(first, n);
		emails = stedi_palloc_huge(sizeof(Datum) * n);
		matched = stedi_palloc_huge(sizeof(Datum) * n);
		for (uint64 i = 0; i < n; i++)
		{
			emails[i] = PointerGetDatum(first[i].email);
			matched[i] = Int64GetDatum(first[i].matched);
		}
		values[0] = PointerGetDatum(matcher->pass->devices.names.values[d]);
		values[1] = PointerGetDatum(construct_array(emails, n, TEXTOID, -1, false, TYPALIGN_INT));
		values[2] = PointerGetDatum(construct_array(matched, n, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
		MemoryContextReset(row_context);
	}
	MemoryContextSwitchTo(old);
}

static inline uint32
hash_pair(uint64 pair)
{
	return (uint32) (stedi_mix(pair) >> 32);
}
