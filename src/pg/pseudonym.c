/*
 * pseudonym.c
 *		stedi.pseudonym(): a keyed hash that stands for a person or a device.
 *
 * The key is read with the rights of whoever runs the query, which is the
 * extension's owner while a zone is refreshed.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "pg/compat.h"
#include "pg/keyed_hash.h"

PG_FUNCTION_INFO_V1(stedi_pseudonym);

PGDLLEXPORT Datum
stedi_pseudonym(PG_FUNCTION_ARGS)
{
	text	   *kind = PG_GETARG_TEXT_PP(0);
	text	   *value = PG_GETARG_TEXT_PP(1);
	char		hash[STEDI_KEYED_HASH_SIZE];

	/* The key is the same for all rows of a query. */
	if (fcinfo->flinfo->fn_extra == NULL)
		fcinfo->flinfo->fn_extra = stedi_read_key("pseudonym_key", fcinfo->flinfo->fn_mcxt);
	stedi_keyed_hash(fcinfo->flinfo->fn_extra, VARDATA_ANY(kind), VARSIZE_ANY_EXHDR(kind),
					 VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value), hash);
	PG_RETURN_TEXT_P(cstring_to_text(hash));
}
