/*
 * json_schema.c
 *		Which key of a record goes to which column.
 *
 * A hash table of normalised names: '_' removed, ASCII case folded.  Keys are
 * normalised on the fly while they are hashed and compared, so a look-up needs
 * no memory.
 */
#include <stdlib.h>

#include "core/json_internal.h"

typedef struct Name
{
	char	   *text;			/* normalised */
	size_t		length;
	uint32_t	hash;
	int			column;
} Name;

struct StediJsonSchema
{
	int			n_columns;
	Name	   *slots;			/* open addressing; text NULL = empty */
	size_t		n_slots;		/* 0 or a power of two, at least twice n_names */
	size_t		n_names;
};

static size_t normalise(const char *text, size_t length, char *out);
static inline int fold(char c);
static uint32_t hash_key(const char *key, size_t length);
static bool name_equals(const Name *name, const char *key, size_t length);
static Name *find_slot(const StediJsonSchema *schema, uint32_t hash,
					   const char *key, size_t length);
static bool grow(StediJsonSchema *schema);

StediJsonSchema *
stedi_json_schema_new(int n_columns)
{
	StediJsonSchema *schema = calloc(1, sizeof(StediJsonSchema));

	if (schema != NULL)
		schema->n_columns = n_columns;
	return schema;
}

void
stedi_json_schema_free(StediJsonSchema *schema)
{
	if (schema == NULL)
		return;
	for (size_t i = 0; i < schema->n_slots; i++)
		free(schema->slots[i].text);
	free(schema->slots);
	free(schema);
}

bool
stedi_json_schema_add(StediJsonSchema *schema, int column, const char *name,
					  StediStatus *status)
{
	size_t		length = strlen(name);
	uint32_t	hash = hash_key(name, length);
	Name	   *slot;

	if (column < 0 || column >= schema->n_columns)
		return stedi_status_set(status, STEDI_BAD_ARGUMENT,
								"key \"%s\" is mapped to column %d of %d",
								name, column, schema->n_columns);

	if ((schema->n_names + 1) * 2 > schema->n_slots && !grow(schema))
		return stedi_status_set(status, STEDI_NO_MEMORY, "out of memory");

	slot = find_slot(schema, hash, name, length);
	if (slot->text != NULL)
	{
		if (slot->column == column)
			return true;
		stedi_status_set(status, STEDI_BAD_ARGUMENT,
						 "key \"%s\" is claimed by more than one column", name);
		stedi_status_detail(status, "Keys are compared without underscores and case.");
		return false;
	}

	slot->text = malloc(length + 1);
	if (slot->text == NULL)
		return stedi_status_set(status, STEDI_NO_MEMORY, "out of memory");
	slot->length = normalise(name, length, slot->text);
	slot->hash = hash;
	slot->column = column;
	schema->n_names++;
	return true;
}

int
stedi_json_schema_find(const StediJsonSchema *schema, const char *key, size_t length)
{
	Name	   *slot;

	if (schema->n_names == 0)
		return -1;
	slot = find_slot(schema, hash_key(key, length), key, length);
	return slot->text != NULL ? slot->column : -1;
}

int
stedi_json_schema_columns(const StediJsonSchema *schema)
{
	return schema->n_columns;
}

/* The folded byte, or -1 for one that doesn't count. */
static inline int
fold(char c)
{
	if (c == '_')
		return -1;
	if (c >= 'A' && c <= 'Z')
		return c - 'A' + 'a';
	return (unsigned char) c;
}

static size_t
normalise(const char *text, size_t length, char *out)
{
	size_t		n = 0;

	for (size_t i = 0; i < length; i++)
	{
		int			c = fold(text[i]);

		if (c >= 0)
			out[n++] = (char) c;
	}
	return n;
}

/* FNV-1a of the normalised key. */
static uint32_t
hash_key(const char *key, size_t length)
{
	uint32_t	hash = 2166136261u;

	for (size_t i = 0; i < length; i++)
	{
		int			c = fold(key[i]);

		if (c >= 0)
			hash = (hash ^ (uint32_t) c) * 16777619u;
	}
	return hash;
}

static bool
name_equals(const Name *name, const char *key, size_t length)
{
	size_t		n = 0;

	for (size_t i = 0; i < length; i++)
	{
		int			c = fold(key[i]);

		if (c < 0)
			continue;
		if (n == name->length || (unsigned char) name->text[n] != c)
			return false;
		n++;
	}
	return n == name->length;
}

/* The slot that holds the key, or the empty one where it would go. */
static Name *
find_slot(const StediJsonSchema *schema, uint32_t hash, const char *key, size_t length)
{
	for (size_t i = hash;; i++)
	{
		Name	   *slot = &schema->slots[i & (schema->n_slots - 1)];

		if (slot->text == NULL ||
			(slot->hash == hash && name_equals(slot, key, length)))
			return slot;
	}
}

static bool
grow(StediJsonSchema *schema)
{
	size_t		n_old = schema->n_slots;
	Name	   *old = schema->slots;
	size_t		n_new = n_old > 0 ? n_old * 2 : 16;
	Name	   *slots = calloc(n_new, sizeof(Name));

	if (slots == NULL)
		return false;
	schema->slots = slots;
	schema->n_slots = n_new;
	for (size_t i = 0; i < n_old; i++)
	{
		if (old[i].text != NULL)
			*find_slot(schema, old[i].hash, old[i].text, old[i].length) = old[i];
	}
	free(old);
	return true;
}
