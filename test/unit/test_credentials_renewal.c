/*
 * test_credentials_renewal.c
 *		Credentials that end: renewal ahead of time, and after a refusal.
 *
 * The same fake server gives keys (GET /keys) and is the object store, so the
 * scripts below see both sides.  Keys number n have the ID ASIAKEYn.
 */
#include "credentials_fixture.h"

static int	keys_given;			/* of the current script; protected by lock */
static int	keys_wanted;		/* the store takes these and later ones */
static int	keys_fail_after;	/* so many; 0: never */

static void
begin_renewal(Handler script, int wanted)
{
	char		url[128];

	clear_environment();
	keys_given = 0;
	keys_wanted = wanted;
	keys_fail_after = 0;
	snprintf(url, sizeof(url), "%s/keys", endpoint);
	setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url, 1);
	start_script(script);
}

static bool
give_keys(int fd)
{
	int			n;
	bool		fail;

	pthread_mutex_lock(&lock);
	n = ++keys_given;
	fail = keys_fail_after > 0 && n > keys_fail_after;
	pthread_mutex_unlock(&lock);
	return fail ? reply(fd, "403 Forbidden", "", "") : reply_keys(fd, n);
}

static int
key_number(const Request *request)
{
	const char *id = strstr(request->text, "Credential=ASIAKEY");

	return id != NULL ? atoi(id + 18) : 0;
}

/* Keys, and a store that takes keys_wanted and later ones only. */
static bool
keys_and_store(int fd, const Request *request)
{
	if (has(request, "GET /keys"))
		return give_keys(fd);
	if (key_number(request) < keys_wanted)
	{
		if (is_method(request, "HEAD"))
			return reply(fd, "400 Bad Request", "", "");
		return reply_error(fd, "400 Bad Request", "", "ExpiredToken");
	}
	if (is_method(request, "HEAD") || has(request, "GET /bucket/k"))
		return reply(fd, "200 OK", "ETag: \"e\"\r\n", "hello");
	return reply(fd, "200 OK", "", LIST_OF(ENTRY("a"), LAST_PAGE));
}

static StediCredentialProvider *
open_chain(void)
{
	StediCredentialSettings chain = {0};
	StediStatus status;

	return stedi_credential_provider_open(&chain, &status);
}

static StediStore *
open_store(StediCredentialProvider *provider, int max_attempts)
{
	StediS3Config config = default_config();
	StediWaiter waiter = {wait_with_poll, NULL};
	StediStatus status;

	config.credentials = provider;
	config.access_key_id = NULL;
	config.max_attempts = max_attempts;
	return stedi_store_open_s3(&config, waiter, &status);
}

static void
test_ahead_of_time(void)
{
	StediWaiter waiter = {wait_with_poll, NULL};
	StediStatus status = {0};
	StediCredentialProvider *provider;

	begin_renewal(keys_and_store, 0);
	provider = open_chain();
	ok(stedi_credential_provider_current(provider) == NULL, "there are no keys until they are asked for");
	for (int i = 0; i < 3; i++)
		stedi_credential_provider_get(provider, &waiter, &status);
	is_int(requests(), 1, "keys for an hour are asked for once");
	stedi_credential_provider_release(provider);
	end_script();

	begin_renewal(keys_and_store, 0);
	key_life = 4;
	provider = open_chain();
	ok(stedi_credential_provider_get(provider, &waiter, &status) &&
	   stedi_credential_provider_get(provider, &waiter, &status) && requests() == 1,
	   "keys for some seconds are kept for half of them");
	usleep(2100000);
	ok(stedi_credential_provider_get(provider, &waiter, &status) && requests() == 2 &&
	   stedi_credential_provider_generation(provider) == 2, "and renewed before they end");

	/* now the container refuses */
	keys_fail_after = 2;
	usleep(2100000);
	ok(stedi_credential_provider_get(provider, &waiter, &status) && requests() == 3 &&
	   stedi_credential_provider_generation(provider) == 2 && status.code == STEDI_OK,
	   "keys that cannot be renewed are good until they end");
	ok(stedi_credential_provider_get(provider, &waiter, &status) && requests() == 3,
	   "and the renewal is not tried all the time");
	usleep(2100000);
	ok(!stedi_credential_provider_get(provider, &waiter, &status) && status.code == STEDI_CREDENTIALS &&
	   strstr(status.detail, "container: HTTP status 403") != NULL, "but not longer");
	stedi_credential_provider_release(provider);
	end_script();
}

static void
test_refused(void)
{
	StediWaiter waiter = {wait_with_poll, NULL};
	StediStatus status = {0};
	StediObject object;
	StediCredentialProvider *provider;
	StediStore *store;

	begin_renewal(keys_and_store, 2);
	provider = open_chain();
	store = open_store(provider, 1);
	is_int(list_all(store, "", &status), 1, "a request with an expired token is sent again with new keys");
	is_int(requests(), 4, "which is no attempt that failed");
	is_int(list_all(store, "", &status), 1, "the new keys");
	is_int(requests(), 5, "are kept");
	keys_wanted = 3;
	ok(stedi_store_head(store, "k", &object, &status) && stedi_credential_provider_generation(provider) == 3,
	   "a HEAD has no code, but a status");
	stedi_object_free(&object);
	stedi_store_close(store);
	store = open_store(provider, 1);
	ok(list_all(store, "", &status) == 1 && stedi_credential_provider_generation(provider) == 3,
	   "another store goes on with them");
	stedi_store_close(store);
	stedi_credential_provider_release(provider);
	end_script();

	begin_renewal(keys_and_store, 1000);
	provider = open_chain();
	store = open_store(provider, 3);
	is_int(list_all(store, "", &status), -STEDI_CREDENTIALS, "keys that are refused twice are STEDI_CREDENTIALS");
	is_int(requests(), 4, "after one renewal");
	ok(strstr(status.detail, "ExpiredToken") != NULL && strstr(status.hint, "whoami") != NULL,
	   "with what the store said");
	stedi_store_close(store);
	stedi_credential_provider_release(provider);
	end_script();

	/* renewal fails: its words, not the store's */
	begin_renewal(keys_and_store, 2);
	keys_fail_after = 1;
	provider = open_chain();
	store = open_store(provider, 3);
	ok(list_all(store, "", &status) == -STEDI_CREDENTIALS && strstr(status.detail, "container: HTTP status 403") != NULL,
	   "refused keys that cannot be renewed are given up, however long they had");
	stedi_store_close(store);
	stedi_credential_provider_release(provider);
	end_script();

	begin_renewal(keys_and_store, 0);
	provider = open_chain();
	stedi_credential_provider_get(provider, &waiter, &status);
	stedi_credential_provider_invalidate(provider, 7);
	stedi_credential_provider_get(provider, &waiter, &status);
	is_int(stedi_credential_provider_generation(provider), 1, "a refusal of other keys than the current changes nothing");
	stedi_credential_provider_invalidate(provider, 1);
	stedi_credential_provider_get(provider, &waiter, &status);
	is_int(stedi_credential_provider_generation(provider), 2, "of the current it does");
	stedi_credential_provider_release(provider);
	end_script();
}

/* Several objects are fetched ahead when the keys end: one renewal for all. */
static void
test_many_at_once(void)
{
	StediStatus status = {0};
	StediCredentialProvider *provider;
	StediStore *store;
	StediGet   *gets[4];
	char		key[16];
	int			whole = 0;

	begin_renewal(keys_and_store, 2);
	provider = open_chain();
	store = open_store(provider, 1);
	for (int i = 0; i < 4; i++)
	{
		StediObject object = {.key = key, .etag = (char *) "e", .size = 5};

		snprintf(key, sizeof(key), "k%d", i);
		gets[i] = stedi_store_get(store, &object, &status);
	}
	for (int i = 0; i < 4; i++)
	{
		char		text[8];

		whole += stedi_get_read(gets[i], text, sizeof(text), &status) == 5 &&
			stedi_get_read(gets[i], text, sizeof(text), &status) == 0;
		stedi_get_close(gets[i]);
	}
	is_int(whole, 4, "all that was on its way arrives");
	is_int(keys_given, 2, "with one renewal");
	stedi_store_close(store);
	stedi_credential_provider_release(provider);
	end_script();
}

/* A store that quotes what it was sent. */
static bool
keys_and_gossip(int fd, const Request *request)
{
	if (has(request, "GET /keys"))
		return give_keys(fd);
	return reply(fd, "403 Forbidden", "", "<Error><Code>AccessDenied</Code><Message>you sent TOKEN1</Message></Error>");
}

static bool
keys_hang(int fd, const Request *request)
{
	(void) request;
	(void) fd;
	return hang();
}

static void
test_words(void)
{
	StediStatus status = {0};
	StediStoreIdentity identity;
	StediCredentialProvider *provider;
	StediStore *store;
	double		start;

	begin_renewal(keys_and_gossip, 0);
	setenv("AWS_REGION", "eu-central-1", 1);
	provider = open_chain();
	store = open_store(provider, 1);
	ok(list_all(store, "", &status) == -STEDI_DENIED && strstr(status.detail, "TOKEN1") == NULL,
	   "a secret of the chain that the store repeats is not passed on");
	ok(stedi_store_identify(store, &identity, &status), "a store tells");
	is(identity.region, "eu-central-1", "the region that was found on the way");
	is(identity.credentials->access_key_id, "ASIAKEY1", "its keys");
	ok(strstr(identity.url, "/bucket") != NULL, "and its URL");
	ok(count_requests("GET", "/eu-central-1/s3/aws4_request") == 1, "requests are signed for that region");
	free(identity.url);
	stedi_store_close(store);
	stedi_credential_provider_release(provider);
	end_script();

	begin_renewal(keys_hang, 0);
	provider = open_chain();
	store = open_store(provider, 1);
	start = seconds();
	stop_at = start + 0.2;
	ok(list_all(store, "", &status) == -STEDI_CANCELLED && seconds() - start < 0.5,
	   "a request that waits for keys can be cancelled");
	stedi_store_close(store);
	stedi_credential_provider_release(provider);
	end_script();
}

/* The URL of a bucket, as the store would use it. */
static void
test_addresses(void)
{
	static const struct
	{
		const char *bucket;
		const char *region;
		const char *endpoint;
		StediUrlStyle style;
		const char *url;
	}			cases[] = {
		{"lake", NULL, NULL, STEDI_URL_STYLE_VIRTUAL, "https://lake.s3.us-east-1.amazonaws.com/"},
		{"lake", "eu-west-1", NULL, STEDI_URL_STYLE_VIRTUAL, "https://lake.s3.eu-west-1.amazonaws.com/"},
		{"lake", "eu-west-1", NULL, STEDI_URL_STYLE_PATH, "https://s3.eu-west-1.amazonaws.com/lake"},
		{"lake", "cn-north-1", NULL, STEDI_URL_STYLE_VIRTUAL, "https://lake.s3.cn-north-1.amazonaws.com.cn/"},
		{"la.ke", "eu-west-1", NULL, STEDI_URL_STYLE_VIRTUAL, "https://la.ke.s3.eu-west-1.amazonaws.com/"},
		{"la.ke", "eu-west-1", NULL, STEDI_URL_STYLE_PATH, "https://s3.eu-west-1.amazonaws.com/la.ke"},
		{"lake", NULL, "https://Store.Example:9000", STEDI_URL_STYLE_PATH, "https://store.example:9000/lake"},
		{"lake", NULL, "https://store.example:443/", STEDI_URL_STYLE_VIRTUAL, "https://lake.store.example/"},
		{"lake", NULL, "http://store.example:80", STEDI_URL_STYLE_VIRTUAL, "http://lake.store.example/"},
		{"lake", NULL, "http://store.example:443", STEDI_URL_STYLE_PATH, "http://store.example:443/lake"},
		{"lake", NULL, "http://[::1]:8080", STEDI_URL_STYLE_PATH, "http://[::1]:8080/lake"},
		{"lake", NULL, "http://127.0.0.1", STEDI_URL_STYLE_PATH, "http://127.0.0.1/lake"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		StediS3Config config = default_config();
		StediWaiter waiter = {wait_with_poll, NULL};
		StediStatus status = {0};
		StediStoreIdentity identity = {0};
		StediStore *store;

		config.bucket = cases[i].bucket;
		config.region = cases[i].region;
		config.endpoint = cases[i].endpoint;
		config.url_style = cases[i].style;
		store = stedi_store_open_s3(&config, waiter, &status);
		if (store != NULL && stedi_store_identify(store, &identity, &status))
			is(identity.url, cases[i].url, cases[i].url);
		else
			ok(false, status.message);
		free(identity.url);
		stedi_store_close(store);
	}
}

int
main(void)
{
	make_home();
	start_server();
	test_addresses();
	test_refused();
	test_many_at_once();
	test_words();
	test_ahead_of_time();
	remove_home();
	return tap_done();
}
