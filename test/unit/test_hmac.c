/*
 * test_hmac.c
 *		Messages under one key, one after the other, have OpenSSL's HMAC.
 */
#include <openssl/hmac.h>

#include <string.h>

#include "core/hmac.h"
#include "tap.h"

#define MAX_LENGTH 200

static void
test_published(void)
{
	static const unsigned char rfc4231_2[STEDI_HMAC_SIZE] = {
		0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e, 0x6a, 0x04, 0x24, 0x26, 0x08, 0x95, 0x75, 0xc7,
		0x5a, 0x00, 0x3f, 0x08, 0x9d, 0x27, 0x39, 0x83, 0x9d, 0xec, 0x58, 0xb9, 0x64, 0xec, 0x38, 0x43
	};
	StediHmac  *hmac = stedi_hmac_create("Jefe", 4);
	unsigned char out[STEDI_HMAC_SIZE];

	for (int i = 0; i < 2; i++)
	{
		ok(stedi_hmac_begin(hmac) && stedi_hmac_add(hmac, "what do ya want ", 16) &&
		   stedi_hmac_add(hmac, "", 0) && stedi_hmac_add(hmac, "for nothing?", 12) &&
		   stedi_hmac_end(hmac, out) && memcmp(out, rfc4231_2, sizeof(out)) == 0,
		   "RFC 4231, test case 2, in pieces");
		ok(stedi_hmac_begin(hmac) && stedi_hmac_add(hmac, "given up", 8), "a message that is not ended");
	}
	stedi_hmac_free(hmac);
}

/* Keys longer than a block are digested first. */
static void
test_lengths(void)
{
	unsigned char bytes[MAX_LENGTH];
	int			different = 0;

	for (int i = 0; i < MAX_LENGTH; i++)
		bytes[i] = (unsigned char) (i * 7 + 1);
	for (size_t key_length = 0; key_length <= MAX_LENGTH; key_length++)
	{
		StediHmac  *hmac = stedi_hmac_create(bytes, key_length);

		for (size_t length = 0; length <= MAX_LENGTH; length += 9)
		{
			unsigned char out[STEDI_HMAC_SIZE];
			unsigned char expected[STEDI_HMAC_SIZE];

			HMAC(EVP_sha256(), bytes, (int) key_length, bytes, length, expected, NULL);
			if (!stedi_hmac_begin(hmac) || !stedi_hmac_add(hmac, bytes, length) ||
				!stedi_hmac_end(hmac, out) || memcmp(out, expected, sizeof(out)) != 0)
				different++;
		}
		stedi_hmac_free(hmac);
	}
	is_int(different, 0, "keys and messages of every length");
}

int
main(void)
{
	test_published();
	test_lengths();
	return tap_done();
}
