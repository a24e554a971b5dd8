/*
 * codec.h
 *		Streaming decompression (gzip, zstd).
 *
 * The input's compression is told by its first bytes (RFC 1952: 1f 8b; RFC
 * 8878: 28 b5 2f fd), never by the object's name.
 */
#ifndef STEDI_CORE_CODEC_H
#define STEDI_CORE_CODEC_H

#include <stdint.h>

#include "core/status.h"

typedef enum StediCompression
{
	STEDI_COMPRESSION_AUTO,		/* reading only */
	STEDI_COMPRESSION_NONE,
	STEDI_COMPRESSION_GZIP,
	STEDI_COMPRESSION_ZSTD
} StediCompression;

typedef struct StediDecoder StediDecoder;

/* NULL only when out of memory. */
extern StediDecoder *stedi_decoder_new(StediCompression compression);
extern void stedi_decoder_free(StediDecoder *decoder);	/* NULL is fine */

/*
 * Decode from in to out.  On entry *in_length and *out_length are what is
 * there; on return what was used and what was produced.  Concatenated members
 * and frames are one stream.  last: no more input will come after this; a
 * stream that then is not whole, a checksum that does not match, and junk after the last
 * member are STEDI_CORRUPT.  Call until it neither uses nor produces anything.
 */
extern bool stedi_decoder_run(StediDecoder *decoder,
							  const void *in, size_t *in_length, bool last,
							  void *out, size_t *out_length,
							  StediStatus *status);

/* What it turned out to be (AUTO until enough bytes were seen). */
extern StediCompression stedi_decoder_compression(const StediDecoder *decoder);

#endif							/* STEDI_CORE_CODEC_H */
