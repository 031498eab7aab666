// SPDX-License-Identifier: Apache-2.0
/*
 * A growing run of bytes with a limit, and with room in front that a framing layer may write into (LWS_PRE):
 * what the renderers write to.
 *
 * Errors are sticky, as in sl_writer: the first append that does not fit sets `fault` (-EMSGSIZE: over the
 * limit, -ENOMEM) and writes nothing, later ones write nothing either; who filled the buffer asks once, and
 * buffer_cut() to an earlier length forgets the fault. Memory grows by doubling and is kept by buffer_cut().
 * One thread at a time.
 */
#pragma once
#include "wire/slice.h"

/* Behind the room that buffer_room() made sure of, so many bytes may be scribbled on: copies may go in steps.
 */
enum { BUFFER_SLACK_BYTES = 32 };

struct buffer {
    uint8_t *memory; /* front_bytes of room, then the bytes; NULL until the first append */
    size_t front_bytes;
    size_t bytes;    /* appended so far */
    size_t capacity; /* behind the room in front */
    size_t limit_bytes;
    int fault;
};

void buffer_init(struct buffer *b, size_t front_bytes, size_t limit_bytes);
void buffer_fini(struct buffer *b);
/* What was appended; borrowed until the next append. */
struct sl_slice buffer_slice(const struct buffer *b);
/* First appended byte; front_bytes before it may be written. NULL while nothing ever was appended. */
uint8_t *buffer_data(struct buffer *b);
/* Back to the first `bytes` (<= b->bytes); forgets the fault. */
void buffer_cut(struct buffer *b, size_t bytes);
/* Gives the memory back, when it is larger than `keep_bytes`; what was appended is gone. */
void buffer_shrink(struct buffer *b, size_t keep_bytes);

/* Slow path of the functions below. */
bool buffer_grow(struct buffer *b, size_t more_bytes);

/* Makes sure of room for `more_bytes` (> 0) and returns where to write them, NULL with `fault` set. Then
 * buffer_took(). */
static inline uint8_t *buffer_room(struct buffer *b, size_t more_bytes)
{
    if ((b->fault || b->capacity - b->bytes < more_bytes) && !buffer_grow(b, more_bytes))
        return NULL;
    return b->memory + b->front_bytes + b->bytes;
}
/* `bytes` <= what buffer_room() made sure of were written there. */
static inline void buffer_took(struct buffer *b, size_t bytes)
{
    b->bytes += bytes;
}
static inline void buffer_append(struct buffer *b, const void *data, size_t bytes)
{
    uint8_t *at = bytes ? buffer_room(b, bytes) : NULL;
    if (at) {
        memcpy(at, data, bytes);
        b->bytes += bytes;
    }
}
static inline void buffer_append_slice(struct buffer *b, struct sl_slice s)
{
    buffer_append(b, s.data, s.bytes);
}
static inline void buffer_append_text(struct buffer *b, const char *text)
{
    buffer_append(b, text, strlen(text));
}
void buffer_append_u64(struct buffer *b, uint64_t v);
void buffer_append_i64(struct buffer *b, int64_t v);
/* Standard base64 with padding. */
void buffer_append_base64(struct buffer *b, struct sl_slice s);
