/*
 * encoder.h
 *		Compression (gzip, zstd) beside the caller, in threads.
 *
 * The data is cut into chunks, each of which becomes a gzip member (RFC 1952,
 * 2.2) or a zstd frame (RFC 8878, 3.1) of its own; one after another they are
 * one stream.  Nothing but the compression happens in a thread: it sees its
 * chunk and malloc'd memory, and no signal.  What is shorter than a chunk is
 * compressed where it is, without a thread.  Equal input gives equal output,
 * except where stedi_encoder_sync() was called.
 */
#ifndef STEDI_CORE_ENCODER_H
#define STEDI_CORE_ENCODER_H

#include <stddef.h>

#include "core/codec.h"

typedef struct StediEncoder StediEncoder;

/* Takes the compressed bytes, in the caller's thread.  False: failed, see status. */
typedef bool (*StediEncoderOutput) (void *arg, const void *data, size_t length,
									StediStatus *status);

/* compression GZIP or ZSTD.  NULL only when out of memory. */
extern StediEncoder *stedi_encoder_new(StediCompression compression,
									   StediEncoderOutput output, void *arg);
/* Also in the middle of something: waits for the chunks being compressed, a few
 * milliseconds.  NULL is fine. */
extern void stedi_encoder_free(StediEncoder *encoder);

/*
 * Add data; outputs what is done.  Waits, a few milliseconds, while all chunks
 * are being compressed.  After a failure the encoder is good for nothing but to
 * be freed.
 */
extern bool stedi_encoder_write(StediEncoder *encoder, const void *data, size_t length,
								StediStatus *status);
/* Bytes added that are not output yet. */
extern size_t stedi_encoder_pending(const StediEncoder *encoder);
/* Compress and output all that is pending. */
extern bool stedi_encoder_sync(StediEncoder *encoder, StediStatus *status);
/* The same, at the end; no data at all gives one valid, empty member or frame. */
extern bool stedi_encoder_finish(StediEncoder *encoder, StediStatus *status);

#endif							/* STEDI_CORE_ENCODER_H */
