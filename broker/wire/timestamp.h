// SPDX-License-Identifier: Apache-2.0
/*
 * Times: int64_t nanoseconds since 1970-01-01T00:00:00Z, UTC, years 1678 to 2262 (what 64 bits hold). Parsing
 * is pure: slice in, value or `> 0` out, no allocation, no locale, no time zone database. Sources: RFC 3339
 * (timestamps), Go's time.ParseDuration (ages such as `1h30m`), as kubectl and docker take them.
 */
#pragma once
#include "wire/slice.h"

enum { SL_TIME_TEXT_BYTES = 30 }; /* 2026-02-20T14:30:00.123456789Z, no NUL */

#define SL_NS_PER_S  INT64_C(1000000000)
#define SL_NS_PER_MS INT64_C(1000000)

enum sl_time_answer { SL_TIME_OK = 0, SL_TIME_MALFORMED = 1, SL_TIME_OUT_OF_RANGE = 2 };

/*
 * RFC 3339 at the start of `text`: date, `T` or `t` or a space, time, 0 to 9 fraction digits (further ones
 * are cut), `Z`, `z` or an offset. A leap second (:60) reads as the second after it. ret_used: bytes taken.
 */
int sl_time_parse_rfc3339(struct sl_slice text, int64_t *ret_ns, size_t *ret_used);

/*
 * What a user types for since/until, whole slice: RFC 3339 (a missing offset means Z, a bare date means its
 * midnight), Unix seconds with an optional fraction (to 9 digits, exact), or an age (`90s`, `10m`, `1h30m`,
 * `2d`, `1.5h`; units ns us ms s m h d w), which means now - age.
 */
int sl_time_parse_user(struct sl_slice text, int64_t now_ns, int64_t *ret_ns);

/* A length of time, whole slice: an age as above, or a bare number of seconds with an optional fraction. Not
 * negative. */
int sl_duration_parse(struct sl_slice text, int64_t *ret_ns);

/* Writes SL_TIME_TEXT_BYTES bytes, always nine digits and `Z`. */
void sl_time_render(int64_t ns, char out[SL_TIME_TEXT_BYTES]);

/* CLOCK_REALTIME, and CLOCK_MONOTONIC (for timeouts; never stored). */
int64_t sl_now_ns(void);
int64_t sl_monotonic_ns(void);
