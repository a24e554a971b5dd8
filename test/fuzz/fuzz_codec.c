/*
 * fuzz_codec.c
 *		Damaged and hostile compressed data; and that the chunks in which data
 *		comes make no difference.
 *
 * Input: a byte for the compression, two for the sizes of chunks and pieces, two
 * for a damage, then the data.  The data is decoded as it is, and it is
 * compressed in two members, which are decoded whole, cut short, and with one
 * byte changed: checksums must tell.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "core/encoder.h"

#define MAX_OUTPUT	(1 << 20)	/* a small input may stand for gigabytes */

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(bool condition)
{
	if (!condition)
		abort();
}

/* Decode all; out->failed if there is more than MAX_OUTPUT. */
static StediCode
decode(StediCompression compression, const uint8_t *data, size_t size,
	   size_t chunk, size_t piece, StediBytes *out)
{
	StediDecoder *decoder = stedi_decoder_new(compression);
	StediStatus status = {0};
	char	   *buffer = malloc(piece);
	size_t		position = 0;
	bool		last;

	stedi_bytes_init(out, MAX_OUTPUT);
	do
	{
		size_t		given = size - position < chunk ? size - position : chunk;
		size_t		at = 0;

		last = position + given == size;
		for (;;)
		{
			size_t		used = given - at;
			size_t		made = piece;

			if (!stedi_decoder_run(decoder, data + position + at, &used, last,
								   buffer, &made, &status))
				require(status.code == STEDI_CORRUPT || status.code == STEDI_LIMIT);
			if (status.code != STEDI_OK || !stedi_bytes_append(out, buffer, made))
				break;
			require(used <= given - at && made <= piece);
			at += used;
			if (used == 0 && made == 0)
				break;
		}
		if (status.code == STEDI_OK && !out->failed)
			require(at == given);
		position += given;
	} while (!last && status.code == STEDI_OK && !out->failed);

	stedi_decoder_free(decoder);
	free(buffer);
	return status.code;
}

static bool
take(void *arg, const void *data, size_t length, StediStatus *status)
{
	(void) status;
	return stedi_bytes_append(arg, data, length);
}

/* In pieces, and in two members: *first_member is where the second begins. */
static void
encode(StediCompression compression, const uint8_t *data, size_t size, size_t piece,
	   StediBytes *out, size_t *first_member)
{
	StediEncoder *encoder = stedi_encoder_new(compression, take, out);
	StediStatus status;
	bool		synced = false;

	stedi_bytes_init(out, 0);
	*first_member = 0;
	for (size_t at = 0; at < size; at += piece)
	{
		if (!synced && at >= size / 2)
		{
			require(stedi_encoder_sync(encoder, &status));
			require(stedi_encoder_pending(encoder) == 0);
			*first_member = out->length;
			synced = true;
		}
		require(stedi_encoder_write(encoder, data + at, size - at < piece ? size - at : piece, &status));
	}
	require(stedi_encoder_finish(encoder, &status));
	stedi_encoder_free(encoder);
}

static bool
is_equal(const StediBytes *bytes, const uint8_t *data, size_t size)
{
	return bytes->length == size && (size == 0 || memcmp(bytes->data, data, size) == 0);
}

static void
try_damage(StediCompression compression, const StediBytes *packed, size_t first_member,
		   uint8_t flip, uint8_t where, size_t chunk, size_t piece,
		   const uint8_t *data, size_t size)
{
	size_t		position = packed->length * where / 256;
	uint8_t    *damaged = malloc(packed->length);
	StediBytes	out;
	StediCode	code;

	memcpy(damaged, packed->data, packed->length);
	if (flip == 0)
	{
		code = decode(compression, damaged, position, chunk, piece, &out);
		if (position == 0 || position == first_member)
			require(code == STEDI_OK);
		else
			require(code == STEDI_CORRUPT);
	}
	else
	{
		damaged[position] ^= flip;
		code = decode(compression, damaged, packed->length, chunk, piece, &out);
		require(out.failed || code != STEDI_OK || is_equal(&out, data, size));
	}
	stedi_bytes_free(&out);
	free(damaged);
}

static void
try_round_trip(StediCompression compression, uint8_t flip, uint8_t where,
			   size_t chunk, size_t piece, const uint8_t *data, size_t size)
{
	StediBytes	packed;
	StediBytes	out;
	size_t		first_member;

	encode(compression, data, size, piece, &packed, &first_member);
	require(decode(STEDI_COMPRESSION_AUTO, (const uint8_t *) packed.data, packed.length,
				   chunk, piece, &out) == STEDI_OK);
	require(is_equal(&out, data, size));
	stedi_bytes_free(&out);
	try_damage(compression, &packed, first_member, flip, where, chunk, piece, data, size);
	stedi_bytes_free(&packed);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	StediCompression compression;
	StediBytes	one;
	StediBytes	two;
	StediCode	code_one;
	StediCode	code_two;
	size_t		chunk;
	size_t		piece;
	uint8_t		flip;
	uint8_t		where;

	if (size < 5)
		return 0;
	compression = (StediCompression) (data[0] % 4);
	chunk = (size_t) data[1] + 1;
	piece = (size_t) data[2] + 1;
	flip = data[3];
	where = data[4];
	data += 5;
	size -= 5;

	code_one = decode(compression, data, size, size + 1, 65536, &one);
	code_two = decode(compression, data, size, chunk, piece, &two);
	if (!one.failed && !two.failed)
	{
		require(code_one == code_two);
		/* libzstd loses the output of a call that fails */
		if (code_one == STEDI_OK || compression == STEDI_COMPRESSION_GZIP)
			require(is_equal(&two, (const uint8_t *) one.data, one.length));
	}
	stedi_bytes_free(&one);
	stedi_bytes_free(&two);

	try_round_trip(STEDI_COMPRESSION_GZIP, flip, where, chunk, piece, data, size);
	try_round_trip(STEDI_COMPRESSION_ZSTD, flip, where, chunk, piece, data, size);
	return 0;
}
