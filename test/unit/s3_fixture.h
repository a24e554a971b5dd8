/*
 * s3_fixture.h
 *		What the tests of the S3 store share: a store on a fake server.
 */
#ifndef STEDI_TEST_S3_FIXTURE_H
#define STEDI_TEST_S3_FIXTURE_H

#include <poll.h>
#include <time.h>

#include "fake_server.h"
#include "store/store.h"

#define SECRET		"wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"
#define ETAG		"0123456789abcdef0123456789abcdef"
#define PART_SIZE	(5 * 1024 * 1024)

static double stop_at;			/* when the waiter says stop; 0: never */

static inline double
seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double) ts.tv_sec + (double) ts.tv_nsec / 1e9;
}

static inline bool
wait_with_poll(void *arg, int fd, long timeout_ms)
{
	struct pollfd watched = {.fd = fd,.events = POLLIN};
	double		left = stop_at > 0 ? stop_at - seconds() : 1e6;

	(void) arg;
	if (left <= 0)
		return false;
	if (timeout_ms < 0 || (double) timeout_ms > left * 1000)
		timeout_ms = (long) (left * 1000) + 1;
	poll(&watched, 1, (int) timeout_ms);
	return true;
}

static inline StediS3Config
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

/* A new store with a new script. */
static inline StediStore *
begin_with(Handler script, const StediS3Config *config)
{
	StediWaiter waiter = {wait_with_poll, NULL};
	StediStatus status = {0};

	start_script(script);
	stop_at = 0;
	return stedi_store_open_s3(config, waiter, &status);
}

static inline StediStore *
begin(Handler script)
{
	StediS3Config config = default_config();

	return begin_with(script, &config);
}

static inline void
end(StediStore *store)
{
	stedi_store_close(store);
	end_script();
}

/* Keys of a whole listing, or the failure's code as a negative number. */
static inline int
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

#define LIST_OF(entries, rest) \
	"<ListBucketResult><EncodingType>url</EncodingType>" entries rest "</ListBucketResult>"
#define ENTRY(key) \
	"<Contents><Key>" key "</Key><LastModified>2024-01-02T03:04:05.000Z</LastModified>" \
	"<ETag>&quot;" ETAG "&quot;</ETag><Size>5</Size></Contents>"
#define LAST_PAGE "<IsTruncated>false</IsTruncated>"

#endif							/* STEDI_TEST_S3_FIXTURE_H */
