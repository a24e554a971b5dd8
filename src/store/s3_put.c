/*
 * s3_put.c
 *		Writing S3 objects.
 *
 * Bytes are collected in a part's buffer.  If commit comes before the buffer
 * overflows, the object is a single PUT.  Otherwise a multipart upload is begun
 * and each full buffer goes off as a part while the caller fills the next one;
 * with max_parts_in_flight parts under way, writing waits.  Memory is at most
 * (max_parts_in_flight + 1) * part_size.
 *
 * A commit whose reply is lost may have succeeded all the same.  It then fails
 * here, and what may stand under the key is left alone: it can't be told from
 * somebody else's object.
 */
#include <limits.h>
#include <openssl/evp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/s3_internal.h"

#define MAX_PARTS			10000
#define SMALL_REPLY			(64 * 1024)

/* Let parts under way go on after so many bytes written: what fits into a
 * socket's buffer. */
#define BYTES_PER_POLL		(256 * 1024)

typedef struct Part
{
	char	   *data;			/* part_size bytes; NULL until first used */
	size_t		length;
	int			number;			/* 1-based, while in_flight */
	bool		in_flight;
	char		number_text[12];
	char		md5[25];
	S3Request	request;
} Part;

typedef struct S3Put
{
	StediPut	base;
	char	   *key;
	char	   *content_type;
	char	   *content_encoding;
	S3Request	control;		/* create, complete, or the single PUT */

	Part	   *parts;			/* max_parts_in_flight + 1 */
	int			n_slots;
	Part	   *current;		/* the one being filled */
	int			in_flight;
	size_t		unpolled;

	char	   *upload_id;		/* NULL: no multipart upload yet */
	bool		create_sent;	/* but perhaps no reply received */
	char	  **etags;			/* of part 1, 2, ... */
	int			n_parts;		/* started so far */
	int			etags_size;

	StediStatus failure;		/* of an earlier call, for all later ones */
} S3Put;

/* A waiter that asks nobody and gives up in time. */
typedef struct Deadline
{
	struct timespec at;
} Deadline;

static S3Store *store_of(const S3Put *put);
static bool remember(S3Put *put, const StediStatus *status);
static bool repeat_failure(const S3Put *put, StediStatus *status);
static bool commit(S3Put *put, char **etag, StediStatus *status);
static bool send_part(S3Put *put, StediStatus *status);
static bool create_upload(S3Put *put, StediStatus *status);
static bool use_free_part(S3Put *put, StediStatus *status);
static bool wait_for_parts(S3Put *put, int most, StediStatus *status);
static bool collect_part(S3Put *put, Part *part, StediStatus *status);
static void add_content_headers(S3Put *put, S3Request *request);
static bool put_single(S3Put *put, char **etag, StediStatus *status);
static bool complete_upload(S3Put *put, char **etag, StediStatus *status);
static bool was_completed(S3Put *put, char **etag);
static char *multipart_etag(char *const *etags, int n_parts);
static char *take_etag(S3Request *request, StediStatus *status);
static void stop_parts(S3Put *put);
static bool abort_upload(S3Put *put, const StediWaiter *waiter, bool *gone);
static bool wait_until_deadline(void *arg, int fd, long timeout_ms);

static S3Store *
store_of(const S3Put *put)
{
	return (S3Store *) put->base.handle.store;
}

StediPut *
stedi_s3_put(StediStore *base, const char *key, const StediPutOptions *options,
			 StediStatus *status)
{
	S3Store    *store = (S3Store *) base;
	S3Put	   *put = calloc(1, sizeof(*put));

	if (put == NULL)
	{
		stedi_no_memory(status);
		return NULL;
	}
	put->base.handle.store = base;
	put->n_slots = store->config.max_parts_in_flight + 1;
	put->key = strdup(key);
	put->content_type = strdup(options->content_type ? options->content_type :
							   "application/octet-stream");
	if (options->content_encoding != NULL)
		put->content_encoding = strdup(options->content_encoding);
	put->parts = calloc((size_t) put->n_slots, sizeof(*put->parts));
	if (put->key == NULL || put->content_type == NULL || put->parts == NULL ||
		(options->content_encoding != NULL && put->content_encoding == NULL) ||
		!use_free_part(put, status))
	{
		stedi_no_memory(status);
		stedi_s3_put_close(&put->base);
		return NULL;
	}
	return &put->base;
}

bool
stedi_s3_put_write(StediPut *base, const void *data, size_t length, StediStatus *status)
{
	S3Put	   *put = (S3Put *) base;
	size_t		part_size = store_of(put)->config.part_size;
	const char *from = data;

	if (put->failure.code != STEDI_OK)
		return repeat_failure(put, status);
	while (length > 0)
	{
		size_t		room = part_size - put->current->length;
		size_t		chunk = length < room ? length : room;

		if (room == 0)
		{
			if (!send_part(put, status))
				return remember(put, status);
			continue;
		}
		memcpy(put->current->data + put->current->length, from, chunk);
		put->current->length += chunk;
		from += chunk;
		length -= chunk;
		put->unpolled += chunk;
		if (put->in_flight > 0 && put->unpolled >= BYTES_PER_POLL)
		{
			put->unpolled = 0;
			if (!stedi_s3_poll(store_of(put), &base->handle.store->waiter, status))
				return remember(put, status);
		}
	}
	return true;
}

/* After a failure the put is good for nothing but to be aborted. */
static bool
remember(S3Put *put, const StediStatus *status)
{
	put->failure = *status;
	return false;
}

static bool
repeat_failure(const S3Put *put, StediStatus *status)
{
	*status = put->failure;
	return false;
}

/* Send the current part off and make another one current. */
static bool
send_part(S3Put *put, StediStatus *status)
{
	S3Store    *store = store_of(put);
	Part	   *part = put->current;
	S3Request  *request = &part->request;

	if (put->n_parts == MAX_PARTS)
	{
		stedi_status_set(status, STEDI_LIMIT,
						 "object would have more than %d parts of %zu bytes", MAX_PARTS,
						 store->config.part_size);
		stedi_status_hint(status, "Write smaller objects, or larger parts.");
		return false;
	}
	if ((put->upload_id == NULL && !create_upload(put, status)) ||
		!wait_for_parts(put, store->config.max_parts_in_flight - 1, status))
		return false;
	if (put->n_parts == put->etags_size)
	{
		int			size = put->etags_size == 0 ? 64 : put->etags_size * 2;
		char	  **etags = realloc(put->etags, (size_t) size * sizeof(*etags));

		if (etags == NULL)
			return stedi_no_memory(status);
		put->etags = etags;
		put->etags_size = size;
	}

	put->etags[put->n_parts] = NULL;
	part->number = ++put->n_parts;
	snprintf(part->number_text, sizeof(part->number_text), "%d", part->number);
	if (!stedi_md5_base64(part->data, part->length, part->md5))
		return stedi_status_set(status, STEDI_IO, "could not compute an MD5 digest");
	stedi_s3_request_init(request, store, "write", "PUT", put->key);
	stedi_s3_request_query(request, "partNumber", part->number_text);
	stedi_s3_request_query(request, "uploadId", put->upload_id);
	stedi_s3_request_header(request, "content-md5", part->md5);
	request->body = part->data;
	request->body_length = part->length;
	request->is_upload = true;
	stedi_s3_request_start(request);
	part->in_flight = true;
	put->in_flight++;
	return use_free_part(put, status);
}

static bool
create_upload(S3Put *put, StediStatus *status)
{
	S3Request  *request = &put->control;
	bool		done;

	stedi_s3_request_init(request, store_of(put), "write", "POST", put->key);
	stedi_s3_request_query(request, "uploads", "");
	add_content_headers(put, request);
	request->transfer.reply_limit = SMALL_REPLY;
	put->create_sent = true;
	done = stedi_s3_request_run(request, &put->base.handle.store->waiter, status);
	if (done)
	{
		put->upload_id = stedi_s3_parse_upload_id(request->transfer.body.data ?
												  request->transfer.body.data : "",
												  request->transfer.body.length, status);
		done = put->upload_id != NULL;
	}
	stedi_s3_request_free(request);
	return done;
}

/* There is one: no more than n_slots - 1 are in flight. */
static bool
use_free_part(S3Put *put, StediStatus *status)
{
	Part	   *part = put->parts;

	while (part->in_flight)
		part++;
	if (part->data == NULL)
		part->data = malloc(store_of(put)->config.part_size);
	if (part->data == NULL)
		return stedi_no_memory(status);
	part->length = 0;
	put->current = part;
	return true;
}

/* Wait until at most so many parts are in flight. */
static bool
wait_for_parts(S3Put *put, int most, StediStatus *status)
{
	for (;;)
	{
		for (int i = 0; i < put->n_slots; i++)
		{
			Part	   *part = &put->parts[i];

			if (part->in_flight && part->request.done && !collect_part(put, part, status))
				return false;
		}
		if (put->in_flight <= most)
			return true;
		if (!stedi_s3_step(store_of(put), &put->base.handle.store->waiter, status))
			return false;
	}
}

/* Take the result of a part's request. */
static bool
collect_part(S3Put *put, Part *part, StediStatus *status)
{
	S3Request  *request = &part->request;
	bool		done = request->status.code == STEDI_OK;

	if (done)
	{
		put->etags[part->number - 1] = take_etag(request, status);
		done = put->etags[part->number - 1] != NULL;
	}
	else
		*status = request->status;
	stedi_s3_request_free(request);
	part->in_flight = false;
	put->in_flight--;
	return done;
}

static char *
take_etag(S3Request *request, StediStatus *status)
{
	const char *etag = request->transfer.reply.etag;
	char	   *plain;

	if (etag[0] == '\0')
	{
		stedi_status_set(status, STEDI_PROTOCOL,
						 "the object store did not tell the etag of what was written");
		return NULL;
	}
	plain = stedi_s3_plain_etag(etag);
	if (plain == NULL)
		stedi_no_memory(status);
	return plain;
}

static void
add_content_headers(S3Put *put, S3Request *request)
{
	stedi_s3_request_header(request, "content-type", put->content_type);
	if (put->content_encoding != NULL)
		stedi_s3_request_header(request, "content-encoding", put->content_encoding);
}

bool
stedi_s3_put_commit(StediPut *base, char **etag, StediStatus *status)
{
	S3Put	   *put = (S3Put *) base;

	if (put->failure.code != STEDI_OK)
		return repeat_failure(put, status);
	return commit(put, etag, status) || remember(put, status);
}

static bool
commit(S3Put *put, char **etag, StediStatus *status)
{
	if (put->upload_id == NULL)
		return put_single(put, etag, status);
	/* part_size bytes fit, so the last part is never empty */
	return send_part(put, status) && wait_for_parts(put, 0, status) &&
		complete_upload(put, etag, status);
}

static bool
put_single(S3Put *put, char **etag, StediStatus *status)
{
	S3Request  *request = &put->control;
	Part	   *part = put->current;
	bool		done;

	if (!stedi_md5_base64(part->data, part->length, part->md5))
		return stedi_status_set(status, STEDI_IO, "could not compute an MD5 digest");
	stedi_s3_request_init(request, store_of(put), "write", "PUT", put->key);
	stedi_s3_request_header(request, "content-md5", part->md5);
	add_content_headers(put, request);
	request->body = part->data;
	request->body_length = part->length;
	request->is_upload = true;
	done = stedi_s3_request_run(request, &put->base.handle.store->waiter, status) &&
		(*etag = take_etag(request, status)) != NULL;
	stedi_s3_request_free(request);
	return done;
}

static bool
complete_upload(S3Put *put, char **etag, StediStatus *status)
{
	S3Request  *request = &put->control;
	StediBytes	body;
	bool		done;

	stedi_bytes_init(&body, 0);
	if (!stedi_s3_format_complete(&body, put->etags, put->n_parts))
	{
		stedi_bytes_free(&body);
		return stedi_no_memory(status);
	}
	stedi_s3_request_init(request, store_of(put), "write", "POST", put->key);
	stedi_s3_request_query(request, "uploadId", put->upload_id);
	stedi_s3_request_header(request, "content-type", "application/xml");
	request->body = body.data;
	request->body_length = body.length;
	request->transfer.reply_limit = SMALL_REPLY;
	request->late_errors = true;
	done = stedi_s3_request_run(request, &put->base.handle.store->waiter, status);
	if (done)
	{
		*etag = stedi_s3_parse_complete(request->transfer.body.data ?
										request->transfer.body.data : "",
										request->transfer.body.length, status);
		/* Ceph leaves the etag out */
		done = *etag != NULL || was_completed(put, etag);
	}
	else if (strcmp(request->error.code, "NoSuchUpload") == 0)
		done = was_completed(put, etag);
	stedi_s3_request_free(request);
	stedi_bytes_free(&body);
	if (done)
	{
		free(put->upload_id);
		put->upload_id = NULL;
	}
	return done;
}

/*
 * An attempt whose reply was lost may have completed the upload, and the next
 * one, ours or the one libcurl makes by itself on a fresh connection, finds it
 * gone.  The object's etag tells: that of a multipart upload is the
 * MD5 of its parts' MD5s, which nobody else's object has.
 */
static bool
was_completed(S3Put *put, char **etag)
{
	StediStatus status = {0};
	StediObject object;
	char	   *expected = multipart_etag(put->etags, put->n_parts);
	bool		same = false;

	if (expected != NULL &&
		stedi_store_head(put->base.handle.store, put->key, &object, &status))
	{
		same = object.etag != NULL && strcmp(object.etag, expected) == 0;
		stedi_object_free(&object);
	}
	if (same)
		*etag = expected;
	else
		free(expected);
	return same;
}

/* NULL if the parts' etags are not MD5s (some encryptions), or without memory. */
static char *
multipart_etag(char *const *etags, int n_parts)
{
	static const char digits[] = "0123456789abcdef";
	StediBytes	md5s;
	unsigned char digest[16];
	char	   *etag = NULL;

	stedi_bytes_init(&md5s, 0);
	for (int i = 0; i < n_parts; i++)
	{
		if (strlen(etags[i]) != 32 || strspn(etags[i], digits) != 32)
		{
			stedi_bytes_free(&md5s);
			return NULL;
		}
		for (int j = 0; j < 32; j += 2)
		{
			int			high = (int) (strchr(digits, etags[i][j]) - digits);
			int			low = (int) (strchr(digits, etags[i][j + 1]) - digits);

			stedi_bytes_append_char(&md5s, (char) (high * 16 + low));
		}
	}
	if (!md5s.failed && EVP_Digest(md5s.data, md5s.length, digest, NULL, EVP_md5(), NULL))
	{
		stedi_bytes_reset(&md5s);
		for (int i = 0; i < 16; i++)
			stedi_bytes_printf(&md5s, "%02x", digest[i]);
		stedi_bytes_printf(&md5s, "-%d", n_parts);
		etag = stedi_bytes_steal(&md5s);
	}
	stedi_bytes_free(&md5s);
	return etag;
}

static void
stop_parts(S3Put *put)
{
	stedi_s3_request_free(&put->control);
	for (int i = 0; i < put->n_slots; i++)
	{
		stedi_s3_request_free(&put->parts[i].request);
		put->parts[i].in_flight = false;
	}
	put->in_flight = 0;
}

bool
stedi_s3_put_abort(StediPut *base, long timeout_ms)
{
	S3Put	   *put = (S3Put *) base;
	bool		gone = false;
	Deadline	deadline;
	StediWaiter waiter = {wait_until_deadline, &deadline};

	stop_parts(put);
	if (put->upload_id == NULL)
		return !put->create_sent;

	clock_gettime(CLOCK_MONOTONIC, &deadline.at);
	deadline.at.tv_sec += timeout_ms / 1000;
	deadline.at.tv_nsec += timeout_ms % 1000 * 1000000;
	if (deadline.at.tv_nsec >= 1000000000)
	{
		deadline.at.tv_sec++;
		deadline.at.tv_nsec -= 1000000000;
	}

	/* a part that was still on its way may have been stored after the first */
	for (int i = 0; i < 2 && !gone; i++)
	{
		if (timeout_ms <= 0 || !abort_upload(put, &waiter, &gone))
			return false;
	}
	free(put->upload_id);
	put->upload_id = NULL;
	return true;
}

/* gone: there was no such upload. */
static bool
abort_upload(S3Put *put, const StediWaiter *waiter, bool *gone)
{
	S3Request  *request = &put->control;
	StediStatus status = {0};
	bool		done;

	stedi_s3_request_init(request, store_of(put), "abort the upload of", "DELETE", put->key);
	stedi_s3_request_query(request, "uploadId", put->upload_id);
	done = stedi_s3_request_run(request, waiter, &status);
	*gone = !done && status.code == STEDI_NOT_FOUND;
	stedi_s3_request_free(request);
	return done || *gone;
}

static bool
wait_until_deadline(void *arg, int fd, long timeout_ms)
{
	const Deadline *deadline = arg;
	struct timespec now;
	struct pollfd watched = {.fd = fd, .events = POLLIN};
	long		left;

	clock_gettime(CLOCK_MONOTONIC, &now);
	left = (long) (deadline->at.tv_sec - now.tv_sec) * 1000 +
		(deadline->at.tv_nsec - now.tv_nsec) / 1000000;
	if (left <= 0)
		return false;
	if (timeout_ms < 0 || timeout_ms > left)
		timeout_ms = left;
	/* a signal only makes it return early; a negative fd is not watched */
	poll(&watched, 1, timeout_ms < INT_MAX ? (int) timeout_ms : INT_MAX);
	return true;
}

void
stedi_s3_put_close(StediPut *base)
{
	S3Put	   *put = (S3Put *) base;

	if (put->parts != NULL)
	{
		stop_parts(put);
		for (int i = 0; i < put->n_slots; i++)
			free(put->parts[i].data);
	}
	free(put->parts);
	for (int i = 0; i < put->n_parts; i++)
		free(put->etags[i]);
	free(put->etags);
	free(put->upload_id);
	free(put->key);
	free(put->content_type);
	free(put->content_encoding);
	free(put);
}
