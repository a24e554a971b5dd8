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
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/store_internal.h"

/* ".stedi-upload-<pid>-<16 hex digits>-<last part of the key, clipped>" */
#define UPLOAD_PREFIX		".stedi-upload-"
#define UPLOAD_RANDOM_BYTES	8
#define NAME_LIMIT			255 /* NAME_MAX of every file system in use */

/* How often the waiter is asked, so that a cancel takes effect at once. */
#define ENTRIES_PER_POLL	256
#define BYTES_PER_POLL		(4 * 1024 * 1024)

/* Written at a time: what is written whole and aligned costs the kernel half as much. */
#define WRITE_BYTES			(64 * 1024)

/* One directory on the way down: its names, sorted. */
typedef struct Level
{
	char	  **names;			/* directories end in '/' */
	size_t		n_names;
	size_t		next;
	size_t		path_length;	/* of the directory, with its final '/' */
} Level;

/* A walk of a tree in byte order of paths, objects or uploads. */
typedef struct Walk
{
	StediWaiter waiter;
	bool		uploads;		/* yield temporary files instead of objects */
	const char *prefix;
	StediBytes	path;			/* of the directory on top; then of what was yielded */
	Level	   *levels;
	size_t		n_levels;
	size_t		capacity;
	unsigned	entries;		/* seen since the waiter was asked */
} Walk;

typedef struct FileListing
{
	StediListing base;
	Walk		walk;
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

static bool fail_errno(StediStatus *status, int error, const char *action, const char *path);
static bool start_writeback(FilePut *put, StediStatus *status);
static bool check_path(const char *path, StediStatus *status);
static size_t directory_length(const char *path);
static bool describe(const char *path, const struct stat *st, StediObject *object,
					 StediStatus *status);
static void format_etag(const struct stat *st, char *etag, size_t size);
static const char *upload_target(const char *name);
static bool walk_start(Walk *walk, StediStatus *status);
static int	walk_next(Walk *walk, struct stat *st, StediStatus *status);
static bool walk_enter(Walk *walk, const char *filter, StediStatus *status);
static bool walk_wants(const Walk *walk, const char *name, const char *filter,
					   bool is_directory);
static void walk_end(Walk *walk);
static bool read_names(Walk *walk, DIR *dir, const char *filter, Level *level,
					   StediStatus *status);
static int	is_directory(DIR *dir, const struct dirent *entry);
static int	compare_names(const void *a, const void *b);
static void free_level(Level *level);
static bool open_object(FileGet *get, StediStatus *status);
static bool check_regular(const struct stat *st, const char *path, StediStatus *status);
static bool make_parents(const char *path, StediStatus *status);
static bool sync_directory(const char *path, StediStatus *status);
static bool create_temp(FilePut *put, StediStatus *status);

static bool
fail_errno(StediStatus *status, int error, const char *action, const char *path)
{
	StediCode	code;

	switch (error)
	{
		case ENOENT:
			code = STEDI_NOT_FOUND;
			break;
		case EACCES:
		case EPERM:
		case EROFS:
			code = STEDI_DENIED;
			break;
		case ENOMEM:
			code = STEDI_NO_MEMORY;
			break;
		default:
			code = STEDI_IO;
			break;
	}
	stedi_status_set(status, code, "could not %s \"%s\": %s", action, path,
					 strerror(error));
	if (error == EACCES)
		stedi_status_hint(status, "The database server needs the permissions, as its operating system user; stedi.whoami('file:///') names it.");
	return false;
}

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

static bool
check_path(const char *path, StediStatus *status)
{
	if (path[0] == '/')
		return true;
	return stedi_status_set(status, STEDI_BAD_ARGUMENT, "path \"%s\" is not absolute", path);
}

/* Bytes of an absolute path up to and with its last '/'. */
static size_t
directory_length(const char *path)
{
	return (size_t) (strrchr(path, '/') - path) + 1;
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

/* The target's name inside the name of a temporary file; NULL if it is none. */
static const char *
upload_target(const char *name)
{
	const char *p = name + strlen(UPLOAD_PREFIX);
	const char *digits;

	if (strncmp(name, UPLOAD_PREFIX, strlen(UPLOAD_PREFIX)) != 0)
		return NULL;
	for (digits = p; isdigit((unsigned char) *p); p++)
		;
	if (p == digits || *p++ != '-')
		return NULL;
	for (digits = p; isxdigit((unsigned char) *p); p++)
		;
	if (p - digits != 2 * UPLOAD_RANDOM_BYTES || *p++ != '-' || *p == '\0')
		return NULL;
	return p;
}

/*
 * Set up a walk; waiter, uploads and prefix are set.  The caller calls
 * walk_end(), also after a failure.
 */
static bool
walk_start(Walk *walk, StediStatus *status)
{
	size_t		length;

	if (!check_path(walk->prefix, status))
		return false;
	length = directory_length(walk->prefix);
	if (!stedi_bytes_append(&walk->path, walk->prefix, length))
		return stedi_no_memory(status);
	return walk_enter(walk, walk->prefix + length, status);
}

static void
walk_end(Walk *walk)
{
	while (walk->n_levels > 0)
		free_level(&walk->levels[--walk->n_levels]);
	free(walk->levels);
	stedi_bytes_free(&walk->path);
}

/*
 * Advance to the next file: 1, walk->path is its path and *st what lstat() says;
 * 0 at the end; -1 on failure.
 *
 * Siblings are sorted with '/' after the names of directories, so going down at
 * once into each directory met gives the byte order of whole paths.
 */
static int
walk_next(Walk *walk, struct stat *st, StediStatus *status)
{
	while (walk->n_levels > 0)
	{
		Level	   *level = &walk->levels[walk->n_levels - 1];
		const char *name;

		if (level->next == level->n_names)
		{
			free_level(level);
			walk->n_levels--;
			continue;
		}
		if (++walk->entries % ENTRIES_PER_POLL == 0 &&
			!stedi_waiter_wait(&walk->waiter, -1, 0, status))
			return -1;

		name = level->names[level->next++];
		walk->path.length = level->path_length;
		if (!stedi_bytes_append_text(&walk->path, name))
		{
			stedi_no_memory(status);
			return -1;
		}
		if (name[strlen(name) - 1] == '/')
		{
			if (!walk_enter(walk, "", status))
				return -1;
			continue;
		}
		if (lstat(walk->path.data, st) == 0)
		{
			if (S_ISREG(st->st_mode))
				return 1;
		}
		else if (errno != ENOENT)
		{
			/* gone meanwhile */
			fail_errno(status, errno, "stat file", walk->path.data);
			return -1;
		}
	}
	return 0;
}

/*
 * Read the directory walk->path and make it the current level.  One that does
 * not exist has no entries.
 */
static bool
walk_enter(Walk *walk, const char *filter, StediStatus *status)
{
	/* the directory asked for may be a link, one found below it may not */
	int			flags = walk->n_levels == 0 ? 0 : O_NOFOLLOW;
	char	   *path = walk->path.data;
	Level		level = {.path_length = walk->path.length};
	int			fd;
	DIR		   *dir;
	bool		done;

	if (walk->n_levels == walk->capacity)
	{
		size_t		capacity = walk->capacity == 0 ? 8 : walk->capacity * 2;
		Level	   *levels = realloc(walk->levels, capacity * sizeof(*levels));

		if (levels == NULL)
			return stedi_no_memory(status);
		walk->levels = levels;
		walk->capacity = capacity;
	}

	/* with its final '/', O_NOFOLLOW would follow */
	if (flags != 0)
		path[walk->path.length - 1] = '\0';
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK | flags);
	if (fd < 0)
	{
		if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP)
			return true;
		return fail_errno(status, errno, "open directory", path);
	}
	if (flags != 0)
		path[walk->path.length - 1] = '/';
	dir = fdopendir(fd);
	if (dir == NULL)
	{
		fail_errno(status, errno, "open directory", path);
		close(fd);
		return false;
	}
	done = read_names(walk, dir, filter, &level, status);
	closedir(dir);
	if (!done)
	{
		free_level(&level);
		return false;
	}
	if (level.n_names > 0)
		qsort(level.names, level.n_names, sizeof(*level.names), compare_names);
	walk->levels[walk->n_levels++] = level;
	return true;
}

/* filter: what names must begin with, the part of the prefix after its last '/'. */
static bool
walk_wants(const Walk *walk, const char *name, const char *filter, bool is_directory)
{
	const char *target = upload_target(name);

	if (!is_directory && walk->uploads != (target != NULL))
		return false;
	if (!is_directory && walk->uploads)
		name = target;
	return strncmp(name, filter, strlen(filter)) == 0;
}

/* Collect the names worth looking at.  The caller frees level, also on failure. */
static bool
read_names(Walk *walk, DIR *dir, const char *filter, Level *level, StediStatus *status)
{
	size_t		capacity = 0;

	for (;;)
	{
		struct dirent *entry;
		int			directory;
		size_t		length;
		char	   *name;

		errno = 0;
		entry = readdir(dir);
		if (entry == NULL)
		{
			if (errno != 0)
				return fail_errno(status, errno, "read directory", walk->path.data);
			return true;
		}
		if (++walk->entries % ENTRIES_PER_POLL == 0 &&
			!stedi_waiter_wait(&walk->waiter, -1, 0, status))
			return false;
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		directory = is_directory(dir, entry);
		if (directory < 0 || !walk_wants(walk, entry->d_name, filter, directory))
			continue;

		if (level->n_names == capacity)
		{
			char	  **names;

			capacity = capacity == 0 ? 32 : capacity * 2;
			names = realloc(level->names, capacity * sizeof(*names));
			if (names == NULL)
				return stedi_no_memory(status);
			level->names = names;
		}
		length = strlen(entry->d_name);
		name = malloc(length + 2);
		if (name == NULL)
			return stedi_no_memory(status);
		memcpy(name, entry->d_name, length);
		memcpy(name + length, directory ? "/" : "", directory ? 2 : 1);
		level->names[level->n_names++] = name;
	}
}

/* 1: a directory; 0: a file; -1: neither. */
static int
is_directory(DIR *dir, const struct dirent *entry)
{
	struct stat st;

	switch (entry->d_type)
	{
		case DT_DIR:
			return 1;
		case DT_REG:
			return 0;
		case DT_UNKNOWN:
			break;
		default:
			return -1;
	}
	if (fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return -1;
	if (S_ISDIR(st.st_mode))
		return 1;
	return S_ISREG(st.st_mode) ? 0 : -1;
}

static int
compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *) a, *(char *const *) b);
}

static void
free_level(Level *level)
{
	for (size_t i = 0; i < level->n_names; i++)
		free(level->names[i]);
	free(level->names);
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
	if (!walk_start(&listing->walk, status))
	{
		walk_end(&listing->walk);
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
	int			found = walk_next(&listing->walk, &st, status);

	if (found == 1 && !describe(listing->walk.path.data, &st, object, status))
		return -1;
	return found;
}

static void
file_listing_close(StediListing *base)
{
	FileListing *listing = (FileListing *) base;

	walk_end(&listing->walk);
	free(listing->prefix);
	free(listing);
}

static bool
file_head(StediStore *store, const char *key, StediObject *object, StediStatus *status)
{
	struct stat st;

	(void) store;
	if (!check_path(key, status))
		return false;
	if (stat(key, &st) != 0)
		return fail_errno(status, errno, "stat file", key);
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
	if (!check_path(object->key, status))
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
		return fail_errno(status, errno, "open file", path);
	if (fstat(get->fd, &st) != 0)
		return fail_errno(status, errno, "stat file", path);
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
		fail_errno(status, errno, "read file", get->object.key);
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
		fail_errno(status, errno, "stat file", get->object.key);
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
	return error == 0 || fail_errno(status, error, "fsync directory", path);
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
			parent[directory_length(parent)] = '\0';
			done = sync_directory(parent, status);
		}
		else if (errno != EEXIST)
		{
			/* an existing directory may answer EACCES or EROFS as well */
			int			error = errno;
			struct stat st;

			if (stat(directory, &st) != 0 || !S_ISDIR(st.st_mode))
				done = fail_errno(status, error, "create directory", directory);
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
	size_t		length = directory_length(put->path);
	StediBytes	path;
	unsigned char random[UPLOAD_RANDOM_BYTES];
	size_t		start;

	stedi_bytes_init(&path, 0);
	stedi_bytes_append(&path, put->path, length);
	start = path.length;
	if (RAND_bytes(random, sizeof(random)) != 1)
	{
		stedi_bytes_free(&path);
		return stedi_status_set(status, STEDI_IO, "could not get random bytes");
	}
	stedi_bytes_printf(&path, UPLOAD_PREFIX "%ld-", (long) getpid());
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
		fail_errno(status, errno, "create file", put->temp_path);
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
	if (!check_path(key, status))
		return NULL;
	if (key[directory_length(key)] == '\0')
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
		return fail_errno(status, errno, "write file", put->temp_path);
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
			return fail_errno(status, errno, "write file", put->temp_path);
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
		return fail_errno(status, errno, "fsync file", put->temp_path);
	if (fstat(fd, &st) != 0)
		return fail_errno(status, errno, "stat file", put->temp_path);
	format_etag(&st, text, sizeof(text));
	put->fd = -1;
	if (close(fd) != 0)
		return fail_errno(status, errno, "close file", put->temp_path);
	*etag = strdup(text);
	if (*etag == NULL)
		return stedi_no_memory(status);
	if (rename(put->temp_path, put->path) == 0)
	{
		free(put->temp_path);
		put->temp_path = NULL;
		put->path[directory_length(put->path)] = '\0';
		if (sync_directory(put->path, status))
			return true;
	}
	else
		fail_errno(status, errno, "rename to", put->path);
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
	if (!check_path(key, status))
		return false;
	if (unlink(key) == 0 || errno == ENOENT || errno == ENOTDIR)
		return true;
	return fail_errno(status, errno, "remove file", key);
}

/*
 * The key of an upload is the target's path, its last part clipped as in the
 * temporary file's name; the upload id is the temporary file's path.
 */
static bool
file_list_uploads(StediStore *store, const char *prefix, StediUploadPage *page,
				  StediStatus *status)
{
	Walk		walk = {.waiter = store->waiter, .uploads = true, .prefix = prefix};
	struct stat st;
	int			found = -1;

	memset(page, 0, sizeof(*page));
	if (walk_start(&walk, status))
	{
		while ((found = walk_next(&walk, &st, status)) == 1)
		{
			const char *path = walk.path.data;
			size_t		length = directory_length(path);
			StediUpload upload = {0};
			StediBytes	key;

			stedi_bytes_init(&key, 0);
			stedi_bytes_append(&key, path, length);
			stedi_bytes_append_text(&key, upload_target(path + length));
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
	walk_end(&walk);
	if (found != 0)
		stedi_upload_page_free(page);
	return found == 0;
}

static bool
file_abort_upload(StediStore *store, const StediUpload *upload, StediStatus *status)
{
	const char *path = upload->upload_id;

	(void) store;
	if (!check_path(path, status))
		return false;
	if (upload_target(path + directory_length(path)) == NULL)
		return stedi_status_set(status, STEDI_BAD_ARGUMENT,
								"\"%s\" is not a temporary file of an upload", path);
	if (unlink(path) == 0 || errno == ENOENT || errno == ENOTDIR)
		return true;
	return fail_errno(status, errno, "remove file", path);
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
