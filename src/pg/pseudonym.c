/*
 * pseudonym.c
 *		stedi.pseudonym(): a keyed hash that stands for a person or a device.
 *
 * HMAC-SHA-256 (RFC 2104, FIPS 180-4) under the key in stedi.pseudonym_key, over
 * kind, a zero byte and the value, cut to 128 bits.  The key is read with the
 * rights of whoever runs the query, which is the extension's owner while a zone
 * is refreshed.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "core/sigv4.h"

PG_FUNCTION_INFO_V1(stedi_pseudonym);

#define PSEUDONYM_BYTES 16

static bytea *read_key(MemoryContext context);

PGDLLEXPORT Datum
stedi_pseudonym(PG_FUNCTION_ARGS)
{
	text	   *kind = PG_GETARG_TEXT_PP(0);
	text	   *value = PG_GETARG_TEXT_PP(1);
	bytea	   *key = fcinfo->flinfo->fn_extra;
	unsigned char digest[32];
	char		hex[PSEUDONYM_BYTES * 2];
	StringInfoData message;

	if (key == NULL)
	{
		key = read_key(fcinfo->flinfo->fn_mcxt);
		fcinfo->flinfo->fn_extra = key;
	}

	initStringInfo(&message);
	appendBinaryStringInfo(&message, VARDATA_ANY(kind), VARSIZE_ANY_EXHDR(kind));
	appendStringInfoChar(&message, '\0');
	appendBinaryStringInfo(&message, VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
	if (!stedi_hmac_sha256(VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key),
						   message.data, message.len, digest))
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("could not compute HMAC-SHA-256")));
	pfree(message.data);
	hex_encode((const char *) digest, PSEUDONYM_BYTES, hex);
	PG_RETURN_TEXT_P(cstring_to_text_with_len(hex, sizeof(hex)));
}

static bytea *
read_key(MemoryContext context)
{
	bytea	   *key;
	bool		isnull;

	SPI_connect();
	if (SPI_execute("SELECT key FROM stedi.pseudonym_key", true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read stedi.pseudonym_key");
	if (SPI_processed != 1)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("stedi.pseudonym_key must hold one key")));
	key = DatumGetByteaPP(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	key = memcpy(MemoryContextAlloc(context, VARSIZE_ANY(key)), key, VARSIZE_ANY(key));
	SPI_finish();
	return key;
}
