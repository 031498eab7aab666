// SPDX-License-Identifier: Apache-2.0
/* Times and ages as people type them; the runtimes' own are in timestamp.c. */
#include "timestamp.h"

enum {
    DATE_BYTES = 10,         /* "2026-02-20" */
    FRACTION_DIGITS_MAX = 18 /* of an age; further ones are below any unit's nanosecond but a week's */
};

/* Digits with an optional point among them: whole and fraction * 10^-digits. */
struct decimal {
    uint64_t whole;
    uint64_t fraction;
    unsigned fraction_digits;
    bool has_whole;
    bool overflow;
};

static bool is_digit(const struct sl_slice *text)
{
    return text->bytes > 0 && text->data[0] >= '0' && text->data[0] <= '9';
}

static uint8_t shift(struct sl_slice *text)
{
    uint8_t c = text->data[0];
    text->data++;
    text->bytes--;
    return c;
}

/* Takes a decimal from the front of `text`; false: there is no digit. */
static bool take_decimal(struct sl_slice *text, struct decimal *ret)
{
    struct decimal d = {0};
    for (; is_digit(text); d.has_whole = true) {
        uint64_t digit = shift(text) - (uint64_t)'0';
        d.overflow = d.overflow || __builtin_mul_overflow(d.whole, (uint64_t)10, &d.whole) ||
                     __builtin_add_overflow(d.whole, digit, &d.whole);
    }
    if (text->bytes > 0 && text->data[0] == '.') {
        shift(text);
        for (; is_digit(text); d.fraction_digits++) {
            uint64_t digit = shift(text) - (uint64_t)'0';
            if (d.fraction_digits < FRACTION_DIGITS_MAX)
                d.fraction = d.fraction * 10 + digit;
        }
    }
    *ret = d;
    return d.has_whole || d.fraction_digits > 0;
}

/* d * unit, cut to whole nanoseconds. */
static int scale(const struct decimal *d, int64_t unit_ns, int64_t *ret_ns)
{
    unsigned __int128 scaled = (unsigned __int128)d->fraction * (uint64_t)unit_ns;
    for (unsigned i = 0; i < d->fraction_digits && i < FRACTION_DIGITS_MAX; i++)
        scaled /= 10;
    unsigned __int128 ns = (unsigned __int128)d->whole * (uint64_t)unit_ns + scaled;
    if (d->overflow || ns > INT64_MAX)
        return SL_TIME_OUT_OF_RANGE;
    *ret_ns = (int64_t)ns;
    return SL_TIME_OK;
}

static const struct {
    const char *name;
    int64_t ns;
} units[] = {
    /* a longer name stands before one that it begins with */
    {"ns", 1},
    {"us", 1000},
    {"\xc2\xb5s", 1000}, /* micro sign */
    {"\xce\xbcs", 1000}, /* mu */
    {"ms", SL_NS_PER_MS},
    {"s", SL_NS_PER_S},
    {"m", 60 * SL_NS_PER_S},
    {"h", 3600 * SL_NS_PER_S},
    {"d", 86400 * SL_NS_PER_S},
    {"w", 7 * 86400 * SL_NS_PER_S},
};

/* Nanoseconds of the unit at the front of `text`, taken; 0: none. */
static int64_t take_unit(struct sl_slice *text)
{
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        size_t bytes = strlen(units[i].name);
        if (text->bytes >= bytes && memcmp(text->data, units[i].name, bytes) == 0) {
            text->data += bytes;
            text->bytes -= bytes;
            return units[i].ns;
        }
    }
    return 0;
}

/* One or more decimals with their units, whole slice. */
static int parse_age(struct sl_slice text, int64_t *ret_ns)
{
    if (text.bytes == 0)
        return SL_TIME_MALFORMED;
    int64_t sum = 0;
    bool out_of_range = false;
    while (text.bytes > 0) {
        struct decimal d;
        int64_t unit_ns;
        int64_t part = 0;
        if (!take_decimal(&text, &d) || (unit_ns = take_unit(&text)) == 0)
            return SL_TIME_MALFORMED;
        out_of_range = out_of_range || scale(&d, unit_ns, &part) != SL_TIME_OK ||
                       __builtin_add_overflow(sum, part, &sum);
    }
    if (out_of_range)
        return SL_TIME_OUT_OF_RANGE;
    *ret_ns = sum;
    return SL_TIME_OK;
}

/* Seconds with up to nine digits of fraction, whole slice. MALFORMED also stands for "something else". */
static int parse_seconds(struct sl_slice text, int64_t *ret_ns)
{
    struct decimal d;
    bool point_last = text.bytes > 0 && text.data[text.bytes - 1] == '.';
    if (!take_decimal(&text, &d) || !d.has_whole || text.bytes > 0 || point_last || d.fraction_digits > 9)
        return SL_TIME_MALFORMED;
    return scale(&d, SL_NS_PER_S, ret_ns);
}

int sl_duration_parse(struct sl_slice text, int64_t *ret_ns)
{
    int answer = parse_seconds(text, ret_ns);
    return answer == SL_TIME_MALFORMED ? parse_age(text, ret_ns) : answer;
}

/* RFC 3339; what is missing behind the date is midnight, and behind the time `Z`. Whole slice. */
static int parse_date(struct sl_slice text, int64_t *ret_ns)
{
    static const char midnight[] = "T00:00:00Z";
    char whole[64];
    int64_t ns;
    size_t used;
    int answer = sl_time_parse_rfc3339(text, &ns, &used);
    if (answer == SL_TIME_MALFORMED && text.bytes > 0 && text.bytes < sizeof whole - sizeof midnight) {
        memcpy(whole, text.data, text.bytes);
        const char *missing = text.bytes == DATE_BYTES ? midnight : "Z";
        size_t bytes = strlen(missing);
        memcpy(whole + text.bytes, missing, bytes);
        text = sl_slice(whole, text.bytes + bytes);
        answer = sl_time_parse_rfc3339(text, &ns, &used);
    }
    if (answer == SL_TIME_OK && used != text.bytes)
        return SL_TIME_MALFORMED;
    if (answer == SL_TIME_OK)
        *ret_ns = ns;
    return answer;
}

int sl_time_parse_user(struct sl_slice text, int64_t now_ns, int64_t *ret_ns)
{
    if (text.bytes >= DATE_BYTES && text.data[4] == '-')
        return parse_date(text, ret_ns);
    int answer = parse_seconds(text, ret_ns);
    if (answer != SL_TIME_MALFORMED)
        return answer;
    int64_t age_ns;
    int64_t ns;
    answer = parse_age(text, &age_ns);
    if (answer != SL_TIME_OK)
        return answer;
    if (__builtin_sub_overflow(now_ns, age_ns, &ns))
        return SL_TIME_OUT_OF_RANGE;
    *ret_ns = ns;
    return SL_TIME_OK;
}
