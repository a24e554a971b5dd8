/*
 * s3_internal.h
 *		What the files of the S3 store share.
 *
 * s3.c opens stores, lists and does the small calls; s3_get.c reads objects;
 * s3_put.c writes them; s3_request.c is the one way all of them send requests:
 * it signs, retries, corrects region and clock, and words the errors.
 */
#ifndef STEDI_STORE_S3_INTERNAL_H
#define STEDI_STORE_S3_INTERNAL_H

#include "core/sigv4.h"
#include "core/s3_xml.h"
#include "store/credentials.h"
#include "store/http.h"
#include "store/store_internal.h"

typedef struct S3Store
{
	StediStore	base;
	StediHttp  *http;
	StediS3Config config;		/* of the strings only bucket, the store's own */
	StediCredentialProvider *credentials;	/* NULL: anonymous */
	const char *scheme;			/* "https", "http" */
	char	   *authority;		/* "host[:port]" of a given endpoint; NULL: AWS's */
	char		region[64];		/* the bucket's, once it is known */
	bool		region_is_default;	/* nobody named one yet */
	time_t		clock_offset;	/* seconds the server's clock is ahead */
	int			n_ranges;		/* behind those that are read, in all gets */
	int			ahead;			/* most of them; grows to max_ranges when one is waited for */
} S3Store;

typedef struct S3Request S3Request;

#define S3_MAX_QUERY	6
#define S3_MAX_HEADERS	8

/*
 * A request with its retries.  The owner fills in the first group after
 * stedi_s3_request_init(); the strings must stay until the request is freed.
 */
struct S3Request
{
	StediHttpTransfer transfer; /* first member; see reply_limit, may_queue, receive */
	const char *action;			/* "read", as in "could not read object" */
	const char *method;
	const char *key;			/* NULL: the bucket */
	StediPair	query[S3_MAX_QUERY];
	int			n_query;
	StediPair	headers[S3_MAX_HEADERS];
	int			n_headers;
	const void *body;			/* of a PUT or POST */
	size_t		body_length;
	bool		is_upload;		/* BadDigest means damage on the way: retry */
	/* May set headers anew for each attempt. */
	void		(*prepare) (S3Request *request);
	/* Looks at a 2xx reply.  False: it is cut short, try again; or, when status
	 * has a code, it is wrong. */
	bool		(*check) (S3Request *request);

	/* The outcome. */
	bool		done;
	StediStatus status;			/* code STEDI_OK: success */
	StediS3Error error;			/* of the last attempt; empty if it had none */
	int			attempts;

	/* Private to s3_request.c. */
	S3Store    *store;
	bool		region_corrected;
	bool		clock_corrected;
	bool		credentials_renewed;
	unsigned	generation;		/* of the credentials that it was signed with */
	StediBytes	url;
	StediBytes	authority;
	StediBytes	authorization;
	char		date[STEDI_SIGV4_DATE_SIZE];
	char		payload_sha256[STEDI_SHA256_HEX_SIZE];
};

extern void stedi_s3_request_init(S3Request *request, S3Store *store, const char *action,
								  const char *method, const char *key);
extern void stedi_s3_request_query(S3Request *request, const char *name, const char *value);
extern void stedi_s3_request_header(S3Request *request, const char *name, const char *value);

/* Send; returns at once. */
extern void stedi_s3_request_start(S3Request *request);
/* Wait until it is done.  False: cancelled, or it failed. */
extern bool stedi_s3_request_finish(S3Request *request, const StediWaiter *waiter,
									StediStatus *status);
/* Start and finish. */
extern bool stedi_s3_request_run(S3Request *request, const StediWaiter *waiter,
								 StediStatus *status);
/* Also stops one that is under way.  Idempotent; fine on zeroed memory. */
extern void stedi_s3_request_free(S3Request *request);

/*
 * The one way to let transfers move: as stedi_http_step() and stedi_http_poll(),
 * but with credentials that are good.  Requests are signed in there, by
 * callbacks that cannot wait; so what needs waiting for, waits here.
 */
extern bool stedi_s3_step(S3Store *store, const StediWaiter *waiter, StediStatus *status);
extern bool stedi_s3_poll(S3Store *store, const StediWaiter *waiter, StediStatus *status);

/* Method of the store: see stedi_store_identify(). */
extern bool stedi_s3_identify(StediStore *base, StediStoreIdentity *identity, StediStatus *status);

/* "bucket "x"" or "object "s3://x/y"", for messages. */
extern void stedi_s3_describe(const S3Store *store, const char *key, char *text, size_t size);

/* A malloc'd copy without quotes and weakness mark; NULL if out of memory. */
extern char *stedi_s3_plain_etag(const char *etag);

/* Methods of the store, from s3_get.c and s3_put.c. */
extern StediGet *stedi_s3_get(StediStore *base, const StediObject *object, StediStatus *status);
extern ssize_t stedi_s3_get_read(StediGet *base, void *buffer, size_t size, StediStatus *status);
extern void stedi_s3_get_close(StediGet *base);
extern StediPut *stedi_s3_put(StediStore *base, const char *key,
							  const StediPutOptions *options, StediStatus *status);
extern bool stedi_s3_put_write(StediPut *base, const void *data, size_t length,
							   StediStatus *status);
extern bool stedi_s3_put_commit(StediPut *base, char **etag, StediStatus *status);
extern bool stedi_s3_put_abort(StediPut *base, long timeout_ms);
extern void stedi_s3_put_close(StediPut *base);

#endif							/* STEDI_STORE_S3_INTERNAL_H */
