// SPDX-License-Identifier: Apache-2.0
/*
 * Slices: borrowed runs of foreign bytes, and bounded little-endian reading and writing of them.
 *
 * A slice never owns and is never NUL-terminated. A reader that runs past the end sets `failed` and from then
 * on yields zeros and empty slices, so that a decoder reads all fields and asks once. A writer that runs out
 * of room sets `failed` and writes nothing more. No allocation, no I/O, any thread.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct sl_slice {
    const uint8_t *data;
    size_t bytes;
};

static inline struct sl_slice sl_slice(const void *data, size_t bytes)
{
    return (struct sl_slice){.data = data, .bytes = bytes};
}

static inline struct sl_slice sl_slice_of(const char *text)
{
    return sl_slice(text, strlen(text));
}

static inline bool sl_slice_equal(struct sl_slice a, struct sl_slice b)
{
    return a.bytes == b.bytes && (a.bytes == 0 || memcmp(a.data, b.data, a.bytes) == 0);
}

/* Little-endian loads and stores at any alignment. The host is little-endian (asserted in slice.c). */
static inline uint16_t sl_load16(const void *at)
{
    uint16_t v;
    memcpy(&v, at, sizeof v);
    return v;
}
static inline uint32_t sl_load32(const void *at)
{
    uint32_t v;
    memcpy(&v, at, sizeof v);
    return v;
}
static inline uint64_t sl_load64(const void *at)
{
    uint64_t v;
    memcpy(&v, at, sizeof v);
    return v;
}
static inline void sl_store16(void *at, uint16_t v)
{
    memcpy(at, &v, sizeof v);
}
static inline void sl_store32(void *at, uint32_t v)
{
    memcpy(at, &v, sizeof v);
}
static inline void sl_store64(void *at, uint64_t v)
{
    memcpy(at, &v, sizeof v);
}

struct sl_reader {
    const uint8_t *at;
    const uint8_t *end;
    bool failed;
};

static inline struct sl_reader sl_reader(struct sl_slice bytes)
{
    /* A NULL slice is an empty one; NULL + 0 is undefined in C17. */
    static const uint8_t nothing[1];
    const uint8_t *at = bytes.bytes > 0 ? bytes.data : nothing;
    return (struct sl_reader){.at = at, .end = at + bytes.bytes};
}
static inline size_t sl_reader_left(const struct sl_reader *r)
{
    return (size_t)(r->end - r->at);
}
/* The next `bytes` bytes, or NULL and failed. A failed reader stands at its end, so that loops end too. */
static inline const uint8_t *sl_reader_take(struct sl_reader *r, size_t bytes)
{
    if (r->failed || sl_reader_left(r) < bytes) {
        r->failed = true;
        r->at = r->end;
        return NULL;
    }
    const uint8_t *at = r->at;
    r->at += bytes;
    return at;
}
/* In the header: a decoder of twenty fields took three times as long calling these. */
static inline uint8_t sl_read_u8(struct sl_reader *r)
{
    const uint8_t *at = sl_reader_take(r, 1);
    return at != NULL ? *at : 0;
}
static inline uint16_t sl_read_u16(struct sl_reader *r)
{
    const uint8_t *at = sl_reader_take(r, 2);
    return at != NULL ? sl_load16(at) : 0;
}
static inline uint32_t sl_read_u32(struct sl_reader *r)
{
    const uint8_t *at = sl_reader_take(r, 4);
    return at != NULL ? sl_load32(at) : 0;
}
static inline uint64_t sl_read_u64(struct sl_reader *r)
{
    const uint8_t *at = sl_reader_take(r, 8);
    return at != NULL ? sl_load64(at) : 0;
}
static inline int64_t sl_read_i64(struct sl_reader *r)
{
    return (int64_t)sl_read_u64(r);
}
/* LEB128, at most 10 bytes; a longer or overflowing one fails. */
uint64_t sl_read_varint(struct sl_reader *r);
/* The next `bytes` bytes, borrowed. */
struct sl_slice sl_read_slice(struct sl_reader *r, size_t bytes);
/* A slice behind its length in one, or four, bytes. */
struct sl_slice sl_read_slice8(struct sl_reader *r);
struct sl_slice sl_read_slice32(struct sl_reader *r);

struct sl_writer {
    uint8_t *data;
    size_t capacity;
    size_t bytes;
    bool failed;
};

struct sl_writer sl_writer(void *data, size_t capacity);
void sl_write_u8(struct sl_writer *w, uint8_t v);
void sl_write_u16(struct sl_writer *w, uint16_t v);
void sl_write_u32(struct sl_writer *w, uint32_t v);
void sl_write_u64(struct sl_writer *w, uint64_t v);
void sl_write_i64(struct sl_writer *w, int64_t v);
void sl_write_varint(struct sl_writer *w, uint64_t v);
void sl_write_slice(struct sl_writer *w, struct sl_slice bytes);
/* Fails when the slice is longer than 255 bytes, or 4 GiB. */
void sl_write_slice8(struct sl_writer *w, struct sl_slice bytes);
void sl_write_slice32(struct sl_writer *w, struct sl_slice bytes);

static inline uint64_t sl_zigzag(int64_t v)
{
    return ((uint64_t)v << 1) ^ (uint64_t)(v >> 63);
}
static inline int64_t sl_unzigzag(uint64_t v)
{
    return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}
