/*
 * tuple.h
 *		Forming heap tuples in one pass.
 */
#ifndef STEDI_PG_TUPLE_H
#define STEDI_PG_TUPLE_H

#include "access/htup.h"
#include "access/tupdesc.h"

/* How the values of a row lie in a heap tuple. */
typedef struct StediLayout StediLayout;

/* In the current memory context.  desc is kept, and must live as long. */
extern StediLayout *stedi_layout_create(TupleDesc desc);

/*
 * heap_form_tuple() in less time, palloc'd.  Values of the rarer kinds, for example
 * out of line, are left to the original.
 */
extern HeapTuple stedi_form_tuple(const StediLayout *layout, const Datum *values, const bool *nulls);

/*
 * The same at an address that is aligned to the maximum, from the tuple's header on.
 * The length; 0 if it may be longer than size, or if a value is of the rarer kinds.
 */
extern Size stedi_form_tuple_at(const StediLayout *layout, const Datum *values, const bool *nulls,
								char *address, Size size);

#endif							/* STEDI_PG_TUPLE_H */
