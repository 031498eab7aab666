// SPDX-License-Identifier: Apache-2.0
#include "cursor.h"
#include <assert.h>
#define XXH_INLINE_ALL
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#include <xxhash.h>
#pragma GCC diagnostic pop

enum { SET_VERSION = 1, SET_RAW_BYTES = 1 + CURSOR_SET_MAX * (4 + 4 + 10) };
static_assert(CURSOR_SET_TEXT_BYTES <= 16 << 10, "a cursor set fits into a header and a URL");

static uint32_t sandbox_hash(struct sl_slice sandbox)
{
    return (uint32_t)XXH3_64bits(sandbox.data, sandbox.bytes);
}

static uint32_t epoch_mix(uint64_t epoch, uint64_t birth)
{
    uint8_t both[16];
    sl_store64(both, epoch);
    sl_store64(both + 8, birth);
    return (uint32_t)XXH3_64bits(both, sizeof both);
}

struct cursor cursor_of(struct sl_slice sandbox, uint64_t epoch, uint64_t birth, uint64_t seq)
{
    return (struct cursor){.epoch = epoch_mix(epoch, birth), .sandbox = sandbox_hash(sandbox), .seq = seq};
}

static void hex_write(char out[8], uint32_t v)
{
    for (int i = 7; i >= 0; i--, v >>= 4)
        out[i] = "0123456789abcdef"[v & 15];
}

static bool hex_read(const uint8_t *in, uint32_t *ret)
{
    uint32_t v = 0;
    for (int i = 0; i < 8; i++) {
        uint8_t c = in[i];
        if (c >= '0' && c <= '9')
            v = v << 4 | (uint32_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            v = v << 4 | (uint32_t)(c - 'a' + 10);
        else
            return false;
    }
    *ret = v;
    return true;
}

size_t cursor_render(const struct cursor *c, char out[CURSOR_TEXT_BYTES])
{
    hex_write(out, c->epoch);
    out[8] = '-';
    hex_write(out + 9, c->sandbox);
    out[17] = '-';
    char digits[20];
    size_t at = sizeof digits;
    uint64_t v = c->seq;
    do {
        digits[--at] = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    memcpy(out + CURSOR_PREFIX_BYTES, digits + at, sizeof digits - at);
    return CURSOR_PREFIX_BYTES + sizeof digits - at;
}

int cursor_parse(struct sl_slice text, struct cursor *ret)
{
    struct cursor c = {0};
    if (text.bytes <= CURSOR_PREFIX_BYTES || text.bytes > CURSOR_TEXT_BYTES || text.data[8] != '-' ||
        text.data[17] != '-' || !hex_read(text.data, &c.epoch) || !hex_read(text.data + 9, &c.sandbox))
        return CURSOR_MALFORMED;
    if (text.data[CURSOR_PREFIX_BYTES] == '0' && text.bytes > CURSOR_PREFIX_BYTES + 1)
        return CURSOR_MALFORMED; /* one line, one text */
    for (size_t i = CURSOR_PREFIX_BYTES; i < text.bytes; i++) {
        unsigned digit = (unsigned)text.data[i] - '0';
        if (digit > 9 || __builtin_mul_overflow(c.seq, 10, &c.seq) ||
            __builtin_add_overflow(c.seq, digit, &c.seq))
            return CURSOR_MALFORMED;
    }
    *ret = c;
    return CURSOR_OK;
}

int cursor_check(const struct cursor *c, struct sl_slice sandbox, uint64_t epoch, uint64_t birth)
{
    if (c->sandbox != sandbox_hash(sandbox))
        return CURSOR_FOREIGN;
    return c->epoch == epoch_mix(epoch, birth) ? CURSOR_OK : CURSOR_EXPIRED;
}

static const char set_letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

size_t cursor_set_render(struct cursor *members, size_t count, char out[CURSOR_SET_TEXT_BYTES])
{
    assert(count <= CURSOR_SET_MAX);
    /* insertion: the members stand in order already but for the first time */
    for (size_t i = 1; i < count; i++) {
        struct cursor moved = members[i];
        size_t at = i;
        for (; at > 0 && members[at - 1].sandbox > moved.sandbox; at--)
            members[at] = members[at - 1];
        members[at] = moved;
    }
    uint8_t raw[SET_RAW_BYTES];
    struct sl_writer w = sl_writer(raw, sizeof raw);
    sl_write_u8(&w, SET_VERSION);
    for (size_t i = 0; i < count; i++) {
        sl_write_u32(&w, members[i].sandbox);
        sl_write_u32(&w, members[i].epoch);
        sl_write_varint(&w, members[i].seq);
    }
    assert(!w.failed);
    char *to = out;
    *to++ = 'm';
    *to++ = '.';
    for (size_t i = 0; i < w.bytes; i += 3) {
        size_t left = w.bytes - i;
        uint32_t v =
            (uint32_t)raw[i] << 16 | (left > 1 ? (uint32_t)raw[i + 1] << 8 : 0) | (left > 2 ? raw[i + 2] : 0);
        *to++ = set_letters[v >> 18];
        *to++ = set_letters[v >> 12 & 63];
        if (left > 1)
            *to++ = set_letters[v >> 6 & 63];
        if (left > 2)
            *to++ = set_letters[v & 63];
    }
    return (size_t)(to - out);
}

static int letter_value(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '-' ? 62 : c == '_' ? 63 : -1;
}

/* base64url without padding; the bits left over must be zero, so that one set has one text. */
static bool set_unpack(struct sl_slice text, uint8_t raw[SET_RAW_BYTES], size_t *ret_bytes)
{
    uint32_t bits = 0;
    unsigned held = 0;
    size_t bytes = 0;
    if (text.bytes % 4 == 1)
        return false;
    for (size_t i = 0; i < text.bytes; i++) {
        int value = letter_value(text.data[i]);
        if (value < 0)
            return false;
        bits = bits << 6 | (uint32_t)value;
        held += 6;
        if (held >= 8) {
            held -= 8;
            if (bytes == SET_RAW_BYTES)
                return false;
            raw[bytes++] = (uint8_t)(bits >> held);
            bits &= (UINT32_C(1) << held) - 1;
        }
    }
    *ret_bytes = bytes;
    return bits == 0;
}

int cursor_set_parse(struct sl_slice text, struct cursor *ret, size_t *ret_count)
{
    if (text.bytes < 2 || text.data[0] != 'm' || text.data[1] != '.') {
        int answer = cursor_parse(text, ret);
        if (answer == CURSOR_OK)
            *ret_count = 1;
        return answer;
    }
    uint8_t raw[SET_RAW_BYTES];
    size_t bytes = 0, count = 0;
    if (text.bytes > CURSOR_SET_TEXT_BYTES ||
        !set_unpack(sl_slice(text.data + 2, text.bytes - 2), raw, &bytes))
        return CURSOR_MALFORMED;
    struct sl_reader r = sl_reader(sl_slice(raw, bytes));
    if (sl_read_u8(&r) != SET_VERSION)
        return CURSOR_MALFORMED;
    while (sl_reader_left(&r) && !r.failed) {
        struct cursor c = {0};
        c.sandbox = sl_read_u32(&r);
        c.epoch = sl_read_u32(&r);
        c.seq = sl_read_varint(&r);
        if (count == CURSOR_SET_MAX || (count && ret[count - 1].sandbox > c.sandbox))
            return CURSOR_MALFORMED;
        ret[count++] = c;
    }
    if (r.failed)
        return CURSOR_MALFORMED;
    *ret_count = count;
    return CURSOR_OK;
}

const struct cursor *cursor_set_find(const struct cursor *members, size_t count, struct sl_slice sandbox)
{
    uint32_t hash = sandbox_hash(sandbox);
    for (size_t i = 0; i < count; i++)
        if (members[i].sandbox == hash)
            return &members[i];
    return NULL;
}
