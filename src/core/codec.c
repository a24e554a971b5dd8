/*
 * codec.c
 *		Streaming decompression (gzip, zstd).
 *
 * A decoder that is told AUTO keeps the first bytes back until they tell what
 * the input is, then decodes them ahead of the rest.
 */
#include <stdlib.h>
#include <string.h>

#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "core/codec.h"

#define MAGIC_SIZE			4	/* the longer of the two */
#define GZIP_WINDOW_BITS	(15 + 16)	/* largest window, gzip header and trailer */
#define ZSTD_WINDOW_LOG_MAX	27	/* 128 MiB, what zstd takes without --long */
#define MAX_STEP			((size_t) 1 << 30)	/* zlib counts in unsigned int */

static const unsigned char gzip_magic[] = {0x1f, 0x8b};
static const unsigned char zstd_magic[] = {0x28, 0xb5, 0x2f, 0xfd};

struct StediDecoder
{
	StediCompression compression;
	unsigned char magic[MAGIC_SIZE];	/* bytes kept back */
	size_t		n_magic;
	size_t		magic_used;
	bool		has_zlib;
	z_stream	zlib;
	ZSTD_DStream *zstd;
	bool		whole;			/* between members or frames */
	bool		drained;		/* nothing more comes out without more input */
	StediStatus failure;		/* what is reported once all output before it is out */
};

static bool detect(StediDecoder *decoder, const unsigned char *in, size_t *in_length,
				   bool last);
static bool may_become(const StediDecoder *decoder, const unsigned char *magic, size_t size);
static bool start(StediDecoder *decoder, StediStatus *status);
static void step(StediDecoder *decoder, const void *in, size_t *in_length,
				 void *out, size_t *out_length);
static void step_gzip(StediDecoder *decoder, const void *in, size_t *in_length,
					  void *out, size_t *out_length);
static void step_zstd(StediDecoder *decoder, const void *in, size_t *in_length,
					  void *out, size_t *out_length);
static void copy(const void *in, size_t *in_length, void *out, size_t *out_length);
static size_t smaller(size_t a, size_t b);

StediDecoder *
stedi_decoder_new(StediCompression compression)
{
	StediDecoder *decoder = calloc(1, sizeof(*decoder));

	if (decoder != NULL)
	{
		decoder->compression = compression;
		/* no members at all are a stream, too: an empty object is no error */
		decoder->whole = true;
		decoder->drained = true;
	}
	return decoder;
}

void
stedi_decoder_free(StediDecoder *decoder)
{
	if (decoder == NULL)
		return;
	if (decoder->has_zlib)
		inflateEnd(&decoder->zlib);
	ZSTD_freeDStream(decoder->zstd);
	free(decoder);
}

StediCompression
stedi_decoder_compression(const StediDecoder *decoder)
{
	return decoder->compression;
}

bool
stedi_decoder_run(StediDecoder *decoder, const void *in, size_t *in_length, bool last,
				  void *out, size_t *out_length, StediStatus *status)
{
	const unsigned char *source = in != NULL ? in : (const void *) "";
	unsigned char *target = out;
	size_t		available = *in_length;
	size_t		room = *out_length;
	size_t		used = 0;
	size_t		made = 0;
	bool		progress = true;

	*in_length = 0;
	*out_length = 0;

	if (decoder->compression == STEDI_COMPRESSION_AUTO)
	{
		used = available;
		if (!detect(decoder, source, &used, last))
		{
			*in_length = used;
			return true;
		}
	}
	if (!start(decoder, status))
		return false;

	while (progress && made < room && decoder->failure.code == STEDI_OK)
	{
		bool		from_magic = decoder->magic_used < decoder->n_magic;
		const unsigned char *from = from_magic ? decoder->magic + decoder->magic_used : source + used;
		size_t		waiting = from_magic ? decoder->n_magic - decoder->magic_used : available - used;
		size_t		taken = smaller(waiting, MAX_STEP);
		size_t		given = smaller(room - made, MAX_STEP);

		step(decoder, from, &taken, target + made, &given);
		if (from_magic)
			decoder->magic_used += taken;
		else
			used += taken;
		made += given;
		progress = taken > 0 || given > 0;
	}

	*in_length = used;
	*out_length = made;
	if (made > 0)
		return true;
	if (decoder->failure.code == STEDI_OK &&
		last && used == available && decoder->drained && !decoder->whole)
		stedi_status_set(&decoder->failure, STEDI_CORRUPT, "%s data ends too early",
						 decoder->compression == STEDI_COMPRESSION_GZIP ? "gzip" : "zstd");
	if (decoder->failure.code != STEDI_OK)
	{
		*status = decoder->failure;
		return false;
	}
	return true;
}

/*
 * Take bytes until it is clear what they are.  Says whether it is.
 */
static bool
detect(StediDecoder *decoder, const unsigned char *in, size_t *in_length, bool last)
{
	size_t		available = *in_length;
	size_t		used = 0;

	while (decoder->compression == STEDI_COMPRESSION_AUTO)
	{
		if (decoder->n_magic == sizeof(gzip_magic) &&
			may_become(decoder, gzip_magic, sizeof(gzip_magic)))
			decoder->compression = STEDI_COMPRESSION_GZIP;
		else if (decoder->n_magic == sizeof(zstd_magic) &&
				 may_become(decoder, zstd_magic, sizeof(zstd_magic)))
			decoder->compression = STEDI_COMPRESSION_ZSTD;
		else if (!may_become(decoder, gzip_magic, sizeof(gzip_magic)) &&
				 !may_become(decoder, zstd_magic, sizeof(zstd_magic)))
			decoder->compression = STEDI_COMPRESSION_NONE;
		else if (used < available)
			decoder->magic[decoder->n_magic++] = in[used++];
		else if (last)
			decoder->compression = STEDI_COMPRESSION_NONE;
		else
			break;
	}
	*in_length = used;
	return decoder->compression != STEDI_COMPRESSION_AUTO;
}

static bool
may_become(const StediDecoder *decoder, const unsigned char *magic, size_t size)
{
	return decoder->n_magic <= size && memcmp(decoder->magic, magic, decoder->n_magic) == 0;
}

/* Make the library's stream when it is first needed. */
static bool
start(StediDecoder *decoder, StediStatus *status)
{
	if (decoder->compression == STEDI_COMPRESSION_GZIP && !decoder->has_zlib)
	{
		if (inflateInit2(&decoder->zlib, GZIP_WINDOW_BITS) != Z_OK)
			return stedi_status_set(status, STEDI_NO_MEMORY, "out of memory");
		decoder->has_zlib = true;
	}
	else if (decoder->compression == STEDI_COMPRESSION_ZSTD && decoder->zstd == NULL)
	{
		decoder->zstd = ZSTD_createDStream();
		if (decoder->zstd == NULL)
			return stedi_status_set(status, STEDI_NO_MEMORY, "out of memory");
		ZSTD_DCtx_setParameter(decoder->zstd, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG_MAX);
	}
	return true;
}

/* Decode once, at most MAX_STEP each way; using and producing nothing means that
 * more input is needed. */
static void
step(StediDecoder *decoder, const void *in, size_t *in_length,
	 void *out, size_t *out_length)
{
	size_t		room = *out_length;

	if (*in_length == 0 && decoder->drained)
	{
		*out_length = 0;
		return;
	}

	if (decoder->compression == STEDI_COMPRESSION_GZIP)
		step_gzip(decoder, in, in_length, out, out_length);
	else if (decoder->compression == STEDI_COMPRESSION_ZSTD)
		step_zstd(decoder, in, in_length, out, out_length);
	else
		copy(in, in_length, out, out_length);
	decoder->drained = decoder->whole || *out_length < room;
}

static void
step_gzip(StediDecoder *decoder, const void *in, size_t *in_length,
		  void *out, size_t *out_length)
{
	z_stream   *zlib = &decoder->zlib;
	uInt		available = (uInt) *in_length;
	uInt		room = (uInt) *out_length;
	int			result;

	if (decoder->whole)
		inflateReset(zlib);
	zlib->next_in = (z_const Bytef *) in;
	zlib->avail_in = available;
	zlib->next_out = out;
	zlib->avail_out = room;
	result = inflate(zlib, Z_NO_FLUSH);
	*in_length = available - zlib->avail_in;
	*out_length = room - zlib->avail_out;

	decoder->whole = result == Z_STREAM_END;
	if (result == Z_MEM_ERROR)
		stedi_status_set(&decoder->failure, STEDI_NO_MEMORY, "out of memory");
	else if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR)
	{
		stedi_status_set(&decoder->failure, STEDI_CORRUPT, "gzip data is damaged");
		if (zlib->msg != NULL)
			stedi_status_detail(&decoder->failure, "zlib: %s.", zlib->msg);
	}
}

static void
step_zstd(StediDecoder *decoder, const void *in, size_t *in_length,
		  void *out, size_t *out_length)
{
	ZSTD_inBuffer source = {in, *in_length, 0};
	ZSTD_outBuffer target = {out, *out_length, 0};
	size_t		result = ZSTD_decompressStream(decoder->zstd, &target, &source);

	*in_length = source.pos;
	*out_length = target.pos;
	decoder->whole = result == 0;
	if (!ZSTD_isError(result))
		return;

	switch (ZSTD_getErrorCode(result))
	{
		case ZSTD_error_memory_allocation:
			stedi_status_set(&decoder->failure, STEDI_NO_MEMORY, "out of memory");
			break;
		case ZSTD_error_frameParameter_windowTooLarge:
			stedi_status_set(&decoder->failure, STEDI_LIMIT,
							 "zstd data needs a window of more than 128 MB");
			break;
		default:
			stedi_status_set(&decoder->failure, STEDI_CORRUPT, "zstd data is damaged");
			stedi_status_detail(&decoder->failure, "zstd: %s.", ZSTD_getErrorName(result));
			break;
	}
}

static void
copy(const void *in, size_t *in_length, void *out, size_t *out_length)
{
	size_t		length = smaller(*in_length, *out_length);

	if (length > 0)
		memcpy(out, in, length);
	*in_length = length;
	*out_length = length;
}

static size_t
smaller(size_t a, size_t b)
{
	return a < b ? a : b;
}
