/*
 * tap.h
 *		Test Anything Protocol for the unit tests.
 */
#ifndef STEDI_TEST_TAP_H
#define STEDI_TEST_TAP_H

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static int	tap_count;
static int	tap_failures;

static inline bool
tap_ok(bool passed, const char *file, int line, const char *name)
{
	printf("%sok %d - %s\n", passed ? "" : "not ", ++tap_count, name);
	if (!passed)
	{
		tap_failures++;
		printf("# failed at %s:%d\n", file, line);
	}
	fflush(stdout);
	return passed;
}

static inline bool
tap_is(const char *got, const char *expected, const char *file, int line, const char *name)
{
	bool		passed = got && expected ? strcmp(got, expected) == 0 : got == expected;

	tap_ok(passed, file, line, name);
	if (!passed)
		printf("# got:      %s\n# expected: %s\n", got ? got : "(null)",
			   expected ? expected : "(null)");
	return passed;
}

static inline bool
tap_is_int(long long got, long long expected, const char *file, int line, const char *name)
{
	tap_ok(got == expected, file, line, name);
	if (got != expected)
		printf("# got:      %lld\n# expected: %lld\n", got, expected);
	return got == expected;
}

static inline int
tap_done(void)
{
	printf("1..%d\n", tap_count);
	return tap_failures == 0 ? 0 : 1;
}

#define ok(cond, name)				tap_ok((cond), __FILE__, __LINE__, (name))
#define is(got, expected, name)		tap_is((got), (expected), __FILE__, __LINE__, (name))
#define is_int(got, expected, name)	tap_is_int((got), (expected), __FILE__, __LINE__, (name))

#endif							/* STEDI_TEST_TAP_H */
