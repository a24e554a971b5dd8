/*
 * worklist.c
 *		The objects of a URI that are still to be loaded, in key order.
 *
 * They are listed, and the ledger is asked about them, a page at a time.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "pg/ledger.h"
#include "pg/worklist.h"

#define PAGE_OBJECTS		1000	/* one page of S3 */

struct StediWorklist
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

static bool list_page(StediWorklist *list);

StediWorklist *
stedi_worklist_begin(StediLake *lake, Oid target, const char *after, bool force)
{
	StediWorklist *list = palloc0(sizeof(StediWorklist));

	list->lake = lake;
	list->target = target;
	list->force = force;
	list->page_context = AllocSetContextCreate(CurrentMemoryContext, "stedi page",
												  ALLOCSET_DEFAULT_SIZES);
	list->listing = stedi_lake_list(lake, after);
	return list;
}

const StediObject *
stedi_worklist_peek(StediWorklist *list)
{
	for (;;)
	{
		for (; list->next < list->size; list->next++)
		{
			if (list->is_pending[list->next])
				return &list->page[list->next];
		}
		if (!list_page(list))
			return NULL;
	}
}

const StediObject *
stedi_worklist_next(StediWorklist *list)
{
	const StediObject *object = stedi_worklist_peek(list);

	if (object != NULL)
	{
		list->next++;
		list->known--;
	}
	return object;
}

int
stedi_worklist_known(const StediWorklist *list)
{
	return list->known;
}

int64
stedi_worklist_listed(const StediWorklist *list)
{
	return list->listed;
}

/* List the next page and ask the ledger which of its objects are pending. */
static bool
list_page(StediWorklist *list)
{
	MemoryContext old;

	if (list->listing->done)
		return false;

	MemoryContextReset(list->page_context);
	old = MemoryContextSwitchTo(list->page_context);
	list->size = 0;
	list->next = 0;
	list->known = 0;
	while (list->size < PAGE_OBJECTS)
	{
		StediObject *object = stedi_lake_next(list->listing);

		if (object == NULL)
			break;
		list->page[list->size] = *object;
		list->uris[list->size] = stedi_lake_uri(list->lake, object->key);
		list->size++;
	}
	list->listed += list->size;

	if (list->force)
		memset(list->is_pending, true, sizeof(list->is_pending));
	else if (list->size > 0)
		stedi_ledger_pending(list->target, list->size, list->uris, list->page,
							 list->is_pending);
	for (int i = 0; i < list->size; i++)
		list->known += list->is_pending[i];
	MemoryContextSwitchTo(old);
	return list->size > 0;
}
