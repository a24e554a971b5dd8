/*
 * s3_get.c
 *		Reading S3 objects.
 *
 *	server -> libcurl -> receive() -> ring -> stedi_s3_get_read() -> caller
 *
 * The ring is what a get buffers: when it has no room the transfer is paused,
 * when it has drained to half it goes on.  A transfer that breaks is continued
 * where it stopped, with a ranged request for the same version; the ring never
 * notices.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/s3_internal.h"

/* libcurl hands over at most 16 kB at once, and the ring takes that or nothing. */
#define MIN_RING_SIZE		(64 * 1024)

/* After so much progress a break is a new one, and has all attempts. */
#define PROGRESS			(1024 * 1024)

typedef struct S3Get
{
	StediGet	base;
	S3Request	request;
	StediObject object;

	char	   *ring;			/* NULL until the first byte */
	size_t		ring_size;
	size_t		start;			/* of the bytes in the ring */
	size_t		length;			/* of them */

	uint64_t	received;		/* bytes put into the ring so far */
	uint64_t	marked;			/* received, when attempts were counted anew */
	uint64_t	skip;			/* bytes of this reply that are known already */
	bool		validated;		/* the reply's headers, in this attempt */
	char		range[64];
	char		if_match[300];
} S3Get;

static void prepare(S3Request *request);
static bool check(S3Request *request);
static StediHttpTake receive(StediHttpTransfer *transfer, const char *data, size_t length);
static bool validate(S3Get *get);
static bool fail_length(S3Get *get, uint64_t length);
static size_t take(S3Get *get, char *buffer, size_t size);

StediGet *
stedi_s3_get(StediStore *base, const StediObject *object, StediStatus *status)
{
	S3Store    *store = (S3Store *) base;
	S3Get	   *get = calloc(1, sizeof(*get));
	size_t		size = store->config.get_buffer_size;

	if (get == NULL || !stedi_object_copy(&get->object, object))
	{
		free(get);
		stedi_no_memory(status);
		return NULL;
	}
	if (size < MIN_RING_SIZE)
		size = MIN_RING_SIZE;
	get->ring_size = object->size < size ? (size_t) object->size : size;

	stedi_s3_request_init(&get->request, store, "read", "GET", get->object.key);
	if (object->version_id != NULL)
		stedi_s3_request_query(&get->request, "versionId", get->object.version_id);
	get->request.prepare = prepare;
	get->request.check = check;
	get->request.transfer.receive = receive;
	get->request.transfer.may_queue = true;
	stedi_s3_request_start(&get->request);
	return &get->base;
}

ssize_t
stedi_s3_get_read(StediGet *base, void *buffer, size_t size, StediStatus *status)
{
	S3Get	   *get = (S3Get *) base;
	S3Store    *store = (S3Store *) base->handle.store;

	while (get->length == 0)
	{
		if (get->request.done)
		{
			if (get->request.status.code == STEDI_OK)
				return 0;
			*status = get->request.status;
			return -1;
		}
		stedi_http_hurry(&get->request.transfer);
		if (!stedi_s3_step(store, &store->base.waiter, status))
			return -1;
	}

	size = take(get, buffer, size);
	if (get->request.transfer.paused && get->length <= get->ring_size / 2)
	{
		stedi_http_unpause(&get->request.transfer);
		if (!stedi_s3_poll(store, &store->base.waiter, status))
			return -1;
	}
	return (ssize_t) size;
}

void
stedi_s3_get_close(StediGet *base)
{
	S3Get	   *get = (S3Get *) base;

	stedi_s3_request_free(&get->request);
	stedi_object_free(&get->object);
	free(get->ring);
	free(get);
}

/* Move up to size bytes out of the ring, which is not empty. */
static size_t
take(S3Get *get, char *buffer, size_t size)
{
	size_t		until_wrap = get->ring_size - get->start;

	if (size > get->length)
		size = get->length;
	if (size <= until_wrap)
		memcpy(buffer, get->ring + get->start, size);
	else
	{
		memcpy(buffer, get->ring + get->start, until_wrap);
		memcpy(buffer + until_wrap, get->ring, size - until_wrap);
	}
	get->start = (get->start + size) % get->ring_size;
	get->length -= size;
	return size;
}

/* Ask for what is missing of the version that was listed. */
static void
prepare(S3Request *request)
{
	S3Get	   *get = (S3Get *) ((char *) request - offsetof(S3Get, request));

	get->validated = false;
	request->n_headers = 0;
	if (get->object.etag != NULL)
	{
		snprintf(get->if_match, sizeof(get->if_match), "\"%s\"", get->object.etag);
		stedi_s3_request_header(request, "if-match", get->if_match);
	}
	if (get->received > 0)
	{
		snprintf(get->range, sizeof(get->range), "bytes=%" PRIu64 "-", get->received);
		stedi_s3_request_header(request, "range", get->range);
	}
}

/* Called from inside of libcurl. */
static StediHttpTake
receive(StediHttpTransfer *transfer, const char *data, size_t length)
{
	S3Get	   *get = (S3Get *) ((char *) transfer - offsetof(S3Get, request.transfer));
	size_t		end;
	size_t		until_wrap;

	if (!validate(get))
		return STEDI_HTTP_REFUSE;
	if (get->skip >= length)
	{
		get->skip -= length;
		return STEDI_HTTP_TAKEN;
	}
	if (length - get->skip > get->object.size - get->received)
	{
		fail_length(get, get->received + (length - get->skip));
		return STEDI_HTTP_REFUSE;
	}
	if (length - get->skip > get->ring_size - get->length)
		return STEDI_HTTP_FULL;
	if (get->ring == NULL)
	{
		get->ring = malloc(get->ring_size);
		if (get->ring == NULL)
		{
			stedi_no_memory(&get->request.status);
			return STEDI_HTTP_REFUSE;
		}
	}

	data += get->skip;
	length -= get->skip;
	get->skip = 0;
	end = (get->start + get->length) % get->ring_size;
	until_wrap = get->ring_size - end;
	if (length <= until_wrap)
		memcpy(get->ring + end, data, length);
	else
	{
		memcpy(get->ring + end, data, until_wrap);
		memcpy(get->ring, data + until_wrap, length - until_wrap);
	}
	get->length += length;
	get->received += length;
	if (get->received - get->marked >= PROGRESS)
	{
		get->marked = get->received;
		get->request.attempts = 0;
	}
	return STEDI_HTTP_TAKEN;
}

/*
 * Is the reply the version that was listed, from the byte that was asked for?
 * Sets skip, or the request's status.
 */
static bool
validate(S3Get *get)
{
	S3Request  *request = &get->request;
	const StediHttpHeaders *reply = &request->transfer.reply;
	uint64_t	first;
	uint64_t	last;
	uint64_t	total;
	char	   *etag;

	if (get->validated)
		return true;
	get->skip = 0;

	if (reply->etag[0] != '\0')
	{
		etag = stedi_s3_plain_etag(reply->etag);
		if (etag == NULL)
			return stedi_no_memory(&request->status);
		if (get->object.etag == NULL)
			get->object.etag = etag;	/* pinned from here on */
		else
		{
			bool		same = strcmp(etag, get->object.etag) == 0;

			free(etag);
			if (!same)
			{
				char		what[STEDI_MESSAGE_SIZE];

				stedi_s3_describe(request->store, get->object.key, what, sizeof(what));
				return stedi_status_set(&request->status, STEDI_CHANGED,
										"%s has changed since it was listed", what);
			}
		}
	}

	if (request->transfer.status == 206 && get->received > 0)
	{
		if (sscanf(reply->content_range, "bytes %" SCNu64 "-%" SCNu64 "/%" SCNu64,
				   &first, &last, &total) != 3 ||
			first != get->received || last + 1 != total || total != get->object.size)
			return stedi_status_set(&request->status, STEDI_PROTOCOL,
									"the object store sent another range than it was asked for");
	}
	else if (request->transfer.status == 200)
	{
		/* a server that knows no ranges begins at the beginning */
		if (reply->content_length >= 0 && (uint64_t) reply->content_length != get->object.size)
			return fail_length(get, (uint64_t) reply->content_length);
		get->skip = get->received;
	}
	else
		return stedi_status_set(&request->status, STEDI_PROTOCOL,
								"the object store answered a read with HTTP status %ld",
								request->transfer.status);
	get->validated = true;
	return true;
}

static bool
fail_length(S3Get *get, uint64_t length)
{
	char		what[STEDI_MESSAGE_SIZE];

	stedi_s3_describe(get->request.store, get->object.key, what, sizeof(what));
	return stedi_status_set(&get->request.status, STEDI_CORRUPT,
							"%s has %" PRIu64 " bytes, not the %" PRIu64 " it was listed with",
							what, length, get->object.size);
}

/* A reply has ended well, as far as HTTP is concerned. */
static bool
check(S3Request *request)
{
	S3Get	   *get = (S3Get *) ((char *) request - offsetof(S3Get, request));

	/* an empty body has not been looked at yet */
	return validate(get) && get->received == get->object.size;
}
