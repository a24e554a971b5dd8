/*
 * keyed_hash.c
 *		HMAC-SHA-256 of a value under a key that is kept in a table.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "core/sigv4.h"

#include "pg/compat.h"
#include "pg/keyed_hash.h"

bytea *
stedi_read_key(const char *table, MemoryContext context)
{
	char	   *command = psprintf("SELECT key FROM stedi.%s", quote_identifier(table));
	bytea	   *key;
	bool		isnull;

	SPI_connect();
	if (SPI_execute(command, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read stedi.%s", table);
	if (SPI_processed != 1)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("stedi.%s must hold one key", table)));
	key = DatumGetByteaPP(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	key = memcpy(MemoryContextAlloc(context, VARSIZE_ANY(key)), key, VARSIZE_ANY(key));
	SPI_finish();
	return key;
}

void
stedi_keyed_hash(const bytea *key, const char *kind, size_t kind_length,
				 const char *value, size_t length, char hash[STEDI_KEYED_HASH_SIZE])
{
	unsigned char digest[32];
	StringInfoData message;

	initStringInfo(&message);
	appendBinaryStringInfo(&message, kind, (int) kind_length);
	appendStringInfoChar(&message, '\0');
	appendBinaryStringInfo(&message, value, (int) length);
	if (!stedi_hmac_sha256(VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key),
						   message.data, message.len, digest))
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("could not compute HMAC-SHA-256")));
	pfree(message.data);
	hex_encode((const char *) digest, STEDI_KEYED_HASH_BYTES, hash);
	hash[STEDI_KEYED_HASH_SIZE - 1] = '\0';
}
