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
 * What was stored is checked: each body goes with its Content-MD5, and the etag
 * that comes back is compared with the MD5 of the data, unless a key of the key
 * management service encrypts it, which makes etags opaque (Amazon S3 API
 * reference, Object).
 *
 * A single PUT whose reply is lost may have succeeded all the same.  It then
 * fails here, and what may stand under the key is left alone: it can't be told
 * from somebody else's object.  The completion of a multipart upload can: each
 * upload leaves a random mark in its object's metadata.
 */
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/s3_internal.h"

#define MAX_PARTS			10000

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
	StediMd5	md5;
	S3Request	request;
} Part;

typedef struct S3Put
{
	StediPut	base;
	char	   *key;
	char	   *content_type;
	char	   *content_encoding;
	bool		(*note_upload) (void *arg, const char *upload_id, StediStatus *status);
	void	   *note_arg;
	S3Request	control;		/* create, complete, or the single PUT */

	Part	   *parts;			/* max_parts_in_flight + 1 */
	int			n_slots;
	Part	   *current;		/* the one being filled */
	int			in_flight;
	size_t		unpolled;

	char	   *upload_id;		/* NULL: no multipart upload yet */
	bool		may_have_strays;	/* begun, but the reply with their id was lost */
	char		mark[33];		/* in the object's metadata: this upload made it */
	bool		opaque_etags;	/* they are no MD5s */
	StediBytes	md5s;			/* of part 1, 2, ... */
	char	  **etags;			/* of part 1, 2, ... */
	int			n_parts;		/* started so far */
	int			etags_size;

	StediStatus failure;		/* of an earlier call, for all later ones */
} S3Put;

/* A waiter that asks the store's, and gives up in time. */
typedef struct Deadline
{
	StediWaiter waiter;
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
static bool take_away(S3Put *put, char **etag);
static bool complete_upload(S3Put *put, char **etag, StediStatus *status);
static bool check_empty(S3Request *request);
static bool was_completed(S3Put *put, const char *expected, char **etag);
static char *multipart_etag(S3Put *put);
static char *take_etag(S3Request *request, StediStatus *status);
static void note_encryption(S3Put *put, const S3Request *request);
static bool check_etag(S3Put *put, const char *etag, const char *expected, StediStatus *status);
static bool make_mark(S3Put *put);
static void stop_parts(S3Put *put);
static bool abort_upload(S3Put *put, bool *gone);
static bool abort_strays(S3Put *put);
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
	put->note_upload = options->note_upload;
	put->note_arg = options->note_arg;
	put->opaque_etags = store->config.server_side_encryption != NULL &&
		strncmp(store->config.server_side_encryption, "aws:kms", 7) == 0;
	stedi_bytes_init(&put->md5s, 0);
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
	if (!stedi_md5(part->data, part->length, &part->md5))
		return stedi_status_set(status, STEDI_IO, "could not compute an MD5 digest");
	if (!stedi_bytes_append(&put->md5s, part->md5.bytes, sizeof(part->md5.bytes)))
		return stedi_no_memory(status);
	stedi_s3_request_init(request, store, "write", "PUT", put->key);
	stedi_s3_request_query(request, "partNumber", part->number_text);
	stedi_s3_request_query(request, "uploadId", put->upload_id);
	stedi_s3_request_header(request, "content-md5", part->md5.base64);
	request->body = part->data;
	request->body_length = part->length;
	request->is_upload = true;
	request->check = check_empty;
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

	if (!make_mark(put))
		return stedi_status_set(status, STEDI_IO, "could not generate a random number");
	if (put->note_upload != NULL && !put->note_upload(put->note_arg, NULL, status))
		return false;
	stedi_s3_request_init(request, store_of(put), "write", "POST", put->key);
	stedi_s3_request_query(request, "uploads", "");
	add_content_headers(put, request);
	stedi_s3_request_header(request, "x-amz-meta-stedi-upload", put->mark);
	put->may_have_strays = true;
	done = stedi_s3_request_run(request, &put->base.handle.store->waiter, status);
	put->may_have_strays = !done || request->attempts > 1;
	if (done)
	{
		put->upload_id = stedi_s3_parse_upload_id(request->transfer.body.data ?
												  request->transfer.body.data : "",
												  request->transfer.body.length, status);
		done = put->upload_id != NULL;
		note_encryption(put, request);
	}
	stedi_s3_request_free(request);
	return done && (put->note_upload == NULL ||
					put->note_upload(put->note_arg, put->upload_id, status));
}

static bool
make_mark(S3Put *put)
{
	unsigned char random[(sizeof(put->mark) - 1) / 2];

	if (RAND_bytes(random, sizeof(random)) != 1)
		return false;
	for (size_t i = 0; i < sizeof(random); i++)
		snprintf(put->mark + 2 * i, 3, "%02x", random[i]);
	return true;
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
		char	   *etag = take_etag(request, status);

		put->etags[part->number - 1] = etag;
		note_encryption(put, request);
		done = etag != NULL && check_etag(put, etag, part->md5.hex, status);
	}
	else
		*status = request->status;
	stedi_s3_request_free(request);
	part->in_flight = false;
	put->in_flight--;
	return done;
}

/* S3 answers to bytes with headers alone; a page is of somebody in between. */
static bool
check_empty(S3Request *request)
{
	return request->transfer.body.length == 0 ||
		stedi_status_set(&request->status, STEDI_PROTOCOL,
						 "the object store answered an upload with something else");
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

/* A bucket may encrypt by default: then only the reply tells. */
static void
note_encryption(S3Put *put, const S3Request *request)
{
	if (strncmp(request->transfer.reply.encryption, "aws:kms", 7) == 0)
		put->opaque_etags = true;
}

/*
 * Is the etag that of the data that was sent?  One that does not even look like
 * an MD5 is a store's own invention, and says nothing.
 */
static bool
check_etag(S3Put *put, const char *etag, const char *expected, StediStatus *status)
{
	char		what[STEDI_MESSAGE_SIZE];

	if (put->opaque_etags || strlen(etag) != strlen(expected) ||
		strspn(etag, "0123456789abcdef") < 32 || strcmp(etag, expected) == 0)
		return true;
	stedi_s3_describe(store_of(put), put->key, what, sizeof(what));
	stedi_status_set(status, STEDI_CORRUPT, "%s was not stored as it was sent", what);
	stedi_status_detail(status, "The etag is %s, and should be %s.", etag, expected);
	return false;
}

/* Of the request that makes the object: a single PUT, or what begins an upload. */
static void
add_content_headers(S3Put *put, S3Request *request)
{
	const StediS3Config *config = &store_of(put)->config;
	const StediPair headers[] = {
		{"content-type", put->content_type},
		{"content-encoding", put->content_encoding},
		{"x-amz-server-side-encryption", config->server_side_encryption},
		{"x-amz-server-side-encryption-aws-kms-key-id", config->kms_key_id},
		{"x-amz-storage-class", config->storage_class},
	};

	for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++)
	{
		if (headers[i].value != NULL)
			stedi_s3_request_header(request, headers[i].name, headers[i].value);
	}
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

	if (!stedi_md5(part->data, part->length, &part->md5))
		return stedi_status_set(status, STEDI_IO, "could not compute an MD5 digest");
	stedi_s3_request_init(request, store_of(put), "write", "PUT", put->key);
	stedi_s3_request_header(request, "content-md5", part->md5.base64);
	add_content_headers(put, request);
	request->body = part->data;
	request->body_length = part->length;
	request->is_upload = true;
	request->check = check_empty;
	done = stedi_s3_request_run(request, &put->base.handle.store->waiter, status) &&
		(*etag = take_etag(request, status)) != NULL;
	if (done)
		note_encryption(put, request);
	stedi_s3_request_free(request);
	return done && (check_etag(put, *etag, part->md5.hex, status) || take_away(put, etag));
}

/* The object that was just made is damaged: remove it.  Always false. */
static bool
take_away(S3Put *put, char **etag)
{
	StediStatus ignored = {0};

	stedi_store_delete(put->base.handle.store, put->key, &ignored);
	free(*etag);
	*etag = NULL;
	return false;
}

static bool
complete_upload(S3Put *put, char **etag, StediStatus *status)
{
	S3Request  *request = &put->control;
	StediBytes	body;
	char	   *expected = multipart_etag(put);
	bool		done;

	stedi_bytes_init(&body, 0);
	if (expected == NULL || !stedi_s3_format_complete(&body, put->etags, put->n_parts))
	{
		stedi_bytes_free(&body);
		free(expected);
		return stedi_no_memory(status);
	}
	stedi_s3_request_init(request, store_of(put), "write", "POST", put->key);
	stedi_s3_request_query(request, "uploadId", put->upload_id);
	stedi_s3_request_header(request, "content-type", "application/xml");
	request->body = body.data;
	request->body_length = body.length;
	/* while S3 puts the parts together it sends a blank now and then */
	request->transfer.may_trickle = true;
	done = stedi_s3_request_run(request, &put->base.handle.store->waiter, status);
	if (done)
	{
		*etag = stedi_s3_parse_complete(request->transfer.body.data ?
										request->transfer.body.data : "",
										request->transfer.body.length, status);
		/* Ceph leaves the etag out */
		done = *etag != NULL || was_completed(put, expected, etag);
	}
	else if (strcmp(request->error.code, "NoSuchUpload") == 0)
		done = was_completed(put, expected, etag);
	stedi_s3_request_free(request);
	stedi_bytes_free(&body);
	if (done)
	{
		free(put->upload_id);
		put->upload_id = NULL;
		if (put->may_have_strays)
			put->may_have_strays = !abort_strays(put);
		done = check_etag(put, *etag, expected, status) || take_away(put, etag);
	}
	free(expected);
	return done;
}

/*
 * An attempt whose reply was lost may have completed the upload, and the next
 * one finds it gone.  The object tells: it carries this upload's mark or, if the
 * store keeps no metadata, an etag that nobody else's object has.
 */
static bool
was_completed(S3Put *put, const char *expected, char **etag)
{
	S3Request	request;
	StediStatus status = {0};
	bool		same = false;

	stedi_s3_request_init(&request, store_of(put), "look up", "HEAD", put->key);
	if (stedi_s3_request_run(&request, &put->base.handle.store->waiter, &status))
	{
		*etag = take_etag(&request, &status);
		note_encryption(put, &request);
		same = *etag != NULL && (strcmp(request.transfer.reply.upload_mark, put->mark) == 0 ||
								 strcmp(*etag, expected) == 0);
	}
	stedi_s3_request_free(&request);
	if (!same)
	{
		free(*etag);
		*etag = NULL;
	}
	return same;
}

/* The MD5 of the parts' MD5s and their number; NULL without memory. */
static char *
multipart_etag(S3Put *put)
{
	StediMd5	md5;
	char		etag[sizeof(md5.hex) + 12];

	if (!stedi_md5(put->md5s.data, put->md5s.length, &md5))
		return NULL;
	snprintf(etag, sizeof(etag), "%s-%d", md5.hex, put->n_parts);
	return strdup(etag);
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
	StediStore *store = base->handle.store;
	StediWaiter saved = store->waiter;
	Deadline	deadline = {.waiter = saved};
	bool		gone = false;
	bool		done = true;

	stop_parts(put);
	if (put->upload_id == NULL && !put->may_have_strays)
		return true;
	if (timeout_ms <= 0)
		return false;

	clock_gettime(CLOCK_MONOTONIC, &deadline.at);
	deadline.at.tv_sec += timeout_ms / 1000;
	deadline.at.tv_nsec += timeout_ms % 1000 * 1000000;
	if (deadline.at.tv_nsec >= 1000000000)
	{
		deadline.at.tv_sec++;
		deadline.at.tv_nsec -= 1000000000;
	}
	store->waiter = (StediWaiter) {wait_until_deadline, &deadline};

	/* a part that was still on its way may have been stored after the first */
	for (int i = 0; i < 2 && put->upload_id != NULL && done && !gone; i++)
		done = abort_upload(put, &gone);
	if (done && put->may_have_strays)
		done = abort_strays(put);
	store->waiter = saved;
	if (done)
	{
		free(put->upload_id);
		put->upload_id = NULL;
		put->may_have_strays = false;
	}
	return done;
}

/* gone: there was no such upload. */
static bool
abort_upload(S3Put *put, bool *gone)
{
	S3Request  *request = &put->control;
	StediStatus status = {0};
	bool		done;

	stedi_s3_request_init(request, store_of(put), "abort the upload of", "DELETE", put->key);
	stedi_s3_request_query(request, "uploadId", put->upload_id);
	done = stedi_s3_request_run(request, &put->base.handle.store->waiter, &status);
	*gone = !done && status.code == STEDI_NOT_FOUND;
	stedi_s3_request_free(request);
	return done || *gone;
}

/* Abort what uploads there still are of this key; exports never use one twice. */
static bool
abort_strays(S3Put *put)
{
	StediStore *store = put->base.handle.store;
	StediUploadPage page;
	StediStatus status = {0};
	bool		done = stedi_store_list_uploads(store, put->key, &page, &status);

	if (!done)
		return false;
	for (size_t i = 0; done && i < page.n_uploads; i++)
		done = strcmp(page.uploads[i].key, put->key) != 0 ||
			stedi_store_abort_upload(store, &page.uploads[i], &status);
	stedi_upload_page_free(&page);
	return done;
}

static bool
wait_until_deadline(void *arg, int fd, long timeout_ms)
{
	const Deadline *deadline = arg;
	struct timespec now;
	long		left;

	clock_gettime(CLOCK_MONOTONIC, &now);
	left = (long) (deadline->at.tv_sec - now.tv_sec) * 1000 +
		(deadline->at.tv_nsec - now.tv_nsec) / 1000000;
	if (left <= 0)
		return false;
	if (timeout_ms < 0 || timeout_ms > left)
		timeout_ms = left;
	return deadline->waiter.wait(deadline->waiter.arg, fd, timeout_ms);
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
	stedi_bytes_free(&put->md5s);
	free(put->upload_id);
	free(put->key);
	free(put->content_type);
	free(put->content_encoding);
	free(put);
}
