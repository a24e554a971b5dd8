/*
 * store.h
 *		The object store interface: list, get, put, delete.
 *
 * Two implementations, s3.c and file.c.  Everything above this line is the same
 * for both.
 *
 * A store, and everything opened from it, belongs to one thread.  Blocking
 * calls wait through the injected waiter only, and while one of them waits all
 * transfers of the same store go on (several gets opened ahead are the prefetch
 * window).  The waiter is never called from inside a libcurl call, so it may do
 * what it likes, except to longjmp: it returns false to stop, and the call that
 * waited then fails with STEDI_CANCELLED.
 */
#ifndef STEDI_STORE_STORE_H
#define STEDI_STORE_STORE_H

#include <stdint.h>
#include <sys/types.h>

#include "core/s3_xml.h"
#include "core/status.h"

/*
 * Wait until fd is readable (fd -1: nothing to watch) or timeout_ms has passed
 * (-1: no limit).  Returning early is fine.  False: give up.
 *
 * A waiter may remember fd from one call to the next.  After a call with -1 it
 * must not: the descriptor may be closed, and its number come back as another.
 */
typedef struct StediWaiter
{
	bool		(*wait) (void *arg, int fd, long timeout_ms);
	void	   *arg;
} StediWaiter;

typedef struct StediCredentialProvider StediCredentialProvider;	/* credentials.h */
typedef struct StediCredentials StediCredentials;
typedef struct StediStore StediStore;
typedef struct StediListing StediListing;
typedef struct StediGet StediGet;
typedef struct StediPut StediPut;

typedef enum StediUrlStyle
{
	STEDI_URL_STYLE_VIRTUAL,	/* https://bucket.endpoint/key */
	STEDI_URL_STYLE_PATH		/* https://endpoint/bucket/key */
} StediUrlStyle;

/* Connection settings of one bucket.  All strings are copied by open. */
typedef struct StediS3Config
{
	const char *bucket;
	const char *region;			/* NULL: the credentials', or us-east-1 */
	const char *endpoint;		/* "https://host[:port]"; NULL: AWS's for the region */
	StediUrlStyle url_style;
	const char *ca_file;		/* PEM; NULL: the system's */
	const char *proxy;			/* NULL: none, whatever the environment says */
	StediCredentialProvider *credentials;	/* retained; NULL: the keys that follow */
	const char *access_key_id;	/* NULL: anonymous, requests are not signed */
	const char *secret_access_key;
	const char *session_token;	/* NULL: none */
	const char *server_side_encryption; /* "AES256", "aws:kms", "aws:kms:dsse"; NULL: the bucket's */
	const char *kms_key_id;		/* NULL: the account's; only with one of the last two */
	const char *storage_class;	/* as S3 spells it; NULL: STANDARD */
	bool		requester_pays;	/* the requester, not the bucket's owner, pays */
	const char *user_agent;
	int			max_attempts;	/* per request, 1 = no retry */
	long		connect_timeout_ms;
	long		idle_timeout_ms;	/* no progress for so long: the attempt failed */
	int			max_connections;
	size_t		get_buffer_size;	/* bytes buffered per get before it is paused */
	int			max_ranges;		/* as many again, for the ranges that a large object
								 * is fetched by while it is read; 0: in one stream */
	size_t		part_size;		/* bytes per part of a multipart upload, >= 5 MiB */
	int			max_parts_in_flight;
} StediS3Config;

/* NULL and status on failure.  Opening does no I/O. */
extern StediStore *stedi_store_open_s3(const StediS3Config *config, StediWaiter waiter,
									   StediStatus *status);
extern StediStore *stedi_store_open_file(StediWaiter waiter, StediStatus *status);

/* Close the store and all that was opened from it, without network I/O (an
 * upload that is under way is left to stedi_put_abort or the clean-up of
 * uploads).  NULL is fine. */
extern void stedi_store_close(StediStore *store);

/*
 * List in byte order of keys everything whose key starts with prefix, page by
 * page, memory bounded by the page (the file store holds the names of the
 * directories on the way down).  File store: prefix is an absolute path; the
 * directory part of it is walked; only regular files are listed; a missing
 * directory is an empty listing.
 */
extern StediListing *stedi_store_list(StediStore *store, const char *prefix,
									  StediStatus *status);
/* Before the first next: leave out this key and all before it.  False: no memory. */
extern bool stedi_listing_after(StediListing *listing, const char *key, StediStatus *status);
/* 1: *object is filled and belongs to the caller; 0: end; -1: failed. */
extern int	stedi_listing_next(StediListing *listing, StediObject *object,
							   StediStatus *status);
extern void stedi_listing_close(StediListing *listing); /* NULL is fine */

/* Size, etag etc. of one object (HEAD / stat).  STEDI_NOT_FOUND if there is none. */
extern bool stedi_store_head(StediStore *store, const char *key, StediObject *object,
							 StediStatus *status);

/*
 * Start reading an object; returns without waiting.  The bytes read are those
 * of the version described by object (etag pinned; another one is
 * STEDI_CHANGED) and exactly object->size of them, or an error.
 */
extern StediGet *stedi_store_get(StediStore *store, const StediObject *object,
								 StediStatus *status);
/* > 0: bytes put into buffer; 0: end, all bytes arrived; -1: failed. */
extern ssize_t stedi_get_read(StediGet *get, void *buffer, size_t size,
							  StediStatus *status);
extern void stedi_get_close(StediGet *get); /* NULL is fine */

/*
 * Write an object.  It becomes visible, whole, at commit, or never.  Up to
 * part_size bytes go as one PUT, more as a multipart upload with
 * max_parts_in_flight parts under way while the caller goes on writing.
 *
 * note_upload lets the caller keep a record of uploads that outlives it: it is
 * called before a multipart upload is begun, with NULL, and again when the
 * upload's id is known.  False: the put fails with the status it has set.
 */
typedef struct StediPutOptions
{
	const char *content_type;	/* NULL: application/octet-stream */
	const char *content_encoding;	/* NULL: none */
	bool		(*note_upload) (void *arg, const char *upload_id, StediStatus *status);
	void	   *note_arg;
} StediPutOptions;

extern StediPut *stedi_store_put(StediStore *store, const char *key,
								 const StediPutOptions *options, StediStatus *status);
extern bool stedi_put_write(StediPut *put, const void *data, size_t length,
							StediStatus *status);
/* On success *etag is malloc'd.  On failure the upload is still open: abort it.
 * STEDI_CORRUPT: what was stored is not what was sent, and has been removed. */
extern bool stedi_put_commit(StediPut *put, char **etag, StediStatus *status);
/* Give up: removes what was uploaded, in at most timeout_ms, or less if the waiter
 * says so.  False: something may be left over, which the clean-up finds.  Frees
 * the put.  NULL is fine. */
extern bool stedi_put_abort(StediPut *put, long timeout_ms);
/* Free a put after commit. */
extern void stedi_put_close(StediPut *put);

/* Deleting what does not exist is success, as S3 has it. */
extern bool stedi_store_delete(StediStore *store, const char *key, StediStatus *status);

/*
 * Uploads under way whose key starts with prefix (S3: ListMultipartUploads;
 * file: the temporary files of puts that never ended).  As many pages as there are.  The caller
 * frees page with stedi_upload_page_free().
 */
extern bool stedi_store_list_uploads(StediStore *store, const char *prefix,
									 StediUploadPage *page, StediStatus *status);
extern bool stedi_store_abort_upload(StediStore *store, const StediUpload *upload,
									 StediStatus *status);

/*
 * As whom and where an S3 store sends its requests.  Gets credentials if there
 * are none yet, and so may wait; asks nothing of the store.  The strings but
 * url, which is malloc'd, are the store's, and good until its next call.  False
 * with STEDI_UNSUPPORTED for a file store.
 */
typedef struct StediStoreIdentity
{
	const char *region;
	char	   *url;			/* of the bucket */
	const StediCredentials *credentials;	/* NULL: anonymous */
} StediStoreIdentity;

extern bool stedi_store_identify(StediStore *store, StediStoreIdentity *identity,
								 StediStatus *status);

/* File descriptors a store may hold at once, for the caller's budget. */
extern int	stedi_store_max_fds(const StediStore *store);

#endif							/* STEDI_STORE_STORE_H */
