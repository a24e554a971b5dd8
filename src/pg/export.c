/*
 * export.c
 *		Writing rows back to the lake.
 *
 *	 export_rows: text --> put (one file at a time)
 *				    \--> encoder --/
 *
 * Each file is whole when it gets its name.  The manifest, which names them all,
 * comes after the last of them, and _SUCCESS after that.  When the export fails,
 * what it wrote is taken back; what cannot be taken back carries this database's
 * tag in its name, is in no manifest, and goes with the next export to the same
 * place.
 */
#include "postgres.h"

#include <sys/stat.h>
#include <time.h>

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "commands/progress.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "parser/analyze.h"
#include "storage/lock.h"
#include "tcop/dest.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/backend_progress.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/regproc.h"
#include "utils/snapmgr.h"

#include "core/encoder.h"
#include "store/manifest.h"

#include "pg/compat.h"
#include "pg/error.h"
#include "pg/export_rows.h"
#include "pg/lake.h"
#include "pg/ledger.h"
#include "pg/pending.h"
#include "pg/scan.h"
#include "pg/settings.h"

PG_FUNCTION_INFO_V1(stedi_export);
PG_FUNCTION_INFO_V1(stedi_export_query);

#define SYNC_BYTES			(64 * 1024) /* of text that are worth to be compressed by themselves */
#define ABORT_TIMEOUT_MS	2000	/* to take back what was written, after an error */
#define CANCEL_TIMEOUT_MS	60	/* after a cancel, which promises 100 ms in all */
#define TAG_LENGTH			8
#define PART_PATTERN		"part-00000-"	/* a 0 stands for any digit */
#define MANIFEST_NAME		"_manifest.json"
#define SUCCESS_NAME		"_SUCCESS"
#define LOCK_CLASS			3	/* advisory locks of SQL have 1 and 2 */

typedef enum ExportMode
{
	MODE_FAIL,
	MODE_OVERWRITE,
	MODE_APPEND
} ExportMode;

typedef struct ExportFile
{
	char	   *name;			/* relative to the target */
	char	   *etag;
	int64		rows;
	int64		bytes;			/* as stored */
} ExportFile;

typedef struct StediExport
{
	/* what was asked for */
	const char *source;			/* relation, or "query": its text may name people */
	StediFormat format;
	StediCompression compression;
	int64		max_file_size;	/* -1: none */
	ExportMode	mode;
	bool		camel;
	bool		epoch_ms;

	/* where it goes */
	StediLake  *lake;
	char		tag[TAG_LENGTH + 1];	/* of this database, in the names of its files */
	char	   *run_id;

	/* the file being written */
	StediPut   *put;
	StediPending *pending;		/* record of its upload */
	StediEncoder *encoder;		/* NULL: without compression */
	ExportFile	file;

	/* what is written */
	StediRows  *query;
	List	   *files;			/* of ExportFile */
	bool		manifest_may_stand; /* and then its files have to */
	StediManifest previous;		/* of the export that was there before */
	int64		rows;
	int64		bytes;
	MemoryContext context;
	MemoryContextCallback callback;
	struct StediExport *outer;	/* whose query has called this one */
} StediExport;

static StediExport *under_way = NULL;	/* the innermost export of this session */

static void export_query(FunctionCallInfo fcinfo, const char *query, const char *source);
static void read_options(FunctionCallInfo fcinfo, StediExport *export);
static bool choose(const char *what, const char *value, const char *first, const char *second);
static void lock_target(StediExport *export);
static void make_run_id(StediExport *export);
static void clean_target(StediExport *export, StediManifest *previous, bool *has_previous);
static List *list_target(StediExport *export, StediObject **manifest);
static const char *format_name(const StediExport *export);
static void abort_stale_uploads(StediExport *export);
static bool is_ours(StediExport *export, const char *name);
static bool is_part(const char *name);
static bool in_manifest(const StediManifest *manifest, const char *name);
static void read_manifest(StediExport *export, const StediObject *object, StediManifest *manifest);
static void run_query(StediExport *export, const char *query);
static void write_rows(void *arg, const char *text, size_t length, int64 rows);
static void add_rows(StediExport *export, const char *text, size_t length, int64 rows);
static void open_file(StediExport *export);
static StediPut *start_put(StediExport *export, const char *name, const StediPutOptions *options,
						   StediStatus *status);
static bool write_encoded(void *arg, const void *data, size_t length, StediStatus *status);
static bool has_room(const StediExport *export, size_t length);
static bool make_room(StediExport *export, size_t length);
static void write_text(StediExport *export, const char *text, size_t length);
static void close_file(StediExport *export);
static void write_small(StediExport *export, const char *name, const char *type, const char *text);
static void write_manifest(StediExport *export, const StediManifest *previous);
static char *snapshot_document(char **rules);
static void remove_replaced(StediExport *export, const StediManifest *previous);
static void log_run(StediExport *export);
static void take_back(StediExport *export, long timeout_ms);
static void delete_name(StediExport *export, const char *name, bool must);
static char *target_key(StediExport *export, const char *name);
static void release_export(void *arg);
static void put_results(FunctionCallInfo fcinfo, StediExport *export);

PGDLLEXPORT Datum
stedi_export(PG_FUNCTION_ARGS)
{
	char	   *name;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("source must not be NULL")));
	name = get_rel_name(PG_GETARG_OID(0));
	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", PG_GETARG_OID(0))));
	name = quote_qualified_identifier(get_namespace_name(get_rel_namespace(PG_GETARG_OID(0))), name);
	export_query(fcinfo, psprintf("SELECT * FROM %s", name), name);
	return (Datum) 0;
}

PGDLLEXPORT Datum
stedi_export_query(PG_FUNCTION_ARGS)
{
	char	   *query;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("query must not be NULL")));
	query = text_to_cstring(PG_GETARG_TEXT_PP(0));
	export_query(fcinfo, query, "query");
	return (Datum) 0;
}

static void
export_query(FunctionCallInfo fcinfo, const char *query, const char *source)
{
	StediExport *export = palloc0(sizeof(StediExport));
	StediManifest *previous = &export->previous;
	bool		has_previous = false;

	PreventCommandIfReadOnly("stedi.export()");
	/* It could not be put on record. */
	PreventCommandIfParallelMode("stedi.export()");
	InitMaterializedSRF(fcinfo, 0);
	export->source = source;
	export->context = CurrentMemoryContext;
	export->callback.func = release_export;
	export->callback.arg = export;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &export->callback);
	read_options(fcinfo, export);
	make_run_id(export);

	SPI_connect();
	MemoryContextSwitchTo(export->context);
	lock_target(export);
	export->pending = stedi_pending_open(export->lake);
	clean_target(export, previous, &has_previous);

	export->outer = under_way;
	under_way = export;
	PG_TRY();
	{
		run_query(export, query);
		write_manifest(export, has_previous && export->mode == MODE_APPEND ? previous : NULL);
		write_small(export, SUCCESS_NAME, "text/plain", "");
	}
	PG_CATCH();
	{
		ErrorData  *error;

		under_way = export->outer;
		/* An interrupt while the store is waited for clears the error stack. */
		MemoryContextSwitchTo(export->context);
		error = CopyErrorData();
		FlushErrorState();
		stedi_rows_abort();
		take_back(export, error->sqlerrcode == ERRCODE_QUERY_CANCELED ?
				  CANCEL_TIMEOUT_MS : ABORT_TIMEOUT_MS);
		ReThrowError(error);
	}
	PG_END_TRY();
	under_way = export->outer;

	/* The new export stands; from here on only the old one can be in the way. */
	if (has_previous && export->mode == MODE_OVERWRITE)
		remove_replaced(export, previous);
	log_run(export);
	SPI_finish();
	put_results(fcinfo, export);
	stedi_lake_close(export->lake);
}

static void
read_options(FunctionCallInfo fcinfo, StediExport *export)
{
	char	   *mode;

	for (int i = 1; i < 8; i++)
	{
		if (i != 4 && PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("options of an export must not be NULL")));
	}

	export->format = choose("format", text_to_cstring(PG_GETARG_TEXT_PP(2)), "ndjson", "csv") ?
		STEDI_FORMAT_NDJSON : STEDI_FORMAT_CSV;
	export->compression = stedi_compression_option(text_to_cstring(PG_GETARG_TEXT_PP(3)), false);
	export->max_file_size = -1;
	if (!PG_ARGISNULL(4))
	{
		export->max_file_size = DatumGetInt64(DirectFunctionCall1(pg_size_bytes, PG_GETARG_DATUM(4)));
		if (export->max_file_size <= 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("max_file_size must be greater than zero")));
	}
	mode = text_to_cstring(PG_GETARG_TEXT_PP(5));
	if (pg_strcasecmp(mode, "fail") == 0)
		export->mode = MODE_FAIL;
	else if (pg_strcasecmp(mode, "overwrite") == 0)
		export->mode = MODE_OVERWRITE;
	else if (pg_strcasecmp(mode, "append") == 0)
		export->mode = MODE_APPEND;
	else
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown mode \"%s\"", mode),
				 errhint("Valid values are fail, overwrite and append.")));
	export->camel = choose("keys", text_to_cstring(PG_GETARG_TEXT_PP(6)), "camel", "column");
	export->epoch_ms = choose("timestamps", text_to_cstring(PG_GETARG_TEXT_PP(7)), "epoch_ms", "iso8601");

	export->lake = stedi_lake_open(text_to_cstring(PG_GETARG_TEXT_PP(1)), STEDI_WRITE, true);
	if (!export->lake->uri.is_prefix)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("export target \"%s\" is not a prefix", text_to_cstring(PG_GETARG_TEXT_PP(1))),
				 errhint("End it with '/'; the files below it get names of their own.")));
}

/* True: the first of two values; false: the second. */
static bool
choose(const char *what, const char *value, const char *first, const char *second)
{
	if (pg_strcasecmp(value, first) == 0)
		return true;
	if (pg_strcasecmp(value, second) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown %s \"%s\"", what, value),
				 errhint("Valid values are %s and %s.", first, second)));
	return false;
}

/* One export to a place at a time; the others wait until the transaction ends. */
static void
lock_target(StediExport *export)
{
	char	   *uri = stedi_lake_uri(export->lake, export->lake->uri.key);
	uint64		hash = hash_bytes_extended((const unsigned char *) uri, strlen(uri), 0);
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) (hash >> 32), (uint32) hash, LOCK_CLASS);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);

	/* It would take the outer one's files for leftovers. */
	for (StediExport *other = under_way; other != NULL; other = other->outer)
	{
		if (strcmp(uri, stedi_lake_uri(other->lake, other->lake->uri.key)) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("the query of an export to \"%s\" exports to the same place", uri)));
	}
}

static void
make_run_id(StediExport *export)
{
	uint64		identity[2] = {GetSystemIdentifier(), MyDatabaseId};
	time_t		now = time(NULL);
	struct tm	utc;
	char		when[20];
	uint32		random;

	snprintf(export->tag, sizeof(export->tag), "%08x",
			 hash_bytes((const unsigned char *) identity, sizeof(identity)));
	if (!pg_strong_random(&random, sizeof(random)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not generate a random number")));
	gmtime_r(&now, &utc);
	strftime(when, sizeof(when), "%Y%m%dT%H%M%SZ", &utc);
	export->run_id = psprintf("%s-%s-%08x", export->tag, when, random);
}

/*
 * Look at what is there: refuse it (fail), or read its manifest, and remove what
 * exports of this database that never finished have left.
 */
static void
clean_target(StediExport *export, StediManifest *previous, bool *has_previous)
{
	StediObject *manifest = NULL;
	List	   *names = list_target(export, &manifest);
	List	   *leftovers = NIL;
	int			unlisted = 0;
	bool		occupied = manifest != NULL;
	ListCell   *cell;

	if (manifest != NULL)
		read_manifest(export, manifest, previous);
	*has_previous = manifest != NULL;

	foreach(cell, names)
	{
		char	   *name = lfirst(cell);
		bool		listed = *has_previous && in_manifest(previous, name);

		if (!listed && is_ours(export, name))
			leftovers = lappend(leftovers, name);
		else if (stedi_uri_matches(&export->lake->uri, target_key(export, name)))
		{
			occupied = true;
			unlisted += !listed;
		}
	}

	if (export->mode == MODE_FAIL && occupied)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_FILE),
				 errmsg("export target \"%s\" is not empty",
						stedi_lake_uri(export->lake, export->lake->uri.key)),
				 errhint("Use mode => 'overwrite' or mode => 'append'.")));
	if (export->mode == MODE_APPEND && *has_previous &&
		(strcmp(previous->format, format_name(export)) != 0 ||
		 strcmp(previous->compression, stedi_compression_name(export->compression)) != 0))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cannot append files of another format or compression"),
				 errdetail("What is there has format %s, compression %s.", previous->format,
						   previous->compression)));
	if (export->mode == MODE_OVERWRITE && unlisted > 0)
		ereport(WARNING,
				(errmsg("%d objects under \"%s\" are in no manifest and stay where they are", unlisted,
						stedi_lake_uri(export->lake, export->lake->uri.key))));

	foreach(cell, leftovers)
		delete_name(export, lfirst(cell), true);
	if (export->pending != NULL)
		stedi_pending_clean(stedi_lake_uri(export->lake, export->lake->uri.key));
	abort_stale_uploads(export);
}

/* The names of all objects below the target, but for the manifest's. */
static List *
list_target(StediExport *export, StediObject **manifest)
{
	const char *prefix = export->lake->uri.key;
	List	   *names = NIL;
	StediStatus status = {0};
	StediListing *listing = stedi_store_list(export->lake->store, prefix, &status);

	if (listing == NULL)
		stedi_lake_fail(export->lake, &status);
	for (;;)
	{
		StediObject object;
		int			got = stedi_listing_next(listing, &object, &status);
		char	   *name;

		if (got < 0)
			stedi_lake_fail(export->lake, &status);
		if (got == 0)
			break;
		name = pstrdup(object.key + strlen(prefix));
		if (strcmp(name, MANIFEST_NAME) == 0)
			*manifest = stedi_object_keep(&object);
		else if (name[0] != '\0' && name[strlen(name) - 1] != '/')
			names = lappend(names, name);	/* not a directory marker */
		stedi_object_free(&object);
	}
	stedi_listing_close(listing);
	return names;
}

static const char *
format_name(const StediExport *export)
{
	return export->format == STEDI_FORMAT_CSV ? "csv" : "ndjson";
}

static void
abort_stale_uploads(StediExport *export)
{
	StediUploadPage page = {0};
	StediStatus status = {0};

	if (!stedi_store_list_uploads(export->lake->store, export->lake->uri.key, &page, &status))
	{
		/* Not every role may list them, and not every store can. */
		if (status.code == STEDI_CANCELLED)
			stedi_lake_fail(export->lake, &status);
		ereport(DEBUG1, (errmsg_internal("could not list uploads: %s", status.message)));
		return;
	}
	for (size_t i = 0; i < page.n_uploads; i++)
	{
		if (is_ours(export, page.uploads[i].key + strlen(export->lake->uri.key)) &&
			!stedi_store_abort_upload(export->lake->store, &page.uploads[i], &status))
		{
			stedi_upload_page_free(&page);
			stedi_lake_fail(export->lake, &status);
		}
	}
	stedi_upload_page_free(&page);
}

/* part-00000-TAG-...: a data file of an export; the tag is this database's */
static bool
is_ours(StediExport *export, const char *name)
{
	return is_part(name) && strncmp(name + sizeof(PART_PATTERN) - 1, export->tag, TAG_LENGTH) == 0;
}

static bool
is_part(const char *name)
{
	if (strlen(name) < sizeof(PART_PATTERN) - 1 + TAG_LENGTH)
		return false;
	for (size_t i = 0; i < sizeof(PART_PATTERN) - 1; i++)
	{
		if (PART_PATTERN[i] == '0' ? !isdigit((unsigned char) name[i]) : name[i] != PART_PATTERN[i])
			return false;
	}
	return true;
}

static bool
in_manifest(const StediManifest *manifest, const char *name)
{
	for (size_t i = 0; i < manifest->n_objects; i++)
	{
		if (strcmp(manifest->objects[i].key, name) == 0)
			return true;
	}
	return false;
}

static void
read_manifest(StediExport *export, const StediObject *object, StediManifest *manifest)
{
	StediStatus status = {0};
	StediGet   *get = stedi_store_get(export->lake->store, object, &status);
	StringInfoData text;

	if (get == NULL)
		stedi_lake_fail(export->lake, &status);

	initStringInfo(&text);
	for (;;)
	{
		ssize_t		got;

		enlargeStringInfo(&text, 8192);
		got = stedi_get_read(get, text.data + text.len, 8192, &status);
		if (got < 0)
			stedi_lake_fail(export->lake, &status);
		if (got == 0)
			break;
		text.len += got;
		text.data[text.len] = '\0';
	}
	stedi_get_close(get);
	if (!stedi_manifest_parse(text.data, text.len, manifest, &status))
		stedi_report(&status);
}

static void
run_query(StediExport *export, const char *query)
{
	pgstat_progress_start_command(PROGRESS_COMMAND_COPY, InvalidOid);
	pgstat_progress_update_param(PROGRESS_COPY_COMMAND, PROGRESS_COPY_COMMAND_TO);
	pgstat_progress_update_param(PROGRESS_COPY_TYPE, PROGRESS_COPY_TYPE_CALLBACK);

	export->query = stedi_rows_begin(query, export->format, export->camel, export->epoch_ms);
	open_file(export);
	stedi_rows_run(export->query, write_rows, export);
	close_file(export);
	stedi_rows_end(export->query);
	pgstat_progress_end_command();
}

/* Where a file is nearly full, row by row. */
static void
write_rows(void *arg, const char *text, size_t length, int64 rows)
{
	StediExport *export = arg;
	MemoryContext old = MemoryContextSwitchTo(export->context);

	if (has_room(export, length))
		add_rows(export, text, length, rows);
	else
	{
		size_t		row;

		for (const char *end = text + length; text < end; text += row)
		{
			row = stedi_format_row_length(export->query->formatter, text, end - text);
			if (export->file.rows > 0 && !has_room(export, row) && !make_room(export, row))
			{
				close_file(export);
				open_file(export);
			}
			add_rows(export, text, row, 1);
		}
	}
	MemoryContextSwitchTo(old);
	pgstat_progress_update_param(PROGRESS_COPY_TUPLES_PROCESSED, export->rows);
	pgstat_progress_update_param(PROGRESS_COPY_BYTES_PROCESSED, export->bytes + export->file.bytes);
}

static void
add_rows(StediExport *export, const char *text, size_t length, int64 rows)
{
	write_text(export, text, length);
	export->file.rows += rows;
	export->rows += rows;
}

static void
open_file(StediExport *export)
{
	const char *suffix = "";
	StediPutOptions options = {0};
	StediStatus status = {0};
	StringInfoData header;

	options.content_type = export->format == STEDI_FORMAT_CSV ? "text/csv" : "application/x-ndjson";
	if (export->compression == STEDI_COMPRESSION_GZIP)
	{
		options.content_type = "application/gzip";
		suffix = ".gz";
	}
	else if (export->compression == STEDI_COMPRESSION_ZSTD)
	{
		options.content_type = "application/zstd";
		suffix = ".zst";
	}
	memset(&export->file, 0, sizeof(export->file));
	export->file.name = psprintf("part-%05d-%s.%s%s", list_length(export->files), export->run_id,
								 format_name(export), suffix);
	if (export->compression != STEDI_COMPRESSION_NONE)
	{
		export->encoder = stedi_encoder_new(export->compression, write_encoded, export);
		if (export->encoder == NULL)
			ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	}
	export->put = start_put(export, export->file.name, &options, &status);
	if (export->put == NULL)
		stedi_lake_fail(export->lake, &status);
	initStringInfo(&header);
	stedi_format_header(export->query->formatter, &header);
	write_text(export, header.data, header.len);
	pfree(header.data);
}

/* Files of the server are readable for others, as those of COPY TO are. */
static StediPut *
start_put(StediExport *export, const char *name, const StediPutOptions *options, StediStatus *status)
{
	char	   *key = target_key(export, name);
	StediPutOptions recorded = *options;
	mode_t		saved;
	StediPut   *put;

	stedi_pending_put(export->pending, key, &recorded);
	saved = umask(S_IWGRP | S_IWOTH);
	put = stedi_store_put(export->lake->store, key, &recorded, status);
	umask(saved);
	return put;
}

/* What the store is given; called by the encoder, or in its place. */
static bool
write_encoded(void *arg, const void *data, size_t length, StediStatus *status)
{
	StediExport *export = arg;

	export->file.bytes += length;
	return stedi_put_write(export->put, data, length, status);
}

/* What is not compressed yet counts as it is. */
static bool
has_room(const StediExport *export, size_t length)
{
	size_t		pending = export->encoder != NULL ? stedi_encoder_pending(export->encoder) : 0;

	return export->max_file_size < 0 ||
		export->file.bytes + pending + length <= (uint64) export->max_file_size;
}

/* Compress it, if it is worth that.  Is there room now? */
static bool
make_room(StediExport *export, size_t length)
{
	StediStatus status = {0};

	if (export->encoder == NULL ||
		stedi_encoder_pending(export->encoder) + length < (size_t) Min(SYNC_BYTES, export->max_file_size / 8))
		return false;
	if (!stedi_encoder_sync(export->encoder, &status))
		stedi_lake_fail(export->lake, &status);
	return has_room(export, length);
}

static void
write_text(StediExport *export, const char *text, size_t length)
{
	StediStatus status = {0};
	bool		done;

	if (export->encoder != NULL)
		done = stedi_encoder_write(export->encoder, text, length, &status);
	else
		done = write_encoded(export, text, length, &status);
	if (!done)
		stedi_lake_fail(export->lake, &status);
	stedi_lake_check(export->lake);
}

static void
close_file(StediExport *export)
{
	StediStatus status = {0};
	MemoryContext old = MemoryContextSwitchTo(export->context);
	ExportFile *file = palloc(sizeof(ExportFile));
	char	   *etag;

	if (export->encoder != NULL && !stedi_encoder_finish(export->encoder, &status))
		stedi_lake_fail(export->lake, &status);
	/* It is taken back, too, should only the reply get lost. */
	*file = export->file;
	export->files = lappend(export->files, file);
	if (!stedi_put_commit(export->put, &etag, &status))
		stedi_lake_fail(export->lake, &status);
	stedi_put_close(export->put);
	export->put = NULL;
	stedi_pending_forget(export->pending);
	stedi_encoder_free(export->encoder);
	export->encoder = NULL;

	file->etag = pstrdup(etag);
	free(etag);
	export->bytes += file->bytes;
	MemoryContextSwitchTo(old);
}

/* The manifest, or what follows it. */
static void
write_small(StediExport *export, const char *name, const char *type, const char *text)
{
	StediPutOptions options = {.content_type = type};
	StediStatus status = {0};
	char	   *etag;

	export->put = start_put(export, name, &options, &status);
	if (export->put == NULL ||
		!stedi_put_write(export->put, text, strlen(text), &status) ||
		!stedi_put_commit(export->put, &etag, &status))
	{
		/* Unless it was refused, it may have been written all the same. */
		if (status.code != STEDI_DENIED && status.code != STEDI_CREDENTIALS &&
			status.code != STEDI_NOT_FOUND)
			export->manifest_may_stand = true;
		stedi_lake_fail(export->lake, &status);
	}
	export->manifest_may_stand = true;
	stedi_put_close(export->put);
	export->put = NULL;
	stedi_pending_forget(export->pending);
	free(etag);
}

static void
write_manifest(StediExport *export, const StediManifest *previous)
{
	StediManifest manifest = {0};
	TupleDesc	desc = export->query->desc;
	int			n_old = previous != NULL ? (int) previous->n_objects : 0;
	time_t		now = time(NULL);
	struct tm	utc;
	char		created_at[32];
	ListCell   *cell;
	char	   *text;
	char	   *copy;

	gmtime_r(&now, &utc);
	strftime(created_at, sizeof(created_at), "%Y-%m-%dT%H:%M:%SZ", &utc);
	manifest.run_id = export->run_id;
	manifest.created_at = created_at;
	manifest.producer = "stedi " STEDI_VERSION;
	manifest.source = unconstify(char *, export->source);
	manifest.format = unconstify(char *, format_name(export));
	manifest.compression = unconstify(char *, stedi_compression_name(export->compression));
	manifest.snapshot = snapshot_document(&manifest.rules);

	manifest.columns = palloc0(sizeof(StediManifestColumn) * Max(desc->natts, 1));
	for (int i = 0; i < desc->natts; i++)
	{
		const char *name = stedi_formatter_name(export->query->formatter, i);

		if (name == NULL)
			continue;
		manifest.columns[manifest.n_columns].name = unconstify(char *, name);
		manifest.columns[manifest.n_columns++].type = format_type_be(TupleDescAttr(desc, i)->atttypid);
	}

	manifest.objects = palloc0(sizeof(StediManifestObject) * (n_old + list_length(export->files)));
	for (; manifest.n_objects < (size_t) n_old; manifest.n_objects++)
		manifest.objects[manifest.n_objects] = previous->objects[manifest.n_objects];
	foreach(cell, export->files)
	{
		ExportFile *file = lfirst(cell);
		StediManifestObject *object = &manifest.objects[manifest.n_objects++];

		object->key = file->name;
		object->etag = file->etag;
		object->rows = (uint64) file->rows;
		object->bytes = (uint64) file->bytes;
	}

	text = stedi_manifest_format(&manifest);
	if (text == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	copy = pstrdup(text);
	free(text);
	write_small(export, MANIFEST_NAME, "application/json", copy);
}

/* What the exported data is based on, as JSON; and the rules that the zones follow. */
static char *
snapshot_document(char **rules)
{
	static const char *const command =
		"SELECT jsonb_build_object("
		"  'last_object_id', (SELECT max(object_id) FROM stedi.object),"
		"  'objects_loaded', (SELECT count(*) FROM stedi.object WHERE status IN ('loaded', 'partial')),"
		"  'zones_refreshed_at', (SELECT max(refreshed_at) FROM stedi.zone))::text,"
		" coalesce((SELECT rules FROM stedi.zone ORDER BY position DESC LIMIT 1), stedi.policy('rules'))";
	StediIdentity self = stedi_become_owner();
	MemoryContext old = CurrentMemoryContext;
	char	   *document;

	if (SPI_execute(command, true, 0) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "could not describe the export's snapshot");
	stedi_become_self(self);
	document = MemoryContextStrdup(old, SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
	*rules = MemoryContextStrdup(old, SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2));
	SPI_freetuptable(SPI_tuptable);
	return document;
}

/*
 * A file that cannot be removed is no reason to fail: the manifest does not name
 * it.  What a manifest names is removed only if an export can have written it;
 * who may write a manifest must not thereby delete other objects with our rights.
 */
static void
remove_replaced(StediExport *export, const StediManifest *previous)
{
	for (size_t i = 0; i < previous->n_objects; i++)
	{
		if (is_part(previous->objects[i].key))
			delete_name(export, previous->objects[i].key, false);
	}
}

/* Enter the export into stedi.export_run, and those it has taken the place of. */
static void
log_run(StediExport *export)
{
	static const char *const command =
		"WITH replaced AS ("
		"  UPDATE stedi.export_run SET replaced_at = now()"
		"  WHERE $7 AND uri = $3 AND replaced_at IS NULL"
		" )"
		" INSERT INTO stedi.export_run (run_id, source, uri, files, rows, bytes)"
		" VALUES ($1, $2, $3, $4, $5, $6)";
	Oid			types[] = {TEXTOID, TEXTOID, TEXTOID, INT4OID, INT8OID, INT8OID, BOOLOID};
	Datum		values[lengthof(types)];
	StediIdentity self = stedi_become_owner();

	values[0] = CStringGetTextDatum(export->run_id);
	values[1] = CStringGetTextDatum(export->source);
	values[2] = CStringGetTextDatum(stedi_lake_uri(export->lake, export->lake->uri.key));
	values[3] = Int32GetDatum(list_length(export->files));
	values[4] = Int64GetDatum(export->rows);
	values[5] = Int64GetDatum(export->bytes);
	values[6] = BoolGetDatum(export->mode == MODE_OVERWRITE);
	if (SPI_execute_with_args(command, lengthof(types), types, values, NULL, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not log the export");
	stedi_become_self(self);
}

/*
 * After an error: abort the upload that is under way and remove the files that
 * stand, as far as that can be done in time; what is left goes with the next
 * export.  Who cancels a query is not to wait for a store that may be dead.
 */
static void
take_back(StediExport *export, long timeout_ms)
{
	StediPut   *put = export->put;
	ListCell   *cell;

	export->put = NULL;
	stedi_wait_limit(&export->lake->wait, timeout_ms);
	if (put != NULL && !stedi_put_abort(put, timeout_ms))
		return;
	stedi_pending_forget(export->pending);
	if (export->manifest_may_stand)
		return;
	foreach(cell, export->files)
	{
		StediStatus status = {0};
		ExportFile *file = lfirst(cell);

		if (!stedi_store_delete(export->lake->store, target_key(export, file->name), &status))
			return;
	}
}

static void
delete_name(StediExport *export, const char *name, bool must)
{
	StediStatus status = {0};

	if (stedi_store_delete(export->lake->store, target_key(export, name), &status))
		return;
	if (must || status.code == STEDI_CANCELLED)
		stedi_lake_fail(export->lake, &status);
	ereport(WARNING,
			(errmsg("could not remove \"%s\" of an earlier export", stedi_printable(name)),
			 errdetail("%s", status.message)));
}

static char *
target_key(StediExport *export, const char *name)
{
	return psprintf("%s%s", export->lake->uri.key, name);
}

static void
release_export(void *arg)
{
	StediExport *export = arg;

	stedi_encoder_free(export->encoder);
	export->encoder = NULL;
	stedi_manifest_free(&export->previous);
}

static void
put_results(FunctionCallInfo fcinfo, StediExport *export)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	ListCell   *cell;

	foreach(cell, export->files)
	{
		ExportFile *file = lfirst(cell);
		Datum		values[4];
		bool		nulls[4] = {0};

		values[0] = CStringGetTextDatum(stedi_lake_uri(export->lake, target_key(export, file->name)));
		values[1] = Int64GetDatum(file->rows);
		values[2] = Int64GetDatum(file->bytes);
		values[3] = CStringGetTextDatum(file->etag);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
}
