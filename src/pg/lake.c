/*
 * lake.c
 *		A URI opened in a backend: the store, its waiter, and who may use it.
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/acl.h"

#include "pg/credentials.h"
#include "pg/error.h"
#include "pg/lake.h"
#include "pg/server.h"
#include "pg/settings.h"

#define MAX_RANGES	16			/* of one object; more need many descriptors and gain nothing */

static void check_file_access(StediAccess access);
static StediStore *open_s3(StediLake *lake, const char *uri, StediStatus *status);
static void release_lake(void *arg);

StediLake *
stedi_lake_open(const char *uri, StediAccess access, bool literal)
{
	StediLake  *lake = palloc0(sizeof(StediLake));
	StediStatus status = {0};

	if (GetDatabaseEncoding() != PG_UTF8)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("stedi needs a database with encoding UTF8"),
				 errhint("CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0;")));

	/* From here on everything is released with the context. */
	stedi_wait_init(&lake->wait);
	lake->callback.func = release_lake;
	lake->callback.arg = lake;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &lake->callback);

	if (!stedi_uri_parse(uri, literal, &lake->uri, &status))
		stedi_report(&status);

	if (lake->uri.scheme == STEDI_SCHEME_FILE)
	{
		check_file_access(access);
		lake->store = stedi_store_open_file(stedi_waiter(&lake->wait), &status);
	}
	else
		lake->store = open_s3(lake, uri, &status);
	if (lake->store == NULL)
		stedi_report(&status);

	for (int wanted = stedi_store_max_fds(lake->store); lake->reserved_fds < wanted; lake->reserved_fds++)
	{
		if (!AcquireExternalFD())
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
					 errmsg("too many open file descriptors"),
					 errhint("Lower stedi.concurrency, or raise max_files_per_process.")));
	}
	return lake;
}

/* The same roles, and the same words, as COPY. */
static void
check_file_access(StediAccess access)
{
	if (access == STEDI_READ && !has_privs_of_role(GetUserId(), ROLE_PG_READ_SERVER_FILES))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to read files of the server"),
				 errhint("GRANT pg_read_server_files TO %s;",
						 GetUserNameFromId(GetUserId(), false))));
	if (access == STEDI_WRITE && !has_privs_of_role(GetUserId(), ROLE_PG_WRITE_SERVER_FILES))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to write files of the server"),
				 errhint("GRANT pg_write_server_files TO %s;",
						 GetUserNameFromId(GetUserId(), false))));
}

static StediStore *
open_s3(StediLake *lake, const char *uri, StediStatus *status)
{
	StediServer *server = stedi_server_for_uri(uri);
	StediS3Config config = {0};

	lake->server = server;
	config.bucket = lake->uri.bucket;
	config.region = server->region;
	config.endpoint = server->endpoint;
	config.url_style = server->url_style;
	config.ca_file = server->ca_file;
	config.proxy = server->proxy;
	config.credentials = stedi_server_credentials(server);
	config.access_key_id = server->access_key_id;
	config.secret_access_key = server->secret_access_key;
	config.session_token = server->session_token;
	config.server_side_encryption = server->server_side_encryption;
	config.kms_key_id = server->kms_key_id;
	config.storage_class = server->storage_class;
	config.requester_pays = server->requester_pays;
	config.user_agent = "stedi/" STEDI_VERSION;
	config.max_attempts = stedi_max_attempts;
	config.connect_timeout_ms = stedi_connect_timeout;
	config.idle_timeout_ms = stedi_idle_timeout;
	config.max_connections = stedi_concurrency + stedi_upload_concurrency;
	config.get_buffer_size = (size_t) stedi_prefetch_size * 1024;
	config.max_ranges = Min(stedi_concurrency, MAX_RANGES) - 1;
	config.part_size = (size_t) stedi_part_size * 1024;
	config.max_parts_in_flight = stedi_upload_concurrency;
	return stedi_store_open_s3(&config, stedi_waiter(&lake->wait), status);
}

void
stedi_lake_close(StediLake *lake)
{
	stedi_store_close(lake->store);
	lake->store = NULL;
	stedi_wait_free(&lake->wait);
	stedi_uri_free(&lake->uri);
	for (; lake->reserved_fds > 0; lake->reserved_fds--)
		ReleaseExternalFD();
}

static void
release_lake(void *arg)
{
	stedi_lake_close(arg);
}

char *
stedi_lake_uri(const StediLake *lake, const char *key)
{
	char	   *uri = stedi_uri_format(lake->uri.scheme, lake->uri.bucket, key);
	char	   *copy;

	if (uri == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	copy = pstrdup(uri);
	free(uri);
	return copy;
}

StediLakeListing *
stedi_lake_list(StediLake *lake, const char *after)
{
	StediLakeListing *listing = palloc0(sizeof(StediLakeListing));
	StediStatus status = {0};
	char	   *prefix;

	listing->lake = lake;
	if (!lake->uri.is_prefix && !lake->uri.is_glob)
	{
		listing->done = after != NULL && strcmp(lake->uri.key, after) <= 0;
		return listing;
	}

	prefix = pnstrdup(lake->uri.key, lake->uri.prefix_length);
	listing->listing = stedi_store_list(lake->store, prefix, &status);
	if (listing->listing == NULL ||
		(after != NULL && !stedi_listing_after(listing->listing, after, &status)))
		stedi_lake_fail(lake, &status);
	return listing;
}

StediObject *
stedi_lake_next(StediLakeListing *listing)
{
	StediLake  *lake = listing->lake;
	StediStatus status = {0};
	StediObject object;
	StediObject *copy;

	if (listing->done)
		return NULL;

	if (listing->listing == NULL)
	{
		listing->done = true;
		if (!stedi_store_head(lake->store, lake->uri.key, &object, &status))
		{
			if (status.code == STEDI_NOT_FOUND && status.hint[0] == '\0')
				stedi_status_hint(&status, "To name everything below a prefix, end it with '/'.");
			stedi_lake_fail(lake, &status);
		}
	}
	else
	{
		for (;;)
		{
			int			got = stedi_listing_next(listing->listing, &object, &status);

			if (got < 0)
				stedi_lake_fail(lake, &status);
			if (got == 0)
			{
				listing->done = true;
				stedi_listing_close(listing->listing);
				listing->listing = NULL;
				return NULL;
			}
			if (stedi_uri_matches(&lake->uri, object.key))
				break;
			stedi_object_free(&object);
		}
	}

	copy = stedi_object_keep(&object);
	stedi_object_free(&object);
	return copy;
}

StediObject *
stedi_object_keep(const StediObject *object)
{
	StediObject *copy = palloc(sizeof(StediObject));

	*copy = *object;
	copy->key = pstrdup(object->key);
	copy->etag = pstrdup(object->etag != NULL ? object->etag : "");
	copy->version_id = object->version_id != NULL ? pstrdup(object->version_id) : NULL;
	return copy;
}

TimestampTz
stedi_unix_timestamp(int64 microseconds)
{
	return microseconds - (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
}

void
stedi_lake_no_match(const StediLake *lake)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_FILE),
			 errmsg("no object matches \"%s\"", stedi_lake_uri(lake, lake->uri.key)),
			 errhint("A prefix ends in '/'; names that begin with '_' or '.' are skipped.")));
}

void
stedi_lake_fail(StediLake *lake, const StediStatus *status)
{
	if (lake->wait.error != NULL)
	{
		ErrorData  *error = lake->wait.error;

		lake->wait.error = NULL;
		ReThrowError(error);
	}
	stedi_report(status);
}

void
stedi_lake_check(StediLake *lake)
{
	if (lake->wait.error != NULL)
		stedi_lake_fail(lake, NULL);
	CHECK_FOR_INTERRUPTS();
}
