// SPDX-License-Identifier: Apache-2.0
#include "slice.h"
#include <assert.h>

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "formats are read and written in host order");

uint64_t sl_read_varint(struct sl_reader *r)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        const uint8_t *at = sl_reader_take(r, 1);
        if (at == NULL)
            return 0;
        if (shift == 63 && *at > 1)
            break;
        v |= (uint64_t)(*at & 0x7f) << shift;
        if (*at < 0x80)
            return v;
    }
    r->failed = true;
    r->at = r->end;
    return 0;
}

struct sl_slice sl_read_slice(struct sl_reader *r, size_t bytes)
{
    const uint8_t *at = sl_reader_take(r, bytes);
    return at != NULL ? sl_slice(at, bytes) : sl_slice(r->end, 0);
}

struct sl_slice sl_read_slice8(struct sl_reader *r)
{
    return sl_read_slice(r, sl_read_u8(r));
}

struct sl_slice sl_read_slice32(struct sl_reader *r)
{
    return sl_read_slice(r, sl_read_u32(r));
}

struct sl_writer sl_writer(void *data, size_t capacity)
{
    return (struct sl_writer){.data = data, .capacity = capacity};
}

static void put(struct sl_writer *w, const void *from, size_t bytes)
{
    if (w->failed || w->capacity - w->bytes < bytes) {
        w->failed = true;
        return;
    }
    if (bytes > 0)
        memcpy(w->data + w->bytes, from, bytes);
    w->bytes += bytes;
}

void sl_write_u8(struct sl_writer *w, uint8_t v)
{
    put(w, &v, sizeof v);
}

void sl_write_u16(struct sl_writer *w, uint16_t v)
{
    put(w, &v, sizeof v);
}

void sl_write_u32(struct sl_writer *w, uint32_t v)
{
    put(w, &v, sizeof v);
}

void sl_write_u64(struct sl_writer *w, uint64_t v)
{
    put(w, &v, sizeof v);
}

void sl_write_i64(struct sl_writer *w, int64_t v)
{
    put(w, &v, sizeof v);
}

void sl_write_varint(struct sl_writer *w, uint64_t v)
{
    uint8_t out[10];
    size_t n = 0;
    for (; v >= 0x80; v >>= 7)
        out[n++] = (uint8_t)(v | 0x80);
    out[n++] = (uint8_t)v;
    put(w, out, n);
}

void sl_write_slice(struct sl_writer *w, struct sl_slice bytes)
{
    put(w, bytes.data, bytes.bytes);
}

/* Length and bytes go in together or not at all. */
static bool fits(struct sl_writer *w, size_t length_bytes, struct sl_slice bytes, uint64_t max)
{
    if (!w->failed && bytes.bytes <= max && w->capacity - w->bytes >= length_bytes &&
        w->capacity - w->bytes - length_bytes >= bytes.bytes)
        return true;
    w->failed = true;
    return false;
}

void sl_write_slice8(struct sl_writer *w, struct sl_slice bytes)
{
    if (!fits(w, 1, bytes, UINT8_MAX))
        return;
    sl_write_u8(w, (uint8_t)bytes.bytes);
    sl_write_slice(w, bytes);
}

void sl_write_slice32(struct sl_writer *w, struct sl_slice bytes)
{
    if (!fits(w, 4, bytes, UINT32_MAX))
        return;
    sl_write_u32(w, (uint32_t)bytes.bytes);
    sl_write_slice(w, bytes);
}
