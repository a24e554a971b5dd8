/*
 * test_encoder.c
 *		Compression in threads: what comes out is whole, in order and the same again.
 */
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/bytes.h"
#include "core/encoder.h"
#include "tap.h"

#define CHUNK	(1024 * 1024)	/* the encoder's */
#define LENGTH(a)	((int) (sizeof(a) / sizeof((a)[0])))

static const StediCompression kinds[] = {STEDI_COMPRESSION_GZIP, STEDI_COMPRESSION_ZSTD};

typedef struct Output
{
	StediBytes	bytes;
	pthread_t	caller;
	int			elsewhere;		/* calls from another thread */
	int			calls_left;		/* before it fails; -1: never */
} Output;

static bool
take(void *arg, const void *data, size_t length, StediStatus *status)
{
	Output	   *output = arg;

	output->elsewhere += !pthread_equal(pthread_self(), output->caller);
	if (output->calls_left == 0)
		return stedi_status_set(status, STEDI_IO, "no space left");
	if (output->calls_left > 0)
		output->calls_left--;
	return stedi_bytes_append(&output->bytes, data, length);
}

static void
output_init(Output *output)
{
	memset(output, 0, sizeof(*output));
	stedi_bytes_init(&output->bytes, 0);
	output->caller = pthread_self();
	output->calls_left = -1;
}

/* Text that compresses about as readings do. */
static char *
sample(size_t length)
{
	char	   *data = malloc(length + 64);
	uint64_t	random = 1;

	for (size_t at = 0; at < length;)
	{
		random = random * UINT64_C(6364136223846793005) + 1;
		at += (size_t) sprintf(data + at, "{\"timestamp\":%llu,\"x\":%d}\n",
							   (unsigned long long) (random >> 34), (int) (random >> 60));
	}
	return data;
}

static bool
encode(StediCompression kind, const char *data, size_t length, size_t piece, Output *output)
{
	StediEncoder *encoder = stedi_encoder_new(kind, take, output);
	StediStatus status = {0};
	bool		done = true;

	for (size_t at = 0; done && at < length; at += piece)
		done = stedi_encoder_write(encoder, data + at, length - at < piece ? length - at : piece, &status);
	done = done && stedi_encoder_finish(encoder, &status) && stedi_encoder_pending(encoder) == 0;
	stedi_encoder_free(encoder);
	return done;
}

static bool
decodes_to(const StediBytes *packed, const char *data, size_t length)
{
	StediDecoder *decoder = stedi_decoder_new(STEDI_COMPRESSION_AUTO);
	char	   *out = malloc(length + 1);
	StediStatus status = {0};
	size_t		used_all = 0;
	size_t		made_all = 0;
	bool		done;

	for (;;)
	{
		size_t		used = packed->length - used_all;
		size_t		made = length + 1 - made_all;

		done = stedi_decoder_run(decoder, packed->data + used_all, &used, true,
								 out + made_all, &made, &status);
		used_all += used;
		made_all += made;
		if (!done || (used == 0 && made == 0))
			break;
	}
	done = done && used_all == packed->length && made_all == length && memcmp(out, data, length) == 0;
	stedi_decoder_free(decoder);
	free(out);
	return done;
}

static void
test_sizes(StediCompression kind)
{
	static const size_t lengths[] = {0, 1, 1000, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK,
	7 * CHUNK + 12345};
	static const size_t pieces[] = {777, 65536, 3 * CHUNK};
	char	   *data = sample(8 * CHUNK);
	int			wrong = 0;
	int			different = 0;
	int			elsewhere = 0;

	for (int i = 0; i < LENGTH(lengths); i++)
	{
		Output		first;

		for (int j = 0; j < LENGTH(pieces); j++)
		{
			Output		output;

			output_init(&output);
			wrong += !encode(kind, data, lengths[i], pieces[j], &output) ||
				output.bytes.length == 0 || !decodes_to(&output.bytes, data, lengths[i]);
			elsewhere += output.elsewhere;
			if (j == 0)
				first = output;
			else
			{
				different += output.bytes.length != first.bytes.length ||
					memcmp(output.bytes.data, first.bytes.data, first.bytes.length) != 0;
				stedi_bytes_free(&output.bytes);
			}
		}
		stedi_bytes_free(&first.bytes);
	}
	ok(wrong == 0, kind == STEDI_COMPRESSION_GZIP ? "gzip of every size decodes to the input" :
	   "zstd of every size decodes to the input");
	ok(different == 0, "equal input gives equal output, whatever the pieces");
	ok(elsewhere == 0, "all output comes in the caller's thread");
	free(data);
}

static void
test_gzip_header(void)
{
	Output		output;

	output_init(&output);
	encode(STEDI_COMPRESSION_GZIP, "x", 1, 1, &output);
	ok(output.bytes.length > 10 && memcmp(output.bytes.data, "\x1f\x8b\x08\0\0\0\0\0", 8) == 0,
	   "the gzip header has no flags, no name and no time");
	stedi_bytes_free(&output.bytes);
}

static void
test_sync(StediCompression kind)
{
	char	   *data = sample(3 * CHUNK);
	Output		output;
	StediEncoder *encoder;
	StediStatus status = {0};
	bool		done;

	output_init(&output);
	encoder = stedi_encoder_new(kind, take, &output);
	done = stedi_encoder_write(encoder, data, 1000, &status);
	is_int((long long) stedi_encoder_pending(encoder), 1000, "what was written is pending");
	is_int((long long) output.bytes.length, 0, "... and not output");
	done = done && stedi_encoder_sync(encoder, &status);
	is_int((long long) stedi_encoder_pending(encoder), 0, "after a sync nothing is pending");
	ok(decodes_to(&output.bytes, data, 1000), "... and what was written is output");
	done = done && stedi_encoder_sync(encoder, &status) &&
		stedi_encoder_write(encoder, data + 1000, 2 * CHUNK, &status) &&
		stedi_encoder_sync(encoder, &status) &&
		stedi_encoder_write(encoder, data + 1000 + 2 * CHUNK, 5, &status) &&
		stedi_encoder_finish(encoder, &status);
	ok(done && decodes_to(&output.bytes, data, 1005 + 2 * CHUNK), "after syncs it goes on");
	stedi_encoder_free(encoder);
	stedi_bytes_free(&output.bytes);
	free(data);
}

static void
test_failure(StediCompression kind)
{
	char	   *data = sample(8 * CHUNK);
	StediEncoder *encoder;
	StediStatus status = {0};
	Output		output;

	output_init(&output);
	output.calls_left = 1;
	encoder = stedi_encoder_new(kind, take, &output);
	ok(!(stedi_encoder_write(encoder, data, 8 * CHUNK, &status) &&
		 stedi_encoder_finish(encoder, &status)) && status.code == STEDI_IO,
	   "a failure of the output is the caller's to see");
	stedi_encoder_free(encoder);
	stedi_bytes_free(&output.bytes);

	output_init(&output);
	encoder = stedi_encoder_new(kind, take, &output);
	ok(stedi_encoder_write(encoder, data, 4 * CHUNK, &status), "freed in the middle of something");
	stedi_encoder_free(encoder);	/* the sanitizers look on */
	stedi_bytes_free(&output.bytes);
	stedi_encoder_free(NULL);
	free(data);
}

static pthread_t handled_in;

static void
handle(int signal_number)
{
	(void) signal_number;
	handled_in = pthread_self();
}

/* Signals sent to the process while the caller blocks them stay pending. */
static void
test_signals(void)
{
	char	   *data = sample(8 * CHUNK);
	sigset_t	set;
	sigset_t	saved;
	Output		output;
	StediEncoder *encoder;
	StediStatus status = {0};
	pthread_t	none;

	memset(&none, 0, sizeof(none));
	handled_in = none;
	signal(SIGUSR1, handle);
	output_init(&output);
	encoder = stedi_encoder_new(STEDI_COMPRESSION_GZIP, take, &output);
	stedi_encoder_write(encoder, data, 2 * CHUNK, &status);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, &saved);
	kill(getpid(), SIGUSR1);
	stedi_encoder_write(encoder, data, 6 * CHUNK, &status);
	usleep(10000);
	ok(pthread_equal(handled_in, none), "no signal is handled in a thread of the encoder");
	pthread_sigmask(SIG_SETMASK, &saved, NULL);
	ok(pthread_equal(handled_in, pthread_self()), "... but in the caller's");
	stedi_encoder_free(encoder);
	stedi_bytes_free(&output.bytes);
	free(data);
}

int
main(void)
{
	test_gzip_header();
	for (int i = 0; i < LENGTH(kinds); i++)
	{
		test_sizes(kinds[i]);
		test_sync(kinds[i]);
		test_failure(kinds[i]);
	}
	test_signals();
	return tap_done();
}
