/*
 * store_internal.h
 *		What the implementations of store.h share with its dispatcher.
 */
#ifndef STEDI_STORE_STORE_INTERNAL_H
#define STEDI_STORE_STORE_INTERNAL_H

#include "store/store.h"

/*
 * First member of everything opened from a store.  The store keeps its handles
 * in one list per kind, so that closing it finds those the caller dropped.
 */
typedef struct StediHandle
{
	StediStore *store;
	struct StediHandle *prev;
	struct StediHandle *next;
} StediHandle;

struct StediListing
{
	StediHandle handle;
	char	   *after;			/* store.c leaves out what is not after this key; or NULL */
};

struct StediGet
{
	StediHandle handle;
};

struct StediPut
{
	StediHandle handle;
};

/*
 * The methods mean what the functions of store.h say.  An open method returns a
 * handle that store.c links; a close method is called after store.c unlinked
 * the handle, and frees it.
 *
 * put_close and close do no network I/O and may find an upload that is still
 * open; put_abort does not free the put.
 */
typedef struct StediStoreMethods
{
	StediListing *(*list) (StediStore *store, const char *prefix, StediStatus *status);
	int			(*listing_next) (StediListing *listing, StediObject *object,
								 StediStatus *status);
	void		(*listing_close) (StediListing *listing);
	bool		(*head) (StediStore *store, const char *key, StediObject *object,
						 StediStatus *status);
	StediGet   *(*get) (StediStore *store, const StediObject *object, StediStatus *status);
	ssize_t		(*get_read) (StediGet *get, void *buffer, size_t size, StediStatus *status);
	void		(*get_close) (StediGet *get);
	StediPut   *(*put) (StediStore *store, const char *key, const StediPutOptions *options,
						StediStatus *status);
	bool		(*put_write) (StediPut *put, const void *data, size_t length,
							  StediStatus *status);
	bool		(*put_commit) (StediPut *put, char **etag, StediStatus *status);
	bool		(*put_abort) (StediPut *put, long timeout_ms);
	void		(*put_close) (StediPut *put);
	bool		(*remove) (StediStore *store, const char *key, StediStatus *status);
	bool		(*list_uploads) (StediStore *store, const char *prefix,
								 StediUploadPage *page, StediStatus *status);
	bool		(*abort_upload) (StediStore *store, const StediUpload *upload,
								 StediStatus *status);
	/* NULL: it has none */
	bool		(*identify) (StediStore *store, StediStoreIdentity *identity, StediStatus *status);
	int			(*max_fds) (const StediStore *store);
	void		(*close) (StediStore *store);
} StediStoreMethods;

/* First member of an implementation's store. */
struct StediStore
{
	const StediStoreMethods *methods;
	StediWaiter waiter;
	StediHandle *listings;
	StediHandle *gets;
	StediHandle *puts;
};

/* Ask the waiter.  False: it said stop, and status is STEDI_CANCELLED. */
extern bool stedi_waiter_wait(const StediWaiter *waiter, int fd, long timeout_ms,
							  StediStatus *status);

/* Before or after closing a descriptor that was waited for. */
extern void stedi_waiter_forget(const StediWaiter *waiter);

/* Sets STEDI_NO_MEMORY and returns false. */
extern bool stedi_no_memory(StediStatus *status);

/* Append an upload to a page; the strings become the page's, also on failure. */
extern bool stedi_upload_page_add(StediUploadPage *page, StediUpload *upload,
								  StediStatus *status);

#endif							/* STEDI_STORE_STORE_INTERNAL_H */
