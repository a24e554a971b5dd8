/*
 * json_reader.h
 *		Strict, streaming, schema-directed JSON reader.
 *
 * Bytes go in at any chunk boundary; records come out with one cell per column.
 * Nothing is guessed: every byte that is not whitespace or a separator belongs
 * to a record or to a reject.
 *
 * Words: a record is one top-level JSON object (or an object inside a top-level
 * array).  A reject is one damaged region of the input.  A cell is the value of
 * one column in one record.
 *
 *	 caller                           reader
 *	   |  space() -> where to put bytes   |   window: [ consumed | record | more ]
 *	   |  filled(n) / finish()            |
 *	   |  next() ------------------------>|   RECORD, REJECT, NEED_INPUT, END
 *
 * A record is parsed in the window, in place; cells point into the window or
 * into the reader's scratch memory and are valid until the next call of next()
 * or space().  Memory is bounded by max_record_size and a constant.
 */
#ifndef STEDI_CORE_JSON_READER_H
#define STEDI_CORE_JSON_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

typedef enum StediJsonType
{
	STEDI_JSON_MISSING = 0,		/* key not in the record */
	STEDI_JSON_NULL,
	STEDI_JSON_FALSE,
	STEDI_JSON_TRUE,
	STEDI_JSON_NUMBER,
	STEDI_JSON_STRING,
	STEDI_JSON_OBJECT,
	STEDI_JSON_ARRAY
} StediJsonType;

typedef struct StediJsonCell
{
	StediJsonType type;
	bool		is_integer;		/* NUMBER: plain digits (optional minus) that fit; see integer */
	bool		has_nul;		/* STRING: contains U+0000 after decoding */
	const char *text;			/* STRING: decoded UTF-8; else the JSON text; not NUL-terminated */
	size_t		length;
	int64_t		integer;
} StediJsonCell;

/* Why a region was rejected; the SQLSTATE is chosen by the backend side. */
typedef enum StediJsonFault
{
	STEDI_JSON_FAULT_NONE = 0,
	STEDI_JSON_FAULT_SYNTAX,	/* not RFC 8259 */
	STEDI_JSON_FAULT_UTF8,		/* not UTF-8, or a lone surrogate escape */
	STEDI_JSON_FAULT_TRUNCATED, /* input ended inside a record or array */
	STEDI_JSON_FAULT_NOT_OBJECT,	/* a value that is not an object where a record should be */
	STEDI_JSON_FAULT_DEPTH,		/* nested deeper than max_depth */
	STEDI_JSON_FAULT_SIZE		/* record larger than max_record_size */
} StediJsonFault;

typedef struct StediJsonRecord
{
	uint32_t	record_no;		/* 1-based; counts records and rejects, in input order */
	uint64_t	byte_offset;	/* in the decompressed object */
	uint64_t	byte_length;	/* full length, also where text is clipped */
	const char *text;			/* the record's bytes; of a reject the first STEDI_JSON_REJECT_KEEP at most */
	size_t		length;			/* bytes at text */

	/* of a record */
	const StediJsonCell *cells; /* one per schema column, in its order */
	const char *rescued;		/* JSON object of the keys that match no column, or NULL */
	size_t		rescued_length;

	/* of a reject */
	StediJsonFault fault;
	const char *message;		/* static text: what is wrong */
	uint64_t	fault_offset;	/* byte at which it was noticed */
} StediJsonRecord;

#define STEDI_JSON_REJECT_KEEP	(64 * 1024)
#define STEDI_JSON_MAX_DEPTH	512
#define STEDI_JSON_MAX_RECORDS	UINT32_MAX

typedef enum StediJsonEvent
{
	STEDI_JSON_RECORD,
	STEDI_JSON_REJECT,
	STEDI_JSON_NEED_INPUT,
	STEDI_JSON_END,
	STEDI_JSON_FAILED			/* out of memory, too many records: status is set */
} StediJsonEvent;

/*
 * The schema: which key goes to which cell.  Keys match after removing '_' and
 * folding ASCII case; several names may lead to one column (aliases).  Two
 * columns that claim the same normalised name are STEDI_BAD_ARGUMENT.  Names are copied.
 * Zero columns: records are validated only.
 */
typedef struct StediJsonSchema StediJsonSchema;

extern StediJsonSchema *stedi_json_schema_new(int n_columns);
extern bool stedi_json_schema_add(StediJsonSchema *schema, int column,
								  const char *name, StediStatus *status);
extern void stedi_json_schema_free(StediJsonSchema *schema);

typedef struct StediJsonReader StediJsonReader;

typedef struct StediJsonReaderOptions
{
	size_t		max_record_size;	/* bytes; 0 = 16 MiB */
	bool		want_rescued;	/* collect keys that match no column */
} StediJsonReaderOptions;

/* The reader keeps a pointer to the schema, which must outlive it.  NULL only
 * when out of memory. */
extern StediJsonReader *stedi_json_reader_new(const StediJsonSchema *schema,
											  const StediJsonReaderOptions *options);
extern void stedi_json_reader_free(StediJsonReader *reader);	/* NULL is fine */

/* Where to put input: at least 1, usually 64 kB or more.  NULL: out of memory. */
extern char *stedi_json_reader_space(StediJsonReader *reader, size_t *available);
extern void stedi_json_reader_filled(StediJsonReader *reader, size_t length);
extern void stedi_json_reader_finish(StediJsonReader *reader);	/* no more input */

extern StediJsonEvent stedi_json_reader_next(StediJsonReader *reader,
											 StediJsonRecord *record,
											 StediStatus *status);

/* 1-based line of the last record or reject; costs a scan, so ask only for rejects. */
extern uint64_t stedi_json_reader_line(const StediJsonReader *reader);

/*
 * Numbers.  text is a valid JSON number.  Locale-independent.
 */
typedef enum StediJsonNumber
{
	STEDI_JSON_NUMBER_OK,
	STEDI_JSON_NUMBER_NOT_INTEGRAL,
	STEDI_JSON_NUMBER_OUT_OF_RANGE
} StediJsonNumber;

/* "1655564376361.0" and "1e3" are integral. */
extern StediJsonNumber stedi_json_to_int64(const char *text, size_t length, int64_t *value);

/* Correctly rounded (as strtod in the C locale); overflow is OUT_OF_RANGE, underflow gives 0 or a
 * subnormal as strtod does. */
extern StediJsonNumber stedi_json_to_double(const char *text, size_t length, double *value);

/* Is this whole string one valid JSON number?  (Strings that should become numbers.) */
extern bool stedi_json_is_number(const char *text, size_t length);

#endif							/* STEDI_CORE_JSON_READER_H */
