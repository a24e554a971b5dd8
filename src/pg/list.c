/*
 * list.c
 *		stedi.list_objects(): what a URI names.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "pg/lake.h"

PG_FUNCTION_INFO_V1(stedi_list_objects);

PGDLLEXPORT Datum
stedi_list_objects(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	StediLake  *lake;
	StediLakeListing *listing;
	MemoryContext row_context;

	InitMaterializedSRF(fcinfo, 0);
	lake = stedi_lake_open(text_to_cstring(PG_GETARG_TEXT_PP(0)), STEDI_READ, false);
	listing = stedi_lake_list(lake, NULL);
	row_context = AllocSetContextCreate(CurrentMemoryContext, "stedi list", ALLOCSET_DEFAULT_SIZES);

	for (;;)
	{
		MemoryContext old = MemoryContextSwitchTo(row_context);
		StediObject *object = stedi_lake_next(listing);

		if (object != NULL)
		{
			Datum		values[5];
			bool		nulls[5] = {0};

			values[0] = CStringGetTextDatum(stedi_lake_uri(lake, object->key));
			values[1] = Int64GetDatum((int64) object->size);
			values[2] = TimestampTzGetDatum(stedi_unix_timestamp(object->last_modified));
			values[3] = CStringGetTextDatum(object->etag);
			nulls[4] = object->version_id == NULL;
			if (!nulls[4])
				values[4] = CStringGetTextDatum(object->version_id);
			tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
		}
		MemoryContextSwitchTo(old);
		if (object == NULL)
			break;
		MemoryContextReset(row_context);
		stedi_lake_check(lake);
	}
	stedi_lake_close(lake);
	return (Datum) 0;
}
