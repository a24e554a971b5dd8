/*
 * credentials_fixture.h
 *		What the tests of credentials share: an environment of their own, and a
 *		fake server that hands out keys.
 */
#ifndef STEDI_TEST_CREDENTIALS_FIXTURE_H
#define STEDI_TEST_CREDENTIALS_FIXTURE_H

#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#include "s3_fixture.h"
#include "store/credentials.h"
#include "tap.h"

#define ROLE		"arn:aws:iam::123456789012:role/reader"

static char home[256];			/* a directory; HOME, with .aws in it */
static int	key_life = 3600;	/* seconds, of the keys that are handed out */

/* A path below home, good until the call after next. */
static inline const char *
path_of(const char *name)
{
	static char paths[2][512];
	static int	which;

	which = !which;
	snprintf(paths[which], sizeof(paths[which]), "%s/%s", home, name);
	return paths[which];
}

static inline void
write_file(const char *name, const char *text)
{
	FILE	   *file = fopen(path_of(name), "w");

	if (file == NULL || fputs(text, file) < 0 || fclose(file) != 0)
		abort();
}

static inline void
make_home(void)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(home, sizeof(home), "%s/stedi-XXXXXX", tmp != NULL ? tmp : "/tmp");
	if (mkdtemp(home) == NULL || mkdir(path_of(".aws"), 0700) != 0)
		abort();
}

static inline void
remove_home(void)
{
	char		command[600];

	snprintf(command, sizeof(command), "rm -rf '%s'", home);
	if (system(command) != 0)
		abort();
}

/* Nothing is set but that no instance is asked, and there are no files. */
static inline void
clear_environment(void)
{
	static const char *const names[] = {
		"ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "PROFILE", "REGION",
		"DEFAULT_REGION", "CONFIG_FILE", "SHARED_CREDENTIALS_FILE", "ROLE_ARN",
		"ROLE_SESSION_NAME", "WEB_IDENTITY_TOKEN_FILE", "ENDPOINT_URL", "ENDPOINT_URL_STS",
		"CONTAINER_CREDENTIALS_RELATIVE_URI", "CONTAINER_CREDENTIALS_FULL_URI",
		"CONTAINER_AUTHORIZATION_TOKEN", "CONTAINER_AUTHORIZATION_TOKEN_FILE",
		"EC2_METADATA_SERVICE_ENDPOINT", "EC2_METADATA_SERVICE_ENDPOINT_MODE",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		char		name[64];

		snprintf(name, sizeof(name), "AWS_%s", names[i]);
		unsetenv(name);
	}
	setenv("HOME", home, 1);
	setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
	remove(path_of(".aws/config"));
	remove(path_of(".aws/credentials"));
	stop_at = 0;
	key_life = 3600;
}

/* The time key_life from now, as ISO 8601. */
static inline const char *
expiration(void)
{
	static _Thread_local char text[32];
	time_t		then = time(NULL) + key_life;
	struct tm	tm;

	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&then, &tm));
	return text;
}

/* Keys number n, as containers and instances send them. */
static inline bool
reply_keys(int fd, int n)
{
	char		text[512];

	snprintf(text, sizeof(text), "{\"Code\": \"Success\", \"AccessKeyId\": \"ASIAKEY%d\", "
			 "\"SecretAccessKey\": \"" SECRET "\", \"Token\": \"TOKEN%d\", \"Expiration\": \"%s\"}",
			 n, n, expiration());
	return reply(fd, "200 OK", "", text);
}

/* The same, as STS does. */
static inline bool
reply_role(int fd, const Request *request)
{
	const char *action = strstr(request->body, "Action=AssumeRoleWithWebIdentity") != NULL ?
		"AssumeRoleWithWebIdentity" : "AssumeRole";
	char		text[1024];

	snprintf(text, sizeof(text), "<%sResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">"
			 "<%sResult><Credentials><AccessKeyId>ASIAROLE%d</AccessKeyId><SecretAccessKey>" SECRET
			 "</SecretAccessKey><SessionToken>ROLETOKEN</SessionToken><Expiration>%s</Expiration>"
			 "</Credentials></%sResult></%sResponse>", action, action, request->number, expiration(),
			 action, action);
	return reply(fd, "200 OK", "", text);
}

/* One get() of a new provider; *keys is copied, and freed by the caller. */
static inline bool
get_once(const StediCredentialSettings *settings, StediCredentials *keys, StediStatus *status)
{
	StediWaiter waiter = {wait_with_poll, NULL};
	StediCredentialProvider *provider = stedi_credential_provider_open(settings, status);
	bool		done = provider != NULL && stedi_credential_provider_get(provider, &waiter, status);

	memset(keys, 0, sizeof(*keys));
	if (done)
	{
		const StediCredentials *current = stedi_credential_provider_current(provider);

#define COPY(member) (keys->member = current->member != NULL ? strdup(current->member) : NULL)
		COPY(access_key_id);
		COPY(secret_access_key);
		COPY(session_token);
		COPY(source);
		COPY(role_arn);
		COPY(region);
#undef COPY
		keys->expires_at = current->expires_at;
	}
	stedi_credential_provider_release(provider);
	return done;
}

/* The chain gives a key of that id from that source. */
static inline bool
chain_gives(const StediCredentialSettings *settings, const char *id, const char *source,
			const char *name)
{
	StediCredentials keys;
	StediStatus status = {0};
	bool		passed;

	if (!ok(get_once(settings, &keys, &status), name))
	{
		printf("# %s: %s\n", status.message, status.detail);
		return false;
	}
	passed = is(keys.access_key_id, id, "has the key") & is(keys.source, source, "and says where from");
	stedi_credentials_free(&keys);
	return passed;
}

/* The chain fails with a detail that has the text, and no secret. */
static inline bool
chain_fails(const StediCredentialSettings *settings, const char *text, const char *name)
{
	StediCredentials keys;
	StediStatus status = {0};
	bool		failed = !get_once(settings, &keys, &status);
	bool		passed = failed && status.code == STEDI_CREDENTIALS &&
		strstr(status.detail, text) != NULL && strstr(status.detail, SECRET) == NULL;

	if (!ok(passed, name))
		printf("# %d %s: %s\n", status.code, status.message, status.detail);
	stedi_credentials_free(&keys);
	return passed;
}

#endif							/* STEDI_TEST_CREDENTIALS_FIXTURE_H */
