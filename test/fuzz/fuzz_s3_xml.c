/*
 * fuzz_s3_xml.c
 *		The XML parsers with whatever a server sends.
 *
 * The input is parsed as it is; and its parts, between NULs, are the keys of a
 * listing that has to give them back.
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

static void
append_part(StediBytes *out, const char *element, const char *part, size_t length)
{
	stedi_bytes_printf(out, "<%s>", element);
	stedi_percent_encode(out, part, length, length % 2 == 0);
	stedi_bytes_printf(out, "</%s>", element);
}

/* A listing of these keys, percent-encoded as a server does it. */
static void
try_keys(const char *data, size_t size)
{
	StediBytes	xml;
	StediListPage page;
	StediStatus status;
	const char *end = data + size;
	bool		valid = true;
	size_t		n = 0;

	stedi_bytes_init(&xml, 0);
	stedi_bytes_append_text(&xml, "<ListBucketResult><EncodingType>url</EncodingType>");
	for (const char *key = data; key < end; key += strnlen(key, (size_t) (end - key)) + 1)
	{
		size_t		length = strnlen(key, (size_t) (end - key));

		valid = valid && length > 0 && stedi_utf8_valid(key, length);
		stedi_bytes_append_text(&xml, "<Contents>");
		append_part(&xml, "Key", key, length);
		stedi_bytes_append_text(&xml, "<LastModified>2024-01-01T00:00:00Z</LastModified>"
								"<ETag>\"e\"</ETag><Size>1</Size></Contents>");
	}
	require(stedi_bytes_append_text(&xml, "<IsTruncated>false</IsTruncated></ListBucketResult>"));

	if (stedi_s3_parse_list(xml.data, xml.length, &page, &status))
	{
		require(valid);
		for (const char *key = data; key < end; key += strnlen(key, (size_t) (end - key)) + 1)
		{
			size_t		length = strnlen(key, (size_t) (end - key));

			require(n < page.n_objects && strlen(page.objects[n].key) == length &&
					memcmp(page.objects[n].key, key, length) == 0);
			require(page.objects[n].size == 1 && strcmp(page.objects[n].etag, "e") == 0);
			n++;
		}
		require(n == page.n_objects);
		stedi_list_page_free(&page);
	}
	else
		require(!valid);
	stedi_bytes_free(&xml);
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
	try_keys(xml, size);

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
