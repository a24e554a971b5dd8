/*
 * file_walk.c
 *		Names of files: the tree below a directory, and temporary files of uploads.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/file_walk.h"

/* How often the waiter is asked, so that a cancel takes effect at once. */
#define ENTRIES_PER_POLL	256

/* One directory on the way down: its names, sorted. */
typedef struct StediWalkLevel
{
	char	  **names;			/* directories end in '/' */
	size_t		n_names;
	size_t		next;
	size_t		path_length;	/* of the directory, with its final '/' */
} Level;

static bool walk_enter(StediWalk *walk, const char *filter, StediStatus *status);
static bool walk_wants(const StediWalk *walk, const char *name, const char *filter,
					   bool is_directory);
static bool read_names(StediWalk *walk, DIR *dir, const char *filter, Level *level,
					   StediStatus *status);
static int	is_directory(DIR *dir, const struct dirent *entry);
static int	compare_names(const void *a, const void *b);
static void free_level(Level *level);

bool
stedi_file_fail(StediStatus *status, int error, const char *action, const char *path)
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

bool
stedi_file_check_path(const char *path, StediStatus *status)
{
	if (path[0] == '/')
		return true;
	return stedi_status_set(status, STEDI_BAD_ARGUMENT, "path \"%s\" is not absolute", path);
}

size_t
stedi_directory_length(const char *path)
{
	return (size_t) (strrchr(path, '/') - path) + 1;
}

const char *
stedi_upload_target(const char *name)
{
	const char *p = name + strlen(STEDI_UPLOAD_PREFIX);
	const char *digits;

	if (strncmp(name, STEDI_UPLOAD_PREFIX, strlen(STEDI_UPLOAD_PREFIX)) != 0)
		return NULL;
	for (digits = p; isdigit((unsigned char) *p); p++)
		;
	if (p == digits || *p++ != '-')
		return NULL;
	for (digits = p; isxdigit((unsigned char) *p); p++)
		;
	if (p - digits != 2 * STEDI_UPLOAD_RANDOM_BYTES || *p++ != '-' || *p == '\0')
		return NULL;
	return p;
}

bool
stedi_walk_start(StediWalk *walk, StediStatus *status)
{
	size_t		length;

	if (!stedi_file_check_path(walk->prefix, status))
		return false;
	length = stedi_directory_length(walk->prefix);
	if (!stedi_bytes_append(&walk->path, walk->prefix, length))
		return stedi_no_memory(status);
	return walk_enter(walk, walk->prefix + length, status);
}

void
stedi_walk_end(StediWalk *walk)
{
	while (walk->n_levels > 0)
		free_level(&walk->levels[--walk->n_levels]);
	free(walk->levels);
	stedi_bytes_free(&walk->path);
}

/*
 * Siblings are sorted with '/' after the names of directories, so going down at
 * once into each directory met gives the byte order of whole paths.
 */
int
stedi_walk_next(StediWalk *walk, struct stat *st, StediStatus *status)
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
			stedi_file_fail(status, errno, "stat file", walk->path.data);
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
walk_enter(StediWalk *walk, const char *filter, StediStatus *status)
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
		return stedi_file_fail(status, errno, "open directory", path);
	}
	if (flags != 0)
		path[walk->path.length - 1] = '/';
	dir = fdopendir(fd);
	if (dir == NULL)
	{
		stedi_file_fail(status, errno, "open directory", path);
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
walk_wants(const StediWalk *walk, const char *name, const char *filter, bool is_directory)
{
	const char *target = stedi_upload_target(name);

	if (!is_directory && walk->uploads != (target != NULL))
		return false;
	if (!is_directory && walk->uploads)
		name = target;
	return strncmp(name, filter, strlen(filter)) == 0;
}

/* Collect the names worth looking at.  The caller frees level, also on failure. */
static bool
read_names(StediWalk *walk, DIR *dir, const char *filter, Level *level, StediStatus *status)
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
				return stedi_file_fail(status, errno, "read directory", walk->path.data);
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
