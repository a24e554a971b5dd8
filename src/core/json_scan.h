/*
 * json_scan.h
 *		Scanning JSON text in blocks of bytes.
 *
 * The scanners read whole blocks and so look at up to STEDI_JSON_PADDING - 1
 * bytes after the byte they stop at; their caller's buffer is that much longer
 * than its content.
 */
#ifndef STEDI_CORE_JSON_SCAN_H
#define STEDI_CORE_JSON_SCAN_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#elif defined(__ARM_NEON) && defined(__aarch64__)
#include <arm_neon.h>
#endif

#define STEDI_JSON_PADDING	64

static inline uint64_t
stedi_load64(const char *p)
{
	uint64_t	word;

	memcpy(&word, p, sizeof(word));
	return word;
}

/*
 * The first byte from p on that can't simply be passed over in a JSON string: a
 * quote, a backslash, a control character (NUL too, which ends every window) or
 * a byte of a non-ASCII character.
 */
#if defined(__SSE2__)

static inline const char *
stedi_json_scan_plain(const char *p)
{
	const __m128i quote = _mm_set1_epi8('"');
	const __m128i backslash = _mm_set1_epi8('\\');
	const __m128i space = _mm_set1_epi8(' ');

	for (;; p += 16)
	{
		__m128i		block = _mm_loadu_si128((const __m128i *) p);

		/* compared as signed bytes, so "below space" covers 0x80 and up too */
		__m128i		stop = _mm_or_si128(_mm_cmplt_epi8(block, space),
										_mm_or_si128(_mm_cmpeq_epi8(block, quote),
													 _mm_cmpeq_epi8(block, backslash)));
		unsigned	mask = (unsigned) _mm_movemask_epi8(stop);

		if (mask != 0)
			return p + __builtin_ctz(mask);
	}
}

#elif defined(__ARM_NEON) && defined(__aarch64__)

static inline const char *
stedi_json_scan_plain(const char *p)
{
	for (;; p += 16)
	{
		int8x16_t	block = vld1q_s8((const int8_t *) p);
		uint8x16_t	stop = vorrq_u8(vcltq_s8(block, vdupq_n_s8(' ')),
									vorrq_u8(vceqq_s8(block, vdupq_n_s8('"')),
											 vceqq_s8(block, vdupq_n_s8('\\'))));

		/* narrow to four bits per byte: NEON has no movemask */
		uint64_t	mask = vget_lane_u64(vreinterpret_u64_u8(
											 vshrn_n_u16(vreinterpretq_u16_u8(stop), 4)), 0);

		if (mask != 0)
			return p + (__builtin_ctzll(mask) >> 2);
	}
}

#else

static inline const char *
stedi_json_scan_plain(const char *p)
{
	const uint64_t ones = UINT64_C(0x0101010101010101);
	const uint64_t highs = UINT64_C(0x8080808080808080);

	for (;; p += 8)
	{
		uint64_t	word = stedi_load64(p);
		uint64_t	quote = word ^ (ones * '"');
		uint64_t	backslash = word ^ (ones * '\\');

		/* "x - n borrows" finds bytes below n; exact enough to say none or some */
		if (((word | (word - ones * ' ') | (quote - ones) | (backslash - ones)) & highs) != 0)
			break;
	}
	while ((unsigned char) *p >= ' ' && (unsigned char) *p < 0x80 && *p != '"' && *p != '\\')
		p++;
	return p;
}

#endif

/* Line feeds among length bytes; reads no further. */
static inline uint64_t
stedi_count_newlines(const char *p, size_t length)
{
	uint64_t	count = 0;
	size_t		i = 0;

#if defined(__SSE2__)
	const __m128i newline = _mm_set1_epi8('\n');

	while (i + 16 <= length)
	{
		__m128i		counts = _mm_setzero_si128();
		int			blocks = 255;	/* before the bytes of counts overflow */

		for (; blocks > 0 && i + 16 <= length; blocks--, i += 16)
		{
			__m128i		block = _mm_loadu_si128((const __m128i *) (p + i));

			counts = _mm_sub_epi8(counts, _mm_cmpeq_epi8(block, newline));
		}
		counts = _mm_sad_epu8(counts, _mm_setzero_si128());
		count += (unsigned) (_mm_extract_epi16(counts, 0) + _mm_extract_epi16(counts, 4));
	}
#endif
	for (; i < length; i++)
		count += p[i] == '\n';
	return count;
}

#endif							/* STEDI_CORE_JSON_SCAN_H */
