/*
 * json_record.c
 *		One record of the JSON reader: validate every byte, fill the cells.
 *
 * One pass.  The caller's text ends with a NUL, which JSON allows nowhere, so
 * the inner loops need no end checks: whatever stops at that NUL is not
 * malformed but incomplete, and only the caller knows which NUL it is.
 *
 * A fault is noticed at the first byte that can't be right, and depends on no
 * byte after it.
 */
#include <stdlib.h>

#include "core/json_internal.h"

/* each returns where what it read ends, or NULL after fail() */
static const char *read_key(StediJsonParser *parser, const char *p, size_t n, int *column);
static const char *read_value(StediJsonParser *parser, const char *p, StediJsonCell *cell);
static const char *read_literal(StediJsonParser *parser, const char *p, const char *word,
								StediJsonType type, StediJsonCell *cell);
static const char *skip_key(StediJsonParser *parser, const char *p, bool *escaped,
							const char **end);
static const char *skip_nested(StediJsonParser *parser, const char *p);
static const char *scan_string_slowly(StediJsonParser *parser, const char *p, bool *escaped);
static const char *scan_escape(StediJsonParser *parser, const char *p);
static const char *scan_utf8(StediJsonParser *parser, const char *p);
static const char *fail(StediJsonParser *parser, const char *p, StediJsonFault fault,
						const char *message);

/* what is done with valid text */
static void set_hint(StediJsonHint *hint, const char *text, size_t length, int column);
static bool rescue(StediJsonParser *parser, const char *from, const char *to);
static bool decode_cells(StediJsonParser *parser, size_t record_length);
static size_t decode_string(const char *text, size_t length, char *out, bool *has_nul);
static unsigned hex4(const char *p);

bool
stedi_json_parser_init(StediJsonParser *parser, const StediJsonSchema *schema,
					   bool want_rescued)
{
	size_t		n = (size_t) stedi_json_schema_columns(schema);

	memset(parser, 0, sizeof(*parser));
	parser->schema = schema;
	parser->want_rescued = want_rescued;
	parser->n_columns = (int) n;
	stedi_bytes_init(&parser->scratch, 0);
	stedi_bytes_init(&parser->key, 0);
	stedi_bytes_init(&parser->rescued, 0);
	parser->cells = calloc(n + 1, sizeof(StediJsonCell));
	parser->escaped = calloc(n + 1, sizeof(bool));
	return parser->cells != NULL && parser->escaped != NULL;
}

void
stedi_json_parser_free(StediJsonParser *parser)
{
	stedi_bytes_free(&parser->scratch);
	stedi_bytes_free(&parser->key);
	stedi_bytes_free(&parser->rescued);
	free(parser->cells);
	free(parser->escaped);
}

/* Stop at p.  At the end of the window that means that more is needed. */
static const char *
fail(StediJsonParser *parser, const char *p, StediJsonFault fault, const char *message)
{
	parser->stop = p;
	parser->fault = fault;
	parser->message = message;
	return NULL;
}

static inline bool
hint_matches(const StediJsonHint *hint, const char *p)
{
	/* most keys are short; the mask of what a hint doesn't have is 0 */
	if (((stedi_load64(p) ^ hint->word[0]) & hint->mask[0]) != 0 ||
		((stedi_load64(p + 8) ^ hint->word[1]) & hint->mask[1]) != 0)
		return false;
	if (hint->length <= 16)
		return hint->length > 0;
	return ((stedi_load64(p + 16) ^ hint->word[2]) & hint->mask[2]) == 0 &&
		((stedi_load64(p + 24) ^ hint->word[3]) & hint->mask[3]) == 0;
}

/* p is after the opening quote; returns the closing one. */
static inline const char *
scan_string(StediJsonParser *parser, const char *p, bool *escaped)
{
	p = stedi_json_scan_plain(p);
	*escaped = false;
	return *p == '"' ? p : scan_string_slowly(parser, p, escaped);
}

static inline __attribute__((always_inline)) const char *
read_number(StediJsonParser *parser, const char *p, StediJsonCell *cell)
{
	const char *from = p;
	const char *digits;
	uint64_t	value = 0;		/* wraps around, but not up to 19 digits */
	bool		negative = *p == '-';
	bool		integer = true;

	p += negative;
	digits = p;
	if (!stedi_json_is_digit(*p))
		return fail(parser, p, STEDI_JSON_FAULT_SYNTAX, "\"-\" without a digit after it");
	value = (uint64_t) (*p++ - '0');
	if (stedi_json_is_digit(*p))
	{
		if (value == 0)
			return fail(parser, p, STEDI_JSON_FAULT_SYNTAX, "number with a leading zero");
		for (; stedi_json_is_8_digits(p); p += 8)
			value = value * 100000000 + stedi_json_8_digits(p);
		while (stedi_json_is_digit(*p))
			value = value * 10 + (uint64_t) (*p++ - '0');
		if (p - digits > 19 || value > (uint64_t) INT64_MAX + negative)
			integer = false;
	}

	if (*p == '.')
	{
		integer = false;
		p++;
		if (!stedi_json_is_digit(*p))
			return fail(parser, p, STEDI_JSON_FAULT_SYNTAX, "number without a digit after the point");
		p++;
		if (stedi_json_is_digit(*p))
		{
			while (stedi_json_is_8_digits(p))
				p += 8;
			while (stedi_json_is_digit(*p))
				p++;
		}
	}
	if (*p == 'e' || *p == 'E')
	{
		integer = false;
		p++;
		if (*p == '+' || *p == '-')
			p++;
		if (!stedi_json_is_digit(*p))
			return fail(parser, p, STEDI_JSON_FAULT_SYNTAX, "number without a digit in its exponent");
		while (stedi_json_is_digit(*p))
			p++;
	}

	cell->type = STEDI_JSON_NUMBER;
	cell->is_integer = integer;
	cell->has_nul = false;
	cell->text = from;
	cell->length = (size_t) (p - from);
	cell->integer = integer ? (int64_t) (negative ? 0 - value : value) : 0;
	return p;
}

const char *
stedi_json_parse_record(StediJsonParser *parser, const char *p)
{
	const char *from = p;

	memset(parser->cells, 0, (size_t) parser->n_columns * sizeof(StediJsonCell));
	parser->any_escaped = false;
	parser->no_memory = false;
	stedi_bytes_reset(&parser->rescued);

	p = stedi_json_skip_space(p + 1);
	if (*p == '}')
		return p + 1;

	for (size_t n = 0;; n++)
	{
		const char *key = p;
		StediJsonCell *cell;
		int			column;

		if (n < STEDI_JSON_MAX_HINTS && hint_matches(&parser->hints[n], p))
		{
			p += parser->hints[n].length;
			column = parser->hints[n].column;
			if (stedi_json_is_space(*p))
				p = stedi_json_skip_space(p);
		}
		else
		{
			p = read_key(parser, p, n, &column);
			if (p == NULL)
				return NULL;
		}

		cell = column >= 0 ? &parser->cells[column] : &parser->spare;
		if (*p == '"')
		{
			const char *text = p + 1;
			bool		escaped;

			p = scan_string(parser, text, &escaped);
			if (p == NULL)
				return NULL;
			cell->type = STEDI_JSON_STRING;
			cell->is_integer = false;
			cell->has_nul = false;
			cell->text = text;
			cell->length = (size_t) (p - text);
			cell->integer = 0;
			p++;
			if (column >= 0)
			{
				parser->escaped[column] = escaped;
				parser->any_escaped |= escaped;
			}
		}
		else
		{
			/* read_value() could do both; numbers are worth the short cut */
			if ((*p == '-') | stedi_json_is_digit(*p))	/* signs are hard to predict */
				p = read_number(parser, p, cell);
			else
				p = read_value(parser, p, cell);
			if (p == NULL)
				return NULL;
		}

		if (column < 0 && parser->want_rescued && !rescue(parser, key, p))
			return NULL;

		if (stedi_json_is_space(*p))
			p = stedi_json_skip_space(p);
		if (*p == '}')
			break;
		if (*p != ',')
			return fail(parser, p, STEDI_JSON_FAULT_SYNTAX, "expected \",\" or \"}\" after a value");
		p++;
		if (stedi_json_is_space(*p))
			p = stedi_json_skip_space(p);
	}
	p++;

	if (parser->rescued.length > 0 && !rescue(parser, NULL, NULL))
		return NULL;
	if (parser->any_escaped && !decode_cells(parser, (size_t) (p - from)))
		return NULL;
	return p;
}

/* The key of member n of the record; returns where its value starts. */
static const char *
read_key(StediJsonParser *parser, const char *p, size_t n, int *column)
{
	const char *from = p;
	const char *end;
	bool		escaped;

	p = skip_key(parser, p, &escaped, &end);
	if (p == NULL)
		return NULL;

	if (!escaped)
		*column = stedi_json_schema_find(parser->schema, from + 1, (size_t) (end - from - 1));
	else
	{
		size_t		length = (size_t) (end - from - 1);
		bool		has_nul;

		stedi_bytes_reset(&parser->key);
		if (!stedi_bytes_reserve(&parser->key, length))
		{
			parser->no_memory = true;
			return NULL;
		}
		length = decode_string(from + 1, length, parser->key.data, &has_nul);
		*column = stedi_json_schema_find(parser->schema, parser->key.data, length);
	}

	if (n < STEDI_JSON_MAX_HINTS)
		set_hint(&parser->hints[n], from, (size_t) (p - from), *column);
	return p;
}

/* A key and its colon, up to the value; *end is at the key's closing quote. */
static const char *
skip_key(StediJsonParser *parser, const char *p, bool *escaped, const char **end)
{
	if (*p != '"')
		return fail(parser, p, STEDI_JSON_FAULT_SYNTAX, "expected a key in double quotes");
	p = scan_string(parser, p + 1, escaped);
	if (p == NULL)
		return NULL;
	*end = p;
	p = stedi_json_skip_space(p + 1);
	if (*p != ':')
		return fail(parser, p, STEDI_JSON_FAULT_SYNTAX, "expected \":\" after a key");
	return stedi_json_skip_space(p + 1);
}

/* A value other than a string. */
static const char *
read_value(StediJsonParser *parser, const char *p, StediJsonCell *cell)
{
	const char *from = p;

	switch (*p)
	{
		case 't':
			return read_literal(parser, p, "true", STEDI_JSON_TRUE, cell);
		case 'f':
			return read_literal(parser, p, "false", STEDI_JSON_FALSE, cell);
		case 'n':
			return read_literal(parser, p, "null", STEDI_JSON_NULL, cell);
		case '{':
		case '[':
			p = skip_nested(parser, p);
			if (p == NULL)
				return NULL;
			memset(cell, 0, sizeof(*cell));
			cell->type = *from == '{' ? STEDI_JSON_OBJECT : STEDI_JSON_ARRAY;
			cell->text = from;
			cell->length = (size_t) (p - from);
			return p;
		default:
			if (*p == '-' || stedi_json_is_digit(*p))
				return read_number(parser, p, cell);
			return fail(parser, p, STEDI_JSON_FAULT_SYNTAX, "expected a value");
	}
}

static const char *
read_literal(StediJsonParser *parser, const char *p, const char *word,
			 StediJsonType type, StediJsonCell *cell)
{
	const char *from = p;

	for (; *word != '\0'; word++, p++)
	{
		if (*p != *word)
			return fail(parser, p, STEDI_JSON_FAULT_SYNTAX, "expected true, false or null");
	}
	memset(cell, 0, sizeof(*cell));
	cell->type = type;
	cell->text = from;
	cell->length = (size_t) (p - from);
	return p;
}

/* An object or array inside a record, without recursion. */
static const char *
skip_nested(StediJsonParser *parser, const char *p)
{
	bool		object[STEDI_JSON_MAX_DEPTH + 1];	/* by depth: else an array */
	int			depth = 1;		/* the record itself */
	bool		escaped;
	const char *end;

	for (;;)
	{
		/* at a value */
		if (*p == '{' || *p == '[')
		{
			if (depth == STEDI_JSON_MAX_DEPTH)
				return fail(parser, p, STEDI_JSON_FAULT_DEPTH, "nested too deeply");
			object[++depth] = *p == '{';
			p = stedi_json_skip_space(p + 1);
			if (*p == (object[depth] ? '}' : ']'))
			{
				p++;
				depth--;
			}
			else
			{
				if (object[depth] && (p = skip_key(parser, p, &escaped, &end)) == NULL)
					return NULL;
				continue;
			}
		}
		else if (*p == '"')
		{
			p = scan_string(parser, p + 1, &escaped);
			if (p == NULL)
				return NULL;
			p++;
		}
		else
		{
			p = read_value(parser, p, &parser->spare);
			if (p == NULL)
				return NULL;
		}

		/* after a value: leave what ends here, up to the next value */
		for (;;)
		{
			if (depth == 1)
				return p;
			p = stedi_json_skip_space(p);
			if (*p == ',')
			{
				p = stedi_json_skip_space(p + 1);
				if (object[depth] && (p = skip_key(parser, p, &escaped, &end)) == NULL)
					return NULL;
				break;
			}
			if (*p != (object[depth] ? '}' : ']'))
				return fail(parser, p, STEDI_JSON_FAULT_SYNTAX, object[depth] ?
							"expected \",\" or \"}\" after a value" :
							"expected \",\" or \"]\" after a value");
			p++;
			depth--;
		}
	}
}

/* scan_string() from the first byte on that needs a closer look. */
static const char *
scan_string_slowly(StediJsonParser *parser, const char *p, bool *escaped)
{
	while (*p != '"')
	{
		if (*p == '\\')
		{
			*escaped = true;
			p = scan_escape(parser, p);
		}
		else if ((unsigned char) *p >= 0x80)
			p = scan_utf8(parser, p);
		else if ((unsigned char) *p < ' ')
			return fail(parser, p, STEDI_JSON_FAULT_SYNTAX, "control character in a string");
		if (p == NULL)
			return NULL;
		p = stedi_json_scan_plain(p);
	}
	return p;
}

static const char *
scan_escape(StediJsonParser *parser, const char *p)
{
	/* twice for the two halves of a surrogate pair */
	for (int half = 0; half < 2; half++)
	{
		unsigned	code;

		if (half == 1 && *p != '\\')
			return fail(parser, p, STEDI_JSON_FAULT_UTF8, "lone surrogate in an escape");
		p++;
		if (half == 1 && *p != 'u')
			return fail(parser, p, STEDI_JSON_FAULT_UTF8, "lone surrogate in an escape");
		switch (*p)
		{
			case '"':
			case '\\':
			case '/':
			case 'b':
			case 'f':
			case 'n':
			case 'r':
			case 't':
				return p + 1;
			case 'u':
				break;
			default:
				return fail(parser, p, STEDI_JSON_FAULT_SYNTAX, "invalid escape in a string");
		}
		p++;
		for (int i = 0; i < 4; i++, p++)
		{
			if (!stedi_json_is_digit(*p) && !((*p | 0x20) >= 'a' && (*p | 0x20) <= 'f'))
				return fail(parser, p, STEDI_JSON_FAULT_SYNTAX, "invalid escape in a string");
		}
		code = hex4(p - 4);
		if (half == 0 && (code < 0xD800 || code > 0xDFFF))
			return p;
		if (half == 0 ? code > 0xDBFF : code < 0xDC00 || code > 0xDFFF)
			return fail(parser, p - 1, STEDI_JSON_FAULT_UTF8, "lone surrogate in an escape");
	}
	return p;
}

/* One or more non-ASCII characters: RFC 3629, section 4. */
static const char *
scan_utf8(StediJsonParser *parser, const char *p)
{
	while ((unsigned char) *p >= 0x80)
	{
		unsigned char lead = (unsigned char) *p++;
		unsigned char low = 0x80;	/* bounds of the second byte */
		unsigned char high = 0xBF;
		int			more;

		if (lead >= 0xC2 && lead <= 0xDF)
			more = 1;
		else if (lead >= 0xE0 && lead <= 0xEF)
		{
			more = 2;
			if (lead == 0xE0)
				low = 0xA0;		/* else overlong */
			else if (lead == 0xED)
				high = 0x9F;	/* else a surrogate */
		}
		else if (lead >= 0xF0 && lead <= 0xF4)
		{
			more = 3;
			if (lead == 0xF0)
				low = 0x90;		/* else overlong */
			else if (lead == 0xF4)
				high = 0x8F;	/* else above U+10FFFF */
		}
		else
			return fail(parser, p - 1, STEDI_JSON_FAULT_UTF8, "invalid UTF-8");

		for (; more > 0; more--, p++)
		{
			if ((unsigned char) *p < low || (unsigned char) *p > high)
				return fail(parser, p, STEDI_JSON_FAULT_UTF8, "invalid UTF-8");
			low = 0x80;
			high = 0xBF;
		}
	}
	return p;
}

static void
set_hint(StediJsonHint *hint, const char *text, size_t length, int column)
{
	char		word[STEDI_JSON_HINT_BYTES] = {0};
	char		mask[STEDI_JSON_HINT_BYTES] = {0};

	if (length > STEDI_JSON_HINT_BYTES)
		return;
	memcpy(word, text, length);
	memset(mask, 0xFF, length);
	memcpy(hint->word, word, sizeof(word));
	memcpy(hint->mask, mask, sizeof(mask));
	hint->length = length;
	hint->column = column;
}

/* Add a member to the rescued ones; NULL: that was the last. */
static bool
rescue(StediJsonParser *parser, const char *from, const char *to)
{
	StediBytes *rescued = &parser->rescued;

	if (from == NULL)
		stedi_bytes_append_char(rescued, '}');
	else
	{
		stedi_bytes_append_char(rescued, rescued->length == 0 ? '{' : ',');
		stedi_bytes_append(rescued, from, (size_t) (to - from));
	}
	parser->no_memory = rescued->failed;
	return !rescued->failed;
}

/*
 * Only now, so that scratch memory need not move under a cell: decoded strings
 * are never longer than the record.
 */
static bool
decode_cells(StediJsonParser *parser, size_t record_length)
{
	char	   *out;

	if (parser->scratch.capacity <= record_length)
	{
		stedi_bytes_reset(&parser->scratch);
		if (!stedi_bytes_reserve(&parser->scratch, record_length))
		{
			parser->no_memory = true;
			return false;
		}
	}
	out = parser->scratch.data;
	for (int i = 0; i < parser->n_columns; i++)
	{
		StediJsonCell *cell = &parser->cells[i];

		if (cell->type != STEDI_JSON_STRING || !parser->escaped[i])
			continue;
		cell->length = decode_string(cell->text, cell->length, out, &cell->has_nul);
		cell->text = out;
		out += cell->length;
	}
	return true;
}

/* text is valid; out may take length bytes.  Returns the bytes written. */
static size_t
decode_string(const char *text, size_t length, char *out, bool *has_nul)
{
	const char *p = text;
	const char *end = text + length;
	char	   *to = out;

	*has_nul = false;
	while (p < end)
	{
		const char *backslash = memchr(p, '\\', (size_t) (end - p));
		size_t		plain = (size_t) ((backslash != NULL ? backslash : end) - p);
		unsigned	code;

		memcpy(to, p, plain);
		to += plain;
		p += plain;
		if (p == end)
			break;

		p += 2;
		switch (p[-1])
		{
			case 'b':
				*to++ = '\b';
				continue;
			case 'f':
				*to++ = '\f';
				continue;
			case 'n':
				*to++ = '\n';
				continue;
			case 'r':
				*to++ = '\r';
				continue;
			case 't':
				*to++ = '\t';
				continue;
			case 'u':
				break;
			default:
				*to++ = p[-1];
				continue;
		}

		code = hex4(p);
		p += 4;
		if (code >= 0xD800 && code <= 0xDBFF)
		{
			code = 0x10000 + ((code - 0xD800) << 10) + (hex4(p + 2) - 0xDC00);
			p += 6;
		}
		*has_nul = *has_nul || code == 0;

		if (code < 0x80)
			*to++ = (char) code;
		else if (code < 0x800)
		{
			*to++ = (char) (0xC0 | code >> 6);
			*to++ = (char) (0x80 | (code & 0x3F));
		}
		else if (code < 0x10000)
		{
			*to++ = (char) (0xE0 | code >> 12);
			*to++ = (char) (0x80 | (code >> 6 & 0x3F));
			*to++ = (char) (0x80 | (code & 0x3F));
		}
		else
		{
			*to++ = (char) (0xF0 | code >> 18);
			*to++ = (char) (0x80 | (code >> 12 & 0x3F));
			*to++ = (char) (0x80 | (code >> 6 & 0x3F));
			*to++ = (char) (0x80 | (code & 0x3F));
		}
	}
	return (size_t) (to - out);
}

static unsigned
hex4(const char *p)
{
	unsigned	code = 0;

	for (int i = 0; i < 4; i++)
	{
		unsigned	digit = (unsigned char) p[i];

		digit = digit <= '9' ? digit - '0' : (digit | 0x20) - 'a' + 10;
		code = code << 4 | digit;
	}
	return code;
}
