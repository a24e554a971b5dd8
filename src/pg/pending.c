/*
 * pending.c
 *		Records of multipart uploads that outlive transaction and process.
 *
 * The parts of an upload that is neither completed nor aborted stay in the
 * bucket, unseen and charged for.  A table cannot remember them: what a killed
 * backend has written there is rolled back.  So each upload has a small file
 *
 *	$PGDATA/stedi_uploads/pgsql_tmp.DATABASE.EXPORT.NUMBER
 *
 * which is durable before the upload is begun, is written anew when its id is
 * known, and is removed when the upload has been completed or aborted.  The name
 * is one that base backups and pg_rewind pass over: an upload belongs to the
 * server that began it, and a copy must not abort it.
 *
 * An export holds a lock on its number until its transaction ends.  A record
 * whose lock is free is one that nobody works on any more, whatever has become
 * of the process.
 */
#include "postgres.h"

#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "commands/dbcommands.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "nodes/value.h"
#include "port/pg_crc32c.h"
#include "storage/fd.h"
#include "storage/lock.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "pg/error.h"
#include "pg/pending.h"

PG_FUNCTION_INFO_V1(stedi_upload_records);

#define DIRECTORY			"stedi_uploads"
#define NAME_FORMAT			"pgsql_tmp.%u.%016" PRIx64 ".%u"
#define NEW_SUFFIX			".new"	/* of a record that is being written */
#define MAGIC				0x53550001	/* format 1 */
#define MAX_RECORD_SIZE		(16 * 1024) /* a URI has 1.1 kB; S3 gives no length of ids */
#define LOCK_CLASS			4	/* advisory locks of SQL have 1 and 2, targets of exports 3 */

/* What a record begins with; server, URI and upload id follow, NUL-terminated. */
typedef struct RecordHeader
{
	uint32		magic;
	pg_crc32c	crc;			/* of all that follows */
	Oid			role;
	int32		pid;
	TimestampTz started_at;
} RecordHeader;

#define CHECKED_FROM	offsetof(RecordHeader, role)

typedef struct RecordName
{
	Oid			database;
	uint64		export;
	uint32		number;
	bool		is_new;
} RecordName;

typedef struct Record
{
	RecordName	name;
	char	   *path;
	RecordHeader header;
	char	   *server;
	char	   *uri;
	char	   *upload_id;		/* "": not known */
} Record;

struct StediPending
{
	StediLake  *lake;
	RecordName	name;
	char	   *key;			/* of the last put */
	char	   *path;
	bool		written;
};

static bool note_upload(void *arg, const char *upload_id, StediStatus *status);
static void write_record(StediPending *pending, const char *upload_id);
static List *read_records(void);
static bool parse_name(const char *file, RecordName *name);
static Record *read_record(const char *path, const RecordName *name);
static bool parse_record(char *data, size_t length, Record *record);
static void set_lock_tag(LOCKTAG *tag, const RecordName *name);
static bool lock_record(const RecordName *name);
static void unlock_record(const RecordName *name);
static bool abort_recorded(const Record *record, bool *is_unreachable);
static void abort_upload(StediLake *lake, const Record *record);
static bool may_see(const Record *record);

StediPending *
stedi_pending_open(StediLake *lake)
{
	StediPending *pending;

	if (lake->uri.scheme != STEDI_SCHEME_S3)
		return NULL;
	pending = palloc0(sizeof(StediPending));
	pending->lake = lake;
	pending->name.database = MyDatabaseId;
	if (!pg_strong_random(&pending->name.export, sizeof(pending->name.export)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not generate a random number")));
	(void) lock_record(&pending->name);
	return pending;
}

void
stedi_pending_put(StediPending *pending, const char *key, StediPutOptions *options)
{
	if (pending == NULL)
		return;
	pending->name.number++;
	pending->key = pstrdup(key);
	pending->path = psprintf(DIRECTORY "/" NAME_FORMAT, pending->name.database,
							 pending->name.export, pending->name.number);
	pending->written = false;
	options->note_upload = note_upload;
	options->note_arg = pending;
}

/* Called by the store, whose frames no error may jump over: see wait.c. */
static bool
note_upload(void *arg, const char *upload_id, StediStatus *status)
{
	StediPending *pending = arg;
	StediBackendWait *wait = &pending->lake->wait;

	PG_TRY();
	{
		write_record(pending, upload_id);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(wait->context);
		wait->error = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();
	return wait->error == NULL ||
		stedi_status_set(status, STEDI_CANCELLED, "could not record an upload");
}

/* A crash leaves the record as it was, or as it is to be. */
static void
write_record(StediPending *pending, const char *upload_id)
{
	char	   *new_path = psprintf("%s" NEW_SUFFIX, pending->path);
	RecordHeader header = {.magic = MAGIC,.role = GetUserId(),.pid = MyProcPid};
	StringInfoData data;
	int			fd;

	header.started_at = GetCurrentTimestamp();
	initStringInfo(&data);
	appendBinaryStringInfo(&data, (char *) &header, sizeof(header));
	appendBinaryStringInfo(&data, pending->lake->server->name, strlen(pending->lake->server->name) + 1);
	appendStringInfoString(&data, stedi_lake_uri(pending->lake, pending->key));
	appendStringInfoChar(&data, '\0');
	appendStringInfoString(&data, upload_id != NULL ? upload_id : "");
	appendStringInfoChar(&data, '\0');
	if (data.len > MAX_RECORD_SIZE)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the object store's id of an upload is too long")));
	INIT_CRC32C(header.crc);
	COMP_CRC32C(header.crc, data.data + CHECKED_FROM, data.len - CHECKED_FROM);
	FIN_CRC32C(header.crc);
	memcpy(data.data, &header, sizeof(header));

	fd = OpenTransientFile(new_path, O_WRONLY | O_CREAT | O_TRUNC | PG_BINARY);
	if (fd < 0 && errno == ENOENT)
	{
		if (MakePGDirectory(DIRECTORY) < 0 && errno != EEXIST)
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not create directory \"%s\": %m", DIRECTORY)));
		(void) fsync_fname_ext(".", true, true, ERROR);
		fd = OpenTransientFile(new_path, O_WRONLY | O_CREAT | O_TRUNC | PG_BINARY);
	}
	if (fd < 0)
		ereport(ERROR,
				(errcode_for_file_access(), errmsg("could not create file \"%s\": %m", new_path)));
	errno = 0;
	if (write(fd, data.data, data.len) != data.len)
	{
		if (errno == 0)
			errno = ENOSPC;
		ereport(ERROR,
				(errcode_for_file_access(), errmsg("could not write file \"%s\": %m", new_path)));
	}
	if (CloseTransientFile(fd) != 0)
		ereport(ERROR,
				(errcode_for_file_access(), errmsg("could not close file \"%s\": %m", new_path)));
	(void) durable_rename(new_path, pending->path, ERROR);
	pending->written = true;
}

/* Should a crash bring the record back, then the clean-up finds no such upload. */
void
stedi_pending_forget(StediPending *pending)
{
	if (pending == NULL || !pending->written)
		return;
	pending->written = false;
	if (unlink(pending->path) != 0)
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("could not remove file \"%s\": %m", pending->path)));
}

/*
 * All records that are whole; what is not, is a warning.  What is left of one
 * that was being written is a record without a URI.
 */
static List *
read_records(void)
{
	List	   *records = NIL;
	DIR		   *dir = AllocateDir(DIRECTORY);
	struct dirent *entry;

	if (dir == NULL && errno == ENOENT)
		return NIL;				/* there has never been an upload */
	while ((entry = ReadDirExtended(dir, DIRECTORY, WARNING)) != NULL)
	{
		char	   *path = psprintf(DIRECTORY "/%s", entry->d_name);
		RecordName	name;
		Record	   *record = NULL;

		CHECK_FOR_INTERRUPTS();
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		errno = 0;
		if (parse_name(entry->d_name, &name))
			record = read_record(path, &name);
		if (record != NULL)
			records = lappend(records, record);
		else if (errno != ENOENT)	/* removed meanwhile */
			ereport(WARNING,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("file \"%s\" is not the record of an upload", path),
					 errhint("Look for uploads that were not completed in the bucket, then remove the file.")));
	}
	FreeDir(dir);
	return records;
}

static bool
parse_name(const char *file, RecordName *name)
{
	char		expected[MAXPGPATH];
	size_t		length;

	memset(name, 0, sizeof(*name));
	if (sscanf(file, NAME_FORMAT, &name->database, &name->export, &name->number) != 3)
		return false;
	snprintf(expected, sizeof(expected), NAME_FORMAT, name->database, name->export, name->number);
	length = strlen(expected);
	if (strncmp(file, expected, length) != 0)
		return false;
	name->is_new = strcmp(file + length, NEW_SUFFIX) == 0;
	return name->is_new || file[length] == '\0';
}

/* NULL: it is no record; with errno ENOENT there is none. */
static Record *
read_record(const char *path, const RecordName *name)
{
	Record	   *record = palloc0(sizeof(Record));
	char	   *data = palloc(MAX_RECORD_SIZE + 1);
	struct stat st;
	ssize_t		length;
	int			fd;

	record->name = *name;
	record->path = pstrdup(path);
	/* a pipe, say, would keep us waiting */
	if (lstat(path, &st) != 0 || !S_ISREG(st.st_mode))
		return NULL;
	if (name->is_new)
		return record;
	fd = OpenTransientFile(path, O_RDONLY | PG_BINARY);
	if (fd < 0)
		return NULL;
	length = read(fd, data, MAX_RECORD_SIZE + 1);
	(void) CloseTransientFile(fd);
	errno = 0;
	return length > 0 && parse_record(data, (size_t) length, record) ? record : NULL;
}

/* The strings of the record point into data. */
static bool
parse_record(char *data, size_t length, Record *record)
{
	char	  **strings[] = {&record->server, &record->uri, &record->upload_id};
	char	   *next = data + sizeof(RecordHeader);
	char	   *end = data + length;
	pg_crc32c	crc;

	if (length < sizeof(RecordHeader) || length > MAX_RECORD_SIZE)
		return false;
	memcpy(&record->header, data, sizeof(RecordHeader));
	INIT_CRC32C(crc);
	COMP_CRC32C(crc, data + CHECKED_FROM, length - CHECKED_FROM);
	FIN_CRC32C(crc);
	if (record->header.magic != MAGIC || !EQ_CRC32C(crc, record->header.crc))
		return false;
	for (int i = 0; i < (int) lengthof(strings); i++)
	{
		char	   *nul = memchr(next, '\0', end - next);

		if (nul == NULL)
			return false;
		*strings[i] = next;
		next = nul + 1;
	}
	return next == end;
}

static void
set_lock_tag(LOCKTAG *tag, const RecordName *name)
{
	SET_LOCKTAG_ADVISORY(*tag, name->database, (uint32) (name->export >> 32),
						 (uint32) name->export, LOCK_CLASS);
}

/* False: an export is at work on it, in another session or further up in ours. */
static bool
lock_record(const RecordName *name)
{
	LOCKTAG		tag;

	set_lock_tag(&tag, name);
	switch (LockAcquire(&tag, ExclusiveLock, false, true))
	{
		case LOCKACQUIRE_NOT_AVAIL:
			return false;
		case LOCKACQUIRE_ALREADY_HELD:
		case LOCKACQUIRE_ALREADY_CLEAR:
			unlock_record(name);
			return false;
		case LOCKACQUIRE_OK:
			break;
	}
	return true;
}

static void
unlock_record(const RecordName *name)
{
	LOCKTAG		tag;

	set_lock_tag(&tag, name);
	LockRelease(&tag, ExclusiveLock, false);
}

void
stedi_pending_clean(const char *uri)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "stedi uploads",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	List	   *unreachable = NIL;
	ListCell   *cell;

	foreach(cell, read_records())
	{
		Record	   *record = lfirst(cell);
		bool		is_unreachable = false;

		if (record->name.database != MyDatabaseId ||
			(!record->name.is_new &&
			 (!has_privs_of_role(GetUserId(), record->header.role) ||
			  (uri != NULL && strncmp(record->uri, uri, strlen(uri)) != 0) ||
			  list_member(unreachable, makeString(record->server)))) ||
			!lock_record(&record->name))
			continue;
		if ((record->name.is_new || abort_recorded(record, &is_unreachable)) && unlink(record->path) != 0 &&
			errno != ENOENT)
			ereport(WARNING,
					(errcode_for_file_access(),
					 errmsg("could not remove file \"%s\": %m", record->path)));
		unlock_record(&record->name);
		/* each would take all attempts: one that fails speaks for all */
		if (is_unreachable)
			unreachable = lappend(unreachable, makeString(record->server));
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

/* True: the upload is gone.  Sets is_unreachable if the store is. */
static bool
abort_recorded(const Record *record, bool *is_unreachable)
{
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(outer, "stedi upload", ALLOCSET_DEFAULT_SIZES);
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool gone = false;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		StediLake  *lake = stedi_lake_open(record->uri, STEDI_WRITE, true);

		abort_upload(lake, record);
		stedi_lake_close(lake);
		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(outer);
		CurrentResourceOwner = owner;
		gone = true;
	}
	PG_CATCH();
	{
		ErrorData  *error = stedi_rollback_caught(outer, owner);

		MemoryContextReset(context);	/* closes the lake */
		if (ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_OPERATOR_INTERVENTION)
			ReThrowError(error);
		*is_unreachable = ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_CONNECTION_EXCEPTION;
		ereport(WARNING,
				(errcode(error->sqlerrcode),
				 errmsg("could not abort the upload of \"%s\"", record->uri),
				 errdetail("%s", error->message),
				 error->hint != NULL ? errhint("%s", error->hint) : 0));
	}
	PG_END_TRY();
	MemoryContextDelete(context);
	return gone;
}

/*
 * Without an id it is not known whether the upload was begun at all; but no two
 * exports write the same key.
 */
static void
abort_upload(StediLake *lake, const Record *record)
{
	StediUpload upload = {.key = lake->uri.key,.upload_id = record->upload_id};
	StediUploadPage page = {0};
	StediStatus status = {0};
	bool		done;

	if (lake->server == NULL || strcmp(lake->server->name, record->server) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("it was begun through server \"%s\", which does not cover the URI any more",
						record->server)));
	if (record->upload_id[0] != '\0')
		done = stedi_store_abort_upload(lake->store, &upload, &status);
	else
	{
		done = stedi_store_list_uploads(lake->store, upload.key, &page, &status);
		for (size_t i = 0; done && i < page.n_uploads; i++)
		{
			if (strcmp(page.uploads[i].key, upload.key) == 0)
				done = stedi_store_abort_upload(lake->store, &page.uploads[i], &status);
		}
		stedi_upload_page_free(&page);
	}
	if (!done)
		stedi_lake_fail(lake, &status);
}

/*
 * One's own uploads, as far as roles go, in this database.  Who may see what all
 * sessions do, may see all of them.
 */
static bool
may_see(const Record *record)
{
	return has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS) ||
		(record->name.database == MyDatabaseId &&
		 has_privs_of_role(GetUserId(), record->header.role));
}

PGDLLEXPORT Datum
stedi_upload_records(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	ListCell   *cell;

	InitMaterializedSRF(fcinfo, 0);
	foreach(cell, read_records())
	{
		Record	   *record = lfirst(cell);
		Datum		values[8];
		bool		nulls[8] = {0};
		char	   *role;
		char	   *database;
		bool		is_free;

		if (record->name.is_new || !may_see(record))
			continue;
		role = GetUserNameFromId(record->header.role, true);
		database = get_database_name(record->name.database);
		is_free = lock_record(&record->name);
		if (is_free)
			unlock_record(&record->name);

		values[0] = CStringGetTextDatum(record->uri);
		nulls[1] = record->upload_id[0] == '\0';
		if (!nulls[1])
			values[1] = CStringGetTextDatum(record->upload_id);
		values[2] = CStringGetTextDatum(record->server);
		nulls[3] = role == NULL;
		if (!nulls[3])
			values[3] = CStringGetTextDatum(role);
		nulls[4] = database == NULL;
		if (!nulls[4])
			values[4] = CStringGetTextDatum(database);
		values[5] = Int32GetDatum(record->header.pid);
		values[6] = BoolGetDatum(!is_free);
		values[7] = TimestampTzGetDatum(record->header.started_at);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
