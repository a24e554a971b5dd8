/*
 * wal.c
 *		Not waiting for the write-ahead log.
 */
#include "postgres.h"

#include "access/xlog.h"

#include "pg/wal.h"

/* The WAL writer is woken for each of so many parts of the buffers of the WAL. */
#define PARTS 8

void
stedi_wake_wal_writer(void)
{
	static XLogRecPtr announced = 0;

	if (XactLastRecEnd < announced + (XLogRecPtr) XLOGbuffers * XLOG_BLCKSZ / PARTS)
		return;
	XLogSetAsyncXactLSN(XactLastRecEnd);
	announced = XactLastRecEnd;
}
