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
 *
 * A connection to S3 carries less than the network does.  So a large object is
 * asked for in ranges of the ring's size, each with a ring of its own:
 *
 *	range 5 --> ring --> caller
 *	range 6 --> ring
 *	range 7 --> ring
 *
 * The first range is all that a get fetches ahead; while it is read, and once
 * the server has shown that it knows ranges, others follow: one, which is enough
 * where the server is faster than the caller, and once the caller has to wait soon
 * as many as the store has left for it: twice as many whenever it looks in vain.
 * More of them would only be more memory that has left the processor's caches when
 * it is read.  So the store's memory is bounded by its open gets and max_ranges, times
 * get_buffer_size, and a slow caller stops all of them.
 *
 * Over http nothing but TCP's 16 bits guards the bytes on their way.  What can be
 * compared, then, is the ETag of an object that was written with one request: the
 * MD5 of its bytes, unless the server encrypts with keys of its own or the
 * customer's.  Over https every record is authenticated, and MD5, at 0.6 to 0.8
 * GB/s, would cost more than parsing does.
 */
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "store/s3_internal.h"

/* libcurl hands over at most 16 kB at once, and the ring takes that or nothing. */
#define MIN_RING_SIZE		(64 * 1024)

/* Of fewer ranges nothing is gained. */
#define MIN_RANGES			3

/* After so much progress a break is a new one, and has all attempts. */
#define PROGRESS			(1024 * 1024)

typedef struct S3Get S3Get;

/* A part of the object that is asked for by itself, or all of it. */
typedef struct Range
{
	S3Request	request;		/* first member */
	S3Get	   *get;
	struct Range *next;			/* what follows in the object */
	uint64_t	received;		/* of the object, up to here, are in the ring or read */
	uint64_t	end;			/* the first byte that is not asked for */

	char	   *ring;			/* NULL until the first byte */
	size_t		start;			/* of the bytes in the ring */
	size_t		length;			/* of them */

	uint64_t	marked;			/* received, when attempts were counted anew */
	uint64_t	skip;			/* bytes of this reply that are known already */
	bool		validated;		/* the reply's headers, in this attempt */
	char		header[64];
} Range;

struct S3Get
{
	StediGet	base;
	StediObject object;
	size_t		ring_size;
	bool		by_ranges;		/* and not in one stream */
	bool		knows_ranges;	/* the server has shown it */
	Range	   *first;			/* the one that is read */
	Range	   *last;
	int			n_more;			/* ranges behind the first, which the store counts */
	uint64_t	asked;			/* where the next range begins */
	Range	   *spare;			/* one that has been read, or NULL */
	bool		etag_is_md5;	/* and is to be compared with the bytes' */
	EVP_MD_CTX *md5;			/* of the bytes given to the caller; NULL until the first */
	char		if_match[300];
};

static S3Store *store_of(const S3Get *get);
static bool add_range(S3Get *get);
static bool add_ranges(S3Get *get, StediStatus *status);
static void next_range(S3Get *get);
static void free_range(Range *range);
static void prepare(S3Request *request);
static bool check(S3Request *request);
static StediHttpTake receive(StediHttpTransfer *transfer, const char *data, size_t length);
static bool validate(Range *range);
static bool pin_version(S3Get *get, Range *range);
static bool fail_length(Range *range, uint64_t length);
static bool fail_range(Range *range);
static size_t take(Range *range, char *buffer, size_t size);
static bool may_be_md5(const S3Get *get, const StediHttpHeaders *reply);
static bool digest(S3Get *get, const char *data, size_t length, StediStatus *status);
static bool verify(S3Get *get, StediStatus *status);

static S3Store *
store_of(const S3Get *get)
{
	return (S3Store *) get->base.handle.store;
}

StediGet *
stedi_s3_get(StediStore *base, const StediObject *object, StediStatus *status)
{
	S3Store    *store = (S3Store *) base;
	S3Get	   *get = calloc(1, sizeof(*get));
	size_t		size = store->config.get_buffer_size;
	StediStatus ignored = {0};

	if (get == NULL || !stedi_object_copy(&get->object, object))
	{
		free(get);
		stedi_no_memory(status);
		return NULL;
	}
	get->base.handle.store = base;
	if (size < MIN_RING_SIZE)
		size = MIN_RING_SIZE;
	get->ring_size = object->size < size ? (size_t) object->size : size;
	get->etag_is_md5 = strcmp(store->scheme, "http") == 0;
	get->by_ranges = store->config.max_ranges > 0 && object->size / MIN_RANGES >= size;
	if (!add_range(get))
	{
		stedi_no_memory(status);
		stedi_s3_get_close(&get->base);
		return NULL;
	}
	get->first->request.transfer.may_queue = true;

	/* Let it go off now: the caller may be busy for long.  What is in the way
	 * of going on at all, a cancel, will be so again when the get is read. */
	stedi_s3_poll(store, &base->waiter, &ignored);
	return &get->base;
}

/* Ask for the next range.  False: no memory. */
static bool
add_range(S3Get *get)
{
	uint64_t	left = get->object.size - get->asked;
	Range	   *range = get->spare;
	char	   *ring = range != NULL ? range->ring : NULL;

	if (range == NULL && (range = malloc(sizeof(*range))) == NULL)
		return false;
	get->spare = NULL;
	memset(range, 0, sizeof(*range));
	range->ring = ring;
	range->get = get;
	range->received = range->marked = get->asked;
	range->end = get->asked + (get->by_ranges && left > get->ring_size ? get->ring_size : left);
	get->asked = range->end;
	if (get->last != NULL)
		get->last->next = range;
	else
		get->first = range;
	get->last = range;

	stedi_s3_request_init(&range->request, store_of(get), "read", "GET", get->object.key);
	if (get->object.version_id != NULL)
		stedi_s3_request_query(&range->request, "versionId", get->object.version_id);
	range->request.prepare = prepare;
	range->request.check = check;
	range->request.transfer.receive = receive;
	stedi_s3_request_start(&range->request);
	return true;
}

/* Have a range to read, and as many more as the caller is fast. */
static bool
add_ranges(S3Get *get, StediStatus *status)
{
	S3Store    *store = store_of(get);
	const Range *first = get->first;

	/* what has to be waited for was asked for too late */
	if (get->knows_ranges && get->asked < get->object.size &&
		first != NULL && first->length == 0 && !first->request.done)
		store->ahead *= 2;
	if (store->ahead > store->config.max_ranges)
		store->ahead = store->config.max_ranges;
	while (get->asked < get->object.size &&
		   (get->first == NULL || (get->knows_ranges && store->n_ranges < store->ahead)))
	{
		bool		more = get->first != NULL;

		if (!add_range(get))
			return stedi_no_memory(status);
		get->n_more += more;
		store->n_ranges += more;
	}
	return true;
}

/* The first range has been read to its end. */
static void
next_range(S3Get *get)
{
	Range	   *range = get->first;

	get->first = range->next;
	if (get->first == NULL)
		get->last = NULL;
	else
	{
		get->n_more--;
		store_of(get)->n_ranges--;
	}
	stedi_s3_request_free(&range->request);
	if (get->spare != NULL)
		free_range(get->spare);
	get->spare = range;
}

ssize_t
stedi_s3_get_read(StediGet *base, void *buffer, size_t size, StediStatus *status)
{
	S3Get	   *get = (S3Get *) base;
	S3Store    *store = store_of(get);
	Range	   *range;

	for (;;)
	{
		if (!add_ranges(get, status))
			return -1;
		range = get->first;
		if (range->length > 0)
			break;
		if (!range->request.done)
		{
			stedi_http_hurry(&range->request.transfer);
			if (!stedi_s3_step(store, &store->base.waiter, status))
				return -1;
		}
		else if (range->request.status.code != STEDI_OK ||
				 (range->end == get->object.size && !verify(get, &range->request.status)))
		{
			*status = range->request.status;
			return -1;
		}
		else if (range->end == get->object.size)
			return 0;
		else
			next_range(get);
	}

	size = take(range, buffer, size);
	if (!digest(get, buffer, size, status))
		return -1;
	if (range->request.transfer.paused && range->length <= get->ring_size / 2)
		stedi_http_unpause(&range->request.transfer);
	else if (get->n_more == 0)
		return (ssize_t) size;
	/* the others have to move, too, while this one is read */
	if (!stedi_s3_poll(store, &store->base.waiter, status))
		return -1;
	return (ssize_t) size;
}

void
stedi_s3_get_close(StediGet *base)
{
	S3Get	   *get = (S3Get *) base;
	Range	   *range;

	store_of(get)->n_ranges -= get->n_more;
	while ((range = get->first) != NULL)
	{
		get->first = range->next;
		free_range(range);
	}
	if (get->spare != NULL)
		free_range(get->spare);
	stedi_object_free(&get->object);
	EVP_MD_CTX_free(get->md5);
	free(get);
}

static void
free_range(Range *range)
{
	stedi_s3_request_free(&range->request);
	free(range->ring);
	free(range);
}

/* Move up to size bytes out of the ring, which is not empty. */
static size_t
take(Range *range, char *buffer, size_t size)
{
	size_t		ring_size = range->get->ring_size;
	size_t		until_wrap = ring_size - range->start;

	if (size > range->length)
		size = range->length;
	if (size <= until_wrap)
		memcpy(buffer, range->ring + range->start, size);
	else
	{
		memcpy(buffer, range->ring + range->start, until_wrap);
		memcpy(buffer + until_wrap, range->ring, size - until_wrap);
	}
	range->start = (range->start + size) % ring_size;
	range->length -= size;
	return size;
}

/* As far as the ETag's form and the reply tell; other servers' etags are opaque. */
static bool
may_be_md5(const S3Get *get, const StediHttpHeaders *reply)
{
	const char *etag = get->object.etag;

	return etag != NULL && strlen(etag) == 32 &&
		strspn(etag, "0123456789abcdefABCDEF") == 32 &&
		strncmp(reply->encryption, "aws:kms", strlen("aws:kms")) != 0 &&
		reply->customer_encryption[0] == '\0';
}

/* Add what the caller is given to the digest, if there is one to be made. */
static bool
digest(S3Get *get, const char *data, size_t length, StediStatus *status)
{
	if (!get->etag_is_md5)
		return true;
	if (get->md5 == NULL &&
		((get->md5 = EVP_MD_CTX_new()) == NULL ||
		 !EVP_DigestInit_ex(get->md5, EVP_md5(), NULL)))
		return stedi_status_set(status, STEDI_IO, "could not compute an MD5 digest");
	return EVP_DigestUpdate(get->md5, data, length) ||
		stedi_status_set(status, STEDI_IO, "could not compute an MD5 digest");
}

/* All bytes were given to the caller: are they those of the etag? */
static bool
verify(S3Get *get, StediStatus *status)
{
	unsigned char md5[16];
	char		hex[33];
	char		what[STEDI_MESSAGE_SIZE];

	if (get->md5 == NULL || !get->etag_is_md5)
		return true;
	if (!EVP_DigestFinal_ex(get->md5, md5, NULL))
		return stedi_status_set(status, STEDI_IO, "could not compute an MD5 digest");
	EVP_MD_CTX_free(get->md5);
	get->md5 = NULL;
	for (int i = 0; i < 16; i++)
		snprintf(hex + 2 * i, 3, "%02x", md5[i]);
	if (strcasecmp(hex, get->object.etag) == 0)
		return true;
	stedi_s3_describe(store_of(get), get->object.key, what, sizeof(what));
	stedi_status_set(status, STEDI_CORRUPT, "%s was damaged on its way", what);
	stedi_status_detail(status, "The ETag is %s, the MD5 of the bytes that came %s.",
						get->object.etag, hex);
	stedi_status_hint(status, "If the store's ETags are no MD5s, reach it over https, where they are not compared.");
	return false;
}

/* Ask for what is missing of the version that was listed. */
static void
prepare(S3Request *request)
{
	Range	   *range = (Range *) request;
	S3Get	   *get = range->get;

	range->validated = false;
	request->n_headers = 0;
	if (get->object.etag != NULL)
	{
		snprintf(get->if_match, sizeof(get->if_match), "\"%s\"", get->object.etag);
		stedi_s3_request_header(request, "if-match", get->if_match);
	}
	if (range->received > 0 || range->end < get->object.size)
	{
		snprintf(range->header, sizeof(range->header), "bytes=%" PRIu64 "-%" PRIu64,
				 range->received, range->end - 1);
		stedi_s3_request_header(request, "range", range->header);
	}
}

/* Called from inside of libcurl. */
static StediHttpTake
receive(StediHttpTransfer *transfer, const char *data, size_t length)
{
	Range	   *range = (Range *) transfer;
	size_t		ring_size = range->get->ring_size;
	size_t		end;
	size_t		until_wrap;

	if (!validate(range))
		return STEDI_HTTP_REFUSE;
	if (range->skip >= length)
	{
		range->skip -= length;
		return STEDI_HTTP_TAKEN;
	}
	if (length - range->skip > range->end - range->received)
	{
		if (range->end < range->get->object.size)
			fail_range(range);
		else
			fail_length(range, range->received + (length - range->skip));
		return STEDI_HTTP_REFUSE;
	}
	if (length - range->skip > ring_size - range->length)
		return STEDI_HTTP_FULL;
	if (range->ring == NULL)
	{
		range->ring = malloc(ring_size);
		if (range->ring == NULL)
		{
			stedi_no_memory(&range->request.status);
			return STEDI_HTTP_REFUSE;
		}
	}

	data += range->skip;
	length -= range->skip;
	range->skip = 0;
	end = (range->start + range->length) % ring_size;
	until_wrap = ring_size - end;
	if (length <= until_wrap)
		memcpy(range->ring + end, data, length);
	else
	{
		memcpy(range->ring + end, data, until_wrap);
		memcpy(range->ring, data + until_wrap, length - until_wrap);
	}
	range->length += length;
	range->received += length;
	if (range->received - range->marked >= PROGRESS)
	{
		range->marked = range->received;
		range->request.attempts = 0;
	}
	return STEDI_HTTP_TAKEN;
}

/*
 * Is the reply the version that was listed, from the byte that was asked for?
 * Sets skip, or the request's status.
 */
static bool
validate(Range *range)
{
	S3Get	   *get = range->get;
	S3Request  *request = &range->request;
	const StediHttpHeaders *reply = &request->transfer.reply;
	long		http_status = request->transfer.status;
	uint64_t	first;
	uint64_t	last;
	uint64_t	total;

	if (range->validated)
		return true;
	range->skip = 0;
	if (!pin_version(get, range))
		return false;

	if (http_status == 206 && (range->received > 0 || range->end < get->object.size))
	{
		if (sscanf(reply->content_range, "bytes %" SCNu64 "-%" SCNu64 "/%" SCNu64,
				   &first, &last, &total) != 3 ||
			first != range->received || last + 1 != range->end || total != get->object.size ||
			(reply->content_length >= 0 &&
			 (uint64_t) reply->content_length != range->end - range->received))
			return fail_range(range);
		get->knows_ranges = get->by_ranges;
	}
	else if (http_status == 200)
	{
		/* a server that knows no ranges begins at the beginning, and sends all */
		if (reply->content_length >= 0 && (uint64_t) reply->content_length != get->object.size)
			return fail_length(range, (uint64_t) reply->content_length);
		if (get->knows_ranges)
			return fail_range(range);
		range->end = get->asked = get->object.size;
		range->skip = range->received;
	}
	else
		return stedi_status_set(&request->status, STEDI_PROTOCOL,
								"the object store answered a read with HTTP status %ld",
								http_status);
	/* a page of somebody in between that says 200 to everything */
	if (reply->etag[0] == '\0' && get->object.etag != NULL)
		return stedi_status_set(&request->status, STEDI_PROTOCOL,
								"the object store did not tell the etag of what it sent");
	get->etag_is_md5 = get->etag_is_md5 && may_be_md5(get, reply);
	range->validated = true;
	return true;
}

/* The etag of the listing, or of the first reply, has to be that of all replies. */
static bool
pin_version(S3Get *get, Range *range)
{
	const char *sent = range->request.transfer.reply.etag;
	char		what[STEDI_MESSAGE_SIZE];
	char	   *etag;
	bool		same;

	if (sent[0] == '\0')
		return true;
	etag = stedi_s3_plain_etag(sent);
	if (etag == NULL)
		return stedi_no_memory(&range->request.status);
	if (get->object.etag == NULL)
	{
		get->object.etag = etag;
		return true;
	}
	same = strcmp(etag, get->object.etag) == 0;
	free(etag);
	if (same)
		return true;
	stedi_s3_describe(store_of(get), get->object.key, what, sizeof(what));
	return stedi_status_set(&range->request.status, STEDI_CHANGED,
							"%s has changed since it was listed", what);
}

static bool
fail_range(Range *range)
{
	return stedi_status_set(&range->request.status, STEDI_PROTOCOL,
							"the object store sent another range than it was asked for");
}

static bool
fail_length(Range *range, uint64_t length)
{
	S3Get	   *get = range->get;
	char		what[STEDI_MESSAGE_SIZE];

	stedi_s3_describe(store_of(get), get->object.key, what, sizeof(what));
	return stedi_status_set(&range->request.status, STEDI_CORRUPT,
							"%s has %" PRIu64 " bytes, not the %" PRIu64 " it was listed with",
							what, length, get->object.size);
}

/* A reply has ended well, as far as HTTP is concerned. */
static bool
check(S3Request *request)
{
	Range	   *range = (Range *) request;

	/* an empty body has not been looked at yet */
	return validate(range) && range->received == range->end;
}
