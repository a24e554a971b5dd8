/*
 * fuzz_codec.c
 *		Damaged and hostile compressed data; and that the chunks in which data
 *		comes make no difference.
 *
 * Input: one byte that chooses the compression, two for the sizes of chunks and
 * pieces, then the data.
 *
 * clang -std=c11 -D_GNU_SOURCE -g -O1 -fsanitize=fuzzer,address,undefined \
 *	-fno-sanitize-recover=all -Isrc test/fuzz/fuzz_codec.c \
 *	src/core/codec.c src/core/bytes.c src/core/status.c -lz -lzstd
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

static void
encode(StediCompression compression, const uint8_t *data, size_t size, size_t piece,
	   StediBytes *out)
{
	StediEncoder *encoder = stedi_encoder_new(compression, take, out);
	StediStatus status;

	stedi_bytes_init(out, 0);
	for (size_t at = 0; at < size; at += piece)
		require(stedi_encoder_write(encoder, data + at, size - at < piece ? size - at : piece, &status));
	require(stedi_encoder_finish(encoder, &status));
	stedi_encoder_free(encoder);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	StediCompression compression;
	StediBytes	one;
	StediBytes	two;
	StediBytes	packed;
	StediCode	code_one;
	StediCode	code_two;
	size_t		chunk;
	size_t		piece;
	StediCompression written;

	if (size < 3)
		return 0;
	compression = (StediCompression) (data[0] % 4);
	written = data[0] / 4 % 2 == 0 ? STEDI_COMPRESSION_GZIP : STEDI_COMPRESSION_ZSTD;
	chunk = (size_t) data[1] + 1;
	piece = (size_t) data[2] + 1;
	data += 3;
	size -= 3;

	code_one = decode(compression, data, size, size + 1, 65536, &one);
	code_two = decode(compression, data, size, chunk, piece, &two);
	if (!one.failed && !two.failed)
	{
		require(code_one == code_two);
		/* libzstd loses the output of a call that fails */
		if (code_one == STEDI_OK || compression == STEDI_COMPRESSION_GZIP)
			require(one.length == two.length &&
					(one.length == 0 || memcmp(one.data, two.data, one.length) == 0));
	}
	stedi_bytes_free(&one);
	stedi_bytes_free(&two);

	encode(written, data, size, piece, &packed);
	require(decode(STEDI_COMPRESSION_AUTO, (const uint8_t *) packed.data, packed.length,
				   chunk, piece, &one) == STEDI_OK);
	require(one.length == size && (size == 0 || memcmp(one.data, data, size) == 0));
	stedi_bytes_free(&packed);
	stedi_bytes_free(&one);
	return 0;
}
