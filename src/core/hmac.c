/*
 * hmac.c
 *		HMAC-SHA-256 (RFC 2104, FIPS 180-4) of many messages under one key.
 *
 * OpenSSL's HMAC() looks up its algorithms and digests the padded key for every
 * message, which takes several times as long as a short message itself.  Here both
 * are done once.
 */
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>

#include "core/hmac.h"

#define BLOCK_SIZE 64

struct StediHmac
{
	EVP_MD_CTX *inner;			/* has digested the key in the inner padding */
	EVP_MD_CTX *outer;
	EVP_MD_CTX *digest;			/* of the message that is under way */
};

static EVP_MD_CTX *digest_padded(const unsigned char key[BLOCK_SIZE], unsigned char padding);

StediHmac *
stedi_hmac_create(const void *key, size_t key_length)
{
	StediHmac  *hmac = calloc(1, sizeof(StediHmac));
	unsigned char block[BLOCK_SIZE] = {0};
	bool		done = hmac != NULL;

	if (key_length > BLOCK_SIZE)
		done = done && EVP_Digest(key, key_length, block, NULL, EVP_sha256(), NULL);
	else if (key_length > 0)
		memcpy(block, key, key_length);
	if (done)
	{
		hmac->inner = digest_padded(block, 0x36);
		hmac->outer = digest_padded(block, 0x5c);
		hmac->digest = EVP_MD_CTX_new();
		done = hmac->inner != NULL && hmac->outer != NULL && hmac->digest != NULL;
	}
	OPENSSL_cleanse(block, sizeof(block));
	if (!done)
	{
		ERR_clear_error();
		stedi_hmac_free(hmac);
		return NULL;
	}
	return hmac;
}

void
stedi_hmac_free(StediHmac *hmac)
{
	if (hmac == NULL)
		return;
	EVP_MD_CTX_free(hmac->inner);
	EVP_MD_CTX_free(hmac->outer);
	EVP_MD_CTX_free(hmac->digest);
	free(hmac);
}

bool
stedi_hmac_begin(StediHmac *hmac)
{
	if (EVP_MD_CTX_copy_ex(hmac->digest, hmac->inner))
		return true;
	ERR_clear_error();
	return false;
}

bool
stedi_hmac_add(StediHmac *hmac, const void *data, size_t length)
{
	if (EVP_DigestUpdate(hmac->digest, data, length))
		return true;
	ERR_clear_error();
	return false;
}

bool
stedi_hmac_end(StediHmac *hmac, unsigned char out[STEDI_HMAC_SIZE])
{
	if (EVP_DigestFinal_ex(hmac->digest, out, NULL) &&
		EVP_MD_CTX_copy_ex(hmac->digest, hmac->outer) &&
		EVP_DigestUpdate(hmac->digest, out, STEDI_HMAC_SIZE) &&
		EVP_DigestFinal_ex(hmac->digest, out, NULL))
		return true;
	ERR_clear_error();
	return false;
}

/* NULL: there is no memory. */
static EVP_MD_CTX *
digest_padded(const unsigned char key[BLOCK_SIZE], unsigned char padding)
{
	EVP_MD_CTX *digest = EVP_MD_CTX_new();
	unsigned char block[BLOCK_SIZE];
	bool		done;

	for (int i = 0; i < BLOCK_SIZE; i++)
		block[i] = key[i] ^ padding;
	done = digest != NULL && EVP_DigestInit_ex(digest, EVP_sha256(), NULL) &&
		EVP_DigestUpdate(digest, block, sizeof(block));
	OPENSSL_cleanse(block, sizeof(block));
	if (!done)
	{
		EVP_MD_CTX_free(digest);
		return NULL;
	}
	return digest;
}
