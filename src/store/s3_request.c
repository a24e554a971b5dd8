/*
 * s3_request.c
 *		One S3 request: signing, retries, corrections, and the words for what
 *		went wrong.
 *
 * on_finished() below is the one place where it is decided whether an attempt is
 * a success, is worth another one, or is a failure.
 */
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/uri.h"
#include "store/s3_internal.h"

/*
 * Full jitter: a random wait between nothing and BASE * 2^n, at most CAP.  Ten
 * attempts wait 10 s on average.
 */
#define BACKOFF_BASE_MS		50
#define BACKOFF_CAP_MS		5000
#define RETRY_AFTER_CAP_S	30

/* Of STEDI_MESSAGE_SIZE, beside a bucket of 63 bytes and what happened to it. */
#define KEY_SHOWN			128

/* Most replies are empty, or a document of a few lines; errors may come in all. */
#define SMALL_REPLY			(64 * 1024)

/* Below S3's tolerance of 15 minutes, above what a slow reply may take. */
#define CLOCK_SKEW_S		(10 * 60)

typedef enum Verdict
{
	VERDICT_SUCCESS,
	VERDICT_RETRY,				/* after a wait, if attempts are left */
	VERDICT_RETRY_AT_ONCE,		/* something was corrected */
	VERDICT_FAILURE
} Verdict;

static bool ready(S3Store *store, const StediWaiter *waiter, StediStatus *status);
static bool on_prepare(StediHttpTransfer *transfer);
static void on_finished(StediHttpTransfer *transfer);
static bool build_url(S3Request *request, StediBytes *path);
static bool sign(S3Request *request, const char *path, time_t now);
static void add_header(StediHttpTransfer *transfer, const char *name, const char *value);
static void read_error(S3Request *request);
static Verdict judge(S3Request *request);
static bool is_retryable_status(long status);
static bool is_retryable_code(const char *code, bool is_upload);
static bool correct_region(S3Request *request);
static bool correct_clock(S3Request *request);
static bool renew_credentials(S3Request *request);
static long backoff_ms(const S3Request *request);
static void set_failure(S3Request *request);
static void set_transport_failure(S3Request *request);
static void set_reply_failure(S3Request *request);
static void set_denied(S3Request *request, const char *what);
static void set_credentials(S3Request *request);
static StediCode code_of_reply(const S3Request *request);
static void add_detail(S3Request *request);
static bool holds_secret(const S3Request *request, const char *text);

void
stedi_s3_request_init(S3Request *request, S3Store *store, const char *action,
					  const char *method, const char *key)
{
	memset(request, 0, sizeof(*request));
	request->store = store;
	request->action = action;
	request->method = method;
	request->key = key;
	request->transfer.reply_limit = SMALL_REPLY;
	request->transfer.prepare = on_prepare;
	request->transfer.finished = on_finished;
}

void
stedi_s3_request_query(S3Request *request, const char *name, const char *value)
{
	request->query[request->n_query++] = (StediPair) {name, value};
}

void
stedi_s3_request_header(S3Request *request, const char *name, const char *value)
{
	request->headers[request->n_headers++] = (StediPair) {name, value};
}

/*
 * The body's true SHA-256 is sent with every upload.  UNSIGNED-PAYLOAD would
 * save that over https (a second per 1 to 2 GB, and nothing where the processor
 * has SHA instructions to spare), but bucket policies may refuse it, and not
 * every S3-compatible store knows it.
 */
void
stedi_s3_request_start(S3Request *request)
{
	request->done = false;
	request->attempts = 0;
	request->region_corrected = false;
	request->clock_corrected = false;
	request->credentials_renewed = false;
	stedi_status_clear(&request->status);
	if (request->body_length == 0)
		strcpy(request->payload_sha256, STEDI_SIGV4_EMPTY_SHA256);
	else if (!stedi_sha256_hex(request->body, request->body_length, request->payload_sha256))
	{
		stedi_status_set(&request->status, STEDI_IO, "could not compute a SHA-256 digest");
		request->done = true;
		return;
	}
	stedi_http_start(request->store->http, &request->transfer, 0);
}

bool
stedi_s3_request_finish(S3Request *request, const StediWaiter *waiter, StediStatus *status)
{
	stedi_http_hurry(&request->transfer);
	while (!request->done)
	{
		if (!stedi_s3_step(request->store, waiter, status))
		{
			stedi_http_stop(&request->transfer);
			return false;
		}
	}
	if (request->status.code == STEDI_OK)
		return true;
	*status = request->status;
	return false;
}

bool
stedi_s3_request_run(S3Request *request, const StediWaiter *waiter, StediStatus *status)
{
	stedi_s3_request_start(request);
	return stedi_s3_request_finish(request, waiter, status);
}

/* Get credentials, unless there are good ones. */
static bool
ready(S3Store *store, const StediWaiter *waiter, StediStatus *status)
{
	const char *region;

	if (store->credentials == NULL)
		return true;
	if (!stedi_credential_provider_get(store->credentials, waiter, status))
		return false;
	region = stedi_credential_provider_current(store->credentials)->region;
	if (store->region_is_default && region != NULL && strlen(region) < sizeof(store->region))
		strcpy(store->region, region);
	store->region_is_default = false;
	return true;
}

bool
stedi_s3_step(S3Store *store, const StediWaiter *waiter, StediStatus *status)
{
	return ready(store, waiter, status) && stedi_http_step(store->http, waiter, status);
}

bool
stedi_s3_poll(S3Store *store, const StediWaiter *waiter, StediStatus *status)
{
	return ready(store, waiter, status) && stedi_http_poll(store->http, waiter, status);
}

bool
stedi_s3_identify(StediStore *base, StediStoreIdentity *identity, StediStatus *status)
{
	S3Store    *store = (S3Store *) base;
	S3Request	request;
	StediBytes	path;

	if (!ready(store, &base->waiter, status))
		return false;
	stedi_s3_request_init(&request, store, "look at", "GET", NULL);
	stedi_bytes_init(&path, 0);
	identity->url = build_url(&request, &path) ? stedi_bytes_steal(&request.url) : NULL;
	identity->region = store->region;
	identity->credentials = store->credentials != NULL ?
		stedi_credential_provider_current(store->credentials) : NULL;
	stedi_bytes_free(&path);
	stedi_s3_request_free(&request);
	return identity->url != NULL || stedi_no_memory(status);
}

void
stedi_s3_request_free(S3Request *request)
{
	stedi_http_stop(&request->transfer);
	stedi_bytes_free(&request->transfer.body);
	stedi_bytes_free(&request->url);
	stedi_bytes_free(&request->authority);
	stedi_bytes_free(&request->authorization);
}

void
stedi_s3_describe(const S3Store *store, const char *key, char *text, size_t size)
{
	size_t		shown;

	if (key == NULL)
	{
		snprintf(text, size, "bucket \"%s\"", store->config.bucket);
		return;
	}
	/* a message has to end in what happened; the detail has the whole key */
	shown = strlen(key);
	if (shown > KEY_SHOWN)
	{
		shown = KEY_SHOWN;
		while (shown > 0 && ((unsigned char) key[shown] & 0xC0) == 0x80)
			shown--;
	}
	snprintf(text, size, "object \"s3://%s/%.*s%s\"", store->config.bucket, (int) shown, key,
			 key[shown] != '\0' ? "..." : "");
}

char *
stedi_s3_plain_etag(const char *etag)
{
	size_t		length;

	if (strncmp(etag, "W/", 2) == 0)
		etag += 2;
	length = strlen(etag);
	if (length >= 2 && etag[0] == '"' && etag[length - 1] == '"')
	{
		etag++;
		length -= 2;
	}
	return strndup(etag, length);
}

/* Build one attempt: the URL and all headers, signed with the time of now. */
static bool
on_prepare(StediHttpTransfer *transfer)
{
	S3Request  *request = (S3Request *) transfer;
	S3Store    *store = request->store;
	StediBytes	path;
	bool		done;

	if (request->prepare != NULL)
		request->prepare(request);

	stedi_bytes_init(&path, 0);
	transfer->method = request->method;
	transfer->request_body = request->body;
	transfer->request_length = request->body_length;
	transfer->n_headers = 0;
	done = build_url(request, &path);
	transfer->url = request->url.data;
	if (done)
	{
		time_t		now = time(NULL) + store->clock_offset;

		/* no header of libcurl's: the host that is signed is the host that is sent */
		add_header(transfer, "host", request->authority.data);
		for (int i = 0; i < request->n_headers; i++)
			add_header(transfer, request->headers[i].name, request->headers[i].value);
		if (store->config.requester_pays)
			add_header(transfer, "x-amz-request-payer", "requester");
		if (store->credentials != NULL)
			done = sign(request, path.data, now);
		/* waiting for "100 Continue" would cost a round trip per upload */
		add_header(transfer, "expect", "");
	}
	stedi_bytes_free(&path);
	return done;
}

static void
add_header(StediHttpTransfer *transfer, const char *name, const char *value)
{
	transfer->headers[transfer->n_headers++] = (StediPair) {name, value};
}

/* request->url and request->authority; path is the URL's part that is signed. */
static bool
build_url(S3Request *request, StediBytes *path)
{
	const S3Store *store = request->store;
	const char *bucket = store->config.bucket;
	bool		is_virtual = store->config.url_style == STEDI_URL_STYLE_VIRTUAL;
	StediBytes *authority = &request->authority;
	StediBytes *url = &request->url;

	stedi_bytes_reset(authority);
	if (is_virtual)
		stedi_bytes_printf(authority, "%s.", bucket);
	if (store->authority != NULL)
		stedi_bytes_append_text(authority, store->authority);
	else
		stedi_bytes_printf(authority, "s3.%s.amazonaws.com%s", store->region,
						   strncmp(store->region, "cn-", 3) == 0 ? ".cn" : "");

	if (!is_virtual)
		stedi_bytes_printf(path, "/%s", bucket);
	if (request->key != NULL || is_virtual)
		stedi_bytes_append_char(path, '/');
	if (request->key != NULL)
		stedi_percent_encode(path, request->key, strlen(request->key), true);

	stedi_bytes_reset(url);
	stedi_bytes_printf(url, "%s://%s%s", store->scheme, authority->data ? authority->data : "",
					   path->data ? path->data : "");
	if (request->n_query > 0)
	{
		stedi_bytes_append_char(url, '?');
		if (!stedi_sigv4_query(url, request->query, request->n_query))
			return false;
	}
	return !authority->failed && !path->failed && !url->failed;
}

static bool
sign(S3Request *request, const char *path, time_t now)
{
	S3Store    *store = request->store;
	StediHttpTransfer *transfer = &request->transfer;
	const StediCredentials *credentials = stedi_credential_provider_current(store->credentials);
	StediSigv4Result result;
	StediSigv4Request sigv4 = {
		.method = request->method,
		.path = path,
		.query = request->query,
		.n_query = request->n_query,
		.payload_sha256 = request->payload_sha256,
		.region = store->region,
		.service = "s3",
		.access_key_id = credentials->access_key_id,
		.secret_access_key = credentials->secret_access_key,
		.when = now,
	};

	request->generation = stedi_credential_provider_generation(store->credentials);
	stedi_sigv4_date(now, request->date);
	add_header(transfer, "x-amz-date", request->date);
	add_header(transfer, "x-amz-content-sha256", request->payload_sha256);
	if (credentials->session_token != NULL)
		add_header(transfer, "x-amz-security-token", credentials->session_token);
	sigv4.headers = transfer->headers;
	sigv4.n_headers = transfer->n_headers;
	if (!stedi_sigv4_sign(&sigv4, &result, &request->status))
		return false;
	stedi_bytes_free(&request->authorization);
	request->authorization = result.authorization;
	stedi_bytes_init(&result.authorization, 0);
	stedi_sigv4_result_free(&result);
	add_header(transfer, "authorization", request->authorization.data);
	return true;
}

/* An attempt has ended. */
static void
on_finished(StediHttpTransfer *transfer)
{
	S3Request  *request = (S3Request *) transfer;
	Verdict		verdict;

	request->attempts++;
	read_error(request);
	verdict = judge(request);
	if (verdict == VERDICT_RETRY && request->attempts >= request->store->config.max_attempts)
		verdict = VERDICT_FAILURE;
	switch (verdict)
	{
		case VERDICT_SUCCESS:
			request->done = true;
			break;
		case VERDICT_RETRY:
			stedi_http_start(request->store->http, transfer, backoff_ms(request));
			break;
		case VERDICT_RETRY_AT_ONCE:
			stedi_http_start(request->store->http, transfer, 0);
			break;
		case VERDICT_FAILURE:
			set_failure(request);
			request->done = true;
			break;
	}
}

/*
 * Fill in request->error from the reply, if it carries one.  A reply that began
 * with 200 before the server knew better may do so, too.
 */
static void
read_error(S3Request *request)
{
	StediHttpTransfer *transfer = &request->transfer;
	StediS3Error *error = &request->error;

	memset(error, 0, sizeof(*error));
	if (transfer->error == STEDI_HTTP_OK && transfer->body.length > 0 &&
		(transfer->status >= 300 || transfer->receive == NULL) &&
		!stedi_s3_parse_error(transfer->body.data, transfer->body.length, error))
		memset(error, 0, sizeof(*error));
	if (error->request_id[0] == '\0')
		snprintf(error->request_id, sizeof(error->request_id), "%s",
				 transfer->reply.request_id);
}

static Verdict
judge(S3Request *request)
{
	StediHttpTransfer *transfer = &request->transfer;
	const char *code = request->error.code;

	switch (transfer->error)
	{
		case STEDI_HTTP_OK:
			break;
		case STEDI_HTTP_UNRESOLVED:
		case STEDI_HTTP_UNREACHABLE:
		case STEDI_HTTP_TLS_FAILED:
		case STEDI_HTTP_BROKEN:
		case STEDI_HTTP_TIMED_OUT:
			return VERDICT_RETRY;
		default:
			return VERDICT_FAILURE;
	}
	if (transfer->status >= 200 && transfer->status < 300 && code[0] == '\0')
	{
		if (request->check == NULL || request->check(request))
			return VERDICT_SUCCESS;
		return request->status.code == STEDI_OK ? VERDICT_RETRY : VERDICT_FAILURE;
	}
	if (correct_region(request) || correct_clock(request) || renew_credentials(request))
		return VERDICT_RETRY_AT_ONCE;
	if (is_retryable_status(transfer->status) || is_retryable_code(code, request->is_upload))
		return VERDICT_RETRY;
	return VERDICT_FAILURE;
}

static bool
is_retryable_status(long status)
{
	return status == 429 || status == 500 || status == 502 || status == 503 || status == 504;
}

static bool
is_retryable_code(const char *code, bool is_upload)
{
	static const char *const codes[] = {
		"BandwidthLimitExceeded", "InternalError", "OperationAborted",
		"PriorRequestNotComplete", "RequestLimitExceeded", "RequestThrottled",
		"RequestThrottledException", "RequestTimeout", "RequestTimeoutException",
		"ServiceUnavailable", "SlowDown", "TooManyRequests", "TooManyRequestsException",
	};

	if (strncmp(code, "Throttl", strlen("Throttl")) == 0)
		return true;
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
	{
		if (strcmp(code, codes[i]) == 0)
			return true;
	}
	return is_upload && (strcmp(code, "BadDigest") == 0 ||
						 strcmp(code, "XAmzContentSHA256Mismatch") == 0);
}

/*
 * The reply says that the bucket lives in another region: go there from now on.
 * The name becomes part of a host name, so it must look like one.
 */
static bool
correct_region(S3Request *request)
{
	S3Store    *store = request->store;
	long		status = request->transfer.status;
	const char *region = request->transfer.reply.bucket_region;

	if (region[0] == '\0')
		region = request->error.region;
	if (request->region_corrected || region[0] == '\0' ||
		(status != 301 && status != 307 && status != 400 && status != 403) ||
		strcmp(region, store->region) == 0 || strlen(region) >= sizeof(store->region) ||
		region[strspn(region, "abcdefghijklmnopqrstuvwxyz0123456789-")] != '\0')
		return false;
	strcpy(store->region, region);
	request->region_corrected = true;
	return true;
}

/*
 * The server refuses our clock: take its own.  The reply to a HEAD has no code,
 * but its Date tells.
 */
static bool
correct_clock(S3Request *request)
{
	StediHttpTransfer *transfer = &request->transfer;
	bool		said_so = strcmp(request->error.code, "RequestTimeTooSkewed") == 0;
	time_t		theirs;
	time_t		skew;

	if (request->clock_corrected || transfer->status != 403 ||
		(request->error.code[0] != '\0' && !said_so) ||
		!stedi_http_parse_date(transfer->reply.date, &theirs))
		return false;
	skew = theirs - (time(NULL) + request->store->clock_offset);
	if (!said_so && skew < CLOCK_SKEW_S && skew > -CLOCK_SKEW_S)
		return false;
	request->store->clock_offset += skew;
	request->clock_corrected = true;
	return true;
}

/*
 * The server does not take these credentials, or does not any more: get others.
 * They are waited for before the request can start again, see stedi_s3_step().
 * The reply to a HEAD has no code; to an expired token it is a plain 400.
 */
static bool
renew_credentials(S3Request *request)
{
	static const char *const codes[] = {
		"ExpiredToken", "ExpiredTokenException", "InvalidAccessKeyId", "InvalidToken",
		"TokenRefreshRequired",
	};
	S3Store    *store = request->store;
	bool		refused = strcmp(request->method, "HEAD") == 0 && request->transfer.status == 400;

	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		refused |= strcmp(request->error.code, codes[i]) == 0;
	if (!refused || request->credentials_renewed || store->credentials == NULL ||
		!stedi_credential_provider_can_renew(store->credentials))
		return false;
	stedi_credential_provider_invalidate(store->credentials, request->generation);
	request->credentials_renewed = true;
	request->attempts--;		/* it is no try that failed */
	return true;
}

/* How long to wait before the next attempt. */
static long
backoff_ms(const S3Request *request)
{
	const char *text = request->transfer.reply.retry_after;
	unsigned	random = 0;
	long		ceiling = BACKOFF_BASE_MS;
	long		least = 0;
	long		wait;

	for (int i = 1; i < request->attempts && ceiling < BACKOFF_CAP_MS; i++)
		ceiling *= 2;
	if (ceiling > BACKOFF_CAP_MS)
		ceiling = BACKOFF_CAP_MS;
	/* without randomness the wait is the longest, which is safe */
	if (RAND_bytes((unsigned char *) &random, sizeof(random)) != 1)
		random = (unsigned) ceiling;
	wait = (long) (random % ((unsigned) ceiling + 1));

	if (text[0] >= '0' && text[0] <= '9')
		least = strtol(text, NULL, 10);
	else if (text[0] != '\0')
	{
		time_t		until;

		if (stedi_http_parse_date(text, &until))
			least = (long) (until - time(NULL) - request->store->clock_offset);
	}
	if (least > RETRY_AFTER_CAP_S)
		least = RETRY_AFTER_CAP_S;
	return least > 0 ? least * 1000 + wait : wait;
}

/* Word request->status, unless whoever looked at the reply has done so. */
static void
set_failure(S3Request *request)
{
	if (request->status.code == STEDI_OK)
	{
		if (request->transfer.error != STEDI_HTTP_OK)
			set_transport_failure(request);
		else
			set_reply_failure(request);
	}
	if (request->status.detail[0] == '\0')
		add_detail(request);
}

static void
set_transport_failure(S3Request *request)
{
	const S3Store *store = request->store;
	StediStatus *status = &request->status;
	const char *host = request->authority.data;
	char		what[STEDI_MESSAGE_SIZE];
	bool		is_virtual = store->config.url_style == STEDI_URL_STYLE_VIRTUAL;

	stedi_s3_describe(store, request->key, what, sizeof(what));
	switch (request->transfer.error)
	{
		case STEDI_HTTP_UNRESOLVED:
		case STEDI_HTTP_UNREACHABLE:
			stedi_status_set(status, STEDI_CONNECTION,
							 "could not connect to the object store at \"%s\"", host);
			if (store->authority == NULL)
				stedi_status_hint(status, "Check the server options \"region\" and \"endpoint\".");
			else if (is_virtual)
				stedi_status_hint(status, "Check the server option \"endpoint\"; a store without a host name per bucket needs url_style 'path'.");
			else
				stedi_status_hint(status, "Check the server option \"endpoint\".");
			break;
		case STEDI_HTTP_TLS_FAILED:
			stedi_status_set(status, STEDI_CONNECTION,
							 "could not establish TLS with the object store at \"%s\"", host);
			stedi_status_hint(status, "Check the server option \"endpoint\": is it \"http://\" or \"https://\"?");
			break;
		case STEDI_HTTP_UNTRUSTED:
			stedi_status_set(status, STEDI_CONNECTION,
							 "the certificate of the object store at \"%s\" is not trusted", host);
			if (is_virtual && strchr(store->config.bucket, '.') != NULL)
				stedi_status_hint(status, "A bucket name with dots needs url_style 'path' over https.");
			else
				stedi_status_hint(status, "Check the server option \"ca_file\".");
			break;
		case STEDI_HTTP_TIMED_OUT:
			stedi_status_set(status, STEDI_CONNECTION,
							 "the object store at \"%s\" did not answer in time", host);
			break;
		case STEDI_HTTP_BROKEN:
			stedi_status_set(status, STEDI_CONNECTION,
							 "lost the connection to the object store at \"%s\"", host);
			break;
		case STEDI_HTTP_NO_MEMORY:
			stedi_no_memory(status);
			break;
		case STEDI_HTTP_TOO_LARGE:
			stedi_status_set(status, STEDI_LIMIT, "could not %s %s: the reply is too large",
							 request->action, what);
			break;
		default:
			stedi_status_set(status, STEDI_PROTOCOL,
							 "could not %s %s: the reply makes no sense", request->action, what);
			stedi_status_hint(status, "Check the server option \"endpoint\": does an object store listen there?");
			break;
	}
}

static StediCode
code_of_reply(const S3Request *request)
{
	static const struct
	{
		const char *name;
		StediCode	code;
	}			codes[] = {
		{"AccessDenied", STEDI_DENIED},
		{"BadDigest", STEDI_CORRUPT},
		{"BucketAlreadyExists", STEDI_EXISTS},
		{"EntityTooLarge", STEDI_LIMIT},
		{"ExpiredToken", STEDI_CREDENTIALS},
		{"InvalidAccessKeyId", STEDI_CREDENTIALS},
		{"InvalidBucketName", STEDI_BAD_ARGUMENT},
		{"InvalidObjectState", STEDI_UNSUPPORTED},
		{"InvalidRange", STEDI_CHANGED},
		{"InvalidToken", STEDI_CREDENTIALS},
		{"KeyTooLongError", STEDI_LIMIT},
		{"NoSuchBucket", STEDI_NOT_FOUND},
		{"NoSuchKey", STEDI_NOT_FOUND},
		{"NoSuchUpload", STEDI_NOT_FOUND},
		{"NotImplemented", STEDI_UNSUPPORTED},
		{"PreconditionFailed", STEDI_CHANGED},
		{"QuotaExceeded", STEDI_LIMIT},
		{"RequestTimeTooSkewed", STEDI_CREDENTIALS},
		{"SignatureDoesNotMatch", STEDI_CREDENTIALS},
		{"SlowDown", STEDI_THROTTLED},
		{"TooManyRequests", STEDI_THROTTLED},
		{"XAmzContentSHA256Mismatch", STEDI_CORRUPT},
	};

	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
	{
		if (strcmp(request->error.code, codes[i].name) == 0)
			return codes[i].code;
	}
	switch (request->transfer.status)
	{
		case 401:
			return STEDI_CREDENTIALS;
		case 403:
			return STEDI_DENIED;
		case 404:
			return STEDI_NOT_FOUND;
		case 412:
		case 416:
			return STEDI_CHANGED;
		case 429:
		case 503:
			return STEDI_THROTTLED;
		case 501:
			return STEDI_UNSUPPORTED;
		default:
			/* whatever passes: it has not passed in all attempts */
			return is_retryable_status(request->transfer.status) ||
				is_retryable_code(request->error.code, false) ?
				STEDI_CONNECTION : STEDI_PROTOCOL;
	}
}

static void
set_reply_failure(S3Request *request)
{
	StediStatus *status = &request->status;
	const char *code = request->error.code;
	StediCode	kind = code_of_reply(request);
	char		what[STEDI_MESSAGE_SIZE];

	stedi_s3_describe(request->store,
					  strcmp(code, "NoSuchBucket") == 0 ? NULL : request->key,
					  what, sizeof(what));
	switch (kind)
	{
		case STEDI_DENIED:
			set_denied(request, what);
			break;
		case STEDI_CREDENTIALS:
			set_credentials(request);
			break;
		case STEDI_NOT_FOUND:
			stedi_status_set(status, kind, strcmp(code, "NoSuchUpload") == 0 ?
							 "the upload of %s no longer exists" : "%s does not exist", what);
			if (strcmp(code, "NoSuchBucket") == 0)
				stedi_status_hint(status, "Check the name of the bucket and the server option \"endpoint\".");
			break;
		case STEDI_CHANGED:
			stedi_status_set(status, kind, "%s has changed since it was listed", what);
			break;
		case STEDI_THROTTLED:
			stedi_status_set(status, kind, "could not %s %s: the object store is overloaded",
							 request->action, what);
			break;
		case STEDI_CONNECTION:
			stedi_status_set(status, kind, "could not %s %s: the object store is not available",
							 request->action, what);
			break;
		default:
			if (request->transfer.status < 300 && code[0] == '\0')
			{
				stedi_status_set(status, STEDI_CORRUPT, "could not %s %s: the reply is incomplete",
								 request->action, what);
				break;
			}
			stedi_status_set(status, kind, "could not %s %s", request->action, what);
			if (strcmp(code, "InvalidObjectState") == 0)
				stedi_status_hint(status, "The object is archived and must be restored first.");
			else if (request->transfer.status == 301 || request->transfer.status == 307 ||
					 (request->transfer.status == 400 && code[0] == '\0'))
				stedi_status_hint(status, "Check the server options \"region\" and \"endpoint\".");
			break;
	}
}

static void
set_denied(S3Request *request, const char *what)
{
	stedi_status_set(&request->status, STEDI_DENIED, "permission denied to %s %s",
					 request->action, what);
	if (request->store->credentials == NULL)
		stedi_status_hint(&request->status,
						  "The request was anonymous: there is no access_key_id.");
	else
		stedi_status_hint(&request->status,
						  "The policies of the key's user or role and of the bucket must allow it; stedi.whoami() tells the key.");
}

static void
set_credentials(S3Request *request)
{
	StediStatus *status = &request->status;
	const char *code = request->error.code;

	stedi_status_set(status, STEDI_CREDENTIALS, "the object store at \"%s\" refused the credentials",
					 request->authority.data);
	if (request->store->credentials != NULL && request->credentials_renewed)
		stedi_status_hint(status, "They are new; stedi.whoami() tells where they come from.");
	else if (strcmp(code, "ExpiredToken") == 0 || strcmp(code, "InvalidToken") == 0)
		stedi_status_hint(status, "Renew the session_token with its access_key_id and secret_access_key.");
	else if (strcmp(code, "RequestTimeTooSkewed") == 0)
		stedi_status_hint(status, "Set the clock of this machine.");
	else if (strcmp(code, "SignatureDoesNotMatch") == 0)
		stedi_status_hint(status, "Check the access_key_id, the secret_access_key and the server option \"region\".");
	else
		stedi_status_hint(status, "Check the access_key_id and the server option \"endpoint\".");
}

/* Some servers quote what they were sent. */
static bool
holds_secret(const S3Request *request, const char *text)
{
	const StediCredentialProvider *provider = request->store->credentials;
	const StediCredentials *credentials = provider != NULL ?
		stedi_credential_provider_current(provider) : NULL;
	const char *secrets[3];

	if (strstr(text, "Signature=") != NULL)
		return true;
	if (credentials == NULL)
		return false;
	/* what it was sent is not known any more */
	if (request->generation != stedi_credential_provider_generation(provider))
		return true;
	secrets[0] = credentials->access_key_id;
	secrets[1] = credentials->secret_access_key;
	secrets[2] = credentials->session_token;
	for (size_t i = 0; i < sizeof(secrets) / sizeof(secrets[0]); i++)
	{
		if (secrets[i] != NULL && strstr(text, secrets[i]) != NULL)
			return true;
	}
	return false;
}

/* "HTTP status 503, S3 code SlowDown, request id ..., 5 attempts, object ..." */
static void
add_detail(S3Request *request)
{
	StediHttpTransfer *transfer = &request->transfer;
	const StediS3Error *error = &request->error;
	StediBytes	detail;

	stedi_bytes_init(&detail, 4 * STEDI_DETAIL_SIZE);
	if (transfer->error != STEDI_HTTP_OK && transfer->error_text[0] != '\0')
		stedi_bytes_printf(&detail, "libcurl: %s, ", transfer->error_text);
	if (transfer->status != 0)
		stedi_bytes_printf(&detail, "HTTP status %ld, ", transfer->status);
	if (error->code[0] != '\0' && !holds_secret(request, error->code))
		stedi_bytes_printf(&detail, "S3 code %s, ", error->code);
	if (error->message[0] != '\0' && !holds_secret(request, error->message))
		stedi_bytes_printf(&detail, "message \"%s\", ", error->message);
	if (error->request_id[0] != '\0' && !holds_secret(request, error->request_id))
		stedi_bytes_printf(&detail, "request id %s, ", error->request_id);
	stedi_bytes_printf(&detail, "%d attempt%s, ", request->attempts,
					   request->attempts == 1 ? "" : "s");
	if (request->key != NULL)
		stedi_bytes_printf(&detail, "object s3://%s/%s", request->store->config.bucket,
						   request->key);
	else
		stedi_bytes_printf(&detail, "bucket %s", request->store->config.bucket);
	if (!detail.failed)
		stedi_status_detail(&request->status, "%s", detail.data);
	stedi_bytes_free(&detail);
}
