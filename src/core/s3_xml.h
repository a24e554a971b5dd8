/*
 * s3_xml.h
 *		The XML that S3 sends and takes, and what STS replies.
 *
 * Parsed with expat, in one go from a bounded buffer; DTDs are refused, unknown
 * elements skipped, namespaces ignored.
 */
#ifndef STEDI_CORE_S3_XML_H
#define STEDI_CORE_S3_XML_H

#include <stdint.h>

#include "core/bytes.h"
#include "core/status.h"

/* One object of a listing.  Strings are malloc'd; optional ones are NULL. */
typedef struct StediObject
{
	char	   *key;			/* decoded; file store: absolute path */
	char	   *etag;			/* quotes stripped; opaque, compare for equality only */
	char	   *version_id;
	uint64_t	size;			/* bytes */
	int64_t		last_modified;	/* microseconds since 1970-01-01 UTC */
} StediObject;

extern void stedi_object_free(StediObject *object); /* idempotent */
extern bool stedi_object_copy(StediObject *to, const StediObject *from);

typedef struct StediListPage
{
	StediObject *objects;
	size_t		n_objects;
	bool		truncated;
	char	   *next_token;		/* NextContinuationToken, opaque, or NULL */
} StediListPage;

/* ListBucketResult of ListObjectsV2.  Keys are decoded if and only if the reply
 * carries EncodingType url.  A truncated page without a token is an error. */
extern bool stedi_s3_parse_list(const char *xml, size_t length,
								StediListPage *page, StediStatus *status);
extern void stedi_list_page_free(StediListPage *page);

/* <Error>: true if the document is one.  Strings are clipped copies. */
typedef struct StediS3Error
{
	char		code[64];
	char		message[256];
	char		request_id[128];
	char		region[64];		/* <Region>, when the error names it */
} StediS3Error;

extern bool stedi_s3_parse_error(const char *xml, size_t length, StediS3Error *error);

/* UploadId of InitiateMultipartUploadResult; malloc'd. */
extern char *stedi_s3_parse_upload_id(const char *xml, size_t length, StediStatus *status);

/* ETag of CompleteMultipartUploadResult, quotes stripped; malloc'd.  An <Error>
 * document or anything else is a failure. */
extern char *stedi_s3_parse_complete(const char *xml, size_t length, StediStatus *status);

/* Uploads in progress (ListMultipartUploads). */
typedef struct StediUpload
{
	char	   *key;
	char	   *upload_id;
	int64_t		initiated;		/* microseconds since 1970 */
} StediUpload;

typedef struct StediUploadPage
{
	StediUpload *uploads;
	size_t		n_uploads;
	bool		truncated;
	char	   *next_key_marker;
	char	   *next_upload_id_marker;
} StediUploadPage;

extern bool stedi_s3_parse_uploads(const char *xml, size_t length,
								   StediUploadPage *page, StediStatus *status);
extern void stedi_upload_page_free(StediUploadPage *page);

/* <CompleteMultipartUpload> with the parts' ETags in order, 1-based numbers. */
extern bool stedi_s3_format_complete(StediBytes *out, char *const *etags, int n_parts);

/*
 * The credentials in STS's reply to an action, "AssumeRole" or
 * "AssumeRoleWithWebIdentity" (AWS Security Token Service API Reference).
 * Strings are malloc'd and secret.  False: STEDI_PROTOCOL, also when one of the
 * four is missing, and nothing to free.
 */
typedef struct StediStsCredentials
{
	char	   *access_key_id;
	char	   *secret_access_key;
	char	   *session_token;
	int64_t		expires_at;		/* microseconds since 1970 */
} StediStsCredentials;

extern bool stedi_sts_parse_credentials(const char *xml, size_t length, const char *action,
										StediStsCredentials *credentials,
										StediStatus *status);
extern void stedi_sts_credentials_free(StediStsCredentials *credentials);	/* wipes; idempotent */

/* Code of STS's <ErrorResponse>, clipped; "" if it is none. */
extern void stedi_sts_parse_error(const char *xml, size_t length, char code[64]);

/* "2013-05-24T00:00:00.000Z" to microseconds since 1970; false if malformed. */
extern bool stedi_parse_iso8601(const char *text, int64_t *microseconds);

#endif							/* STEDI_CORE_S3_XML_H */
