/*
 * keyed_hash.h
 *		HMAC-SHA-256 of a value under a key that is kept in a table.
 */
#ifndef STEDI_PG_KEYED_HASH_H
#define STEDI_PG_KEYED_HASH_H

#define STEDI_KEYED_HASH_BYTES 16	/* of the digest's 32 */
#define STEDI_KEYED_HASH_SIZE (2 * STEDI_KEYED_HASH_BYTES + 1)

typedef struct StediKey StediKey;

/*
 * The one key of a table of stedi that has a column "key"; lives as long as context.
 * Read with the current user's rights; 55000 if there is not one key.
 */
extern StediKey *stedi_read_key(const char *table, MemoryContext context);

/*
 * HMAC-SHA-256 under key over kind, a zero byte and the value, cut to 128 bits.
 * kind keeps equal values of different kinds apart.
 */
extern void stedi_keyed_digest(const StediKey *key, const char *kind, size_t kind_length,
							   const char *value, size_t length,
							   unsigned char digest[STEDI_KEYED_HASH_BYTES]);

/* The same in hex digits. */
extern void stedi_keyed_hash(const StediKey *key, const char *kind, size_t kind_length,
							 const char *value, size_t length,
							 char hash[STEDI_KEYED_HASH_SIZE]);

#endif							/* STEDI_PG_KEYED_HASH_H */
