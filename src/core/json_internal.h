/*
 * json_internal.h
 *		What the files of the JSON reader share: the schema's look-up, the parser
 *		of one record, the numbers.
 */
#ifndef STEDI_CORE_JSON_INTERNAL_H
#define STEDI_CORE_JSON_INTERNAL_H

#include <stdint.h>
#include <string.h>

#include "core/bytes.h"
#include "core/json_reader.h"
#include "core/json_scan.h"

/* Column of a key (already decoded), or -1. */
extern int	stedi_json_schema_find(const StediJsonSchema *schema,
								   const char *key, size_t length);
extern int	stedi_json_schema_columns(const StediJsonSchema *schema);

/* Enough for "shareWithResearchAsOfDate": and its like with a space. */
#define STEDI_JSON_HINT_WORDS			4
#define STEDI_JSON_HINT_BYTES			(STEDI_JSON_HINT_WORDS * sizeof(uint64_t))
#define STEDI_JSON_MAX_HINTS			64

/*
 * Records of one object mostly have the same keys in the same order.  A hint is
 * the text of the key at one position in the last record, from its quote up to
 * its value, so that the next one is recognised without looking at its bytes
 * one by one.  Texts that don't fit are not remembered.
 */
typedef struct StediJsonHint
{
	uint64_t	word[STEDI_JSON_HINT_WORDS];
	uint64_t	mask[STEDI_JSON_HINT_WORDS];
	size_t		length;			/* 0 = none */
	int			column;			/* -1: matches none */
} StediJsonHint;

/* Parses one record at a time.  All memory is its own. */
typedef struct StediJsonParser
{
	const StediJsonSchema *schema;
	bool		want_rescued;
	int			n_columns;

	/* result; cells point into the text or into scratch */
	StediJsonCell *cells;		/* one per column */
	StediBytes	rescued;		/* empty: every key matched */

	/* why there is none */
	const char *stop;			/* the byte at which that was noticed */
	StediJsonFault fault;
	const char *message;
	bool		no_memory;		/* the above is not set then */

	StediJsonCell spare;		/* takes the values nobody asked for */
	bool	   *escaped;		/* per column: STRING that is still to be decoded */
	bool		any_escaped;
	StediBytes	scratch;		/* decoded strings */
	StediBytes	key;			/* decoded key */
	StediJsonHint hints[STEDI_JSON_MAX_HINTS];
} StediJsonParser;

/* On failure (no memory) there may be something to free. */
extern bool stedi_json_parser_init(StediJsonParser *parser, const StediJsonSchema *schema,
								   bool want_rescued);
extern void stedi_json_parser_free(StediJsonParser *parser);

/*
 * text opens a record and ends with a NUL and STEDI_JSON_PADDING - 1 readable
 * bytes more.  Returns the byte after the record; NULL: see stop, which is the
 * final NUL if all there is is right but the record isn't whole.
 */
extern const char *stedi_json_parse_record(StediJsonParser *parser, const char *text);

static inline bool
stedi_json_is_space(char c)
{
	return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

static inline const char *
stedi_json_skip_space(const char *p)
{
	while (stedi_json_is_space(*p))
		p++;
	return p;
}

static inline bool
stedi_json_is_digit(char c)
{
	return (unsigned) (c - '0') <= 9;
}

/*
 * Are the 8 bytes at p digits, and what is their value?  Bytes are taken for
 * digits when the high half is 3 and stays 3 with 6 added.
 */
static inline bool
stedi_json_is_8_digits(const char *p)
{
	const uint64_t high = UINT64_C(0xF0F0F0F0F0F0F0F0);
	const uint64_t three = UINT64_C(0x3030303030303030);
	uint64_t	word = stedi_load64(p);

	return (word & high) == three &&
		((word + UINT64_C(0x0606060606060606)) & high) == three;
}

static inline uint64_t
stedi_json_8_digits(const char *p)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	uint64_t	word = stedi_load64(p) & UINT64_C(0x0F0F0F0F0F0F0F0F);

	/* pairs, then fours, then all: the earlier digit is in the lower byte */
	word = (word * (1 + (10 << 8))) >> 8 & UINT64_C(0x00FF00FF00FF00FF);
	word = (word * (1 + (100 << 16))) >> 16 & UINT64_C(0x0000FFFF0000FFFF);
	return (word * (1 + (UINT64_C(10000) << 32))) >> 32;
#else
	uint64_t	value = 0;

	for (int i = 0; i < 8; i++)
		value = value * 10 + (uint64_t) (p[i] - '0');
	return value;
#endif
}

#endif							/* STEDI_CORE_JSON_INTERNAL_H */
