/*
 * test_store_s3.c
 *		The S3 store against a server that misbehaves to order.
 *
 * The server is a thread of this process on a loopback port.  Each test gives
 * it a handler, which sees every request with its number, counted from 1, and
 * answers as it likes.  What a real server does is tested elsewhere.
 */
#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "core/bytes.h"
#include "store/store.h"
#include "tap.h"

#define SECRET		"wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"
#define ETAG		"0123456789abcdef0123456789abcdef"
#define BODY_SIZE	300000
#define PART_SIZE	(5 * 1024 * 1024)
#define LOG_SIZE	64

typedef struct Request
{
	int			number;			/* of this test, from 1 */
	char		text[8192];		/* request line and headers */
	size_t		body_length;
} Request;

/* Answer on fd; false: close the connection. */
typedef bool (*Handler) (int fd, const Request *request);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static Handler handler;			/* these four are protected by lock */
static int	n_requests;
static Request log_of[LOG_SIZE];
static int	hanging = -1;		/* a pipe: what hangs waits for it to close */

static int	listener;
static char endpoint[64];
static char body[BODY_SIZE];

static double stop_at;			/* when the waiter says stop; 0: never */
static int	waits;

static double
seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double) ts.tv_sec + (double) ts.tv_nsec / 1e9;
}

/*
 * The server.
 */
static void
send_all(int fd, const char *data, size_t length)
{
	while (length > 0)
	{
		ssize_t		sent = send(fd, data, length, MSG_NOSIGNAL);

		if (sent <= 0)
			return;
		data += sent;
		length -= (size_t) sent;
	}
}

static void
send_text(int fd, const char *text)
{
	send_all(fd, text, strlen(text));
}

static bool
reply(int fd, const char *status, const char *headers, const char *text)
{
	char		head[1024];

	snprintf(head, sizeof(head), "HTTP/1.1 %s\r\nx-amz-request-id: REQ42\r\n%sContent-Length: %zu\r\n\r\n",
			 status, headers, strlen(text));
	send_text(fd, head);
	send_text(fd, text);
	return true;
}

static bool
reply_error(int fd, const char *status, const char *headers, const char *code)
{
	char		text[512];

	snprintf(text, sizeof(text), "<?xml version=\"1.0\"?><Error><Code>%s</Code>"
			 "<Message>so it is</Message></Error>", code);
	return reply(fd, status, headers, text);
}

static bool
hang(void)
{
	char		byte;

	/* returns when the test is over */
	if (read(hanging, &byte, 1) < 0)
		return false;
	return false;
}

static bool
has(const Request *request, const char *text)
{
	return strstr(request->text, text) != NULL;
}

static bool
is_method(const Request *request, const char *method)
{
	return strncmp(request->text, method, strlen(method)) == 0 &&
		request->text[strlen(method)] == ' ';
}

/* Send bytes from..to of the object, of which the head promises all. */
static bool
send_body(int fd, size_t from, size_t to, const char *etag)
{
	char		head[512];

	if (from == 0)
		snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nETag: \"%s\"\r\nContent-Length: %d\r\n\r\n",
				 etag, BODY_SIZE);
	else
		snprintf(head, sizeof(head), "HTTP/1.1 206 Partial\r\nETag: \"%s\"\r\nContent-Length: %zu\r\n"
				 "Content-Range: bytes %zu-%d/%d\r\n\r\n",
				 etag, BODY_SIZE - from, from, BODY_SIZE - 1, BODY_SIZE);
	send_text(fd, head);
	send_all(fd, body + from, to - from);
	return to == BODY_SIZE;
}

/* Where the request's range begins; 0 without one. */
static size_t
range_start(const Request *request)
{
	const char *range = strcasestr(request->text, "range: bytes=");

	return range != NULL ? strtoul(range + strlen("range: bytes="), NULL, 10) : 0;
}

static bool
read_request(int fd, Request *request)
{
	size_t		length = 0;
	const char *stated;
	char		byte;

	while (length < 4 || memcmp(request->text + length - 4, "\r\n\r\n", 4) != 0)
	{
		if (length + 1 >= sizeof(request->text) || recv(fd, &byte, 1, 0) != 1)
			return false;
		request->text[length++] = byte;
	}
	request->text[length] = '\0';
	stated = strcasestr(request->text, "\r\ncontent-length: ");
	request->body_length = stated != NULL ? strtoul(stated + 18, NULL, 10) : 0;
	for (size_t left = request->body_length; left > 0;)
	{
		static _Thread_local char sink[65536];
		ssize_t		got = recv(fd, sink, left < sizeof(sink) ? left : sizeof(sink), 0);

		if (got <= 0)
			return false;
		left -= (size_t) got;
	}
	return true;
}

static void *
serve_connection(void *arg)
{
	int			fd = (int) (intptr_t) arg;
	Request    *request = calloc(1, sizeof(*request));
	bool		go_on = true;

	while (go_on && read_request(fd, request))
	{
		Handler		current;

		pthread_mutex_lock(&lock);
		request->number = ++n_requests;
		if (n_requests <= LOG_SIZE)
			log_of[n_requests - 1] = *request;
		current = handler;
		pthread_mutex_unlock(&lock);
		go_on = current(fd, request);
	}
	close(fd);
	free(request);
	return NULL;
}

static void *
serve(void *arg)
{
	int			fd;

	(void) arg;
	while ((fd = accept(listener, NULL, NULL)) >= 0)
	{
		pthread_t	thread;

		if (pthread_create(&thread, NULL, serve_connection, (void *) (intptr_t) fd) != 0)
			abort();
		pthread_detach(thread);
	}
	return NULL;
}

static void
start_server(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET,.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t	length = sizeof(address);
	pthread_t	thread;

	listener = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(listener, (struct sockaddr *) &address, sizeof(address)) != 0 ||
		listen(listener, 64) != 0 ||
		getsockname(listener, (struct sockaddr *) &address, &length) != 0 ||
		pthread_create(&thread, NULL, serve, NULL) != 0)
		abort();
	pthread_detach(thread);
	snprintf(endpoint, sizeof(endpoint), "http://127.0.0.1:%d", ntohs(address.sin_port));
	for (int i = 0; i < BODY_SIZE; i++)
		body[i] = (char) (i * 7 + i / 251);
}

/*
 * The client.
 */
static bool
wait_with_poll(void *arg, int fd, long timeout_ms)
{
	struct pollfd watched = {.fd = fd,.events = POLLIN};
	double		left = stop_at > 0 ? stop_at - seconds() : 1e6;

	(void) arg;
	waits++;
	if (left <= 0)
		return false;
	if (timeout_ms < 0 || (double) timeout_ms > left * 1000)
		timeout_ms = (long) (left * 1000) + 1;
	poll(&watched, 1, (int) timeout_ms);
	return true;
}

static StediS3Config
default_config(void)
{
	return (StediS3Config) {
		.bucket = "bucket",
		.endpoint = endpoint,
		.url_style = STEDI_URL_STYLE_PATH,
		.access_key_id = "AKIAEXAMPLE",
		.secret_access_key = SECRET,
		.session_token = "TOKENTOKEN",
		.user_agent = "test",
		.max_attempts = 3,
		.connect_timeout_ms = 2000,
		.idle_timeout_ms = 5000,
		.max_connections = 4,
		.get_buffer_size = 64 * 1024,
		.part_size = PART_SIZE,
		.max_parts_in_flight = 2,
	};
}

static int	release_hanging = -1;

/* A new store with a new script. */
static StediStore *
begin_with(Handler script, const StediS3Config *config)
{
	StediWaiter waiter = {wait_with_poll, NULL};
	StediStatus status = {0};
	int			pipe_fds[2];

	if (pipe(pipe_fds) != 0)
		abort();
	pthread_mutex_lock(&lock);
	handler = script;
	n_requests = 0;
	hanging = pipe_fds[0];
	memset(log_of, 0, sizeof(log_of));
	pthread_mutex_unlock(&lock);
	release_hanging = pipe_fds[1];
	stop_at = 0;
	return stedi_store_open_s3(config, waiter, &status);
}

static StediStore *
begin(Handler script)
{
	StediS3Config config = default_config();

	return begin_with(script, &config);
}

static void
end(StediStore *store)
{
	stedi_store_close(store);
	close(release_hanging);
}

/* Number of requests so far. */
static int
requests(void)
{
	int			n;

	pthread_mutex_lock(&lock);
	n = n_requests;
	pthread_mutex_unlock(&lock);
	return n;
}

/* Keys of a whole listing, or the failure's code as a negative number. */
static int
list_all(StediStore *store, const char *prefix, StediStatus *status)
{
	StediListing *listing = stedi_store_list(store, prefix, status);
	StediObject object;
	int			count = 0;
	int			found;

	while ((found = stedi_listing_next(listing, &object, status)) == 1)
	{
		count++;
		stedi_object_free(&object);
	}
	stedi_listing_close(listing);
	return found == 0 ? count : -(int) status->code;
}

static const StediObject the_object = {.key = "the/key",.etag = ETAG,.size = BODY_SIZE};

/* Read the object: STEDI_OK if every byte is right. */
static StediCode
read_object(StediStore *store, StediStatus *status)
{
	StediGet   *get = stedi_store_get(store, &the_object, status);
	char		buffer[10000];
	size_t		total = 0;
	bool		same = true;
	ssize_t		got;

	while ((got = stedi_get_read(get, buffer, sizeof(buffer), status)) > 0)
	{
		same = same && total + (size_t) got <= BODY_SIZE &&
			memcmp(buffer, body + total, (size_t) got) == 0;
		total += (size_t) got;
	}
	stedi_get_close(get);
	if (got < 0)
		return status->code;
	return same && total == BODY_SIZE ? STEDI_OK : STEDI_IO;
}

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

#define LIST_OF(entries, rest) \
	"<ListBucketResult><EncodingType>url</EncodingType>" entries rest "</ListBucketResult>"
#define ENTRY(key) \
	"<Contents><Key>" key "</Key><LastModified>2024-01-02T03:04:05.000Z</LastModified>" \
	"<ETag>&quot;" ETAG "&quot;</ETag><Size>5</Size></Contents>"
#define LAST_PAGE "<IsTruncated>false</IsTruncated>"

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

	store = begin(overloaded);
	is_int(list_all(store, "", &status), -STEDI_THROTTLED, "after all attempts it is STEDI_THROTTLED");
	is(status.detail, "HTTP status 503, S3 code SlowDown, message \"so it is\", request id REQ42, "
	   "3 attempts, bucket bucket", "the detail says what happened");
	end(store);

	config.max_attempts = 1;
	store = begin_with(overloaded, &config);
	ok(list_all(store, "", &status) == -STEDI_THROTTLED && requests() == 1,
	   "one attempt means no retry");
	end(store);

	store = begin(html_page);
	ok(list_all(store, "", &status) == -STEDI_PROTOCOL && strstr(status.detail, "10.0.0.7") == NULL &&
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
 * Reading.
 */
static bool
cut_three_times(int fd, const Request *request)
{
	size_t		from = range_start(request);
	size_t		to = request->number <= 3 ? from + 70000 : BODY_SIZE;

	return send_body(fd, from, to, ETAG);
}

static bool
cut_then_from_the_beginning(int fd, const Request *request)
{
	return send_body(fd, 0, request->number == 1 ? 70001 : BODY_SIZE, ETAG);
}

static bool
cut_then_changed(int fd, const Request *request)
{
	if (request->number == 1)
		return send_body(fd, 0, 100000, ETAG);
	return reply_error(fd, "412 Precondition Failed", "", "PreconditionFailed");
}

static bool
cut_then_other_etag(int fd, const Request *request)
{
	if (request->number == 1)
		return send_body(fd, 0, 100000, ETAG);
	return send_body(fd, range_start(request), BODY_SIZE, "someothertag");
}

static bool
cut_then_wrong_range(int fd, const Request *request)
{
	if (request->number == 1)
		return send_body(fd, 0, 100000, ETAG);
	return send_body(fd, range_start(request) + 1, BODY_SIZE, ETAG);
}

static bool
always_cut(int fd, const Request *request)
{
	size_t		from = range_start(request);

	return send_body(fd, from, from < 100000 ? 100000 : from, ETAG);
}

static bool
wrong_length(int fd, const Request *request)
{
	(void) request;
	return reply(fd, "200 OK", "", "short");
}

static bool
short_without_length(int fd, const Request *request)
{
	(void) request;
	send_text(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n0\r\n\r\n");
	return true;
}

static bool
long_without_length(int fd, const Request *request)
{
	(void) request;
	send_text(fd, "HTTP/1.1 200 OK\r\n\r\n");
	send_all(fd, body, BODY_SIZE);
	send_text(fd, "more");
	return false;
}

static bool
whole_object(int fd, const Request *request)
{
	if (has(request, "list-type=2"))
		return reply(fd, "200 OK", "", LIST_OF(ENTRY("a"), LAST_PAGE));
	return send_body(fd, range_start(request), BODY_SIZE, ETAG);
}

static bool
hang_in_body(int fd, const Request *request)
{
	if (request->number > 1)
		return send_body(fd, range_start(request), BODY_SIZE, ETAG);
	send_body(fd, 0, 100000, ETAG);
	return hang();
}

static bool
gone(int fd, const Request *request)
{
	(void) request;
	return reply_error(fd, "404 Not Found", "", "NoSuchKey");
}

static void
test_reading(void)
{
	StediStatus status = {0};
	StediStore *store = begin(cut_three_times);
	StediS3Config config = default_config();

	config.max_attempts = 4;
	is_int(read_object(store, &status), STEDI_CONNECTION, "a body cut too often is a failure");
	end(store);
	store = begin_with(cut_three_times, &config);
	is_int(read_object(store, &status), STEDI_OK, "a body that is cut is continued");
	ok(has(&log_of[1], "range: bytes=70000-") && has(&log_of[1], "if-match: \"" ETAG "\"") &&
	   !has(&log_of[0], "range:"), "with a range of the same version");
	end(store);
	store = begin(cut_then_from_the_beginning);
	is_int(read_object(store, &status), STEDI_OK, "a server that knows no ranges is understood");
	end(store);
	store = begin(cut_then_changed);
	is_int(read_object(store, &status), STEDI_CHANGED, "an object that changes meanwhile is STEDI_CHANGED");
	end(store);
	store = begin(cut_then_other_etag);
	is_int(read_object(store, &status), STEDI_CHANGED, "also when If-Match is ignored");
	end(store);
	store = begin(cut_then_wrong_range);
	is_int(read_object(store, &status), STEDI_PROTOCOL, "another range than asked for is no good");
	end(store);
	store = begin(always_cut);
	ok(read_object(store, &status) == STEDI_CONNECTION && requests() == 3 &&
	   strstr(status.detail, "object s3://bucket/the/key") != NULL,
	   "a body that never ends well is a failure that names the object");
	end(store);
	store = begin(wrong_length);
	is_int(read_object(store, &status), STEDI_CORRUPT, "a length that is not the listed one is STEDI_CORRUPT");
	end(store);
	store = begin(short_without_length);
	is_int(read_object(store, &status), STEDI_CORRUPT, "a short body is never a good end");
	end(store);
	store = begin(long_without_length);
	is_int(read_object(store, &status), STEDI_CORRUPT, "nor a long one");
	end(store);
	store = begin(gone);
	ok(read_object(store, &status) == STEDI_NOT_FOUND &&
	   strcmp(status.message, "object \"s3://bucket/the/key\" does not exist") == 0,
	   "a missing object is STEDI_NOT_FOUND");
	end(store);
}

static void
test_many_gets(void)
{
	StediStatus status = {0};
	StediS3Config config = default_config();
	StediStore *store;
	StediGet   *gets[12];
	char		buffer[8192];
	int			good = 0;

	config.max_connections = 3;
	store = begin_with(whole_object, &config);
	for (int i = 0; i < 12; i++)
		gets[i] = stedi_store_get(store, &the_object, &status);
	is_int(list_all(store, "", &status), 1, "gets opened ahead do not keep a listing out");
	ok(requests() <= 4, "no more gets than max_connections are under way");
	/* backwards, so that each one that is read had to queue */
	for (int i = 11; i >= 0; i--)
	{
		size_t		total = 0;
		ssize_t		got;

		while ((got = stedi_get_read(gets[i], buffer, sizeof(buffer), &status)) > 0 &&
			   memcmp(buffer, body + total, (size_t) got) == 0)
			total += (size_t) got;
		good += got == 0 && total == BODY_SIZE;
	}
	is_int(good, 12, "gets can be read in any order");
	end(store);
}

static void
test_slow_reader(void)
{
	StediStatus status = {0};
	StediS3Config config = default_config();
	StediStore *store;
	StediGet   *get;
	char		buffer[BODY_SIZE];
	size_t		total = 0;
	ssize_t		got;

	config.idle_timeout_ms = 100;
	config.max_attempts = 1;
	store = begin_with(whole_object, &config);
	get = stedi_store_get(store, &the_object, &status);
	while ((got = stedi_get_read(get, buffer + total, 10000, &status)) > 0)
	{
		total += (size_t) got;
		if (total < 40000)
			usleep(200000);
	}
	ok(got == 0 && total == BODY_SIZE && memcmp(buffer, body, BODY_SIZE) == 0,
	   "a reader that takes its time is no time-out");
	end(store);
}

static bool
always_hang(int fd, const Request *request)
{
	(void) fd;
	(void) request;
	return hang();
}

static void
test_hanging(void)
{
	StediStatus status = {0};
	StediS3Config config = default_config();
	StediStore *store;
	double		start;

	config.idle_timeout_ms = 200;
	config.max_attempts = 2;
	store = begin_with(always_hang, &config);
	start = seconds();
	ok(list_all(store, "", &status) == -STEDI_CONNECTION && requests() == 2 &&
	   seconds() - start >= 0.4 && seconds() - start < 1,
	   "a server that does not answer is given up in time");
	end(store);

	store = begin_with(hang_in_body, &config);
	is_int(read_object(store, &status), STEDI_OK, "a body that stops is continued");
	end(store);

	store = begin(always_hang);
	start = seconds();
	stop_at = start + 0.1;
	ok(list_all(store, "", &status) == -STEDI_CANCELLED && seconds() - start < 0.2,
	   "a cancel is immediate while nothing moves");
	start = seconds();
	end(store);
	ok(seconds() - start < 0.1, "and so is closing");

	config = default_config();
	config.endpoint = "http://192.0.2.1";	/* TEST-NET-1: nobody answers */
	store = begin_with(always_hang, &config);
	start = seconds();
	stop_at = start + 0.1;
	list_all(store, "", &status);
	ok((status.code == STEDI_CANCELLED || status.code == STEDI_CONNECTION) &&
	   seconds() - start < 0.3, "a cancel is immediate while connecting");
	end(store);

	store = begin(always_hang);
	stedi_store_get(store, &the_object, &status);
	stedi_store_list(store, "", &status);
	stop_at = seconds() + 0.05;
	ok(stedi_store_head(store, "x", &(StediObject) {0}, &status) == false &&
	   status.code == STEDI_CANCELLED, "a store with transfers under way can be closed");
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

/*
 * Writing.
 */
#define CREATED "<InitiateMultipartUploadResult><UploadId>up/1</UploadId></InitiateMultipartUploadResult>"
#define COMPLETED "<CompleteMultipartUploadResult><ETag>&quot;done-3&quot;</ETag></CompleteMultipartUploadResult>"
/* of two parts with the MD5s ETAG: printf ETAG ETAG | xxd -r -p | md5sum */
#define TWO_PARTS "5775d833b6f80e83231f82899ce76c00-2"

/* How a put is answered apart from its end. */
static bool
accept_put(int fd, const Request *request)
{
	if (is_method(request, "POST") && has(request, "uploads="))
		return reply(fd, "200 OK", "", CREATED);
	if (is_method(request, "PUT"))
		return reply(fd, "200 OK", "ETag: \"" ETAG "\"\r\n", "");
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
	if (is_method(request, "POST") && !has(request, "uploads=") && completions++ == 0)
		return reply_error(fd, "200 OK", "", "InternalError");
	return accept_put(fd, request);
}

static bool
complete_fails_late(int fd, const Request *request)
{
	if (is_method(request, "POST") && !has(request, "uploads="))
		return reply_error(fd, "200 OK", "", "AccessDenied");
	return accept_put(fd, request);
}

static bool
complete_reply_is_lost(int fd, const Request *request)
{
	if (is_method(request, "HEAD"))
		return reply(fd, "200 OK", "ETag: \"" TWO_PARTS "\"\r\n", "");
	if (is_method(request, "POST") && !has(request, "uploads="))
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
abort_hangs(int fd, const Request *request)
{
	if (is_method(request, "DELETE"))
		return hang();
	return accept_put(fd, request);
}

/* Requests logged whose first line begins so and contains text. */
static int
count_requests(const char *method, const char *text)
{
	int			count = 0;

	for (int i = 0; i < n_requests && i < LOG_SIZE; i++)
		count += is_method(&log_of[i], method) && has(&log_of[i], text);
	return count;
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

	ok(put_object(store, 1000, &etag, &status) == STEDI_OK && strcmp(etag, ETAG) == 0 &&
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
	waits = 0;
	ok(!stedi_put_abort(put, 200) && seconds() - start < 0.4 && seconds() - start >= 0.15 &&
	   waits == 0, "an abort ends in time and without the waiter");
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
	ok(stedi_store_max_fds(store) > 4, "the store states its descriptors");
	end(store);
}

int
main(void)
{
	start_server();
	test_config();
	test_retries();
	test_errors();
	test_corrections();
	test_reading();
	test_many_gets();
	test_slow_reader();
	test_hanging();
	test_listing();
	test_writing();
	test_small_calls();
	return tap_done();
}
