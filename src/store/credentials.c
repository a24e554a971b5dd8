/*
 * credentials.c
 *		Providers of credentials: the chain, the environment, and renewal.
 *
 *	keys of the settings, or
 *	environment -> profile -> web identity -> container -> instance metadata
 *	    |
 *	    +-- the role of the settings, assumed with them
 *
 * Nothing is kept open between two searches.
 */
#include <openssl/crypto.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "store/credentials_internal.h"

#define RENEW_BEFORE_S		(5 * 60)
#define TRY_AGAIN_AFTER_S	60

struct StediCredentialProvider
{
	int			references;
	StediCredentialSettings settings;	/* strings are the provider's own */
	StediCredentials current;
	unsigned	generation;		/* of current; 0: there is none */
	int64_t		renew_at;		/* seconds since 1970; INT64_MAX: never */
	bool		is_refused;		/* by a server */
};

static bool copy_settings(StediCredentialProvider *provider,
						  const StediCredentialSettings *settings);
static bool search_all(StediCredentialProvider *provider, const StediWaiter *waiter,
					   StediCredentials *found, StediStatus *status);
static Finding search_chain(CredentialSearch *search, StediCredentials *found);
static Finding search_keys(CredentialSearch *search, StediCredentials *found);
static bool find_region(CredentialSearch *search);
static Finding assume_role(CredentialSearch *search, StediCredentials *found);
static void adopt(StediCredentialProvider *provider, StediCredentials *found);
static void note(CredentialSearch *search, const char *place, const char *format, va_list args);
static bool is_token(const char *text);
static bool wait_until(void *arg, int fd, long timeout_ms);
static int64_t now_ms(void);

/* The strings of the settings, so that they can be copied in a loop. */
static const size_t setting_offsets[] = {
	offsetof(StediCredentialSettings, access_key_id),
	offsetof(StediCredentialSettings, secret_access_key),
	offsetof(StediCredentialSettings, session_token),
	offsetof(StediCredentialSettings, profile),
	offsetof(StediCredentialSettings, role_arn),
	offsetof(StediCredentialSettings, external_id),
	offsetof(StediCredentialSettings, sts_endpoint),
	offsetof(StediCredentialSettings, region),
	offsetof(StediCredentialSettings, ca_file),
	offsetof(StediCredentialSettings, proxy),
	offsetof(StediCredentialSettings, user_agent),
};

#define N_SETTINGS	(sizeof(setting_offsets) / sizeof(setting_offsets[0]))
#define SETTING(settings, i) \
	((char **) ((char *) (settings) + setting_offsets[i]))

StediCredentialProvider *
stedi_credential_provider_open(const StediCredentialSettings *settings, StediStatus *status)
{
	StediCredentialProvider *provider;

	if (settings->access_key_id != NULL && settings->secret_access_key == NULL)
	{
		stedi_status_set(status, STEDI_CREDENTIALS,
						 "there is an access_key_id but no secret_access_key");
		return NULL;
	}
	provider = calloc(1, sizeof(*provider));
	if (provider == NULL || !copy_settings(provider, settings))
	{
		stedi_credential_provider_release(provider);
		stedi_no_memory(status);
		return NULL;
	}
	return provider;
}

static bool
copy_settings(StediCredentialProvider *provider, const StediCredentialSettings *settings)
{
	bool		copied = true;

	provider->references = 1;
	for (size_t i = 0; i < N_SETTINGS; i++)
		copied &= stedi_copy_text(SETTING(&provider->settings, i),
								  *SETTING((StediCredentialSettings *) settings, i));
	return copied;
}

StediCredentialProvider *
stedi_credential_provider_retain(StediCredentialProvider *provider)
{
	provider->references++;
	return provider;
}

void
stedi_credential_provider_release(StediCredentialProvider *provider)
{
	if (provider == NULL || --provider->references > 0)
		return;
	stedi_credentials_free(&provider->current);
	for (size_t i = 0; i < N_SETTINGS; i++)
		stedi_free_secret(*SETTING(&provider->settings, i));
	free(provider);
}

const StediCredentials *
stedi_credential_provider_current(const StediCredentialProvider *provider)
{
	return provider->generation > 0 ? &provider->current : NULL;
}

unsigned
stedi_credential_provider_generation(const StediCredentialProvider *provider)
{
	return provider->generation;
}

bool
stedi_credential_provider_can_renew(const StediCredentialProvider *provider)
{
	return provider->settings.access_key_id == NULL || provider->settings.role_arn != NULL;
}

void
stedi_credential_provider_invalidate(StediCredentialProvider *provider, unsigned generation)
{
	/* what was refused may have been replaced while the request was on its way */
	if (generation == provider->generation)
		provider->is_refused = true;
}

bool
stedi_credential_provider_get(StediCredentialProvider *provider, const StediWaiter *waiter,
							  StediStatus *status)
{
	StediCredentials found = {0};
	int64_t		now = (int64_t) time(NULL);

	if (provider->generation > 0 && !provider->is_refused && now < provider->renew_at)
		return true;
	if (search_all(provider, waiter, &found, status))
	{
		adopt(provider, &found);
		return true;
	}
	if (status->code == STEDI_CREDENTIALS && provider->generation > 0 && !provider->is_refused &&
		now < provider->current.expires_at)
	{
		stedi_status_clear(status);
		provider->renew_at = now + TRY_AGAIN_AFTER_S;
		if (provider->renew_at > provider->current.expires_at)
			provider->renew_at = provider->current.expires_at;
		return true;
	}
	return false;
}

/* Take over what was found. */
static void
adopt(StediCredentialProvider *provider, StediCredentials *found)
{
	int64_t		now = (int64_t) time(NULL);

	stedi_credentials_free(&provider->current);
	provider->current = *found;
	provider->generation++;
	provider->is_refused = false;
	provider->renew_at = INT64_MAX;
	if (found->expires_at != 0)
	{
		/* what lives for a few minutes only is renewed at half its life */
		int64_t		margin = (found->expires_at - now) / 2;

		provider->renew_at = found->expires_at - (margin < RENEW_BEFORE_S ? margin : RENEW_BEFORE_S);
	}
}

/*
 * The search
 */

static bool
search_all(StediCredentialProvider *provider, const StediWaiter *waiter,
		   StediCredentials *found, StediStatus *status)
{
	const StediCredentialSettings *settings = &provider->settings;
	CredentialSearch search = {.settings = settings, .waiter = waiter, .status = status};
	Finding		finding;

	stedi_status_clear(status);
	stedi_bytes_init(&search.tried, 4 * STEDI_DETAIL_SIZE);
	finding = settings->access_key_id != NULL ? search_keys(&search, found) :
		search_chain(&search, found);
	if (finding == FINDING_FOUND && settings->role_arn != NULL)
		finding = assume_role(&search, found);
	if (finding == FINDING_FOUND && found->expires_at != 0 && found->expires_at <= (int64_t) time(NULL))
		finding = stedi_search_fail(&search, found->source, "they have expired already");
	if (finding == FINDING_FOUND && search.region != NULL &&
		!stedi_copy_text(&found->region, search.region))
		finding = stedi_search_no_memory(&search);

	if (finding != FINDING_FOUND)
	{
		stedi_credentials_free(found);
		if (status->code == STEDI_OK)
		{
			stedi_status_set(status, STEDI_CREDENTIALS, "could not get credentials");
			if (search.tried.length > 0)
				stedi_status_detail(status, "%s.", search.tried.data);
			if (settings->access_key_id == NULL)
				stedi_status_hint(status, "The environment and home directory of the database server count, not those of the client.");
		}
	}
	if (search.metadata_http != NULL || search.sts_http != NULL)
	{
		stedi_http_close(search.metadata_http);
		stedi_http_close(search.sts_http);
		stedi_waiter_forget(waiter);
	}
	stedi_profiles_free(&search.profiles);
	stedi_bytes_free(&search.tried);
	return finding == FINDING_FOUND;
}

static Finding
search_keys(CredentialSearch *search, StediCredentials *found)
{
	const StediCredentialSettings *settings = search->settings;

	if (!stedi_copy_text(&found->access_key_id, settings->access_key_id) ||
		!stedi_copy_text(&found->secret_access_key, settings->secret_access_key) ||
		!stedi_copy_text(&found->session_token, settings->session_token))
		return stedi_search_no_memory(search);
	return stedi_search_found(search, "user mapping", found, "user mapping");
}

static Finding
search_chain(CredentialSearch *search, StediCredentials *found)
{
	static Finding (*const places[]) (CredentialSearch *search, StediCredentials *found) = {
		stedi_credentials_environment,
		stedi_credentials_profile,
		stedi_credentials_web_identity,
		stedi_credentials_container,
		stedi_credentials_instance,
	};
	Finding		finding = FINDING_NONE;

	search->profile = search->settings->profile;
	if (search->profile == NULL)
		search->profile = stedi_environment("AWS_PROFILE");
	search->profile_is_chosen = search->profile != NULL;
	if (search->profile == NULL)
		search->profile = "default";
	if (!stedi_credentials_read_profiles(search) || !find_region(search))
		return FINDING_FAILED;
	for (size_t i = 0; finding == FINDING_NONE && i < sizeof(places) / sizeof(places[0]); i++)
		finding = places[i] (search, found);
	return finding;
}

static bool
find_region(CredentialSearch *search)
{
	const StediProfileSetting *setting;
	const char *region = stedi_environment("AWS_REGION");

	if (region == NULL)
		region = stedi_environment("AWS_DEFAULT_REGION");
	if (region == NULL)
	{
		setting = stedi_profiles_find(&search->profiles, search->profile, "region");
		region = setting != NULL ? setting->value : NULL;
	}
	/* it becomes part of a host name */
	if (region != NULL && strspn(region, "abcdefghijklmnopqrstuvwxyz0123456789-") != strlen(region))
	{
		stedi_search_fail(search, "region", "the one that the environment or the profile names is none");
		return false;
	}
	search->region = region;
	return true;
}

/* The role of the settings, with what was found. */
static Finding
assume_role(CredentialSearch *search, StediCredentials *found)
{
	RoleToAssume role = {
		.role_arn = search->settings->role_arn,
		.external_id = search->settings->external_id,
		.region = search->settings->region,
	};
	StediCredentials source = *found;
	Finding		finding;

	memset(found, 0, sizeof(*found));
	finding = stedi_credentials_assume(search, "role_arn", &role, &source, found);
	stedi_credentials_free(&source);
	return finding;
}

Finding
stedi_credentials_environment(CredentialSearch *search, StediCredentials *found)
{
	static const char place[] = "environment";
	const char *id = stedi_environment("AWS_ACCESS_KEY_ID");
	const char *secret = stedi_environment("AWS_SECRET_ACCESS_KEY");

	if (search->settings->profile != NULL)
		return stedi_search_none(search, place, "passed over, a profile is named");
	if (id == NULL)
		return stedi_search_none(search, place, "AWS_ACCESS_KEY_ID is not set");
	if (secret == NULL)
		return stedi_search_fail(search, place, "AWS_ACCESS_KEY_ID is set, AWS_SECRET_ACCESS_KEY is not");
	if (!stedi_copy_text(&found->access_key_id, id) ||
		!stedi_copy_text(&found->secret_access_key, secret) ||
		!stedi_copy_text(&found->session_token, stedi_environment("AWS_SESSION_TOKEN")))
	{
		stedi_credentials_free(found);
		return stedi_search_no_memory(search);
	}
	return stedi_search_found(search, place, found, "environment");
}

/*
 * What the places report with
 */

Finding
stedi_search_none(CredentialSearch *search, const char *place, const char *format,...)
{
	va_list		args;

	va_start(args, format);
	note(search, place, format, args);
	va_end(args);
	return FINDING_NONE;
}

Finding
stedi_search_fail(CredentialSearch *search, const char *place, const char *format,...)
{
	va_list		args;

	va_start(args, format);
	note(search, place, format, args);
	va_end(args);
	return FINDING_FAILED;
}

Finding
stedi_search_no_memory(CredentialSearch *search)
{
	stedi_no_memory(search->status);
	return FINDING_FAILED;
}

static void
note(CredentialSearch *search, const char *place, const char *format, va_list args)
{
	char		why[400];

	vsnprintf(why, sizeof(why), format, args);
	stedi_bytes_printf(&search->tried, "%s%s: %s", search->tried.length > 0 ? "; " : "Tried ",
					   place, why);
}

Finding
stedi_search_found(CredentialSearch *search, const char *place, StediCredentials *credentials,
				   const char *format,...)
{
	char		source[700];
	va_list		args;

	if (!is_token(credentials->access_key_id) || !is_token(credentials->secret_access_key) ||
		(credentials->session_token != NULL && !is_token(credentials->session_token)))
	{
		stedi_credentials_free(credentials);
		return stedi_search_fail(search, place, "the keys hold white space or are not printable ASCII");
	}
	va_start(args, format);
	vsnprintf(source, sizeof(source), format, args);
	va_end(args);
	if (stedi_copy_text(&credentials->source, source))
		return FINDING_FOUND;
	stedi_credentials_free(credentials);
	return stedi_search_no_memory(search);
}

/* One word of printable ASCII: it goes into a header. */
static bool
is_token(const char *text)
{
	const char *p = text;

	while (*p > ' ' && *p < 0x7F)
		p++;
	return p > text && *p == '\0';
}

/*
 * Small helpers
 */

void
stedi_credentials_free(StediCredentials *credentials)
{
	stedi_free_secret(credentials->access_key_id);
	stedi_free_secret(credentials->secret_access_key);
	stedi_free_secret(credentials->session_token);
	free(credentials->source);
	free(credentials->role_arn);
	free(credentials->region);
	memset(credentials, 0, sizeof(*credentials));
}

bool
stedi_copy_text(char **to, const char *from)
{
	*to = from != NULL ? strdup(from) : NULL;
	return from == NULL || *to != NULL;
}

void
stedi_free_secret(char *text)
{
	if (text != NULL)
		OPENSSL_cleanse(text, strlen(text));
	free(text);
}

void
stedi_bytes_wipe(StediBytes *bytes)
{
	if (bytes->data != NULL)
		OPENSSL_cleanse(bytes->data, bytes->capacity);
	stedi_bytes_free(bytes);
}

const char *
stedi_environment(const char *name)
{
	const char *value = getenv(name);

	return value != NULL && value[0] != '\0' ? value : NULL;
}

bool
stedi_read_small_file(const char *path, size_t limit, StediBytes *text)
{
	/* a named pipe must not make us wait */
	int			fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat about;
	int			failure = 0;

	if (fd < 0)
		return false;
	stedi_bytes_init(text, limit);
	if (fstat(fd, &about) != 0)
		failure = errno;
	else if (!S_ISREG(about.st_mode))
		failure = EINVAL;
	while (failure == 0)
	{
		char		chunk[4096];
		ssize_t		got = read(fd, chunk, sizeof(chunk));

		if (got == 0)
			break;
		if (got < 0 && errno != EINTR)
			failure = errno;
		else if (got > 0 && !stedi_bytes_append(text, chunk, (size_t) got))
			failure = EFBIG;
		OPENSSL_cleanse(chunk, sizeof(chunk));
	}
	close(fd);
	if (failure == 0)
		return true;
	stedi_bytes_wipe(text);
	errno = failure;
	return false;
}

StediWaiter
stedi_deadline_start(StediDeadline *deadline, const StediWaiter *waiter, long timeout_ms)
{
	StediWaiter bounded = {wait_until, deadline};

	deadline->waiter = waiter;
	deadline->at = now_ms() + timeout_ms;
	deadline->has_passed = false;
	return bounded;
}

static bool
wait_until(void *arg, int fd, long timeout_ms)
{
	StediDeadline *deadline = arg;
	int64_t		left = deadline->at - now_ms();

	if (left <= 0)
	{
		deadline->has_passed = true;
		return false;
	}
	if (timeout_ms < 0 || timeout_ms > left)
		timeout_ms = (long) left;
	return deadline->waiter->wait(deadline->waiter->arg, fd, timeout_ms);
}

static int64_t
now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}
