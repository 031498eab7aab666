// SPDX-License-Identifier: Apache-2.0
/* The header Accept (RFC 9110, 12.5.1) over the three formats there are. */
#include "query.h"
#include <strings.h>

/* How well one format fits: its quality in thousandths, by the most specific range that names it. */
struct fit {
    unsigned quality;
    unsigned specific; /* 0: no range, 1: * / *, 2: text / *, 3: the type itself */
    size_t place;      /* of that range in the header */
};

static struct sl_slice trim(struct sl_slice s)
{
    while (s.bytes && (s.data[0] == ' ' || s.data[0] == '\t'))
        s = sl_slice(s.data + 1, s.bytes - 1);
    while (s.bytes && (s.data[s.bytes - 1] == ' ' || s.data[s.bytes - 1] == '\t'))
        s.bytes--;
    return s;
}

/* Cuts *rest at the first `c` and returns what stood before it. */
static struct sl_slice cut(struct sl_slice *rest, char c)
{
    const uint8_t *at = rest->bytes ? memchr(rest->data, c, rest->bytes) : NULL;
    struct sl_slice head = at ? sl_slice(rest->data, (size_t)(at - rest->data)) : *rest;
    *rest = at ? sl_slice(at + 1, rest->bytes - head.bytes - 1) : sl_slice(rest->data, 0);
    return trim(head);
}

static bool is(struct sl_slice s, const char *text)
{
    return s.bytes == strlen(text) && strncasecmp((const char *)s.data, text, s.bytes) == 0;
}

/* `q=0.5` in thousandths; 1000 for what is no weight. */
static unsigned weight(struct sl_slice parameter)
{
    if (parameter.bytes < 3 || (parameter.data[0] | 0x20) != 'q' || parameter.data[1] != '=')
        return 1000;
    if (parameter.data[2] != '0')
        return 1000;
    unsigned quality = 0, unit = 100;
    for (size_t i = 4; i < parameter.bytes && unit; i++, unit /= 10)
        if (parameter.data[i] >= '0' && parameter.data[i] <= '9')
            quality += (unsigned)(parameter.data[i] - '0') * unit;
    return quality;
}

static unsigned specific(struct sl_slice range, uint8_t format)
{
    if (is(range, "*/*"))
        return 1;
    if (is(range, "text/*"))
        return format == QUERY_NDJSON ? 0 : 2;
    if (is(range, "application/*"))
        return format == QUERY_NDJSON ? 2 : 0;
    switch (format) {
    case QUERY_TEXT:
        return is(range, "text/plain") ? 3 : 0;
    case QUERY_NDJSON:
        return is(range, "application/x-ndjson") || is(range, "application/ndjson") ||
                       is(range, "application/jsonl")
                   ? 3
                   : 0;
    default:
        return is(range, "text/event-stream") ? 3 : 0;
    }
}

static bool better(const struct fit *a, const struct fit *b)
{
    if (a->quality != b->quality)
        return a->quality > b->quality;
    if ((a->specific == 3) != (b->specific == 3))
        return a->specific == 3;
    return a->specific == 3 && a->place < b->place;
}

/* `q=0`: anything but that. */
static bool excluded(const struct fit *fit)
{
    return fit->specific && fit->quality == 0;
}

uint8_t query_accept(struct sl_slice accept, bool follow, bool *ret_accepts_sse)
{
    struct fit fits[3] = {0};
    for (size_t place = 0; accept.bytes; place++) {
        struct sl_slice range = cut(&accept, ',');
        struct sl_slice type = cut(&range, ';');
        unsigned quality = 1000;
        while (range.bytes) {
            unsigned given = weight(cut(&range, ';'));
            if (given < quality)
                quality = given;
        }
        for (uint8_t format = QUERY_TEXT; format <= QUERY_SSE; format++) {
            unsigned s = specific(type, format);
            if (s > fits[format].specific)
                fits[format] = (struct fit){.quality = quality, .specific = s, .place = place};
        }
    }
    *ret_accepts_sse = fits[QUERY_SSE].specific == 3 && fits[QUERY_SSE].quality > 0;
    /* a range that names no format by itself leaves it at the default */
    uint8_t best = follow ? QUERY_SSE : QUERY_TEXT;
    for (uint8_t format = QUERY_TEXT; format <= QUERY_SSE && excluded(&fits[best]); format++)
        if (!excluded(&fits[format]))
            best = format;
    for (uint8_t format = QUERY_TEXT; format <= QUERY_SSE; format++)
        if (!excluded(&fits[format]) && better(&fits[format], &fits[best]))
            best = format;
    return best;
}
