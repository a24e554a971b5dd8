/*
 * manifest.c
 *		_manifest.json: what an export wrote.
 *
 *	{
 *	  "format_version": 1,
 *	  "run_id": …, "created_at": …, "producer": …, "source": …,
 *	  "format": …, "compression": …, "rules": …,
 *	  "rows": total, "bytes": total,
 *	  "columns": [{"name": …, "type": …}, …],
 *	  "objects": [{"key": …, "etag": …, "rows": …, "bytes": …}, …],
 *	  "snapshot": any JSON value or null
 *	}
 *
 * A reader of version 1 takes every document with "format_version": 1 and
 * ignores members it does not know; a change that such a reader would get wrong
 * raises the number.
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "store/manifest.h"

#define FORMAT_VERSION	1
#define MAX_DEPTH		64
#define SNAPSHOT_DEPTH	(MAX_DEPTH - 1) /* it is one level down */
#define TEXT_FLAGS		(JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED | \
						 JSON_C_TO_STRING_NOSLASHESCAPE)

/* The members that are plain strings, in the order they are written. */
static const struct
{
	const char *name;
	size_t		offset;
}			string_members[] =
{
	{"run_id", offsetof(StediManifest, run_id)},
	{"created_at", offsetof(StediManifest, created_at)},
	{"producer", offsetof(StediManifest, producer)},
	{"source", offsetof(StediManifest, source)},
	{"format", offsetof(StediManifest, format)},
	{"compression", offsetof(StediManifest, compression)},
	{"rules", offsetof(StediManifest, rules)},
};

#define N_STRING_MEMBERS (sizeof(string_members) / sizeof(string_members[0]))

static bool add(struct json_object *object, const char *name, struct json_object *value);
static bool add_string(struct json_object *object, const char *name, const char *text);
static bool add_uint64(struct json_object *object, const char *name, uint64_t value);
static struct json_object *append_object(struct json_object *array);
static bool add_columns(struct json_object *document, const StediManifest *manifest);
static bool add_objects(struct json_object *document, const StediManifest *manifest);
static bool add_snapshot(struct json_object *document, const char *snapshot);
static struct json_object *parse_json(const char *text, size_t length, int depth,
									  const char **error);
static struct json_object *tokenize(const char *text, size_t length, int depth, int flags,
									const char **error);
static bool parse_document(struct json_object *document, StediManifest *manifest,
						   StediStatus *status);
static bool parse_columns(struct json_object *document, StediManifest *manifest,
						  StediStatus *status);
static bool parse_objects(struct json_object *document, StediManifest *manifest,
						  StediStatus *status);
static bool parse_snapshot(struct json_object *document, StediManifest *manifest,
						   StediStatus *status);
static bool get_array(struct json_object *document, const char *name,
					  struct json_object **array, StediStatus *status);
static bool get_string(struct json_object *object, const char *name, char **text,
					   StediStatus *status);
static bool get_uint64(struct json_object *object, const char *name, uint64_t *value,
					   StediStatus *status);
static bool check_key(const char *key, StediStatus *status);
static bool damaged(StediStatus *status, const char *name);
static char **string_member(StediManifest *manifest, size_t i);

/*
 * Writing
 */

char *
stedi_manifest_format(const StediManifest *manifest)
{
	struct json_object *document = json_object_new_object();
	uint64_t	rows = 0;
	uint64_t	bytes = 0;
	char	   *text = NULL;
	bool		done;

	if (document == NULL)
		return NULL;

	for (size_t i = 0; i < manifest->n_objects; i++)
	{
		rows += manifest->objects[i].rows;
		bytes += manifest->objects[i].bytes;
	}

	done = add(document, "format_version", json_object_new_int(FORMAT_VERSION));
	for (size_t i = 0; i < N_STRING_MEMBERS; i++)
		done = done && add_string(document, string_members[i].name,
								  *string_member((StediManifest *) manifest, i));
	done = done &&
		add_uint64(document, "rows", rows) &&
		add_uint64(document, "bytes", bytes) &&
		add_columns(document, manifest) &&
		add_objects(document, manifest) &&
		add_snapshot(document, manifest->snapshot);

	if (done)
	{
		size_t		length;
		const char *json = json_object_to_json_string_length(document, TEXT_FLAGS, &length);

		text = json != NULL ? malloc(length + 2) : NULL;
		if (text != NULL)
		{
			memcpy(text, json, length);
			memcpy(text + length, "\n", 2);
		}
	}
	json_object_put(document);
	return text;
}

/* Takes value over, also on failure; NULL means that it could not be made. */
static bool
add(struct json_object *object, const char *name, struct json_object *value)
{
	if (value == NULL)
		return false;
	if (json_object_object_add(object, name, value) != 0)
	{
		json_object_put(value);
		return false;
	}
	return true;
}

static bool
add_string(struct json_object *object, const char *name, const char *text)
{
	/* json-c's null is a NULL pointer */
	if (text == NULL)
		return json_object_object_add(object, name, NULL) == 0;
	return strlen(text) <= INT_MAX && add(object, name, json_object_new_string(text));
}

static bool
add_uint64(struct json_object *object, const char *name, uint64_t value)
{
	return add(object, name, json_object_new_uint64(value));
}

/* Append an empty object to array; array owns it.  NULL when out of memory. */
static struct json_object *
append_object(struct json_object *array)
{
	struct json_object *object = json_object_new_object();

	if (object != NULL && json_object_array_add(array, object) != 0)
	{
		json_object_put(object);
		object = NULL;
	}
	return object;
}

static bool
add_columns(struct json_object *document, const StediManifest *manifest)
{
	struct json_object *array = json_object_new_array();
	bool		done = add(document, "columns", array);

	for (size_t i = 0; done && i < manifest->n_columns; i++)
	{
		struct json_object *object = append_object(array);

		done = object != NULL &&
			add_string(object, "name", manifest->columns[i].name) &&
			add_string(object, "type", manifest->columns[i].type);
	}
	return done;
}

static bool
add_objects(struct json_object *document, const StediManifest *manifest)
{
	struct json_object *array = json_object_new_array();
	bool		done = add(document, "objects", array);

	for (size_t i = 0; done && i < manifest->n_objects; i++)
	{
		struct json_object *object = append_object(array);

		done = object != NULL &&
			add_string(object, "key", manifest->objects[i].key) &&
			add_string(object, "etag", manifest->objects[i].etag) &&
			add_uint64(object, "rows", manifest->objects[i].rows) &&
			add_uint64(object, "bytes", manifest->objects[i].bytes);
	}
	return done;
}

/* A snapshot that is not JSON is kept as a string rather than lost. */
static bool
add_snapshot(struct json_object *document, const char *snapshot)
{
	struct json_object *value = NULL;
	const char *error = NULL;

	if (snapshot != NULL)
	{
		value = parse_json(snapshot, strlen(snapshot), SNAPSHOT_DEPTH, &error);
		if (error != NULL)
			return add_string(document, "snapshot", snapshot);
	}
	if (json_object_object_add(document, "snapshot", value) != 0)
	{
		json_object_put(value);
		return false;
	}
	return true;
}

/*
 * Reading
 */

bool
stedi_manifest_parse(const char *text, size_t length, StediManifest *manifest,
					 StediStatus *status)
{
	const char *error = NULL;
	struct json_object *document;
	bool		done;

	memset(manifest, 0, sizeof(*manifest));
	document = parse_json(text, length, MAX_DEPTH, &error);
	if (error != NULL)
	{
		stedi_status_set(status, STEDI_CORRUPT, "the manifest is not valid JSON");
		stedi_status_detail(status, "json-c: %s.", error);
		return false;
	}

	done = parse_document(document, manifest, status);
	json_object_put(document);
	if (!done)
		stedi_manifest_free(manifest);
	return done;
}

/*
 * The value belongs to the caller and is NULL for JSON null.  On failure *error
 * is set to a static text.  Nothing but blanks may follow the value.
 *
 * A strict tokener of json-c 0.18 takes every byte above 0x7F in a string for a
 * control character.  So the syntax is checked on a copy without such bytes:
 * they may stand in strings only, where one character is as good as another.
 */
static struct json_object *
parse_json(const char *text, size_t length, int depth, const char **error)
{
	char	   *ascii;

	while (length > 0 && text[length - 1] != '\0' && strchr(" \t\r\n", text[length - 1]) != NULL)
		length--;
	if (length == 0 || length >= INT_MAX)
	{
		*error = length == 0 ? "the document is empty" : "the document is too long";
		return NULL;
	}
	ascii = malloc(length);
	if (ascii == NULL)
	{
		*error = "out of memory";
		return NULL;
	}
	for (size_t i = 0; i < length; i++)
		ascii[i] = (unsigned char) text[i] > 0x7F ? 'x' : text[i];
	json_object_put(tokenize(ascii, length, depth, JSON_TOKENER_STRICT, error));
	free(ascii);
	if (*error != NULL)
		return NULL;
	return tokenize(text, length, depth, JSON_TOKENER_VALIDATE_UTF8, error);
}

/* The same, of a text without blanks at its end. */
static struct json_object *
tokenize(const char *text, size_t length, int depth, int flags, const char **error)
{
	struct json_tokener *tokener;
	struct json_object *value;
	enum json_tokener_error result;

	tokener = json_tokener_new_ex(depth);
	if (tokener == NULL)
	{
		*error = "out of memory";
		return NULL;
	}
	json_tokener_set_flags(tokener, flags);
	value = json_tokener_parse_ex(tokener, text, (int) length);
	result = json_tokener_get_error(tokener);
	if (result == json_tokener_continue)
	{
		/* a number or a word ends only with what comes after it */
		value = json_tokener_parse_ex(tokener, "\n", 1);
		result = json_tokener_get_error(tokener);
	}
	else if (result == json_tokener_success && json_tokener_get_parse_end(tokener) != length)
	{
		json_object_put(value);
		value = NULL;
		result = json_tokener_error_parse_unexpected;
	}
	if (result == json_tokener_continue)
		*error = "the document ends too early";
	else if (result != json_tokener_success)
		*error = json_tokener_error_desc(result);
	json_tokener_free(tokener);
	return value;
}

static bool
parse_document(struct json_object *document, StediManifest *manifest, StediStatus *status)
{
	struct json_object *version;

	if (!json_object_is_type(document, json_type_object))
		return stedi_status_set(status, STEDI_CORRUPT, "the manifest is not a JSON object");
	if (!json_object_object_get_ex(document, "format_version", &version) ||
		!json_object_is_type(version, json_type_int))
		return damaged(status, "format_version");
	if (json_object_get_int64(version) != FORMAT_VERSION)
	{
		stedi_status_set(status, STEDI_UNSUPPORTED, "manifest format version %lld is not supported",
						 (long long) json_object_get_int64(version));
		stedi_status_hint(status, "It was written by a newer version of stedi.");
		return false;
	}

	for (size_t i = 0; i < N_STRING_MEMBERS; i++)
	{
		if (!get_string(document, string_members[i].name, string_member(manifest, i), status))
			return false;
	}
	return parse_columns(document, manifest, status) &&
		parse_objects(document, manifest, status) &&
		parse_snapshot(document, manifest, status);
}

static bool
parse_columns(struct json_object *document, StediManifest *manifest, StediStatus *status)
{
	struct json_object *array;
	size_t		n;

	if (!get_array(document, "columns", &array, status))
		return false;
	n = json_object_array_length(array);
	manifest->columns = calloc(n + 1, sizeof(*manifest->columns));
	if (manifest->columns == NULL)
		return stedi_status_set(status, STEDI_NO_MEMORY, "out of memory");

	for (size_t i = 0; i < n; i++)
	{
		struct json_object *object = json_object_array_get_idx(array, i);
		StediManifestColumn *column = &manifest->columns[manifest->n_columns++];

		if (!get_string(object, "name", &column->name, status) ||
			!get_string(object, "type", &column->type, status))
			return false;
	}
	return true;
}

static bool
parse_objects(struct json_object *document, StediManifest *manifest, StediStatus *status)
{
	struct json_object *array;
	size_t		n;

	if (!get_array(document, "objects", &array, status))
		return false;
	n = json_object_array_length(array);
	manifest->objects = calloc(n + 1, sizeof(*manifest->objects));
	if (manifest->objects == NULL)
		return stedi_status_set(status, STEDI_NO_MEMORY, "out of memory");

	for (size_t i = 0; i < n; i++)
	{
		struct json_object *value = json_object_array_get_idx(array, i);
		StediManifestObject *object = &manifest->objects[manifest->n_objects++];

		if (!get_string(value, "key", &object->key, status) ||
			!check_key(object->key, status) ||
			!get_string(value, "etag", &object->etag, status) ||
			!get_uint64(value, "rows", &object->rows, status) ||
			!get_uint64(value, "bytes", &object->bytes, status))
			return false;
	}
	return true;
}

static bool
parse_snapshot(struct json_object *document, StediManifest *manifest, StediStatus *status)
{
	struct json_object *value = NULL;
	const char *json;

	if (!json_object_object_get_ex(document, "snapshot", &value) || value == NULL)
		return true;
	json = json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN |
										  JSON_C_TO_STRING_NOSLASHESCAPE);
	manifest->snapshot = json != NULL ? strdup(json) : NULL;
	if (manifest->snapshot == NULL)
		return stedi_status_set(status, STEDI_NO_MEMORY, "out of memory");
	return true;
}

static bool
get_array(struct json_object *document, const char *name, struct json_object **array,
		  StediStatus *status)
{
	if (!json_object_object_get_ex(document, name, array) ||
		!json_object_is_type(*array, json_type_array))
		return damaged(status, name);
	return true;
}

/* NULL for null.  object may be any JSON value. */
static bool
get_string(struct json_object *object, const char *name, char **text, StediStatus *status)
{
	struct json_object *value;
	size_t		length;

	if (!json_object_object_get_ex(object, name, &value))
		return damaged(status, name);
	if (value == NULL)
		return true;
	length = (size_t) json_object_get_string_len(value);
	if (!json_object_is_type(value, json_type_string) ||
		strlen(json_object_get_string(value)) != length)
		return damaged(status, name);

	*text = strdup(json_object_get_string(value));
	if (*text == NULL)
		return stedi_status_set(status, STEDI_NO_MEMORY, "out of memory");
	return true;
}

static bool
get_uint64(struct json_object *object, const char *name, uint64_t *value, StediStatus *status)
{
	struct json_object *number;

	if (!json_object_object_get_ex(object, name, &number) ||
		!json_object_is_type(number, json_type_int) || json_object_get_int64(number) < 0)
		return damaged(status, name);
	*value = json_object_get_uint64(number);
	return true;
}

/*
 * What a manifest lists may get deleted, so its names must not lead elsewhere.
 */
static bool
check_key(const char *key, StediStatus *status)
{
	bool		valid = key != NULL && *key != '\0' && strchr(key, '/') == NULL &&
		strcmp(key, ".") != 0 && strcmp(key, "..") != 0;

	for (const char *p = key; valid && *p; p++)
		valid = (unsigned char) *p >= 0x20 && *p != 0x7F;
	if (!valid)
		return stedi_status_set(status, STEDI_CORRUPT,
								"the manifest lists an object whose name is not a plain file name");
	return true;
}

static bool
damaged(StediStatus *status, const char *name)
{
	return stedi_status_set(status, STEDI_CORRUPT,
							"the manifest's member \"%s\" is missing or malformed", name);
}

static char **
string_member(StediManifest *manifest, size_t i)
{
	return (char **) ((char *) manifest + string_members[i].offset);
}

void
stedi_manifest_free(StediManifest *manifest)
{
	for (size_t i = 0; i < N_STRING_MEMBERS; i++)
		free(*string_member(manifest, i));
	free(manifest->snapshot);
	for (size_t i = 0; i < manifest->n_columns; i++)
	{
		free(manifest->columns[i].name);
		free(manifest->columns[i].type);
	}
	free(manifest->columns);
	for (size_t i = 0; i < manifest->n_objects; i++)
	{
		free(manifest->objects[i].key);
		free(manifest->objects[i].etag);
	}
	free(manifest->objects);
	memset(manifest, 0, sizeof(*manifest));
}
