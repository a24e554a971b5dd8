/*
 * row.h
 *		From the cells of a JSON record to the columns of a row.
 */
#ifndef STEDI_PG_ROW_H
#define STEDI_PG_ROW_H

#include "access/tupdesc.h"
#include "utils/jsonb.h"
#include "utils/relcache.h"

#include "core/json_reader.h"

typedef struct StediRowBuilder StediRowBuilder;

/* Why a record does not make a row. */
typedef struct StediRowError
{
	int			sqlstate;
	const char *message;		/* palloc'd or static; holds no value of the record */
	const char *column;
} StediRowError;

/*
 * Builder of rows of type desc.  With a relation (NULL for plain row types):
 * defaults for missing keys, NOT NULL, and a bigint column record_id that the
 * caller fills.  aliases is a JSON object {"key": "column"} or NULL.  Lives in
 * the current memory context.  Errors: 42703 for an alias of a column that is
 * not there, 42702 for keys that could mean two columns.
 */
extern StediRowBuilder *stedi_row_builder_create(TupleDesc desc, Relation rel,
												 const Jsonb *aliases);
extern const StediJsonSchema *stedi_row_builder_schema(const StediRowBuilder *builder);
/* 0-based attribute that takes the keys that match no column, or -1 */
extern int	stedi_row_builder_rescued(const StediRowBuilder *builder);
/* 0-based attribute that takes the record id, or -1 */
extern int	stedi_row_builder_record_id(const StediRowBuilder *builder);

/*
 * Fill values and nulls (desc->natts of them; datums in the current memory
 * context).  False: the record does not fit, error says why.
 */
extern bool stedi_row_build(StediRowBuilder *builder, const StediJsonRecord *record,
							Datum *values, bool *nulls, StediRowError *error);

/* A whole record as jsonb; false if it does not fit (\u0000, huge numbers). */
extern bool stedi_jsonb_value(const char *text, size_t length, Datum *value, StediRowError *error);

#endif							/* STEDI_PG_ROW_H */
