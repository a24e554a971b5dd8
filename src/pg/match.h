/*
 * match.h
 *		Matching devices and phones by the moments of their readings.
 */
#ifndef STEDI_PG_MATCH_H
#define STEDI_PG_MATCH_H

#include "pg/sink.h"

/* At the start of the library, in parallel workers, too. */
extern void stedi_match_init(void);

/* Takes all readings of a landing table, for stedi.match_devices(). */
extern const StediSink stedi_reading_sink;

#endif							/* STEDI_PG_MATCH_H */
