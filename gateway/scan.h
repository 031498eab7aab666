// SPDX-License-Identifier: Apache-2.0
/*
 * Copying runs of plain bytes in steps of 16: the inner loop of JSON strings and SSE's data. A step copies 16
 * bytes and says where the first byte stands that needs more than copying. SSE2 where the compiler has it
 * (all of x86-64), else 8 bytes at a time by arithmetic. Pure, any thread.
 */
#pragma once
#include "wire/slice.h"
#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* What stops a run: bytes from 0x80 always, and: */
enum scan_stop {
    SCAN_JSON, /* below 0x20, `"`, `\` */
    SCAN_SSE,  /* CR, LF */
    SCAN_UTF8, /* nothing else */
};

static inline bool scan_stops(uint8_t c, enum scan_stop stop)
{
    if (c >= 0x80)
        return true;
    if (stop == SCAN_JSON)
        return c < 0x20 || c == '"' || c == '\\';
    return stop == SCAN_SSE && (c == '\r' || c == '\n');
}

#ifdef __SSE2__
enum { SCAN_STEP = 16 };
/* Copies SCAN_STEP bytes; returns how many of them are plain up to the first that is not. */
static inline unsigned scan_step(uint8_t *out, const uint8_t *in, enum scan_stop stop)
{
    __m128i v = _mm_loadu_si128((const __m128i *)(const void *)in);
    _mm_storeu_si128((__m128i *)(void *)out, v);
    __m128i stops;
    if (stop == SCAN_JSON) {
        /* signed: 0x80 to 0xff are below 0x20 as well */
        stops = _mm_or_si128(
            _mm_cmplt_epi8(v, _mm_set1_epi8(0x20)),
            _mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8('"')), _mm_cmpeq_epi8(v, _mm_set1_epi8('\\'))));
    } else if (stop == SCAN_SSE) {
        stops = _mm_or_si128(
            v, _mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8('\r')), _mm_cmpeq_epi8(v, _mm_set1_epi8('\n'))));
    } else {
        stops = v;
    }
    unsigned mask = (unsigned)_mm_movemask_epi8(stops);
    return mask ? (unsigned)__builtin_ctz(mask) : SCAN_STEP;
}
#else
enum { SCAN_STEP = 8 };
static inline uint64_t scan_equal(uint64_t v, uint8_t c)
{
    /* the lowest 0x80 is exact, those above it may be false: the first is all that is asked for */
    uint64_t x = v ^ UINT64_C(0x0101010101010101) * c;
    return (x - UINT64_C(0x0101010101010101)) & ~x & UINT64_C(0x8080808080808080);
}
static inline unsigned scan_step(uint8_t *out, const uint8_t *in, enum scan_stop stop)
{
    uint64_t v = sl_load64(in);
    sl_store64(out, v);
    uint64_t stops = v & UINT64_C(0x8080808080808080);
    if (stop == SCAN_JSON)
        stops |= ((v - UINT64_C(0x2020202020202020)) & ~v & UINT64_C(0x8080808080808080)) |
                 scan_equal(v, '"') | scan_equal(v, '\\');
    else if (stop == SCAN_SSE)
        stops |= scan_equal(v, '\r') | scan_equal(v, '\n');
    return stops ? (unsigned)__builtin_ctzll(stops) / 8 : SCAN_STEP;
}
#endif

/*
 * Copies plain bytes from in[0..bytes) to out, which has room for `bytes` and SCAN_STEP more that may be
 * scribbled on; returns how many.
 */
static inline size_t scan_copy(uint8_t *out, const uint8_t *in, size_t bytes, enum scan_stop stop)
{
    size_t done = 0;
    while (bytes - done >= SCAN_STEP) {
        unsigned plain = scan_step(out + done, in + done, stop);
        done += plain;
        if (plain < SCAN_STEP)
            return done;
    }
    if (bytes >= SCAN_STEP && done < bytes) {
        /* the last step overlaps what is copied already: it held nothing that stops */
        size_t at = bytes - SCAN_STEP;
        return at + scan_step(out + at, in + at, stop);
    }
    for (; done < bytes && !scan_stops(in[done], stop); done++)
        out[done] = in[done];
    return done;
}
