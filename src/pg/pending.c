/*
 * pending.c
 *		The objects of a URI that are still to be loaded, in key order.
 *
 * They are listed, and the ledger is asked about them, a page at a time.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "pg/ledger.h"
#include "pg/pending.h"

#define PAGE_OBJECTS		1000	/* one page of S3 */

struct StediPending
{
	StediLake  *lake;
	StediLakeListing *listing;
	Oid			target;
	bool		force;
	MemoryContext page_context; /* reset for each page */
	StediObject page[PAGE_OBJECTS];
	char	   *uris[PAGE_OBJECTS];
	bool		is_pending[PAGE_OBJECTS];
	int			size;
	int			next;
	int			known;			/* pending, from next on */
	int64		listed;
};

static bool list_page(StediPending *pending);

StediPending *
stedi_pending_begin(StediLake *lake, Oid target, const char *after, bool force)
{
	StediPending *pending = palloc0(sizeof(StediPending));

	pending->lake = lake;
	pending->target = target;
	pending->force = force;
	pending->page_context = AllocSetContextCreate(CurrentMemoryContext, "stedi page",
												  ALLOCSET_DEFAULT_SIZES);
	pending->listing = stedi_lake_list(lake, after);
	return pending;
}

const StediObject *
stedi_pending_peek(StediPending *pending)
{
	for (;;)
	{
		for (; pending->next < pending->size; pending->next++)
		{
			if (pending->is_pending[pending->next])
				return &pending->page[pending->next];
		}
		if (!list_page(pending))
			return NULL;
	}
}

const StediObject *
stedi_pending_next(StediPending *pending)
{
	const StediObject *object = stedi_pending_peek(pending);

	if (object != NULL)
	{
		pending->next++;
		pending->known--;
	}
	return object;
}

int
stedi_pending_known(const StediPending *pending)
{
	return pending->known;
}

int64
stedi_pending_listed(const StediPending *pending)
{
	return pending->listed;
}

/* List the next page and ask the ledger which of its objects are pending. */
static bool
list_page(StediPending *pending)
{
	MemoryContext old;

	if (pending->listing->done)
		return false;

	MemoryContextReset(pending->page_context);
	old = MemoryContextSwitchTo(pending->page_context);
	pending->size = 0;
	pending->next = 0;
	pending->known = 0;
	while (pending->size < PAGE_OBJECTS)
	{
		StediObject *object = stedi_lake_next(pending->listing);

		if (object == NULL)
			break;
		pending->page[pending->size] = *object;
		pending->uris[pending->size] = stedi_lake_uri(pending->lake, object->key);
		pending->size++;
	}
	pending->listed += pending->size;

	if (pending->force)
		memset(pending->is_pending, true, sizeof(pending->is_pending));
	else if (pending->size > 0)
		stedi_ledger_pending(pending->target, pending->size, pending->uris, pending->page,
							 pending->is_pending);
	for (int i = 0; i < pending->size; i++)
		pending->known += pending->is_pending[i];
	MemoryContextSwitchTo(old);
	return pending->size > 0;
}
