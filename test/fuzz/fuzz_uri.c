/*
 * fuzz_uri.c
 *		URIs, globs and percent-encoding with whatever a user or a server sends.
 *
 * Input: a URI or pattern, a NUL, a key.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/uri.h"

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(bool condition)
{
	if (!condition)
		abort();
}

/* What parses must come back from its own text as it was. */
static void
try_parse(const char *text, bool literal, const char *key)
{
	StediUri	uri;
	StediUri	again;
	StediStatus status;
	char	   *formatted;

	if (!stedi_uri_parse(text, literal, &uri, &status))
	{
		require(status.code != STEDI_OK && status.message[0] != '\0');
		require(stedi_utf8_valid(status.message, strlen(status.message)));
		require(uri.bucket == NULL && uri.key == NULL);
		return;
	}

	require(uri.prefix_length <= strlen(uri.key));
	require(!(uri.is_glob && uri.is_prefix));
	require(!literal || !uri.is_glob);
	if (stedi_uri_matches(&uri, key))
		require(strncmp(uri.key, key, uri.prefix_length) == 0);
	if (!uri.is_glob && !uri.is_prefix)
		require(stedi_uri_matches(&uri, uri.key));

	formatted = stedi_uri_format(uri.scheme, uri.bucket, uri.key);
	require(formatted != NULL && stedi_uri_parse(formatted, literal, &again, &status));
	require(again.scheme == uri.scheme &&
			(uri.bucket == NULL ? again.bucket == NULL : strcmp(again.bucket, uri.bucket) == 0));
	require(strcmp(again.key, uri.key) == 0 && again.is_glob == uri.is_glob &&
			again.is_prefix == uri.is_prefix && again.prefix_length == uri.prefix_length);
	free(formatted);
	stedi_uri_free(&again);
	stedi_uri_free(&uri);
}

/* What must hold of any pattern and text, in words of the documentation. */
static void
try_glob(const char *pattern, const char *text)
{
	size_t		length = strlen(text);
	char	   *quoted = malloc(2 * length + 4);
	char	   *to = quoted;
	char	   *copy = malloc(length + 2);

	/* a text with every special character quoted matches itself and nothing else */
	for (const char *from = text; *from != '\0'; from++)
	{
		if (strchr("*?[\\", *from) != NULL)
			*to++ = '\\';
		*to++ = *from;
	}
	*to = '\0';
	require(stedi_glob_match(quoted, text));
	require(stedi_glob_match(quoted, pattern) == (strcmp(pattern, text) == 0));

	/* stars match nothing, too; one does not cross a slash */
	strcpy(to, "*");
	require(stedi_glob_match(quoted, text));
	strcpy(to, "**");
	require(stedi_glob_match(quoted, text));
	*to = '\0';
	require(stedi_glob_match("**", text));
	require(stedi_glob_match("*", text) == (strchr(text, '/') == NULL));

	/* a slash stands only for itself */
	strcpy(copy, text);
	strcat(copy, "/");
	if (strchr(pattern, '[') == NULL && strstr(pattern, "**") == NULL &&
		stedi_glob_match(pattern, text))
		require(!stedi_glob_match(pattern, copy));
	free(copy);
	free(quoted);
}

static void
try_percent(const char *text, size_t length)
{
	StediBytes	encoded;
	StediBytes	decoded;

	stedi_bytes_init(&encoded, 0);
	stedi_bytes_init(&decoded, 0);
	if (stedi_percent_decode(&decoded, text, length, true))
		require(decoded.length <= length && memchr(decoded.data ? decoded.data : "", '\0', decoded.length) == NULL);
	stedi_bytes_free(&decoded);

	require(stedi_percent_encode(&encoded, text, length, length % 2 == 0));
	if (encoded.data != NULL)
	{
		require(strspn(encoded.data, "%/-._~0123456789"
					   "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") == encoded.length);
		require(stedi_percent_decode(&decoded, encoded.data, encoded.length, true));
		require(decoded.length == length && memcmp(decoded.data, text, length) == 0);
	}
	stedi_bytes_free(&encoded);
	stedi_bytes_free(&decoded);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *separator = size > 0 ? memchr(data, '\0', size) : NULL;
	size_t		text_length = separator ? (size_t) (separator - data) : size;
	size_t		key_length = separator ? size - text_length - 1 : 0;
	char	   *text = malloc(text_length + 1);
	char	   *key = malloc(key_length + 1);

	memcpy(text, data, text_length);
	text[text_length] = '\0';
	if (key_length > 0)
		memcpy(key, separator + 1, key_length);
	key[key_length] = '\0';

	try_parse(text, false, key);
	try_parse(text, true, key);
	try_glob(text, key);
	try_percent(text, text_length);

	free(text);
	free(key);
	return 0;
}
