/*
 * test_store_s3.c
 *		How the S3 store sends requests: retries, errors, corrections, addresses;
 *		listings and the small calls.
 *
 * The server misbehaves to order.  What a real one does is tested elsewhere.
 */
#include "s3_fixture.h"
#include "tap.h"

/*
 * Retries and errors.
 */
static bool
overloaded_twice(int fd, const Request *request)
{
	if (request->number <= 2)
		return reply_error(fd, "503 Slow Down", "", "SlowDown");
	return reply(fd, "200 OK", "", LIST_OF(ENTRY("a") ENTRY("b%2Bc"), LAST_PAGE));
}

static bool
broken_twice(int fd, const Request *request)
{
	/* no reply at all, then half a head */
	if (request->number == 1)
		return false;
	if (request->number == 2)
	{
		send_text(fd, "HTTP/1.1 200 O");
		return false;
	}
	return reply(fd, "200 OK", "", LIST_OF(ENTRY("a"), LAST_PAGE));
}

static bool
overloaded(int fd, const Request *request)
{
	(void) request;
	return reply_error(fd, "503 Slow Down", "", "SlowDown");
}

static bool
html_page(int fd, const Request *request)
{
	(void) request;
	return reply(fd, "502 Bad Gateway", "", "<html>internal host 10.0.0.7</html>");
}

static bool
retry_after(int fd, const Request *request)
{
	if (request->number == 1)
		return reply_error(fd, "503 Slow Down", "Retry-After: 1\r\n", "SlowDown");
	return reply(fd, "200 OK", "", LIST_OF("", LAST_PAGE));
}

static bool
denied_with_secrets(int fd, const Request *request)
{
	(void) request;
	return reply(fd, "403 Forbidden", "", "<Error><Code>AccessDenied</Code><Message>you sent "
				 SECRET " and TOKENTOKEN</Message></Error>");
}

static bool
wrong_signature(int fd, const Request *request)
{
	(void) request;
	return reply_error(fd, "403 Forbidden", "", "SignatureDoesNotMatch");
}

static bool
second_unanswered(int fd, const Request *request)
{
	return request->number != 2 && reply(fd, "200 OK", "", LIST_OF(ENTRY("a"), LAST_PAGE));
}

static bool
expired(int fd, const Request *request)
{
	(void) request;
	return reply_error(fd, "400 Bad Request", "", "ExpiredToken");
}

static bool
malformed(int fd, const Request *request)
{
	(void) request;
	return reply(fd, "200 OK", "", "<ListBucketResult><Contents>");
}

static bool
not_http(int fd, const Request *request)
{
	(void) request;
	send_text(fd, "SSH-2.0-OpenSSH_9.2\r\n");
	return false;
}

static bool
endless_list(int fd, const Request *request)
{
	static char blanks[65536];

	(void) request;
	memset(blanks, ' ', sizeof(blanks));
	send_text(fd, "HTTP/1.1 200 OK\r\n\r\n<ListBucketResult>");
	for (int i = 0; i < 400; i++)
		send_all(fd, blanks, sizeof(blanks));
	return false;
}

static void
test_retries(void)
{
	StediStatus status = {0};
	StediStore *store = begin(overloaded_twice);
	StediS3Config config = default_config();
	double		start;
	const char *first;
	const char *third;

	is_int(list_all(store, "", &status), 2, "a request is repeated while the store is overloaded");
	is_int(requests(), 3, "and no oftener than needed");
	ok(has(&log_of[2], "GET /bucket?") && has(&log_of[2], "Host: 127.0.0.1:") &&
	   has(&log_of[2], "x-amz-security-token: TOKENTOKEN"), "a request is what it should be");
	first = strstr(log_of[0].text, "Signature=");
	third = strstr(log_of[2].text, "Signature=");
	ok(first != NULL && third != NULL, "each attempt is signed");
	end(store);

	store = begin(broken_twice);
	is_int(list_all(store, "", &status), 1, "a request is repeated when the connection is lost");
	end(store);

	store = begin(second_unanswered);
	ok(list_all(store, "", &status) == 1 && list_all(store, "", &status) == 1 && requests() == 3,
	   "also one that was kept since the request before");
	end(store);
	config.max_attempts = 1;
	store = begin_with(second_unanswered, &config);
	ok(list_all(store, "", &status) == 1 && list_all(store, "", &status) == -STEDI_CONNECTION &&
	   requests() == 2 && strstr(status.detail, "a kept connection was closed") != NULL,
	   "but libcurl does not do it unasked");
	end(store);

	store = begin(overloaded);
	is_int(list_all(store, "", &status), -STEDI_THROTTLED, "after all attempts it is STEDI_THROTTLED");
	is(status.detail, "HTTP status 503, S3 code SlowDown, message \"so it is\", request id REQ42, "
	   "3 attempts, bucket bucket", "the detail says what happened");
	end(store);

	store = begin_with(overloaded, &config);
	ok(list_all(store, "", &status) == -STEDI_THROTTLED && requests() == 1,
	   "one attempt means no retry");
	end(store);

	store = begin(html_page);
	ok(list_all(store, "", &status) == -STEDI_CONNECTION && strstr(status.detail, "10.0.0.7") == NULL &&
	   requests() == 3, "a page that is no S3 error is retried by status and never repeated");
	end(store);

	store = begin(retry_after);
	start = seconds();
	ok(list_all(store, "", &status) == 0 && seconds() - start >= 1 && seconds() - start < 1.6,
	   "Retry-After is honoured");
	end(store);

	store = begin(retry_after);
	start = seconds();
	stop_at = start + 0.1;
	ok(list_all(store, "", &status) == -STEDI_CANCELLED && seconds() - start < 0.3,
	   "the wait for the next attempt can be cancelled");
	end(store);

	setenv("http_proxy", "http://127.0.0.1:1", 1);
	setenv("all_proxy", "http://127.0.0.1:1", 1);
	store = begin(overloaded_twice);
	is_int(list_all(store, "", &status), 2, "the environment's proxy is not used");
	end(store);
	unsetenv("http_proxy");
	unsetenv("all_proxy");
}

static void
test_errors(void)
{
	StediStatus status = {0};
	StediStore *store = begin(denied_with_secrets);
	StediS3Config config = default_config();

	ok(list_all(store, "", &status) == -STEDI_DENIED && requests() == 1,
	   "AccessDenied is STEDI_DENIED at once");
	ok(strstr(status.detail, SECRET) == NULL && strstr(status.detail, "TOKENTOKEN") == NULL,
	   "a secret that the server repeats is not passed on");
	end(store);

	store = begin(wrong_signature);
	ok(list_all(store, "", &status) == -STEDI_CREDENTIALS && strstr(status.hint, "access_key_id") != NULL,
	   "a signature may be wrong because the server does not know the key id");
	end(store);
	store = begin(expired);
	is_int(list_all(store, "", &status), -STEDI_CREDENTIALS, "ExpiredToken is STEDI_CREDENTIALS");
	end(store);
	store = begin(malformed);
	is_int(list_all(store, "", &status), -STEDI_PROTOCOL, "malformed XML is STEDI_PROTOCOL");
	end(store);
	store = begin(not_http);
	is_int(list_all(store, "", &status), -STEDI_PROTOCOL, "what is not HTTP is STEDI_PROTOCOL");
	end(store);
	store = begin(endless_list);
	is_int(list_all(store, "", &status), -STEDI_LIMIT, "a reply without end is given up");
	end(store);

	config.endpoint = "http://127.0.0.1:1";
	store = begin_with(overloaded, &config);
	ok(list_all(store, "", &status) == -STEDI_CONNECTION &&
	   strstr(status.hint, "endpoint") != NULL, "an unreachable endpoint is STEDI_CONNECTION with a hint");
	end(store);
	config.endpoint = "http://nowhere.invalid";
	store = begin_with(overloaded, &config);
	is_int(list_all(store, "", &status), -STEDI_CONNECTION, "so is an unknown host");
	end(store);
}

static void
test_config(void)
{
	static const char *const wrong[] = {
		"127.0.0.1:9000", "ftp://host", "https://", "https://user:pw@host", "https://host/path",
		"https://host?x", "https://ho st", ""
	};
	StediStatus status = {0};
	StediWaiter waiter = {wait_with_poll, NULL};
	StediS3Config config = default_config();

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
	{
		config.endpoint = wrong[i];
		ok(stedi_store_open_s3(&config, waiter, &status) == NULL &&
		   status.code == STEDI_BAD_ARGUMENT && strstr(status.message, "pw") == NULL,
		   "an endpoint that is none is refused");
	}
	config.endpoint = "HTTPS://Host.Example:443/";
	stedi_store_close(stedi_store_open_s3(&config, waiter, &status));
	config.secret_access_key = NULL;
	ok(stedi_store_open_s3(&config, waiter, &status) == NULL && status.code == STEDI_CREDENTIALS,
	   "a key id without a key is refused");
	config = default_config();
	config.part_size = 1024;
	ok(stedi_store_open_s3(&config, waiter, &status) == NULL &&
	   status.code == STEDI_BAD_ARGUMENT, "parts that S3 would refuse are refused");
}

static bool
proxy(int fd, const Request *request)
{
	if (is_method(request, "CONNECT"))
		return reply(fd, "403 Forbidden", "", "");
	return reply(fd, "200 OK", "", LIST_OF("", LAST_PAGE));
}

/* A proxy sees which host a request is for, so none of them need exist. */
static void
test_addresses(void)
{
	StediStatus status = {0};
	StediObject object = {.size = 1};
	StediS3Config config = default_config();
	StediStore *store;

	config.max_attempts = 1;
	config.proxy = endpoint;
	config.endpoint = NULL;
	config.url_style = STEDI_URL_STYLE_VIRTUAL;
	store = begin_with(proxy, &config);
	list_all(store, "", &status);
	is_int(count_requests("CONNECT", "CONNECT bucket.s3.us-east-1.amazonaws.com:443 "), 1,
		   "AWS's host of the default region");
	end(store);
	config.region = "cn-north-1";
	config.url_style = STEDI_URL_STYLE_PATH;
	store = begin_with(proxy, &config);
	list_all(store, "", &status);
	is_int(count_requests("CONNECT", "CONNECT s3.cn-north-1.amazonaws.com.cn:443 "), 1,
		   "AWS's host of a region in China");
	end(store);

	config.endpoint = "http://Store.Example:80";
	config.url_style = STEDI_URL_STYLE_VIRTUAL;
	store = begin_with(proxy, &config);
	ok(list_all(store, "", &status) == 0 &&
	   count_requests("GET", "GET http://bucket.store.example/?") == 1 &&
	   count_requests("GET", "Host: bucket.store.example\r\n") == 1,
	   "a host per bucket, without the port that goes without saying");
	end(store);

	config.url_style = STEDI_URL_STYLE_PATH;
	store = begin_with(proxy, &config);
	object.key = "/a b/../+%//\xc3\xa9";
	object.version_id = "v/1";
	stedi_get_read(stedi_store_get(store, &object, &status), (char[1]) {0}, 1, &status);
	ok(count_requests("GET", "GET http://store.example/bucket//a%20b/../%2B%25//%C3%A9?versionId=v%2F1 ") == 1,
	   "a key is escaped once and not normalised");
	end(store);
}

/*
 * Clock and region.
 */
static void
http_date(char *text, size_t size, long offset)
{
	time_t		then = time(NULL) + offset;
	struct tm	tm;

	strftime(text, size, "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", gmtime_r(&then, &tm));
}

static bool
clock_is_ahead(int fd, const Request *request)
{
	char		date[64];
	char		expected[32];
	time_t		then = time(NULL) + 7200;
	struct tm	tm;

	http_date(date, sizeof(date), 7200);
	strftime(expected, sizeof(expected), "x-amz-date: %Y%m%dT%H%M", gmtime_r(&then, &tm));
	if (has(request, expected))
		return is_method(request, "HEAD") ?
			reply(fd, "200 OK", "ETag: \"e\"\r\n", "") :
			reply(fd, "200 OK", "", LIST_OF("", LAST_PAGE));
	if (is_method(request, "HEAD"))
		return reply(fd, "403 Forbidden", date, "");
	return reply_error(fd, "403 Forbidden", date, "RequestTimeTooSkewed");
}

static bool
clock_is_never_right(int fd, const Request *request)
{
	char		date[64];

	http_date(date, sizeof(date), request->number * 7200);
	return reply_error(fd, "403 Forbidden", date, "RequestTimeTooSkewed");
}

static bool
other_region(int fd, const Request *request)
{
	if (has(request, "/eu-west-1/s3/aws4_request"))
		return reply(fd, "200 OK", "", LIST_OF("", LAST_PAGE));
	return reply_error(fd, "301 Moved", "x-amz-bucket-region: eu-west-1\r\n", "PermanentRedirect");
}

static bool
other_region_in_body(int fd, const Request *request)
{
	if (has(request, "/eu-west-1/s3/aws4_request"))
		return reply(fd, "200 OK", "", LIST_OF("", LAST_PAGE));
	if (is_method(request, "HEAD"))
		return reply(fd, "400 Bad Request", "", "");
	return reply(fd, "400 Bad Request", "", "<Error><Code>AuthorizationHeaderMalformed</Code>"
				 "<Message>m</Message><Region>eu-west-1</Region></Error>");
}

static bool
never_the_region(int fd, const Request *request)
{
	return reply_error(fd, "301 Moved", request->number % 2 ? "x-amz-bucket-region: eu-west-1\r\n" :
					   "x-amz-bucket-region: eu-west-2\r\n", "PermanentRedirect");
}

static bool
region_is_a_trap(int fd, const Request *request)
{
	(void) request;
	return reply_error(fd, "301 Moved", "x-amz-bucket-region: evil.example/\r\n", "PermanentRedirect");
}

static void
test_corrections(void)
{
	StediStatus status = {0};
	StediObject object;
	StediStore *store = begin(clock_is_ahead);
	StediS3Config config = default_config();

	config.max_attempts = 1;
	ok(list_all(store, "", &status) == 0 && requests() == 2, "the server's clock is taken");
	ok(list_all(store, "", &status) == 0 && requests() == 3, "and remembered");
	end(store);
	store = begin(clock_is_ahead);
	ok(stedi_store_head(store, "x", &object, &status) && requests() == 2,
	   "the reply to a HEAD tells by its date");
	stedi_object_free(&object);
	end(store);
	store = begin(clock_is_never_right);
	ok(list_all(store, "", &status) == -STEDI_CREDENTIALS && requests() == 2,
	   "the clock is corrected once only");
	end(store);

	store = begin_with(other_region, &config);
	ok(list_all(store, "", &status) == 0 && requests() == 2, "the bucket's region is taken from the header");
	ok(list_all(store, "", &status) == 0 && requests() == 3, "and remembered");
	end(store);
	store = begin_with(other_region_in_body, &config);
	ok(list_all(store, "", &status) == 0 && requests() == 2, "or from the error document");
	end(store);
	store = begin_with(other_region_in_body, &config);
	ok(!stedi_store_head(store, "x", &object, &status) && status.code == STEDI_PROTOCOL &&
	   strstr(status.hint, "\"region\"") != NULL, "a HEAD that is refused without a reason hints at the region");
	end(store);
	store = begin(never_the_region);
	ok(list_all(store, "", &status) == -STEDI_PROTOCOL && requests() == 2,
	   "the region is corrected once only");
	end(store);
	store = begin(region_is_a_trap);
	ok(list_all(store, "", &status) == -STEDI_PROTOCOL && requests() == 1,
	   "what is no region's name is not taken for one");
	end(store);
}

/*
 * Listing.
 */
static bool
two_pages(int fd, const Request *request)
{
	if (has(request, "continuation-token=t%2F1%2B%3D"))
		return reply(fd, "200 OK", "", LIST_OF(ENTRY("p/c") ENTRY("p/d"), LAST_PAGE));
	return reply(fd, "200 OK", "", LIST_OF(ENTRY("p/a") ENTRY("p/a%2Fb"), "<IsTruncated>true</IsTruncated>"
										   "<NextContinuationToken>t/1+=</NextContinuationToken>"));
}

static bool
looping_token(int fd, const Request *request)
{
	char		text[1024];

	snprintf(text, sizeof(text), "<ListBucketResult><Contents><Key>p/%04d</Key>"
			 "<LastModified>2024-01-02T03:04:05.000Z</LastModified><ETag>e</ETag><Size>5</Size></Contents>"
			 "<IsTruncated>true</IsTruncated><NextContinuationToken>same</NextContinuationToken>"
			 "</ListBucketResult>", request->number);
	return reply(fd, "200 OK", "", text);
}

static bool
out_of_order(int fd, const Request *request)
{
	(void) request;
	return reply(fd, "200 OK", "", LIST_OF(ENTRY("p/b") ENTRY("p/a"), LAST_PAGE));
}

static bool
outside_of_prefix(int fd, const Request *request)
{
	(void) request;
	return reply(fd, "200 OK", "", LIST_OF(ENTRY("p/a") ENTRY("q"), LAST_PAGE));
}

static void
test_listing(void)
{
	StediStatus status = {0};
	StediListing *listing;
	StediObject object;
	StediStore *store = begin(two_pages);

	listing = stedi_store_list(store, "p/", &status);
	ok(stedi_listing_next(listing, &object, &status) == 1 && strcmp(object.key, "p/a") == 0 &&
	   strcmp(object.etag, ETAG) == 0 && object.size == 5 && requests() == 1,
	   "a page is fetched when it is needed");
	stedi_object_free(&object);
	stedi_listing_close(listing);
	is_int(list_all(store, "p/", &status), 4, "pages are joined");

	/* this server ignores start-after */
	listing = stedi_store_list(store, "p/", &status);
	ok(stedi_listing_after(listing, "p/a/b", &status) &&
	   stedi_listing_next(listing, &object, &status) == 1 && strcmp(object.key, "p/c") == 0 &&
	   count_requests("GET", "start-after=p%2Fa%2Fb") == 1,
	   "a listing can go on after a key");
	stedi_object_free(&object);
	stedi_listing_close(listing);
	end(store);
	store = begin(looping_token);
	ok(list_all(store, "p/", &status) == -STEDI_PROTOCOL && requests() == 2,
	   "a token that comes again ends the listing");
	end(store);
	store = begin(out_of_order);
	is_int(list_all(store, "p/", &status), -STEDI_PROTOCOL, "keys out of order are STEDI_PROTOCOL");
	end(store);
	store = begin(outside_of_prefix);
	is_int(list_all(store, "p/", &status), -STEDI_PROTOCOL, "and so are keys outside of the prefix");
	end(store);
}

static bool
nothing_there(int fd, const Request *request)
{
	(void) request;
	return reply_error(fd, "404 Not Found", "", "NoSuchKey");
}

static bool
two_pages_of_uploads(int fd, const Request *request)
{
	if (has(request, "key-marker=a"))
		return reply(fd, "200 OK", "", "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated>"
					 "<Upload><Key>b</Key><UploadId>2</UploadId><Initiated>2024-01-02T03:04:05.000Z</Initiated>"
					 "</Upload></ListMultipartUploadsResult>");
	return reply(fd, "200 OK", "", "<ListMultipartUploadsResult><IsTruncated>true</IsTruncated>"
				 "<NextKeyMarker>a</NextKeyMarker><NextUploadIdMarker>1</NextUploadIdMarker>"
				 "<Upload><Key>a</Key><UploadId>1</UploadId><Initiated>2024-01-02T03:04:05.000Z</Initiated>"
				 "</Upload></ListMultipartUploadsResult>");
}

static bool
foreign_upload(int fd, const Request *request)
{
	(void) request;
	return reply(fd, "200 OK", "", "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated>"
				 "<Upload><Key>b</Key><UploadId>2</UploadId><Initiated>2024-01-02T03:04:05.000Z</Initiated>"
				 "</Upload></ListMultipartUploadsResult>");
}

static void
test_small_calls(void)
{
	StediStatus status = {0};
	StediUploadPage page;
	StediUpload upload = {.key = "k",.upload_id = "u"};
	StediStore *store = begin(nothing_there);

	ok(stedi_store_delete(store, "x", &status), "deleting what is not there is success");
	ok(stedi_store_abort_upload(store, &upload, &status), "so is aborting an upload that is gone");
	end(store);
	store = begin(two_pages_of_uploads);
	ok(stedi_store_list_uploads(store, "", &page, &status) && page.n_uploads == 2 &&
	   strcmp(page.uploads[1].key, "b") == 0, "uploads are listed over pages");
	stedi_upload_page_free(&page);
	end(store);
	store = begin(foreign_upload);
	ok(!stedi_store_list_uploads(store, "prefix/", &page, &status) && status.code == STEDI_PROTOCOL &&
	   page.n_uploads == 0, "an upload outside of the prefix is refused");
	ok(stedi_store_max_fds(store) > 4, "the store states its descriptors");
	end(store);
}

int
main(void)
{
	start_server();
	test_config();
	test_addresses();
	test_retries();
	test_errors();
	test_corrections();
	test_listing();
	test_small_calls();
	return tap_done();
}
