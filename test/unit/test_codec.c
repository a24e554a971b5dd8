/*
 * test_codec.c
 *		Decompression at every chunk size, and what is damaged.
 */
#include <stdint.h>
#include <stdlib.h>

#include <zlib.h>
#include <zstd.h>

#include "core/bytes.h"
#include "core/codec.h"
#include "tap.h"

#define LENGTH(a)	((int) (sizeof(a) / sizeof((a)[0])))

static const char text[] =
	"{\"sensorReadingTime\":1655564376361,\"serialNumber\":\"a\",\"distanceFromObject\":215}\n"
	"{\"sensorReadingTime\":1655564376362,\"serialNumber\":\"b\",\"distanceFromObject\":216}\n";

/* Decode data as a caller does: input in chunks, last with the final one, or
 * alone after it when last_alone; output in pieces. */
static bool
decode(StediCompression compression, const void *data, size_t length,
	   size_t chunk, size_t piece, bool last_alone,
	   StediBytes *out, StediCompression *turned_out, StediStatus *status)
{
	StediDecoder *decoder = stedi_decoder_new(compression);
	char	   *buffer = malloc(piece);
	size_t		position = 0;
	bool		done = true;
	bool		last = false;

	stedi_bytes_init(out, 0);
	while (done && !last)
	{
		size_t		remaining = length - position;
		size_t		given = remaining < chunk ? remaining : chunk;
		/* an exact copy, so that reading beyond the chunk is noticed */
		char	   *copy = given > 0 ? malloc(given) : NULL;
		size_t		at = 0;

		if (given > 0)
			memcpy(copy, (const char *) data + position, given);
		position += given;
		last = last_alone ? given == 0 : position == length;
		for (;;)
		{
			size_t		used = given - at;
			size_t		made = piece;

			done = stedi_decoder_run(decoder, copy ? copy + at : NULL, &used, last,
									 buffer, &made, status);
			if (!done)
				break;
			at += used;
			stedi_bytes_append(out, buffer, made);
			if (used == 0 && made == 0)
				break;
		}
		if (done && at != given)
		{
			stedi_status_set(status, STEDI_IO, "input was left over");
			done = false;
		}
		free(copy);
	}
	*turned_out = stedi_decoder_compression(decoder);
	stedi_decoder_free(decoder);
	free(buffer);
	return done;
}

/* Decode at many chunk and piece sizes; all must give expected, or all fail with code. */
static void
check(const char *name, StediCompression compression, const void *data, size_t length,
	  StediCompression expected_compression, const char *expected, size_t expected_length,
	  StediCode code)
{
	static const size_t sizes[] = {1, 2, 3, 5, 7, 64, 4096, 1 << 20};
	int			wrong = 0;

	for (int c = 0; c < LENGTH(sizes); c++)
	{
		for (int p = 0; p < LENGTH(sizes); p++)
		{
			for (int alone = 0; alone <= 1; alone++)
			{
				StediBytes	out;
				StediStatus status = {0};
				StediCompression turned_out;
				bool		done = decode(compression, data, length, sizes[c], sizes[p],
										  alone != 0, &out, &turned_out, &status);
				bool		good = expected == NULL ? !done && status.code == code :
					done && turned_out == expected_compression && out.length == expected_length &&
					(expected_length == 0 || memcmp(out.data, expected, expected_length) == 0);

				if (!good && wrong++ == 0)
					printf("# chunk %zu, piece %zu, alone %d: done %d, kind %d, %zu bytes, code %d %s\n",
						   sizes[c], sizes[p], alone, done, turned_out, out.length,
						   status.code, status.message);
				stedi_bytes_free(&out);
			}
		}
	}
	ok(wrong == 0, name);
}

/* One gzip member, made by zlib. */
static void
gzip(StediBytes *out, const void *data, size_t length)
{
	z_stream	zlib = {0};
	size_t		room = compressBound(length) + 32;
	char	   *packed = malloc(room);

	if (deflateInit2(&zlib, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
		abort();
	zlib.next_in = (z_const Bytef *) data;
	zlib.avail_in = (uInt) length;
	zlib.next_out = (Bytef *) packed;
	zlib.avail_out = (uInt) room;
	if (deflate(&zlib, Z_FINISH) != Z_STREAM_END)
		abort();
	stedi_bytes_init(out, 0);
	stedi_bytes_append(out, packed, room - zlib.avail_out);
	deflateEnd(&zlib);
	free(packed);
}

static void
zstd(StediBytes *out, const void *data, size_t length, bool checksum)
{
	ZSTD_CCtx  *context = ZSTD_createCCtx();
	size_t		bound = ZSTD_compressBound(length);

	stedi_bytes_init(out, 0);
	stedi_bytes_reserve(out, bound);
	ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, checksum);
	out->length = ZSTD_compress2(context, out->data, bound, data, length);
	ZSTD_freeCCtx(context);
}

static void
test_plain(void)
{
	static const struct
	{
		const char *name;
		const char *data;
		size_t		length;
	}			cases[] = {
		{"an empty object", "", 0}, {"one byte", "{", 1}, {"two bytes", "{}", 2},
		{"text", text, sizeof(text) - 1},
		{"the first byte of gzip alone", "\x1f", 1}, {"gzip's first byte, then text", "\x1f{}", 3},
		{"the first bytes of zstd alone", "\x28\xb5\x2f", 3},
		{"zstd's first byte, then text", "(a) b", 5},
		{"zstd's first three bytes, then text", "\x28\xb5\x2f{}", 5},
		{"gzip's and zstd's first bytes mixed", "\x1f\xb5\x2f\xfd", 4},
	};

	for (int i = 0; i < LENGTH(cases); i++)
	{
		check(cases[i].name, STEDI_COMPRESSION_AUTO, cases[i].data, cases[i].length,
			  STEDI_COMPRESSION_NONE, cases[i].data, cases[i].length, STEDI_OK);
		check(cases[i].name, STEDI_COMPRESSION_NONE, cases[i].data, cases[i].length,
			  STEDI_COMPRESSION_NONE, cases[i].data, cases[i].length, STEDI_OK);
	}
	check("NONE passes gzip through", STEDI_COMPRESSION_NONE, "\x1f\x8b\x08", 3,
		  STEDI_COMPRESSION_NONE, "\x1f\x8b\x08", 3, STEDI_OK);
	check("no gzip member at all is empty", STEDI_COMPRESSION_GZIP, "", 0,
		  STEDI_COMPRESSION_GZIP, "", 0, STEDI_OK);
	check("no zstd frame at all is empty", STEDI_COMPRESSION_ZSTD, "", 0,
		  STEDI_COMPRESSION_ZSTD, "", 0, STEDI_OK);
}

/* Is the data corrupt, with the same output before that, whatever the sizes? */
static bool
fails_alike(const char *data, size_t length)
{
	static const size_t sizes[][2] = {{4096, 4096}, {1, 1}, {1, 4096}, {4096, 1}, {64, 7}};
	StediBytes	first;
	bool		alike = true;

	for (int i = 0; i < LENGTH(sizes); i++)
	{
		StediBytes	out;
		StediStatus status = {0};
		StediCompression turned_out;

		alike &= !decode(STEDI_COMPRESSION_AUTO, data, length, sizes[i][0], sizes[i][1],
						 i == 1, i == 0 ? &first : &out, &turned_out, &status) &&
			status.code == STEDI_CORRUPT;
		if (i == 0)
			continue;
		alike = alike && out.length == first.length &&
			(out.length == 0 || memcmp(out.data, first.data, out.length) == 0);
		stedi_bytes_free(&out);
	}
	stedi_bytes_free(&first);
	return alike;
}

/* What holds for both formats.  packed: the text in it; empty: nothing in it. */
static void
test_format(const char *format, StediCompression kind, const StediBytes *packed,
			const StediBytes *empty)
{
	StediBytes	data;
	StediBytes	twice;
	char		label[100];
	int			wrong = 0;

	printf("# %s\n", format);
	stedi_bytes_init(&data, 0);
	stedi_bytes_init(&twice, 0);
	stedi_bytes_append_text(&twice, text);
	stedi_bytes_append_text(&twice, text);

	check("is recognised and decoded", STEDI_COMPRESSION_AUTO, packed->data, packed->length,
		  kind, text, sizeof(text) - 1, STEDI_OK);
	check("is decoded when asked for", kind, packed->data, packed->length,
		  kind, text, sizeof(text) - 1, STEDI_OK);
	check("nothing in it", STEDI_COMPRESSION_AUTO, empty->data, empty->length, kind, "", 0, STEDI_OK);

	stedi_bytes_append(&data, packed->data, packed->length);
	stedi_bytes_append(&data, empty->data, empty->length);
	stedi_bytes_append(&data, packed->data, packed->length);
	check("concatenated, an empty one among them", STEDI_COMPRESSION_AUTO, data.data, data.length,
		  kind, twice.data, twice.length, STEDI_OK);

	stedi_bytes_reset(&data);
	stedi_bytes_append(&data, packed->data, packed->length);
	for (int junk = 1; junk <= 5; junk++)
	{
		stedi_bytes_append_char(&data, 'x');
		snprintf(label, sizeof(label), "%d bytes of junk at the end", junk);
		check(label, STEDI_COMPRESSION_AUTO, data.data, data.length, kind, NULL, 0, STEDI_CORRUPT);
	}
	check("text that is not compressed", kind, text, sizeof(text) - 1, kind, NULL, 0, STEDI_CORRUPT);

	/* cut short anywhere after the magic bytes */
	for (size_t length = 4; length < packed->length; length++)
		wrong += !fails_alike(packed->data, length);
	is_int(wrong, 0, "cut short anywhere it is damaged, and what comes before is the same at every size");

	/* one bit of the last byte: of the checksum or the length */
	stedi_bytes_reset(&data);
	stedi_bytes_append(&data, packed->data, packed->length);
	data.data[data.length - 1] ^= 1;
	check("a wrong trailer", STEDI_COMPRESSION_AUTO, data.data, data.length, kind, NULL, 0, STEDI_CORRUPT);

	stedi_bytes_free(&data);
	stedi_bytes_free(&twice);
}

static void
test_gzip(void)
{
	/* made by gzip(1) -n -9 */
	static const unsigned char foreign[] = {
		0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0xab, 0xae,
		0xe5, 0x02, 0x00, 0x06, 0xb0, 0xa1, 0xdd, 0x03, 0x00, 0x00, 0x00
	};
	StediBytes	packed;
	StediBytes	empty;
	int			wrong = 0;

	gzip(&packed, text, sizeof(text) - 1);
	gzip(&empty, "", 0);
	test_format("gzip", STEDI_COMPRESSION_GZIP, &packed, &empty);
	check("gzip: a file of gzip(1)", STEDI_COMPRESSION_AUTO, foreign, sizeof(foreign),
		  STEDI_COMPRESSION_GZIP, "{}\n", 3, STEDI_OK);

	for (size_t i = 10; i < packed.length; i++)
	{
		packed.data[i] ^= 0x55;
		wrong += !fails_alike(packed.data, packed.length);
		packed.data[i] ^= 0x55;
	}
	is_int(wrong, 0, "gzip: a wrong byte anywhere is noticed, after the same output at every size");

	packed.data[packed.length - 5] ^= 1;
	check("gzip: a wrong checksum", STEDI_COMPRESSION_AUTO, packed.data, packed.length,
		  STEDI_COMPRESSION_GZIP, NULL, 0, STEDI_CORRUPT);
	stedi_bytes_free(&packed);
	stedi_bytes_free(&empty);
}

static void
test_zstd(void)
{
	static const unsigned char skippable[] = {0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 'a', 'b', 'c'};
	/* an empty frame that asks for a window of 2^28, and one of 2^27 bytes */
	static const unsigned char large[] = {0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x90, 1, 0, 0};
	static const unsigned char largest[] = {0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x88, 1, 0, 0};
	StediBytes	packed;
	StediBytes	empty;
	StediBytes	data;
	StediBytes	out;
	StediStatus status;
	StediCompression turned_out;

	zstd(&packed, text, sizeof(text) - 1, true);
	zstd(&empty, "", 0, false);
	test_format("zstd", STEDI_COMPRESSION_ZSTD, &packed, &empty);

	/* without a checksum all input may be used while output is still waiting */
	zstd(&data, text, sizeof(text) - 1, false);
	check("zstd: no checksum", STEDI_COMPRESSION_AUTO, data.data, data.length,
		  STEDI_COMPRESSION_ZSTD, text, sizeof(text) - 1, STEDI_OK);
	stedi_bytes_free(&data);

	stedi_bytes_append(&data, packed.data, packed.length);
	stedi_bytes_append(&data, skippable, sizeof(skippable));
	check("zstd: a skippable frame at the end", STEDI_COMPRESSION_AUTO, data.data, data.length,
		  STEDI_COMPRESSION_ZSTD, text, sizeof(text) - 1, STEDI_OK);
	check("zstd: a window that is too large", STEDI_COMPRESSION_AUTO, large, sizeof(large),
		  STEDI_COMPRESSION_ZSTD, NULL, 0, STEDI_LIMIT);
	ok(decode(STEDI_COMPRESSION_AUTO, largest, sizeof(largest), 3, 10, false, &out, &turned_out, &status),
	   "zstd: the largest window");
	stedi_bytes_free(&out);
	stedi_bytes_free(&data);
	stedi_bytes_free(&packed);
	stedi_bytes_free(&empty);
}

/* A body that outgrows every internal buffer and hardly compresses, then one that compresses 1,000 fold. */
static void
test_large(void)
{
	size_t		length = 3 << 20;
	char	   *data = malloc(length);
	uint32_t	state = 1;

	for (int round = 0; round < 2; round++)
	{
		StediBytes	packed[2];

		for (size_t i = 0; i < length; i++)
		{
			state = state * 1664525 + 1013904223;
			data[i] = round == 0 ? (char) (state >> 24) : 'a';
		}
		gzip(&packed[0], data, length);
		zstd(&packed[1], data, length, true);
		for (int i = 0; i < 2; i++)
		{
			StediBytes	out;
			StediStatus status;
			StediCompression turned_out;

			ok(decode(STEDI_COMPRESSION_AUTO, packed[i].data, packed[i].length, 65536, 60000, false,
					  &out, &turned_out, &status) &&
			   out.length == length && memcmp(out.data, data, length) == 0,
			   i == 0 ? "a large gzip body" : "a large zstd body");
			stedi_bytes_free(&out);
			stedi_bytes_free(&packed[i]);
		}
	}
	free(data);
}

int
main(void)
{
	test_plain();
	test_gzip();
	test_zstd();
	test_large();
	stedi_decoder_free(NULL);
	return tap_done();
}
