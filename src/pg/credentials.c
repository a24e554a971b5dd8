/*
 * credentials.c
 *		The credentials that a backend has got for a server.
 *
 * What the chain or a role gave is kept per server and user for the session, in
 * memory only: asking for it takes a round trip or a program each time.  Any
 * change of a server or user mapping empties the cache; a store that is open
 * keeps its provider.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "pg/credentials.h"
#include "pg/error.h"
#include "pg/settings.h"

typedef struct CacheEntry
{
	Oid			serverid;
	Oid			userid;
	StediCredentialProvider *provider;
	struct CacheEntry *next;
} CacheEntry;

static CacheEntry *cache = NULL;

static void watch_catalogs(void);
static void empty_cache(Datum arg, int cacheid, uint32 hashvalue);

StediCredentialProvider *
stedi_server_credentials(const StediServer *server)
{
	StediCredentialSettings settings = {
		.access_key_id = server->access_key_id,
		.secret_access_key = server->secret_access_key,
		.session_token = server->session_token,
		.profile = server->profile,
		.role_arn = server->role_arn,
		.external_id = server->external_id,
		.sts_endpoint = server->sts_endpoint,
		.region = server->region,
		.ca_file = server->ca_file,
		.proxy = server->proxy,
		.user_agent = "stedi/" STEDI_VERSION,
	};
	StediStatus status = {0};
	CacheEntry *entry;

	if (server->is_anonymous || (server->access_key_id != NULL && server->role_arn == NULL))
		return NULL;
	for (entry = cache; entry != NULL; entry = entry->next)
	{
		if (entry->serverid == server->serverid && entry->userid == GetUserId())
			return entry->provider;
	}

	watch_catalogs();
	entry = MemoryContextAlloc(TopMemoryContext, sizeof(CacheEntry));
	entry->serverid = server->serverid;
	entry->userid = GetUserId();
	entry->provider = stedi_credential_provider_open(&settings, &status);
	if (entry->provider == NULL)
	{
		pfree(entry);
		stedi_report(&status);
	}
	entry->next = cache;
	cache = entry;
	return entry->provider;
}

static void
watch_catalogs(void)
{
	static bool watching = false;

	if (watching)
		return;
	CacheRegisterSyscacheCallback(FOREIGNSERVEROID, empty_cache, (Datum) 0);
	CacheRegisterSyscacheCallback(USERMAPPINGOID, empty_cache, (Datum) 0);
	watching = true;
}

static void
empty_cache(Datum arg, int cacheid, uint32 hashvalue)
{
	while (cache != NULL)
	{
		CacheEntry *entry = cache;

		cache = entry->next;
		stedi_credential_provider_release(entry->provider);
		pfree(entry);
	}
}
