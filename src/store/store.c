/*
 * store.c
 *		The object store interface: dispatch to an implementation, and the lists
 *		of open handles by which closing a store closes what is still open.
 */
#include <stdlib.h>
#include <string.h>

#include "store/store_internal.h"

static void link_handle(StediStore *store, StediHandle **list, StediHandle *handle);
static void unlink_handle(StediHandle **list, StediHandle *handle);

static void
link_handle(StediStore *store, StediHandle **list, StediHandle *handle)
{
	handle->store = store;
	handle->prev = NULL;
	handle->next = *list;
	if (*list != NULL)
		(*list)->prev = handle;
	*list = handle;
}

static void
unlink_handle(StediHandle **list, StediHandle *handle)
{
	if (handle->prev != NULL)
		handle->prev->next = handle->next;
	else
		*list = handle->next;
	if (handle->next != NULL)
		handle->next->prev = handle->prev;
}

void
stedi_store_close(StediStore *store)
{
	if (store == NULL)
		return;
	while (store->listings != NULL)
		stedi_listing_close((StediListing *) store->listings);
	while (store->gets != NULL)
		stedi_get_close((StediGet *) store->gets);
	while (store->puts != NULL)
		stedi_put_close((StediPut *) store->puts);
	store->methods->close(store);
}

StediListing *
stedi_store_list(StediStore *store, const char *prefix, StediStatus *status)
{
	StediListing *listing = store->methods->list(store, prefix, status);

	if (listing != NULL)
		link_handle(store, &store->listings, &listing->handle);
	return listing;
}

bool
stedi_listing_after(StediListing *listing, const char *key, StediStatus *status)
{
	free(listing->after);
	listing->after = strdup(key);
	return listing->after != NULL || stedi_no_memory(status);
}

int
stedi_listing_next(StediListing *listing, StediObject *object, StediStatus *status)
{
	for (;;)
	{
		int			got = listing->handle.store->methods->listing_next(listing, object, status);

		if (got != 1 || listing->after == NULL || strcmp(object->key, listing->after) > 0)
			return got;
		stedi_object_free(object);
	}
}

void
stedi_listing_close(StediListing *listing)
{
	StediStore *store;

	if (listing == NULL)
		return;
	store = listing->handle.store;
	unlink_handle(&store->listings, &listing->handle);
	free(listing->after);
	store->methods->listing_close(listing);
}

bool
stedi_store_head(StediStore *store, const char *key, StediObject *object,
				 StediStatus *status)
{
	return store->methods->head(store, key, object, status);
}

StediGet *
stedi_store_get(StediStore *store, const StediObject *object, StediStatus *status)
{
	StediGet   *get = store->methods->get(store, object, status);

	if (get != NULL)
		link_handle(store, &store->gets, &get->handle);
	return get;
}

ssize_t
stedi_get_read(StediGet *get, void *buffer, size_t size, StediStatus *status)
{
	return get->handle.store->methods->get_read(get, buffer, size, status);
}

void
stedi_get_close(StediGet *get)
{
	StediStore *store;

	if (get == NULL)
		return;
	store = get->handle.store;
	unlink_handle(&store->gets, &get->handle);
	store->methods->get_close(get);
}

StediPut *
stedi_store_put(StediStore *store, const char *key, const StediPutOptions *options,
				StediStatus *status)
{
	static const StediPutOptions defaults = {0};
	StediPut   *put = store->methods->put(store, key, options ? options : &defaults,
										  status);

	if (put != NULL)
		link_handle(store, &store->puts, &put->handle);
	return put;
}

bool
stedi_put_write(StediPut *put, const void *data, size_t length, StediStatus *status)
{
	return put->handle.store->methods->put_write(put, data, length, status);
}

bool
stedi_put_commit(StediPut *put, char **etag, StediStatus *status)
{
	*etag = NULL;
	return put->handle.store->methods->put_commit(put, etag, status);
}

bool
stedi_put_abort(StediPut *put, long timeout_ms)
{
	bool		clean;

	if (put == NULL)
		return true;
	clean = put->handle.store->methods->put_abort(put, timeout_ms);
	stedi_put_close(put);
	return clean;
}

void
stedi_put_close(StediPut *put)
{
	StediStore *store;

	if (put == NULL)
		return;
	store = put->handle.store;
	unlink_handle(&store->puts, &put->handle);
	store->methods->put_close(put);
}

bool
stedi_store_delete(StediStore *store, const char *key, StediStatus *status)
{
	return store->methods->remove(store, key, status);
}

bool
stedi_store_list_uploads(StediStore *store, const char *prefix, StediUploadPage *page,
						 StediStatus *status)
{
	return store->methods->list_uploads(store, prefix, page, status);
}

bool
stedi_store_abort_upload(StediStore *store, const StediUpload *upload,
						 StediStatus *status)
{
	return store->methods->abort_upload(store, upload, status);
}

bool
stedi_store_identify(StediStore *store, StediStoreIdentity *identity, StediStatus *status)
{
	if (store->methods->identify != NULL)
		return store->methods->identify(store, identity, status);
	return stedi_status_set(status, STEDI_UNSUPPORTED, "files are read and written without credentials");
}

int
stedi_store_max_fds(const StediStore *store)
{
	return store->methods->max_fds(store);
}

bool
stedi_waiter_wait(const StediWaiter *waiter, int fd, long timeout_ms, StediStatus *status)
{
	if (waiter->wait(waiter->arg, fd, timeout_ms))
		return true;
	return stedi_status_set(status, STEDI_CANCELLED, "canceled while using the object store");
}

void
stedi_waiter_forget(const StediWaiter *waiter)
{
	/* if it says stop, it says so again to whoever waits next */
	(void) waiter->wait(waiter->arg, -1, 0);
}

bool
stedi_no_memory(StediStatus *status)
{
	return stedi_status_set(status, STEDI_NO_MEMORY, "out of memory");
}

bool
stedi_upload_page_add(StediUploadPage *page, StediUpload *upload, StediStatus *status)
{
	/* grow at powers of two, so that the page needs no capacity member */
	if ((page->n_uploads & (page->n_uploads - 1)) == 0)
	{
		size_t		capacity = page->n_uploads == 0 ? 1 : page->n_uploads * 2;
		StediUpload *uploads = realloc(page->uploads, capacity * sizeof(*uploads));

		if (uploads == NULL)
		{
			free(upload->key);
			free(upload->upload_id);
			return stedi_no_memory(status);
		}
		page->uploads = uploads;
	}
	page->uploads[page->n_uploads++] = *upload;
	return true;
}
