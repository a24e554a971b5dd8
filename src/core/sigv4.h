/*
 * sigv4.h
 *		AWS Signature Version 4 for S3, with OpenSSL digests.
 *
 * Source: AWS, "Authenticating Requests: Using the Authorization Header (AWS
 * Signature Version 4)", Amazon S3 API reference.
 */
#ifndef STEDI_CORE_SIGV4_H
#define STEDI_CORE_SIGV4_H

#include <time.h>

#include "core/bytes.h"
#include "core/status.h"

#define STEDI_SHA256_HEX_SIZE 65	/* 64 digits and NUL */
#define STEDI_SIGV4_DATE_SIZE 17	/* 20130524T000000Z and NUL */
#define STEDI_SIGV4_UNSIGNED_PAYLOAD "UNSIGNED-PAYLOAD"
#define STEDI_SIGV4_EMPTY_SHA256 \
	"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

typedef struct StediPair
{
	const char *name;
	const char *value;
} StediPair;

/* What is signed.  Nothing here is owned. */
typedef struct StediSigv4Request
{
	const char *method;			/* "GET" */
	const char *path;			/* percent-encoded once, not normalised, "/" at least */
	const StediPair *query;		/* decoded names and values, any order; value "" if none */
	int			n_query;
	const StediPair *headers;	/* all headers to sign, host included, any order and case */
	int			n_headers;
	const char *payload_sha256; /* hex digest or STEDI_SIGV4_UNSIGNED_PAYLOAD */
	const char *region;
	const char *service;		/* "s3", "sts" */
	const char *access_key_id;
	const char *secret_access_key;
	time_t		when;			/* UTC; must equal the x-amz-date header */
} StediSigv4Request;

/* Each intermediate, so that a test can name the first wrong one. */
typedef struct StediSigv4Result
{
	StediBytes	canonical_request;
	StediBytes	string_to_sign;
	char		signature[STEDI_SHA256_HEX_SIZE];
	StediBytes	authorization;	/* value of the Authorization header */
} StediSigv4Result;

/* Sign.  On success the caller frees the result; on failure it holds nothing.
 * Derived keys are wiped before return. */
extern bool stedi_sigv4_sign(const StediSigv4Request *request,
							 StediSigv4Result *result, StediStatus *status);
extern void stedi_sigv4_result_free(StediSigv4Result *result);

/* "20130524T000000Z" */
extern void stedi_sigv4_date(time_t when, char out[STEDI_SIGV4_DATE_SIZE]);

/* The canonical query string: encoded, sorted by encoded name then value.  It
 * is also what goes on the wire, without the '?'. */
extern bool stedi_sigv4_query(StediBytes *out, const StediPair *query, int n_query);

extern bool stedi_sha256_hex(const void *data, size_t length,
							 char out[STEDI_SHA256_HEX_SIZE]);
extern bool stedi_hmac_sha256(const void *key, size_t key_length,
							  const void *data, size_t length,
							  unsigned char out[32]);
/* An MD5 as it is, for Content-MD5 (RFC 1864), and as S3 writes it in an ETag. */
typedef struct StediMd5
{
	unsigned char bytes[16];
	char		base64[25];
	char		hex[33];
} StediMd5;

extern bool stedi_md5(const void *data, size_t length, StediMd5 *md5);

#endif							/* STEDI_CORE_SIGV4_H */
