/*
 * scan.c
 *		From an open object to its records: read, decompress, split.
 *
 *	 StediGet --(1)--> input --(2)--> reader's window --(3)--> records
 *
 *	 1. bytes as stored, from the store's buffer
 *	 2. decompressed; skipped, reading straight into the window, once the object
 *	    has turned out not to be compressed
 *	 3. core/json_reader
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "pg/clock.h"
#include "pg/scan.h"
#include "pg/settings.h"

#define INPUT_SIZE (128 * 1024)

struct StediScan
{
	StediLake  *lake;
	StediGet   *get;
	StediDecoder *decoder;
	StediJsonReader *reader;
	char	   *input;
	size_t		input_start;
	size_t		input_end;
	bool		input_done;		/* the store has no more bytes */
	uint64		bytes;
	uint64		stored_bytes;
	instr_time	waited;			/* for the store */
	MemoryContextCallback callback;
};

static bool fill_window(StediScan *scan, StediStatus *status);
static bool read_input(StediScan *scan, char *buffer, size_t size, size_t *length,
					   StediStatus *status);
static void release_scan(void *arg);

StediScan *
stedi_scan_begin(StediLake *lake, StediGet *get, const StediJsonSchema *schema,
				 StediCompression compression, bool want_rescued)
{
	StediScan  *scan = palloc0(sizeof(StediScan));
	StediJsonReaderOptions options = {0};

	scan->lake = lake;
	scan->get = get;
	scan->callback.func = release_scan;
	scan->callback.arg = scan;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &scan->callback);

	options.max_record_size = (size_t) stedi_max_record_size * 1024;
	options.want_rescued = want_rescued;
	scan->input = palloc(INPUT_SIZE);
	scan->decoder = stedi_decoder_new(compression);
	scan->reader = stedi_json_reader_new(schema, &options);
	if (scan->decoder == NULL || scan->reader == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	return scan;
}

StediJsonEvent
stedi_scan_next(StediScan *scan, StediJsonRecord *record, StediStatus *status)
{
	for (;;)
	{
		StediJsonEvent event = stedi_json_reader_next(scan->reader, record, status);

		if (event != STEDI_JSON_NEED_INPUT)
			return event;
		stedi_lake_check(scan->lake);
		if (!fill_window(scan, status))
		{
			if (status->code == STEDI_CANCELLED)
				stedi_lake_fail(scan->lake, status);
			return STEDI_JSON_FAILED;
		}
	}
}

/* Put at least one byte into the reader's window, or tell it that all is there. */
static bool
fill_window(StediScan *scan, StediStatus *status)
{
	size_t		space;
	char	   *window = stedi_json_reader_space(scan->reader, &space);
	size_t		produced = 0;

	if (window == NULL)
		return stedi_status_set(status, STEDI_NO_MEMORY, "out of memory");

	if (scan->input_start == scan->input_end && !scan->input_done &&
		stedi_decoder_compression(scan->decoder) == STEDI_COMPRESSION_NONE)
	{
		if (!read_input(scan, window, space, &produced, status))
			return false;
	}

	while (produced == 0)
	{
		size_t		used;

		if (scan->input_start == scan->input_end && !scan->input_done)
		{
			scan->input_start = 0;
			if (!read_input(scan, scan->input, INPUT_SIZE, &scan->input_end, status))
				return false;
		}

		used = scan->input_end - scan->input_start;
		produced = space;
		if (!stedi_decoder_run(scan->decoder, scan->input + scan->input_start, &used,
							   scan->input_done, window, &produced, status))
			return false;
		scan->input_start += used;

		if (produced == 0 && used == 0 && scan->input_done)
		{
			stedi_json_reader_finish(scan->reader);
			return true;
		}
	}

	scan->bytes += produced;
	stedi_json_reader_filled(scan->reader, produced);
	return true;
}

static bool
read_input(StediScan *scan, char *buffer, size_t size, size_t *length, StediStatus *status)
{
	instr_time	begun;
	ssize_t		got;

	INSTR_TIME_SET_CURRENT(begun);
	got = stedi_get_read(scan->get, buffer, size, status);
	stedi_add_time(&scan->waited, begun);
	if (got < 0)
		return false;
	scan->input_done = got == 0;
	scan->stored_bytes += (uint64) got;
	*length = (size_t) got;
	return true;
}

uint64
stedi_scan_line(const StediScan *scan)
{
	return stedi_json_reader_line(scan->reader);
}

uint64
stedi_scan_bytes(const StediScan *scan)
{
	return scan->bytes;
}

uint64
stedi_scan_stored_bytes(const StediScan *scan)
{
	return scan->stored_bytes;
}

int64
stedi_scan_waited(const StediScan *scan)
{
	return (int64) INSTR_TIME_GET_MICROSEC(scan->waited);
}

void
stedi_scan_end(StediScan *scan)
{
	/* The lake may be gone already, and then it has closed the get. */
	if (scan->lake->store != NULL)
		stedi_get_close(scan->get);
	scan->get = NULL;
	stedi_decoder_free(scan->decoder);
	scan->decoder = NULL;
	stedi_json_reader_free(scan->reader);
	scan->reader = NULL;
}

static void
release_scan(void *arg)
{
	stedi_scan_end(arg);
}

const char *
stedi_compression_name(StediCompression compression)
{
	switch (compression)
	{
		case STEDI_COMPRESSION_GZIP:
			return "gzip";
		case STEDI_COMPRESSION_ZSTD:
			return "zstd";
		default:
			return "none";
	}
}

StediCompression
stedi_compression_option(const char *value, bool reading)
{
	if (pg_strcasecmp(value, "none") == 0)
		return STEDI_COMPRESSION_NONE;
	if (pg_strcasecmp(value, "gzip") == 0)
		return STEDI_COMPRESSION_GZIP;
	if (pg_strcasecmp(value, "zstd") == 0)
		return STEDI_COMPRESSION_ZSTD;
	if (reading && pg_strcasecmp(value, "auto") == 0)
		return STEDI_COMPRESSION_AUTO;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown compression \"%s\"", value),
			 errhint("Valid values are %snone, gzip and zstd.", reading ? "auto, " : "")));
	pg_unreachable();
}
