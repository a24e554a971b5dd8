/*
 * json_number.c
 *		JSON numbers to int64 and double.
 *
 * Doubles are correctly rounded without the C library's strtod, whose result
 * depends on the locale.  Three ways, each exact where it applies, tried in
 * this order:
 *
 *	 1. mantissa below 2^53 and a power of ten that is itself a double: one
 *		multiplication or division rounds once, hence correctly;
 *	 2. up to 19 digits and a power of ten up to 27, whose power of five fits 64
 *		bits: 128-bit integers.  Nearly all data ends here at the latest;
 *	 3. everything else: big integers.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "core/json_internal.h"

/* Significant digits that fit uint64_t whatever they are. */
#define MANTISSA_DIGITS 19

/*
 * No double and no midpoint between two doubles has more than 767 significant
 * digits, so of the digits after that it only matters whether all are zero.
 */
#define BIG_DIGITS		800

/*
 * BIG_DIGITS + 1 digits take 801 * log2(10) = 2,661 bits.  The divisor is at
 * most 5^(801 + 326): 2,617 bits.  Either is shifted up to the other's length
 * and one bit further: 84 words.
 */
#define BIG_WORDS		96

/* An exponent that no length of text can bring back into range. */
#define EXPONENT_LIMIT	INT64_C(1000000000000000)

/* value = mantissa * 10^exponent, or a bit more if truncated */
typedef struct Decimal
{
	bool		negative;
	bool		truncated;		/* digits that are not zero did not fit mantissa */
	uint64_t	mantissa;
	int64_t		exponent;
	int64_t		last_place;		/* if truncated: power of ten of the last digit not zero */
} Decimal;

typedef struct Big
{
	int			n;				/* words in use; the last is not zero */
	uint32_t	word[BIG_WORDS];	/* least significant first */
} Big;

static bool convert_short(const char *text, size_t length, double *value);
static inline bool exact_double(bool negative, uint64_t mantissa, int exponent,
								double *value);
static Decimal read_decimal(const char *text, size_t length);
static int64_t read_exponent(const char *p, const char *end);
static StediJsonNumber round_to_double(bool negative, uint64_t mantissa, int exponent,
									   bool sticky, double *value);
static bool exact_128(const Decimal *decimal, StediJsonNumber *result, double *value);
static StediJsonNumber convert_big(const char *text, size_t length, double *value);
static void big_multiply_add(Big *big, uint32_t factor, uint32_t addend);
static void big_multiply_pow5(Big *big, int power);
static void big_shift_left(Big *big, int bits);
static int	big_bits(const Big *big);
static int	big_compare(const Big *a, const Big *b);
static void big_subtract(Big *a, const Big *b);
static uint64_t big_top(const Big *big, bool *sticky);

bool
stedi_json_is_number(const char *text, size_t length)
{
	const char *p = text;
	const char *end = text + length;

	if (p < end && *p == '-')
		p++;
	if (p == end || !stedi_json_is_digit(*p))
		return false;
	if (*p == '0')
		p++;
	else
	{
		while (p < end && stedi_json_is_digit(*p))
			p++;
	}
	if (p < end && *p == '.')
	{
		p++;
		if (p == end || !stedi_json_is_digit(*p))
			return false;
		while (p < end && stedi_json_is_digit(*p))
			p++;
	}
	if (p < end && (*p == 'e' || *p == 'E'))
	{
		p++;
		if (p < end && (*p == '+' || *p == '-'))
			p++;
		if (p == end || !stedi_json_is_digit(*p))
			return false;
		while (p < end && stedi_json_is_digit(*p))
			p++;
	}
	return p == end;
}

StediJsonNumber
stedi_json_to_int64(const char *text, size_t length, int64_t *value)
{
	Decimal		decimal = read_decimal(text, length);
	uint64_t	magnitude = decimal.mantissa;
	uint64_t	limit = (uint64_t) INT64_MAX + (decimal.negative ? 1 : 0);

	if (magnitude == 0)
	{
		*value = 0;
		return STEDI_JSON_NUMBER_OK;
	}

	if (decimal.truncated)		/* so there are 20 significant digits or more */
		return decimal.last_place < 0 ? STEDI_JSON_NUMBER_NOT_INTEGRAL :
			STEDI_JSON_NUMBER_OUT_OF_RANGE;

	for (; decimal.exponent < 0; decimal.exponent++)
	{
		if (magnitude % 10 != 0)
			return STEDI_JSON_NUMBER_NOT_INTEGRAL;
		magnitude /= 10;
	}
	for (; decimal.exponent > 0; decimal.exponent--)
	{
		if (magnitude > limit / 10)
			return STEDI_JSON_NUMBER_OUT_OF_RANGE;
		magnitude *= 10;
	}
	if (magnitude > limit)
		return STEDI_JSON_NUMBER_OUT_OF_RANGE;
	*value = decimal.negative ? (int64_t) (0 - magnitude) : (int64_t) magnitude;
	return STEDI_JSON_NUMBER_OK;
}

/* Correctly rounded; *value is infinite when out of range. */
StediJsonNumber
stedi_json_to_double(const char *text, size_t length, double *value)
{
	Decimal		decimal;
	StediJsonNumber result = STEDI_JSON_NUMBER_OK;

	if (convert_short(text, length, value))
		return STEDI_JSON_NUMBER_OK;

	decimal = read_decimal(text, length);
	if (decimal.mantissa == 0)
	{
		*value = decimal.negative ? -0.0 : 0.0;
		return STEDI_JSON_NUMBER_OK;
	}

	if (!decimal.truncated && decimal.exponent >= -22 && decimal.exponent <= 22 &&
		exact_double(decimal.negative, decimal.mantissa, (int) decimal.exponent, value))
		return STEDI_JSON_NUMBER_OK;
	if (exact_128(&decimal, &result, value))
		return result;
	return convert_big(text, length, value);
}

/*
 * Way 1 for what most readings look like: no exponent, and all digits fit the
 * mantissa, so that they need no counting.  False where it doesn't apply.
 */
static bool
convert_short(const char *text, size_t length, double *value)
{
	const char *end = text + length;
	const char *p = text;
	uint64_t	mantissa = 0;
	bool		negative = *p == '-';
	int			exponent = 0;

	if (length > MANTISSA_DIGITS)
		return false;
	for (p += negative; p < end && stedi_json_is_digit(*p); p++)
		mantissa = mantissa * 10 + (uint64_t) (*p - '0');
	if (p < end && *p == '.')
	{
		exponent = (int) (p + 1 - end);
		for (p++; p < end && stedi_json_is_digit(*p); p++)
			mantissa = mantissa * 10 + (uint64_t) (*p - '0');
	}
	return p == end && exact_double(negative, mantissa, exponent, value);
}

/* Way 1.  The exponent is from -22 to 22.  False where it doesn't apply. */
static inline bool
exact_double(bool negative, uint64_t mantissa, int exponent, double *value)
{
	static const double power[] = {
		1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
		1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22
	};
	double		magnitude = (double) mantissa;
	uint64_t	bits;

	/* where doubles are computed in a wider type they would be rounded twice */
	if (FLT_EVAL_METHOD != 0 || mantissa > UINT64_C(1) << 53)
		return false;
	if (exponent < 0)
		magnitude /= power[-exponent];
	else
		magnitude *= power[exponent];

	/* without a branch, as signs are hard to predict */
	memcpy(&bits, &magnitude, sizeof(bits));
	bits |= (uint64_t) negative << 63;
	memcpy(value, &bits, sizeof(bits));
	return true;
}

static Decimal
read_decimal(const char *text, size_t length)
{
	Decimal		decimal = {.negative = *text == '-'};
	const char *end = text + length;
	const char *p = text + decimal.negative;
	const char *point = NULL;
	const char *last = NULL;
	int			n_digits = 0;

	for (; p < end; p++)
	{
		unsigned	digit = (unsigned) (*p - '0');

		if (digit > 9)
		{
			if (*p != '.')
				break;
			point = p;
		}
		else if (n_digits < MANTISSA_DIGITS)
		{
			decimal.mantissa = decimal.mantissa * 10 + digit;
			n_digits += decimal.mantissa != 0;
			decimal.exponent -= point != NULL;
		}
		else
		{
			decimal.exponent += point == NULL;
			if (digit != 0)
				last = p;
		}
	}

	if (last != NULL)
	{
		const char *units = point != NULL ? point : p;

		decimal.truncated = true;
		decimal.last_place = units - last - (last < units ? 1 : 0);
	}
	if (p < end)
	{
		int64_t		exponent = read_exponent(p + 1, end);

		decimal.exponent += exponent;
		decimal.last_place += exponent;
	}
	return decimal;
}

/* What follows the 'e', saturated. */
static int64_t
read_exponent(const char *p, const char *end)
{
	bool		negative = *p == '-';
	int64_t		exponent = 0;

	if (!stedi_json_is_digit(*p))
		p++;
	for (; p < end; p++)
	{
		if (exponent < EXPONENT_LIMIT)
			exponent = exponent * 10 + (*p - '0');
	}
	return negative ? -exponent : exponent;
}

/*
 * The double nearest to mantissa * 2^exponent, ties to even.  The mantissa has
 * its top bit set; sticky: the true value is a bit larger, by less than one
 * unit of the mantissa.
 */
static StediJsonNumber
round_to_double(bool negative, uint64_t mantissa, int exponent, bool sticky,
				double *value)
{
	int			biased = exponent + 63 + 1023;
	int			drop = 64 - 53 + (biased > 0 ? 0 : 1 - biased);
	uint64_t	kept = drop < 64 ? mantissa >> drop : 0;
	uint64_t	rest = 0;		/* what is dropped, as a fraction of 2^64 */
	uint64_t	half = UINT64_C(1) << 63;
	uint64_t	bits;

	if (drop < 64)
		rest = mantissa << (64 - drop);
	else if (drop == 64)
		rest = mantissa;

	bits = kept;
	if (rest > half || (rest == half && (sticky || (kept & 1) != 0)))
		bits++;
	/* the implicit bit of kept adds the missing 1; a carry moves up by itself */
	if (biased > 0)
		bits += (uint64_t) (biased - 1) << 52;

	if (biased >= 2047 || bits >= UINT64_C(2047) << 52)
	{
		*value = negative ? -HUGE_VAL : HUGE_VAL;
		return STEDI_JSON_NUMBER_OUT_OF_RANGE;
	}
	if (negative)
		bits |= half;
	memcpy(value, &bits, sizeof(bits));
	return STEDI_JSON_NUMBER_OK;
}

/* Way 2.  False where it doesn't apply. */
static bool
exact_128(const Decimal *decimal, StediJsonNumber *result, double *value)
{
#ifdef __SIZEOF_INT128__
	/* 5^27 = 7.45e18 is the last one below 2^63 */
	static const uint64_t pow5[] = {
		UINT64_C(1), UINT64_C(5), UINT64_C(25), UINT64_C(125), UINT64_C(625),
		UINT64_C(3125), UINT64_C(15625), UINT64_C(78125), UINT64_C(390625),
		UINT64_C(1953125), UINT64_C(9765625), UINT64_C(48828125),
		UINT64_C(244140625), UINT64_C(1220703125), UINT64_C(6103515625),
		UINT64_C(30517578125), UINT64_C(152587890625), UINT64_C(762939453125),
		UINT64_C(3814697265625), UINT64_C(19073486328125),
		UINT64_C(95367431640625), UINT64_C(476837158203125),
		UINT64_C(2384185791015625), UINT64_C(11920928955078125),
		UINT64_C(59604644775390625), UINT64_C(298023223876953125),
		UINT64_C(1490116119384765625), UINT64_C(7450580596923828125)
	};
	double		candidate[2];

	if (decimal->exponent < -27 || decimal->exponent > 27)
		return false;

	/* a truncated value lies between two mantissas; fine if both round alike */
	for (int i = 0; i < (decimal->truncated ? 2 : 1); i++)
	{
		uint64_t	mantissa = decimal->mantissa + (uint64_t) i;
		int			exponent = (int) decimal->exponent;
		unsigned __int128 product;
		bool		sticky = false;
		int			shift;

		if (exponent >= 0)
			product = (unsigned __int128) mantissa * pow5[exponent];
		else
		{
			uint64_t	divisor = pow5[-exponent];
			unsigned __int128 dividend;

			/* top bit of 128 set, so that the quotient has 65 bits at least */
			shift = __builtin_clzll(mantissa);
			dividend = (unsigned __int128) (mantissa << shift) << 64;
			product = dividend / divisor;
			sticky = product * divisor != dividend;
			exponent -= 64 + shift;
		}

		if ((uint64_t) (product >> 64) != 0)
		{
			shift = 64 - __builtin_clzll((uint64_t) (product >> 64));
			sticky = sticky || (product & (((unsigned __int128) 1 << shift) - 1)) != 0;
			product >>= shift;
			exponent += shift;
		}
		else
		{
			shift = __builtin_clzll((uint64_t) product);
			product <<= shift;
			exponent -= shift;
		}
		*result = round_to_double(decimal->negative, (uint64_t) product, exponent,
								  sticky, &candidate[i]);
	}
	if (decimal->truncated && candidate[0] != candidate[1])
		return false;
	*value = candidate[0];
	return true;
#else
	(void) decimal;
	(void) result;
	(void) value;
	return false;
#endif
}

/* Way 3. */
static StediJsonNumber
convert_big(const char *text, size_t length, double *value)
{
	Big			number = {0};
	Big			divisor = {.n = 1, .word = {1}};
	const char *end = text + length;
	const char *p = text;
	bool		negative = *p == '-';
	bool		in_fraction = false;
	bool		more = false;	/* a digit that is not zero was left out */
	bool		sticky;
	int			n_digits = 0;
	int64_t		exponent = 0;	/* of ten */
	int			binary;
	uint64_t	quotient;

	for (p += negative; p < end && *p != 'e' && *p != 'E'; p++)
	{
		if (*p == '.')
			in_fraction = true;
		else if (n_digits < BIG_DIGITS)
		{
			big_multiply_add(&number, 10, (uint32_t) (*p - '0'));
			n_digits += number.n > 0;
			exponent -= in_fraction;
		}
		else
		{
			more = more || *p != '0';
			exponent += !in_fraction;
		}
	}
	if (p < end)
		exponent += read_exponent(p + 1, end);
	if (more)
	{
		big_multiply_add(&number, 10, 1);
		n_digits++;
		exponent--;
	}

	/* largest double 1.8e308; half the smallest 2.5e-324 */
	if (n_digits + exponent > 310)
	{
		*value = negative ? -HUGE_VAL : HUGE_VAL;
		return STEDI_JSON_NUMBER_OUT_OF_RANGE;
	}
	if (n_digits + exponent < -325)
	{
		*value = negative ? -0.0 : 0.0;
		return STEDI_JSON_NUMBER_OK;
	}

	binary = (int) exponent;
	if (exponent >= 0)
	{
		int			bits;

		big_multiply_pow5(&number, (int) exponent);
		bits = big_bits(&number);
		if (bits < 64)
		{
			big_shift_left(&number, 64 - bits);
			binary -= 64 - bits;
			bits = 64;
		}
		quotient = big_top(&number, &sticky);
		return round_to_double(negative, quotient, binary + bits - 64, sticky, value);
	}

	/* bring number / divisor into [1, 2), then divide bit by bit */
	big_multiply_pow5(&divisor, (int) -exponent);
	{
		int			shift = big_bits(&divisor) - big_bits(&number);

		if (shift > 0)
			big_shift_left(&number, shift);
		else
			big_shift_left(&divisor, -shift);
		binary -= shift;
	}
	if (big_compare(&number, &divisor) < 0)
	{
		big_shift_left(&number, 1);
		binary--;
	}
	quotient = 0;
	for (int i = 0; i < 64; i++)
	{
		quotient <<= 1;
		if (big_compare(&number, &divisor) >= 0)
		{
			big_subtract(&number, &divisor);
			quotient |= 1;
		}
		big_shift_left(&number, 1);
	}
	return round_to_double(negative, quotient, binary - 63, number.n > 0, value);
}

static void
big_multiply_add(Big *big, uint32_t factor, uint32_t addend)
{
	uint64_t	carry = addend;

	for (int i = 0; i < big->n; i++)
	{
		carry += (uint64_t) big->word[i] * factor;
		big->word[i] = (uint32_t) carry;
		carry >>= 32;
	}
	if (carry != 0)
		big->word[big->n++] = (uint32_t) carry;
}

static void
big_multiply_pow5(Big *big, int power)
{
	for (; power >= 13; power -= 13)
		big_multiply_add(big, 1220703125, 0);	/* 5^13, the last below 2^32 */
	for (; power > 0; power--)
		big_multiply_add(big, 5, 0);
}

static void
big_shift_left(Big *big, int bits)
{
	int			words = bits / 32;
	uint64_t	carry = 0;

	if (big->n == 0)
		return;
	memmove(big->word + words, big->word, (size_t) big->n * sizeof(uint32_t));
	memset(big->word, 0, (size_t) words * sizeof(uint32_t));
	big->n += words;
	for (int i = words; i < big->n; i++)
	{
		carry |= (uint64_t) big->word[i] << (bits % 32);
		big->word[i] = (uint32_t) carry;
		carry >>= 32;
	}
	if (carry != 0)
		big->word[big->n++] = (uint32_t) carry;
}

static int
big_bits(const Big *big)
{
	return big->n * 32 - __builtin_clz(big->word[big->n - 1]);
}

static int
big_compare(const Big *a, const Big *b)
{
	if (a->n != b->n)
		return a->n < b->n ? -1 : 1;
	for (int i = a->n - 1; i >= 0; i--)
	{
		if (a->word[i] != b->word[i])
			return a->word[i] < b->word[i] ? -1 : 1;
	}
	return 0;
}

/* a -= b, where a >= b */
static void
big_subtract(Big *a, const Big *b)
{
	int64_t		borrow = 0;

	for (int i = 0; i < a->n; i++)
	{
		int64_t		difference = (int64_t) a->word[i] - (i < b->n ? b->word[i] : 0) + borrow;

		a->word[i] = (uint32_t) difference;
		borrow = difference < 0 ? -1 : 0;
	}
	while (a->n > 0 && a->word[a->n - 1] == 0)
		a->n--;
}

/* The top 64 of at least 64 bits; sticky: the others are not all zero. */
static uint64_t
big_top(const Big *big, bool *sticky)
{
	uint64_t	top = 0;
	int			drop = big_bits(big) - 64;

	*sticky = false;
	for (int i = big->n - 1; i >= 0; i--)
	{
		int			shift = i * 32 - drop;

		if (shift >= 0)
			top |= (uint64_t) big->word[i] << shift;
		else if (shift > -32)
		{
			top |= big->word[i] >> -shift;
			*sticky = *sticky || (big->word[i] & ((UINT32_C(1) << -shift) - 1)) != 0;
		}
		else
			*sticky = *sticky || big->word[i] != 0;
	}
	return top;
}
