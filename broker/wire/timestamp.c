// SPDX-License-Identifier: Apache-2.0
#include "timestamp.h"
#include <time.h>

enum {
    SECOND_END = 19,        /* "2026-02-20T14:30:00" */
    DAYS_TO_EPOCH = 719468, /* from 0000-03-01, where the year of the arithmetic begins, to 1970-01-01 */
    DAYS_OF_400_YEARS = 146097,
    SECONDS_OF_DAY = 86400,
};

/*
 * Eight bytes at once, little-endian: what stands at a `0` of the form becomes its digit's value, what equals
 * the form elsewhere becomes 0. A byte is wrong if it then carries into its top bit with `slack` added
 * (0x76: more than 9; 0x7f: more than 0), or had the bit set.
 */
static inline bool fits_form(uint64_t v, uint64_t slack)
{
    return (((v + slack) | v) & 0x8080808080808080) == 0;
}

/* Byte k of the result is the two-digit number at bytes k and k + 1: 99 at most, so nothing carries. */
static inline uint64_t pairs(uint64_t v)
{
    return v * 10 + (v >> 8);
}

static inline unsigned byte_of(uint64_t v, unsigned k)
{
    return (unsigned)(v >> (8 * k)) & 0xff;
}

/* Days since 1970-01-01 of a date of years 0 to 9999: years begin in March, so that the leap day is last. */
static int64_t days_of_date(unsigned year, unsigned month, unsigned day)
{
    unsigned y = month <= 2 ? year - 1 + 400 : year + 400; /* + 400: year 0's January stays positive */
    unsigned of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    return (int64_t)(y * 365 + y / 4 - y / 100 + y / 400 + of_year) - DAYS_TO_EPOCH - DAYS_OF_400_YEARS;
}

static unsigned days_of_month(unsigned year, unsigned month)
{
    if (month == 2)
        return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0 ? 29 : 28;
    return 30 + ((month ^ (month >> 3)) & 1);
}

/* Date and time to the second, 19 bytes. */
static bool parse_seconds(const uint8_t *p, int64_t *ret_s)
{
    const uint64_t date_form = 0x2d30302d30303030; /* 0000-00- */
    const uint64_t date_slack = 0x7f76767f76767676;
    const uint64_t time_form = 0x30303a3030543030; /* 00T00:00 */
    const uint64_t time_slack = 0x76767f76767f7676;
    uint64_t date = sl_load64(p) ^ date_form;
    uint64_t time = sl_load64(p + 8);
    if (p[10] == 't' || p[10] == ' ')
        time = (time & ~(uint64_t)0xff0000) | (uint64_t)'T' << 16;
    time ^= time_form;
    unsigned tens = (unsigned)p[17] - '0';
    unsigned ones = (unsigned)p[18] - '0';
    if (!fits_form(date, date_slack) || !fits_form(time, time_slack) || p[16] != ':' || tens > 6 || ones > 9)
        return false;
    date = pairs(date);
    time = pairs(time);
    unsigned year = byte_of(date, 0) * 100 + byte_of(date, 2);
    unsigned month = byte_of(date, 5);
    unsigned day = byte_of(time, 0);
    unsigned hour = byte_of(time, 3);
    unsigned minute = byte_of(time, 6);
    unsigned second = tens * 10 + ones;
    if (month < 1 || month > 12 || day < 1 || day > days_of_month(year, month) || hour > 23 || minute > 59 ||
        second > 60)
        return false;
    *ret_s = days_of_date(year, month, day) * SECONDS_OF_DAY + (int64_t)(hour * 3600 + minute * 60 + second);
    return true;
}

/* The digits behind the point, as nanoseconds; further than nine are cut. Returns how many there are. */
static size_t parse_fraction(struct sl_slice digits, uint32_t *ret_ns)
{
    size_t n = 0;
    uint32_t ns = 0;
    if (digits.bytes >= 8) {
        uint64_t v = sl_load64(digits.data) ^ 0x3030303030303030;
        if (fits_form(v, 0x7676767676767676)) {
            /* pairs, then fours, then the eight */
            v = pairs(v) & 0x00ff00ff00ff00ff;
            v = (v * 100 + (v >> 16)) & 0x0000ffff0000ffff;
            ns = (uint32_t)(v * 10000 + (v >> 32));
            n = 8;
        }
    }
    for (; n < digits.bytes && n < 9 && digits.data[n] >= '0' && digits.data[n] <= '9'; n++)
        ns = ns * 10 + (digits.data[n] - (uint32_t)'0');
    for (size_t missing = n; missing < 9; missing++)
        ns *= 10;
    while (n < digits.bytes && digits.data[n] >= '0' && digits.data[n] <= '9')
        n++;
    *ret_ns = ns;
    return n;
}

/* `Z`, `z`, `+hh:mm`, `-hh:mm`. Returns its bytes, 0: none of these. */
static size_t parse_zone(struct sl_slice text, int64_t *ret_offset_s)
{
    if (text.bytes == 0)
        return 0;
    const uint8_t *p = text.data;
    if ((p[0] | 0x20) == 'z') {
        *ret_offset_s = 0;
        return 1;
    }
    if (text.bytes < 6 || (p[0] != '+' && p[0] != '-') || p[3] != ':')
        return 0;
    unsigned d[4] = {p[1] - (unsigned)'0', p[2] - (unsigned)'0', p[4] - (unsigned)'0', p[5] - (unsigned)'0'};
    if (d[0] > 9 || d[1] > 9 || d[2] > 9 || d[3] > 9)
        return 0;
    unsigned hours = d[0] * 10 + d[1];
    unsigned minutes = d[2] * 10 + d[3];
    if (hours > 23 || minutes > 59)
        return 0;
    int64_t offset_s = hours * INT64_C(3600) + minutes * INT64_C(60);
    *ret_offset_s = p[0] == '-' ? -offset_s : offset_s;
    return 6;
}

/* Seconds and 0 to 999,999,999 further nanoseconds. */
static int join(int64_t s, uint32_t ns, int64_t *ret_ns)
{
    /* A whole second below the first that fits may still fit with its nanoseconds: count from the next. */
    int64_t part = ns;
    if (s < 0) {
        s++;
        part -= SL_NS_PER_S;
    }
    int64_t whole;
    int64_t sum;
    if (__builtin_mul_overflow(s, SL_NS_PER_S, &whole) || __builtin_add_overflow(whole, part, &sum))
        return SL_TIME_OUT_OF_RANGE;
    *ret_ns = sum;
    return SL_TIME_OK;
}

int sl_time_parse_rfc3339(struct sl_slice text, int64_t *ret_ns, size_t *ret_used)
{
    int64_t s;
    if (text.bytes <= SECOND_END || !parse_seconds(text.data, &s))
        return SL_TIME_MALFORMED;
    size_t at = SECOND_END;
    uint32_t ns = 0;
    if (text.data[at] == '.') {
        size_t digits = parse_fraction(sl_slice(text.data + at + 1, text.bytes - at - 1), &ns);
        if (digits == 0)
            return SL_TIME_MALFORMED;
        at += 1 + digits;
    }
    int64_t offset_s;
    size_t zone = parse_zone(sl_slice(text.data + at, text.bytes - at), &offset_s);
    if (zone == 0)
        return SL_TIME_MALFORMED;
    int answer = join(s - offset_s, ns, ret_ns);
    if (answer == SL_TIME_OK)
        *ret_used = at + zone;
    return answer;
}

static const char two_digits[] =
    "00010203040506070809101112131415161718192021222324252627282930313233343536373839"
    "40414243444546474849505152535455565758596061626364656667686970717273747576777879"
    "8081828384858687888990919293949596979899";

static inline void put_pair(char *out, unsigned v)
{
    memcpy(out, two_digits + (size_t)2 * v, 2);
}

void sl_time_render(int64_t ns, char out[SL_TIME_TEXT_BYTES])
{
    int64_t s = ns / SL_NS_PER_S;
    int64_t rest = ns % SL_NS_PER_S;
    if (rest < 0) {
        rest += SL_NS_PER_S;
        s--;
    }
    /* From 0000-03-01 on everything is positive: 64 bits of nanoseconds begin in 1677. */
    uint64_t since = (uint64_t)(s + (int64_t)DAYS_TO_EPOCH * SECONDS_OF_DAY);
    unsigned of_day = (unsigned)(since % SECONDS_OF_DAY);
    unsigned days = (unsigned)(since / SECONDS_OF_DAY);
    unsigned era = days / DAYS_OF_400_YEARS;
    unsigned of_era = days % DAYS_OF_400_YEARS;
    unsigned year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    unsigned of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    unsigned from_march = (5 * of_year + 2) / 153;
    unsigned day = of_year - (153 * from_march + 2) / 5 + 1;
    unsigned month = from_march < 10 ? from_march + 3 : from_march - 9;
    unsigned year = era * 400 + year_of_era + (month <= 2 ? 1 : 0);

    memcpy(out, "0000-00-00T00:00:00.000000000Z", SL_TIME_TEXT_BYTES);
    put_pair(out, year / 100);
    put_pair(out + 2, year % 100);
    put_pair(out + 5, month);
    put_pair(out + 8, day);
    put_pair(out + 11, of_day / 3600);
    put_pair(out + 14, of_day / 60 % 60);
    put_pair(out + 17, of_day % 60);
    unsigned fraction = (unsigned)rest;
    out[28] = (char)('0' + fraction % 10);
    fraction /= 10;
    for (int at = 26; at >= 20; at -= 2, fraction /= 100)
        put_pair(out + at, fraction % 100);
}

static int64_t clock_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * SL_NS_PER_S + t.tv_nsec;
}

int64_t sl_now_ns(void)
{
    return clock_ns(CLOCK_REALTIME);
}

int64_t sl_monotonic_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}
