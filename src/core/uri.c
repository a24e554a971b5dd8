/*
 * uri.c
 *		s3:// and file:// URIs: parsing, globs, percent-encoding.
 *
 * Bucket names: 1 to 255 of A-Z a-z 0-9 '.' '-' '_', but not "." and "..".
 * AWS's rules for new buckets are narrower; old AWS buckets and other servers
 * have upper case, underscores and long names.  What matters here is that the
 * name can be put into a host name or a path without becoming something else.
 *
 * No message shows more of a URI than what comes before a '?', and nothing of
 * one that has an '@': either may lead to a secret.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/uri.h"

#define MAX_BUCKET_LENGTH	255
#define MAX_KEY_LENGTH		1024	/* S3's limit, in bytes */
#define MAX_PATH_LENGTH		4095	/* PATH_MAX less the NUL */
#define MAX_PATTERN_LENGTH	MAX_PATH_LENGTH
#define SHOWN_URI_LENGTH	160		/* of a URI in a message */

#define ALPHA	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#define DIGITS	"0123456789"

static bool invalid_uri(StediStatus *status, const char *text, const char *reason);
static bool check_text(const char *text, StediStatus *status);
static bool check_user_info(const char *rest, StediStatus *status);
static bool parse_bucket(const char *text, const char *name, size_t length,
						 StediUri *uri, StediStatus *status);
static bool parse_key(const char *text, const char *key, bool literal,
					  StediUri *uri, StediStatus *status);
static bool is_query(const char *question_mark);
static bool is_hidden(const char *path);
static bool glob_step(const char *pattern, size_t at, bool segment_start,
					  bool have_code, uint32_t code, bool *now, bool *next);
static const char *set_end(const char *set);
static bool set_contains(const char *set, const char *end, uint32_t code);
static size_t decode_utf8(const char *text, size_t length, uint32_t *code);
static size_t next_code(const char *text, uint32_t *code);
static int	hex_value(char c);

bool
stedi_uri_parse(const char *text, bool literal, StediUri *uri, StediStatus *status)
{
	size_t		scheme_length = strspn(text, ALPHA DIGITS "+-.");
	const char *rest = text + scheme_length;
	bool		done;

	memset(uri, 0, sizeof(*uri));

	if (!check_text(text, status))
		return false;
	if (scheme_length == 0 || strncmp(rest, "://", 3) != 0)
	{
		invalid_uri(status, text, "it has no scheme");
		stedi_status_hint(status, "Write s3://bucket/key or file:///path.");
		return false;
	}
	rest += 3;
	if (!check_user_info(rest, status))
		return false;

	if (scheme_length == 2 && strncasecmp(text, "s3", 2) == 0)
	{
		size_t		bucket_length = strcspn(rest, "/");
		const char *key = rest + bucket_length;

		uri->scheme = STEDI_SCHEME_S3;
		done = parse_bucket(text, rest, bucket_length, uri, status) &&
			parse_key(text, *key == '/' ? key + 1 : key, literal, uri, status);
	}
	else if (scheme_length == 4 && strncasecmp(text, "file", 4) == 0)
	{
		uri->scheme = STEDI_SCHEME_FILE;
		if (*rest == '/')
			done = parse_key(text, rest, literal, uri, status);
		else
		{
			done = invalid_uri(status, text, "it needs an absolute path and no host");
			stedi_status_hint(status, "Write file:///path, with three slashes.");
		}
	}
	else
	{
		done = stedi_status_set(status, STEDI_UNSUPPORTED,
								"URI scheme \"%.*s\" is not supported",
								scheme_length > 32 ? 32 : (int) scheme_length, text);
		stedi_status_hint(status, "Write s3://bucket/key or file:///path.");
	}

	if (!done)
		stedi_uri_free(uri);
	return done;
}

void
stedi_uri_free(StediUri *uri)
{
	free(uri->bucket);
	free(uri->key);
	memset(uri, 0, sizeof(*uri));
}

char *
stedi_uri_format(StediScheme scheme, const char *bucket, const char *key)
{
	StediBytes	text;

	stedi_bytes_init(&text, 0);
	if (scheme == STEDI_SCHEME_S3)
	{
		stedi_bytes_append_text(&text, "s3://");
		stedi_bytes_append_text(&text, bucket);
		stedi_bytes_append_char(&text, '/');
	}
	else
		stedi_bytes_append_text(&text, "file://");
	stedi_bytes_append_text(&text, key);
	return stedi_bytes_steal(&text);
}

/* text is known to be UTF-8 without control characters. */
static bool
invalid_uri(StediStatus *status, const char *text, const char *reason)
{
	size_t		length = strcspn(text, "?");
	bool		clipped = length > SHOWN_URI_LENGTH;

	if (strchr(text, '@') != NULL)
		return stedi_status_set(status, STEDI_BAD_ARGUMENT, "invalid URI: %s", reason);

	if (clipped)
	{
		length = SHOWN_URI_LENGTH;
		while (length > 0 && ((unsigned char) text[length] & 0xC0) == 0x80)
			length--;
	}
	return stedi_status_set(status, STEDI_BAD_ARGUMENT, "invalid URI \"%.*s%s\": %s",
							(int) length, text, clipped ? "..." : "", reason);
}

static bool
check_text(const char *text, StediStatus *status)
{
	if (!stedi_utf8_valid(text, strlen(text)))
		return stedi_status_set(status, STEDI_BAD_ARGUMENT,
								"invalid URI: it is not valid UTF-8");
	for (const char *p = text; *p; p++)
	{
		if ((unsigned char) *p < 0x20 || *p == 0x7F)
			return stedi_status_set(status, STEDI_BAD_ARGUMENT,
									"invalid URI: it contains a control character");
	}
	return true;
}

/*
 * An '@' before the first slash, or anywhere after a ':' that is before the
 * first slash: an AWS secret key may itself contain slashes.
 */
static bool
check_user_info(const char *rest, StediStatus *status)
{
	size_t		authority = strcspn(rest, "/");
	size_t		at = strcspn(rest, "@");

	if (rest[at] == '\0' || (at > authority && memchr(rest, ':', authority) == NULL))
		return true;

	stedi_status_set(status, STEDI_BAD_ARGUMENT,
					 "invalid URI: it must not contain a user name or password");
	stedi_status_hint(status, "Credentials belong into a user mapping.");
	return false;
}

static bool
parse_bucket(const char *text, const char *name, size_t length,
			 StediUri *uri, StediStatus *status)
{
	if (length == 0)
	{
		invalid_uri(status, text, "the bucket name is missing");
		stedi_status_hint(status, "Write s3://bucket/key.");
		return false;
	}
	if (length > MAX_BUCKET_LENGTH || strspn(name, ALPHA DIGITS ".-_") < length ||
		(length <= 2 && strspn(name, ".") >= length))
	{
		invalid_uri(status, text, "the bucket name is not valid");
		stedi_status_hint(status, "A bucket name has 1 to %d letters, digits, '.', '-' and '_'. Globs are for keys only.",
						  MAX_BUCKET_LENGTH);
		return false;
	}

	uri->bucket = strndup(name, length);
	if (uri->bucket == NULL)
		return stedi_status_set(status, STEDI_NO_MEMORY, "out of memory");
	return true;
}

static bool
parse_key(const char *text, const char *key, bool literal,
		  StediUri *uri, StediStatus *status)
{
	size_t		length = strlen(key);

	if (uri->scheme == STEDI_SCHEME_S3 && length > MAX_KEY_LENGTH)
		return invalid_uri(status, text, "the key is longer than 1024 bytes");
	if (length > MAX_PATH_LENGTH)
		return invalid_uri(status, text, "the path is longer than 4095 bytes");

	for (const char *p = key; *p; p++)
	{
		if (*p == '\\' && !literal && p[1] != '\0')
			p++;
		else if (*p == '?' && is_query(p))
		{
			invalid_uri(status, text, "it has a query part");
			if (literal)
				stedi_status_hint(status, "Options are named arguments, not part of the URI.");
			else
				stedi_status_hint(status, "Options are named arguments, not part of the URI. For a question mark in a key write [?].");
			return false;
		}
	}

	uri->key = strdup(key);
	if (uri->key == NULL)
		return stedi_status_set(status, STEDI_NO_MEMORY, "out of memory");
	uri->prefix_length = literal ? length : strcspn(key, "*?[\\");
	uri->is_glob = uri->prefix_length < length;
	uri->is_prefix = !uri->is_glob && (length == 0 || key[length - 1] == '/');
	return true;
}

static bool
is_query(const char *question_mark)
{
	const char *name = question_mark + 1;
	size_t		length = strspn(name, ALPHA DIGITS "_.-");

	return length > 0 && name[length] == '=';
}

bool
stedi_uri_matches(const StediUri *uri, const char *key)
{
	size_t		directory = uri->prefix_length;
	size_t		length = strlen(key);

	if (!uri->is_glob && !uri->is_prefix)
		return strcmp(uri->key, key) == 0;

	if (strncmp(uri->key, key, uri->prefix_length) != 0)
		return false;
	if (uri->is_glob && !stedi_glob_match(uri->key, key))
		return false;
	if (length == 0 || key[length - 1] == '/')
		return false;

	while (directory > 0 && key[directory - 1] != '/')
		directory--;
	return !is_hidden(key + directory);
}

static bool
is_hidden(const char *path)
{
	while (path != NULL)
	{
		if (*path == '_' || *path == '.')
			return true;
		path = strchr(path, '/');
		if (path != NULL)
			path++;
	}
	return false;
}

/*
 * The pattern is run as a nondeterministic automaton whose states are its byte
 * offsets, all at once, so the time is at most the product of the two lengths.
 * Patterns longer than any URI match nothing.
 */
bool
stedi_glob_match(const char *pattern, const char *text)
{
	bool		states[2][MAX_PATTERN_LENGTH + 1];
	bool	   *now = states[0];
	bool	   *next = states[1];
	size_t		length = strlen(pattern);
	bool		segment_start = true;

	if (length > MAX_PATTERN_LENGTH)
		return false;

	memset(now, 0, length + 1);
	now[0] = true;
	for (;;)
	{
		uint32_t	code = 0;
		size_t		code_length = *text ? next_code(text, &code) : 0;
		bool		alive = false;

		memset(next, 0, length + 1);
		for (size_t at = 0; at < length; at++)
		{
			if (now[at])
				alive |= glob_step(pattern, at, segment_start, code_length > 0, code, now, next);
		}
		if (code_length == 0)
			return now[length];
		if (!alive)
			return false;

		segment_start = code == '/';
		text += code_length;
		now = next;
		next = now == states[0] ? states[1] : states[0];
	}
}

/*
 * From the state at one offset of the pattern, mark in now the later offsets
 * that are reached without a character, and in next those reached by code.
 * Says whether it marked any in next.
 *
 * "**" with a slash after it stands for what ends in a slash, or for nothing
 * where a segment starts.  So both are left at once, and only where a segment of
 * the text starts.
 */
static bool
glob_step(const char *pattern, size_t at, bool segment_start,
		  bool have_code, uint32_t code, bool *now, bool *next)
{
	const char *p = pattern + at;
	size_t		token = 1;
	bool		matches;

	if (*p == '*')
	{
		size_t		stars = strspn(p, "*");

		if (stars == 1)
			now[at + 1] = true;
		else if (p[stars] != '/')
			now[at + stars] = true;
		else if (segment_start)
			now[at + stars + 1] = true;

		matches = have_code && (stars > 1 || code != '/');
		if (matches)
			next[at] = true;
		return matches;
	}

	if (*p == '?')
		matches = code != '/';
	else if (*p == '[' && set_end(p) != NULL)
	{
		token = (size_t) (set_end(p) - p) + 1;
		matches = code != '/' && set_contains(p, p + token - 1, code);
	}
	else
	{
		size_t		quote = *p == '\\' && p[1] != '\0' ? 1 : 0;
		uint32_t	wanted;

		token = quote + next_code(p + quote, &wanted);
		matches = code == wanted;
	}

	matches = matches && have_code;
	if (matches)
		next[at + token] = true;
	return matches;
}

/* The ']' that ends the set, or NULL: then its '[' is an ordinary character. */
static const char *
set_end(const char *set)
{
	const char *p = set + 1;

	if (*p == '!' || *p == '^')
		p++;
	if (*p == ']')
		p++;
	for (; *p && *p != ']'; p++)
	{
		if (*p == '\\' && p[1] != '\0')
			p++;
	}
	return *p ? p : NULL;
}

static bool
set_contains(const char *set, const char *end, uint32_t code)
{
	const char *p = set + 1;
	bool		negated = *p == '!' || *p == '^';
	bool		found = false;

	if (negated)
		p++;
	while (p < end)
	{
		uint32_t	low;
		uint32_t	high;

		if (*p == '\\')
			p++;
		p += next_code(p, &low);
		high = low;
		if (*p == '-' && p + 1 < end)
		{
			p++;
			if (*p == '\\')
				p++;
			p += next_code(p, &high);
		}
		if (low <= code && code <= high)
			found = true;
	}
	return found != negated;
}

bool
stedi_percent_encode(StediBytes *out, const char *text, size_t length, bool keep_slash)
{
	static const char digits[] = "0123456789ABCDEF";

	for (size_t i = 0; i < length; i++)
	{
		unsigned char c = (unsigned char) text[i];
		bool		plain = c != '\0' && strchr(ALPHA DIGITS "-._~", c) != NULL;

		if (plain || (c == '/' && keep_slash))
			stedi_bytes_append_char(out, (char) c);
		else
		{
			char		escape[3] = {'%', digits[c >> 4], digits[c & 15]};

			stedi_bytes_append(out, escape, sizeof(escape));
		}
	}
	return !out->failed;
}

bool
stedi_percent_decode(StediBytes *out, const char *text, size_t length, bool plus_is_space)
{
	for (size_t i = 0; i < length; i++)
	{
		char		c = text[i];

		if (c == '%')
		{
			int			high = i + 2 < length ? hex_value(text[i + 1]) : -1;
			int			low = i + 2 < length ? hex_value(text[i + 2]) : -1;

			if (high < 0 || low < 0)
				return false;
			c = (char) (high * 16 + low);
			i += 2;
		}
		else if (c == '+' && plus_is_space)
			c = ' ';
		if (c == '\0')
			return false;
		stedi_bytes_append_char(out, c);
	}
	return !out->failed;
}

static int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

bool
stedi_utf8_valid(const char *text, size_t length)
{
	while (length > 0)
	{
		uint32_t	code;
		size_t		used = decode_utf8(text, length, &code);

		if (used == 0)
			return false;
		text += used;
		length -= used;
	}
	return true;
}

/* Bytes of the character at text, 0 if there is no valid one (RFC 3629). */
static size_t
decode_utf8(const char *text, size_t length, uint32_t *code)
{
	static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
	unsigned char lead = (unsigned char) text[0];
	size_t		size = lead < 0x80 ? 1 : lead < 0xC0 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
	uint32_t	value = size <= 1 ? lead : lead & (0x7Fu >> size);

	if (size == 0 || size > length || lead >= 0xF8)
		return 0;
	for (size_t i = 1; i < size; i++)
	{
		unsigned char c = (unsigned char) text[i];

		if ((c & 0xC0) != 0x80)
			return 0;
		value = value << 6 | (c & 0x3F);
	}
	if (value < smallest[size] || value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF))
		return 0;
	*code = value;
	return size;
}

/* Bytes of the next character; one that is not UTF-8 stands for itself, apart
 * from all others.  text is not empty. */
static size_t
next_code(const char *text, uint32_t *code)
{
	size_t		size = decode_utf8(text, strnlen(text, 4), code);

	if (size > 0)
		return size;
	*code = 0x110000 + (unsigned char) *text;
	return 1;
}
