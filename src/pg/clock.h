/*
 * clock.h
 *		Time that a stage of a load takes.
 */
#ifndef STEDI_PG_CLOCK_H
#define STEDI_PG_CLOCK_H

#include "portability/instr_time.h"

/* Add what has passed since begun to total. */
static inline void
stedi_add_time(instr_time *total, instr_time begun)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	INSTR_TIME_ACCUM_DIFF(*total, now, begun);
}

#endif							/* STEDI_PG_CLOCK_H */
