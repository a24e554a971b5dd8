/*
 * erasure.c
 *		People who asked to be forgotten, as a load sees them.
 *
 * stedi.erasure holds keyed hashes of emails and of the serial numbers of their
 * devices, nothing else.  A load hashes what it reads and looks it up; so does a
 * query that asks what they said of the devices of others, in stedi.erasure_device.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "pg/compat.h"
#include "pg/erasure.h"
#include "pg/keyed_hash.h"
#include "pg/ledger.h"

PG_FUNCTION_INFO_V1(stedi_erasure_hash);
PG_FUNCTION_INFO_V1(stedi_erased_rival);
PG_FUNCTION_INFO_V1(stedi_json_strings);

#define KIND_EMAIL "email"
#define KIND_SERIAL_NUMBER "serial_number"
#define KIND_MENTION "mention"	/* an email, ASCII letters in lower case */

struct StediErasures
{
	StediKey   *key;
	HTAB	   *hashes;			/* of every kind: they do not collide */
	int			attribute;		/* that says whose row it is; -1: none */
	const char *kind;
	int			rescued;		/* attribute of that name; -1: none */
	StringInfoData last;		/* the value looked at last: readings come in runs */
	bool		last_erased;
};

/* What people who were forgotten said of a device that is not theirs. */
typedef struct Rival
{
	char		hash[STEDI_KEYED_HASH_SIZE];
	bool		claimed;
	int64		matched;		/* by one of them */
} Rival;

/* Those that a query sees. */
typedef struct Rivals
{
	StediKey   *key;			/* NULL: there are none */
	HTAB	   *rivals;
	TupleDesc	desc;
	MemoryContext context;
	/* what was visible when they were read */
	TransactionId xmin;
	TransactionId xmax;
	uint32		xcnt;
	CommandId	curcid;
} Rivals;

/* The pieces of a text in which somebody may be named, see next_piece(). */
typedef struct PieceScan
{
	const char *next;			/* where the next string begins; NULL: none is left */
	const char *end;
	StringInfoData string;		/* decoded */
	int			word;			/* where to look for the next word in it */
	const char *piece;
	size_t		length;
} PieceScan;

static bool sees_the_same(const Rivals *rivals, Snapshot snapshot);
static Rivals *load_rivals(FunctionCallInfo fcinfo);
static bool is_erased(StediErasures *erasures, const char *kind, const char *value, size_t length);
static bool is_mention(StediErasures *erasures, const char *value, size_t length);
static Jsonb *one_pair(JsonbValue *key, JsonbValue *value);
static bool next_piece(PieceScan *scan);
static bool next_word(PieceScan *scan);
static bool is_word_byte(char c);
static void decode_escape(const char **text, const char *end, StringInfo value);
static int	hex_digits(const char *text, const char *end);

PGDLLEXPORT Datum
stedi_erasure_hash(PG_FUNCTION_ARGS)
{
	text	   *kind = PG_GETARG_TEXT_PP(0);
	text	   *value = PG_GETARG_TEXT_PP(1);
	char		hash[STEDI_KEYED_HASH_SIZE];

	if (fcinfo->flinfo->fn_extra == NULL)
		fcinfo->flinfo->fn_extra = stedi_read_key("erasure_key", fcinfo->flinfo->fn_mcxt);
	stedi_keyed_hash(fcinfo->flinfo->fn_extra, VARDATA_ANY(kind), VARSIZE_ANY_EXHDR(kind),
					 VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value), hash);
	PG_RETURN_TEXT_P(cstring_to_text(hash));
}

PGDLLEXPORT Datum
stedi_erased_rival(PG_FUNCTION_ARGS)
{
	text	   *serial_number = PG_GETARG_TEXT_PP(0);
	Rivals	   *rivals;
	Rival	   *rival;
	char		hash[STEDI_KEYED_HASH_SIZE];
	Datum		values[2];
	bool		nulls[2] = {false};

	/* They are the same for all rows of a query, but the call may be one of several
	 * queries. */
	rivals = fcinfo->flinfo->fn_extra;
	if (rivals == NULL || !sees_the_same(rivals, GetActiveSnapshot()))
	{
		fcinfo->flinfo->fn_extra = NULL;
		if (rivals != NULL)
			MemoryContextDelete(rivals->context);
		fcinfo->flinfo->fn_extra = rivals = load_rivals(fcinfo);
	}
	if (rivals->key == NULL)
		PG_RETURN_NULL();

	stedi_keyed_hash(rivals->key, KIND_SERIAL_NUMBER, strlen(KIND_SERIAL_NUMBER),
					 VARDATA_ANY(serial_number), VARSIZE_ANY_EXHDR(serial_number), hash);
	rival = hash_search(rivals->rivals, hash, HASH_FIND, NULL);
	if (rival == NULL)
		PG_RETURN_NULL();
	values[0] = BoolGetDatum(rival->claimed);
	values[1] = Int64GetDatum(rival->matched);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(rivals->desc, values, nulls)));
}

static bool
sees_the_same(const Rivals *rivals, Snapshot snapshot)
{
	return rivals->xmin == snapshot->xmin && rivals->xmax == snapshot->xmax &&
		rivals->xcnt == snapshot->xcnt && rivals->curcid == snapshot->curcid;
}

/* The query runs as the owner, with the caller's search_path: it has no operator
 * and no function. */
static Rivals *
load_rivals(FunctionCallInfo fcinfo)
{
	MemoryContext context = AllocSetContextCreate(fcinfo->flinfo->fn_mcxt, "stedi rivals", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Rivals	   *rivals = palloc0(sizeof(Rivals));
	Snapshot	snapshot = GetActiveSnapshot();
	HASHCTL		control = {0};

	rivals->context = context;
	rivals->xmin = snapshot->xmin;
	rivals->xmax = snapshot->xmax;
	rivals->xcnt = snapshot->xcnt;
	rivals->curcid = snapshot->curcid;
	if (get_call_result_type(fcinfo, NULL, &rivals->desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "stedi.erased_rival must return a row");
	rivals->desc = BlessTupleDesc(rivals->desc);
	MemoryContextSwitchTo(old);

	SPI_connect();
	if (SPI_execute("SELECT hash, claimed, matched FROM stedi.erasure_device", true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read stedi.erasure_device");
	if (SPI_processed > 0)
	{
		control.keysize = STEDI_KEYED_HASH_SIZE;
		control.entrysize = sizeof(Rival);
		control.hcxt = context;
		rivals->rivals = hash_create("stedi rivals", (long) SPI_processed, &control,
									 HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			HeapTuple	tuple = SPI_tuptable->vals[i];
			TupleDesc	desc = SPI_tuptable->tupdesc;
			bool		isnull;
			bool		claimed = DatumGetBool(SPI_getbinval(tuple, desc, 2, &isnull));
			int64		matched = DatumGetInt64(SPI_getbinval(tuple, desc, 3, &isnull));
			bool		found;
			Rival	   *rival = hash_search(rivals->rivals, SPI_getvalue(tuple, desc, 1), HASH_ENTER, &found);

			rival->claimed = claimed || (found && rival->claimed);
			rival->matched = found ? Max(matched, rival->matched) : matched;
		}
		rivals->key = stedi_read_key("erasure_key", context);
	}
	SPI_finish();
	return rivals;
}

/* Every string of a piece of JSON that may be damaged, and every word in it. */
PGDLLEXPORT Datum
stedi_json_strings(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	bytea	   *raw = PG_GETARG_BYTEA_PP(0);
	PieceScan	scan = {.next = VARDATA_ANY(raw), .end = VARDATA_ANY(raw) + VARSIZE_ANY_EXHDR(raw)};

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	initStringInfo(&scan.string);
	while (next_piece(&scan))
	{
		Datum		values[1];
		bool		nulls[1] = {false};

		if (scan.length == 0 || !pg_verify_mbstr(PG_UTF8, scan.piece, (int) scan.length, true))
			continue;
		values[0] = PointerGetDatum(cstring_to_text_with_len(scan.piece, (int) scan.length));
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
		pfree(DatumGetPointer(values[0]));
	}
	return (Datum) 0;
}

StediErasures *
stedi_erasures_load(TupleDesc desc)
{
	StediErasures *erasures;
	StediIdentity self = stedi_become_owner();
	MemoryContext context = CurrentMemoryContext;
	HASHCTL		control = {0};

	/* Not the snapshot of the query, which may have waited for forget(). */
	PushActiveSnapshot(GetLatestSnapshot());
	if (SPI_execute("SELECT hash FROM stedi.erasure", true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read stedi.erasure");
	PopActiveSnapshot();
	if (SPI_processed == 0)
	{
		stedi_become_self(self);
		return NULL;
	}

	erasures = palloc0(sizeof(StediErasures));
	control.keysize = STEDI_KEYED_HASH_SIZE;
	control.entrysize = STEDI_KEYED_HASH_SIZE;
	control.hcxt = context;
	erasures->hashes = hash_create("stedi erasures", (long) SPI_processed, &control,
								   HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	for (uint64 i = 0; i < SPI_processed; i++)
		hash_search(erasures->hashes, SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1),
					HASH_ENTER, NULL);
	SPI_freetuptable(SPI_tuptable);
	erasures->key = stedi_read_key("erasure_key", context);
	stedi_become_self(self);

	initStringInfo(&erasures->last);
	erasures->attribute = -1;
	erasures->rescued = -1;
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		if (!attribute->attisdropped && attribute->atttypid == JSONBOID &&
			strcmp(NameStr(attribute->attname), "rescued") == 0)
			erasures->rescued = i;
	}
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		if (attribute->attisdropped || attribute->atttypid != TEXTOID)
			continue;
		if (strcmp(NameStr(attribute->attname), KIND_EMAIL) == 0)
			erasures->kind = KIND_EMAIL;
		else if (strcmp(NameStr(attribute->attname), KIND_SERIAL_NUMBER) == 0 && erasures->kind == NULL)
			erasures->kind = KIND_SERIAL_NUMBER;
		else
			continue;
		erasures->attribute = i;
		if (strcmp(erasures->kind, KIND_EMAIL) == 0)
			break;
	}
	return erasures;
}

bool
stedi_erased_row(StediErasures *erasures, const Datum *values, const bool *nulls)
{
	text	   *value;
	const char *data;
	size_t		length;

	if (erasures == NULL || erasures->attribute < 0 || nulls[erasures->attribute])
		return false;

	value = DatumGetTextPP(values[erasures->attribute]);
	data = VARDATA_ANY(value);
	length = VARSIZE_ANY_EXHDR(value);
	if (length == 0)
		return false;
	if (length != (size_t) erasures->last.len || memcmp(data, erasures->last.data, length) != 0)
	{
		erasures->last_erased = is_erased(erasures, erasures->kind, data, length);
		resetStringInfo(&erasures->last);
		appendBinaryStringInfo(&erasures->last, data, (int) length);
	}
	return erasures->last_erased;
}

bool
stedi_erased_text(StediErasures *erasures, const char *text, size_t length)
{
	PieceScan	scan = {.next = text, .end = text + length};
	bool		erased = false;

	if (erasures == NULL)
		return false;
	initStringInfo(&scan.string);
	while (!erased && next_piece(&scan))
		erased = is_mention(erasures, scan.piece, scan.length);
	pfree(scan.string.data);
	return erased;
}

void
stedi_erase_rescued(StediErasures *erasures, Datum *values, bool *nulls)
{
	Jsonb	   *rescued;
	JsonbIterator *iterator;
	JsonbParseState *state = NULL;
	JsonbValue	key;
	JsonbValue	value;
	StringInfoData text;
	int			kept = 0;

	if (erasures == NULL || erasures->rescued < 0 || nulls[erasures->rescued])
		return;
	rescued = DatumGetJsonbP(values[erasures->rescued]);
	initStringInfo(&text);
	JsonbToCString(&text, &rescued->root, (int) VARSIZE(rescued));
	if (!stedi_erased_text(erasures, text.data, text.len))
		return;

	iterator = JsonbIteratorInit(&rescued->root);
	if (JsonbIteratorNext(&iterator, &key, true) != WJB_BEGIN_OBJECT)
		return;
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	while (JsonbIteratorNext(&iterator, &key, true) == WJB_KEY)
	{
		Jsonb	   *pair;

		(void) JsonbIteratorNext(&iterator, &value, true);
		pair = one_pair(&key, &value);
		resetStringInfo(&text);
		JsonbToCString(&text, &pair->root, (int) VARSIZE(pair));
		if (stedi_erased_text(erasures, text.data, text.len))
			continue;
		pushJsonbValue(&state, WJB_KEY, &key);
		pushJsonbValue(&state, WJB_VALUE, &value);
		kept++;
	}
	nulls[erasures->rescued] = kept == 0;
	values[erasures->rescued] = JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}

static Jsonb *
one_pair(JsonbValue *key, JsonbValue *value)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	pushJsonbValue(&state, WJB_KEY, key);
	pushJsonbValue(&state, WJB_VALUE, value);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

static bool
is_mention(StediErasures *erasures, const char *value, size_t length)
{
	char	   *folded;
	bool		erased;

	if (length == 0)
		return false;
	folded = pnstrdup(value, length);
	for (size_t i = 0; i < length; i++)
		folded[i] = (char) pg_ascii_tolower((unsigned char) folded[i]);
	erased = is_erased(erasures, KIND_MENTION, folded, length) ||
		is_erased(erasures, KIND_SERIAL_NUMBER, value, length);
	pfree(folded);
	return erased;
}

static bool
is_erased(StediErasures *erasures, const char *kind, const char *value, size_t length)
{
	char		hash[STEDI_KEYED_HASH_SIZE];

	stedi_keyed_hash(erasures->key, kind, strlen(kind), value, length, hash);
	return hash_search(erasures->hashes, hash, HASH_FIND, NULL) != NULL;
}

/*
 * The next piece of a text in which somebody may be named: each stretch between
 * two double quotes, escapes decoded as far as they make sense, and each word in
 * it.  In damaged JSON the quotes may be out of step or missing, so what stands
 * before, between and after strings is looked at as well: the closing quote of one
 * is taken for the opening one of the next.
 */
static bool
next_piece(PieceScan *scan)
{
	const char *p = scan->next;

	if (scan->string.len > 0 && next_word(scan))
		return true;
	if (p == NULL)
		return false;

	resetStringInfo(&scan->string);
	scan->word = 0;
	while (p < scan->end && *p != '"')
	{
		if (*p == '\\' && p + 1 < scan->end)
		{
			p++;
			decode_escape(&p, scan->end, &scan->string);
		}
		else
			appendStringInfoCharMacro(&scan->string, *p++);
	}
	scan->next = p < scan->end ? p + 1 : NULL;
	scan->piece = scan->string.data;
	scan->length = (size_t) scan->string.len;
	return true;
}

/* The next word of the string, unless that is the string itself. */
static bool
next_word(PieceScan *scan)
{
	const char *data = scan->string.data;
	int			length = scan->string.len;
	int			start = scan->word;
	int			end;

	while (start < length && (!is_word_byte(data[start]) || data[start] == '.' || data[start] == '-'))
		start++;
	for (end = start; end < length && is_word_byte(data[end]);)
		end++;
	scan->word = end;
	while (end > start && (data[end - 1] == '.' || data[end - 1] == '-'))
		end--;
	scan->piece = data + start;
	scan->length = (size_t) (end - start);
	return end > start && end - start < length;
}

/* What addresses and serial numbers are made of, apart from the quirkiest. */
static bool
is_word_byte(char c)
{
	return isalnum((unsigned char) c) || IS_HIGHBIT_SET(c) ||
		(c != '\0' && strchr(".-_@+%", c) != NULL);
}

static void
decode_escape(const char **text, const char *end, StringInfo value)
{
	const char *p = *text;
	unsigned char utf8[8] = {0};
	int			code;
	int			low;

	if (*p != 'u')
	{
		/* those for white space end a word */
		appendStringInfoChar(value, strchr("bfnrt", *p) != NULL ? ' ' : *p);
		*text = p + 1;
		return;
	}
	code = hex_digits(++p, end);
	if (code >= 0)
		p += 4;
	if (code >= 0xD800 && code < 0xDC00 && end - p >= 6 && p[0] == '\\' && p[1] == 'u' &&
		(low = hex_digits(p + 2, end)) >= 0xDC00 && low < 0xE000)
	{
		code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
		p += 6;
	}
	*text = p;
	if (code <= 0 || (code >= 0xD800 && code < 0xE000))
		appendStringInfoChar(value, ' ');
	else
	{
		unicode_to_utf8((pg_wchar) code, utf8);
		appendBinaryStringInfo(value, (char *) utf8, pg_utf_mblen(utf8));
	}
}

/* -1: not four digits */
static int
hex_digits(const char *text, const char *end)
{
	int			code = 0;

	if (end - text < 4)
		return -1;
	for (int i = 0; i < 4; i++)
	{
		int			digit = isxdigit((unsigned char) text[i]) ?
			(isdigit((unsigned char) text[i]) ? text[i] - '0' : tolower((unsigned char) text[i]) - 'a' + 10) : -1;

		if (digit < 0)
			return -1;
		code = code * 16 + digit;
	}
	return code;
}
