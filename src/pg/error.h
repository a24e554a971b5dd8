/*
 * error.h
 *		From StediStatus to ereport().
 */
#ifndef STEDI_PG_ERROR_H
#define STEDI_PG_ERROR_H

#include "core/json_reader.h"
#include "core/status.h"

#include "pg/compat.h"

/* The SQLSTATE of a status code, and of a damaged region. */
extern int	stedi_sqlstate(StediCode code);
extern int	stedi_fault_sqlstate(StediJsonFault fault);

/* ereport(ERROR) with the status's code, message, detail and hint. */
pg_noreturn extern void stedi_report(const StediStatus *status);

/* message, and the detail in brackets: one line for a ledger; palloc'd */
extern char *stedi_status_line(const StediStatus *status);

#endif							/* STEDI_PG_ERROR_H */
