/*
 * status.h
 *		How core and store report failure without exceptions.
 *
 * Functions that can fail take a StediStatus and fill it once, at the place
 * that knows most.  The backend side turns it into ereport(): the code picks
 * the SQLSTATE, message becomes errmsg, detail errdetail, hint errhint.
 *
 * message: lower case, no full stop.  detail and hint: sentences.  None of the
 * three may ever hold a secret, a signature or a token, and text that came from
 * the network is cleaned (no control characters) and clipped before it is put
 * into detail; stedi_status_set() does both.
 */
#ifndef STEDI_CORE_STATUS_H
#define STEDI_CORE_STATUS_H

#include <stdbool.h>
#include <stddef.h>

typedef enum StediCode
{
	STEDI_OK = 0,
	STEDI_CANCELLED,			/* the waiter said stop; 57014 or what it saved */
	STEDI_BAD_ARGUMENT,			/* 22023 bad option or URI */
	STEDI_UNSUPPORTED,			/* 0A000 scheme or feature */
	STEDI_DENIED,				/* 42501 the store refused access */
	STEDI_CREDENTIALS,			/* 28000 credentials missing or refused */
	STEDI_NOT_FOUND,			/* 58P01 no such bucket, key or file */
	STEDI_EXISTS,				/* 58P02 object exists and may not */
	STEDI_CONNECTION,			/* 08006 unreachable, reset, timed out */
	STEDI_THROTTLED,			/* 53400 still throttled after all attempts */
	STEDI_LIMIT,				/* 54000 a configured or protocol limit */
	STEDI_CHANGED,				/* 55000 object is not the version listed */
	STEDI_CORRUPT,				/* 58030 body damaged: length, checksum, gzip */
	STEDI_PROTOCOL,				/* 08P01 reply that makes no sense */
	STEDI_IO,					/* 58030 operating system error */
	STEDI_NO_MEMORY				/* 53200 */
} StediCode;

#define STEDI_MESSAGE_SIZE	320
#define STEDI_DETAIL_SIZE	1400	/* a 1,024-byte key and what goes with it */
#define STEDI_HINT_SIZE		320

typedef struct StediStatus
{
	StediCode	code;
	char		message[STEDI_MESSAGE_SIZE];
	char		detail[STEDI_DETAIL_SIZE];
	char		hint[STEDI_HINT_SIZE];
} StediStatus;

/*
 * Set code and message (printf style), clear detail and hint.  Always returns
 * false, so that a function can end with "return stedi_status_set(...)".
 */
extern bool stedi_status_set(StediStatus *status, StediCode code,
							 const char *format,...)
			__attribute__((format(printf, 3, 4)));

/* Add detail or hint to a status that has a code.  Control characters in the
 * result become '?', over-long text is clipped at a UTF-8 boundary. */
extern void stedi_status_detail(StediStatus *status, const char *format,...)
			__attribute__((format(printf, 2, 3)));
extern void stedi_status_hint(StediStatus *status, const char *format,...)
			__attribute__((format(printf, 2, 3)));

/* What the above do to control characters, in place. */
extern void stedi_clean_text(char *text);

extern void stedi_status_clear(StediStatus *status);

#endif							/* STEDI_CORE_STATUS_H */
