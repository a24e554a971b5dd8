/*
 * uri.h
 *		s3:// and file:// URIs: parsing, globs, percent-encoding.
 */
#ifndef STEDI_CORE_URI_H
#define STEDI_CORE_URI_H

#include "core/bytes.h"
#include "core/status.h"

typedef enum StediScheme
{
	STEDI_SCHEME_S3,
	STEDI_SCHEME_FILE
} StediScheme;

/*
 * A parsed URI.  All strings are malloc'd and belong to the struct.
 *
 * s3://bucket/key: the key is taken literally, byte for byte: no percent
 * decoding, no normalising ("..", "//" and "%41" are legal keys), as every S3
 * tool does.  file:///path: bucket is NULL, key is the absolute path, with its
 * leading slash.
 *
 * A '?' is a glob character, as in every tool that globs S3, and so are '*',
 * '[' and "**"; but a '?' followed by name=value up to the end of the URI is
 * taken for a query part and refused (an unnoticed ?endpoint=... has been a
 * hole elsewhere).  Refused too: user:password@, other schemes (STEDI_UNSUPPORTED),
 * an invalid bucket name, control characters, invalid UTF-8, a key over 1,024
 * bytes, '#' is an ordinary key character.
 */
typedef struct StediUri
{
	StediScheme scheme;
	char	   *bucket;
	char	   *key;			/* "" for s3://bucket or s3://bucket/ */
	size_t		prefix_length;	/* bytes of key before the first glob character */
	bool		is_glob;		/* key has a glob character */
	bool		is_prefix;		/* no glob, and key is empty or ends in '/' */
} StediUri;

/*
 * Parse text into *uri.  On failure the status is set and *uri holds nothing to
 * free.  With literal = true no glob characters are recognised (export targets,
 * sources read back from the ledger).
 */
extern bool stedi_uri_parse(const char *text, bool literal, StediUri *uri,
							StediStatus *status);
extern void stedi_uri_free(StediUri *uri);	/* idempotent */

/* The URI of an object: malloc'd "s3://bucket/key" or "file:///path". */
extern char *stedi_uri_format(StediScheme scheme, const char *bucket, const char *key);

/*
 * Does key belong to what the URI names?  is_prefix: key starts with it;
 * is_glob: the glob matches the whole key; else equality.  In globs '*' and '?'
 * do not cross '/', "**" does ("**" followed by '/' also matches no directory at all), "[a-z]",
 * "[!a-z]" are sets, backslash quotes the next character.  No recursion that a
 * hostile pattern could make exponential.
 *
 * Hidden names never match: keys that end in '/' (directory markers), and keys
 * where a path segment after the URI's literal directory part (the prefix up to its last '/')
 * starts with '_' or '.', as Spark and Hive skip them.  An exact URI (neither
 * glob nor prefix) matches whatever its name is.
 */
extern bool stedi_uri_matches(const StediUri *uri, const char *key);
extern bool stedi_glob_match(const char *pattern, const char *text);

/* RFC 3986 percent-encoding as SigV4 wants it: A-Z a-z 0-9 - . _ ~ stay, all
 * else becomes %XX with upper-case digits; '/' stays when keep_slash. */
extern bool stedi_percent_encode(StediBytes *out, const char *text, size_t length,
								 bool keep_slash);

/* Decode %XX, and '+' as a space when plus_is_space (S3's encoding-type=url
 * replies).  False on a malformed escape or an encoded NUL. */
extern bool stedi_percent_decode(StediBytes *out, const char *text, size_t length,
								 bool plus_is_space);

/* RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF. */
extern bool stedi_utf8_valid(const char *text, size_t length);

#endif							/* STEDI_CORE_URI_H */
