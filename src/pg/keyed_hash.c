/*
 * keyed_hash.c
 *		HMAC-SHA-256 of a value under a key that is kept in a table.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "core/hmac.h"

#include "pg/compat.h"
#include "pg/keyed_hash.h"

struct StediKey
{
	StediHmac  *hmac;
	MemoryContextCallback callback;
};

static void free_key(void *arg);

StediKey *
stedi_read_key(const char *table, MemoryContext context)
{
	char	   *command = psprintf("SELECT key FROM stedi.%s", quote_identifier(table));
	StediKey   *key = MemoryContextAllocZero(context, sizeof(StediKey));
	bytea	   *value;
	bool		isnull;

	SPI_connect();
	if (SPI_execute(command, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read stedi.%s", table);
	if (SPI_processed != 1)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("stedi.%s must hold one key", table)));
	value = DatumGetByteaPP(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	key->callback.func = free_key;
	key->callback.arg = key;
	MemoryContextRegisterResetCallback(context, &key->callback);
	key->hmac = stedi_hmac_create(VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
	if (key->hmac == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("could not prepare HMAC-SHA-256")));
	SPI_finish();
	return key;
}

static void
free_key(void *arg)
{
	stedi_hmac_free(((StediKey *) arg)->hmac);
}

void
stedi_keyed_digest(const StediKey *key, const char *kind, size_t kind_length,
				   const char *value, size_t length, unsigned char digest[STEDI_KEYED_HASH_BYTES])
{
	unsigned char whole[STEDI_HMAC_SIZE];

	if (!stedi_hmac_begin(key->hmac) ||
		!stedi_hmac_add(key->hmac, kind, kind_length) ||
		!stedi_hmac_add(key->hmac, "", 1) ||
		!stedi_hmac_add(key->hmac, value, length) ||
		!stedi_hmac_end(key->hmac, whole))
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("could not compute HMAC-SHA-256")));
	memcpy(digest, whole, STEDI_KEYED_HASH_BYTES);
}

void
stedi_keyed_hash(const StediKey *key, const char *kind, size_t kind_length,
				 const char *value, size_t length, char hash[STEDI_KEYED_HASH_SIZE])
{
	unsigned char digest[STEDI_KEYED_HASH_BYTES];

	stedi_keyed_digest(key, kind, kind_length, value, length, digest);
	hex_encode((const char *) digest, STEDI_KEYED_HASH_BYTES, hash);
	hash[STEDI_KEYED_HASH_SIZE - 1] = '\0';
}
