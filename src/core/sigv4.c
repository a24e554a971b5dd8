/*
 * sigv4.c
 *		AWS Signature Version 4 for S3, with OpenSSL digests.
 *
 *	 method, path, query, headers, payload digest
 *		-> canonical request -> its SHA-256 in the string to sign
 *	 secret key -> date key -> region key -> service key -> signing key
 *		-> HMAC-SHA-256 of the string to sign = signature
 */
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "core/sigv4.h"
#include "core/uri.h"

#define SHA256_SIZE		32
#define DATE_LENGTH		8		/* 20130524 of 20130524T000000Z */
#define LATEST_TIME		INT64_C(253402300799)	/* 9999-12-31 23:59:59 */

/* One query parameter, encoded. */
typedef struct EncodedPair
{
	char	   *name;
	char	   *value;
} EncodedPair;

static bool check_request(const StediSigv4Request *request, StediStatus *status);
static StediCode sign(const StediSigv4Request *request, StediBytes *signed_headers,
					  StediBytes *scope, StediSigv4Result *result);
static bool is_token(const char *text);
static bool is_header_value(const char *text);
static bool format_canonical_request(const StediSigv4Request *request,
									 StediBytes *out, StediBytes *signed_headers);
static const StediPair **sort_headers(const StediPair *headers, int n_headers);
static int	compare_headers(const void *a, const void *b);
static int	compare_names(const char *a, const char *b);
static char lower(char c);
static void append_name(StediBytes *out, const char *name);
static void append_value(StediBytes *out, const char *value);
static StediCode compute_signature(const StediSigv4Request *request, const char *date,
								   const StediBytes *string_to_sign,
								   char signature[STEDI_SHA256_HEX_SIZE]);
static char *encode(const char *text);
static int	compare_encoded(const void *a, const void *b);
static bool digest(const char *name, const void *data, size_t length,
				   unsigned char *out, size_t size);
static void format_hex(const unsigned char *data, size_t length, char *out);

bool
stedi_sigv4_sign(const StediSigv4Request *request, StediSigv4Result *result,
				 StediStatus *status)
{
	StediBytes	signed_headers;
	StediBytes	scope;
	StediCode	code;

	memset(result, 0, sizeof(*result));
	if (!check_request(request, status))
		return false;

	stedi_bytes_init(&signed_headers, 0);
	stedi_bytes_init(&scope, 0);
	code = sign(request, &signed_headers, &scope, result);
	stedi_bytes_free(&signed_headers);
	stedi_bytes_free(&scope);
	if (code == STEDI_OK)
		return true;

	stedi_sigv4_result_free(result);
	return stedi_status_set(status, code, "%s",
							code == STEDI_NO_MEMORY ? "out of memory" :
							"could not compute an HMAC-SHA-256 with OpenSSL");
}

/* The steps in their order; what they leave behind is the caller's to free. */
static StediCode
sign(const StediSigv4Request *request, StediBytes *signed_headers, StediBytes *scope,
	 StediSigv4Result *result)
{
	char		date[STEDI_SIGV4_DATE_SIZE];
	char		digest_hex[STEDI_SHA256_HEX_SIZE];
	StediCode	code;

	stedi_sigv4_date(request->when, date);
	if (!format_canonical_request(request, &result->canonical_request, signed_headers) ||
		!stedi_bytes_printf(scope, "%.*s/%s/%s/aws4_request", DATE_LENGTH, date,
							request->region, request->service))
		return STEDI_NO_MEMORY;

	if (!stedi_sha256_hex(result->canonical_request.data, result->canonical_request.length,
						  digest_hex))
		return STEDI_UNSUPPORTED;
	if (!stedi_bytes_printf(&result->string_to_sign, "AWS4-HMAC-SHA256\n%s\n%s\n%s",
							date, scope->data, digest_hex))
		return STEDI_NO_MEMORY;

	code = compute_signature(request, date, &result->string_to_sign, result->signature);
	if (code == STEDI_OK &&
		!stedi_bytes_printf(&result->authorization,
							"AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s",
							request->access_key_id, scope->data, signed_headers->data,
							result->signature))
		code = STEDI_NO_MEMORY;
	return code;
}

void
stedi_sigv4_result_free(StediSigv4Result *result)
{
	stedi_bytes_free(&result->canonical_request);
	stedi_bytes_free(&result->string_to_sign);
	stedi_bytes_free(&result->authorization);
	memset(result->signature, 0, sizeof(result->signature));
}

void
stedi_sigv4_date(time_t when, char out[STEDI_SIGV4_DATE_SIZE])
{
	struct tm	tm;
	time_t		within = when < 0 ? 0 : when > LATEST_TIME ? (time_t) LATEST_TIME : when;

	/* a time within four-digit years, for which neither call can fail */
	gmtime_r(&within, &tm);
	strftime(out, STEDI_SIGV4_DATE_SIZE, "%Y%m%dT%H%M%SZ", &tm);
}

/*
 * What could end a line of the canonical request or of the HTTP request early
 * is refused; the values are never shown, they may be secret.
 */
static bool
check_request(const StediSigv4Request *request, StediStatus *status)
{
	if (!is_token(request->access_key_id))
		return stedi_status_set(status, STEDI_CREDENTIALS,
								"the access key ID is empty or has an invalid character");
	if (!is_token(request->region))
		return stedi_status_set(status, STEDI_BAD_ARGUMENT,
								"the region is empty or has an invalid character");
	if (request->path[0] != '/' || !is_token(request->path))
		return stedi_status_set(status, STEDI_BAD_ARGUMENT,
								"the path of a request must start with a slash and be encoded");
	for (int i = 0; i < request->n_headers; i++)
	{
		if (!is_token(request->headers[i].name) || !is_header_value(request->headers[i].value))
			return stedi_status_set(status, STEDI_BAD_ARGUMENT,
									"a request header has an invalid character");
	}
	return true;
}

/* Not empty, and printable ASCII without spaces. */
static bool
is_token(const char *text)
{
	if (*text == '\0')
		return false;
	for (; *text; text++)
	{
		if (*text <= ' ' || *text > '~')
			return false;
	}
	return true;
}

static bool
is_header_value(const char *text)
{
	for (; *text; text++)
	{
		if (((unsigned char) *text < ' ' && *text != '\t') || *text == 0x7F)
			return false;
	}
	return true;
}

static bool
format_canonical_request(const StediSigv4Request *request,
						 StediBytes *out, StediBytes *signed_headers)
{
	const StediPair **headers = sort_headers(request->headers, request->n_headers);

	if (headers == NULL)
		return false;

	stedi_bytes_printf(out, "%s\n%s\n", request->method, request->path);
	if (!stedi_sigv4_query(out, request->query, request->n_query))
		out->failed = true;

	for (int i = 0; i < request->n_headers; i++)
	{
		/* the values of a repeated header go into one line */
		if (i > 0 && compare_names(headers[i]->name, headers[i - 1]->name) == 0)
			stedi_bytes_append_char(out, ',');
		else
		{
			stedi_bytes_append_char(out, '\n');
			append_name(out, headers[i]->name);
			stedi_bytes_append_char(out, ':');

			if (i > 0)
				stedi_bytes_append_char(signed_headers, ';');
			append_name(signed_headers, headers[i]->name);
		}
		append_value(out, headers[i]->value);
	}
	free(headers);

	stedi_bytes_append_text(signed_headers, "");
	if (signed_headers->failed)
		return false;
	return stedi_bytes_printf(out, "\n\n%s\n%s", signed_headers->data,
							  request->payload_sha256);
}

/* Malloc'd; NULL when out of memory. */
static const StediPair **
sort_headers(const StediPair *headers, int n_headers)
{
	const StediPair **sorted = malloc(sizeof(*sorted) * ((size_t) n_headers + 1));

	if (sorted == NULL)
		return NULL;
	for (int i = 0; i < n_headers; i++)
		sorted[i] = &headers[i];
	qsort(sorted, (size_t) n_headers, sizeof(*sorted), compare_headers);
	return sorted;
}

/* Headers of the same name keep their order. */
static int
compare_headers(const void *a, const void *b)
{
	const StediPair *left = *(const StediPair *const *) a;
	const StediPair *right = *(const StediPair *const *) b;
	int			result = compare_names(left->name, right->name);

	if (result == 0)
		result = (left > right) - (left < right);
	return result;
}

/* By lower-cased ASCII, whatever the locale is. */
static int
compare_names(const char *a, const char *b)
{
	while (*a && lower(*a) == lower(*b))
	{
		a++;
		b++;
	}
	return (unsigned char) lower(*a) - (unsigned char) lower(*b);
}

static char
lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char) (c + ('a' - 'A')) : c;
}

static void
append_name(StediBytes *out, const char *name)
{
	for (; *name; name++)
		stedi_bytes_append_char(out, lower(*name));
}

/* Without blanks at either end, and with one space for each run inside. */
static void
append_value(StediBytes *out, const char *value)
{
	static const char blanks[] = " \t";
	bool		first = true;

	for (value += strspn(value, blanks); *value; value += strspn(value, blanks))
	{
		size_t		word = strcspn(value, blanks);

		if (!first)
			stedi_bytes_append_char(out, ' ');
		stedi_bytes_append(out, value, word);
		value += word;
		first = false;
	}
}

static StediCode
compute_signature(const StediSigv4Request *request, const char *date,
				  const StediBytes *string_to_sign, char signature[STEDI_SHA256_HEX_SIZE])
{
	static const char prefix[] = "AWS4";
	static const char suffix[] = "aws4_request";
	size_t		secret_length = strlen(request->secret_access_key);
	size_t		key_length = strlen(prefix) + secret_length;
	char	   *key = malloc(key_length);
	unsigned char a[SHA256_SIZE];
	unsigned char b[SHA256_SIZE];
	bool		done;

	if (key == NULL)
		return STEDI_NO_MEMORY;
	memcpy(key, prefix, strlen(prefix));
	memcpy(key + strlen(prefix), request->secret_access_key, secret_length);

	done = stedi_hmac_sha256(key, key_length, date, DATE_LENGTH, a) &&
		stedi_hmac_sha256(a, sizeof(a), request->region, strlen(request->region), b) &&
		stedi_hmac_sha256(b, sizeof(b), request->service, strlen(request->service), a) &&
		stedi_hmac_sha256(a, sizeof(a), suffix, strlen(suffix), b) &&
		stedi_hmac_sha256(b, sizeof(b), string_to_sign->data, string_to_sign->length, a);
	if (done)
		format_hex(a, sizeof(a), signature);

	OPENSSL_cleanse(key, key_length);
	OPENSSL_cleanse(a, sizeof(a));
	OPENSSL_cleanse(b, sizeof(b));
	free(key);
	return done ? STEDI_OK : STEDI_UNSUPPORTED;
}

bool
stedi_sigv4_query(StediBytes *out, const StediPair *query, int n_query)
{
	EncodedPair *pairs = calloc((size_t) n_query + 1, sizeof(*pairs));
	bool		done = pairs != NULL;

	for (int i = 0; done && i < n_query; i++)
	{
		pairs[i].name = encode(query[i].name);
		pairs[i].value = encode(query[i].value);
		done = pairs[i].name != NULL && pairs[i].value != NULL;
	}
	if (done)
	{
		qsort(pairs, (size_t) n_query, sizeof(*pairs), compare_encoded);
		for (int i = 0; i < n_query; i++)
			stedi_bytes_printf(out, "%s%s=%s", i > 0 ? "&" : "", pairs[i].name, pairs[i].value);
		done = !out->failed;
	}

	for (int i = 0; pairs != NULL && i < n_query; i++)
	{
		free(pairs[i].name);
		free(pairs[i].value);
	}
	free(pairs);
	return done;
}

/* Malloc'd; NULL when out of memory. */
static char *
encode(const char *text)
{
	StediBytes	encoded;

	stedi_bytes_init(&encoded, 0);
	stedi_percent_encode(&encoded, text, strlen(text), false);
	return stedi_bytes_steal(&encoded);
}

static int
compare_encoded(const void *a, const void *b)
{
	const EncodedPair *left = a;
	const EncodedPair *right = b;
	int			result = strcmp(left->name, right->name);

	return result != 0 ? result : strcmp(left->value, right->value);
}

bool
stedi_sha256_hex(const void *data, size_t length, char out[STEDI_SHA256_HEX_SIZE])
{
	unsigned char hash[SHA256_SIZE];

	if (!digest("SHA256", data, length, hash, sizeof(hash)))
		return false;
	format_hex(hash, sizeof(hash), out);
	return true;
}

bool
stedi_hmac_sha256(const void *key, size_t key_length, const void *data, size_t length,
				  unsigned char out[SHA256_SIZE])
{
	if (key_length > INT_MAX ||
		HMAC(EVP_sha256(), key, (int) key_length, data, length, out, NULL) == NULL)
	{
		ERR_clear_error();
		return false;
	}
	return true;
}

bool
stedi_md5(const void *data, size_t length, StediMd5 *md5)
{
	if (!digest("MD5", data, length, md5->bytes, sizeof(md5->bytes)))
		return false;
	EVP_EncodeBlock((unsigned char *) md5->base64, md5->bytes, sizeof(md5->bytes));
	format_hex(md5->bytes, sizeof(md5->bytes), md5->hex);
	return true;
}

static bool
digest(const char *name, const void *data, size_t length, unsigned char *out, size_t size)
{
	size_t		written = 0;

	if (!EVP_Q_digest(NULL, name, NULL, data, length, out, &written) || written != size)
	{
		ERR_clear_error();
		return false;
	}
	return true;
}

static void
format_hex(const unsigned char *data, size_t length, char *out)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < length; i++)
	{
		out[2 * i] = digits[data[i] >> 4];
		out[2 * i + 1] = digits[data[i] & 15];
	}
	out[2 * length] = '\0';
}
