/*
 * s3.c
 *		The object store on S3: opening, listing, and the small calls.
 *
 * One store is one bucket.  The bucket's region and the server's clock, when
 * they turn out to differ from what was configured or assumed, are remembered
 * here for all later requests.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "store/s3_internal.h"

#define DEFAULT_REGION		"us-east-1"
#define MIN_PART_SIZE		(5 * 1024 * 1024)	/* S3 refuses smaller ones */

/* A page holds 1,000 entries; each may take 3 kB when every byte of a key of
 * 1,024 bytes is escaped, and the rest of an entry some 500 bytes. */
#define PAGE_LIMIT			(16 * 1024 * 1024)
#define PAGE_ENTRIES		"1000"

/* Nobody has so many uploads under way; a server that goes round in circles does. */
#define MAX_UPLOAD_PAGES	100

typedef struct S3Listing
{
	StediListing base;
	S3Request	request;
	char	   *prefix;
	StediListPage page;
	size_t		next;			/* object of the page */
	bool		started;		/* page is one of the listing */
	char	   *token;			/* of the page after this one; NULL: there is none */
	char	   *last_key;		/* given out last */
	StediStatus failure;
} S3Listing;

static bool copy_text(const char **to, const char *from);
static bool copy_config(S3Store *store, const StediS3Config *config, StediStatus *status);
static bool parse_endpoint(S3Store *store, const char *endpoint, StediStatus *status);
static void s3_close(StediStore *base);
static bool fetch_page(S3Listing *listing, StediStatus *status);
static bool check_order(S3Listing *listing, const StediObject *object, StediStatus *status);
static int	connections(const StediS3Config *config);
static bool add_uploads(StediUploadPage *to, StediUploadPage *page, const char *prefix,
						StediStatus *status);

static bool
copy_text(const char **to, const char *from)
{
	*to = from != NULL ? strdup(from) : NULL;
	return from == NULL || *to != NULL;
}

/* After this, whether it succeeds or not, s3_close() frees the copies. */
static bool
copy_config(S3Store *store, const StediS3Config *config, StediStatus *status)
{
	const char *region = config->region ? config->region : DEFAULT_REGION;
	StediS3Config *copy = &store->config;
	StediCredentialSettings keys = {
		.access_key_id = config->access_key_id,
		.secret_access_key = config->secret_access_key,
		.session_token = config->session_token,
	};
	bool		copied;

	*copy = *config;
	copy->region = NULL;
	copy->endpoint = NULL;
	copy->credentials = NULL;	/* the store's own */
	copy->access_key_id = NULL;
	copy->secret_access_key = NULL;
	copy->session_token = NULL;
	copy->ca_file = NULL;		/* these three are the engine's */
	copy->proxy = NULL;
	copy->user_agent = NULL;
	/* every one is overwritten before anything can fail */
	copied = copy_text(&copy->bucket, config->bucket);
	copied &= copy_text(&copy->server_side_encryption, config->server_side_encryption);
	copied &= copy_text(&copy->kms_key_id, config->kms_key_id);
	copied &= copy_text(&copy->storage_class, config->storage_class);
	if (!copied)
		return stedi_no_memory(status);
	if (config->credentials != NULL)
		store->credentials = stedi_credential_provider_retain(config->credentials);
	else if (config->access_key_id != NULL)
	{
		store->credentials = stedi_credential_provider_open(&keys, status);
		if (store->credentials == NULL)
			return false;
	}

	/* it becomes part of a host name */
	if (region[0] == '\0' || strlen(region) >= sizeof(store->region) ||
		strspn(region, "abcdefghijklmnopqrstuvwxyz0123456789-") != strlen(region))
		return stedi_status_set(status, STEDI_BAD_ARGUMENT, "invalid region \"%s\"", region);
	strcpy(store->region, region);
	store->region_is_default = config->region == NULL;
	if (config->part_size < MIN_PART_SIZE)
		return stedi_status_set(status, STEDI_BAD_ARGUMENT,
								"part size must be at least %d bytes", MIN_PART_SIZE);
	if (copy->max_attempts < 1)
		copy->max_attempts = 1;
	if (copy->max_parts_in_flight < 1)
		copy->max_parts_in_flight = 1;
	if (copy->max_ranges < 0)
		copy->max_ranges = 0;
	if (copy->max_connections < 1)
		copy->max_connections = 1;
	return true;
}

/*
 * "https://host[:port][/]": sets scheme and authority.  Anything beyond is
 * refused, and not repeated when it may hold a password.
 */
static bool
parse_endpoint(S3Store *store, const char *endpoint, StediStatus *status)
{
	const char *host;
	const char *default_port = "";
	size_t		length;
	size_t		port;

	if (strncasecmp(endpoint, "https://", 8) == 0)
	{
		store->scheme = "https";
		default_port = ":443";
		host = endpoint + 8;
	}
	else if (strncasecmp(endpoint, "http://", 7) == 0)
	{
		store->scheme = "http";
		default_port = ":80";
		host = endpoint + 7;
	}
	else
		host = "";

	length = strcspn(host, "/");
	if (length == 0 || strspn(host + length, "/") != strlen(host + length) ||
		strlen(host + length) > 1 ||
		strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]") < length)
	{
		if (strchr(endpoint, '@') != NULL)
			stedi_status_set(status, STEDI_BAD_ARGUMENT, "invalid endpoint");
		else
			stedi_status_set(status, STEDI_BAD_ARGUMENT, "invalid endpoint \"%s\"", endpoint);
		stedi_status_hint(status, "An endpoint is \"https://host\" or \"https://host:port\", or the same with \"http://\".");
		return false;
	}

	/* the Host header that is signed has no port that goes without saying */
	port = strlen(default_port);
	if (length > port && strncmp(host + length - port, default_port, port) == 0)
		length -= port;
	store->authority = strndup(host, length);
	if (store->authority == NULL)
		return stedi_no_memory(status);
	for (char *p = store->authority; *p; p++)
		*p = (char) tolower((unsigned char) *p);
	return true;
}

static void
s3_close(StediStore *base)
{
	S3Store    *store = (S3Store *) base;

	stedi_http_close(store->http);
	stedi_credential_provider_release(store->credentials);
	free((char *) store->config.bucket);
	free((char *) store->config.server_side_encryption);
	free((char *) store->config.kms_key_id);
	free((char *) store->config.storage_class);
	free(store->authority);
	free(store);
}

static StediListing *
s3_list(StediStore *base, const char *prefix, StediStatus *status)
{
	S3Listing  *listing = calloc(1, sizeof(*listing));

	if (listing != NULL)
		listing->prefix = strdup(prefix);
	if (listing == NULL || listing->prefix == NULL)
	{
		free(listing);
		stedi_no_memory(status);
		return NULL;
	}
	listing->base.handle.store = base;
	return &listing->base;
}

static int
s3_listing_next(StediListing *base, StediObject *object, StediStatus *status)
{
	S3Listing  *listing = (S3Listing *) base;

	if (listing->failure.code != STEDI_OK)
	{
		*status = listing->failure;
		return -1;
	}
	while (listing->next == listing->page.n_objects)
	{
		if (listing->started && listing->token == NULL)
			return 0;
		if (!fetch_page(listing, status))
		{
			/* another page could be asked for again, but nobody needs that */
			listing->failure = *status;
			return -1;
		}
	}

	if (!check_order(listing, &listing->page.objects[listing->next], status))
	{
		listing->failure = *status;
		return -1;
	}
	*object = listing->page.objects[listing->next];
	memset(&listing->page.objects[listing->next], 0, sizeof(*object));
	listing->next++;
	return 1;
}

static bool
fetch_page(S3Listing *listing, StediStatus *status)
{
	S3Store    *store = (S3Store *) listing->base.handle.store;
	S3Request  *request = &listing->request;
	char	   *token;

	stedi_s3_request_init(request, store, "list", "GET", NULL);
	request->transfer.reply_limit = PAGE_LIMIT;
	stedi_s3_request_query(request, "list-type", "2");
	stedi_s3_request_query(request, "max-keys", PAGE_ENTRIES);
	stedi_s3_request_query(request, "encoding-type", "url");
	stedi_s3_request_query(request, "prefix", listing->prefix);
	if (listing->token != NULL)
		stedi_s3_request_query(request, "continuation-token", listing->token);
	else if (listing->base.after != NULL)
		stedi_s3_request_query(request, "start-after", listing->base.after);

	stedi_list_page_free(&listing->page);
	listing->next = 0;
	if (!stedi_s3_request_run(request, &store->base.waiter, status) ||
		!stedi_s3_parse_list(request->transfer.body.data ? request->transfer.body.data : "",
							 request->transfer.body.length, &listing->page, status))
	{
		memset(&listing->page, 0, sizeof(listing->page));
		stedi_s3_request_free(request);
		return false;
	}
	stedi_s3_request_free(request);
	listing->started = true;

	token = listing->page.truncated ? listing->page.next_token : NULL;
	if (token != NULL && (listing->page.n_objects == 0 ||
						  (listing->token != NULL && strcmp(token, listing->token) == 0)))
		return stedi_status_set(status, STEDI_PROTOCOL,
								"the listing of bucket \"%s\" does not advance",
								store->config.bucket);
	if (token != NULL)
		listing->page.next_token = NULL;
	free(listing->token);
	listing->token = token;
	return true;
}

/*
 * Whoever reads the listing relies on the order, and a key outside of the prefix
 * would be one the user did not ask for.
 */
static bool
check_order(S3Listing *listing, const StediObject *object, StediStatus *status)
{
	const S3Store *store = (const S3Store *) listing->base.handle.store;
	const char *fault = NULL;
	char	   *key;

	if (strncmp(object->key, listing->prefix, strlen(listing->prefix)) != 0)
		fault = "holds a key outside of its prefix";
	else if (listing->last_key != NULL && strcmp(listing->last_key, object->key) >= 0)
		fault = "is not in byte order of keys";
	if (fault != NULL)
	{
		stedi_status_set(status, STEDI_PROTOCOL, "the listing of bucket \"%s\" %s",
						 store->config.bucket, fault);
		stedi_status_detail(status, "Prefix \"%s\", key \"%s\".", listing->prefix, object->key);
		return false;
	}
	key = strdup(object->key);
	if (key == NULL)
		return stedi_no_memory(status);
	free(listing->last_key);
	listing->last_key = key;
	return true;
}

static void
s3_listing_close(StediListing *base)
{
	S3Listing  *listing = (S3Listing *) base;

	stedi_s3_request_free(&listing->request);
	stedi_list_page_free(&listing->page);
	free(listing->prefix);
	free(listing->token);
	free(listing->last_key);
	free(listing);
}

/*
 * version_id stays NULL, as in a listing: an object has one identity however it
 * was found, and reading by version id would need another permission.
 */
static bool
s3_head(StediStore *base, const char *key, StediObject *object, StediStatus *status)
{
	S3Store    *store = (S3Store *) base;
	S3Request	request;
	const StediHttpHeaders *reply = &request.transfer.reply;
	time_t		modified;
	bool		done;

	memset(object, 0, sizeof(*object));
	stedi_s3_request_init(&request, store, "look up", "HEAD", key);
	done = stedi_s3_request_run(&request, &base->waiter, status);
	if (done && reply->content_length < 0)
		done = stedi_status_set(status, STEDI_PROTOCOL,
								"the object store did not tell the size of an object");
	if (done)
	{
		object->key = strdup(key);
		object->etag = reply->etag[0] != '\0' ? stedi_s3_plain_etag(reply->etag) : NULL;
		object->size = (uint64_t) reply->content_length;
		if (stedi_http_parse_date(reply->last_modified, &modified))
			object->last_modified = (int64_t) modified * 1000000;
		if (object->key == NULL || (reply->etag[0] != '\0' && object->etag == NULL))
		{
			stedi_object_free(object);
			done = stedi_no_memory(status);
		}
	}
	stedi_s3_request_free(&request);
	return done;
}

static bool
s3_remove(StediStore *base, const char *key, StediStatus *status)
{
	S3Request	request;
	bool		done;

	stedi_s3_request_init(&request, (S3Store *) base, "delete", "DELETE", key);
	done = stedi_s3_request_run(&request, &base->waiter, status) ||
		(status->code == STEDI_NOT_FOUND && strcmp(request.error.code, "NoSuchBucket") != 0);
	stedi_s3_request_free(&request);
	return done;
}

/*
 * Move the uploads of one page to the result; the page is freed.  Whoever reads
 * them relies on the prefix, too.
 */
static bool
add_uploads(StediUploadPage *to, StediUploadPage *page, const char *prefix, StediStatus *status)
{
	bool		done = true;

	for (size_t i = 0; done && i < page->n_uploads; i++)
	{
		StediUpload upload = page->uploads[i];

		if (strncmp(upload.key, prefix, strlen(prefix)) != 0)
		{
			done = stedi_status_set(status, STEDI_PROTOCOL,
									"the listing of uploads holds a key outside of its prefix");
			break;
		}
		memset(&page->uploads[i], 0, sizeof(upload));
		done = stedi_upload_page_add(to, &upload, status);
	}
	stedi_upload_page_free(page);
	return done;
}

static bool
s3_list_uploads(StediStore *base, const char *prefix, StediUploadPage *all,
				StediStatus *status)
{
	char	   *key_marker = NULL;
	char	   *id_marker = NULL;
	bool		more = true;
	bool		done = true;
	int			pages = 0;

	memset(all, 0, sizeof(*all));
	while (done && more)
	{
		S3Request	request;
		StediUploadPage page = {0};

		stedi_s3_request_init(&request, (S3Store *) base, "list the uploads of", "GET", NULL);
		request.transfer.reply_limit = PAGE_LIMIT;
		stedi_s3_request_query(&request, "uploads", "");
		stedi_s3_request_query(&request, "max-uploads", PAGE_ENTRIES);
		stedi_s3_request_query(&request, "encoding-type", "url");
		stedi_s3_request_query(&request, "prefix", prefix);
		if (key_marker != NULL)
			stedi_s3_request_query(&request, "key-marker", key_marker);
		if (id_marker != NULL)
			stedi_s3_request_query(&request, "upload-id-marker", id_marker);
		done = stedi_s3_request_run(&request, &base->waiter, status) &&
			stedi_s3_parse_uploads(request.transfer.body.data ? request.transfer.body.data : "",
								   request.transfer.body.length, &page, status);
		stedi_s3_request_free(&request);
		if (!done)
			break;

		more = page.truncated;
		if (more && (++pages == MAX_UPLOAD_PAGES ||
					 page.next_key_marker == NULL || page.n_uploads == 0 ||
					 (key_marker != NULL && strcmp(page.next_key_marker, key_marker) == 0 &&
					  (id_marker == NULL || page.next_upload_id_marker == NULL ||
					   strcmp(page.next_upload_id_marker, id_marker) == 0))))
		{
			stedi_upload_page_free(&page);
			done = stedi_status_set(status, STEDI_PROTOCOL,
									"the listing of uploads does not advance");
			break;
		}
		free(key_marker);
		free(id_marker);
		key_marker = page.next_key_marker;
		id_marker = page.next_upload_id_marker;
		page.next_key_marker = NULL;
		page.next_upload_id_marker = NULL;
		done = add_uploads(all, &page, prefix, status);
	}
	free(key_marker);
	free(id_marker);
	if (!done)
		stedi_upload_page_free(all);
	return done;
}

static bool
s3_abort_upload(StediStore *base, const StediUpload *upload, StediStatus *status)
{
	S3Request	request;
	bool		done;

	stedi_s3_request_init(&request, (S3Store *) base, "abort the upload of", "DELETE",
						  upload->key);
	stedi_s3_request_query(&request, "uploadId", upload->upload_id);
	done = stedi_s3_request_run(&request, &base->waiter, status) ||
		(status->code == STEDI_NOT_FOUND && strcmp(request.error.code, "NoSuchBucket") != 0);
	stedi_s3_request_free(&request);
	return done;
}

/* Connections that S3 requests can have at once; see stedi_store_open_s3(). */
static int
connections(const StediS3Config *config)
{
	/* gets, the get or the small call that is waited for, its ranges, parts */
	return config->max_connections + 1 + config->max_ranges + config->max_parts_in_flight;
}

/*
 * Each connection may have a second socket while it is made (IPv4 beside IPv6,
 * or the resolver's), and the engine has its epoll descriptor and libcurl's pair.
 */
static int
s3_max_fds(const StediStore *base)
{
	const S3Store *store = (const S3Store *) base;
	bool		may_search = store->credentials != NULL &&
		stedi_credential_provider_can_renew(store->credentials);

	return 2 * connections(&store->config) + 3 + (may_search ? STEDI_CREDENTIAL_FDS : 0);
}

StediStore *
stedi_store_open_s3(const StediS3Config *config, StediWaiter waiter, StediStatus *status)
{
	static const StediStoreMethods methods = {
		.list = s3_list,
		.listing_next = s3_listing_next,
		.listing_close = s3_listing_close,
		.head = s3_head,
		.get = stedi_s3_get,
		.get_read = stedi_s3_get_read,
		.get_close = stedi_s3_get_close,
		.put = stedi_s3_put,
		.put_write = stedi_s3_put_write,
		.put_commit = stedi_s3_put_commit,
		.put_abort = stedi_s3_put_abort,
		.put_close = stedi_s3_put_close,
		.remove = s3_remove,
		.list_uploads = s3_list_uploads,
		.abort_upload = s3_abort_upload,
		.identify = stedi_s3_identify,
		.max_fds = s3_max_fds,
		.close = s3_close,
	};
	S3Store    *store = calloc(1, sizeof(*store));

	if (store == NULL)
	{
		stedi_no_memory(status);
		return NULL;
	}
	store->base.methods = &methods;
	store->base.waiter = waiter;
	store->scheme = "https";
	store->ahead = 1;
	if (copy_config(store, config, status) &&
		(config->endpoint == NULL || parse_endpoint(store, config->endpoint, status)))
	{
		StediHttpConfig http = {
			.user_agent = config->user_agent,
			.ca_file = config->ca_file,
			.proxy = config->proxy,
			.connect_timeout_ms = config->connect_timeout_ms,
			.idle_timeout_ms = config->idle_timeout_ms,
			.max_connections = store->config.max_connections,
			.max_cached = connections(&store->config),
		};

		store->http = stedi_http_open(&http, status);
	}
	if (store->http == NULL)
	{
		s3_close(&store->base);
		return NULL;
	}
	return &store->base;
}
