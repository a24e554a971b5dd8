/*
 * credentials_profile.c
 *		Credentials of a profile: keys, roles, programs; and web identity.
 *
 * A profile that has a role_arn assumes it with what its source_profile or
 * credential_source gives, or with a web identity token.  A source profile may
 * itself name a role; going in circles is refused.
 */
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "store/credentials_internal.h"

#define FILE_LIMIT		(1024 * 1024)
#define MAX_ROLES		8		/* that one chain of source profiles may have */

/* The profiles that led to one another, for finding circles. */
typedef struct ProfilePath
{
	const char *names[MAX_ROLES];
	int			n_names;
} ProfilePath;

static bool read_profile_file(CredentialSearch *search, const char *variable,
							  const char *usual, bool is_credentials);
static char *expand_home(const char *path);
static const char *shown_path(bool is_credentials);
static const char *setting_of(CredentialSearch *search, const char *profile, const char *name);
static Finding resolve(CredentialSearch *search, const char *profile, ProfilePath *path,
					   StediCredentials *found);
static Finding static_keys(CredentialSearch *search, const char *place, const char *profile,
						   StediCredentials *found);
static Finding assume(CredentialSearch *search, const char *place, const char *profile,
					  ProfilePath *path, StediCredentials *found);
static Finding find_source(CredentialSearch *search, const char *place, const char *profile,
						   ProfilePath *path, StediCredentials *found);

/*
 * The files
 */

bool
stedi_credentials_read_profiles(CredentialSearch *search)
{
	return read_profile_file(search, "AWS_CONFIG_FILE", "~/.aws/config", false) &&
		read_profile_file(search, "AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials", true);
}

/* A file that is not there, or not ours to see, says nothing. */
static bool
read_profile_file(CredentialSearch *search, const char *variable, const char *usual,
				  bool is_credentials)
{
	const char *named = stedi_environment(variable);
	char	   *path = expand_home(named != NULL ? named : usual);
	StediBytes	text;
	StediStatus status = {0};
	bool		done = true;

	if (path == NULL)
		return stedi_no_memory(search->status);
	if (stedi_read_small_file(path, FILE_LIMIT, &text))
	{
		done = stedi_profiles_parse(&search->profiles, text.data != NULL ? text.data : "",
									text.length, is_credentials, &status);
		stedi_bytes_wipe(&text);
		if (!done && status.code == STEDI_NO_MEMORY)
			*search->status = status;
		else if (!done)
			stedi_search_fail(search, shown_path(is_credentials), "%s", status.message);
	}
	else if (errno != ENOENT && errno != ENOTDIR && errno != EACCES)
	{
		stedi_search_fail(search, shown_path(is_credentials), "%s", strerror(errno));
		done = false;
	}
	free(path);
	return done;
}

static char *
expand_home(const char *path)
{
	const char *home = stedi_environment("HOME");
	struct passwd entry;
	struct passwd *found = NULL;
	char		buffer[4096];
	StediBytes	full;

	if (strncmp(path, "~/", 2) != 0)
		return strdup(path);
	if (home == NULL && getpwuid_r(geteuid(), &entry, buffer, sizeof(buffer), &found) == 0 &&
		found != NULL)
		home = found->pw_dir;
	stedi_bytes_init(&full, 0);
	stedi_bytes_printf(&full, "%s%s", home != NULL ? home : "", path + 1);
	return stedi_bytes_steal(&full);
}

static const char *
shown_path(bool is_credentials)
{
	const char *named = stedi_environment(is_credentials ? "AWS_SHARED_CREDENTIALS_FILE" :
										  "AWS_CONFIG_FILE");

	if (named != NULL)
		return named;
	return is_credentials ? "~/.aws/credentials" : "~/.aws/config";
}

static const char *
setting_of(CredentialSearch *search, const char *profile, const char *name)
{
	const StediProfileSetting *setting = stedi_profiles_find(&search->profiles, profile, name);

	return setting != NULL ? setting->value : NULL;
}

/*
 * The place
 */

Finding
stedi_credentials_profile(CredentialSearch *search, StediCredentials *found)
{
	char		place[160];
	ProfilePath path = {0};

	snprintf(place, sizeof(place), "profile \"%s\"", search->profile);
	if (!stedi_profiles_have(&search->profiles, search->profile))
	{
		if (search->profile_is_chosen)
			return stedi_search_fail(search, place, "it is neither in %s nor in %s",
									 shown_path(false), shown_path(true));
		return stedi_search_none(search, place, "it is neither in %s nor in %s",
								 shown_path(false), shown_path(true));
	}
	return resolve(search, search->profile, &path, found);
}

static Finding
resolve(CredentialSearch *search, const char *profile, ProfilePath *path,
		StediCredentials *found)
{
	const char *command = setting_of(search, profile, "credential_process");
	bool		is_source = path->n_names > 0;
	char		place[160];
	Finding		finding;

	snprintf(place, sizeof(place), "profile \"%s\"", profile);
	/* as a source, a profile is its keys first; asked for itself, its role */
	if (is_source)
	{
		finding = static_keys(search, place, profile, found);
		if (finding != FINDING_NONE)
			return finding;
	}
	for (int i = 0; i < path->n_names; i++)
	{
		if (strcmp(path->names[i], profile) == 0)
			return stedi_search_fail(search, place, "its source profiles go in circles");
	}
	if (path->n_names == MAX_ROLES)
		return stedi_search_fail(search, place, "there are too many source profiles");
	path->names[path->n_names++] = profile;

	if (setting_of(search, profile, "role_arn") != NULL)
		return assume(search, place, profile, path, found);
	if (!is_source)
	{
		finding = static_keys(search, place, profile, found);
		if (finding != FINDING_NONE)
			return finding;
	}
	if (command != NULL)
		return stedi_credentials_process(search, place, command, found);
	if (setting_of(search, profile, "sso_session") != NULL ||
		setting_of(search, profile, "sso_start_url") != NULL)
		return stedi_search_fail(search, place, "IAM Identity Center (sso_...) is not supported");
	return stedi_search_none(search, place, "it has no credentials");
}

static Finding
static_keys(CredentialSearch *search, const char *place, const char *profile,
			StediCredentials *found)
{
	const StediProfileSetting *id = stedi_profiles_find(&search->profiles, profile,
														"aws_access_key_id");
	const char *secret = setting_of(search, profile, "aws_secret_access_key");

	if (id == NULL)
		return FINDING_NONE;
	if (secret == NULL)
		return stedi_search_fail(search, place, "it has an aws_access_key_id but no aws_secret_access_key");
	if (!stedi_copy_text(&found->access_key_id, id->value) ||
		!stedi_copy_text(&found->secret_access_key, secret) ||
		!stedi_copy_text(&found->session_token, setting_of(search, profile, "aws_session_token")))
	{
		stedi_credentials_free(found);
		return stedi_search_no_memory(search);
	}
	return stedi_search_found(search, place, found, "%s in %s", place,
							  shown_path(id->is_from_credentials));
}

static Finding
assume(CredentialSearch *search, const char *place, const char *profile, ProfilePath *path,
	   StediCredentials *found)
{
	RoleToAssume role = {
		.role_arn = setting_of(search, profile, "role_arn"),
		.session_name = setting_of(search, profile, "role_session_name"),
		.external_id = setting_of(search, profile, "external_id"),
		.duration_seconds = setting_of(search, profile, "duration_seconds"),
		.token_file = setting_of(search, profile, "web_identity_token_file"),
		.region = setting_of(search, profile, "region"),
	};
	StediCredentials source = {0};
	Finding		finding;

	if (role.token_file != NULL)
	{
		role.external_id = NULL;	/* not of this action */
		return stedi_credentials_assume(search, place, &role, NULL, found);
	}
	if (setting_of(search, profile, "mfa_serial") != NULL)
		return stedi_search_fail(search, place, "its role needs an MFA code (mfa_serial)");
	finding = find_source(search, place, profile, path, &source);
	if (finding == FINDING_NONE)
		finding = stedi_search_fail(search, place, "the source of its role has no credentials");
	if (finding == FINDING_FOUND)
		finding = stedi_credentials_assume(search, place, &role, &source, found);
	stedi_credentials_free(&source);
	return finding;
}

/* What signs the request for the role. */
static Finding
find_source(CredentialSearch *search, const char *place, const char *profile,
			ProfilePath *path, StediCredentials *found)
{
	const char *source_profile = setting_of(search, profile, "source_profile");
	const char *source = setting_of(search, profile, "credential_source");

	if ((source_profile != NULL) == (source != NULL))
		return stedi_search_fail(search, place, source != NULL ?
								 "it has both a source_profile and a credential_source" :
								 "it has a role_arn but neither a source_profile nor a credential_source");
	if (source_profile != NULL)
	{
		if (!stedi_profiles_have(&search->profiles, source_profile))
			return stedi_search_fail(search, place, "there is no profile \"%s\", its source_profile",
									 source_profile);
		return resolve(search, source_profile, path, found);
	}
	if (strcasecmp(source, "Environment") == 0)
		return stedi_credentials_environment(search, found);
	if (strcasecmp(source, "EcsContainer") == 0)
		return stedi_credentials_container(search, found);
	if (strcasecmp(source, "Ec2InstanceMetadata") == 0)
		return stedi_credentials_instance(search, found);
	return stedi_search_fail(search, place, "its credential_source is unknown");
}

/* EKS, "IAM roles for service accounts": the cluster sets the variables. */
Finding
stedi_credentials_web_identity(CredentialSearch *search, StediCredentials *found)
{
	static const char place[] = "web identity";
	RoleToAssume role = {
		.role_arn = stedi_environment("AWS_ROLE_ARN"),
		.session_name = stedi_environment("AWS_ROLE_SESSION_NAME"),
		.token_file = stedi_environment("AWS_WEB_IDENTITY_TOKEN_FILE"),
	};

	if (role.token_file == NULL)
		return stedi_search_none(search, place, "AWS_WEB_IDENTITY_TOKEN_FILE is not set");
	if (role.role_arn == NULL)
		return stedi_search_fail(search, place, "AWS_WEB_IDENTITY_TOKEN_FILE is set, AWS_ROLE_ARN is not");
	return stedi_credentials_assume(search, place, &role, NULL, found);
}
