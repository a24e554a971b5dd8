/*
 * ledger.h
 *		stedi.object and stedi.reject.
 *
 * The ledger belongs to the extension's owner, in whose name these functions
 * touch it: whoever may load needs no rights on it.  SPI must be connected.
 */
#ifndef STEDI_PG_LEDGER_H
#define STEDI_PG_LEDGER_H

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"

#include "core/s3_xml.h"

typedef struct StediLedgerEntry
{
	const char *source;			/* NULL: load() */
	Oid			target;
	const char *uri;
	const StediObject *object;
} StediLedgerEntry;

/*
 * Which of n listed objects are still to be loaded into target?  Sets pending[i].
 */
extern void stedi_ledger_pending(Oid target, int n, char *const *uris,
								 const StediObject *objects, bool *pending);

/* Enter an object, or take up its row again; returns its object_id. */
extern int32 stedi_ledger_begin(const StediLedgerEntry *entry);

/* Where the rows of an object lie in its target, unless they were moved. */
typedef struct StediExtent
{
	int32		object_id;
	int64		rows;
	Oid			filenode;		/* InvalidOid: not known */
	int64		first_block;
	int64		last_block;
} StediExtent;

/*
 * Older versions of the object, and what this one has loaded before, no longer
 * count: mark them, drop their rejects, and return what rows they left (list of
 * StediExtent).
 */
extern List *stedi_ledger_supersede(const StediLedgerEntry *entry, int32 object_id);

typedef struct StediLedgerResult
{
	const char *status;			/* loaded, partial, failed */
	int64		rows;
	int64		rejects;
	int64		erased;			/* records of people who were forgotten */
	int64		bytes;
	int64		elapsed;		/* microseconds */
	const char *error;			/* or NULL */
	StediExtent extent;
} StediLedgerResult;

extern void stedi_ledger_finish(int32 object_id, const StediLedgerResult *result);

/* The object could not be loaded.  What an earlier load of it left stays, and stays
 * loaded. */
extern void stedi_ledger_fail(const StediLedgerEntry *entry, const StediLedgerResult *result);

typedef struct StediReject
{
	int64		record_no;
	int64		byte_offset;
	int64		byte_length;
	int64		line;
	const char *column_name;	/* or NULL */
	int			sqlstate;
	const char *message;
	const char *raw;
	size_t		raw_length;		/* clipped to STEDI_JSON_REJECT_KEEP */
} StediReject;

extern void stedi_ledger_reject(int32 object_id, const StediReject *reject);

/* Become the extension's owner, and oneself again; an error does the latter too. */
typedef struct StediIdentity
{
	Oid			userid;
	int			sec_context;
	int			guc_level;
} StediIdentity;

extern StediIdentity stedi_become_owner(void);
extern void stedi_become_self(StediIdentity self);

#endif							/* STEDI_PG_LEDGER_H */
