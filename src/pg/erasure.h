/*
 * erasure.h
 *		People who asked to be forgotten, as a load sees them.
 */
#ifndef STEDI_PG_ERASURE_H
#define STEDI_PG_ERASURE_H

#include "access/tupdesc.h"

typedef struct StediErasures StediErasures;

/*
 * What must not be loaded into rows of type desc: by the column email where
 * there is one, else by serial_number.  NULL: nobody was forgotten.  Lives in the
 * current memory context.  SPI must be connected.
 */
extern StediErasures *stedi_erasures_load(TupleDesc desc);

/* Is the row of somebody who was forgotten?  erasures may be NULL. */
extern bool stedi_erased_row(StediErasures *erasures, const Datum *values, const bool *nulls);

/* Take what names such a person out of the row's rescued keys.  erasures may be NULL. */
extern void stedi_erase_rescued(StediErasures *erasures, Datum *values, bool *nulls);

/* Does a damaged record name somebody who was forgotten?  erasures may be NULL. */
extern bool stedi_erased_text(StediErasures *erasures, const char *text, size_t length);

#endif							/* STEDI_PG_ERASURE_H */
