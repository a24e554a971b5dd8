/*
 * credentials_internal.h
 *		What the files of the credential providers share.
 *
 * credentials.c has the provider, the chain and the environment;
 * credentials_profile.c profiles; credentials_process.c programs;
 * credentials_sts.c roles; credentials_http.c containers, instance metadata and
 * the requests of all.
 *
 * One search for credentials goes from place to place.  A place either has
 * them, or does not serve and says why, and the search goes on; or it should
 * have had them but failed, which ends the search: other credentials than those
 * that were configured would be a surprise.
 */
#ifndef STEDI_STORE_CREDENTIALS_INTERNAL_H
#define STEDI_STORE_CREDENTIALS_INTERNAL_H

#include "core/bytes.h"
#include "core/profile.h"
#include "core/sigv4.h"
#include "store/credentials.h"
#include "store/http.h"
#include "store/store_internal.h"

/* Most bytes of a reply, a program's output, or a token file. */
#define CREDENTIAL_REPLY_LIMIT	(64 * 1024)

typedef enum Finding
{
	FINDING_FOUND,
	FINDING_NONE,				/* not this place */
	FINDING_FAILED				/* this place, but it failed */
} Finding;

typedef struct CredentialSearch
{
	const StediCredentialSettings *settings;
	const StediWaiter *waiter;
	StediStatus *status;		/* set only when it is neither the place's fault
								 * nor worth a word: cancelled, no memory */
	StediBytes	tried;			/* "place: why not; ..." */
	StediProfiles profiles;
	const char *profile;		/* that is asked for, or "default" */
	bool		profile_is_chosen;	/* not by default */
	const char *region;			/* found on the way; NULL: none */
	StediHttp  *metadata_http;	/* NULL until it is needed */
	StediHttp  *sts_http;
} CredentialSearch;

/* Both note why, printf style; the first returns FINDING_NONE, the second
 * FINDING_FAILED. */
extern Finding stedi_search_none(CredentialSearch *search, const char *place,
								 const char *format,...) __attribute__((format(printf, 3, 4)));
extern Finding stedi_search_fail(CredentialSearch *search, const char *place,
								 const char *format,...) __attribute__((format(printf, 3, 4)));
/* Out of memory. */
extern Finding stedi_search_no_memory(CredentialSearch *search);

/* Set the source, printf style, and check that the keys can go into a header. */
extern Finding stedi_search_found(CredentialSearch *search, const char *place,
								  StediCredentials *credentials, const char *format,...)
			__attribute__((format(printf, 4, 5)));

/* The places.  On FINDING_FOUND the caller frees *found, else it holds nothing. */
extern Finding stedi_credentials_environment(CredentialSearch *search, StediCredentials *found);
extern Finding stedi_credentials_profile(CredentialSearch *search, StediCredentials *found);
extern Finding stedi_credentials_web_identity(CredentialSearch *search, StediCredentials *found);
extern Finding stedi_credentials_container(CredentialSearch *search, StediCredentials *found);
extern Finding stedi_credentials_instance(CredentialSearch *search, StediCredentials *found);

/* Read the config and credentials files; false: noted as failed. */
extern bool stedi_credentials_read_profiles(CredentialSearch *search);

/* Run a command line that writes credentials as JSON. */
extern Finding stedi_credentials_process(CredentialSearch *search, const char *place,
										 const char *command, StediCredentials *found);

/* A role to assume; NULL where nothing is said. */
typedef struct RoleToAssume
{
	const char *role_arn;
	const char *session_name;
	const char *external_id;
	const char *duration_seconds;
	const char *token_file;		/* of a web identity; NULL: sign with the source */
	const char *region;			/* of the profile, before the search's */
} RoleToAssume;

extern Finding stedi_credentials_assume(CredentialSearch *search, const char *place,
										const RoleToAssume *role,
										const StediCredentials *source,
										StediCredentials *found);

/*
 * One small request, repeated when it is worth it.  False: no whole reply, and
 * why says so (or search->status).  The caller wipes body in any case.
 */
typedef struct CredentialRequest
{
	bool		is_metadata;	/* neither through a proxy, nor with the CA file */
	const char *method;
	const char *url;
	StediPair	headers[STEDI_HTTP_MAX_HEADERS];
	int			n_headers;
	const char *body;			/* NULL: none */
	long		timeout_ms;		/* of one attempt, in all */
	int			attempts;

	long		http_status;
	StediBytes	reply;
	char		why[300];
} CredentialRequest;

extern bool stedi_credentials_request(CredentialSearch *search, CredentialRequest *request);

/*
 * {"AccessKeyId": ..., "SecretAccessKey": ..., "Token" or "SessionToken": ...,
 * "Expiration": ...}.  NULL: done; else why not, without a word of the text.
 * *version is the member "Version", a number, or 0; NULL: not asked.
 */
extern const char *stedi_credentials_parse(const char *text, size_t length, int *version,
										   StediCredentials *found);
/* The URL that the environment names for containers, malloc'd; NULL: none, and
 * *why says why if one is named. */
extern char *stedi_container_url(const char **why);

/* A regular file of at most limit bytes.  False: errno is set. */
extern bool stedi_read_small_file(const char *path, size_t limit, StediBytes *text);

extern void stedi_bytes_wipe(StediBytes *bytes);
/* A copy of text, or NULL; false: no memory. */
extern bool stedi_copy_text(char **to, const char *from);
extern void stedi_free_secret(char *text);	/* wipes; NULL is fine */
/* The value of an environment variable; NULL: unset or empty. */
extern const char *stedi_environment(const char *name);

/* A waiter that gives up at a point in time. */
typedef struct StediDeadline
{
	const StediWaiter *waiter;
	int64_t		at;				/* monotonic milliseconds */
	bool		has_passed;		/* that is why it gave up */
} StediDeadline;

extern StediWaiter stedi_deadline_start(StediDeadline *deadline, const StediWaiter *waiter,
										long timeout_ms);

#endif							/* STEDI_STORE_CREDENTIALS_INTERNAL_H */
