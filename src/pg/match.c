/*
 * match.c
 *		stedi.match_devices(): at how many moments of a device whose phone took a
 *		reading.
 *
 * Both landing tables are read once, without a sort and without a join of rows:
 *
 *		step_trainer_landing --> moments of the devices
 *		accelerometer_landing --> phones at these moments
 *		moments with phones, in the order of the sample --> matches
 *
 * A moment is known by a number, its time mixed by a permutation.  The sample of
 * a device are its moments with the smallest numbers, so it is the same in
 * whatever order the readings come.  If the moments do not fit into memory, only
 * those with small numbers are taken, and the tables are read again for the next.
 */
#include "postgres.h"

#include "access/tupdesc.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "pg/compat.h"

PG_FUNCTION_INFO_V1(stedi_match_devices);

#define prefetch(address) __builtin_prefetch(address)

#define MIN_ENTRIES 1024			/* of a table, a power of two */

/* A list is looked through so far for an id that it has; what is in it twice all
 * the same is sorted out when it is counted. */
#define LOOK_THROUGH 8

/* Readings are put away so many at a time.  Where they belong lies anywhere in
 * memory, and is fetched for all of them meanwhile. */
#define BATCH_READINGS 128

/* 2^31 links of 8 bytes: they are counted by 32 bits. */
#define MAX_MEMORY (UINT64CONST(16) * 1024 * 1024 * 1024)

static inline uint64 mix(uint64 value);
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
	int64		matched;
	char		status;
} Match;

#define SH_PREFIX matches
#define SH_ELEMENT_TYPE Match
#define SH_KEY_TYPE uint64
#define SH_KEY pair
#define SH_HASH_KEY(table, key) (uint32) (mix(key) >> 32)
#define SH_EQUAL(table, a, b) ((a) == (b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE

#include "lib/simplehash.h"

/* A list of ids: index of the next link, 0 at the end. */
typedef struct Link
{
	uint32		id;
	uint32		next;
} Link;

typedef struct Moment
{
	uint64		number;
	uint32		devices;		/* lists; no device: a free slot */
	uint32		phones;
} Moment;

typedef struct Matcher
{
	Size		max_memory;		/* of moments and links */
	int32		sample_size;

	Names		devices;
	Names		phones;
	int32	   *sampled;		/* by device: moments in its sample so far */
	uint32		n_sampled;
	matches_hash *matches;

	/* Moments whose numbers lie between these are taken in this pass. */
	uint64		first;
	uint64		last;
	bool		full;			/* there is no room for them */
	Moment	   *moments;		/* open addressing by number */
	uint64		n_slots;		/* a power of two */
	uint64		n_moments;
	Link	   *links;			/* the first is not used */
	uint32		n_links;
	uint32		max_links;
} Matcher;

/* Step Trainers or phones */
typedef struct ReadingReceiver
{
	DestReceiver base;
	Matcher    *matcher;
	Names	   *names;
	void		(*take) (Matcher *matcher, uint64 number, uint32 id);
	int			n_readings;
	uint64		numbers[BATCH_READINGS];
	uint32		ids[BATCH_READINGS];
} ReadingReceiver;

static bool run_pass(Matcher *matcher);
static void read_landing(Matcher *matcher, const char *query, Names *names,
						 void (*take) (Matcher *matcher, uint64 number, uint32 id));
static void start_reading(DestReceiver *self, int operation, TupleDesc desc);
static bool receive_reading(TupleTableSlot *slot, DestReceiver *self);
static void end_reading(DestReceiver *self);
static void take_batch(ReadingReceiver *receiver);
static void take_device(Matcher *matcher, uint64 number, uint32 device);
static void take_phone(Matcher *matcher, uint64 number, uint32 phone);
static Moment *find_moment(const Matcher *matcher, uint64 number);
static void grow_moments(Matcher *matcher);
static void add_link(Matcher *matcher, uint32 *list, uint32 id);
static uint64 next_width(const Matcher *matcher, uint64 width);
static bool fits(Matcher *matcher, uint64 n_slots, uint64 n_links);
static void count_matches(Matcher *matcher);
static uint32 distinct_ids(const Matcher *matcher, uint32 list, uint64 *stamps, uint64 stamp, uint32 *ids);
static void count_match(Matcher *matcher, uint32 device, uint32 phone);
static uint32 name_id(Names *names, text *value);
static void *palloc_huge(Size size);

#define ST_SORT sort_moments
#define ST_ELEMENT_TYPE Moment
#define ST_COMPARE(a, b) (((a)->number > (b)->number) - ((a)->number < (b)->number))
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

PGDLLEXPORT Datum
stedi_match_devices(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext context;
	MemoryContext old;
	Matcher		matcher = {0};
	matches_iterator iterator;
	Match	   *match;

	matcher.sample_size = PG_GETARG_INT32(0);
	if (matcher.sample_size < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("sample_size must be positive")));

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	context = AllocSetContextCreate(CurrentMemoryContext, "stedi matches", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);

	/* As much as a refresh has, also in a query: passes cost more than memory. */
	matcher.max_memory = Max(work_mem, maintenance_work_mem) * hash_mem_multiplier * 1024;
	matcher.max_memory = Min(matcher.max_memory, MAX_MEMORY);
	matcher.devices.by_value = names_create(context, MIN_ENTRIES, NULL);
	matcher.phones.by_value = names_create(context, MIN_ENTRIES, NULL);
	matcher.matches = matches_create(context, MIN_ENTRIES, NULL);
	matcher.last = PG_UINT64_MAX;
	for (;;)
	{
		uint64		width = matcher.last - matcher.first;

		if (!run_pass(&matcher))
			matcher.last = matcher.first + width / 2;
		else if (matcher.last == PG_UINT64_MAX)
			break;
		else
		{
			width = next_width(&matcher, width);
			matcher.first = matcher.last + 1;
			matcher.last = matcher.first + Min(width, PG_UINT64_MAX - matcher.first);
		}
	}

	matches_start_iterate(matcher.matches, &iterator);
	while ((match = matches_iterate(matcher.matches, &iterator)) != NULL)
	{
		Datum		values[3];
		bool		nulls[3] = {false};

		values[0] = PointerGetDatum(matcher.devices.values[match->pair >> 32]);
		values[1] = PointerGetDatum(matcher.phones.values[match->pair & PG_UINT32_MAX]);
		values[2] = Int64GetDatum(match->matched);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return (Datum) 0;
}

/* False: they were too many, and nothing is counted. */
static bool
run_pass(Matcher *matcher)
{
	matcher->full = false;
	matcher->n_slots = matcher->max_links = MIN_ENTRIES;
	matcher->moments = palloc_huge(sizeof(Moment) * matcher->n_slots);
	matcher->links = palloc_huge(sizeof(Link) * matcher->max_links);
	matcher->n_moments = 0;
	matcher->n_links = 1;

	read_landing(matcher,
				 "SELECT sensor_reading_time, serial_number FROM stedi.step_trainer_landing"
				 " WHERE sensor_reading_time IS NOT NULL AND serial_number IS NOT NULL",
				 &matcher->devices, take_device);
	if (!matcher->full)
		read_landing(matcher,
					 "SELECT \"timestamp\", email FROM stedi.accelerometer_landing"
					 " WHERE \"timestamp\" IS NOT NULL AND email IS NOT NULL",
					 &matcher->phones, take_phone);
	if (!matcher->full)
		count_matches(matcher);

	pfree(matcher->moments);
	pfree(matcher->links);
	return !matcher->full;
}

/* With the snapshot and the rights of the query that called. */
static void
read_landing(Matcher *matcher, const char *query, Names *names,
			 void (*take) (Matcher *matcher, uint64 number, uint32 id))
{
	ReadingReceiver receiver = {0};
	SPIExecuteOptions options = {0};

	receiver.base.receiveSlot = receive_reading;
	receiver.base.rStartup = start_reading;
	receiver.base.rShutdown = end_reading;
	receiver.base.rDestroy = end_reading;
	receiver.base.mydest = DestTuplestore;
	receiver.matcher = matcher;
	receiver.names = names;
	receiver.take = take;
	options.read_only = true;
	options.dest = &receiver.base;

	SPI_connect();
	if (SPI_execute_extended(query, &options) != SPI_OK_SELECT)
		elog(ERROR, "could not read the landing tables");
	SPI_finish();
	take_batch(&receiver);
}

static void
start_reading(DestReceiver *self, int operation, TupleDesc desc)
{
}

static void
end_reading(DestReceiver *self)
{
}

/* False ends the query. */
static bool
receive_reading(TupleTableSlot *slot, DestReceiver *self)
{
	ReadingReceiver *receiver = (ReadingReceiver *) self;
	Matcher    *matcher = receiver->matcher;
	uint64		number;

	slot_getallattrs(slot);
	number = mix((uint64) DatumGetTimestampTz(slot->tts_values[0]));
	if (number >= matcher->first && number <= matcher->last)
	{
		text	   *name = DatumGetTextPP(slot->tts_values[1]);

		prefetch(&matcher->moments[number & (matcher->n_slots - 1)]);
		receiver->numbers[receiver->n_readings] = number;
		receiver->ids[receiver->n_readings++] = name_id(receiver->names, name);
		if (receiver->n_readings == BATCH_READINGS)
			take_batch(receiver);
		if (PointerGetDatum(name) != slot->tts_values[1])
			pfree(name);
	}
	return !matcher->full;
}

static void
take_batch(ReadingReceiver *receiver)
{
	Matcher    *matcher = receiver->matcher;

	if (matcher->n_moments + BATCH_READINGS > matcher->n_slots / 4 * 3)
		grow_moments(matcher);
	for (int i = 0; i < receiver->n_readings; i++)
	{
		Moment	   *moment = find_moment(matcher, receiver->numbers[i]);

		prefetch(&matcher->links[receiver->take == take_device ? moment->devices : moment->phones]);
	}
	for (int i = 0; i < receiver->n_readings && !matcher->full; i++)
		receiver->take(matcher, receiver->numbers[i], receiver->ids[i]);
	receiver->n_readings = 0;
}

static void
take_device(Matcher *matcher, uint64 number, uint32 device)
{
	Moment	   *moment = find_moment(matcher, number);

	if (moment->devices == 0)
	{
		moment->number = number;
		matcher->n_moments++;
	}
	add_link(matcher, &moment->devices, device);
}

static void
take_phone(Matcher *matcher, uint64 number, uint32 phone)
{
	Moment	   *moment = find_moment(matcher, number);

	if (moment->devices != 0)
		add_link(matcher, &moment->phones, phone);
}

/* The moment with this number, or the free slot where it belongs. */
static Moment *
find_moment(const Matcher *matcher, uint64 number)
{
	uint64		slot = number & (matcher->n_slots - 1);

	while (matcher->moments[slot].devices != 0 && matcher->moments[slot].number != number)
		slot = (slot + 1) & (matcher->n_slots - 1);
	return &matcher->moments[slot];
}

static void
grow_moments(Matcher *matcher)
{
	Moment	   *moments = matcher->moments;
	uint64		n_slots = matcher->n_slots;
	MemoryContext old;

	if (!fits(matcher, n_slots * 2, matcher->max_links))
		return;
	matcher->n_slots *= 2;
	old = MemoryContextSwitchTo(GetMemoryChunkContext(moments));
	matcher->moments = palloc_huge(sizeof(Moment) * matcher->n_slots);
	MemoryContextSwitchTo(old);
	for (uint64 i = 0; i < n_slots; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (moments[i].devices != 0)
			*find_moment(matcher, moments[i].number) = moments[i];
	}
	pfree(moments);
}

static void
add_link(Matcher *matcher, uint32 *list, uint32 id)
{
	uint32		at = *list;

	for (int i = 0; at != 0 && i < LOOK_THROUGH; i++)
	{
		if (matcher->links[at].id == id)
			return;
		at = matcher->links[at].next;
	}
	if (matcher->n_links == matcher->max_links)
	{
		if (!fits(matcher, matcher->n_slots, (uint64) matcher->max_links * 2))
			return;
		matcher->max_links *= 2;
		matcher->links = repalloc_huge(matcher->links, sizeof(Link) * matcher->max_links);
	}
	matcher->links[matcher->n_links].id = id;
	matcher->links[matcher->n_links].next = *list;
	*list = matcher->n_links++;
}

/* After a pass that had room left, the next is as much wider.  A moment that fills
 * the memory makes passes narrow until it is through. */
static uint64
next_width(const Matcher *matcher, uint64 width)
{
	uint64		used = sizeof(Moment) * matcher->n_slots + sizeof(Link) * matcher->max_links;
	uint64		factor = matcher->max_memory / used / 2;

	if (factor <= 1)
		return width;
	return width < PG_UINT64_MAX / factor ? (width + 1) * factor - 1 : PG_UINT64_MAX;
}

/* If not, the pass is in vain.  A single moment cannot be divided. */
static bool
fits(Matcher *matcher, uint64 n_slots, uint64 n_links)
{
	if (n_links > PG_UINT32_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("too many readings at one moment")));
	if (matcher->first < matcher->last &&
		sizeof(Moment) * n_slots + sizeof(Link) * n_links > matcher->max_memory)
		matcher->full = true;
	return !matcher->full;
}

/* In ascending order of the numbers, each device until it has its sample. */
static void
count_matches(Matcher *matcher)
{
	uint32		n_devices = matcher->devices.by_value->members;
	uint32		n_phones = matcher->phones.by_value->members;
	uint32	   *devices = palloc_huge(sizeof(uint32) * n_devices);
	uint32	   *phones = palloc_huge(sizeof(uint32) * n_phones);
	uint64	   *device_stamps = palloc_huge(sizeof(uint64) * n_devices);
	uint64	   *phone_stamps = palloc_huge(sizeof(uint64) * n_phones);
	int32	   *sampled = palloc_huge(sizeof(int32) * n_devices);
	uint64		n_moments = 0;

	if (matcher->sampled != NULL)
	{
		memcpy(sampled, matcher->sampled, sizeof(int32) * matcher->n_sampled);
		pfree(matcher->sampled);
	}
	matcher->sampled = sampled;
	matcher->n_sampled = n_devices;

	for (uint64 i = 0; i < matcher->n_slots; i++)
	{
		if (matcher->moments[i].phones != 0)
			matcher->moments[n_moments++] = matcher->moments[i];
	}
	sort_moments(matcher->moments, n_moments);

	for (uint64 i = 0; i < n_moments; i++)
	{
		const Moment *moment = &matcher->moments[i];
		uint32		n_phones_here = distinct_ids(matcher, moment->phones, phone_stamps, i + 1, phones);
		uint32		n_devices_here = distinct_ids(matcher, moment->devices, device_stamps, i + 1, devices);

		for (uint32 d = 0; d < n_devices_here; d++)
		{
			CHECK_FOR_INTERRUPTS();
			if (sampled[devices[d]] == matcher->sample_size)
				continue;
			sampled[devices[d]]++;
			for (uint32 p = 0; p < n_phones_here; p++)
				count_match(matcher, devices[d], phones[p]);
		}
	}
	pfree(devices);
	pfree(phones);
	pfree(device_stamps);
	pfree(phone_stamps);
}

/* stamps has a place for every id; a stamp is used once. */
static uint32
distinct_ids(const Matcher *matcher, uint32 list, uint64 *stamps, uint64 stamp, uint32 *ids)
{
	uint32		n = 0;

	for (uint32 at = list; at != 0; at = matcher->links[at].next)
	{
		uint32		id = matcher->links[at].id;

		if (stamps[id] == stamp)
			continue;
		stamps[id] = stamp;
		ids[n++] = id;
	}
	return n;
}

static void
count_match(Matcher *matcher, uint32 device, uint32 phone)
{
	bool		found;
	Match	   *match = matches_insert(matcher->matches, (uint64) device << 32 | phone, &found);

	if (!found)
		match->matched = 0;
	match->matched++;
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
