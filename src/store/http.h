/*
 * http.h
 *		HTTP transfers on libcurl's multi interface, with waiting injected.
 *
 * An engine drives any number of transfers.  Nothing moves unless somebody is
 * inside stedi_http_step(), and while somebody is, all transfers move.
 *
 * A transfer is one attempt of one request.  The caller owns the struct and may
 * start it again from its finished callback; that is how retries are built.  The
 * callbacks prepare and finished are called from stedi_http_step() outside of
 * libcurl, receive from inside of libcurl: it must not start or stop anything.
 * None of them waits.
 */
#ifndef STEDI_STORE_HTTP_H
#define STEDI_STORE_HTTP_H

#include <stdint.h>
#include <time.h>

#include "core/bytes.h"
#include "core/sigv4.h"
#include "store/store.h"

typedef struct StediHttp StediHttp;
typedef struct StediHttpTransfer StediHttpTransfer;

typedef struct StediHttpConfig
{
	const char *user_agent;		/* NULL: none sent */
	const char *ca_file;		/* NULL: the system's */
	const char *proxy;			/* NULL: none, whatever the environment says */
	long		connect_timeout_ms; /* name, TCP and TLS; 0: libcurl's default */
	long		idle_timeout_ms;	/* no progress for so long ends an attempt; 0: never */
	int			max_connections;	/* transfers that may queue, under way at once */
	int			max_cached;		/* idle connections kept */
} StediHttpConfig;

/* Why a transfer brought no whole reply. */
typedef enum StediHttpError
{
	STEDI_HTTP_OK = 0,			/* it did, whatever the status */
	STEDI_HTTP_UNRESOLVED,		/* no address for the host's name */
	STEDI_HTTP_UNREACHABLE,		/* no connection */
	STEDI_HTTP_TLS_FAILED,		/* the handshake failed */
	STEDI_HTTP_UNTRUSTED,		/* the certificate or the CA file is no good */
	STEDI_HTTP_BROKEN,			/* the connection was lost */
	STEDI_HTTP_TIMED_OUT,		/* connecting took too long, or there was no progress */
	STEDI_HTTP_REFUSED,			/* receive did not want the body */
	STEDI_HTTP_TOO_LARGE,		/* body over reply_limit */
	STEDI_HTTP_NO_MEMORY,
	STEDI_HTTP_INVALID			/* the reply is not HTTP, or libcurl balked */
} StediHttpError;

/* What receive did with the bytes it was given. */
typedef enum StediHttpTake
{
	STEDI_HTTP_TAKEN,
	STEDI_HTTP_FULL,			/* took none: pause until stedi_http_unpause() */
	STEDI_HTTP_REFUSE			/* end the transfer: STEDI_HTTP_REFUSED */
} StediHttpTake;

/* The reply's headers that S3 clients need; "" when missing, clipped when long. */
typedef struct StediHttpHeaders
{
	char		etag[256];		/* as sent, with quotes */
	char		content_range[96];
	char		date[64];
	char		last_modified[64];
	char		retry_after[64];
	char		bucket_region[64];	/* x-amz-bucket-region */
	char		request_id[128];	/* x-amz-request-id */
	char		encryption[32]; /* x-amz-server-side-encryption */
	char		customer_encryption[32];	/* ...-customer-algorithm */
	char		upload_mark[33];	/* x-amz-meta-stedi-upload, see s3_put.c */
	int64_t		content_length; /* -1: not stated */
} StediHttpHeaders;

#define STEDI_HTTP_MAX_HEADERS	16

struct StediHttpTransfer
{
	/* Set once, before the first start. */
	size_t		reply_limit;	/* most bytes of a 2xx body collected in body */
	bool		may_queue;		/* count against max_connections */
	bool		may_trickle;	/* single bytes are progress, too */
	/* Fill in the request below; false: out of memory. */
	bool		(*prepare) (StediHttpTransfer *transfer);
	/* Called when the attempt ended; results below are set. */
	void		(*finished) (StediHttpTransfer *transfer);
	/* Takes 2xx bodies; NULL: collect them in body. */
	StediHttpTake (*receive) (StediHttpTransfer *transfer, const char *data, size_t length);

	/* The request, set by prepare.  Nothing here is owned by the engine. */
	const char *method;
	const char *url;
	StediPair	headers[STEDI_HTTP_MAX_HEADERS];
	int			n_headers;
	const void *request_body;	/* NULL: none, for PUT and POST an empty one */
	size_t		request_length;

	/* Results. */
	StediHttpError error;
	char		error_text[256];	/* libcurl's words */
	long		status;			/* 0: no reply at all */
	StediHttpHeaders reply;
	StediBytes	body;			/* collected; the caller frees it after stop */

	/* The engine's own. */
	StediHttp  *http;			/* NULL unless started */
	StediHttpTransfer *prev;
	StediHttpTransfer *next;
	void	   *easy;			/* NULL while queued */
	void	   *header_list;
	int64_t		start_at;		/* not before; milliseconds */
	int64_t		moved_at;		/* last progress, on the engine's clock of waiting */
	size_t		moved_bytes;	/* since then */
	size_t		sent;
	bool		connected;
	bool		sent_twice;		/* libcurl wanted to, on a fresh connection */
	bool		moved;			/* progress, whatever moved_bytes says */
	bool		paused;
	bool		refused;
	bool		too_large;
};

/* NULL and status on failure.  Strings are copied. */
extern StediHttp *stedi_http_open(const StediHttpConfig *config, StediStatus *status);
/* All transfers must have been stopped.  No I/O but closing.  NULL is fine. */
extern void stedi_http_close(StediHttp *http);

/* Start an attempt, delay_ms from now.  The transfer must not be started. */
extern void stedi_http_start(StediHttp *http, StediHttpTransfer *transfer, long delay_ms);
/* Forget the attempt, whatever its state; finished is not called.  Idempotent. */
extern void stedi_http_stop(StediHttpTransfer *transfer);
/* The caller waits for this one now: it queues no longer. */
extern void stedi_http_hurry(StediHttpTransfer *transfer);
/* Receive has room again. */
extern void stedi_http_unpause(StediHttpTransfer *transfer);

/*
 * Move what can be moved; when nothing could, wait for something to happen.
 * The caller loops until what it waits for has come.  False: the waiter said
 * stop.
 */
extern bool stedi_http_step(StediHttp *http, const StediWaiter *waiter, StediStatus *status);
/* The same without waiting, for a caller that has other things to do. */
extern bool stedi_http_poll(StediHttp *http, const StediWaiter *waiter, StediStatus *status);

/* Seconds since 1970 of an HTTP date. */
extern bool stedi_http_parse_date(const char *text, time_t *seconds);

#endif							/* STEDI_STORE_HTTP_H */
