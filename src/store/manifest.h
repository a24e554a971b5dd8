/*
 * manifest.h
 *		_manifest.json: what an export wrote.
 */
#ifndef STEDI_STORE_MANIFEST_H
#define STEDI_STORE_MANIFEST_H

#include <stdint.h>

#include "core/status.h"

typedef struct StediManifestObject
{
	char	   *key;			/* file name relative to the manifest */
	char	   *etag;
	uint64_t	rows;
	uint64_t	bytes;
} StediManifestObject;

typedef struct StediManifestColumn
{
	char	   *name;			/* as in the files */
	char	   *type;			/* PostgreSQL's name of the type */
} StediManifestColumn;

/* All strings are malloc'd and belong to the struct. */
typedef struct StediManifest
{
	char	   *run_id;
	char	   *created_at;		/* ISO 8601, UTC */
	char	   *producer;		/* "stedi 1.0" */
	char	   *source;			/* relation or query exported */
	char	   *format;			/* ndjson, csv */
	char	   *compression;	/* none, gzip */
	char	   *rules;			/* policy in force: strict, published */
	char	   *snapshot;		/* what the data is based on, a JSON document, or NULL */
	StediManifestColumn *columns;
	size_t		n_columns;
	StediManifestObject *objects;
	size_t		n_objects;
} StediManifest;

/* JSON text, pretty, ends in a newline; malloc'd, NULL when out of memory. */
extern char *stedi_manifest_format(const StediManifest *manifest);

/* Parse what stedi_manifest_format wrote (of any 1.x version: unknown members
 * are ignored).  Names that could lead outside the manifest's directory ('/')
 * or an unknown format version are refused.  On failure nothing is to be freed. */
extern bool stedi_manifest_parse(const char *text, size_t length,
								 StediManifest *manifest, StediStatus *status);
extern void stedi_manifest_free(StediManifest *manifest);

#endif							/* STEDI_STORE_MANIFEST_H */
