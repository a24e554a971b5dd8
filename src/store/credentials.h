/*
 * credentials.h
 *		Where the keys that sign requests come from, and their renewal.
 *
 * Credentials are one set of keys.  A provider is a rule for getting them, with
 * the set it got last: either keys that were given, or AWS's chain of places to
 * look (environment, profile, web identity, container, instance metadata); and
 * on top of either, if it says so, a role that is assumed with them.
 *
 * Source: "Standardized credential providers" of the AWS SDKs and Tools Reference
 * Guide.
 */
#ifndef STEDI_STORE_CREDENTIALS_H
#define STEDI_STORE_CREDENTIALS_H

#include <stdint.h>

#include "core/status.h"
#include "store/store.h"

/* Strings are malloc'd, or NULL. */
struct StediCredentials
{
	char	   *access_key_id;
	char	   *secret_access_key;
	char	   *session_token;	/* NULL: none */
	int64_t		expires_at;		/* seconds since 1970; 0: not known to expire */
	char	   *source;			/* 'profile "x" in ~/.aws/credentials', for people */
	char	   *role_arn;		/* of the role that was assumed; NULL: none */
	char	   *region;			/* found on the way (chain only); NULL: none */
};

/* Wipes.  Idempotent. */
extern void stedi_credentials_free(StediCredentials *credentials);

/* All strings are copied; NULL where nothing is said. */
typedef struct StediCredentialSettings
{
	/* These keys.  Without: the chain. */
	const char *access_key_id;
	const char *secret_access_key;
	const char *session_token;
	const char *profile;		/* of the chain: this one, and no environment keys */
	const char *role_arn;		/* assume it with the keys found */
	const char *external_id;	/* for role_arn */
	const char *sts_endpoint;	/* "https://host[:port]"; see stedi_credential_provider_get() */
	const char *region;			/* of STS; NULL: the one found on the way, or us-east-1 */
	const char *ca_file;		/* PEM, for sts_endpoint only */
	const char *proxy;			/* to STS; metadata never goes through a proxy */
	const char *user_agent;
} StediCredentialSettings;

/* NULL: no memory, or STEDI_CREDENTIALS for a key id without a key.  No I/O.
 * Counted: each retain needs a release.  A provider belongs to one thread. */
extern StediCredentialProvider *stedi_credential_provider_open(const StediCredentialSettings *settings,
															   StediStatus *status);
extern StediCredentialProvider *stedi_credential_provider_retain(StediCredentialProvider *provider);
extern void stedi_credential_provider_release(StediCredentialProvider *provider);	/* NULL is fine */

/*
 * Make sure that there are credentials that are good for another 5 minutes, and
 * wait for them through the waiter if need be.  When they cannot be renewed but
 * have not expired yet, the old ones stay, and it is tried again a minute later.
 *
 * STS is asked at sts_endpoint; else AWS_ENDPOINT_URL_STS, AWS_ENDPOINT_URL; else
 * https://sts.REGION.amazonaws.com.
 *
 * False: STEDI_CREDENTIALS, with what was tried and why it did not serve in the
 * detail; STEDI_CANCELLED; STEDI_NO_MEMORY.  Neither secrets nor what a server
 * or program replied are in a message.
 */
extern bool stedi_credential_provider_get(StediCredentialProvider *provider,
										  const StediWaiter *waiter, StediStatus *status);

/* What get() got last, until the next get(); NULL: nothing yet. */
extern const StediCredentials *stedi_credential_provider_current(const StediCredentialProvider *provider);
/* Counts the sets of credentials: 1 is the first. */
extern unsigned stedi_credential_provider_generation(const StediCredentialProvider *provider);
/* Can it get other credentials than it has? */
extern bool stedi_credential_provider_can_renew(const StediCredentialProvider *provider);
/* A server refused this generation: the next get() renews it. */
extern void stedi_credential_provider_invalidate(StediCredentialProvider *provider,
												 unsigned generation);

/* Descriptors that get() may hold at once: an epoll descriptor and libcurl's pair
 * for each of two engines, a connection, a pipe. */
#define STEDI_CREDENTIAL_FDS	10

#endif							/* STEDI_STORE_CREDENTIALS_H */
