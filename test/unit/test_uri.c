/*
 * test_uri.c
 *		URIs, globs and percent-encoding.
 */
#include <stdlib.h>
#include <time.h>

#include "core/uri.h"
#include "tap.h"

#define LENGTH(a)	((int) (sizeof(a) / sizeof((a)[0])))

static void
test_parse(void)
{
	static const struct
	{
		const char *text;
		bool		literal;
		const char *bucket;		/* NULL: a file */
		const char *key;
		size_t		prefix_length;
		bool		is_glob;
		bool		is_prefix;
	}			cases[] = {
		{"s3://lake", false, "lake", "", 0, false, true},
		{"s3://lake/", false, "lake", "", 0, false, true},
		{"S3://lake/a", false, "lake", "a", 1, false, false},
		{"s3://lake/a/", false, "lake", "a/", 2, false, true},
		{"s3://lake/a/b.json", false, "lake", "a/b.json", 8, false, false},
		{"s3://lake//a", false, "lake", "/a", 2, false, false},
		{"s3://lake/a/../%41//b", false, "lake", "a/../%41//b", 11, false, false},
		{"s3://lake/a#b+c d@e", false, "lake", "a#b+c d@e", 9, false, false},
		{"s3://lake/a:b@c", false, "lake", "a:b@c", 5, false, false},
		{"s3://lake/caf\xC3\xA9", false, "lake", "caf\xC3\xA9", 5, false, false},
		{"s3://My_Old.Bucket-1/k", false, "My_Old.Bucket-1", "k", 1, false, false},
		{"s3://b/k", false, "b", "k", 1, false, false},
		{"s3://lake/a/*.json", false, "lake", "a/*.json", 2, true, false},
		{"s3://lake/**", false, "lake", "**", 0, true, false},
		{"s3://lake/a?c", false, "lake", "a?c", 1, true, false},
		{"s3://lake/a?/", false, "lake", "a?/", 1, true, false},
		{"s3://lake/ab[cd]", false, "lake", "ab[cd]", 2, true, false},
		{"s3://lake/ab\\*", false, "lake", "ab\\*", 2, true, false},
		{"s3://lake/a[?]b=c", false, "lake", "a[?]b=c", 1, true, false},
		{"s3://lake/a\\?b=c", false, "lake", "a\\?b=c", 1, true, false},
		{"s3://lake/a?=c", false, "lake", "a?=c", 1, true, false},
		{"s3://lake/a/*?[x]\\y", true, "lake", "a/*?[x]\\y", 9, false, false},
		{"s3://lake/a*/", true, "lake", "a*/", 3, false, true},
		{"file:///data/x.json", false, NULL, "/data/x.json", 12, false, false},
		{"file:///data/", false, NULL, "/data/", 6, false, true},
		{"file:///", false, NULL, "/", 1, false, true},
		{"FILE:///a/*.gz", false, NULL, "/a/*.gz", 3, true, false},
		{"file:///a*b", true, NULL, "/a*b", 4, false, false},
	};

	for (int i = 0; i < LENGTH(cases); i++)
	{
		StediUri	uri;
		StediStatus status;
		bool		good;

		if (!ok(stedi_uri_parse(cases[i].text, cases[i].literal, &uri, &status), cases[i].text))
		{
			printf("# %s\n", status.message);
			continue;
		}
		good = cases[i].bucket ?
			uri.scheme == STEDI_SCHEME_S3 && strcmp(uri.bucket, cases[i].bucket) == 0 :
			uri.scheme == STEDI_SCHEME_FILE && uri.bucket == NULL;
		ok(good, "its scheme and bucket");
		is(uri.key, cases[i].key, "its key");
		is_int((long long) uri.prefix_length, (long long) cases[i].prefix_length, "its prefix");
		ok(uri.is_glob == cases[i].is_glob && uri.is_prefix == cases[i].is_prefix, "its kind");
		stedi_uri_free(&uri);
		stedi_uri_free(&uri);
	}
}

static void
test_refused(void)
{
	static const struct
	{
		const char *text;
		StediCode	code;
		const char *message;
		bool		has_hint;
	}			cases[] = {
		{"", STEDI_BAD_ARGUMENT, "invalid URI \"\": it has no scheme", true},
		{"lake/a", STEDI_BAD_ARGUMENT, "invalid URI \"lake/a\": it has no scheme", true},
		{"/data/a", STEDI_BAD_ARGUMENT, "invalid URI \"/data/a\": it has no scheme", true},
		{"s3:/lake/a", STEDI_BAD_ARGUMENT, "invalid URI \"s3:/lake/a\": it has no scheme", true},
		{"://lake/a", STEDI_BAD_ARGUMENT, "invalid URI \"://lake/a\": it has no scheme", true},
		{"s3a://lake/a", STEDI_UNSUPPORTED, "URI scheme \"s3a\" is not supported", true},
		{"https://h/a?X-Amz-Signature=SECRET", STEDI_UNSUPPORTED, "URI scheme \"https\" is not supported", true},
		{"https://u:SECRET@h/a", STEDI_BAD_ARGUMENT, "invalid URI: it must not contain a user name or password", true},
		{"s3://", STEDI_BAD_ARGUMENT, "invalid URI \"s3://\": the bucket name is missing", true},
		{"s3:///key", STEDI_BAD_ARGUMENT, "invalid URI \"s3:///key\": the bucket name is missing", true},
		{"s3://./key", STEDI_BAD_ARGUMENT, "invalid URI \"s3://./key\": the bucket name is not valid", true},
		{"s3://../key", STEDI_BAD_ARGUMENT, "invalid URI \"s3://../key\": the bucket name is not valid", true},
		{"s3://la*e/key", STEDI_BAD_ARGUMENT, "invalid URI \"s3://la*e/key\": the bucket name is not valid", true},
		{"s3://la ke/key", STEDI_BAD_ARGUMENT, "invalid URI \"s3://la ke/key\": the bucket name is not valid", true},
		{"s3://lake:9000/key", STEDI_BAD_ARGUMENT, "invalid URI \"s3://lake:9000/key\": the bucket name is not valid", true},
		{"s3://lake?endpoint=SECRET", STEDI_BAD_ARGUMENT, "invalid URI \"s3://lake\": the bucket name is not valid", true},
		{"s3://AKID:SECRET@lake/key", STEDI_BAD_ARGUMENT, "invalid URI: it must not contain a user name or password", true},
		{"s3://AKID:SEC/RET/SECRET@lake/key", STEDI_BAD_ARGUMENT, "invalid URI: it must not contain a user name or password", true},
		{"s3://SECRET@lake/key", STEDI_BAD_ARGUMENT, "invalid URI: it must not contain a user name or password", true},
		{"s3:AKID:SECRET@lake/key", STEDI_BAD_ARGUMENT, "invalid URI: it has no scheme", true},
		{"s3://lake/a?endpoint=http://SECRET", STEDI_BAD_ARGUMENT, "invalid URI \"s3://lake/a\": it has a query part", true},
		{"s3://lake/a?versionId=1", STEDI_BAD_ARGUMENT, "invalid URI \"s3://lake/a\": it has a query part", true},
		{"s3://lake/a?b=", STEDI_BAD_ARGUMENT, "invalid URI \"s3://lake/a\": it has a query part", true},
		{"s3://lake/a?x/b?c=d", STEDI_BAD_ARGUMENT, "invalid URI \"s3://lake/a\": it has a query part", true},
		{"file:///a?b=c", STEDI_BAD_ARGUMENT, "invalid URI \"file:///a\": it has a query part", true},
		{"s3://lake/a\nb", STEDI_BAD_ARGUMENT, "invalid URI: it contains a control character", false},
		{"s3://lake/a\x7F", STEDI_BAD_ARGUMENT, "invalid URI: it contains a control character", false},
		{"s3://lake/\xFF", STEDI_BAD_ARGUMENT, "invalid URI: it is not valid UTF-8", false},
		{"s3://lake/\xC0\xAF", STEDI_BAD_ARGUMENT, "invalid URI: it is not valid UTF-8", false},
		{"file://host/a", STEDI_BAD_ARGUMENT, "invalid URI \"file://host/a\": it needs an absolute path and no host", true},
		{"file://a", STEDI_BAD_ARGUMENT, "invalid URI \"file://a\": it needs an absolute path and no host", true},
		{"file://", STEDI_BAD_ARGUMENT, "invalid URI \"file://\": it needs an absolute path and no host", true},
	};

	for (int i = 0; i < LENGTH(cases); i++)
	{
		for (int literal = 0; literal <= 1; literal++)
		{
			StediUri	uri;
			StediStatus status;
			char		label[160];

			snprintf(label, sizeof(label), "refused%s: %s", literal ? " (literal)" : "", cases[i].message);
			if (!ok(!stedi_uri_parse(cases[i].text, literal != 0, &uri, &status), label))
			{
				stedi_uri_free(&uri);
				continue;
			}
			is_int(status.code, cases[i].code, "with its code");
			is(status.message, cases[i].message, "with its message");
			ok(strstr(status.message, "SECRET") == NULL && strstr(status.detail, "SECRET") == NULL,
			   "without a secret");
			ok((status.hint[0] != '\0') == cases[i].has_hint, "with a hint, where there is one");
			ok(uri.bucket == NULL && uri.key == NULL, "with nothing to free");
		}
	}
}

/* In a literal URI nothing is quoted, so the question mark starts a query. */
static void
test_quoted_query(void)
{
	StediUri	uri;
	StediStatus status;

	ok(!stedi_uri_parse("s3://lake/a\\?b=c", true, &uri, &status), "a backslash in a literal URI quotes nothing");
	is(status.message, "invalid URI \"s3://lake/a\\\": it has a query part", "and the query is refused");
}

static void
test_lengths(void)
{
	char		text[8192];
	StediUri	uri;
	StediStatus status;

	memset(text, 'k', sizeof(text));
	memcpy(text, "s3://lake/", 10);
	text[10 + 1024] = '\0';
	ok(stedi_uri_parse(text, false, &uri, &status), "a key of 1,024 bytes");
	stedi_uri_free(&uri);
	text[10 + 1024] = 'k';
	text[10 + 1025] = '\0';
	ok(!stedi_uri_parse(text, false, &uri, &status), "a key of 1,025 bytes is refused");
	ok(strstr(status.message, "kkk...\": the key is longer than 1024 bytes") != NULL,
	   "and the message clips the URI, not the reason");

	/* two-byte characters: a cut in the middle would show */
	for (int i = 11; i < 8190; i += 2)
		memcpy(text + i, "\xC3\xA9", 2);
	text[8191] = '\0';
	ok(!stedi_uri_parse(text, false, &uri, &status) &&
	   stedi_utf8_valid(status.message, strlen(status.message)), "and clips it at a character");

	memset(text, 'k', sizeof(text));
	memcpy(text, "file:///", 8);
	text[7 + 4095] = '\0';
	ok(stedi_uri_parse(text, false, &uri, &status), "a path of 4,095 bytes");
	stedi_uri_free(&uri);
	text[7 + 4095] = 'k';
	text[7 + 4096] = '\0';
	ok(!stedi_uri_parse(text, false, &uri, &status), "a path of 4,096 bytes is refused");

	memset(text, 'b', sizeof(text));
	memcpy(text, "s3://", 5);
	text[5 + 255] = '\0';
	ok(stedi_uri_parse(text, false, &uri, &status), "a bucket name of 255 bytes");
	stedi_uri_free(&uri);
	text[5 + 255] = 'b';
	text[5 + 256] = '\0';
	ok(!stedi_uri_parse(text, false, &uri, &status), "a bucket name of 256 bytes is refused");
}

static void
test_format(void)
{
	char	   *text = stedi_uri_format(STEDI_SCHEME_S3, "lake", "a/*b?.json");
	StediUri	uri;
	StediStatus status;

	is(text, "s3://lake/a/*b?.json", "an S3 URI");
	ok(stedi_uri_parse(text, true, &uri, &status) && strcmp(uri.key, "a/*b?.json") == 0 &&
	   !uri.is_glob, "comes back as it was when read literally");
	stedi_uri_free(&uri);
	free(text);

	text = stedi_uri_format(STEDI_SCHEME_FILE, NULL, "/a/b");
	is(text, "file:///a/b", "a file URI");
	free(text);
}

static void
test_glob(void)
{
	static const struct
	{
		const char *pattern;
		const char *text;
		bool		matches;
	}			cases[] = {
		{"", "", true}, {"", "a", false}, {"a", "", false}, {"abc", "abc", true},
		{"abc", "abd", false}, {"abc", "ab", false}, {"ab", "abc", false},
		{"*", "", true}, {"*", "abc", true}, {"*", "a/b", false}, {"a*", "a", true},
		{"*c", "abc", true}, {"*c", "abd", false}, {"a*c", "ac", true}, {"a*c", "abcbc", true},
		{"*.json", "x.json", true}, {"*.json", "d/x.json", false}, {"d/*.json", "d/x.json", true},
		{"*/*", "a/b", true}, {"*/*", "a/b/c", false}, {"a*b*c", "a1b2c", true},
		{"a*b*c", "a1c2b", false}, {"*a*b", "xaxxb", true}, {"a*b/c", "axb/c", true},
		{"a*b/c", "a/b/c", false},
		{"?", "a", true}, {"?", "", false}, {"?", "/", false}, {"?", "ab", false},
		{"?", "\xC3\xA9", true}, {"??", "\xC3\xA9", false}, {"a?c", "a\xF0\x9F\x98\x80" "c", true},
		{"?", "\xFF", true},
		{"**", "", true}, {"**", "a/b/c", true}, {"**.gz", "a/b.gz", true}, {"**.gz", "a/b.g", false},
		{"a/**", "a/", true}, {"a/**", "a/b/c", true}, {"a/**", "a", false}, {"a/**", "ab", false},
		{"a/**/b", "a/b", true}, {"a/**/b", "a/x/b", true}, {"a/**/b", "a/x/y/b", true},
		{"a/**/b", "a/xb", false}, {"a/**/b", "ab", false}, {"a/**/b", "a/b/c", false},
		{"a/**/b", "a//b", true}, {"**/b", "b", true}, {"**/b", "a/b", true}, {"**/b", "ab", false},
		{"**/b", "/b", true}, {"**/*.gz", "x.gz", true}, {"**/*.gz", "a/b/x.gz", true},
		{"**/**/b", "b", true}, {"**/**/b", "x/b", true}, {"a/**/**/b", "a/b", true},
		{"a**/b", "ab", false}, {"a**/b", "a/b", true}, {"a**/b", "ax/y/b", true},
		{"a**b", "a/x/b", true}, {"***", "a/b", true}, {"a/***/b", "a/b", true},
		{"**a*b", "ax/ab", true}, {"**a*b", "ax/ab/", false}, {"**a*b**c", "ax/ab/c", true},
		{"**/year=*/**/*.json", "l/year=2024/m/d/x.json", true},
		{"**/year=*/**/*.json", "l/year=2024/x.json", true},
		{"**/year=*/**/*.json", "l/yeer=2024/x.json", false},
		{"[abc]", "b", true}, {"[abc]", "d", false}, {"[a-c]", "b", true}, {"[a-c]", "d", false},
		{"[!a-c]", "d", true}, {"[!a-c]", "a", false}, {"[^a-c]", "d", true}, {"[^a-c]", "b", false},
		{"[!a]", "/", false}, {"[+-0]", "/", false}, {"[]a]", "]", true}, {"[]a]", "a", true},
		{"[!]a]", "]", false}, {"[!]a]", "b", true}, {"[a-]", "-", true}, {"[a-]", "b", false},
		{"[-a]", "-", true}, {"[\\]]", "]", true}, {"[\\]]", "\\", false}, {"[a-\\c]", "b", true},
		{"[\xC3\xA0-\xC3\xAF]", "\xC3\xA9", true}, {"[\xC3\xA0-\xC3\xAF]", "\xC3", false},
		{"[\xC3\xA0-\xC3\xAF]", "\xE9", false}, {"\xE9", "\xE9", true}, {"\xE9", "\xC3\xA9", false},
		{"[abc", "[abc", true}, {"[abc", "a", false}, {"[", "[", true}, {"[!", "[!", true},
		{"[]", "[]", true}, {"[z-a]", "m", false}, {"[?*]", "*", true}, {"[?*]", "a", false},
		{"x[0-9][0-9]", "x42", true}, {"x[0-9][0-9]", "x4", false},
		{"\\*", "*", true}, {"\\*", "a", false}, {"\\\\", "\\", true}, {"a\\", "a\\", true},
		{"\\a", "a", true}, {"\\[a]", "[a]", true}, {"\\**", "*x", true}, {"\\**", "xx", false},
		{"*\\*", "a*", true}, {"a\\/b", "a/b", true}, {"\\/**/b", "/b", true},
	};

	for (int i = 0; i < LENGTH(cases); i++)
	{
		char		label[160];

		snprintf(label, sizeof(label), "%s %s %s", cases[i].pattern,
				 cases[i].matches ? "matches" : "does not match", cases[i].text);
		for (char *p = label; *p; p++)
		{
			if (*p == '\\' || *p == '#')
				*p = '~';
		}
		ok(stedi_glob_match(cases[i].pattern, cases[i].text) == cases[i].matches, label);
	}
}

/* The same by definition: try every split.  Only '*', "**", '?' and letters. */
static bool
slow_match(const char *pattern, const char *text, bool segment_start)
{
	if (*pattern == '\0')
		return *text == '\0';
	if (pattern[0] == '*' && pattern[1] == '*')
	{
		const char *rest = pattern + strspn(pattern, "*");

		if (*rest == '/' && segment_start)
		{
			if (slow_match(rest + 1, text, true))
				return true;
			for (; *text; text++)
			{
				if (*text == '/' && slow_match(rest + 1, text + 1, true))
					return true;
			}
			return false;
		}
		for (;; text++)
		{
			if (slow_match(rest, text, false))
				return true;
			if (*text == '\0')
				return false;
		}
	}
	if (*pattern == '*')
	{
		for (;; text++)
		{
			if (slow_match(pattern + 1, text, false))
				return true;
			if (*text == '\0' || *text == '/')
				return false;
		}
	}
	if (*text == '\0' || (*pattern == '?' ? *text == '/' : *pattern != *text))
		return false;
	return slow_match(pattern + 1, text + 1, *pattern == '/');
}

static void
test_glob_against_definition(void)
{
	static const char pattern_characters[] = "ab/**?";
	static const char text_characters[] = "ab/";
	unsigned int seed = 1;
	int			differences = 0;
	int			matches = 0;

	for (int i = 0; i < 200000 && differences < 5; i++)
	{
		char		pattern[9] = "";
		char		text[9] = "";

		for (int n = rand_r(&seed) % 8, k = 0; k < n; k++)
			pattern[k] = pattern_characters[rand_r(&seed) % 6];
		for (int n = rand_r(&seed) % 8, k = 0; k < n; k++)
			text[k] = text_characters[rand_r(&seed) % 3];
		matches += slow_match(pattern, text, true);
		if (stedi_glob_match(pattern, text) != slow_match(pattern, text, true))
		{
			printf("# differs: \"%s\" \"%s\"\n", pattern, text);
			differences++;
		}
	}
	is_int(differences, 0, "random globs match what they match by definition");
	ok(matches > 10000, "and enough of them match");
}

static void
test_hostile_glob(void)
{
	char		pattern[1025];
	char		text[1025];
	char	   *long_pattern = calloc(1, 10001);
	struct timespec start,
				end;
	double		ms;

	for (int i = 0; i + 1 < 1024; i += 2)
		memcpy(pattern + i, "*a", 2);
	memcpy(pattern, "**", 2);
	pattern[1023] = 'b';
	pattern[1024] = '\0';
	memset(text, 'a', 1024);
	text[1024] = '\0';
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &start);
	ok(!stedi_glob_match(pattern, text), "a hostile glob does not match");
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
	ms = (double) (end.tv_sec - start.tv_sec) * 1e3 + (double) (end.tv_nsec - start.tv_nsec) / 1e6;
	if (!ok(ms < 1000, "and says so within a second, unoptimised"))
		printf("# took %.1f ms\n", ms);

	memset(long_pattern, '*', 10000);
	ok(!stedi_glob_match(long_pattern, "a"), "a pattern longer than any URI matches nothing");
	free(long_pattern);
}

static void
test_matches(void)
{
	static const struct
	{
		const char *uri;
		const char *key;
		bool		matches;
	}			cases[] = {
		{"s3://b/", "a", true}, {"s3://b", "a/b/c.json", true}, {"s3://b", "a/", false},
		{"s3://b/a/", "a/b", true}, {"s3://b/a/", "ab", false}, {"s3://b/a/", "a/", false},
		{"s3://b/a/", "a/b/", false}, {"s3://b/a/", "a/_SUCCESS", false}, {"s3://b/a/", "a/.x", false},
		{"s3://b/a/", "a/_tmp/x", false}, {"s3://b/a/", "a/x/.y/z", false}, {"s3://b/a/", "a/x_y.z", true},
		{"s3://b/_a/", "_a/b", true}, {"s3://b/.a/_b/", ".a/_b/c", true}, {"s3://b/_a/*", "_a/b", true},
		{"s3://b/_a/*", "_a/_b", false}, {"s3://b/_a*", "_ab", false}, {"s3://b/a/**", "a/_b/c", false},
		{"s3://b/a/**/*.json", "a/b/c.json", true}, {"s3://b/a/**/*.json", "a/c.json", true},
		{"s3://b/a/*", "a/b/c", false}, {"s3://b/a/*", "a/b", true}, {"s3://b/a/**", "a/b/", false},
		{"s3://b/a/_b.json", "a/_b.json", true}, {"s3://b/a/b", "a/bc", false}, {"s3://b/a/b", "a/b", true},
		{"file:///d/", "/d/x", true}, {"file:///d/*.gz", "/d/x.gz", true}, {"file:///d/", "/e/x", false},
	};

	for (int i = 0; i < LENGTH(cases); i++)
	{
		StediUri	uri;
		StediStatus status;
		char		label[160];

		snprintf(label, sizeof(label), "%s %s %s", cases[i].uri,
				 cases[i].matches ? "names" : "does not name", cases[i].key);
		ok(stedi_uri_parse(cases[i].uri, false, &uri, &status) &&
		   stedi_uri_matches(&uri, cases[i].key) == cases[i].matches, label);
		stedi_uri_free(&uri);
	}
}

static void
test_percent(void)
{
	static const char nasty[] = "a b/c%d+e~f-g_h.i\xC3\xA9*'()!;\0z";
	static const char *const malformed[] = {"%", "%4", "%4G", "%G4", "a%", "%00", "%-1"};
	StediBytes	out;
	StediBytes	back;

	stedi_bytes_init(&out, 0);
	stedi_bytes_init(&back, 0);
	ok(stedi_percent_encode(&out, nasty, sizeof(nasty) - 1, true), "text is encoded");
	is(out.data, "a%20b/c%25d%2Be~f-g_h.i%C3%A9%2A%27%28%29%21%3B%00z", "but for what stays");
	stedi_bytes_free(&out);
	ok(stedi_percent_encode(&out, "a/b", 3, false), "a slash, too");
	is(out.data, "a%2Fb", "unless it is kept");
	stedi_bytes_free(&out);

	ok(stedi_percent_decode(&back, "a%20b+c%2b%C3%A9", 16, true), "text is decoded");
	is(back.data, "a b c+\xC3\xA9", "with plus as a space");
	stedi_bytes_free(&back);
	ok(stedi_percent_decode(&back, "a+b%2F", 6, false), "or not");
	is(back.data, "a+b/", "with plus as plus");
	stedi_bytes_free(&back);
	for (int i = 0; i < LENGTH(malformed); i++)
	{
		ok(!stedi_percent_decode(&back, malformed[i], strlen(malformed[i]), true), malformed[i]);
		stedi_bytes_free(&back);
	}
	ok(!stedi_percent_decode(&back, "a\0b", 3, true), "a raw NUL is refused");
	stedi_bytes_free(&back);
	ok(!stedi_percent_decode(&back, "%411", 2, true), "an escape beyond the length is not read");
	stedi_bytes_free(&back);

	for (int c = 1; c < 256; c++)
	{
		char		text = (char) c;

		stedi_percent_encode(&out, &text, 1, true);
		stedi_percent_decode(&back, out.data, out.length, true);
		stedi_bytes_reset(&out);
	}
	ok(back.length == 255 && back.data[0] == 1 && (unsigned char) back.data[254] == 255 &&
	   back.data['+' - 1] == '+', "every byte survives encoding and decoding");
	stedi_bytes_free(&out);
	stedi_bytes_free(&back);
}

static void
test_utf8(void)
{
	static const char *const valid[] = {
		"", "a", "\xC2\x80", "\xDF\xBF", "\xE0\xA0\x80", "\xED\x9F\xBF", "\xEE\x80\x80",
		"\xEF\xBF\xBF", "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF"
	};
	static const char *const invalid[] = {
		"\x80", "\xBF", "\xC0\x80", "\xC1\xBF", "\xC2", "\xC2\x41", "\xE0\x9F\xBF", "\xE0\xA0",
		"\xED\xA0\x80", "\xED\xBF\xBF", "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF8\x88\x80\x80\x80",
		"\xFF", "a\xF0\x90\x80"
	};

	for (int i = 0; i < LENGTH(valid); i++)
		ok(stedi_utf8_valid(valid[i], strlen(valid[i])), "valid UTF-8");
	for (int i = 0; i < LENGTH(invalid); i++)
		ok(!stedi_utf8_valid(invalid[i], strlen(invalid[i])), "invalid UTF-8");
}

int
main(void)
{
	test_parse();
	test_refused();
	test_quoted_query();
	test_lengths();
	test_format();
	test_glob();
	test_glob_against_definition();
	test_hostile_glob();
	test_matches();
	test_percent();
	test_utf8();
	return tap_done();
}
