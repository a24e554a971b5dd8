/*
 * test_json_number.c
 *		JSON numbers to int64 and double, compared with the C library.
 */
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "core/json_reader.h"
#include "tap.h"

static uint64_t random_state = UINT64_C(0x9E3779B97F4A7C15);

static uint64_t
random_u64(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state * UINT64_C(2685821657736338717);
}

/* Runs before any setlocale(), so strtod is that of the C locale. */
static bool
same_as_strtod(const char *text)
{
	double		expected = strtod(text, NULL);
	double		got = 12345.0;
	StediJsonNumber result;
	size_t		length = strlen(text);
	char	   *exact = malloc(length);	/* so that a read past the end is noticed */

	memcpy(exact, text, length);
	result = stedi_json_to_double(exact, length, &got);
	free(exact);
	if (memcmp(&got, &expected, sizeof(got)) == 0 &&
		result == (isinf(expected) ? STEDI_JSON_NUMBER_OUT_OF_RANGE : STEDI_JSON_NUMBER_OK))
		return true;
	printf("# %.200s: got %a (%d), strtod gives %a\n", text, got, (int) result, expected);
	return false;
}

static void
test_double_cases(void)
{
	static const char *const cases[] = {
		"0", "-0", "0.0", "-0.0", "-0e5", "0e999999999999999999999", "1", "-1", "1.0",
		"0.1", "0.2", "0.3", "123456789", "1655564444103", "9007199254740991",
		"9007199254740992", "9007199254740993", "9007199254740993.0000000000000000001",
		"9007199254740995", "18014398509481989", "18446744073709551615",
		"18446744073709551616", "99999999999999999999", "1e22", "1e23", "9e22", "8.5e22",
		"1e-22", "1e-23", "1e27", "1e28", "1e-27", "1e-28", "123456789012345678e-27",
		"1.7976931348623157e308", "1.7976931348623158e308", "1.7976931348623159e308",
		"17976931348623158079372897140530341507993413271003782693617377898044496829276475094664901797758720709633028641669288791094655554785194040263065748867150582068190890200070838367627385484581771153176447573027006985557136695962284291481986083493647529271907416844436551070434271155969950809304288017790417449779.1",
		"1e308", "1e309", "-1e309", "1e310", "1e400", "1e999999999999999999999999",
		"5e-324", "4.9e-324", "3e-324", "2.5e-324", "2.4e-324", "2e-324", "1e-324", "1e-325",
		"-1e-400", "1e-999999999999999999999999",
		"2.4703282292062327208299439634110764e-324", "2.4703282292062328e-324",
		"2.4703282292062327e-324", "2.2250738585072011e-308", "2.2250738585072014e-308",
		"2.2250738585072012e-308", "2.225073858507201136057409796709131975934819546351645648023426109724822222021076945516529523908135087914149158913039621106870086438694594645527657207407820621743379988141063267329253552286881372149012981122451451889849057222307285255133155755015914397476397983411801999323962548289017107081850690630666655994938275772572015763062690663332647565300009245888316433037779791869612049497390377829704905051080609940730262937128958950003583799967207254304360284078895771796150945516748243471030702609144621572289880258182545180325707018860872113128079512233426288368622321503775666622503982534335974568884423900265498198385487948292206894721689831099698365846814022854243330660339850886445804001034933970427567186443383770486037861622771738545623065874679014086723327636718751234567890123456789012345678901e-308",
		"6.631236846766476e-316", "3.237883913302901289588352412501532174863037669423108e-317",
		"0.500000000000000166533453693773481063544750213623046875",
		"3.518437208883201171875e13", "62.5364939768271845828", "8.10109172351e-10",
		"1.50000000000000011102230246251565", "1.4999999999999998889776975375",
		"7.8459735791271921e65", "1.00000000000000011102230246251565404236316680908203125",
		"1.00000000000000011102230246251565404236316680908203124",
		"1.00000000000000011102230246251565404236316680908203126",
		"0.000000000000000000000000000000000000000000000000000000000000001e63", "1E5", "1e+5",
		"12345678901234567890123456789e-10", "10000000000000000000000000000000000000000e-40",
	};
	bool		all = true;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		all &= same_as_strtod(cases[i]);
	ok(all, "doubles: hard cases round as strtod does");
}

static void
test_double_random(void)
{
	char		text[128];
	bool		all = true;

	/* any bit pattern, printed with 15 to 19 digits */
	for (int i = 0; i < 500000 && all; i++)
	{
		uint64_t	bits = random_u64();
		double		value;

		memcpy(&value, &bits, sizeof(value));
		if (!isfinite(value))
			continue;
		snprintf(text, sizeof(text), "%.*e", 14 + i % 5, value);
		all = same_as_strtod(text);
	}
	ok(all, "doubles: random bit patterns");

	all = true;
	for (int i = 0; i < 500000 && all; i++)
	{
		snprintf(text, sizeof(text), "%s%" PRIu64 ".%0*" PRIu64, i % 2 ? "-" : "",
				 random_u64() % 1000, 1 + i % 19,
				 random_u64() % UINT64_C(10000000000));
		all = same_as_strtod(text);
	}
	ok(all, "doubles: readings with many digits");

	all = true;
	for (int i = 0; i < 500000 && all; i++)
	{
		snprintf(text, sizeof(text), "%" PRIu64 "%0*de%d", random_u64() >> (i % 60),
				 1 + i % 7, i % 3, (int) (random_u64() % 700) - 350);
		all = same_as_strtod(text);
	}
	ok(all, "doubles: random mantissa and exponent, overflow and underflow included");

	all = true;
	for (int i = 0; i < 20000 && all; i++)
	{
		uint64_t	bits = random_u64() >> (12 + i % 52);
		double		value;

		memcpy(&value, &bits, sizeof(value));
		snprintf(text, sizeof(text), "%.*e", i % 25, value);
		all = same_as_strtod(text);
	}
	ok(all, "doubles: subnormals");
}

/* Exactly between two doubles, and one digit to either side of it. */
static void
test_double_halfway(void)
{
	static char text[2000];
	bool		all = true;

	for (int i = 0; i < 20000 && all; i++)
	{
		/* a 54-bit odd integer m times 2^e is a midpoint; long double holds it */
		uint64_t	m = (random_u64() >> 10) | (UINT64_C(1) << 53) | 1;
		int			e = (int) (random_u64() % 200) - 120;
		long double middle = ldexpl((long double) m, e);
		size_t		length;

		if (LDBL_MANT_DIG < 54)
			break;
		snprintf(text, sizeof(text) - 2, "%.*Lf", e < 0 ? -e : 1, middle);
		all = same_as_strtod(text);
		length = strlen(text);
		strcpy(text + length, "1");
		all = all && same_as_strtod(text);
		text[length] = '\0';
		text[length - 1] = (char) (text[length - 1] == '0' ? '1' : text[length - 1] - 1);
		all = all && same_as_strtod(text);
	}
	ok(all, "doubles: halfway cases and their neighbours");

	/* half of the smallest subnormal has 751 digits: tie, then just above */
	snprintf(text, sizeof(text), "%.1075Lf", ldexpl(1.0L, -1075));
	all = same_as_strtod(text);
	strcat(text, "00000000000000000000000000000000000000000000000000000001");
	all = all && same_as_strtod(text);
	ok(all, "doubles: half of the smallest subnormal");
}

static void
test_int64(void)
{
	static const struct
	{
		const char *text;
		StediJsonNumber result;
		int64_t		value;
	}			cases[] = {
#define GOOD(text, value)	{text, STEDI_JSON_NUMBER_OK, value}
#define NOT(text)			{text, STEDI_JSON_NUMBER_NOT_INTEGRAL, 0}
#define OUT(text)			{text, STEDI_JSON_NUMBER_OUT_OF_RANGE, 0}
		GOOD("0", 0), GOOD("-0", 0), GOOD("-0.0", 0), GOOD("0e99999999999999999999", 0),
		GOOD("0e-99999999999999999999", 0), GOOD("1", 1), GOOD("-1", -1), GOOD("42", 42),
		GOOD("1655564376361", INT64_C(1655564376361)),
		GOOD("1655564376361.0", INT64_C(1655564376361)),
		GOOD("1655564376361.000000000000000000000000000000", INT64_C(1655564376361)),
		GOOD("1.655564376361e12", INT64_C(1655564376361)), GOOD("1e3", 1000),
		GOOD("1E+3", 1000), GOOD("10e-1", 1), GOOD("1000e-3", 1), GOOD("-1200E-2", -12),
		GOOD("0.001e3", 1), GOOD("0.00000000000000000000000000001e29", 1),
		GOOD("100000000000000000000000000000e-29", 1), GOOD("1e18", INT64_C(1000000000000000000)),
		GOOD("9223372036854775807", INT64_MAX), GOOD("9223372036854775807.0", INT64_MAX),
		GOOD("9223372036854775.807e3", INT64_MAX), GOOD("-9223372036854775808", INT64_MIN),
		GOOD("-9223372036854775807", -INT64_MAX), GOOD("922337203685477580700e-2", INT64_MAX),
		GOOD("-922337203685477580800000e-5", INT64_MIN),
		NOT("0.5"), NOT("1.5"), NOT("1e-1"), NOT("15e-1"), NOT("1e-99999999999999999999"),
		NOT("1655564376361.0000000000000000000000000000001"), NOT("1655564376361.1"),
		NOT("123456789012345678901234.5"), NOT("1234567890123456789012345e-1"),
		NOT("12345678901234567890123450e-2"), NOT("0.12345678901234567890123"),
		NOT("9223372036854775807.1"), NOT("-0.00001"),
		OUT("9223372036854775808"), OUT("-9223372036854775809"), OUT("18446744073709551616"),
		OUT("1e19"), OUT("-1e19"), OUT("1e99999999999999999999"), OUT("0.1e400"),
		OUT("99999999999999999999"), OUT("123456789012345678901234"),
		OUT("123456789012345678901234.0"), OUT("12345678901234567890123450e-1"),
		OUT("1.2345678901234567890123e22"), OUT("10000000000000000000000000001"),
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		int64_t		value = 0;
		StediJsonNumber result;
		char		name[160];
		size_t		length = strlen(cases[i].text);
		char	   *exact = malloc(length);

		memcpy(exact, cases[i].text, length);
		result = stedi_json_to_int64(exact, length, &value);
		free(exact);
		snprintf(name, sizeof(name), "int64 of %s", cases[i].text);
		ok(result == cases[i].result &&
		   (result != STEDI_JSON_NUMBER_OK || value == cases[i].value), name);
	}
}

static void
test_huge_texts(void)
{
	size_t		length = 1000000;
	char	   *text = malloc(length + 32);
	int64_t		integer = 0;
	double		value = 0;

	/* 0.000...01e1000000 */
	memset(text, '0', length);
	text[1] = '.';
	text[length - 1] = '1';
	strcpy(text + length, "e999998");
	ok(stedi_json_to_int64(text, length + 7, &integer) == STEDI_JSON_NUMBER_OK && integer == 1,
	   "a million zeros before the digit, undone by the exponent: int64");
	ok(stedi_json_to_double(text, length + 7, &value) == STEDI_JSON_NUMBER_OK && value == 1.0,
	   "a million zeros before the digit, undone by the exponent: double");

	memset(text, '7', length);
	strcpy(text + length, "e-999999");
	ok(stedi_json_to_double(text, length + 8, &value) == STEDI_JSON_NUMBER_OK &&
	   value == 7.777777777777778, "a million digits: double");
	ok(stedi_json_to_int64(text, length + 8, &integer) == STEDI_JSON_NUMBER_NOT_INTEGRAL,
	   "a million digits: not integral");
	free(text);
}

static void
test_is_number(void)
{
	static const char *const good[] = {
		"0", "-0", "1", "10", "-12", "0.5", "1.25", "-0.0", "1e5", "1E5", "1e+5", "1e-05",
		"0e0", "1.5e300", "123456789012345678901234567890"
	};
	static const char *const bad[] = {
		"", "-", "+1", "01", "-01", "00", ".5", "1.", "1.e5", "1e", "1e+", "1e-", "e5", "0x10",
		"NaN", "Infinity", "-Infinity", "1 ", " 1", "1,5", "1.2.3", "1e5.0", "1e5e5", "--1",
		"1_000", "-.5", "0e", "- 1"
	};

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		ok(stedi_json_is_number(good[i], strlen(good[i])), good[i]);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		char		name[64];

		snprintf(name, sizeof(name), "not a number: \"%s\"", bad[i]);
		ok(!stedi_json_is_number(bad[i], strlen(bad[i])), name);
	}
	ok(!stedi_json_is_number("1\0", 2), "not a number: NUL after a digit");
	ok(stedi_json_is_number("12x", 2), "only length bytes count");
}

int
main(void)
{
	test_double_cases();
	test_double_random();
	test_double_halfway();
	test_int64();
	test_huge_texts();
	test_is_number();
	return tap_done();
}
