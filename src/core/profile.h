/*
 * profile.h
 *		AWS shared config and credentials files.
 *
 * Source: "Configuration and credential file settings" and "File format" of the
 * AWS SDKs and Tools Reference Guide; where that leaves a case open, what
 * botocore (the library below the AWS CLI) makes of it.
 */
#ifndef STEDI_CORE_PROFILE_H
#define STEDI_CORE_PROFILE_H

#include <stdbool.h>
#include <stddef.h>

#include "core/status.h"

/* One setting of a profile.  Strings are malloc'd. */
typedef struct StediProfileSetting
{
	char	   *profile;
	char	   *name;			/* lower case; NULL: says only that the profile is there */
	char	   *value;
	bool		is_from_credentials;	/* the file, as opposed to the config file */
} StediProfileSetting;

/* Start with all zero. */
typedef struct StediProfiles
{
	StediProfileSetting *settings;
	size_t		n_settings;
	size_t		capacity;
} StediProfiles;

/*
 * Add what a file says; later settings win, so the config file is parsed first
 * and the credentials file after it.
 *
 * Config file: "[profile x]", "[profile "x y"]", "[default]"; "[profile default]"
 * outranks "[default]" wherever it stands.  Other sections (sso-session,
 * services, ...) are passed over.  Credentials file: "[x]".
 *
 * A line whose first non-blank is '#' or ';' is a comment, and so is what
 * follows a '#' or ';' after white space in a value or a section line.  A name
 * ends at the first '=' or ':'.  A line indented deeper than the setting before
 * it continues that one's value, after a newline; the lines below a setting
 * with an empty value (s3 =) are settings of their own kind and are passed over.
 * Line ends are LF or CRLF; a byte order mark may stand in front.
 *
 * False: STEDI_BAD_ARGUMENT with the line's number, not its text, which may be a
 * secret; or STEDI_NO_MEMORY.  profiles is to be freed in any case.
 */
extern bool stedi_profiles_parse(StediProfiles *profiles, const char *text, size_t length,
								 bool is_credentials, StediStatus *status);

/* Is there a section of that name?  "default" without one is not there. */
extern bool stedi_profiles_have(const StediProfiles *profiles, const char *profile);
/* NULL: not set, or empty. */
extern const StediProfileSetting *stedi_profiles_find(const StediProfiles *profiles,
													  const char *profile, const char *name);
/* Idempotent; the values are wiped. */
extern void stedi_profiles_free(StediProfiles *profiles);

/*
 * Split a command line into words as a POSIX shell would that expands nothing:
 * white space separates; '...' quotes all; "..." all but \" and \\; a backslash
 * outside quotes the next character.  Nothing else is special.  The result ends
 * with NULL and is freed with stedi_words_free(); at least one word.  NULL:
 * STEDI_BAD_ARGUMENT (no word, an open quote, a lone backslash at the end) or
 * STEDI_NO_MEMORY; the text is not repeated.
 */
extern char **stedi_split_words(const char *text, StediStatus *status);
extern void stedi_words_free(char **words); /* wipes; NULL is fine */

#endif							/* STEDI_CORE_PROFILE_H */
