// SPDX-License-Identifier: Apache-2.0
/*
 * A reader of text/event-stream for tests, written from the WHATWG HTML standard (9.2.5 and 9.2.6) alone,
 * with no code of ours, so that it can prove ours wrong. Aborts on bytes that are not UTF-8: a browser would
 * show U+FFFD, and we promise to have done that.
 */
#pragma once
#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct sse_event {
    const uint8_t *data;
    size_t data_bytes;
    const char *type;
    const char *id; /* last event id when it was dispatched */
};
typedef void sse_each(void *arg, const struct sse_event *event);

static inline bool sse_is_utf8(const uint8_t *s, size_t bytes)
{
    for (size_t i = 0; i < bytes;) {
        uint32_t point = s[i];
        size_t more = point < 0x80       ? 0
                      : point >> 5 == 6  ? 1
                      : point >> 4 == 14 ? 2
                      : point >> 3 == 30 ? 3
                                         : 99;
        static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
        if (more == 99 || bytes - i <= more)
            return false;
        point &= more ? 0x3fu >> more : 0x7f;
        for (size_t k = 1; k <= more; k++) {
            if (s[i + k] >> 6 != 2)
                return false;
            point = point << 6 | (s[i + k] & 0x3f);
        }
        if (point < least[more] || point > 0x10ffff || (point >= 0xd800 && point < 0xe000))
            return false;
        i += more + 1;
    }
    return true;
}

static inline bool sse_field_is(const uint8_t *field, size_t bytes, const char *name)
{
    return bytes == strlen(name) && memcmp(field, name, bytes) == 0;
}

/* Gives every event dispatched to `each`; returns how many comments there were. *ret_retry: of the last
 * retry. */
static inline size_t sse_read(const uint8_t *in, size_t bytes, sse_each *each, void *arg, long *ret_retry)
{
    assert(sse_is_utf8(in, bytes));
    uint8_t *data = malloc(bytes + 1);
    char *type = calloc(1, bytes + 1), *id = calloc(1, bytes + 1);
    assert(data && type && id);
    size_t data_bytes = 0, comments = 0, at = 0;
    if (bytes >= 3 && memcmp(in, "\xef\xbb\xbf", 3) == 0)
        at = 3;
    while (at < bytes) {
        size_t end = at;
        while (end < bytes && in[end] != '\r' && in[end] != '\n')
            end++;
        if (end == bytes)
            break; /* an unfinished line counts for nothing */
        const uint8_t *line = in + at;
        size_t length = end - at;
        at = end + (in[end] == '\r' && end + 1 < bytes && in[end + 1] == '\n' ? 2 : 1);
        if (length == 0) {
            if (data_bytes > 0) {
                struct sse_event event = {data, data_bytes - 1, type[0] ? type : "message", id};
                each(arg, &event);
            }
            data_bytes = 0;
            type[0] = '\0';
            continue;
        }
        const uint8_t *colon = memchr(line, ':', length);
        if (colon == line) {
            comments++;
            continue;
        }
        size_t name = colon ? (size_t)(colon - line) : length;
        const uint8_t *value = colon ? colon + 1 : line + length;
        size_t value_bytes = (size_t)(line + length - value);
        if (value_bytes && value[0] == ' ') {
            value++;
            value_bytes--;
        }
        if (sse_field_is(line, name, "event")) {
            memcpy(type, value, value_bytes);
            type[value_bytes] = '\0';
        } else if (sse_field_is(line, name, "data")) {
            if (value_bytes)
                memcpy(data + data_bytes, value, value_bytes);
            data_bytes += value_bytes;
            data[data_bytes++] = '\n';
        } else if (sse_field_is(line, name, "id") && !(value_bytes && memchr(value, 0, value_bytes))) {
            if (value_bytes)
                memcpy(id, value, value_bytes);
            id[value_bytes] = '\0';
        } else if (sse_field_is(line, name, "retry") && ret_retry) {
            *ret_retry = strtol((const char *)value, NULL, 10);
        }
    }
    free(data);
    free(type);
    free(id);
    return comments;
}
