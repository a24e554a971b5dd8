/*
 * file.c
 *		The object store on the server's own file system.
 *
 * A key is an absolute path.  An object's etag is made of modification time,
 * size and inode.  A put writes to a temporary file beside its target and is
 * renamed into place at commit; the temporary files are the "uploads under way"
 * of this store, and no listing shows them as objects.
 *
 * Only regular files are objects.  Below the directory that was asked for no
 * symbolic link is followed: who may put files there must not thereby have other
 * files of the server read.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/file_walk.h"

#define NAME_LIMIT			255 /* NAME_MAX of every file system in use */

/* How often the waiter is asked, so that a cancel takes effect at once. */
#define BYTES_PER_POLL		(4 * 1024 * 1024)

/* Written at a time: what is written whole and aligned costs the kernel half as much. */
#define WRITE_BYTES			(64 * 1024)

typedef struct FileListing
{
	StediListing base;
	StediWalk		walk;
	char	   *prefix;
} FileListing;

typedef struct FileGet
{
	StediGet	base;
	StediObject object;
	int			fd;				/* -1 until the first read */
	uint64_t	received;
	size_t		unpolled;		/* bytes read since the waiter was asked */
} FileGet;

typedef struct FilePut
{
	StediPut	base;
	char	   *path;
	char	   *temp_path;		/* NULL once renamed or removed */
	int			fd;				/* -1 once closed */
	size_t		unpolled;
	size_t		length;			/* of what is not written yet */
	char		buffer[WRITE_BYTES];
} FilePut;

static bool start_writeback(FilePut *put, StediStatus *status);
static bool describe(const char *path, const struct stat *st, StediObject *object,
					 StediStatus *status);
static void format_etag(const struct stat *st, char *etag, size_t size);
static bool open_object(FileGet *get, StediStatus *status);
static bool check_regular(const struct stat *st, const char *path, StediStatus *status);
static bool make_parents(const char *path, StediStatus *status);
static bool sync_directory(const char *path, StediStatus *status);
static bool create_temp(FilePut *put, StediStatus *status);

static bool
check_regular(const struct stat *st, const char *path, StediStatus *status)
{
	if (S_ISREG(st->st_mode))
		return true;
	if (!S_ISDIR(st->st_mode))
		return stedi_status_set(status, STEDI_BAD_ARGUMENT, "\"%s\" is not a regular file", path);
	stedi_status_set(status, STEDI_BAD_ARGUMENT, "\"%s\" is a directory", path);
	stedi_status_hint(status, "To name everything below it, end it with '/'.");
	return false;
}

static void
format_etag(const struct stat *st, char *etag, size_t size)
{
	uint64_t	mtime_ns = (uint64_t) st->st_mtim.tv_sec * 1000000000u +
		(uint64_t) st->st_mtim.tv_nsec;

	snprintf(etag, size, "%" PRIx64 "-%" PRIx64 "-%" PRIx64, mtime_ns,
			 (uint64_t) st->st_size, (uint64_t) st->st_ino);
}

static bool
describe(const char *path, const struct stat *st, StediObject *object, StediStatus *status)
{
	char		etag[64];

	format_etag(st, etag, sizeof(etag));
	memset(object, 0, sizeof(*object));
	object->key = strdup(path);
	object->etag = strdup(etag);
	object->size = (uint64_t) st->st_size;
	object->last_modified = (int64_t) st->st_mtim.tv_sec * 1000000 +
		st->st_mtim.tv_nsec / 1000;
	if (object->key == NULL || object->etag == NULL)
	{
		stedi_object_free(object);
		return stedi_no_memory(status);
	}
	return true;
}

static StediListing *
file_list(StediStore *store, const char *prefix, StediStatus *status)
{
	FileListing *listing = calloc(1, sizeof(*listing));

	if (listing != NULL)
		listing->prefix = strdup(prefix);
	if (listing == NULL || listing->prefix == NULL)
	{
		free(listing);
		stedi_no_memory(status);
		return NULL;
	}
	listing->walk.waiter = store->waiter;
	listing->walk.prefix = listing->prefix;
	if (!stedi_walk_start(&listing->walk, status))
	{
		stedi_walk_end(&listing->walk);
		free(listing->prefix);
		free(listing);
		return NULL;
	}
	return &listing->base;
}

static int
file_listing_next(StediListing *base, StediObject *object, StediStatus *status)
{
	FileListing *listing = (FileListing *) base;
	struct stat st;
	int			found = stedi_walk_next(&listing->walk, &st, status);

	if (found == 1 && !describe(listing->walk.path.data, &st, object, status))
		return -1;
	return found;
}

static void
file_listing_close(StediListing *base)
{
	FileListing *listing = (FileListing *) base;

	stedi_walk_end(&listing->walk);
	free(listing->prefix);
	free(listing);
}

static bool
file_head(StediStore *store, const char *key, StediObject *object, StediStatus *status)
{
	struct stat st;

	(void) store;
	if (!stedi_file_check_path(key, status))
		return false;
	if (stat(key, &st) != 0)
		return stedi_file_fail(status, errno, "stat file", key);
	if (!check_regular(&st, key, status))
		return false;
	return describe(key, &st, object, status);
}

/*
 * The file is opened by the first read, so that a window of gets opened ahead
 * takes no descriptors: the kernel's read-ahead does what a prefetch would.
 */
static StediGet *
file_get(StediStore *store, const StediObject *object, StediStatus *status)
{
	FileGet    *get;

	(void) store;
	if (!stedi_file_check_path(object->key, status))
		return NULL;
	get = calloc(1, sizeof(*get));
	if (get == NULL || !stedi_object_copy(&get->object, object))
	{
		free(get);
		stedi_no_memory(status);
		return NULL;
	}
	get->fd = -1;
	return &get->base;
}

static bool
open_object(FileGet *get, StediStatus *status)
{
	const char *path = get->object.key;
	struct stat st;
	char		etag[64];

	/* O_NONBLOCK: opening a FIFO must not wait for its writer */
	get->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (get->fd < 0)
		return stedi_file_fail(status, errno, "open file", path);
	if (fstat(get->fd, &st) != 0)
		return stedi_file_fail(status, errno, "stat file", path);
	if (!check_regular(&st, path, status))
		return false;
	format_etag(&st, etag, sizeof(etag));
	if ((uint64_t) st.st_size != get->object.size ||
		(get->object.etag != NULL && strcmp(etag, get->object.etag) != 0))
		return stedi_status_set(status, STEDI_CHANGED,
								"file \"%s\" has changed since it was listed", path);
	/* without a listed etag, what was opened is what is pinned */
	if (get->object.etag == NULL)
	{
		get->object.etag = strdup(etag);
		if (get->object.etag == NULL)
			return stedi_no_memory(status);
	}
	posix_fadvise(get->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	return true;
}

static ssize_t
file_get_read(StediGet *base, void *buffer, size_t size, StediStatus *status)
{
	FileGet    *get = (FileGet *) base;
	uint64_t	left = get->object.size - get->received;
	struct stat st;
	char		etag[64];
	ssize_t		got;

	if (get->fd < 0 && !open_object(get, status))
		return -1;
	if (get->unpolled >= BYTES_PER_POLL)
	{
		get->unpolled = 0;
		if (!stedi_waiter_wait(&base->handle.store->waiter, -1, 0, status))
			return -1;
	}
	if (size > left)
		size = (size_t) left;
	do
		got = size > 0 ? read(get->fd, buffer, size) : 0;
	while (got < 0 && errno == EINTR);
	if (got < 0)
	{
		stedi_file_fail(status, errno, "read file", get->object.key);
		return -1;
	}
	if (got > 0)
	{
		get->received += (uint64_t) got;
		get->unpolled += (size_t) got;
		return got;
	}

	/* the end, or an early one: was it one file all the time? */
	if (fstat(get->fd, &st) != 0)
	{
		stedi_file_fail(status, errno, "stat file", get->object.key);
		return -1;
	}
	format_etag(&st, etag, sizeof(etag));
	if (strcmp(etag, get->object.etag) != 0 || left > 0)
	{
		stedi_status_set(status, STEDI_CHANGED, "file \"%s\" changed while it was read",
						 get->object.key);
		return -1;
	}
	return 0;
}

static void
file_get_close(StediGet *base)
{
	FileGet    *get = (FileGet *) base;

	if (get->fd >= 0)
		close(get->fd);
	stedi_object_free(&get->object);
	free(get);
}

/* Make a directory's entries durable. */
static bool
sync_directory(const char *path, StediStatus *status)
{
	int			fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int			error = 0;

	/* some file systems can't sync a directory, and need not */
	if (fd < 0 || (fsync(fd) != 0 && errno != EINVAL && errno != EBADF))
		error = errno;
	if (fd >= 0)
		close(fd);
	return error == 0 || stedi_file_fail(status, error, "fsync directory", path);
}

/* Create the directories that lead to path, as mkdir -p does. */
static bool
make_parents(const char *path, StediStatus *status)
{
	char	   *directory = strdup(path);
	char	   *parent = strdup(path);
	bool		done = directory != NULL && parent != NULL;

	if (!done)
		stedi_no_memory(status);
	for (size_t i = 1; done && path[i] != '\0'; i++)
	{
		if (path[i] != '/' || path[i - 1] == '/')
			continue;
		directory[i] = '\0';
		if (mkdir(directory, 0755) == 0)
		{
			memcpy(parent, directory, i + 1);
			parent[stedi_directory_length(parent)] = '\0';
			done = sync_directory(parent, status);
		}
		else if (errno != EEXIST)
		{
			/* an existing directory may answer EACCES or EROFS as well */
			int			error = errno;
			struct stat st;

			if (stat(directory, &st) != 0 || !S_ISDIR(st.st_mode))
				done = stedi_file_fail(status, error, "create directory", directory);
		}
		directory[i] = '/';
	}
	free(directory);
	free(parent);
	return done;
}

/* Create and open the temporary file. */
static bool
create_temp(FilePut *put, StediStatus *status)
{
	size_t		length = stedi_directory_length(put->path);
	StediBytes	path;
	unsigned char random[STEDI_UPLOAD_RANDOM_BYTES];
	size_t		start;

	stedi_bytes_init(&path, 0);
	stedi_bytes_append(&path, put->path, length);
	start = path.length;
	if (RAND_bytes(random, sizeof(random)) != 1)
	{
		stedi_bytes_free(&path);
		return stedi_status_set(status, STEDI_IO, "could not get random bytes");
	}
	stedi_bytes_printf(&path, STEDI_UPLOAD_PREFIX "%ld-", (long) getpid());
	for (size_t i = 0; i < sizeof(random); i++)
		stedi_bytes_printf(&path, "%02x", random[i]);
	stedi_bytes_printf(&path, "-%.*s", (int) (NAME_LIMIT - (path.length - start) - 1),
					   put->path + length);
	put->temp_path = stedi_bytes_steal(&path);
	if (put->temp_path == NULL)
		return stedi_no_memory(status);

	put->fd = open(put->temp_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (put->fd < 0)
	{
		stedi_file_fail(status, errno, "create file", put->temp_path);
		free(put->temp_path);
		put->temp_path = NULL;
		return false;
	}
	return true;
}

static StediPut *
file_put(StediStore *store, const char *key, const StediPutOptions *options,
		 StediStatus *status)
{
	FilePut    *put;

	/* a file has no place for content type and encoding */
	(void) store;
	(void) options;
	if (!stedi_file_check_path(key, status))
		return NULL;
	if (key[stedi_directory_length(key)] == '\0')
	{
		stedi_status_set(status, STEDI_BAD_ARGUMENT, "\"%s\" names a directory", key);
		return NULL;
	}
	put = calloc(1, sizeof(*put));
	if (put != NULL)
		put->path = strdup(key);
	if (put == NULL || put->path == NULL)
	{
		free(put);
		stedi_no_memory(status);
		return NULL;
	}
	put->fd = -1;
	if (!make_parents(put->path, status) || !create_temp(put, status))
	{
		free(put->path);
		free(put);
		return NULL;
	}
	return &put->base;
}

/*
 * Let the kernel begin to write what it was given, so that commit's fsync has
 * less to wait for.  An error told here is not told again there.
 */
static bool
start_writeback(FilePut *put, StediStatus *status)
{
#ifdef SYNC_FILE_RANGE_WRITE
	if (sync_file_range(put->fd, 0, 0, SYNC_FILE_RANGE_WRITE) != 0 &&
		errno != ENOSYS && errno != EINVAL && errno != ESPIPE)
		return stedi_file_fail(status, errno, "write file", put->temp_path);
#else
	(void) put;
	(void) status;
#endif
	return true;
}

static bool
write_buffer(FilePut *put, StediStatus *status)
{
	const char *from = put->buffer;

	put->unpolled += put->length;
	while (put->length > 0)
	{
		ssize_t		written = write(put->fd, from, put->length);

		if (written >= 0)
		{
			from += written;
			put->length -= (size_t) written;
		}
		else if (errno != EINTR)
			return stedi_file_fail(status, errno, "write file", put->temp_path);
	}
	if (put->unpolled < BYTES_PER_POLL)
		return true;
	put->unpolled = 0;
	return start_writeback(put, status) &&
		stedi_waiter_wait(&put->base.handle.store->waiter, -1, 0, status);
}

static bool
file_put_write(StediPut *base, const void *data, size_t length, StediStatus *status)
{
	FilePut    *put = (FilePut *) base;
	const char *from = data;

	while (length > 0)
	{
		size_t		n = sizeof(put->buffer) - put->length;

		n = n < length ? n : length;
		memcpy(put->buffer + put->length, from, n);
		put->length += n;
		from += n;
		length -= n;
		if (put->length == sizeof(put->buffer) && !write_buffer(put, status))
			return false;
	}
	return true;
}

static bool
file_put_commit(StediPut *base, char **etag, StediStatus *status)
{
	FilePut    *put = (FilePut *) base;
	struct stat st;
	char		text[64];
	int			fd = put->fd;

	if (!write_buffer(put, status))
		return false;
	if (fsync(fd) != 0)
		return stedi_file_fail(status, errno, "fsync file", put->temp_path);
	if (fstat(fd, &st) != 0)
		return stedi_file_fail(status, errno, "stat file", put->temp_path);
	format_etag(&st, text, sizeof(text));
	put->fd = -1;
	if (close(fd) != 0)
		return stedi_file_fail(status, errno, "close file", put->temp_path);
	*etag = strdup(text);
	if (*etag == NULL)
		return stedi_no_memory(status);
	if (rename(put->temp_path, put->path) == 0)
	{
		free(put->temp_path);
		put->temp_path = NULL;
		put->path[stedi_directory_length(put->path)] = '\0';
		if (sync_directory(put->path, status))
			return true;
	}
	else
		stedi_file_fail(status, errno, "rename to", put->path);
	free(*etag);
	*etag = NULL;
	return false;
}

static bool
file_put_abort(StediPut *base, long timeout_ms)
{
	FilePut    *put = (FilePut *) base;
	bool		clean = true;

	(void) timeout_ms;
	if (put->fd >= 0)
		close(put->fd);
	put->fd = -1;
	if (put->temp_path != NULL)
		clean = unlink(put->temp_path) == 0 || errno == ENOENT;
	free(put->temp_path);
	put->temp_path = NULL;
	return clean;
}

/* No network I/O is needed to remove what never became visible, so do. */
static void
file_put_close(StediPut *base)
{
	FilePut    *put = (FilePut *) base;

	file_put_abort(base, 0);
	free(put->path);
	free(put);
}

static bool
file_remove(StediStore *store, const char *key, StediStatus *status)
{
	(void) store;
	if (!stedi_file_check_path(key, status))
		return false;
	if (unlink(key) == 0 || errno == ENOENT || errno == ENOTDIR)
		return true;
	return stedi_file_fail(status, errno, "remove file", key);
}

/*
 * The key of an upload is the target's path, its last part clipped as in the
 * temporary file's name; the upload id is the temporary file's path.
 */
static bool
file_list_uploads(StediStore *store, const char *prefix, StediUploadPage *page,
				  StediStatus *status)
{
	StediWalk		walk = {.waiter = store->waiter, .uploads = true, .prefix = prefix};
	struct stat st;
	int			found = -1;

	memset(page, 0, sizeof(*page));
	if (stedi_walk_start(&walk, status))
	{
		while ((found = stedi_walk_next(&walk, &st, status)) == 1)
		{
			const char *path = walk.path.data;
			size_t		length = stedi_directory_length(path);
			StediUpload upload = {0};
			StediBytes	key;

			stedi_bytes_init(&key, 0);
			stedi_bytes_append(&key, path, length);
			stedi_bytes_append_text(&key, stedi_upload_target(path + length));
			upload.key = stedi_bytes_steal(&key);
			upload.upload_id = strdup(path);
			upload.initiated = (int64_t) st.st_mtim.tv_sec * 1000000 +
				st.st_mtim.tv_nsec / 1000;
			if (upload.key == NULL || upload.upload_id == NULL)
			{
				free(upload.key);
				free(upload.upload_id);
				stedi_no_memory(status);
				found = -1;
				break;
			}
			if (!stedi_upload_page_add(page, &upload, status))
			{
				found = -1;
				break;
			}
		}
	}
	stedi_walk_end(&walk);
	if (found != 0)
		stedi_upload_page_free(page);
	return found == 0;
}

static bool
file_abort_upload(StediStore *store, const StediUpload *upload, StediStatus *status)
{
	const char *path = upload->upload_id;

	(void) store;
	if (!stedi_file_check_path(path, status))
		return false;
	if (stedi_upload_target(path + stedi_directory_length(path)) == NULL)
		return stedi_status_set(status, STEDI_BAD_ARGUMENT,
								"\"%s\" is not a temporary file of an upload", path);
	if (unlink(path) == 0 || errno == ENOENT || errno == ENOTDIR)
		return true;
	return stedi_file_fail(status, errno, "remove file", path);
}

/* One get being read, one put, and a directory while its names are read. */
static int
file_max_fds(const StediStore *store)
{
	(void) store;
	return 3;
}

static void
file_close(StediStore *store)
{
	free(store);
}

StediStore *
stedi_store_open_file(StediWaiter waiter, StediStatus *status)
{
	static const StediStoreMethods methods = {
		.list = file_list,
		.listing_next = file_listing_next,
		.listing_close = file_listing_close,
		.head = file_head,
		.get = file_get,
		.get_read = file_get_read,
		.get_close = file_get_close,
		.put = file_put,
		.put_write = file_put_write,
		.put_commit = file_put_commit,
		.put_abort = file_put_abort,
		.put_close = file_put_close,
		.remove = file_remove,
		.list_uploads = file_list_uploads,
		.abort_upload = file_abort_upload,
		.max_fds = file_max_fds,
		.close = file_close,
	};
	StediStore *store = calloc(1, sizeof(*store));

	if (store == NULL)
	{
		stedi_no_memory(status);
		return NULL;
	}
	store->methods = &methods;
	store->waiter = waiter;
	return store;
}
