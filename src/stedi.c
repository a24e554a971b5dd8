/*
 * stedi.c
 *		Module magic, configuration parameters and other start-up.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/guc.h"

#include "pg/index_builder.h"
#include "pg/match.h"
#include "pg/settings.h"
#include "pg/sink.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

#define KB_PER_MB			1024

#define MIN_RECORD_SIZE		1	/* kB */
#define MAX_RECORD_SIZE		(256 * KB_PER_MB)
#define MIN_ATTEMPTS		1
#define MAX_ATTEMPTS		20
#define MIN_TIMEOUT			100 /* ms */
#define MAX_TIMEOUT			(60 * 60 * 1000)
#define MIN_CONCURRENCY		1
#define MAX_CONCURRENCY		64
#define MIN_PREFETCH_SIZE	64	/* kB */
#define MAX_PREFETCH_SIZE	(64 * KB_PER_MB)
#define MIN_PART_SIZE		(5 * KB_PER_MB) /* S3's EntityTooSmall */
#define MAX_PART_SIZE		(512 * KB_PER_MB)
#define MAX_UPLOAD_CONCURRENCY 16

int			stedi_max_record_size = 16 * KB_PER_MB;
int			stedi_max_attempts = 5;
int			stedi_connect_timeout = 10 * 1000;
int			stedi_idle_timeout = 60 * 1000;
int			stedi_concurrency = 8;
int			stedi_prefetch_size = 4 * KB_PER_MB;
int			stedi_part_size = 8 * KB_PER_MB;
int			stedi_upload_concurrency = 2;

void
_PG_init(void)
{
	DefineCustomIntVariable("stedi.max_record_size",
							"Largest JSON record that is loaded; a larger one is rejected.",
							NULL, &stedi_max_record_size, 16 * KB_PER_MB,
							MIN_RECORD_SIZE, MAX_RECORD_SIZE,
							PGC_USERSET, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomIntVariable("stedi.max_attempts",
							"How often one request to an object store is tried.",
							NULL, &stedi_max_attempts, 5,
							MIN_ATTEMPTS, MAX_ATTEMPTS,
							PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("stedi.connect_timeout",
							"Time allowed to connect to an object store.",
							NULL, &stedi_connect_timeout, 10 * 1000,
							MIN_TIMEOUT, MAX_TIMEOUT,
							PGC_USERSET, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("stedi.idle_timeout",
							"Time without a byte moved after which an attempt has failed.",
							NULL, &stedi_idle_timeout, 60 * 1000,
							MIN_TIMEOUT, MAX_TIMEOUT,
							PGC_USERSET, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("stedi.concurrency",
							"Objects that are fetched at the same time.",
							NULL, &stedi_concurrency, 8,
							MIN_CONCURRENCY, MAX_CONCURRENCY,
							PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("stedi.prefetch_size",
							"Bytes buffered for each object that is being fetched.",
							NULL, &stedi_prefetch_size, 4 * KB_PER_MB,
							MIN_PREFETCH_SIZE, MAX_PREFETCH_SIZE,
							PGC_USERSET, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomIntVariable("stedi.part_size",
							"Size of the parts of a multipart upload.",
							"Smaller objects are written with a single request.",
							&stedi_part_size, 8 * KB_PER_MB,
							MIN_PART_SIZE, MAX_PART_SIZE,
							PGC_USERSET, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomIntVariable("stedi.upload_concurrency",
							"Parts of one export file that are uploaded at the same time.",
							NULL, &stedi_upload_concurrency, 2,
							MIN_CONCURRENCY, MAX_UPLOAD_CONCURRENCY,
							PGC_USERSET, 0, NULL, NULL, NULL);

	stedi_index_builder_init();
	MarkGUCPrefixReserved("stedi");

	stedi_sink_init();
	stedi_match_init();
}
