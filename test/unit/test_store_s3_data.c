/*
 * test_store_s3_data.c
 *		How the S3 store reads objects, also when the server misbehaves: bodies
 *		that are cut, hang or change.
 */
#include <openssl/evp.h>

#include "s3_fixture.h"
#include "tap.h"

#define BODY_SIZE	300000
#define VERSION		ETAG "-2"	/* an etag that is no MD5 */

static char body[BODY_SIZE];

static const StediObject the_object = {.key = "the/key",.etag = VERSION,.size = BODY_SIZE};

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

/* Read an object with that etag: the status's code if every byte that came is right. */
static StediCode
read_version(StediStore *store, const char *etag, StediStatus *status)
{
	StediObject object = the_object;
	StediGet   *get;
	char		buffer[10000];
	size_t		total = 0;
	bool		same = true;
	ssize_t		got;

	object.etag = (char *) etag;
	get = stedi_store_get(store, &object, status);
	while ((got = stedi_get_read(get, buffer, sizeof(buffer), status)) > 0)
	{
		same = same && total + (size_t) got <= BODY_SIZE &&
			memcmp(buffer, body + total, (size_t) got) == 0;
		total += (size_t) got;
	}
	stedi_get_close(get);
	if (!same || (got == 0 && total != BODY_SIZE))
		return STEDI_IO;
	return got < 0 ? status->code : STEDI_OK;
}

static StediCode
read_object(StediStore *store, StediStatus *status)
{
	return read_version(store, VERSION, status);
}

/*
 * Reading.
 */
static bool
cut_three_times(int fd, const Request *request)
{
	size_t		from = range_start(request);
	size_t		to = request->number <= 3 ? from + 70000 : BODY_SIZE;

	return send_body(fd, from, to, VERSION);
}

static bool
cut_then_from_the_beginning(int fd, const Request *request)
{
	return send_body(fd, 0, request->number == 1 ? 70001 : BODY_SIZE, VERSION);
}

static bool
cut_then_changed(int fd, const Request *request)
{
	if (request->number == 1)
		return send_body(fd, 0, 100000, VERSION);
	return reply_error(fd, "412 Precondition Failed", "", "PreconditionFailed");
}

static bool
cut_then_other_etag(int fd, const Request *request)
{
	if (request->number == 1)
		return send_body(fd, 0, 100000, VERSION);
	return send_body(fd, range_start(request), BODY_SIZE, "someothertag");
}

static bool
cut_then_wrong_range(int fd, const Request *request)
{
	if (request->number == 1)
		return send_body(fd, 0, 100000, VERSION);
	return send_body(fd, range_start(request) + 1, BODY_SIZE, VERSION);
}

static bool
always_cut(int fd, const Request *request)
{
	size_t		from = range_start(request);

	return send_body(fd, from, from < 100000 ? 100000 : from, VERSION);
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
	send_text(fd, "HTTP/1.1 200 OK\r\nETag: \"" VERSION "\"\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n");
	send_all(fd, body, 5);
	send_text(fd, "\r\n0\r\n\r\n");
	return true;
}

static bool
long_without_length(int fd, const Request *request)
{
	(void) request;
	send_text(fd, "HTTP/1.1 200 OK\r\nETag: \"" VERSION "\"\r\n\r\n");
	send_all(fd, body, BODY_SIZE);
	send_text(fd, "more");
	return false;
}

static bool
no_etag(int fd, const Request *request)
{
	(void) request;
	send_text(fd, "HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n");
	send_all(fd, body, BODY_SIZE);
	return true;
}

static bool
whole_object(int fd, const Request *request)
{
	if (has(request, "list-type=2"))
		return reply(fd, "200 OK", "", LIST_OF(ENTRY("a"), LAST_PAGE));
	return send_body(fd, range_start(request), BODY_SIZE, VERSION);
}

static bool
in_drops(int fd, const Request *request)
{
	(void) request;
	send_body(fd, 0, 1000, VERSION);
	for (size_t i = 1000; i < 10000; i += 1000)
	{
		usleep(50000);
		send_all(fd, body + i, 1000);
	}
	send_all(fd, body + 10000, BODY_SIZE - 10000);
	return true;
}

static bool
hang_in_body(int fd, const Request *request)
{
	if (request->number > 1)
		return send_body(fd, range_start(request), BODY_SIZE, VERSION);
	send_body(fd, 0, 100000, VERSION);
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
	ok(has(&log_of[1], "range: bytes=70000-") && has(&log_of[1], "if-match: \"" VERSION "\"") &&
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
	store = begin(no_etag);
	is_int(read_object(store, &status), STEDI_PROTOCOL, "a body without an etag may be anybody's");
	end(store);
	store = begin(gone);
	ok(read_object(store, &status) == STEDI_NOT_FOUND &&
	   strcmp(status.message, "object \"s3://bucket/the/key\" does not exist") == 0,
	   "a missing object is STEDI_NOT_FOUND");
	end(store);
}

/*
 * The MD5 of what comes is compared with an ETag that is one.
 */
static const char *encryption;	/* a header of the reply */

static bool
two_halves(int fd, const Request *request)
{
	size_t		from = range_start(request);
	const char *etag = strcasestr(request->text, "if-match: \"") + strlen("if-match: \"");
	char		head[512];

	snprintf(head, sizeof(head), "HTTP/1.1 %s\r\n%sETag: \"%.*s\"\r\nContent-Length: %zu\r\n"
			 "Content-Range: bytes %zu-%d/%d\r\n\r\n", from > 0 ? "206 Partial" : "200 OK",
			 encryption, (int) strcspn(etag, "\""), etag, BODY_SIZE - from, from, BODY_SIZE - 1,
			 BODY_SIZE);
	send_text(fd, head);
	send_all(fd, body + from, (from > 0 ? BODY_SIZE : 150000) - from);
	return from > 0;
}

static void
test_md5(void)
{
	static const struct
	{
		const char *etag;		/* NULL: the right one */
		const char *encryption;
		StediCode	code;
		const char *name;
	}			cases[] = {
		{NULL, "", STEDI_OK, "an MD5 that is right, over two requests"},
		{"0123456789abcdef0123456789abcdef", "", STEDI_CORRUPT, "one that is not"},
		{"0123456789abcdef0123456789abcdef", "x-amz-server-side-encryption: AES256\r\n", STEDI_CORRUPT,
		"S3's own encryption leaves it an MD5"},
		{"0123456789abcdef0123456789abcdef", "x-amz-server-side-encryption: aws:kms\r\n", STEDI_OK,
		"with KMS the ETag is no MD5"},
		{"0123456789abcdef0123456789abcdef", "x-amz-server-side-encryption: aws:kms:dsse\r\n", STEDI_OK,
		"nor with two layers of it"},
		{"0123456789abcdef0123456789abcdef", "x-amz-server-side-encryption-customer-algorithm: AES256\r\n",
		STEDI_OK, "nor with the customer's key"},
		{"0123456789abcdef0123456789abcde-", "", STEDI_OK, "an ETag that only has the length"},
		{"0123456789abcdef0123456789abcdef-1", "", STEDI_OK, "that of a multipart upload"},
	};
	unsigned char digest[16];
	char		md5_of_body[33];

	EVP_Digest(body, BODY_SIZE, digest, NULL, EVP_md5(), NULL);
	for (int i = 0; i < 16; i++)
		snprintf(md5_of_body + 2 * i, 3, "%02x", digest[i]);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		StediStatus status = {0};
		StediStore *store = begin(two_halves);

		encryption = cases[i].encryption;
		is_int(read_version(store, cases[i].etag ? cases[i].etag : md5_of_body, &status),
			   cases[i].code, cases[i].name);
		end(store);
	}
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
test_early_start(void)
{
	StediStatus status = {0};
	StediStore *store = begin(whole_object);

	/* so that there is a connection, which a get only has to write to */
	list_all(store, "", &status);
	stedi_store_get(store, &the_object, &status);
	usleep(100000);
	is_int(requests(), 2, "a get goes off before anybody waits for it");
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

static bool
byte_by_byte(int fd, const Request *request)
{
	(void) request;
	send_text(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n");
	for (int i = 0; i < 100; i++)
	{
		usleep(50000);
		send_all(fd, " ", 1);
	}
	return true;
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

	store = begin_with(byte_by_byte, &config);
	start = seconds();
	ok(list_all(store, "", &status) == -STEDI_CONNECTION && requests() == 2 &&
	   seconds() - start < 2, "nor one that answers byte by byte is waited for");
	end(store);

	config.max_attempts = 1;
	store = begin_with(in_drops, &config);
	is_int(read_object(store, &status), STEDI_OK, "a slow server is not given up while bytes move");
	end(store);
	config.max_attempts = 2;
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
 * A large object by ranges.
 */
#define RING_SIZE	(64 * 1024)	/* five ranges */

static int	at_once;			/* these two are protected by lock */
static int	most_at_once;

/* Send what the request's range asks for, or all, after a while. */
static bool
send_range(int fd, const Request *request, const char *etag)
{
	const char *range = strcasestr(request->text, "range: bytes=");
	size_t		from = range_start(request);
	size_t		to = range != NULL ? strtoul(strchr(range, '-') + 1, NULL, 10) + 1 : BODY_SIZE;
	char		head[512];

	snprintf(head, sizeof(head), "HTTP/1.1 %s\r\nETag: \"%s\"\r\nContent-Length: %zu\r\n"
			 "Content-Range: bytes %zu-%zu/%d\r\n\r\n", range != NULL ? "206 Partial" : "200 OK",
			 etag, to - from, from, to - 1, BODY_SIZE);
	pthread_mutex_lock(&lock);
	if (++at_once > most_at_once)
		most_at_once = at_once;
	pthread_mutex_unlock(&lock);
	usleep(100000);
	pthread_mutex_lock(&lock);
	at_once--;
	pthread_mutex_unlock(&lock);
	send_text(fd, head);
	send_all(fd, body + from, to - from);
	return true;
}

static bool
knows_ranges(int fd, const Request *request)
{
	if (has(request, "list-type=2"))
		return reply(fd, "200 OK", "", LIST_OF("", LAST_PAGE));
	return send_range(fd, request, VERSION);
}

static bool
knows_no_ranges(int fd, const Request *request)
{
	(void) request;
	return send_body(fd, 0, BODY_SIZE, VERSION);
}

static bool
third_is_changed(int fd, const Request *request)
{
	return send_range(fd, request, range_start(request) == 2 * RING_SIZE ? "someothertag" : VERSION);
}

static bool
third_is_another(int fd, const Request *request)
{
	if (range_start(request) == 2 * RING_SIZE)
		return send_body(fd, 2 * RING_SIZE, BODY_SIZE, VERSION);
	return send_range(fd, request, VERSION);
}

static bool
third_is_whole(int fd, const Request *request)
{
	if (range_start(request) == 2 * RING_SIZE)
		return send_body(fd, 0, BODY_SIZE, VERSION);
	return send_range(fd, request, VERSION);
}

static bool
third_is_cut_once(int fd, const Request *request)
{
	char		head[512];

	if (range_start(request) != 2 * RING_SIZE)
		return send_range(fd, request, VERSION);
	snprintf(head, sizeof(head), "HTTP/1.1 206 Partial\r\nETag: \"" VERSION "\"\r\nContent-Length: %d\r\n"
			 "Content-Range: bytes %d-%d/%d\r\n\r\n", RING_SIZE, 2 * RING_SIZE, 3 * RING_SIZE - 1, BODY_SIZE);
	send_text(fd, head);
	send_all(fd, body + 2 * RING_SIZE, 1000);
	return false;
}

static bool
later_ones_hang(int fd, const Request *request)
{
	if (range_start(request) > 0)
		return hang();
	return send_range(fd, request, VERSION);
}

static void
test_ranges(void)
{
	StediStatus status = {0};
	StediS3Config config = default_config();
	StediStore *store;
	StediGet   *gets[3];
	StediObject small = the_object;
	char		buffer[1000];
	double		start;

	config.get_buffer_size = RING_SIZE;
	config.max_ranges = 3;
	store = begin_with(knows_ranges, &config);
	at_once = most_at_once = 0;
	start = seconds();
	is_int(read_object(store, &status), STEDI_OK, "a large object is read by ranges");
	/* the first, three at once, the fifth as soon as the second has been read */
	ok(seconds() - start < 0.4, "at the same time");
	is_int(requests(), 5, "each once");
	is_int(most_at_once, 4, "no more of them than the one that is read and max_ranges");
	is_int(count_requests("GET", "if-match: \"" VERSION "\""), 5, "all of the same version");
	ok(has(&log_of[0], "range: bytes=0-65535\r\n") && count_requests("GET", "range: bytes=262144-299999\r\n") == 1,
	   "the first is asked for as a range, and the last ends with the object");
	is_int(read_object(store, &status), STEDI_OK, "what a get had of max_ranges it gives back");
	end(store);

	store = begin_with(knows_ranges, &config);
	for (int i = 0; i < 3; i++)
		gets[i] = stedi_store_get(store, &the_object, &status);
	for (int i = 0; i < 3; i++)
		list_all(store, "", &status);
	is_int(count_requests("GET", "range: bytes=0-65535\r\n"), 3, "gets opened ahead ask for their first range");
	for (int i = 0; i < 20; i++)
	{
		usleep(20000);
		stedi_get_read(gets[0], buffer, 1, &status);
		stedi_get_read(gets[1], buffer, 1, &status);
	}
	is_int(count_requests("GET", "range: bytes="), 4, "and who never has to wait has one more under way");
	end(store);

	store = begin_with(knows_ranges, &config);
	is_int(read_object(store, &status), STEDI_OK, "who had to wait once");
	for (int i = 0; i < 2; i++)
	{
		gets[i] = stedi_store_get(store, &the_object, &status);
		stedi_get_read(gets[i], buffer, 1, &status);
	}
	stedi_get_read(gets[0], buffer, 1, &status);
	usleep(50000);
	is_int(count_requests("GET", "range: bytes="), 5 + 2 + 3, "has max_ranges of them from then on, shared by all that is read");
	end(store);

	store = begin_with(knows_no_ranges, &config);
	ok(read_object(store, &status) == STEDI_OK && requests() == 1,
	   "a server that knows no ranges sends a large object in one stream");
	end(store);
	store = begin_with(third_is_changed, &config);
	is_int(read_object(store, &status), STEDI_CHANGED, "one range of another version is STEDI_CHANGED");
	end(store);
	store = begin_with(third_is_another, &config);
	is_int(read_object(store, &status), STEDI_PROTOCOL, "another range than asked for is no good");
	end(store);
	store = begin_with(third_is_whole, &config);
	is_int(read_object(store, &status), STEDI_PROTOCOL, "nor is the whole object instead of a range");
	end(store);
	store = begin_with(third_is_cut_once, &config);
	ok(read_object(store, &status) == STEDI_OK && requests() == 6 &&
	   count_requests("GET", "range: bytes=132072-196607\r\n") == 1, "a range that is cut is continued");
	end(store);

	store = begin_with(later_ones_hang, &config);
	start = seconds();
	stop_at = start + 0.3;
	ok(read_object(store, &status) == STEDI_CANCELLED && seconds() - start < 0.4,
	   "a cancel is immediate while ranges hang");
	start = seconds();
	end(store);
	ok(seconds() - start < 0.1, "and so is closing");

	small.size = 3 * RING_SIZE - 1;
	store = begin_with(always_hang, &config);
	stop_at = seconds() + 0.1;
	stedi_get_read(stedi_store_get(store, &small, &status), buffer, 1, &status);
	ok(requests() == 1 && !has(&log_of[0], "range:"), "an object of fewer ranges is one request");
	end(store);
	config.max_ranges = 0;
	store = begin_with(knows_ranges, &config);
	ok(read_object(store, &status) == STEDI_OK && requests() == 1, "so is any without max_ranges");
	end(store);
}

int
main(void)
{
	for (int i = 0; i < BODY_SIZE; i++)
		body[i] = (char) (i * 7 + i / 251);
	start_server();
	test_reading();
	test_md5();
	test_many_gets();
	test_early_start();
	test_slow_reader();
	test_hanging();
	test_ranges();
	return tap_done();
}
