/*
 * hmac.h
 *		HMAC-SHA-256 of many messages under one key.
 */
#ifndef STEDI_CORE_HMAC_H
#define STEDI_CORE_HMAC_H

#include <stdbool.h>
#include <stddef.h>

#define STEDI_HMAC_SIZE 32

typedef struct StediHmac StediHmac;

/* NULL: there is no memory.  The caller frees it; the key is not needed longer. */
extern StediHmac *stedi_hmac_create(const void *key, size_t key_length);
extern void stedi_hmac_free(StediHmac *hmac);

/* A message, in as many pieces as it comes, then its HMAC.  False: it failed, and
 * the next message begins. */
extern bool stedi_hmac_begin(StediHmac *hmac);
extern bool stedi_hmac_add(StediHmac *hmac, const void *data, size_t length);
extern bool stedi_hmac_end(StediHmac *hmac, unsigned char out[STEDI_HMAC_SIZE]);

#endif							/* STEDI_CORE_HMAC_H */
