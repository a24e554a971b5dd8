/*
 * bytes.c
 *		A growable byte buffer with a ceiling.
 */
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"

void
stedi_bytes_init(StediBytes *bytes, size_t limit)
{
	memset(bytes, 0, sizeof(*bytes));
	bytes->limit = limit;
}

bool
stedi_bytes_reserve(StediBytes *bytes, size_t more)
{
	size_t		wanted;
	size_t		capacity;
	char	   *data;

	if (bytes->failed)
		return false;
	if (more > SIZE_MAX / 4 - bytes->length ||
		(bytes->limit > 0 && bytes->length + more > bytes->limit))
	{
		bytes->failed = true;
		return false;
	}

	wanted = bytes->length + more + 1;	/* and the final NUL */
	if (wanted <= bytes->capacity)
		return true;

	capacity = bytes->capacity < 64 ? 64 : bytes->capacity * 2;
	if (capacity < wanted)
		capacity = wanted;
	data = realloc(bytes->data, capacity);
	if (data == NULL)
	{
		bytes->failed = true;
		return false;
	}
	bytes->data = data;
	bytes->capacity = capacity;
	return true;
}

bool
stedi_bytes_append(StediBytes *bytes, const void *data, size_t length)
{
	if (!stedi_bytes_reserve(bytes, length))
		return false;
	if (length > 0)
		memcpy(bytes->data + bytes->length, data, length);
	bytes->length += length;
	bytes->data[bytes->length] = '\0';
	return true;
}

bool
stedi_bytes_append_text(StediBytes *bytes, const char *text)
{
	return stedi_bytes_append(bytes, text, strlen(text));
}

bool
stedi_bytes_append_char(StediBytes *bytes, char c)
{
	return stedi_bytes_append(bytes, &c, 1);
}

bool
stedi_bytes_printf(StediBytes *bytes, const char *format,...)
{
	va_list		args;
	int			length;

	va_start(args, format);
	length = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (length < 0)
		bytes->failed = true;
	if (length < 0 || !stedi_bytes_reserve(bytes, (size_t) length))
		return false;

	va_start(args, format);
	vsnprintf(bytes->data + bytes->length, (size_t) length + 1, format, args);
	va_end(args);
	bytes->length += (size_t) length;
	return true;
}

void
stedi_bytes_reset(StediBytes *bytes)
{
	bytes->length = 0;
	bytes->failed = false;
	if (bytes->data != NULL)
		bytes->data[0] = '\0';
}

void
stedi_bytes_free(StediBytes *bytes)
{
	size_t		limit = bytes->limit;

	free(bytes->data);
	stedi_bytes_init(bytes, limit);
}

char *
stedi_bytes_steal(StediBytes *bytes)
{
	char	   *data = NULL;

	if (!bytes->failed && stedi_bytes_reserve(bytes, 0))
	{
		data = bytes->data;
		data[bytes->length] = '\0';
		bytes->data = NULL;
	}
	stedi_bytes_free(bytes);
	return data;
}
