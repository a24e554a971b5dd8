/*
 * scan.h
 *		From an open object to its records: read, decompress, split.
 */
#ifndef STEDI_PG_SCAN_H
#define STEDI_PG_SCAN_H

#include "core/codec.h"
#include "core/json_reader.h"

#include "pg/lake.h"

typedef struct StediScan StediScan;

/*
 * Scan what get delivers.  The scan takes get over and closes it.  Bound to the
 * current memory context; the lake must outlive it.
 */
extern StediScan *stedi_scan_begin(StediLake *lake, StediGet *get,
								   const StediJsonSchema *schema,
								   StediCompression compression, bool want_rescued);

/*
 * RECORD, REJECT or END; FAILED with a status when the object cannot be read to
 * its end.  Throws only for interrupts and when out of memory.
 */
extern StediJsonEvent stedi_scan_next(StediScan *scan, StediJsonRecord *record,
									  StediStatus *status);

extern uint64 stedi_scan_line(const StediScan *scan);	/* of the last record or reject */
extern uint64 stedi_scan_bytes(const StediScan *scan);	/* decompressed, so far */
extern uint64 stedi_scan_stored_bytes(const StediScan *scan);	/* as stored, so far */
extern int64 stedi_scan_waited(const StediScan *scan);	/* microseconds, for bytes of the store */

extern void stedi_scan_end(StediScan *scan);	/* idempotent, never throws */

/* "auto", "none", "gzip" or "zstd"; 22023 for others. */
extern StediCompression stedi_compression_option(const char *value, bool reading);
extern const char *stedi_compression_name(StediCompression compression);

#endif							/* STEDI_PG_SCAN_H */
