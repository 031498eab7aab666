// SPDX-License-Identifier: Apache-2.0
#include "buffer.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

enum { FIRST_BYTES = 1024 };

void buffer_init(struct buffer *b, size_t front_bytes, size_t limit_bytes)
{
    assert(limit_bytes <= SIZE_MAX / 4 && front_bytes <= 4096);
    *b = (struct buffer){.front_bytes = front_bytes, .limit_bytes = limit_bytes};
}

void buffer_fini(struct buffer *b)
{
    free(b->memory);
    b->memory = NULL;
    b->bytes = b->capacity = 0;
}

struct sl_slice buffer_slice(const struct buffer *b)
{
    return b->memory ? sl_slice(b->memory + b->front_bytes, b->bytes) : sl_slice(NULL, 0);
}

uint8_t *buffer_data(struct buffer *b)
{
    return b->memory ? b->memory + b->front_bytes : NULL;
}

void buffer_cut(struct buffer *b, size_t bytes)
{
    assert(bytes <= b->bytes);
    b->bytes = bytes;
    b->fault = 0;
}

void buffer_shrink(struct buffer *b, size_t keep_bytes)
{
    if (b->capacity > keep_bytes)
        buffer_fini(b);
    buffer_cut(b, 0);
}

bool buffer_grow(struct buffer *b, size_t more_bytes)
{
    assert(more_bytes > 0);
    if (b->fault)
        return false;
    if (more_bytes > b->limit_bytes - b->bytes) {
        b->fault = -EMSGSIZE;
        return false;
    }
    size_t capacity = b->capacity ? b->capacity * 2 : FIRST_BYTES;
    if (capacity < b->bytes + more_bytes)
        capacity = b->bytes + more_bytes;
    if (capacity > b->limit_bytes)
        capacity = b->limit_bytes;
    uint8_t *memory = realloc(b->memory, b->front_bytes + capacity + BUFFER_SLACK_BYTES);
    if (!memory) {
        b->fault = -ENOMEM;
        return false;
    }
    b->memory = memory;
    b->capacity = capacity;
    return true;
}

void buffer_append_u64(struct buffer *b, uint64_t v)
{
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    buffer_append(b, digits + at, sizeof digits - at);
}

void buffer_append_i64(struct buffer *b, int64_t v)
{
    if (v < 0)
        buffer_append(b, "-", 1);
    buffer_append_u64(b, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
}

void buffer_append_base64(struct buffer *b, struct sl_slice s)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    if (s.bytes == 0)
        return;
    size_t bytes = (s.bytes + 2) / 3 * 4;
    uint8_t *out = buffer_room(b, bytes);
    if (!out)
        return;
    size_t i = 0;
    for (; i + 3 <= s.bytes; i += 3) {
        uint32_t v = (uint32_t)s.data[i] << 16 | (uint32_t)s.data[i + 1] << 8 | s.data[i + 2];
        *out++ = (uint8_t)letters[v >> 18];
        *out++ = (uint8_t)letters[v >> 12 & 63];
        *out++ = (uint8_t)letters[v >> 6 & 63];
        *out++ = (uint8_t)letters[v & 63];
    }
    if (i < s.bytes) {
        bool two = i + 2 == s.bytes;
        uint32_t v = (uint32_t)s.data[i] << 16 | (two ? (uint32_t)s.data[i + 1] << 8 : 0);
        *out++ = (uint8_t)letters[v >> 18];
        *out++ = (uint8_t)letters[v >> 12 & 63];
        *out++ = two ? (uint8_t)letters[v >> 6 & 63] : '=';
        *out++ = '=';
    }
    buffer_took(b, bytes);
}
