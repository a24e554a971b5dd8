/*
 * error.c
 *		From StediStatus to ereport().
 */
#include "postgres.h"

#include "access/xact.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/elog.h"

#include "pg/error.h"

static const struct
{
	StediCode	code;
	int			sqlstate;
}			status_sqlstates[] =
{
	{STEDI_CANCELLED, ERRCODE_QUERY_CANCELED},
	{STEDI_BAD_ARGUMENT, ERRCODE_INVALID_PARAMETER_VALUE},
	{STEDI_UNSUPPORTED, ERRCODE_FEATURE_NOT_SUPPORTED},
	{STEDI_DENIED, ERRCODE_INSUFFICIENT_PRIVILEGE},
	{STEDI_CREDENTIALS, ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION},
	{STEDI_NOT_FOUND, ERRCODE_UNDEFINED_FILE},
	{STEDI_EXISTS, ERRCODE_DUPLICATE_FILE},
	{STEDI_CONNECTION, ERRCODE_CONNECTION_FAILURE},
	{STEDI_THROTTLED, ERRCODE_CONFIGURATION_LIMIT_EXCEEDED},
	{STEDI_LIMIT, ERRCODE_PROGRAM_LIMIT_EXCEEDED},
	{STEDI_CHANGED, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE},
	{STEDI_CORRUPT, ERRCODE_IO_ERROR},
	{STEDI_PROTOCOL, ERRCODE_PROTOCOL_VIOLATION},
	{STEDI_IO, ERRCODE_IO_ERROR},
	{STEDI_NO_MEMORY, ERRCODE_OUT_OF_MEMORY},
};

int
stedi_sqlstate(StediCode code)
{
	for (int i = 0; i < (int) lengthof(status_sqlstates); i++)
	{
		if (status_sqlstates[i].code == code)
			return status_sqlstates[i].sqlstate;
	}
	return ERRCODE_INTERNAL_ERROR;
}

int
stedi_fault_sqlstate(StediJsonFault fault)
{
	switch (fault)
	{
		case STEDI_JSON_FAULT_UTF8:
			return ERRCODE_CHARACTER_NOT_IN_REPERTOIRE;
		case STEDI_JSON_FAULT_DEPTH:
		case STEDI_JSON_FAULT_SIZE:
			return ERRCODE_PROGRAM_LIMIT_EXCEEDED;
		case STEDI_JSON_FAULT_NONE:
		case STEDI_JSON_FAULT_SYNTAX:
		case STEDI_JSON_FAULT_TRUNCATED:
		case STEDI_JSON_FAULT_NOT_OBJECT:
			break;
	}
	return ERRCODE_INVALID_JSON_TEXT;
}

/* What came from the network need not be valid UTF-8; a message has to be. */
static const char *
valid_text(const char *text)
{
	char	   *copy;

	if (pg_verifymbstr(text, strlen(text), true))
		return text;
	copy = pstrdup(text);
	for (char *p = copy; *p; p++)
	{
		if (IS_HIGHBIT_SET(*p))
			*p = '?';
	}
	return copy;
}

void
stedi_report(const StediStatus *status)
{
	ereport(ERROR,
			(errcode(stedi_sqlstate(status->code)),
			 errmsg("%s", valid_text(status->message)),
			 status->detail[0] ? errdetail("%s", valid_text(status->detail)) : 0,
			 status->hint[0] ? errhint("%s", status->hint) : 0));
}

bool
stedi_concerns_source(int sqlstate)
{
	switch (ERRCODE_TO_CATEGORY(sqlstate))
	{
		case ERRCODE_OPERATOR_INTERVENTION: /* cancel, shutdown */
		case ERRCODE_TRANSACTION_ROLLBACK:
		case ERRCODE_INTERNAL_ERROR:
			return false;
		case ERRCODE_INSUFFICIENT_RESOURCES:
			return sqlstate == ERRCODE_CONFIGURATION_LIMIT_EXCEEDED;	/* throttled */
	}
	return true;
}

void
stedi_warn_source(const char *source, const ErrorData *error)
{
	ereport(WARNING,
			(errcode(error->sqlerrcode),
			 errmsg("source %s could not be loaded to the end", source),
			 errdetail("%s", error->message),
			 error->hint != NULL ? errhint("%s", error->hint) : 0));
}

char *
stedi_status_line(const StediStatus *status)
{
	if (status->detail[0] == '\0')
		return pstrdup(valid_text(status->message));
	return psprintf("%s (%s)", valid_text(status->message), valid_text(status->detail));
}

char *
stedi_printable(const char *name)
{
	char	   *copy = pstrdup(valid_text(name));

	stedi_clean_text(copy);
	return copy;
}

ErrorData *
stedi_rollback_caught(MemoryContext context, ResourceOwner owner)
{
	ErrorData  *error;

	MemoryContextSwitchTo(context);
	error = CopyErrorData();
	FlushErrorState();
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return error;
}

void
stedi_rollback_and_rethrow(MemoryContext context, ResourceOwner owner)
{
	ReThrowError(stedi_rollback_caught(context, owner));
}
