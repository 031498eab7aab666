// SPDX-License-Identifier: Apache-2.0
#include "query.h"

static int hex_value(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decodes raw to *out, moving it on. False: a malformed %. */
static bool unescape(struct sl_slice raw, bool form, uint8_t **out, struct sl_slice *ret)
{
    uint8_t *from = *out, *to = from;
    for (size_t i = 0; i < raw.bytes; i++) {
        uint8_t c = raw.data[i];
        if (c == '%') {
            int high = raw.bytes - i > 2 ? hex_value(raw.data[i + 1]) : -1;
            int low = high >= 0 ? hex_value(raw.data[i + 2]) : -1;
            if (low < 0)
                return false;
            c = (uint8_t)(high << 4 | low);
            i += 2;
        } else if (form && c == '+') {
            c = ' ';
        }
        *to++ = c;
    }
    *out = to;
    *ret = sl_slice(from, (size_t)(to - from));
    return true;
}

int query_unescape(struct sl_slice raw, uint8_t *scratch, struct sl_slice *ret)
{
    return unescape(raw, false, &scratch, ret) ? 0 : QUERY_INVALID;
}

static bool holds_nul(struct sl_slice s)
{
    return s.bytes && memchr(s.data, 0, s.bytes);
}

int query_split(struct sl_slice raw, uint8_t *scratch, struct query_pair pairs[QUERY_PAIRS_MAX],
                size_t *ret_count, struct problem *ret_problem)
{
    if (raw.bytes > QUERY_RAW_MAX_BYTES) {
        problem_set(ret_problem, PROBLEM_URI_TOO_LONG, NULL, "the query string is longer than %d bytes",
                    QUERY_RAW_MAX_BYTES);
        return QUERY_INVALID;
    }
    size_t count = 0;
    const uint8_t *at = raw.data, *end = raw.bytes ? raw.data + raw.bytes : raw.data;
    while (at < end) {
        const uint8_t *stop = memchr(at, '&', (size_t)(end - at));
        if (!stop)
            stop = end;
        if (stop == at) {
            at++;
            continue;
        }
        if (count == QUERY_PAIRS_MAX) {
            problem_set(ret_problem, PROBLEM_INVALID_PARAMETER, NULL, "there are more than %d parameters",
                        QUERY_PAIRS_MAX);
            return QUERY_INVALID;
        }
        const uint8_t *equals = memchr(at, '=', (size_t)(stop - at));
        struct query_pair *pair = &pairs[count];
        *pair = (struct query_pair){.bare = !equals};
        struct sl_slice name = sl_slice(at, (size_t)((equals ? equals : stop) - at));
        struct sl_slice value =
            equals ? sl_slice(equals + 1, (size_t)(stop - equals - 1)) : sl_slice(stop, 0);
        if (!unescape(name, true, &scratch, &pair->name) || !unescape(value, true, &scratch, &pair->value)) {
            problem_set(ret_problem, PROBLEM_INVALID_PARAMETER, NULL,
                        "the query string holds a %% that two hex digits do not follow");
            return QUERY_INVALID;
        }
        if (holds_nul(pair->name) || holds_nul(pair->value)) {
            problem_set(ret_problem, PROBLEM_INVALID_PARAMETER, NULL, "the query string holds a NUL byte");
            return QUERY_INVALID;
        }
        count++;
        at = stop < end ? stop + 1 : end;
    }
    *ret_count = count;
    return 0;
}
