// SPDX-License-Identifier: Apache-2.0
#include "rotated.h"

enum { NUMBER_MAX_DIGITS = 5, STAMP_MIN_DIGITS = 6 };

bool rotated_is_gz(struct sl_slice name)
{
    return name.bytes > 3 && memcmp(name.data + name.bytes - 3, ".gz", 3) == 0;
}

static bool digit(uint8_t b)
{
    return b >= '0' && b <= '9';
}

/* A number of at most 5 digits, or a stamp: digits with `-_:T.+Z` between them, at least 6. */
static bool is_suffix(struct sl_slice s)
{
    size_t digits = 0;
    if (s.bytes == 0 || !digit(s.data[0]))
        return false;
    for (size_t i = 0; i < s.bytes; i++) {
        if (digit(s.data[i]))
            digits++;
        else if (!memchr("-_:T.+Z", s.data[i], 7))
            return false;
    }
    return digits == s.bytes ? true : digits >= STAMP_MIN_DIGITS;
}

bool rotated_name(struct sl_slice name, struct sl_slice *ret_base)
{
    struct sl_slice s = name;
    if (rotated_is_gz(s))
        s.bytes -= 3;
    /* the longest suffix that is one: a stamp may hold dots and dashes itself */
    for (size_t i = 1; i + 1 < s.bytes; i++) {
        bool dash = s.data[i] == '-';
        if (s.data[i] != '.' && !dash)
            continue;
        struct sl_slice suffix = sl_slice(s.data + i + 1, s.bytes - i - 1);
        /* behind a dash only a date is a rotation (logrotate's dateext): `job-7` is a name of its own */
        if (!is_suffix(suffix) || (dash && suffix.bytes < STAMP_MIN_DIGITS))
            continue;
        *ret_base = sl_slice(name.data, i);
        return true;
    }
    return false;
}

static struct sl_slice suffix_of(struct sl_slice base, struct sl_slice name)
{
    struct sl_slice s = sl_slice(name.data + base.bytes, name.bytes - base.bytes);
    if (rotated_is_gz(name))
        s.bytes -= 3;
    return s.bytes > 0 ? sl_slice(s.data + 1, s.bytes - 1) : s;
}

static bool number(struct sl_slice s, unsigned *ret)
{
    unsigned n = 0;
    if (s.bytes == 0 || s.bytes > NUMBER_MAX_DIGITS)
        return false;
    for (size_t i = 0; i < s.bytes; i++) {
        if (!digit(s.data[i]))
            return false;
        n = n * 10 + (unsigned)(s.data[i] - '0');
    }
    *ret = n;
    return true;
}

int rotated_compare(struct sl_slice base, struct sl_slice a, struct sl_slice b)
{
    bool a_base = a.bytes <= base.bytes, b_base = b.bytes <= base.bytes;
    if (a_base || b_base)
        return (int)a_base - (int)b_base;
    struct sl_slice x = suffix_of(base, a), y = suffix_of(base, b);
    unsigned m, n;
    bool x_number = number(x, &m), y_number = number(y, &n);
    if (x_number != y_number)
        return 0;
    if (x_number)
        return m > n ? -1 : m < n;
    int order = memcmp(x.data, y.data, x.bytes < y.bytes ? x.bytes : y.bytes);
    return order ? order : x.bytes < y.bytes ? -1 : x.bytes > y.bytes;
}
