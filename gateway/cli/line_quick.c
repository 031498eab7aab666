// SPDX-License-Identifier: Apache-2.0
#include "line_quick.h"
#include "utf8.h"

#include <errno.h>
#include <stdlib.h>

struct at {
    const uint8_t *at, *end;
};

static bool skip(struct at *a, const char *literal, size_t bytes)
{
    if ((size_t)(a->end - a->at) < bytes || memcmp(a->at, literal, bytes) != 0)
        return false;
    a->at += bytes;
    return true;
}
#define SKIP(a, literal) skip(a, literal, sizeof(literal) - 1)

/* Up to the closing quote, which is taken too; only bytes that stand for themselves. */
static bool plain(struct at *a, struct sl_slice *ret)
{
    const uint8_t *from = a->at;
    while (a->at < a->end && *a->at >= 0x20 && *a->at < 0x80 && *a->at != '"' && *a->at != '\\')
        a->at++;
    if (a->at == a->end || *a->at != '"')
        return false;
    *ret = sl_slice(from, (size_t)(a->at - from));
    a->at++;
    return true;
}

/* 1 to 18 digits, no zero in front. */
static bool number(struct at *a, uint64_t *ret)
{
    const uint8_t *from = a->at;
    uint64_t v = 0;
    while (a->at < a->end && a->at - from < 18 && *a->at >= '0' && *a->at <= '9')
        v = v * 10 + (uint64_t)(*a->at++ - '0');
    *ret = v;
    return a->at > from && (*from != '0' || a->at - from == 1);
}

/* A string up to its closing quote, which is not taken: escapes are counted, nothing else is done to it. */
static bool find_end(struct at *a, size_t *ret_escapes)
{
    size_t escapes = 0;
    while (a->at < a->end) {
        /* eight that are plain: no byte >= 0x80, < 0x20, `"` or `\` among them */
        while (a->end - a->at >= 8) {
            uint64_t v = sl_load64(a->at), ones = UINT64_C(0x0101010101010101);
            uint64_t quote = v ^ ones * '"', back = v ^ ones * '\\';
            uint64_t stops = v | (v - ones * 0x20) | (quote - ones) | (back - ones);
            if (stops & ones * 0x80)
                break;
            a->at += 8;
        }
        if (a->at == a->end)
            return false;
        uint8_t c = *a->at;
        if (c == '"') {
            *ret_escapes = escapes;
            return true;
        }
        int bytes = c == '\\' ? 2 : c < 0x20 ? 0 : utf8_sequence(a->at, a->end);
        if (bytes <= 0 || bytes > a->end - a->at)
            return false;
        escapes += c == '\\';
        a->at += bytes;
    }
    return false;
}

static int hex_value(uint8_t c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* One escape that stands for a byte; its length, 0: another one. */
static size_t unescape_one(const uint8_t *at, size_t left, uint8_t *out)
{
    static const char names[] = "\"\\/bfnrt", bytes[] = "\"\\/\b\f\n\r\t";
    const char *name = at[1] ? strchr(names, at[1]) : NULL;
    if (name) {
        *out = (uint8_t)bytes[name - names];
        return 2;
    }
    if (at[1] != 'u' || left < 6 || at[2] != '0' || at[3] != '0')
        return 0;
    int high = hex_value(at[4]), low = hex_value(at[5]);
    if (high < 0 || high > 7 || low < 0)
        return 0;
    *out = (uint8_t)(high << 4 | low);
    return 6;
}

/* In a copy, which is the line's from then on. */
static int unescape(struct sl_slice text, struct line *line)
{
    const uint8_t *at = text.data, *end = text.data + text.bytes;
    uint8_t *to = line->raw = malloc(text.bytes);
    if (!to)
        return -ENOMEM;
    while (at < end) {
        const uint8_t *back = memchr(at, '\\', (size_t)(end - at));
        size_t run = (size_t)((back ? back : end) - at);
        memcpy(to, at, run);
        to += run;
        at += run;
        if (back) {
            size_t took = unescape_one(at, (size_t)(end - at), to++);
            if (took == 0) {
                free(line->raw);
                line->raw = NULL;
                return LINE_QUICK_NOT;
            }
            at += took;
        }
    }
    line->text = sl_slice(line->raw, (size_t)(to - line->raw));
    return 0;
}

int line_quick(struct sl_slice json, struct line *ret)
{
    struct at a = {.at = json.data, .end = json.data + json.bytes};
    struct line line = {0};
    struct sl_slice cursor;
    size_t escapes;
    if (json.bytes == 0 || !SKIP(&a, "{"))
        return LINE_QUICK_NOT;
    if (SKIP(&a, "\"sandbox\":\"") && (!plain(&a, &line.sandbox) || !SKIP(&a, ",")))
        return LINE_QUICK_NOT;
    if (!SKIP(&a, "\"seq\":") || !number(&a, &line.seq))
        return LINE_QUICK_NOT;
    if (SKIP(&a, ",\"cursor\":\"") && !plain(&a, &cursor))
        return LINE_QUICK_NOT;
    if (!SKIP(&a, ",\"time\":\"") || !plain(&a, &line.time) || !SKIP(&a, ",\"stream\":\"") ||
        !plain(&a, &line.stream) || (SKIP(&a, ",\"container\":\"") && !plain(&a, &line.container)) ||
        !SKIP(&a, ",\"line\":\""))
        return LINE_QUICK_NOT;
    const uint8_t *text = a.at;
    if (!find_end(&a, &escapes))
        return LINE_QUICK_NOT;
    line.text = sl_slice(text, (size_t)(a.at - text));
    a.at++;
    line.partial = SKIP(&a, ",\"partial\":true");
    /* behind it "raw", which few have: bytes that are no UTF-8 */
    if (!SKIP(&a, "}") || a.at != a.end)
        return LINE_QUICK_NOT;
    int r = escapes ? unescape(line.text, &line) : 0;
    if (r == 0)
        *ret = line;
    return r;
}
