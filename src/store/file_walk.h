/*
 * file_walk.h
 *		Names of files: the tree below a directory, and temporary files of uploads.
 */
#ifndef STEDI_STORE_FILE_WALK_H
#define STEDI_STORE_FILE_WALK_H

#include <sys/stat.h>

#include "store/store_internal.h"

/* ".stedi-upload-<pid>-<16 hex digits>-<last part of the key, clipped>" */
#define STEDI_UPLOAD_PREFIX		".stedi-upload-"
#define STEDI_UPLOAD_RANDOM_BYTES	8

/* A walk of a tree in byte order of paths, objects or uploads. */
typedef struct StediWalk
{
	StediWaiter waiter;
	bool		uploads;		/* yield temporary files instead of objects */
	const char *prefix;
	StediBytes	path;			/* of the directory on top; then of what was yielded */
	struct StediWalkLevel *levels;
	size_t		n_levels;
	size_t		capacity;
	unsigned	entries;		/* seen since the waiter was asked */
} StediWalk;

/* False, with what the operating system says of an action on a path: NOT_FOUND, DENIED,
 * NO_MEMORY or IO. */
extern bool stedi_file_fail(StediStatus *status, int error, const char *action, const char *path);

/* BAD_ARGUMENT if it is not absolute. */
extern bool stedi_file_check_path(const char *path, StediStatus *status);

/* Bytes of an absolute path up to and with its last '/'. */
extern size_t stedi_directory_length(const char *path);

/* The target's name inside the name of a temporary file; NULL if it is none. */
extern const char *stedi_upload_target(const char *name);

/*
 * Set up a walk; waiter, uploads and prefix are set, all else is zero.  The caller
 * calls stedi_walk_end(), also after a failure.
 */
extern bool stedi_walk_start(StediWalk *walk, StediStatus *status);

/*
 * Advance to the next file: 1, walk->path is its path and *st what lstat() says;
 * 0 at the end; -1 on failure.
 */
extern int	stedi_walk_next(StediWalk *walk, struct stat *st, StediStatus *status);
extern void stedi_walk_end(StediWalk *walk);

#endif							/* STEDI_STORE_FILE_WALK_H */
