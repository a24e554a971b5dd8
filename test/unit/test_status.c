/*
 * test_status.c
 *		Messages are clean and clipped, whatever was put into them.
 */
#include "core/status.h"
#include "core/uri.h"
#include "tap.h"

static void
test_setting(void)
{
	StediStatus status;

	ok(!stedi_status_set(&status, STEDI_LIMIT, "%d is too many", 7), "setting a status gives false");
	is_int(status.code, STEDI_LIMIT, "it has its code");
	is(status.message, "7 is too many", "and its message");
	is(status.detail, "", "no detail");
	is(status.hint, "", "and no hint");
	stedi_status_detail(&status, "Found %s.", "eight");
	stedi_status_hint(&status, "Take %s.", "seven");
	is(status.message, "7 is too many", "a detail leaves the message alone");
	is(status.detail, "Found eight.", "a detail is added");
	is(status.hint, "Take seven.", "a hint is added");
	stedi_status_set(&status, STEDI_IO, "other");
	ok(status.detail[0] == '\0' && status.hint[0] == '\0', "a new message drops the old detail and hint");
	stedi_status_clear(&status);
	ok(status.code == STEDI_OK && status.message[0] == '\0', "a cleared status is OK");
}

static void
test_cleaning(void)
{
	StediStatus status;

	stedi_status_set(&status, STEDI_IO, "%s", "a\r\nb\tc\x1b[31m\x7f");
	is(status.message, "a??b?c?[31m?", "control characters become question marks in a message");
	stedi_status_detail(&status, "%s", "a\nb");
	is(status.detail, "a?b", "and in a detail");
	stedi_status_hint(&status, "%s", "a\nb");
	is(status.hint, "a?b", "and in a hint");
	stedi_status_set(&status, STEDI_IO, "%s", "caf\xC3\xA9");
	is(status.message, "caf\xC3\xA9", "other characters stay");
	stedi_status_set(&status, STEDI_IO, "%s", "a\xC2\x9B" "31m\xC2\xA0\xC2");
	is(status.message, "a??31m\xC2\xA0\xC2", "the control characters of 8 bits do not");
}

/* Clip text made of one character of every length, at every offset. */
static void
test_clipping(void)
{
	static const char *const characters[] = {"a", "\xC3\xA9", "\xE4\xB8\xAD", "\xF0\x9F\x98\x80"};
	StediStatus status;
	int			wrong = 0;

	for (size_t c = 0; c < 4; c++)
	{
		size_t		size = strlen(characters[c]);

		for (size_t offset = 0; offset < 4; offset++)
		{
			char		text[STEDI_MESSAGE_SIZE * 3] = "";
			size_t		length;

			for (size_t i = 0; i < offset; i++)
				strcat(text, "-");
			while (strlen(text) < STEDI_MESSAGE_SIZE + 40)
				strcat(text, characters[c]);
			stedi_status_set(&status, STEDI_IO, "%s", text);
			length = strlen(status.message);
			wrong += length >= STEDI_MESSAGE_SIZE || length + size < STEDI_MESSAGE_SIZE ||
				!stedi_utf8_valid(status.message, length) ||
				strncmp(status.message, text, length) != 0;
		}
	}
	is_int(wrong, 0, "a long message is clipped at a character, and no sooner than needed");

	/* text that fits exactly is not clipped */
	for (size_t c = 0; c < 4; c++)
	{
		size_t		size = strlen(characters[c]);
		char		text[STEDI_MESSAGE_SIZE] = "";

		while (strlen(text) < (STEDI_MESSAGE_SIZE - 1) % size)
			strcat(text, "-");
		while (strlen(text) < STEDI_MESSAGE_SIZE - 1)
			strcat(text, characters[c]);
		stedi_status_set(&status, STEDI_IO, "%s", text);
		is(status.message, text, "a message that just fits is whole");
	}

	/* bytes that are not UTF-8 do no harm */
	for (int byte = 0x80; byte < 0x100; byte++)
	{
		char		text[STEDI_DETAIL_SIZE * 2];

		memset(text, byte, sizeof(text) - 1);
		text[sizeof(text) - 1] = '\0';
		stedi_status_detail(&status, "%s", text);
		wrong += strlen(status.detail) >= STEDI_DETAIL_SIZE || strlen(status.detail) < STEDI_DETAIL_SIZE - 5;
	}
	is_int(wrong, 0, "long text that is not UTF-8 is clipped, too");
}

int
main(void)
{
	test_setting();
	test_cleaning();
	test_clipping();
	return tap_done();
}
