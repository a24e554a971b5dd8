/*
 * fuzz_s3_xml.c
 *		The XML parsers with whatever a server sends.
 *
 * clang -std=c11 -D_GNU_SOURCE -g -O1 -fsanitize=fuzzer,address,undefined \
 *	-fno-sanitize-recover=all -Isrc test/fuzz/fuzz_s3_xml.c \
 *	src/core/s3_xml.c src/core/uri.c src/core/bytes.c src/core/status.c -lexpat
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/s3_xml.h"
#include "core/uri.h"

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(bool condition)
{
	if (!condition)
		abort();
}

static void
require_key(const char *key)
{
	require(key != NULL && *key != '\0' && stedi_utf8_valid(key, strlen(key)));
}

static void
try_list(const char *xml, size_t length)
{
	StediListPage page;
	StediStatus status;

	if (!stedi_s3_parse_list(xml, length, &page, &status))
	{
		require(status.code == STEDI_PROTOCOL && page.objects == NULL && page.n_objects == 0);
		return;
	}
	for (size_t i = 0; i < page.n_objects; i++)
	{
		StediObject copy;

		require_key(page.objects[i].key);
		require(stedi_object_copy(&copy, &page.objects[i]));
		stedi_object_free(&copy);
	}
	require(!page.truncated || page.next_token != NULL);
	stedi_list_page_free(&page);
}

static void
try_uploads(const char *xml, size_t length)
{
	StediUploadPage page;
	StediStatus status;

	if (!stedi_s3_parse_uploads(xml, length, &page, &status))
	{
		require(status.code == STEDI_PROTOCOL && page.uploads == NULL && page.n_uploads == 0);
		return;
	}
	for (size_t i = 0; i < page.n_uploads; i++)
	{
		require_key(page.uploads[i].key);
		require(page.uploads[i].upload_id != NULL);
	}
	require(!page.truncated || page.next_key_marker != NULL);
	stedi_upload_page_free(&page);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *xml = (const char *) data;
	StediS3Error error;
	StediStsCredentials keys;
	StediStatus status;
	StediBytes	out;
	char		code[64];
	char	   *text;
	int64_t		microseconds;

	try_list(xml, size);
	try_uploads(xml, size);

	if (stedi_s3_parse_error(xml, size, &error))
	{
		require(stedi_utf8_valid(error.code, strlen(error.code)));
		require(stedi_utf8_valid(error.message, strlen(error.message)));
	}
	if (stedi_sts_parse_credentials(xml, size, "AssumeRole", &keys, &status))
	{
		require(keys.access_key_id != NULL && keys.secret_access_key != NULL && keys.session_token != NULL);
		stedi_sts_credentials_free(&keys);
	}
	stedi_sts_parse_error(xml, size, code);
	require(stedi_utf8_valid(code, strlen(code)));
	text = stedi_s3_parse_upload_id(xml, size, &status);
	require(text == NULL || *text != '\0');
	free(text);
	text = stedi_s3_parse_complete(xml, size, &status);
	require(text == NULL || *text != '\0');
	free(text);

	text = malloc(size + 1);
	memcpy(text, data, size);
	text[size] = '\0';
	stedi_parse_iso8601(text, &microseconds);
	stedi_bytes_init(&out, 0);
	require(stedi_s3_format_complete(&out, &text, 1));
	stedi_bytes_free(&out);
	free(text);
	return 0;
}
