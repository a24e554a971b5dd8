/*
 * store_tool.c
 *		A command line over store.h, to try the store against a real server.
 *
 *	store_tool s3://bucket/key-or-prefix COMMAND [ARGUMENT...]
 *	store_tool file:///path COMMAND [ARGUMENT...]
 *
 * Connection settings come from the environment variables STEDI_S3_* listed in
 * setting() below.  The exit status is 0, or 1 with the status printed.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/uri.h"
#include "store/store.h"

#define BUFFER_SIZE		(256 * 1024)
#define ABORT_MS		10000

static double cancel_after = 1e9;	/* STEDI_CANCEL_AFTER, seconds */
static double started;

static int	run_list(StediStore *store, const StediUri *uri, char **args);
static int	run_head(StediStore *store, const StediUri *uri, char **args);
static int	run_get(StediStore *store, const StediUri *uri, char **args);
static int	run_get_all(StediStore *store, const StediUri *uri, char **args);
static int	run_put(StediStore *store, const StediUri *uri, char **args);
static int	run_put_many(StediStore *store, const StediUri *uri, char **args);
static int	run_abort_put(StediStore *store, const StediUri *uri, char **args);
static int	run_delete(StediStore *store, const StediUri *uri, char **args);
static int	run_uploads(StediStore *store, const StediUri *uri, char **args);
static int	run_abort_uploads(StediStore *store, const StediUri *uri, char **args);

static const struct
{
	const char *name;
	int			n_args;
	const char *help;
	int			(*run) (StediStore *store, const StediUri *uri, char **args);
}			commands[] = {
	{"list", 0, "print size, etag and key of all objects below the prefix", run_list},
	{"head", 0, "print size, etag and key of one object", run_head},
	{"get", 1, "read one object into FILE ('-': nowhere, print the speed)", run_get},
	{"get-all", 1, "read all objects below the prefix, N opened ahead", run_get_all},
	{"put", 1, "write FILE", run_put},
	{"put-many", 1, "write N small objects below the prefix", run_put_many},
	{"abort-put", 1, "write FILE, then abort instead of commit", run_abort_put},
	{"delete", 0, "delete one object", run_delete},
	{"uploads", 0, "print the uploads under way below the prefix", run_uploads},
	{"abort-uploads", 0, "abort them", run_abort_uploads},
};

static double
seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double) ts.tv_sec + (double) ts.tv_nsec / 1e9;
}

static bool
wait_with_poll(void *arg, int fd, long timeout_ms)
{
	struct pollfd watched = {.fd = fd, .events = POLLIN};
	double		left = cancel_after - (seconds() - started);

	(void) arg;
	if (left <= 0)
		return false;
	if (timeout_ms < 0 || (double) timeout_ms > left * 1000)
		timeout_ms = left * 1000 < INT_MAX ? (long) (left * 1000) + 1 : INT_MAX;
	poll(&watched, 1, (int) timeout_ms);
	return true;
}

static int
report(const StediStatus *status)
{
	fprintf(stderr, "status %d: %s\n", status->code, status->message);
	if (status->detail[0] != '\0')
		fprintf(stderr, "detail: %s\n", status->detail);
	if (status->hint[0] != '\0')
		fprintf(stderr, "hint: %s\n", status->hint);
	return 1;
}

/* An environment variable STEDI_S3_name; NULL when unset or empty. */
static const char *
setting(const char *name)
{
	char		variable[64];
	const char *value;

	snprintf(variable, sizeof(variable), "STEDI_S3_%s", name);
	value = getenv(variable);
	return value != NULL && value[0] != '\0' ? value : NULL;
}

static long
number_setting(const char *name, long otherwise)
{
	const char *value = setting(name);

	return value != NULL ? atol(value) : otherwise;
}

static StediStore *
open_store(const StediUri *uri, StediStatus *status)
{
	StediWaiter waiter = {wait_with_poll, NULL};
	StediS3Config config = {
		.bucket = uri->bucket,
		.region = setting("REGION"),
		.endpoint = setting("ENDPOINT"),
		.url_style = setting("VIRTUAL") ? STEDI_URL_STYLE_VIRTUAL : STEDI_URL_STYLE_PATH,
		.ca_file = setting("CA_FILE"),
		.proxy = setting("PROXY"),
		.access_key_id = setting("ACCESS_KEY_ID"),
		.secret_access_key = setting("SECRET_ACCESS_KEY"),
		.session_token = setting("SESSION_TOKEN"),
		.user_agent = "store_tool",
		.max_attempts = (int) number_setting("MAX_ATTEMPTS", 5),
		.connect_timeout_ms = number_setting("CONNECT_TIMEOUT_MS", 5000),
		.idle_timeout_ms = number_setting("IDLE_TIMEOUT_MS", 30000),
		.max_connections = (int) number_setting("MAX_CONNECTIONS", 4),
		.get_buffer_size = (size_t) number_setting("GET_BUFFER_SIZE", 1024 * 1024),
		.part_size = (size_t) number_setting("PART_SIZE", 8 * 1024 * 1024),
		.max_parts_in_flight = (int) number_setting("MAX_PARTS_IN_FLIGHT", 3),
	};

	if (uri->scheme == STEDI_SCHEME_FILE)
		return stedi_store_open_file(waiter, status);
	return stedi_store_open_s3(&config, waiter, status);
}

static void
print_object(const StediObject *object)
{
	printf("%12" PRIu64 "  %s  %s\n", object->size, object->etag ? object->etag : "-",
		   object->key);
}

static int
run_list(StediStore *store, const StediUri *uri, char **args)
{
	StediStatus status = {0};
	StediListing *listing = stedi_store_list(store, uri->key, &status);
	StediObject object;
	int			found = -1;

	(void) args;
	while (listing != NULL && (found = stedi_listing_next(listing, &object, &status)) == 1)
	{
		print_object(&object);
		stedi_object_free(&object);
	}
	return found == 0 ? 0 : report(&status);
}

static int
run_head(StediStore *store, const StediUri *uri, char **args)
{
	StediStatus status = {0};
	StediObject object;

	(void) args;
	if (!stedi_store_head(store, uri->key, &object, &status))
		return report(&status);
	print_object(&object);
	stedi_object_free(&object);
	return 0;
}

/* Read a get to its end; into fd unless that is -1. */
static int
drain(StediGet *get, int fd, uint64_t *total)
{
	static char buffer[BUFFER_SIZE];
	StediStatus status = {0};
	ssize_t		got = -1;

	while ((got = stedi_get_read(get, buffer, sizeof(buffer), &status)) > 0)
	{
		*total += (uint64_t) got;
		if (fd >= 0 && write(fd, buffer, (size_t) got) != got)
		{
			perror("write");
			return 1;
		}
	}
	return got == 0 ? 0 : report(&status);
}

static int
run_get(StediStore *store, const StediUri *uri, char **args)
{
	StediStatus status = {0};
	StediObject object;
	StediGet   *get;
	uint64_t	total = 0;
	double		begin = seconds();
	int			fd = -1;
	int			result;

	if (!stedi_store_head(store, uri->key, &object, &status))
		return report(&status);
	get = stedi_store_get(store, &object, &status);
	stedi_object_free(&object);
	if (get == NULL)
		return report(&status);
	if (strcmp(args[0], "-") != 0 &&
		(fd = open(args[0], O_WRONLY | O_CREAT | O_TRUNC, 0644)) < 0)
	{
		perror(args[0]);
		return 1;
	}
	result = drain(get, fd, &total);
	if (fd >= 0)
		close(fd);
	else
		printf("%" PRIu64 " bytes, %.0f MB/s\n", total,
			   (double) total / 1e6 / (seconds() - begin));
	return result;
}

static int
run_get_all(StediStore *store, const StediUri *uri, char **args)
{
	int			ahead = atoi(args[0]) > 0 ? atoi(args[0]) : 1;
	StediGet  **window = calloc((size_t) ahead, sizeof(*window));
	StediStatus status = {0};
	StediListing *listing = stedi_store_list(store, uri->key, &status);
	StediObject object;
	uint64_t	total = 0;
	double		begin = seconds();
	int			found = listing != NULL ? 1 : -1;
	int			opened = 0;
	int			result = 0;

	for (int reading = 0; result == 0 && found >= 0; reading++)
	{
		while (found == 1 && opened < reading + ahead)
		{
			found = stedi_listing_next(listing, &object, &status);
			if (found == 1)
			{
				window[opened++ % ahead] = stedi_store_get(store, &object, &status);
				stedi_object_free(&object);
			}
		}
		if (reading == opened)
			break;
		result = window[reading % ahead] == NULL ? report(&status) :
			drain(window[reading % ahead], -1, &total);
		stedi_get_close(window[reading % ahead]);
	}
	if (found == -1)
		result = report(&status);
	free(window);
	printf("%d objects, %" PRIu64 " bytes, %.3f s, %.0f MB/s\n", opened, total,
		   seconds() - begin, (double) total / 1e6 / (seconds() - begin));
	return result;
}

/* Write a file, up to the commit. */
static StediPut *
start_put(StediStore *store, const char *key, const char *file)
{
	static char buffer[BUFFER_SIZE];
	StediStatus status = {0};
	StediPut   *put = stedi_store_put(store, key, NULL, &status);
	int			fd = open(file, O_RDONLY);
	ssize_t		got = 0;

	if (fd < 0)
		perror(file);
	while (put != NULL && fd >= 0 && (got = read(fd, buffer, sizeof(buffer))) > 0)
	{
		if (!stedi_put_write(put, buffer, (size_t) got, &status))
		{
			stedi_put_abort(put, ABORT_MS);
			put = NULL;
		}
	}
	if (fd >= 0)
		close(fd);
	if (put == NULL)
		report(&status);
	return put;
}

static int
finish_put(StediPut *put)
{
	StediStatus status = {0};
	char	   *etag;

	if (put == NULL)
		return 1;
	if (!stedi_put_commit(put, &etag, &status))
	{
		printf("aborted: %s\n", stedi_put_abort(put, ABORT_MS) ? "clean" : "something left");
		return report(&status);
	}
	printf("%s\n", etag);
	free(etag);
	stedi_put_close(put);
	return 0;
}

static int
run_put(StediStore *store, const StediUri *uri, char **args)
{
	double		begin = seconds();
	int			result = finish_put(start_put(store, uri->key, args[0]));

	printf("%.3f s\n", seconds() - begin);
	return result;
}

static int
run_put_many(StediStore *store, const StediUri *uri, char **args)
{
	int			result = 0;

	for (int i = 0; result == 0 && i < atoi(args[0]); i++)
	{
		StediStatus status = {0};
		StediPut   *put;
		char		key[1100];

		snprintf(key, sizeof(key), "%s%06d", uri->key, i);
		put = stedi_store_put(store, key, NULL, &status);
		if (put == NULL || !stedi_put_write(put, key, strlen(key), &status))
			return report(&status);
		result = finish_put(put);
	}
	return result;
}

static int
run_abort_put(StediStore *store, const StediUri *uri, char **args)
{
	StediPut   *put = start_put(store, uri->key, args[0]);

	if (put == NULL)
		return 1;
	printf("%s\n", stedi_put_abort(put, ABORT_MS) ? "clean" : "something left");
	return 0;
}

static int
run_delete(StediStore *store, const StediUri *uri, char **args)
{
	StediStatus status = {0};

	(void) args;
	return stedi_store_delete(store, uri->key, &status) ? 0 : report(&status);
}

static int
run_uploads(StediStore *store, const StediUri *uri, char **args)
{
	StediStatus status = {0};
	StediUploadPage page;

	(void) args;
	if (!stedi_store_list_uploads(store, uri->key, &page, &status))
		return report(&status);
	for (size_t i = 0; i < page.n_uploads; i++)
		printf("%s  %s\n", page.uploads[i].upload_id, page.uploads[i].key);
	stedi_upload_page_free(&page);
	return 0;
}

static int
run_abort_uploads(StediStore *store, const StediUri *uri, char **args)
{
	StediStatus status = {0};
	StediUploadPage page;
	int			result = 0;

	(void) args;
	if (!stedi_store_list_uploads(store, uri->key, &page, &status))
		return report(&status);
	for (size_t i = 0; result == 0 && i < page.n_uploads; i++)
	{
		if (!stedi_store_abort_upload(store, &page.uploads[i], &status))
			result = report(&status);
	}
	stedi_upload_page_free(&page);
	return result;
}

int
main(int argc, char **argv)
{
	size_t		n_commands = sizeof(commands) / sizeof(commands[0]);
	size_t		chosen = 0;
	StediStatus status = {0};
	StediUri	uri;
	StediStore *store;
	int			result;

	while (argc >= 3 && chosen < n_commands && strcmp(commands[chosen].name, argv[2]) != 0)
		chosen++;
	if (argc < 3 || chosen == n_commands || argc != 3 + commands[chosen].n_args)
	{
		fprintf(stderr, "usage: store_tool URI COMMAND [ARGUMENT]\n");
		for (size_t i = 0; i < n_commands; i++)
			fprintf(stderr, "  %-14s %s\n", commands[i].name, commands[i].help);
		return 2;
	}
	started = seconds();
	if (getenv("STEDI_CANCEL_AFTER") != NULL)
		cancel_after = atof(getenv("STEDI_CANCEL_AFTER"));
	if (!stedi_uri_parse(argv[1], true, &uri, &status))
		return report(&status);
	store = open_store(&uri, &status);
	result = store == NULL ? report(&status) : commands[chosen].run(store, &uri, argv + 3);
	stedi_store_close(store);
	stedi_uri_free(&uri);
	return result;
}
