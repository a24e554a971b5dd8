/*
 * test_profile.c
 *		AWS config and credentials files, and command lines.
 */
#include <stdlib.h>

#include "core/profile.h"
#include "tap.h"

#define LENGTH(a)	((int) (sizeof(a) / sizeof((a)[0])))

static bool
parse(StediProfiles *profiles, const char *text, bool is_credentials, StediStatus *status)
{
	/* an exact copy, so that reading past its end shows */
	char	   *copy = malloc(strlen(text) + 1);
	bool		done;

	memcpy(copy, text, strlen(text));
	done = stedi_profiles_parse(profiles, copy, strlen(text), is_credentials, status);
	free(copy);
	return done;
}

static const char *
value_of(const StediProfiles *profiles, const char *profile, const char *name)
{
	const StediProfileSetting *setting = stedi_profiles_find(profiles, profile, name);

	return setting != NULL ? setting->value : NULL;
}

/* What a setting is in a file of that text. */
static void
test_values(void)
{
	static const struct
	{
		const char *name;
		const char *text;
		bool		is_credentials;
		const char *profile;
		const char *setting;
		const char *value;
	}			cases[] = {
		{"a setting", "[default]\nregion = eu-west-1\n", false, "default", "region", "eu-west-1"},
		{"without a last line end", "[default]\nregion=x", false, "default", "region", "x"},
		{"CRLF", "[default]\r\nregion = x\r\nother = y\r\n", false, "default", "region", "x"},
		{"a byte order mark", "\xEF\xBB\xBF[default]\nregion = x\n", false, "default", "region", "x"},
		{"tabs and blanks", "[default]\nregion\t =\t x \t\n", false, "default", "region", "x"},
		{"a colon", "[default]\nregion: x\n", false, "default", "region", "x"},
		{"the first delimiter counts", "[default]\na = b=c:d\n", false, "default", "a", "b=c:d"},
		{"names are of any case", "[default]\nAWS_Access_Key_ID = x\n", true, "default", "aws_access_key_id", "x"},
		{"an empty value is none", "[default]\na =\n", false, "default", "a", NULL},
		{"what is not there", "[default]\na = b\n", false, "default", "b", NULL},

		{"a profile", "[profile x]\na = b\n", false, "x", "a", "b"},
		{"a profile in quotes", "[profile \"x y\"]\na = b\n", false, "x y", "a", "b"},
		{"in single quotes", "[profile 'x y']\na = b\n", false, "x y", "a", "b"},
		{"with blanks around", "[  profile   x ]\na = b\n", false, "x", "a", "b"},
		{"a section line with a comment", "[profile x] # why\na = b\n", false, "x", "a", "b"},
		{"without \"profile\" in a config file", "[x]\na = b\n", false, "x", "a", NULL},
		{"two words", "[profile x y]\na = b\n", false, "x", "a", NULL},
		{"an open quote", "[profile \"x]\na = b\n", false, "x", "a", NULL},
		{"\"profile\" glued to the name", "[profilex]\na = b\n", false, "x", "a", NULL},
		{"a credentials file", "[x]\na = b\n", true, "x", "a", "b"},
		{"a name with blanks in it", "[x y]\na = b\n", true, "x y", "a", "b"},
		{"\"profile\" in a credentials file", "[profile x]\na = b\n", true, "x", "a", NULL},
		{"sso-session is no profile", "[sso-session x]\na = b\n", false, "x", "a", NULL},
		{"services is none", "[services x]\na = b\n[profile x]\nc = d\n", false, "x", "a", NULL},

		{"[profile default] outranks", "[profile default]\na = b\n[default]\na = c\n", false, "default", "a", "b"},
		{"wherever it stands", "[default]\na = c\nd = e\n[profile default]\na = b\n", false, "default", "d", NULL},
		{"later wins", "[default]\na = b\na = c\n", false, "default", "a", "c"},
		{"a section may come again", "[profile x]\na = b\n[default]\n[profile x]\nc = d\n", false, "x", "a", "b"},
		{"and then wins", "[profile x]\na = b\n[default]\n[profile x]\na = d\n", false, "x", "a", "d"},

		{"comments", "# c\n; c\n[default]\n# a = x\n ; a = y\na = b\n", false, "default", "a", "b"},
		{"a comment behind a value", "[default]\na = b # c\n", false, "default", "a", "b"},
		{"with a semicolon", "[default]\na = b\t; c\n", false, "default", "a", "b"},
		{"not without white space", "[default]\na = b#c;d\n", false, "default", "a", "b#c;d"},
		{"nothing but a comment", "[default]\na = # c\n", false, "default", "a", NULL},

		{"a value goes on", "[default]\na = b\n  c\n\td\n", false, "default", "a", "b\nc\nd"},
		{"over a blank line and a comment", "[default]\na = b\n\n # no\n  c\n", false, "default", "a", "b\nc"},
		{"settings may be indented", "[default]\n  a = b\n  c = d\n", false, "default", "c", "d"},
		{"a setting below", "[default]\ns3 =\n  a = b\nc = d\n", false, "default", "a", NULL},
		{"does not end the section", "[default]\ns3 =\n  a = b\nc = d\n", false, "default", "c", "d"},
		{"a section below a setting", "[default]\na = b\n  [x]\nc = d\n", false, "default", "c", "d"},
	};

	for (int i = 0; i < LENGTH(cases); i++)
	{
		StediProfiles profiles = {0};
		StediStatus status;

		if (ok(parse(&profiles, cases[i].text, cases[i].is_credentials, &status), cases[i].name))
			is(value_of(&profiles, cases[i].profile, cases[i].setting), cases[i].value, "is read as it should");
		else
			printf("# %s\n", status.message);
		stedi_profiles_free(&profiles);
	}
}

static void
test_refused(void)
{
	static const struct
	{
		const char *text;
		const char *message;
	}			cases[] = {
		{"SECRET = x\n", "line 1 is a setting before the first section"},
		{"[default]\n\nSECRET\n", "line 3 is neither a section nor a setting"},
		{"[default]\n= SECRET\n", "line 2 is neither a section nor a setting"},
		{"[SECRET\n", "line 1 is a section line without \"]\""},
	};
	StediProfiles profiles = {0};
	StediStatus status;

	for (int i = 0; i < LENGTH(cases); i++)
	{
		ok(!parse(&profiles, cases[i].text, true, &status) && status.code == STEDI_BAD_ARGUMENT, cases[i].text);
		is(status.message, cases[i].message, "the message has the line, not the text");
		stedi_profiles_free(&profiles);
	}
	ok(!stedi_profiles_parse(&profiles, "[x]\0", 4, true, &status), "a zero byte");
	stedi_profiles_free(&profiles);
}

static void
test_two_files(void)
{
	StediProfiles profiles = {0};
	StediStatus status;

	ok(parse(&profiles, "[profile x]\na = config\nregion = r\n[default]\n[profile y]\n", false, &status) &&
	   parse(&profiles, "[x]\na = credentials\n[z]\n", true, &status), "config and credentials");
	is(value_of(&profiles, "x", "a"), "credentials", "the credentials file wins");
	ok(stedi_profiles_find(&profiles, "x", "a")->is_from_credentials, "which shows");
	is(value_of(&profiles, "x", "region"), "r", "and the config file adds");
	ok(stedi_profiles_have(&profiles, "default") && stedi_profiles_have(&profiles, "y") &&
	   stedi_profiles_have(&profiles, "z"), "an empty section is a profile");
	ok(!stedi_profiles_have(&profiles, "w"), "one that is nowhere is none");
	stedi_profiles_free(&profiles);
	stedi_profiles_free(&profiles);
	ok(!stedi_profiles_have(&profiles, "x"), "freed, twice");
}

static void
test_words(void)
{
	static const struct
	{
		const char *text;
		const char *words;		/* each in brackets; NULL: refused */
	}			cases[] = {
		{"a", "[a]"},
		{"  a\tb\n c ", "[a][b][c]"},
		{"'a b' \"c d\"", "[a b][c d]"},
		{"a'b'\"c\"d", "[abcd]"},
		{"'' \"\"", "[][]"},
		{"a\\ b \\\\ \\'", "[a b][\\][']"},
		{"\"a\\\"b\\\\c\\d\\$\"", "[a\"b\\c\\d\\$]"},
		{"'a\\b\"'", "[a\\b\"]"},
		{"$HOME `id` $(id) *.c ~ | > < & ; # !", "[$HOME][`id`][$(id)][*.c][~][|][>][<][&][;][#][!]"},
		{"", NULL},
		{"  ", NULL},
		{"'a", NULL},
		{"a \"b", NULL},
		{"a\\", NULL},
	};

	for (int i = 0; i < LENGTH(cases); i++)
	{
		StediStatus status;
		char	  **words = stedi_split_words(cases[i].text, &status);
		char		text[200] = "";

		for (int w = 0; words != NULL && words[w] != NULL; w++)
			snprintf(text + strlen(text), sizeof(text) - strlen(text), "[%s]", words[w]);
		is(words != NULL ? text : NULL, cases[i].words, cases[i].text);
		stedi_words_free(words);
	}
}

int
main(void)
{
	test_values();
	test_refused();
	test_two_files();
	test_words();
	return tap_done();
}
