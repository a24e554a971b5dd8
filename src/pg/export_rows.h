/*
 * export_rows.h
 *		The rows of a query as text, made by each process that makes rows.
 */
#ifndef STEDI_PG_EXPORT_ROWS_H
#define STEDI_PG_EXPORT_ROWS_H

#include "executor/execdesc.h"

#include "pg/export_format.h"
#include "pg/sink.h"

/* Whole rows: a chunk of the text without what a file begins with. */
typedef void (*StediTextReceiver) (void *arg, const char *text, size_t length, int64 rows);

typedef struct StediRows
{
	TupleDesc	desc;
	StediFormatter *formatter;
	QueryDesc  *query;
} StediRows;

extern const StediSink stedi_text_sink;

/*
 * Plan a query, which may only read, and start its execution; the rest is as in
 * stedi_formatter_create().  Lives in the current memory context.
 */
extern StediRows *stedi_rows_begin(const char *query, StediFormat format, bool camel, bool epoch_ms);

/* Run it: the chunks come in the order of their rows, if that has one. */
extern void stedi_rows_run(StediRows *rows, StediTextReceiver receiver, void *arg);
extern void stedi_rows_end(StediRows *rows);

/*
 * After an error, before the transaction is rolled back: end the workers, so that
 * none is at work, or raises its own error, while the first one is dealt with.
 */
extern void stedi_rows_abort(void);

#endif							/* STEDI_PG_EXPORT_ROWS_H */
