/*
 * error.h
 *		From StediStatus to ereport().
 */
#ifndef STEDI_PG_ERROR_H
#define STEDI_PG_ERROR_H

#include "utils/elog.h"
#include "utils/resowner.h"

#include "core/json_reader.h"
#include "core/status.h"

#include "pg/compat.h"

/* The SQLSTATE of a status code, and of a damaged region. */
extern int	stedi_sqlstate(StediCode code);
extern int	stedi_fault_sqlstate(StediJsonFault fault);

/* ereport(ERROR) with the status's code, message, detail and hint. */
pg_noreturn extern void stedi_report(const StediStatus *status);

/* Is an error of loading a source one of that source, and no reason to give up on
 * the others? */
extern bool stedi_concerns_source(int sqlstate);

/* The warning that it was not loaded, and why. */
extern void stedi_warn_source(const char *source, const ErrorData *error);

/* message, and the detail in brackets: one line for a ledger; palloc'd */
extern char *stedi_status_line(const StediStatus *status);

/* The name of an object for a message: without the control characters that keys
 * may have and terminals obey; palloc'd. */
extern char *stedi_printable(const char *name);

/*
 * In PG_CATCH: roll the current internal subtransaction back and go on as if the
 * error had been thrown outside of it; context must outlive the subtransaction.
 * stedi_rollback_caught() returns the error, palloc'd in context, instead.
 */
extern ErrorData *stedi_rollback_caught(MemoryContext context, ResourceOwner owner);
pg_noreturn extern void stedi_rollback_and_rethrow(MemoryContext context, ResourceOwner owner);

#endif							/* STEDI_PG_ERROR_H */
