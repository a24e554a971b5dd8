/*
 * erasure.c
 *		People who asked to be forgotten, as a load sees them.
 *
 * stedi.erasure holds keyed hashes of emails and of the serial numbers of their
 * devices, nothing else.  A load hashes what it reads and looks it up.
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
#include "utils/memutils.h"

#include "pg/compat.h"
#include "pg/erasure.h"
#include "pg/keyed_hash.h"
#include "pg/ledger.h"

PG_FUNCTION_INFO_V1(stedi_erasure_hash);
PG_FUNCTION_INFO_V1(stedi_json_strings);

#define KIND_EMAIL "email"
#define KIND_SERIAL_NUMBER "serial_number"

struct StediErasures
{
	bytea	   *key;
	HTAB	   *hashes;			/* of every kind: they do not collide */
	int			attribute;		/* that says whose row it is; -1: none */
	const char *kind;
	StringInfoData last;		/* the value looked at last: readings come in runs */
	bool		last_erased;
};

static bool is_erased(StediErasures *erasures, const char *kind, const char *value, size_t length);
static bool next_string(const char **text, const char *end, StringInfo value);
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

/* Every string of a piece of JSON that may be damaged, decoded. */
PGDLLEXPORT Datum
stedi_json_strings(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	bytea	   *raw = PG_GETARG_BYTEA_PP(0);
	const char *text = VARDATA_ANY(raw);
	const char *end = text + VARSIZE_ANY_EXHDR(raw);
	StringInfoData value;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	initStringInfo(&value);
	while (next_string(&text, end, &value))
	{
		Datum		values[1];
		bool		nulls[1] = {false};

		if (!pg_verify_mbstr(PG_UTF8, value.data, value.len, true))
			continue;
		values[0] = PointerGetDatum(cstring_to_text_with_len(value.data, value.len));
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

	if (SPI_execute("SELECT hash FROM stedi.erasure", true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read stedi.erasure");
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
	const char *end = text + length;
	StringInfoData value;
	bool		erased = false;

	if (erasures == NULL)
		return false;
	initStringInfo(&value);
	while (!erased && next_string(&text, end, &value))
		erased = is_erased(erasures, KIND_EMAIL, value.data, value.len) ||
			is_erased(erasures, KIND_SERIAL_NUMBER, value.data, value.len);
	pfree(value.data);
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
 * The next text between two double quotes, escapes decoded as far as they make
 * sense; what is not closed ends with the text.  In damaged JSON the quotes may
 * be out of step, so what stands between two strings is looked at as well: the
 * closing quote of one is taken for the opening one of the next.
 */
static bool
next_string(const char **text, const char *end, StringInfo value)
{
	const char *p = *text;

	p = p < end ? memchr(p, '"', end - p) : NULL;
	if (p == NULL)
		return false;
	resetStringInfo(value);
	for (p++; p < end && *p != '"'; p++)
	{
		if (*p != '\\' || p + 1 == end)
		{
			appendStringInfoCharMacro(value, *p);
			continue;
		}
		p++;
		if (*p == 'u')
		{
			int			code = hex_digits(p + 1, end);
			unsigned char utf8[8] = {0};

			if (code <= 0)
				continue;
			/* surrogates give nonsense, which no address contains */
			unicode_to_utf8((pg_wchar) code, utf8);
			appendBinaryStringInfo(value, (char *) utf8, pg_utf_mblen(utf8));
			p += 4;
		}
		else
			appendStringInfoCharMacro(value, *p);
	}
	*text = p;
	return true;
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
