/*
 * pseudonym.c
 *		stedi.pseudonym(): a keyed hash that stands for a person or a device.
 *
 * It has the form of a UUID of version 8, which RFC 9562 leaves to whoever makes
 * it: 122 bits of the hash, in half the bytes of hex digits.
 *
 * The key is read with the rights of whoever runs the query, which is the
 * extension's owner while a zone is refreshed.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/uuid.h"

#include "pg/compat.h"
#include "pg/keyed_hash.h"

PG_FUNCTION_INFO_V1(stedi_pseudonym);

StaticAssertDecl(STEDI_KEYED_HASH_BYTES == UUID_LEN, "a pseudonym is a UUID");

PGDLLEXPORT Datum
stedi_pseudonym(PG_FUNCTION_ARGS)
{
	text	   *kind = PG_GETARG_TEXT_PP(0);
	text	   *value = PG_GETARG_TEXT_PP(1);
	pg_uuid_t  *uuid = palloc(sizeof(pg_uuid_t));

	/* The key is the same for all rows of a query. */
	if (fcinfo->flinfo->fn_extra == NULL)
		fcinfo->flinfo->fn_extra = stedi_read_key("pseudonym_key", fcinfo->flinfo->fn_mcxt);
	stedi_keyed_digest(fcinfo->flinfo->fn_extra, VARDATA_ANY(kind), VARSIZE_ANY_EXHDR(kind),
					   VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value), uuid->data);
	/* RFC 9562, section 5.8: version and variant */
	uuid->data[6] = (uuid->data[6] & 0x0F) | 0x80;
	uuid->data[8] = (uuid->data[8] & 0x3F) | 0x80;
	PG_RETURN_UUID_P(uuid);
}
