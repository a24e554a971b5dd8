/*
 * json_reader_bench.c
 *		Throughput of the JSON reader on accelerometer readings.
 *
 *	 json_reader_bench FILE [ROUNDS]
 *
 * Reads the file into memory once, then parses it ROUNDS times: fills the cells
 * of email (alias user), timestamp, x, y and z, and converts the last three to
 * double.  Prints the rate of every round and the best.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/json_reader.h"

#define CHUNK ((size_t) 256 * 1024)

typedef struct Totals
{
	uint64_t	records;
	uint64_t	rejects;
	int64_t		timestamps;		/* sums, so that nothing can be left out */
	double		axes;
} Totals;

static double
now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double) ts.tv_sec + (double) ts.tv_nsec * 1e-9;
}

static char *
read_file(const char *path, size_t *length)
{
	FILE	   *file = fopen(path, "rb");
	char	   *data = NULL;
	long		size;

	if (file == NULL)
		return NULL;
	if (fseek(file, 0, SEEK_END) == 0 && (size = ftell(file)) >= 0)
	{
		rewind(file);
		*length = (size_t) size;
		data = malloc(*length + 1);
		if (data != NULL && fread(data, 1, *length, file) != *length)
		{
			free(data);
			data = NULL;
		}
	}
	fclose(file);
	return data;
}

static bool
parse(const StediJsonSchema *schema, const char *data, size_t length, Totals *totals)
{
	StediJsonReaderOptions options = {0};
	StediJsonReader *reader = stedi_json_reader_new(schema, &options);
	StediJsonRecord record;
	StediStatus status;
	size_t		fed = 0;

	memset(totals, 0, sizeof(*totals));
	while (reader != NULL)
	{
		switch (stedi_json_reader_next(reader, &record, &status))
		{
			case STEDI_JSON_RECORD:
				totals->records++;
				totals->timestamps += record.cells[1].integer;
				for (int i = 2; i < 5; i++)
				{
					double		value = 0;

					if (record.cells[i].type == STEDI_JSON_NUMBER)
						stedi_json_to_double(record.cells[i].text, record.cells[i].length, &value);
					totals->axes += value;
				}
				break;

			case STEDI_JSON_REJECT:
				totals->rejects++;
				break;

			case STEDI_JSON_NEED_INPUT:
				{
					size_t		n;
					char	   *space = stedi_json_reader_space(reader, &n);

					if (space == NULL)
						return false;
					if (n > CHUNK)
						n = CHUNK;
					if (n > length - fed)
						n = length - fed;
					memcpy(space, data + fed, n);
					fed += n;
					stedi_json_reader_filled(reader, n);
					if (n == 0)
						stedi_json_reader_finish(reader);
					break;
				}

			case STEDI_JSON_END:
				stedi_json_reader_free(reader);
				return true;

			case STEDI_JSON_FAILED:
				fprintf(stderr, "%s\n", status.message);
				stedi_json_reader_free(reader);
				return false;
		}
	}
	return false;
}

int
main(int argc, char **argv)
{
	static const char *const names[] = {"email", "timestamp", "x", "y", "z"};
	int			rounds = argc > 2 ? atoi(argv[2]) : 5;
	size_t		length = 0;
	char	   *data = argc > 1 ? read_file(argv[1], &length) : NULL;
	StediJsonSchema *schema = stedi_json_schema_new(5);
	StediStatus status;
	double		best = 0;

	if (data == NULL || schema == NULL)
	{
		fprintf(stderr, "usage: %s FILE [ROUNDS]\n", argv[0]);
		return 1;
	}
	for (int i = 0; i < 5; i++)
	{
		if (!stedi_json_schema_add(schema, i, names[i], &status))
			return 1;
	}
	if (!stedi_json_schema_add(schema, 0, "user", &status))
		return 1;

	for (int i = 0; i < rounds; i++)
	{
		Totals		totals;
		double		start = now();
		double		rate;

		if (!parse(schema, data, length, &totals))
			return 1;
		rate = (double) length / 1e6 / (now() - start);
		if (rate > best)
			best = rate;
		printf("%" PRIu64 " records, %" PRIu64 " rejects, checksum %" PRId64 " %g: %.0f MB/s\n",
			   totals.records, totals.rejects, totals.timestamps, totals.axes, rate);
	}
	printf("best %.0f MB/s\n", best);
	stedi_json_schema_free(schema);
	free(data);
	return 0;
}
