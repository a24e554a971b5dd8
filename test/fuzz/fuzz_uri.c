/*
 * fuzz_uri.c
 *		URIs, globs and percent-encoding with whatever a user or a server sends.
 *
 * Input: a URI or pattern, a NUL, a key.
 *
 * clang -std=c11 -D_GNU_SOURCE -g -O1 -fsanitize=fuzzer,address,undefined \
 *	-fno-sanitize-recover=all -Isrc test/fuzz/fuzz_uri.c \
 *	src/core/uri.c src/core/bytes.c src/core/status.c
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
	require(strcmp(again.key, uri.key) == 0 && again.is_glob == uri.is_glob &&
			again.is_prefix == uri.is_prefix && again.prefix_length == uri.prefix_length);
	free(formatted);
	stedi_uri_free(&again);
	stedi_uri_free(&uri);
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
	stedi_glob_match(text, key);
	try_percent(text, text_length);

	free(text);
	free(key);
	return 0;
}
