/*
 * test_bytes.c
 *		The growable buffer: growth, the ceiling, failure that sticks.
 */
#include <stdint.h>
#include <stdlib.h>

#include "core/bytes.h"
#include "tap.h"

static void
test_appending(void)
{
	StediBytes	bytes;

	stedi_bytes_init(&bytes, 0);
	ok(bytes.data == NULL && bytes.length == 0 && !bytes.failed, "a new buffer is empty");
	ok(stedi_bytes_append(&bytes, NULL, 0), "nothing can be appended");
	is(bytes.data, "", "and gives an empty text");
	stedi_bytes_append(&bytes, "a\0b", 3);
	stedi_bytes_append_char(&bytes, 'c');
	stedi_bytes_append_text(&bytes, "def");
	stedi_bytes_printf(&bytes, "%d%s", 42, "g");
	ok(bytes.length == 10 && memcmp(bytes.data, "a\0bcdef42g", 11) == 0, "appends follow each other");

	stedi_bytes_reset(&bytes);
	ok(bytes.length == 0 && bytes.capacity > 0 && bytes.data[0] == '\0', "a reset keeps the memory");
	stedi_bytes_free(&bytes);
	ok(bytes.data == NULL && bytes.capacity == 0, "freeing does not");
	stedi_bytes_free(&bytes);
	ok(stedi_bytes_append_text(&bytes, "again"), "a freed buffer can be used again");
	stedi_bytes_free(&bytes);
	stedi_bytes_reset(&bytes);
	ok(bytes.data == NULL, "a reset of an empty buffer is fine");
}

static void
test_growth(void)
{
	StediBytes	bytes;
	char	   *data;
	bool		terminated = true;
	bool		same = true;

	stedi_bytes_init(&bytes, 0);
	for (int i = 0; i < 100000; i++)
	{
		stedi_bytes_append_char(&bytes, (char) ('a' + i % 26));
		terminated = terminated && bytes.data[bytes.length] == '\0' && bytes.length < bytes.capacity;
	}
	for (int i = 0; i < 100000; i++)
		same = same && bytes.data[i] == 'a' + i % 26;
	ok(terminated, "a growing buffer is always terminated");
	ok(same && bytes.length == 100000, "and keeps what it holds");
	stedi_bytes_free(&bytes);

	ok(stedi_bytes_reserve(&bytes, 1000), "memory can be reserved");
	data = bytes.data;
	for (int i = 0; i < 1000; i++)
		stedi_bytes_append_char(&bytes, 'x');
	ok(bytes.data == data, "and then appending does not move the data");
	stedi_bytes_free(&bytes);
}

static void
test_limit(void)
{
	StediBytes	bytes;

	stedi_bytes_init(&bytes, 5);
	ok(stedi_bytes_append(&bytes, "abcde", 5), "a buffer can be filled to its limit");
	ok(!stedi_bytes_append_char(&bytes, 'f'), "but not beyond");
	ok(bytes.failed && bytes.length == 5 && strcmp(bytes.data, "abcde") == 0,
	   "a failed append changes nothing but the mark");
	ok(!stedi_bytes_append(&bytes, "", 0) && !stedi_bytes_append_text(&bytes, "") &&
	   !stedi_bytes_printf(&bytes, "%s", "") && !stedi_bytes_reserve(&bytes, 0),
	   "after a failure every append fails");
	ok(stedi_bytes_steal(&bytes) == NULL && bytes.data == NULL, "nothing is stolen from a failed buffer");
	ok(!bytes.failed && bytes.limit == 5, "which is then empty and keeps its limit");

	ok(!stedi_bytes_printf(&bytes, "%d", 123456) && bytes.failed, "the limit holds for printf");
	stedi_bytes_reset(&bytes);
	ok(stedi_bytes_printf(&bytes, "%d", 12345) && strcmp(bytes.data, "12345") == 0,
	   "a reset forgives the failure");
	stedi_bytes_free(&bytes);

	stedi_bytes_init(&bytes, 0);
	stedi_bytes_append_text(&bytes, "a");
	ok(!stedi_bytes_reserve(&bytes, SIZE_MAX) && !stedi_bytes_reserve(&bytes, SIZE_MAX - 1) &&
	   bytes.failed && bytes.length == 1, "an absurd size is a failure, not an overflow");
	stedi_bytes_free(&bytes);
}

static void
test_steal(void)
{
	StediBytes	bytes;
	char	   *text;

	stedi_bytes_init(&bytes, 0);
	text = stedi_bytes_steal(&bytes);
	is(text, "", "stealing from an empty buffer gives an empty text");
	free(text);
	stedi_bytes_append_text(&bytes, "abc");
	text = stedi_bytes_steal(&bytes);
	is(text, "abc", "stealing gives the text");
	ok(bytes.data == NULL && bytes.length == 0, "and empties the buffer");
	free(text);
}

int
main(void)
{
	test_appending();
	test_growth();
	test_limit();
	test_steal();
	return tap_done();
}
