/*
 * match_read.h
 *		Readings of both landing tables, in partitions by their moment.
 *
 * A moment is known by a number, its time mixed by a permutation.  A partition
 * holds the readings of a range of numbers, and is small enough for the
 * processor's caches.  If the readings do not fit into memory, the partitions of
 * the largest numbers are given up, and left to another pass.
 */
#ifndef STEDI_PG_MATCH_READ_H
#define STEDI_PG_MATCH_READ_H

#include "port/pg_bitutils.h"
#include "utils/memutils.h"

#define stedi_prefetch(address) __builtin_prefetch(address)

/* So many places to append to stay in the first cache, and a part of some million
 * readings in the second. */
#define STEDI_PARTITION_BITS 8
#define STEDI_MAX_PARTITIONS (1 << STEDI_PARTITION_BITS)

/* With the pointer 1 kB, of which STEDI_MAX_PARTITIONS of devices and of phones fit
 * into the least memory that can be set. */
#define STEDI_CHUNK_READINGS 84

/* Where to look lies anywhere in memory, and is fetched for so many meanwhile. */
#define STEDI_BATCH 64

/* Of a Step Trainer or of a phone. */
typedef struct StediReading
{
	uint64		number;
	uint32		id;
} pg_attribute_packed() StediReading;

typedef struct StediChunk
{
	struct StediChunk *next;
	StediReading readings[STEDI_CHUNK_READINGS];
} StediChunk;

/* The first chunk is the one that is being filled. */
typedef struct StediPartition
{
	StediChunk *chunks;
	uint32		n_first;		/* readings in the first */
	uint32		n_chunks;
} StediPartition;

/* Serial numbers or emails; each gets the next free number. */
typedef struct StediNames
{
	struct names_hash *by_value;
	text	  **values;			/* by id */
	uint32		n;
	uint32		capacity;
	uint32		last;			/* readings come in runs */
} StediNames;

/* Step Trainers or phones */
typedef struct StediSide
{
	StediNames	names;			/* of all passes */
	StediPartition partitions[STEDI_MAX_PARTITIONS];
	StediReading batch[STEDI_BATCH];	/* not yet in a partition */
	int			n_batch;
	StediReading last;
} StediSide;

typedef struct StediPass
{
	Size		max_memory;		/* of readings */
	MemoryContext context;		/* of what is read */
	bool		is_worker;		/* it does not give up partitions */
	bool		alone;			/* without workers */

	StediSide	devices;
	StediSide	phones;

	/* Moments whose numbers lie between these are taken. */
	uint64		first;
	uint64		last;
	int			shift;			/* a partition has 2^shift numbers */
	int			n_partitions;
	bool		full;			/* a single partition does not fit */
	Size		memory;
	uint32		max_chunks;		/* of a partition */
	uint64	   *filter;			/* a bit for 2^filter_shift numbers */
	int			filter_shift;
} StediPass;

/* Of all numbers.  Names are kept in the current memory context. */
extern StediPass *stedi_pass_create(Size max_memory);

/*
 * Read both tables, with the snapshot and the rights of the query that called, and
 * take as much of the range as fits into memory.  False: not even a partition does,
 * which becomes the range.
 */
extern bool stedi_pass_read(StediPass *pass);

/* Gives up its readings.  False: there is no number left for another pass. */
extern bool stedi_pass_next(StediPass *pass);

static inline uint32
stedi_count_readings(const StediPartition *partition)
{
	return partition->n_chunks * STEDI_CHUNK_READINGS - (STEDI_CHUNK_READINGS - partition->n_first);
}

/* A permutation of the 64-bit numbers: the finalizer of MurmurHash3. */
static inline uint64
stedi_mix(uint64 value)
{
	value ^= value >> 33;
	value *= UINT64CONST(0xff51afd7ed558ccd);
	value ^= value >> 33;
	value *= UINT64CONST(0xc4ceb9fe1a85ec53);
	value ^= value >> 33;
	return value;
}

/* Zeroed, and at least a byte. */
static inline void *
stedi_palloc_huge(Size size)
{
	return MemoryContextAllocExtended(CurrentMemoryContext, Max(size, 1), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
}

#endif							/* STEDI_PG_MATCH_READ_H */
