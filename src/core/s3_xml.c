/*
 * s3_xml.c
 *		The XML that S3 sends and takes, and what STS replies.
 *
 * Every reply is parsed the same way: a Document keeps the path of the element
 * it is in ("ListBucketResult/Contents/Key") and calls the parser of that kind
 * of reply at the start and at the end of each element.  Matching whole paths
 * is what tells an object's Key from anything of that name elsewhere.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <expat.h>
#include <openssl/crypto.h>

#include "core/s3_xml.h"
#include "core/uri.h"

#define MAX_DEPTH		16		/* S3's replies need 4 */
#define MAX_NAME		40		/* of an element; a longer one is clipped and so unknown */
#define MAX_TEXT		(64 * 1024) /* of one value; a token has a few hundred bytes */

typedef struct Document
{
	XML_Parser	parser;
	const char *root;			/* name the first element must have */
	void		(*start) (struct Document *document);	/* may be NULL */
	/* text is "" for an element that has other elements inside */
	void		(*end) (struct Document *document, const char *text);
	void	   *target;

	char		path[MAX_DEPTH * (MAX_NAME + 1)];
	size_t		lengths[MAX_DEPTH]; /* of path, outside each open element */
	int			depth;
	StediBytes	text;
	bool		is_leaf;		/* no element has ended inside the current one */

	const char *fault;			/* static text: why parsing was stopped */
	bool		no_memory;
} Document;

/* What the parser of a listing or of uploads knows besides the page. */
typedef struct ListTarget
{
	StediListPage *page;
	size_t		capacity;
	bool		has_size;		/* the current object has one */
	bool		is_encoded;
} ListTarget;

typedef struct UploadTarget
{
	StediUploadPage *page;
	size_t		capacity;
	bool		is_encoded;
} UploadTarget;

/* Where an element of STS's credentials goes. */
typedef struct StsTarget
{
	StediStsCredentials *credentials;
	char		prefix[2 * (MAX_NAME + 1) + 16];	/* path, up to the last '/' */
	bool		has_expiry;
} StsTarget;

static bool parse_document(Document *document, const char *xml, size_t length,
						   const char *what, StediStatus *status);
static void XMLCALL on_start(void *arg, const XML_Char *name, const XML_Char **attributes);
static void XMLCALL on_end(void *arg, const XML_Char *name);
static void XMLCALL on_text(void *arg, const XML_Char *text, int length);
static void XMLCALL on_doctype(void *arg, const XML_Char *name, const XML_Char *system_id,
							   const XML_Char *public_id, int has_internal_subset);
static void stop(Document *document, const char *fault);
static void stop_no_memory(Document *document);
static bool is_stopped(const Document *document);
static bool at(const Document *document, const char *path);
static void list_start(Document *document);
static void list_end(Document *document, const char *text);
static void uploads_start(Document *document);
static void uploads_end(Document *document, const char *text);
static void error_end(Document *document, const char *text);
static void upload_id_end(Document *document, const char *text);
static void complete_end(Document *document, const char *text);
static void sts_end(Document *document, const char *text);
static void sts_error_end(Document *document, const char *text);
static void wipe(char **text);
static void *add_item(Document *document, void *items, size_t *n_items,
					  size_t *capacity, size_t item_size);
static void set_text(Document *document, char **field, const char *text);
static void set_etag(Document *document, char **field, const char *text);
static void set_bool(Document *document, bool *field, const char *text);
static void set_time(Document *document, int64_t *field, const char *text);
static void set_size(Document *document, uint64_t *field, const char *text);
static void set_encoding(Document *document, bool *is_encoded, const char *text);
static bool decode_key(char **key, const char *what, StediStatus *status);
static void clip(char *out, size_t size, const char *text);
static bool append_escaped(StediBytes *out, const char *text);
static bool parse_digits(const char **text, int count, int *value);
static int64_t days_since_1970(int year, int month, int day);

/*
 * Parsing
 */

static bool
parse_document(Document *document, const char *xml, size_t length,
			   const char *what, StediStatus *status)
{
	bool		done;
	enum XML_Error error;

	/* S3 keeps a slow reply alive by sending blanks ahead of the document */
	while (length > 0 && strchr(" \t\r\n", *xml) != NULL && *xml != '\0')
	{
		xml++;
		length--;
	}
	if (length > INT_MAX)
		return stedi_status_set(status, STEDI_PROTOCOL, "S3 sent %s that is too long", what);

	document->parser = XML_ParserCreate(NULL);
	if (document->parser == NULL)
		return stedi_status_set(status, STEDI_NO_MEMORY, "out of memory");
	stedi_bytes_init(&document->text, 0);
	XML_SetUserData(document->parser, document);
	XML_SetElementHandler(document->parser, on_start, on_end);
	XML_SetCharacterDataHandler(document->parser, on_text);
	XML_SetStartDoctypeDeclHandler(document->parser, on_doctype);

	done = XML_Parse(document->parser, xml, (int) length, XML_TRUE) == XML_STATUS_OK;
	error = XML_GetErrorCode(document->parser);
	if (!done)
	{
		if (document->no_memory || error == XML_ERROR_NO_MEMORY)
			stedi_status_set(status, STEDI_NO_MEMORY, "out of memory");
		else
		{
			stedi_status_set(status, STEDI_PROTOCOL, "S3 sent %s that makes no sense", what);
			stedi_status_detail(status, "Of %zu bytes: %s.", length,
								document->fault ? document->fault : XML_ErrorString(error));
		}
	}
	XML_ParserFree(document->parser);
	/* it may have held a secret */
	if (document->text.data != NULL)
		OPENSSL_cleanse(document->text.data, document->text.capacity);
	stedi_bytes_free(&document->text);
	return done;
}

static void XMLCALL
on_start(void *arg, const XML_Char *name, const XML_Char **attributes)
{
	Document   *document = arg;
	const char *colon = strchr(name, ':');
	const char *local = colon ? colon + 1 : name;
	size_t		length = document->depth > 0 ? strlen(document->path) : 0;

	(void) attributes;
	if (is_stopped(document))
		return;
	if (document->depth == MAX_DEPTH)
	{
		stop(document, "elements are nested too deeply");
		return;
	}
	if (document->depth == 0 && strcmp(local, document->root) != 0)
	{
		stop(document, "it is another kind of document");
		return;
	}

	document->lengths[document->depth++] = length;
	snprintf(document->path + length, sizeof(document->path) - length, "%s%.*s",
			 length > 0 ? "/" : "", MAX_NAME, local);
	stedi_bytes_reset(&document->text);
	document->is_leaf = true;
	if (document->start)
		document->start(document);
}

static void XMLCALL
on_end(void *arg, const XML_Char *name)
{
	Document   *document = arg;
	const char *text = document->text.data;

	(void) name;
	if (is_stopped(document))
		return;
	document->end(document, text != NULL ? text : "");
	document->path[document->lengths[--document->depth]] = '\0';
	stedi_bytes_reset(&document->text);
	document->is_leaf = false;
}

static void XMLCALL
on_text(void *arg, const XML_Char *text, int length)
{
	Document   *document = arg;

	if (is_stopped(document) || !document->is_leaf)
		return;
	if (document->text.length + (size_t) length > MAX_TEXT)
		stop(document, "a value is too long");
	else if (!stedi_bytes_append(&document->text, text, (size_t) length))
		stop_no_memory(document);
}

/* A DTD has no place in S3's replies, and its entities are an attack. */
static void XMLCALL
on_doctype(void *arg, const XML_Char *name, const XML_Char *system_id,
		   const XML_Char *public_id, int has_internal_subset)
{
	(void) name;
	(void) system_id;
	(void) public_id;
	(void) has_internal_subset;
	stop(arg, "it has a document type declaration");
}

static void
stop(Document *document, const char *fault)
{
	if (!is_stopped(document))
		document->fault = fault;
	XML_StopParser(document->parser, XML_FALSE);
}

static void
stop_no_memory(Document *document)
{
	document->no_memory = true;
	XML_StopParser(document->parser, XML_FALSE);
}

/* Expat calls some more handlers after it was told to stop. */
static bool
is_stopped(const Document *document)
{
	return document->fault != NULL || document->no_memory;
}

static bool
at(const Document *document, const char *path)
{
	return strcmp(document->path, path) == 0;
}

/*
 * Listings
 */

bool
stedi_s3_parse_list(const char *xml, size_t length, StediListPage *page, StediStatus *status)
{
	static const char what[] = "a listing";
	ListTarget	target = {.page = page};
	Document	document = {
		.root = "ListBucketResult", .start = list_start, .end = list_end, .target = &target
	};
	bool		done;

	memset(page, 0, sizeof(*page));
	done = parse_document(&document, xml, length, what, status);
	for (size_t i = 0; done && target.is_encoded && i < page->n_objects; i++)
		done = decode_key(&page->objects[i].key, what, status);
	if (done && page->truncated && page->next_token == NULL)
		done = stedi_status_set(status, STEDI_PROTOCOL,
								"S3 sent a truncated listing without a continuation token");
	if (!done)
		stedi_list_page_free(page);
	return done;
}

static void
list_start(Document *document)
{
	ListTarget *target = document->target;
	StediListPage *page = target->page;

	if (!at(document, "ListBucketResult/Contents"))
		return;
	page->objects = add_item(document, page->objects, &page->n_objects,
							 &target->capacity, sizeof(*page->objects));
	target->has_size = false;
}

static void
list_end(Document *document, const char *text)
{
	ListTarget *target = document->target;
	StediListPage *page = target->page;
	StediObject *object = page->n_objects > 0 ? &page->objects[page->n_objects - 1] : NULL;

	if (object != NULL && at(document, "ListBucketResult/Contents/Key"))
		set_text(document, &object->key, text);
	else if (object != NULL && at(document, "ListBucketResult/Contents/ETag"))
		set_etag(document, &object->etag, text);
	else if (object != NULL && at(document, "ListBucketResult/Contents/LastModified"))
		set_time(document, &object->last_modified, text);
	else if (object != NULL && at(document, "ListBucketResult/Contents/Size"))
	{
		set_size(document, &object->size, text);
		target->has_size = true;
	}
	else if (object != NULL && at(document, "ListBucketResult/Contents"))
	{
		if (object->key == NULL || !target->has_size)
			stop(document, "an object has no key or no size");
	}
	else if (at(document, "ListBucketResult/IsTruncated"))
		set_bool(document, &page->truncated, text);
	else if (at(document, "ListBucketResult/NextContinuationToken"))
		set_text(document, &page->next_token, text);
	else if (at(document, "ListBucketResult/EncodingType"))
		set_encoding(document, &target->is_encoded, text);
}

void
stedi_list_page_free(StediListPage *page)
{
	for (size_t i = 0; i < page->n_objects; i++)
		stedi_object_free(&page->objects[i]);
	free(page->objects);
	free(page->next_token);
	memset(page, 0, sizeof(*page));
}

void
stedi_object_free(StediObject *object)
{
	free(object->key);
	free(object->etag);
	free(object->version_id);
	memset(object, 0, sizeof(*object));
}

bool
stedi_object_copy(StediObject *to, const StediObject *from)
{
	*to = *from;
	to->key = from->key ? strdup(from->key) : NULL;
	to->etag = from->etag ? strdup(from->etag) : NULL;
	to->version_id = from->version_id ? strdup(from->version_id) : NULL;

	if ((from->key && !to->key) || (from->etag && !to->etag) ||
		(from->version_id && !to->version_id))
	{
		stedi_object_free(to);
		return false;
	}
	return true;
}

/*
 * Uploads in progress
 */

bool
stedi_s3_parse_uploads(const char *xml, size_t length, StediUploadPage *page,
					   StediStatus *status)
{
	static const char what[] = "a listing of uploads";
	UploadTarget target = {.page = page};
	Document	document = {
		.root = "ListMultipartUploadsResult", .start = uploads_start, .end = uploads_end,
		.target = &target
	};
	bool		done;

	memset(page, 0, sizeof(*page));
	done = parse_document(&document, xml, length, what, status);
	for (size_t i = 0; done && target.is_encoded && i < page->n_uploads; i++)
		done = decode_key(&page->uploads[i].key, what, status);
	if (done && target.is_encoded && page->next_key_marker != NULL)
		done = decode_key(&page->next_key_marker, what, status);
	if (done && page->truncated && page->next_key_marker == NULL)
		done = stedi_status_set(status, STEDI_PROTOCOL,
								"S3 sent a truncated listing of uploads without a key marker");
	if (!done)
		stedi_upload_page_free(page);
	return done;
}

static void
uploads_start(Document *document)
{
	UploadTarget *target = document->target;
	StediUploadPage *page = target->page;

	if (at(document, "ListMultipartUploadsResult/Upload"))
		page->uploads = add_item(document, page->uploads, &page->n_uploads,
								 &target->capacity, sizeof(*page->uploads));
}

static void
uploads_end(Document *document, const char *text)
{
	UploadTarget *target = document->target;
	StediUploadPage *page = target->page;
	StediUpload *upload = page->n_uploads > 0 ? &page->uploads[page->n_uploads - 1] : NULL;

	if (upload != NULL && at(document, "ListMultipartUploadsResult/Upload/Key"))
		set_text(document, &upload->key, text);
	else if (upload != NULL && at(document, "ListMultipartUploadsResult/Upload/UploadId"))
		set_text(document, &upload->upload_id, text);
	else if (upload != NULL && at(document, "ListMultipartUploadsResult/Upload/Initiated"))
		set_time(document, &upload->initiated, text);
	else if (upload != NULL && at(document, "ListMultipartUploadsResult/Upload"))
	{
		if (upload->key == NULL || upload->upload_id == NULL)
			stop(document, "an upload has no key or no ID");
	}
	else if (at(document, "ListMultipartUploadsResult/IsTruncated"))
		set_bool(document, &page->truncated, text);
	else if (at(document, "ListMultipartUploadsResult/NextKeyMarker"))
		set_text(document, &page->next_key_marker, text);
	else if (at(document, "ListMultipartUploadsResult/NextUploadIdMarker"))
		set_text(document, &page->next_upload_id_marker, text);
	else if (at(document, "ListMultipartUploadsResult/EncodingType"))
		set_encoding(document, &target->is_encoded, text);
}

void
stedi_upload_page_free(StediUploadPage *page)
{
	for (size_t i = 0; i < page->n_uploads; i++)
	{
		free(page->uploads[i].key);
		free(page->uploads[i].upload_id);
	}
	free(page->uploads);
	free(page->next_key_marker);
	free(page->next_upload_id_marker);
	memset(page, 0, sizeof(*page));
}

/*
 * Errors and multipart uploads
 */

bool
stedi_s3_parse_error(const char *xml, size_t length, StediS3Error *error)
{
	Document	document = {.root = "Error", .end = error_end, .target = error};
	StediStatus ignored;

	memset(error, 0, sizeof(*error));
	if (parse_document(&document, xml, length, "an error", &ignored))
		return true;
	memset(error, 0, sizeof(*error));
	return false;
}

static void
error_end(Document *document, const char *text)
{
	StediS3Error *error = document->target;

	if (at(document, "Error/Code"))
		clip(error->code, sizeof(error->code), text);
	else if (at(document, "Error/Message"))
		clip(error->message, sizeof(error->message), text);
	else if (at(document, "Error/RequestId"))
		clip(error->request_id, sizeof(error->request_id), text);
	else if (at(document, "Error/Region"))
		clip(error->region, sizeof(error->region), text);
}

char *
stedi_s3_parse_upload_id(const char *xml, size_t length, StediStatus *status)
{
	char	   *upload_id = NULL;
	Document	document = {
		.root = "InitiateMultipartUploadResult", .end = upload_id_end, .target = &upload_id
	};

	if (parse_document(&document, xml, length, "a reply to the start of an upload", status))
	{
		if (upload_id == NULL)
			stedi_status_set(status, STEDI_PROTOCOL, "S3 started an upload without an ID");
		return upload_id;
	}
	free(upload_id);
	return NULL;
}

static void
upload_id_end(Document *document, const char *text)
{
	if (at(document, "InitiateMultipartUploadResult/UploadId"))
		set_text(document, document->target, text);
}

char *
stedi_s3_parse_complete(const char *xml, size_t length, StediStatus *status)
{
	char	   *etag = NULL;
	Document	document = {
		.root = "CompleteMultipartUploadResult", .end = complete_end, .target = &etag
	};
	StediS3Error error;

	if (parse_document(&document, xml, length, "a reply to the end of an upload", status))
	{
		if (etag == NULL)
			stedi_status_set(status, STEDI_PROTOCOL, "S3 completed an upload without an ETag");
		return etag;
	}
	free(etag);
	if (stedi_s3_parse_error(xml, length, &error))
	{
		stedi_status_set(status, STEDI_PROTOCOL, "S3 could not complete an upload");
		stedi_status_detail(status, "S3 error %s, request %s: %s", error.code,
							error.request_id, error.message);
	}
	return NULL;
}

static void
complete_end(Document *document, const char *text)
{
	if (at(document, "CompleteMultipartUploadResult/ETag"))
		set_etag(document, document->target, text);
}

bool
stedi_s3_format_complete(StediBytes *out, char *const *etags, int n_parts)
{
	stedi_bytes_append_text(out, "<CompleteMultipartUpload"
							" xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
	for (int i = 0; i < n_parts; i++)
	{
		stedi_bytes_printf(out, "<Part><PartNumber>%d</PartNumber><ETag>\"", i + 1);
		append_escaped(out, etags[i]);
		stedi_bytes_append_text(out, "\"</ETag></Part>");
	}
	return stedi_bytes_append_text(out, "</CompleteMultipartUpload>");
}

static bool
append_escaped(StediBytes *out, const char *text)
{
	for (; *text; text++)
	{
		if (*text == '&')
			stedi_bytes_append_text(out, "&amp;");
		else if (*text == '<')
			stedi_bytes_append_text(out, "&lt;");
		else if (*text == '>')
			stedi_bytes_append_text(out, "&gt;");
		else
			stedi_bytes_append_char(out, *text);
	}
	return !out->failed;
}

/*
 * STS
 */

bool
stedi_sts_parse_credentials(const char *xml, size_t length, const char *action,
							StediStsCredentials *credentials, StediStatus *status)
{
	char		root[MAX_NAME + 1];
	StsTarget	target = {.credentials = credentials};
	Document	document = {.root = root, .end = sts_end, .target = &target};
	bool		done;

	memset(credentials, 0, sizeof(*credentials));
	snprintf(root, sizeof(root), "%sResponse", action);
	snprintf(target.prefix, sizeof(target.prefix), "%s/%sResult/Credentials/", root, action);
	done = parse_document(&document, xml, length, "credentials", status);
	if (done && (credentials->access_key_id == NULL || credentials->secret_access_key == NULL ||
				 credentials->session_token == NULL || !target.has_expiry))
		done = stedi_status_set(status, STEDI_PROTOCOL, "STS sent incomplete credentials");
	if (!done)
		stedi_sts_credentials_free(credentials);
	return done;
}

static void
sts_end(Document *document, const char *text)
{
	StsTarget  *target = document->target;
	StediStsCredentials *credentials = target->credentials;
	size_t		length = strlen(target->prefix);
	const char *name = document->path + length;

	if (strncmp(document->path, target->prefix, length) != 0)
		return;
	if (strcmp(name, "AccessKeyId") == 0)
		set_text(document, &credentials->access_key_id, text);
	else if (strcmp(name, "SecretAccessKey") == 0)
		set_text(document, &credentials->secret_access_key, text);
	else if (strcmp(name, "SessionToken") == 0)
		set_text(document, &credentials->session_token, text);
	else if (strcmp(name, "Expiration") == 0)
	{
		set_time(document, &credentials->expires_at, text);
		target->has_expiry = true;
	}
}

void
stedi_sts_credentials_free(StediStsCredentials *credentials)
{
	wipe(&credentials->access_key_id);
	wipe(&credentials->secret_access_key);
	wipe(&credentials->session_token);
	memset(credentials, 0, sizeof(*credentials));
}

static void
wipe(char **text)
{
	if (*text != NULL)
		OPENSSL_cleanse(*text, strlen(*text));
	free(*text);
	*text = NULL;
}

void
stedi_sts_parse_error(const char *xml, size_t length, char code[64])
{
	Document	document = {.root = "ErrorResponse", .end = sts_error_end, .target = code};
	StediStatus ignored;

	code[0] = '\0';
	if (!parse_document(&document, xml, length, "an error", &ignored))
		code[0] = '\0';
}

static void
sts_error_end(Document *document, const char *text)
{
	if (at(document, "ErrorResponse/Error/Code"))
		clip(document->target, 64, text);
}

/*
 * Values.  Each setter stops the document when the text does not fit.
 */

/* Make room for one more item, zeroed.  Returns the array; items stays valid on failure. */
static void *
add_item(Document *document, void *items, size_t *n_items, size_t *capacity, size_t item_size)
{
	if (*n_items == *capacity)
	{
		size_t		wanted = *capacity > 0 ? *capacity * 2 : 64;
		void	   *grown = realloc(items, wanted * item_size);

		if (grown == NULL)
		{
			stop_no_memory(document);
			return items;
		}
		items = grown;
		*capacity = wanted;
	}
	memset((char *) items + *n_items * item_size, 0, item_size);
	++*n_items;
	return items;
}

/* An empty text leaves the field NULL. */
static void
set_text(Document *document, char **field, const char *text)
{
	char	   *copy = *text ? strdup(text) : NULL;

	if (*text && copy == NULL)
		stop_no_memory(document);
	free(*field);
	*field = copy;
}

static void
set_etag(Document *document, char **field, const char *text)
{
	size_t		length = strlen(text);
	bool		quoted = length > 2 && text[0] == '"' && text[length - 1] == '"';

	/* it goes into a header, where a line's end would begin another one */
	for (const char *p = text; *p; p++)
	{
		if ((unsigned char) *p < ' ' || *p == 0x7F)
			stop(document, "an ETag is malformed");
	}
	set_text(document, field, quoted ? text + 1 : text);
	if (quoted && *field != NULL)
		(*field)[length - 2] = '\0';
}

static void
set_bool(Document *document, bool *field, const char *text)
{
	*field = strcmp(text, "true") == 0;
	if (!*field && strcmp(text, "false") != 0)
		stop(document, "a value is neither true nor false");
}

static void
set_time(Document *document, int64_t *field, const char *text)
{
	if (!stedi_parse_iso8601(text, field))
		stop(document, "a time is malformed");
}

static void
set_size(Document *document, uint64_t *field, const char *text)
{
	uint64_t	value = 0;
	bool		valid = *text != '\0';

	for (; *text && valid; text++)
	{
		valid = *text >= '0' && *text <= '9' &&
			!__builtin_mul_overflow(value, (uint64_t) 10, &value) &&
			!__builtin_add_overflow(value, (uint64_t) (*text - '0'), &value);
	}
	if (!valid)
		stop(document, "a size is malformed");
	*field = value;
}

static void
set_encoding(Document *document, bool *is_encoded, const char *text)
{
	*is_encoded = strcmp(text, "url") == 0;
	if (!*is_encoded && *text)
		stop(document, "the encoding of keys is unknown");
}

static bool
decode_key(char **key, const char *what, StediStatus *status)
{
	StediBytes	decoded;

	stedi_bytes_init(&decoded, 0);
	if (!stedi_percent_decode(&decoded, *key, strlen(*key), true) && !decoded.failed)
	{
		stedi_bytes_free(&decoded);
		return stedi_status_set(status, STEDI_PROTOCOL,
								"S3 sent %s with a malformed key", what);
	}
	free(*key);
	*key = stedi_bytes_steal(&decoded);
	if (*key == NULL)
		return stedi_status_set(status, STEDI_NO_MEMORY, "out of memory");
	if (!stedi_utf8_valid(*key, strlen(*key)))
		return stedi_status_set(status, STEDI_PROTOCOL,
								"S3 sent %s with a key that is not UTF-8", what);
	return true;
}

/* Copy what fits, up to a whole UTF-8 character. */
static void
clip(char *out, size_t size, const char *text)
{
	size_t		length = strlen(text);

	if (length >= size)
	{
		length = size - 1;
		while (length > 0 && ((unsigned char) text[length] & 0xC0) == 0x80)
			length--;
	}
	memcpy(out, text, length);
	out[length] = '\0';
}

bool
stedi_parse_iso8601(const char *text, int64_t *microseconds)
{
	static const int days_in_month[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	int			year,
				month,
				day,
				hour,
				minute,
				second;
	int64_t		fraction = 0;
	bool		leap;

	if (!parse_digits(&text, 4, &year) || *text++ != '-' ||
		!parse_digits(&text, 2, &month) || *text++ != '-' ||
		!parse_digits(&text, 2, &day) || *text++ != 'T' ||
		!parse_digits(&text, 2, &hour) || *text++ != ':' ||
		!parse_digits(&text, 2, &minute) || *text++ != ':' ||
		!parse_digits(&text, 2, &second))
		return false;
	if (*text == '.')
	{
		int64_t		unit = 100000;

		if (*++text < '0' || *text > '9')
			return false;
		for (; *text >= '0' && *text <= '9'; text++)
		{
			fraction += (*text - '0') * unit;
			unit /= 10;
		}
	}
	if (strcmp(text, "Z") != 0)
		return false;

	leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
	if (year < 1 || month < 1 || month > 12 || day < 1 ||
		day > days_in_month[month - 1] + (month == 2 && leap) ||
		hour > 23 || minute > 59 || second > 59)
		return false;

	*microseconds = (((days_since_1970(year, month, day) * 24 + hour) * 60 + minute) * 60 +
					 second) * 1000000 + fraction;
	return true;
}

static bool
parse_digits(const char **text, int count, int *value)
{
	*value = 0;
	for (; count > 0; count--, ++*text)
	{
		if (**text < '0' || **text > '9')
			return false;
		*value = *value * 10 + (**text - '0');
	}
	return true;
}

/* Of the Gregorian calendar.  A year is taken to start in March, so that the
 * leap day is its last and the months before any month have (153 m + 2) / 5
 * days. */
static int64_t
days_since_1970(int year, int month, int day)
{
	int64_t		y = month > 2 ? year : year - 1;
	int64_t		m = month > 2 ? month - 3 : month + 9;

	return y * 365 + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719468;
}
