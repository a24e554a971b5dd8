/*
 * export_format.h
 *		Rows as NDJSON or CSV text.
 */
#ifndef STEDI_PG_EXPORT_FORMAT_H
#define STEDI_PG_EXPORT_FORMAT_H

#include "executor/tuptable.h"
#include "lib/stringinfo.h"

typedef enum StediFormat
{
	STEDI_FORMAT_NDJSON,
	STEDI_FORMAT_CSV			/* RFC 4180, with a header, NULL is an empty field */
} StediFormat;

typedef struct StediFormatter StediFormatter;

/*
 * camel: sensor_reading_time becomes sensorReadingTime, the landing's spelling;
 * two columns of one name are 42701.  epoch_ms: timestamptz as milliseconds
 * since 1970, else as ISO 8601.  Lives in the current memory context.
 */
extern StediFormatter *stedi_formatter_create(TupleDesc desc, StediFormat format,
											  bool camel, bool epoch_ms);
extern const char *stedi_formatter_name(const StediFormatter *formatter, int column);	/* NULL: dropped */

/* What a file begins with. */
extern void stedi_format_header(StediFormatter *formatter, StringInfo out);
/* Memory that values need comes from the current context. */
extern void stedi_format_row(StediFormatter *formatter, TupleTableSlot *slot, StringInfo out);
/* The length of the first of the rows that text is made of. */
extern size_t stedi_format_row_length(const StediFormatter *formatter, const char *text, size_t length);

#endif							/* STEDI_PG_EXPORT_FORMAT_H */
