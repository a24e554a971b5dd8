/*
 * whoami.c
 *		stedi.whoami(): as whom, and where, a URI would be read and written.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "common/username.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "store/credentials.h"

#include "pg/error.h"
#include "pg/lake.h"

#define KEY_ENDS			4	/* characters of a key id that are shown at each end */
#define MIN_KEY_SHOWN		16	/* of a shorter one too little would be hidden */

enum
{
	WHOAMI_SERVER,
	WHOAMI_SCOPE,
	WHOAMI_REGION,
	WHOAMI_ENDPOINT,
	WHOAMI_URL_STYLE,
	WHOAMI_CREDENTIALS,
	WHOAMI_ACCESS_KEY_ID,
	WHOAMI_EXPIRES_AT,
	WHOAMI_ROLE_ARN,
	WHOAMI_COLUMNS
};

PG_FUNCTION_INFO_V1(stedi_whoami);

static void describe_server(StediLake *lake, Datum *values, bool *nulls);
static void set_text(Datum *values, bool *nulls, int column, const char *text);
static char *shorten(const char *access_key_id);

PGDLLEXPORT Datum
stedi_whoami(PG_FUNCTION_ARGS)
{
	StediLake  *lake = stedi_lake_open(text_to_cstring(PG_GETARG_TEXT_PP(0)), STEDI_READ, true);
	TupleDesc	desc;
	Datum		values[WHOAMI_COLUMNS];
	bool		nulls[WHOAMI_COLUMNS];

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	memset(nulls, true, sizeof(nulls));
	if (lake->server != NULL)
		describe_server(lake, values, nulls);
	else
	{
		char	   *error;
		const char *user = get_user_name(&error);

		set_text(values, nulls, WHOAMI_ENDPOINT, "file://");
		set_text(values, nulls, WHOAMI_CREDENTIALS, user == NULL ? "operating system" :
				 psprintf("operating system user \"%s\"", user));
	}
	stedi_lake_close(lake);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

static void
describe_server(StediLake *lake, Datum *values, bool *nulls)
{
	const StediServer *server = lake->server;
	const StediCredentials *credentials;
	StediStoreIdentity identity;
	StediStatus status = {0};

	if (!stedi_store_identify(lake->store, &identity, &status))
		stedi_lake_fail(lake, &status);
	set_text(values, nulls, WHOAMI_SERVER, server->name);
	set_text(values, nulls, WHOAMI_SCOPE, server->scope);
	set_text(values, nulls, WHOAMI_REGION, identity.region);
	set_text(values, nulls, WHOAMI_ENDPOINT, identity.url);
	free(identity.url);
	set_text(values, nulls, WHOAMI_URL_STYLE,
			 server->url_style == STEDI_URL_STYLE_PATH ? "path" : "virtual");

	credentials = identity.credentials;
	if (credentials == NULL)
	{
		set_text(values, nulls, WHOAMI_CREDENTIALS, "anonymous");
		return;
	}
	/* names of profiles, paths and roles come from outside of the database */
	set_text(values, nulls, WHOAMI_CREDENTIALS, stedi_printable(credentials->source));
	set_text(values, nulls, WHOAMI_ACCESS_KEY_ID, shorten(credentials->access_key_id));
	if (credentials->role_arn != NULL)
		set_text(values, nulls, WHOAMI_ROLE_ARN, stedi_printable(credentials->role_arn));
	if (credentials->expires_at != 0)
	{
		values[WHOAMI_EXPIRES_AT] =
			TimestampTzGetDatum(stedi_unix_timestamp(credentials->expires_at * USECS_PER_SEC));
		nulls[WHOAMI_EXPIRES_AT] = false;
	}
}

static void
set_text(Datum *values, bool *nulls, int column, const char *text)
{
	nulls[column] = text == NULL;
	if (text != NULL)
		values[column] = CStringGetTextDatum(text);
}

/* Enough to tell keys apart. */
static char *
shorten(const char *access_key_id)
{
	size_t		length = strlen(access_key_id);

	if (length < MIN_KEY_SHOWN)
		return pstrdup("\342\200\246");
	return psprintf("%.*s\342\200\246%s", KEY_ENDS, access_key_id, access_key_id + length - KEY_ENDS);
}
