/*
 * status.c
 *		How core and store report failure without exceptions.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/status.h"

/*
 * Print into text, then replace control characters and undo a cut in the middle
 * of a UTF-8 sequence, so that whatever a server sent is fit for a log.
 */
static void
format_clean(char *text, size_t size, const char *format, va_list args)
	__attribute__((format(printf, 3, 0)));

static void
format_clean(char *text, size_t size, const char *format, va_list args)
{
	int			wanted = vsnprintf(text, size, format, args);

	if (wanted < 0)
	{
		text[0] = '\0';
		return;
	}

	if ((size_t) wanted >= size)
	{
		size_t		end = size - 1;
		size_t		lead = end;

		while (lead > 0 && end - lead < 4 && ((unsigned char) text[lead - 1] & 0xC0) == 0x80)
			lead--;
		if (lead > 0)
		{
			unsigned char c = (unsigned char) text[lead - 1];
			size_t		need = c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : c >= 0xC0 ? 2 : 1;

			if (end - (lead - 1) < need)
				end = lead - 1;
		}
		text[end] = '\0';
	}

	stedi_clean_text(text);
}

void
stedi_clean_text(char *text)
{
	for (char *p = text; *p; p++)
	{
		unsigned char c = (unsigned char) *p;

		if (c < 0x20 || c == 0x7F)
			*p = '?';
		/* U+0080 to U+009F: terminals take them for escape sequences, too */
		else if (c == 0xC2 && (unsigned char) p[1] >= 0x80 && (unsigned char) p[1] < 0xA0)
			p[0] = p[1] = '?';
	}
}

bool
stedi_status_set(StediStatus *status, StediCode code, const char *format,...)
{
	va_list		args;

	status->code = code;
	status->detail[0] = '\0';
	status->hint[0] = '\0';
	va_start(args, format);
	format_clean(status->message, sizeof(status->message), format, args);
	va_end(args);
	return false;
}

void
stedi_status_detail(StediStatus *status, const char *format,...)
{
	va_list		args;

	va_start(args, format);
	format_clean(status->detail, sizeof(status->detail), format, args);
	va_end(args);
}

void
stedi_status_hint(StediStatus *status, const char *format,...)
{
	va_list		args;

	va_start(args, format);
	format_clean(status->hint, sizeof(status->hint), format, args);
	va_end(args);
}

void
stedi_status_clear(StediStatus *status)
{
	memset(status, 0, sizeof(*status));
}
