/*
 * test_store_s3_put.c
 *		How the S3 store writes objects: requests and their headers, what is
 *		stored otherwise than it was sent, replies that are lost.
 */
#include "s3_fixture.h"
#include "tap.h"

/* Put length bytes; on failure abort. */
static StediCode
put_object(StediStore *store, size_t length, char **etag, StediStatus *status)
{
	StediPut   *put = stedi_store_put(store, "the/key", NULL, status);
	char	   *data = calloc(1, length + 1);
	bool		done = stedi_put_write(put, data, length, status) &&
		stedi_put_commit(put, etag, status);

	free(data);
	if (done)
		stedi_put_close(put);
	else
		stedi_put_abort(put, 2000);
	return done ? STEDI_OK : status->code;
}

#define CREATED "<InitiateMultipartUploadResult><UploadId>up/1</UploadId></InitiateMultipartUploadResult>"
#define COMPLETED_AS(etag) \
	"<CompleteMultipartUploadResult><ETag>&quot;" etag "&quot;</ETag></CompleteMultipartUploadResult>"
#define COMPLETED COMPLETED_AS("done-3")
/* Of PART_SIZE + 1 zeros, and of 1,000: (md5 of part 1; md5 of part 2) | xxd -r -p | md5sum */
#define TWO_PARTS "92f3a08aa3b1d7eb318ab9c2fc4a6ec3-2"
#define ZEROS_1000 "ede3d3b685b4e137ba4cb2521329a75e"

static bool
reply_etag(int fd, const char *etag)
{
	char		header[100];

	snprintf(header, sizeof(header), "ETag: \"%s\"\r\n", etag);
	return reply(fd, "200 OK", header, "");
}

static bool
creates(const Request *request)
{
	return is_method(request, "POST") && has(request, "uploads=");
}

static bool
completes(const Request *request)
{
	return is_method(request, "POST") && !has(request, "uploads=");
}

/* How a put is answered apart from its end. */
static bool
accept_put(int fd, const Request *request)
{
	if (creates(request))
		return reply(fd, "200 OK", "", CREATED);
	if (is_method(request, "PUT"))
		return reply_etag(fd, request->body_md5);
	if (is_method(request, "DELETE"))
		return reply(fd, "204 No Content", "", "");
	return reply(fd, "200 OK", "", COMPLETED);
}

static bool
damaged_once(int fd, const Request *request)
{
	if (request->number == 1)
		return reply_error(fd, "400 Bad Request", "", "BadDigest");
	return accept_put(fd, request);
}

static int	completions;

static bool
complete_fails_late_once(int fd, const Request *request)
{
	if (completes(request) && completions++ == 0)
		return reply_error(fd, "200 OK", "", "InternalError");
	return accept_put(fd, request);
}

static bool
complete_fails_late(int fd, const Request *request)
{
	if (completes(request))
		return reply_error(fd, "200 OK", "", "AccessDenied");
	return accept_put(fd, request);
}

static bool
complete_reply_is_lost(int fd, const Request *request)
{
	if (is_method(request, "HEAD"))
		return reply(fd, "200 OK", "ETag: \"" TWO_PARTS "\"\r\n", "");
	if (completes(request))
	{
		if (completions++ == 0)
			return false;
		return reply_error(fd, "404 Not Found", "", "NoSuchUpload");
	}
	return accept_put(fd, request);
}

static bool
part_is_denied(int fd, const Request *request)
{
	if (is_method(request, "PUT") && has(request, "partNumber=2"))
		return reply_error(fd, "403 Forbidden", "", "AccessDenied");
	return accept_put(fd, request);
}

static bool
always_hang(int fd, const Request *request)
{
	(void) fd;
	(void) request;
	return hang();
}

static bool
abort_hangs(int fd, const Request *request)
{
	if (is_method(request, "DELETE"))
		return hang();
	return accept_put(fd, request);
}

static void
test_writing(void)
{
	StediStatus status = {0};
	StediStore *store = begin(accept_put);
	StediPut   *put;
	char	   *etag = NULL;
	char	   *data = calloc(1, PART_SIZE + 1);
	double		start;

	ok(put_object(store, 1000, &etag, &status) == STEDI_OK && strcmp(etag, ZEROS_1000) == 0 &&
	   requests() == 1 && log_of[0].body_length == 1000 && has(&log_of[0], "content-md5: ") &&
	   !has(&log_of[0], "Expect"), "a small object is one PUT");
	free(etag);
	end(store);

	store = begin(accept_put);
	ok(put_object(store, PART_SIZE, &etag, &status) == STEDI_OK && requests() == 1,
	   "an object of just the part size too");
	free(etag);
	end(store);

	store = begin(accept_put);
	ok(put_object(store, 2 * PART_SIZE + 1, &etag, &status) == STEDI_OK &&
	   strcmp(etag, "done-3") == 0 && count_requests("PUT", "uploadId=up%2F1") == 3 &&
	   requests() == 5, "a larger one is a multipart upload");
	free(etag);
	end(store);

	store = begin(damaged_once);
	ok(put_object(store, 1000, &etag, &status) == STEDI_OK && requests() == 2,
	   "a body damaged on the way is sent again");
	free(etag);
	end(store);

	completions = 0;
	store = begin(complete_fails_late_once);
	ok(put_object(store, PART_SIZE + 1, &etag, &status) == STEDI_OK && completions == 2,
	   "an error inside a 200 is retried");
	free(etag);
	end(store);
	store = begin(complete_fails_late);
	ok(put_object(store, PART_SIZE + 1, &etag, &status) == STEDI_DENIED &&
	   count_requests("DELETE", "uploadId=up%2F1") > 0,
	   "an error inside a 200 is an error, and the upload is aborted");
	end(store);
	completions = 0;
	store = begin(complete_reply_is_lost);
	ok(put_object(store, PART_SIZE + 1, &etag, &status) == STEDI_OK && strcmp(etag, TWO_PARTS) == 0,
	   "a completion whose reply was lost is recognised");
	free(etag);
	end(store);
	store = begin(part_is_denied);
	ok(put_object(store, 4 * PART_SIZE, &etag, &status) == STEDI_DENIED &&
	   count_requests("DELETE", "uploadId=up%2F1") > 0, "a part that is refused fails the put");
	end(store);

	store = begin(abort_hangs);
	put = stedi_store_put(store, "the/key", NULL, &status);
	stedi_put_write(put, data, PART_SIZE + 1, &status);
	start = seconds();
	ok(!stedi_put_abort(put, 200) && seconds() - start < 0.4 && seconds() - start >= 0.15,
	   "an abort ends in time");
	put = stedi_store_put(store, "the/key", NULL, &status);
	stedi_put_write(put, data, PART_SIZE + 1, &status);
	start = seconds();
	stop_at = start + 0.1;
	ok(!stedi_put_abort(put, 5000) && seconds() - start < 0.4, "... or when the waiter says so");
	end(store);

	store = begin(always_hang);
	put = stedi_store_put(store, "the/key", NULL, &status);
	stop_at = seconds() + 0.1;
	ok(!stedi_put_write(put, data, PART_SIZE + 1, &status) && status.code == STEDI_CANCELLED &&
	   !stedi_put_abort(put, 100), "an upload begun without a reply may be left over");
	end(store);

	store = begin(accept_put);
	put = stedi_store_put(store, "the/key", NULL, &status);
	stedi_put_write(put, data, PART_SIZE + 1, &status);
	end(store);
	ok(true, "a put under way is closed with its store");
	free(data);
}

/*
 * What was stored is not what was sent.
 */
static bool
stores_something_else(int fd, const Request *request)
{
	if (is_method(request, "PUT") && (!has(request, "partNumber=") || has(request, "partNumber=2")))
		return reply_etag(fd, ETAG);
	return accept_put(fd, request);
}

static bool
stores_under_kms(int fd, const Request *request)
{
	const char *headers = "ETag: \"" ETAG "\"\r\nx-amz-server-side-encryption: aws:kms\r\n";

	if (is_method(request, "PUT"))
		return reply(fd, "200 OK", headers, "");
	if (completes(request))
		return reply(fd, "200 OK", "", COMPLETED_AS(ETAG "-2"));
	return accept_put(fd, request);
}

static bool
assembles_something_else(int fd, const Request *request)
{
	if (completes(request))
		return reply(fd, "200 OK", "", COMPLETED_AS(ETAG "-2"));
	return accept_put(fd, request);
}

static bool
tells_no_etag(int fd, const Request *request)
{
	if (completes(request))
		return reply(fd, "200 OK", "", "<CompleteMultipartUploadResult></CompleteMultipartUploadResult>");
	if (is_method(request, "HEAD"))
		return reply_etag(fd, ETAG "-2");
	return accept_put(fd, request);
}

/* The reply to a completion is lost, the etags are opaque; the mark is there, or not. */
static char mark[64];
static bool keeps_mark;

static bool
loses_completion_under_kms(int fd, const Request *request)
{
	const char *sent = strcasestr(request->text, "x-amz-meta-stedi-upload: ");
	char		headers[300];

	if (creates(request) && sent != NULL)
		snprintf(mark, sizeof(mark), "%.32s", sent + 25);
	if (completes(request))
		return reply_error(fd, "404 Not Found", "", "NoSuchUpload");
	if (is_method(request, "HEAD"))
	{
		snprintf(headers, sizeof(headers), "ETag: \"" ETAG "-2\"\r\nx-amz-meta-stedi-upload: %s\r\n"
				 "x-amz-server-side-encryption: aws:kms\r\n", keeps_mark ? mark : "somebody else's");
		return reply(fd, "200 OK", headers, "");
	}
	return stores_under_kms(fd, request);
}

static void
test_integrity(void)
{
	StediStatus status = {0};
	StediS3Config config = default_config();
	StediStore *store = begin(stores_something_else);
	char	   *etag = NULL;

	ok(put_object(store, 1000, &etag, &status) == STEDI_CORRUPT && etag == NULL &&
	   strstr(status.detail, ZEROS_1000) != NULL, "an etag that is not the data's is STEDI_CORRUPT");
	is_int(count_requests("DELETE", "/bucket/the/key "), 1, "and what was stored is removed");
	end(store);
	store = begin(stores_something_else);
	ok(put_object(store, PART_SIZE + 1, &etag, &status) == STEDI_CORRUPT && etag == NULL &&
	   count_requests("POST", "uploadId=") == 0 && count_requests("DELETE", "uploadId=up%2F1") > 0,
	   "so is a part's, and the upload is aborted");
	end(store);
	store = begin(assembles_something_else);
	ok(put_object(store, PART_SIZE + 1, &etag, &status) == STEDI_CORRUPT && etag == NULL &&
	   count_requests("DELETE", "/bucket/the/key ") == 1 && count_requests("DELETE", "uploadId=") == 0,
	   "and that of the whole, which is removed");
	end(store);
	store = begin(tells_no_etag);
	ok(put_object(store, PART_SIZE + 1, &etag, &status) != STEDI_OK && etag == NULL,
	   "an object that is not ours is not taken for it when the reply has no etag");
	end(store);

	store = begin(stores_under_kms);
	ok(put_object(store, 1000, &etag, &status) == STEDI_OK && strcmp(etag, ETAG) == 0,
	   "the etag of what a bucket encrypts with a managed key is not the data's");
	free(etag);
	end(store);
	store = begin(stores_under_kms);
	ok(put_object(store, PART_SIZE + 1, &etag, &status) == STEDI_OK && strcmp(etag, ETAG "-2") == 0,
	   "nor are those of its parts");
	free(etag);
	etag = NULL;
	end(store);
	config.server_side_encryption = "aws:kms:dsse";
	store = begin_with(stores_something_else, &config);
	is_int(put_object(store, 1000, &etag, &status), STEDI_OK, "nor when we have asked for it");
	free(etag);
	etag = NULL;
	end(store);

	keeps_mark = true;
	store = begin(loses_completion_under_kms);
	ok(put_object(store, PART_SIZE + 1, &etag, &status) == STEDI_OK && strcmp(etag, ETAG "-2") == 0,
	   "a completion whose reply was lost is recognised by its mark");
	free(etag);
	etag = NULL;
	end(store);
	keeps_mark = false;
	store = begin(loses_completion_under_kms);
	ok(put_object(store, PART_SIZE + 1, &etag, &status) == STEDI_NOT_FOUND && etag == NULL,
	   "and an object without it is somebody else's");
	end(store);
}

/*
 * Headers and options.
 */
static void
test_headers(void)
{
	static const char *const storage[] = {
		"x-amz-server-side-encryption: aws:kms\r\n",
		"x-amz-server-side-encryption-aws-kms-key-id: arn:aws:kms:key/1\r\n",
		"x-amz-storage-class: STANDARD_IA\r\n"
	};
	StediStatus status = {0};
	StediS3Config config = default_config();
	StediStore *store;
	char	   *etag = NULL;
	int			made = 0;
	int			signed_too = 0;
	int			elsewhere = 0;

	config.server_side_encryption = "aws:kms";
	config.kms_key_id = "arn:aws:kms:key/1";
	config.storage_class = "STANDARD_IA";
	config.requester_pays = true;
	store = begin_with(accept_put, &config);
	put_object(store, 1000, &etag, &status);
	free(etag);
	put_object(store, PART_SIZE + 1, &etag, &status);
	free(etag);
	list_all(store, "", &status);
	for (size_t i = 0; i < 3; i++)
	{
		made += has(&log_of[0], storage[i]) && has(&log_of[1], storage[i]);
		for (int j = 2; j < requests(); j++)
			elsewhere += has(&log_of[j], storage[i]);
	}
	is_int(requests(), 6, "a PUT, an upload of two parts, a list");
	is_int(made, 3, "encryption, key and storage class go with PUT and with what begins an upload");
	is_int(elsewhere, 0, "and with nothing else");
	for (int i = 0; i < requests(); i++)
		signed_too += has(&log_of[i], "x-amz-request-payer: requester\r\n") &&
			strstr(strstr(log_of[i].text, "SignedHeaders="), "x-amz-request-payer") != NULL;
	is_int(signed_too, requests(), "who pays is said, and signed, with every request");
	ok(strstr(strstr(log_of[1].text, "SignedHeaders="),
			  "x-amz-server-side-encryption;x-amz-server-side-encryption-aws-kms-key-id;x-amz-storage-class") != NULL,
	   "the others are signed");
	is_int(count_requests("PUT", "x-amz-acl") + count_requests("POST", "x-amz-acl"), 0, "no ACL is sent");
	is_int(count_requests("PUT", "User-Agent: test\r\n"), 3, "the user agent is");
	end(store);

	store = begin(accept_put);
	put_object(store, PART_SIZE + 1, &etag, &status);
	free(etag);
	is_int(count_requests("POST", "x-amz-server-side") + count_requests("POST", "x-amz-storage") +
		   count_requests("POST", "x-amz-request-payer"), 0, "nothing of that is sent unasked");
	end(store);
}

static void
test_part_sizes(void)
{
	StediStatus status = {0};
	StediStore *store = begin(accept_put);
	StediPut   *put = stedi_store_put(store, "the/key", NULL, &status);
	char	   *data = calloc(1, 700001);
	char	   *etag = NULL;
	size_t		sizes[4] = {0};
	bool		done = true;

	/* written in pieces that never end where a part does */
	for (int i = 0; i < 24; i++)
		done = done && stedi_put_write(put, data, 700001, &status);
	done = done && stedi_put_commit(put, &etag, &status);
	stedi_put_close(put);
	for (int i = 0; i < requests(); i++)
	{
		const char *number = strstr(log_of[i].text, "partNumber=");

		if (number != NULL)
			sizes[number[11] - '1'] = log_of[i].body_length;
	}
	ok(done && sizes[0] == PART_SIZE && sizes[1] == PART_SIZE && sizes[2] == PART_SIZE &&
	   sizes[3] == 24 * 700001 - 3 * PART_SIZE, "all parts but the last have the same size");
	free(etag);
	free(data);
	end(store);
}

static int	n_notes;
static int	requests_at[2];
static char noted_id[20];

static bool
note_upload(void *arg, const char *upload_id, StediStatus *status)
{
	if (n_notes < 2)
		requests_at[n_notes] = requests();
	n_notes++;
	snprintf(noted_id, sizeof(noted_id), "%s", upload_id != NULL ? upload_id : "none");
	if (n_notes == *(int *) arg)
		return stedi_status_set(status, STEDI_IO, "no room for a note");
	return true;
}

static void
test_notes(void)
{
	int			fail_at = 0;
	StediPutOptions options = {.note_upload = note_upload,.note_arg = &fail_at};
	StediStatus status = {0};
	char	   *data = calloc(1, PART_SIZE + 1);
	StediStore *store = begin(accept_put);
	StediPut   *put = stedi_store_put(store, "the/key", &options, &status);

	n_notes = 0;
	stedi_put_write(put, data, PART_SIZE, &status);
	stedi_put_write(put, data, 1, &status);
	ok(n_notes == 2 && requests_at[0] == 0 && requests_at[1] == 1 && strcmp(noted_id, "up/1") == 0,
	   "an upload is noted before it is begun, and when its id is known");
	ok(stedi_put_abort(put, 2000), "it can be aborted");
	end(store);

	for (fail_at = 1; fail_at <= 2; fail_at++)
	{
		store = begin(accept_put);
		put = stedi_store_put(store, "the/key", &options, &status);
		n_notes = 0;
		ok(!stedi_put_write(put, data, PART_SIZE + 1, &status) && status.code == STEDI_IO &&
		   stedi_put_abort(put, 2000) && count_requests("POST", "uploads=") == fail_at - 1 &&
		   (fail_at == 1 || count_requests("DELETE", "uploadId=up%2F1") > 0),
		   fail_at == 1 ? "no upload is begun that cannot be noted" : "one whose id cannot be noted is aborted");
		end(store);
	}
	free(data);
}

int
main(void)
{
	start_server();
	test_writing();
	test_integrity();
	test_headers();
	test_part_sizes();
	test_notes();
	return tap_done();
}
