// SPDX-License-Identifier: Apache-2.0
#include "term.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Length of the well-formed UTF-8 sequence at the start (Unicode 15, table 3-7), 0 when there is none. */
static size_t utf8_length(const uint8_t *at, size_t bytes, uint32_t *ret_code)
{
    uint8_t a = at[0];
    if (a < 0x80) {
        *ret_code = a;
        return 1;
    }
    size_t n = a >= 0xc2 && a <= 0xdf ? 2 : (a & 0xf0) == 0xe0 ? 3 : a >= 0xf0 && a <= 0xf4 ? 4 : 0;
    if (n == 0 || bytes < n)
        return 0;
    uint32_t code = n == 2 ? a & 0x1fu : n == 3 ? a & 0x0fu : a & 0x07u;
    for (size_t i = 1; i < n; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (at[i] & 0x3fu);
    }
    if ((n == 3 && (code < 0x800 || (code >= 0xd800 && code <= 0xdfff))) ||
        (n == 4 && (code < 0x10000 || code > 0x10ffff)))
        return 0;
    *ret_code = code;
    return n;
}

/* Does this list of SGR parameters hide text? `38;5;8` is a colour, a lone `8` conceals. */
static bool sgr_conceals(const uint8_t *at, size_t bytes)
{
    unsigned skip = 0;
    bool colour = false; /* 38, 48 or 58 was read: the next parameter tells how many belong to it */
    for (size_t i = 0; i <= bytes;) {
        unsigned value = 0;
        bool sub = false;
        for (; i < bytes && at[i] != ';'; i++) {
            if (at[i] == ':')
                sub = true; /* sub-parameters belong to the first number */
            else if (!sub && value < 1000)
                value = value * 10 + (unsigned)(at[i] - '0');
        }
        i++;
        if (skip > 0) {
            skip--;
        } else if (colour) {
            skip = value == 5 ? 1 : value == 2 ? 3 : 0;
            colour = false;
        } else if (value == 8) {
            return true;
        } else if (!sub && (value == 38 || value == 48 || value == 58)) {
            colour = true;
        }
    }
    return false;
}

/* Length of the colour sequence at the start, 0 when it is none. */
static size_t sgr_length(const uint8_t *at, size_t bytes)
{
    if (bytes < 3 || at[0] != 0x1b || at[1] != '[')
        return 0;
    size_t n = 2;
    while (n < bytes && n < TERM_SGR_MAX_BYTES &&
           ((at[n] >= '0' && at[n] <= '9') || at[n] == ';' || at[n] == ':'))
        n++;
    if (n == bytes || at[n] != 'm' || sgr_conceals(at + 2, n - 2))
        return 0;
    return n + 1;
}

static bool sgr_resets(const uint8_t *at, size_t bytes)
{
    return bytes == 3 || (bytes == 4 && at[2] == '0');
}

/* Characters that reorder what is shown around them (Unicode TR 9). */
static bool turns_text(uint32_t code)
{
    return code == 0x061c || code == 0x200e || code == 0x200f || (code >= 0x202a && code <= 0x202e) ||
           (code >= 0x2066 && code <= 0x2069);
}

static size_t show_control(uint8_t c, uint8_t *out)
{
    out[0] = c == '\r' ? '\\' : '^';
    out[1] = c == '\r' ? 'r' : c ^ 0x40;
    return 2;
}

size_t term_clean(struct sl_slice text, enum term_mode mode, uint8_t *out)
{
    const uint8_t *at = text.data, *end = text.data + text.bytes;
    uint8_t *o = out;
    bool coloured = false;
    while (at < end) {
        size_t left = (size_t)(end - at);
        uint8_t c = *at;
        if ((c >= 0x20 && c < 0x7f) || c == '\t') {
            *o++ = c;
            at++;
            continue;
        }
        size_t n = mode == TERM_COLOURS ? sgr_length(at, left) : 0;
        if (n > 0) {
            coloured = !sgr_resets(at, n);
            memcpy(o, at, n);
            o += n;
            at += n;
            continue;
        }
        if (c < 0x20 || c == 0x7f) {
            if (mode == TERM_JSON)
                o += sprintf((char *)o, "\\u%04x", c);
            else
                o += show_control(c, o);
            at++;
            continue;
        }
        uint32_t code = 0;
        n = utf8_length(at, left, &code);
        if (n == 0) {
            o += sprintf((char *)o, "\\x%02x", c);
            at++;
        } else if (code < 0xa0 || turns_text(code)) {
            o += sprintf((char *)o, code < 0xa0 && mode != TERM_JSON ? "\\x%02x" : "\\u%04x", code);
            at += n;
        } else {
            memcpy(o, at, n);
            o += n;
            at += n;
        }
    }
    if (coloured) {
        memcpy(o, TERM_RESET, sizeof TERM_RESET - 1);
        o += sizeof TERM_RESET - 1;
    }
    return (size_t)(o - out);
}

const char *term_colour(struct sl_slice name)
{
    static const char *const colours[] = {
        "\033[36m", "\033[33m", "\033[32m", "\033[35m", "\033[34m", "\033[31m",
        "\033[96m", "\033[93m", "\033[92m", "\033[95m", "\033[94m", "\033[91m",
    };
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < name.bytes; i++)
        hash = (hash ^ name.data[i]) * 16777619u;
    hash ^= hash >> 15;
    return colours[hash % (sizeof colours / sizeof *colours)];
}

bool term_colours_wanted(int fd)
{
    const char *no = getenv("NO_COLOR"), *kind = getenv("TERM");
    return isatty(fd) == 1 && !(no && *no) && !(kind && strcmp(kind, "dumb") == 0);
}
