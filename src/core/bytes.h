/*
 * bytes.h
 *		A growable byte buffer with a ceiling.
 *
 * malloc'd, so that it can be filled inside library callbacks, where palloc
 * must not be called.  Always NUL-terminated one byte past length.
 */
#ifndef STEDI_CORE_BYTES_H
#define STEDI_CORE_BYTES_H

#include <stdbool.h>
#include <stddef.h>

typedef struct StediBytes
{
	char	   *data;			/* NULL until the first append */
	size_t		length;
	size_t		capacity;
	size_t		limit;			/* most bytes it may hold; 0 = no limit */
	bool		failed;			/* an append did not fit or malloc failed */
} StediBytes;

extern void stedi_bytes_init(StediBytes *bytes, size_t limit);

/* Each append returns false, sets failed and changes nothing else when it does
 * not fit; once failed, every later append fails too, so callers may check once
 * at the end. */
extern bool stedi_bytes_reserve(StediBytes *bytes, size_t more);
extern bool stedi_bytes_append(StediBytes *bytes, const void *data, size_t length);
extern bool stedi_bytes_append_text(StediBytes *bytes, const char *text);
extern bool stedi_bytes_append_char(StediBytes *bytes, char c);
extern bool stedi_bytes_printf(StediBytes *bytes, const char *format,...)
			__attribute__((format(printf, 2, 3)));

extern void stedi_bytes_reset(StediBytes *bytes);	/* keeps the memory */
extern void stedi_bytes_free(StediBytes *bytes);	/* idempotent */

/* Take the malloc'd text out; the buffer is empty afterwards.  NULL if failed. */
extern char *stedi_bytes_steal(StediBytes *bytes);

#endif							/* STEDI_CORE_BYTES_H */
