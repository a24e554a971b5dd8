/*
 * test_store_file.c
 *		The object store on the file system.
 */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/bytes.h"
#include "store/store.h"
#include "tap.h"

static char root[64];
static int	waits;				/* times the waiter was asked */
static int	stop_after = INT_MAX;	/* when it says stop */

static bool
count_waits(void *arg, int fd, long timeout_ms)
{
	(void) arg;
	(void) fd;
	(void) timeout_ms;
	return ++waits <= stop_after;
}

/* Path below the test's directory; valid until called eight times more. */
static char *
at(const char *name)
{
	static char paths[8][PATH_MAX];
	static int	turn;
	char	   *path = paths[turn++ % 8];

	snprintf(path, PATH_MAX, "%s/%s", root, name);
	return path;
}

static void
write_file(const char *path, const char *text)
{
	FILE	   *file = fopen(path, "w");

	if (file == NULL || fputs(text, file) < 0 || fclose(file) != 0)
		abort();
}

/* The keys below root that a listing gives, without root, joined by spaces. */
static char *
list_keys(StediStore *store, const char *prefix)
{
	static char text[4096];
	StediStatus status = {0};
	StediObject object;
	StediListing *listing = stedi_store_list(store, prefix, &status);
	int			found = -1;

	text[0] = '\0';
	while (listing != NULL && (found = stedi_listing_next(listing, &object, &status)) == 1)
	{
		if (text[0] != '\0')
			strcat(text, " ");
		strcat(text, object.key + strlen(root) + 1);
		stedi_object_free(&object);
	}
	stedi_listing_close(listing);
	if (found != 0)
		snprintf(text, sizeof(text), "failed: %s", status.message);
	return text;
}

/* Read a whole object: the bytes and 0, or the code of the failure. */
static StediCode
read_all(StediStore *store, const StediObject *object, StediBytes *bytes, size_t chunk)
{
	StediStatus status = {0};
	StediGet   *get = stedi_store_get(store, object, &status);
	char		buffer[4096];
	ssize_t		got;

	stedi_bytes_init(bytes, 0);
	if (get == NULL)
		return status.code;
	while ((got = stedi_get_read(get, buffer, chunk, &status)) > 0)
		stedi_bytes_append(bytes, buffer, (size_t) got);
	stedi_get_close(get);
	return got == 0 ? STEDI_OK : status.code;
}

static bool
put_text(StediStore *store, const char *key, const char *text, char **etag)
{
	StediStatus status = {0};
	StediPut   *put = stedi_store_put(store, key, NULL, &status);
	bool		done;

	if (put == NULL)
		return false;
	done = stedi_put_write(put, text, strlen(text), &status) &&
		stedi_put_commit(put, etag, &status);
	if (done)
		stedi_put_close(put);
	else
		stedi_put_abort(put, 0);
	return done;
}

static void
test_listing(StediStore *store)
{
	StediStatus status = {0};
	StediObject object;
	StediListing *listing;

	mkdir(at("list"), 0755);
	mkdir(at("list/a"), 0755);
	mkdir(at("list/a/deep"), 0755);
	mkdir(at("list/empty"), 0755);
	write_file(at("list/a.txt"), "1");
	write_file(at("list/a0"), "22");
	write_file(at("list/a/b"), "333");
	write_file(at("list/a/deep/x"), "4444");
	write_file(at("list/\xc3\xa9"), "5");
	write_file(at("list/B"), "");
	write_file(at("list/.stedi-upload-77-0123456789abcdef-name"), "part");
	write_file(at("list/.stedi-upload-notes"), "no upload");
	if (symlink(at("list/a"), at("list/dirlink")) != 0 ||
		symlink("a.txt", at("list/link")) != 0 ||
		symlink("nowhere", at("list/dangling")) != 0 ||
		mkfifo(at("list/fifo"), 0600) != 0)
		abort();

	is(list_keys(store, at("list/")),
	   "list/.stedi-upload-notes list/B list/a.txt list/a/b list/a/deep/x list/a0 list/\xc3\xa9",
	   "a listing is in byte order of paths and shows regular files alone, no symbolic links");
	is(list_keys(store, at("list/a")), "list/a.txt list/a/b list/a/deep/x list/a0",
	   "a prefix may end inside a name");
	is(list_keys(store, at("list/a/b")), "list/a/b", "a prefix may be a whole path");
	is(list_keys(store, at("list/dirlink/")), "list/dirlink/b list/dirlink/deep/x",
	   "the directory asked for may be a symbolic link");
	is(list_keys(store, at("list/nothing/here/")), "", "a missing directory lists nothing");
	is(list_keys(store, at("list/a.txt/")), "", "a file is no directory: lists nothing");

	listing = stedi_store_list(store, at("list/a0"), &status);
	ok(listing != NULL && stedi_listing_next(listing, &object, &status) == 1 &&
	   object.size == 2 && object.etag != NULL && object.version_id == NULL &&
	   object.last_modified > INT64_C(1600000000000000),
	   "an object has its size, an etag and a time");
	stedi_object_free(&object);
	stedi_listing_close(listing);

	listing = stedi_store_list(store, at("list/"), &status);
	ok(stedi_listing_after(listing, at("list/a/b"), &status) &&
	   stedi_listing_next(listing, &object, &status) == 1 &&
	   strcmp(object.key, at("list/a/deep/x")) == 0, "a listing can go on after a key");
	stedi_object_free(&object);
	stedi_listing_close(listing);

	ok(stedi_store_list(store, "relative/", &status) == NULL &&
	   status.code == STEDI_BAD_ARGUMENT, "a relative path is refused");
}

static void
test_cancel_listing(StediStore *store)
{
	StediStatus status = {0};
	StediListing *listing;
	StediObject object;
	int			found = -1;

	mkdir(at("many"), 0755);
	for (int i = 0; i < 2000; i++)
	{
		char		name[32];

		snprintf(name, sizeof(name), "many/%04d", i);
		write_file(at(name), "");
	}
	waits = 0;
	stop_after = 3;
	ok(stedi_store_list(store, at("many/"), &status) == NULL && status.code == STEDI_CANCELLED,
	   "the waiter can stop the reading of a directory");
	waits = 0;
	stop_after = 12;
	listing = stedi_store_list(store, at("many/"), &status);
	while (listing != NULL && (found = stedi_listing_next(listing, &object, &status)) == 1)
		stedi_object_free(&object);
	ok(listing != NULL && found == -1 && status.code == STEDI_CANCELLED,
	   "the waiter can stop the listing later");
	stedi_listing_close(listing);
	stop_after = INT_MAX;
}

static void
test_denied(StediStore *store)
{
	StediStatus status = {0};
	pid_t		nobody = 65534;

	/* root reads everything, so become someone else for a moment */
	mkdir(at("closed"), 0700);
	write_file(at("closed/x"), "x");
	if (geteuid() == 0 && (chmod(root, 0755) != 0 || seteuid((uid_t) nobody) != 0))
		abort();
	else if (geteuid() != (uid_t) nobody && chmod(at("closed"), 0) != 0)
		abort();
	ok(stedi_store_list(store, at("closed/"), &status) == NULL &&
	   status.code == STEDI_DENIED && strstr(status.message, "Permission denied") != NULL,
	   "a directory that may not be read is an error, not empty");
	ok(stedi_store_put(store, at("closed/new/y"), NULL, &status) == NULL &&
	   status.code == STEDI_DENIED, "a directory that may not be written is an error");
	if (getuid() == 0 && seteuid(0) != 0)
		abort();
	chmod(at("closed"), 0700);
}

static void
test_get(StediStore *store)
{
	StediStatus status = {0};
	StediObject object = {0};
	StediBytes	bytes;
	StediGet   *get;
	char		buffer[16];
	static const size_t chunks[] = {1, 3, 4096};

	write_file(at("data"), "0123456789");
	ok(stedi_store_head(store, at("data"), &object, &status) && object.size == 10,
	   "head gives the size");
	for (int i = 0; i < 3; i++)
	{
		ok(read_all(store, &object, &bytes, chunks[i]) == STEDI_OK &&
		   bytes.length == 10 && memcmp(bytes.data, "0123456789", 10) == 0,
		   "a get gives the file's bytes, whatever the chunk");
		stedi_bytes_free(&bytes);
	}

	get = stedi_store_get(store, &object, &status);
	ok(stedi_get_read(get, buffer, 4, &status) == 4, "a get may be read in part");
	write_file(at("data"), "01234567890123");
	ok(stedi_get_read(get, buffer, 16, &status) == 6 &&
	   stedi_get_read(get, buffer, 16, &status) == -1 && status.code == STEDI_CHANGED,
	   "a file that grows while it is read is STEDI_CHANGED");
	stedi_get_close(get);

	is_int(read_all(store, &object, &bytes, 16), STEDI_CHANGED,
		   "a file that is not the one listed is STEDI_CHANGED");
	stedi_bytes_free(&bytes);
	stedi_object_free(&object);

	stedi_store_head(store, at("data"), &object, &status);
	get = stedi_store_get(store, &object, &status);
	ok(stedi_get_read(get, buffer, 4, &status) == 4 && truncate(at("data"), 6) == 0 &&
	   stedi_get_read(get, buffer, 16, &status) == 2 &&
	   stedi_get_read(get, buffer, 16, &status) == -1 && status.code == STEDI_CHANGED,
	   "a file cut short while it is read is never a good end");
	stedi_get_close(get);
	unlink(at("data"));
	is_int(read_all(store, &object, &bytes, 16), STEDI_NOT_FOUND,
		   "a file gone since it was listed is STEDI_NOT_FOUND");
	stedi_object_free(&object);

	write_file(at("nil"), "");
	ok(stedi_store_head(store, at("nil"), &object, &status) &&
	   read_all(store, &object, &bytes, 16) == STEDI_OK && bytes.length == 0,
	   "an empty file is an empty object");
	stedi_object_free(&object);

	ok(!stedi_store_head(store, at("missing"), &object, &status) &&
	   status.code == STEDI_NOT_FOUND && strstr(status.message, "missing") != NULL,
	   "head of a missing file is STEDI_NOT_FOUND and names it");
	ok(!stedi_store_head(store, root, &object, &status) &&
	   status.code == STEDI_BAD_ARGUMENT, "a directory is no object");
	object = (StediObject) {.key = at("list/fifo")};
	is_int(read_all(store, &object, &bytes, 16), STEDI_BAD_ARGUMENT,
		   "a FIFO is no object and is not waited for");
}

static void
test_put(StediStore *store)
{
	StediStatus status = {0};
	StediObject object = {0};
	StediBytes	bytes;
	StediPut   *put;
	char	   *etag = NULL;
	char	   *key = strdup(at("out/sub//part-0"));
	char		name[256];
	struct stat st;
	mode_t		mask = umask(022);

	put = stedi_store_put(store, key, NULL, &status);
	ok(put != NULL && stedi_put_write(put, "hello", 5, &status) &&
	   stat(key, &st) != 0, "nothing is visible before commit");
	is(list_keys(store, at("out/")), "", "a put under way is not listed");
	ok(stedi_put_write(put, " world", 6, &status) && stedi_put_commit(put, &etag, &status),
	   "a put commits");
	stedi_put_close(put);
	ok(stedi_store_head(store, key, &object, &status) && object.size == 11 && etag != NULL &&
	   strcmp(object.etag, etag) == 0, "the etag of commit is the etag of head");
	ok(stat(key, &st) == 0 && (st.st_mode & 07777) == 0644, "the umask rules the mode");
	ok(read_all(store, &object, &bytes, 16) == STEDI_OK &&
	   strcmp(bytes.data, "hello world") == 0, "what was put is what is got");
	stedi_bytes_free(&bytes);
	stedi_object_free(&object);
	free(etag);

	ok(put_text(store, key, "other", &etag) && stedi_store_head(store, key, &object, &status) &&
	   object.size == 5, "a put replaces what was there");
	stedi_object_free(&object);
	free(etag);

	put = stedi_store_put(store, key, NULL, &status);
	ok(stedi_put_write(put, "x", 1, &status) && stedi_put_abort(put, 100) &&
	   stedi_store_head(store, key, &object, &status) && object.size == 5,
	   "an aborted put leaves the old object");
	stedi_object_free(&object);
	is(list_keys(store, at("out/")), "out/sub/part-0", "and nothing else");

	memset(name, 'n', 255);
	memcpy(name, "out/", 4);
	name[255] = '\0';
	ok(put_text(store, at(name), "long", &etag), "a name near the limit can be put");
	free(etag);
	stedi_store_delete(store, at(name), &status);

	ok(stedi_store_put(store, at("out/"), NULL, &status) == NULL &&
	   status.code == STEDI_BAD_ARGUMENT, "a directory's name can't be put");
	ok(stedi_store_put(store, "out", NULL, &status) == NULL &&
	   status.code == STEDI_BAD_ARGUMENT, "nor a relative one");
	put = stedi_store_put(store, at("out/sub"), NULL, &status);
	ok(put != NULL && !stedi_put_commit(put, &etag, &status) && status.code == STEDI_IO &&
	   stedi_put_abort(put, 100), "a put can't replace a directory, and can be aborted");

	waits = 0;
	stop_after = 1;
	put = stedi_store_put(store, at("out/big"), NULL, &status);
	bytes = (StediBytes) {0};
	stedi_bytes_reserve(&bytes, 20 * 1024 * 1024);
	memset(bytes.data, 'x', 20 * 1024 * 1024);
	ok(!stedi_put_write(put, bytes.data, 20 * 1024 * 1024, &status) &&
	   status.code == STEDI_CANCELLED, "the waiter can stop a write");
	stedi_put_abort(put, 0);
	stedi_bytes_free(&bytes);
	stop_after = INT_MAX;

	ok(stedi_store_delete(store, key, &status) && stat(key, &st) != 0, "delete removes");
	ok(stedi_store_delete(store, key, &status), "deleting what is not there is success");
	ok(!stedi_store_delete(store, at("out"), &status), "a directory is not deleted");
	umask(mask);
	free(key);
}

static void
test_uploads(StediStore *store)
{
	StediStatus status = {0};
	StediUploadPage page;
	StediUpload wrong = {.key = NULL};
	struct stat st;
	char	   *leftover = strdup(at("up/deep/.stedi-upload-1-00112233445566aa-part-1"));

	mkdir(at("up"), 0755);
	mkdir(at("up/deep"), 0755);
	write_file(at("up/deep/part-0"), "object");
	write_file(leftover, "left over");
	ok(stedi_store_list_uploads(store, at("up/"), &page, &status) && page.n_uploads == 1 &&
	   !page.truncated, "a temporary file left over is an upload under way");
	is(page.uploads[0].key, at("up/deep/part-1"), "its key is that of the target");
	ok(page.uploads[0].initiated > INT64_C(1600000000000000), "it has a time");
	ok(stedi_store_abort_upload(store, &page.uploads[0], &status) && stat(leftover, &st) != 0,
	   "it can be aborted");
	ok(stedi_store_abort_upload(store, &page.uploads[0], &status), "also twice");
	stedi_upload_page_free(&page);
	write_file(leftover, "left over");
	ok(stedi_store_list_uploads(store, at("up/deep/part-2"), &page, &status) &&
	   page.n_uploads == 0, "the prefix chooses by the target's name");
	stedi_upload_page_free(&page);

	wrong.upload_id = at("up/deep/part-0");
	ok(!stedi_store_abort_upload(store, &wrong, &status) && stat(wrong.upload_id, &st) == 0,
	   "no other file can be removed that way");
	unlink(leftover);
	free(leftover);
}

/* The sanitizer's leak check is the second half of this test. */
static void
test_close_frees_handles(void)
{
	StediStatus status = {0};
	StediWaiter waiter = {count_waits, NULL};
	StediStore *store = stedi_store_open_file(waiter, &status);
	StediUploadPage page;
	StediObject object;
	char		byte;

	stedi_store_head(store, at("list/a0"), &object, &status);
	stedi_store_list(store, at("list/"), &status);
	stedi_store_list(store, at("list/"), &status);
	stedi_get_read(stedi_store_get(store, &object, &status), &byte, 1, &status);
	stedi_store_put(store, at("dropped/file"), NULL, &status);
	stedi_object_free(&object);
	stedi_store_close(store);
	store = stedi_store_open_file(waiter, &status);
	ok(stedi_store_list_uploads(store, at("dropped/"), &page, &status) && page.n_uploads == 0,
	   "closing the store closes what was opened from it");
	stedi_upload_page_free(&page);
	stedi_store_close(store);
	stedi_store_close(NULL);
}

int
main(void)
{
	StediStatus status = {0};
	StediWaiter waiter = {count_waits, NULL};
	StediStore *store = stedi_store_open_file(waiter, &status);
	StediStoreIdentity identity;
	char		command[128];

	strcpy(root, "/tmp/stedi-test-XXXXXX");
	if (mkdtemp(root) == NULL)
		abort();
	ok(stedi_store_max_fds(store) > 0, "the store states its descriptors");
	ok(!stedi_store_identify(store, &identity, &status) && status.code == STEDI_UNSUPPORTED,
	   "it has no credentials");
	stedi_status_clear(&status);
	test_listing(store);
	test_cancel_listing(store);
	test_denied(store);
	test_get(store);
	test_put(store);
	test_uploads(store);
	stedi_store_close(store);
	test_close_frees_handles();
	snprintf(command, sizeof(command), "rm -rf %s", root);
	if (system(command) != 0)
		abort();
	return tap_done();
}
