// SPDX-License-Identifier: Apache-2.0
#include "block.h"
#include "block_layout.h"
#include <errno.h>
#include <lz4.h>
#include <lz4hc.h>
#include <stdlib.h>

enum {
    VARINT_MAX_BYTES = 10,
    LENGTH_MAX_BYTES = 3, /* 1 MiB < 2^21 */
    RUN_MAX_BYTES = 2 + 3,
    TABLE_MAX_BYTES = 3 * 4, /* a column is shorter than 2^28 bytes */
    /* What raw bytes can come to beyond the gathered columns: table, first time, the open run, a new run. */
    RAW_SLACK_BYTES = TABLE_MAX_BYTES + VARINT_MAX_BYTES + 2 * RUN_MAX_BYTES,
    COLUMN_FIRST_BYTES = 64,
    TEXT_FIRST_BYTES = 640,
    /* What a builder keeps over a reset, so that one that held very long lines does not pin megabytes for
       ever: 160 KiB (640 doubled) is twice the usual block. There is one builder a process, used for one
       sandbox after the other: to keep less of it after small blocks was 16 allocations a block. */
    TEXT_KEEP_BYTES = 160 << 10,
    COLUMN_KEEP_BYTES = 16 << 10,
};
static_assert(SL_LINE_MAX_BYTES < 1 << (7 * LENGTH_MAX_BYTES), "a length's varint");

struct column {
    uint8_t *data;
    size_t bytes;
    size_t capacity;
};

struct sl_block_builder {
    struct column times; /* from the second line on: the first is relative to time_min_ns, known at the end */
    struct column lengths;
    struct column runs;  /* finished ones; the open one is run_kind and run_lines */
    struct column names; /* length byte, bytes */
    /* Text stands behind `headroom` free bytes, where encode puts the other columns: so that the payload is
       contiguous without the text being copied. */
    struct column text;
    size_t headroom;
    int64_t time_first_ns;
    int64_t time_last_ns;
    int64_t time_min_ns;
    int64_t time_max_ns;
    uint32_t lines;
    uint32_t complete_lines;
    uint32_t run_lines;
    uint32_t run_name_at; /* where the open run's name stands in `names` */
    uint16_t run_kind;    /* container << 2 | partial << 1 | stream */
    uint8_t containers;
    uint8_t sandbox_bytes;
    uint8_t sandbox[SL_ID_MAX_BYTES];
    void *hc; /* LZ4HC's state, 256 KiB, once a level was asked for */
};

static inline uint8_t *put_varint(uint8_t *at, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        *at++ = (uint8_t)(v | 0x80);
    *at++ = (uint8_t)v;
    return at;
}

static size_t varint_bytes(uint64_t v)
{
    size_t n = 1;
    for (; v >= 0x80; v >>= 7)
        n++;
    return n;
}

static void column_append(struct column *c, uint64_t v)
{
    c->bytes = (size_t)(put_varint(c->data + c->bytes, v) - c->data);
}

static int column_grow(struct column *c, size_t more)
{
    size_t capacity = c->capacity > 0 ? c->capacity : COLUMN_FIRST_BYTES;
    while (capacity < c->bytes + more)
        capacity *= 2;
    uint8_t *data = realloc(c->data, capacity);
    if (data == NULL)
        return -ENOMEM;
    c->data = data;
    c->capacity = capacity;
    return 0;
}

static inline int column_reserve(struct column *c, size_t more)
{
    return c->capacity - c->bytes >= more ? 0 : column_grow(c, more);
}

/* Keeps the invariant headroom >= all that encode puts before the text, and room for `more` text. */
static int text_grow(struct sl_block_builder *b, size_t more, size_t headroom)
{
    struct column *c = &b->text;
    size_t capacity = c->capacity > 0 ? c->capacity : TEXT_FIRST_BYTES;
    while (capacity < headroom + c->bytes + more)
        capacity *= 2;
    uint8_t *data = malloc(capacity);
    if (data == NULL)
        return -ENOMEM;
    if (c->bytes > 0)
        memcpy(data + headroom, c->data + b->headroom, c->bytes);
    free(c->data);
    c->data = data;
    c->capacity = capacity;
    b->headroom = headroom;
    return 0;
}

static inline int text_reserve(struct sl_block_builder *b, size_t more)
{
    size_t headroom = RAW_SLACK_BYTES + b->times.capacity + b->lengths.capacity + b->runs.capacity;
    if (b->headroom >= headroom && b->text.capacity - b->headroom - b->text.bytes >= more)
        return 0;
    return text_grow(b, more, headroom);
}

int sl_block_builder_new(struct sl_block_builder **ret)
{
    struct sl_block_builder *b = calloc(1, sizeof *b);
    if (b == NULL)
        return -ENOMEM;
    *ret = b;
    return 0;
}

void sl_block_builder_free(struct sl_block_builder *b)
{
    if (b == NULL)
        return;
    free(b->times.data);
    free(b->lengths.data);
    free(b->runs.data);
    free(b->names.data);
    free(b->text.data);
    free(b->hc);
    free(b);
}

static void column_reset(struct column *c, size_t keep_bytes)
{
    if (c->capacity > keep_bytes) {
        free(c->data);
        *c = (struct column){0};
    }
    c->bytes = 0;
}

void sl_block_builder_reset(struct sl_block_builder *b, struct sl_slice sandbox)
{
    assert(sl_sandbox_id_valid(sandbox));
    column_reset(&b->times, COLUMN_KEEP_BYTES);
    column_reset(&b->lengths, COLUMN_KEEP_BYTES);
    column_reset(&b->runs, COLUMN_KEEP_BYTES);
    column_reset(&b->names, COLUMN_KEEP_BYTES);
    column_reset(&b->text, TEXT_KEEP_BYTES);
    if (b->text.capacity == 0)
        b->headroom = 0;
    b->lines = 0;
    b->complete_lines = 0;
    b->run_lines = 0;
    b->run_name_at = 0;
    b->run_kind = 0;
    b->containers = 0;
    b->sandbox_bytes = (uint8_t)sandbox.bytes;
    memcpy(b->sandbox, sandbox.data, sandbox.bytes);
}

static inline bool name_stands_at(const struct sl_block_builder *b, size_t at, struct sl_slice name)
{
    return sl_slice_equal(sl_slice(b->names.data + at + 1, b->names.data[at]), name);
}

/* Index and place of a name; at the end of the names when it is not there yet. */
static uint8_t find_name(const struct sl_block_builder *b, struct sl_slice name, size_t *ret_at)
{
    size_t at = 0;
    uint8_t index = 0;
    while (index < b->containers && !name_stands_at(b, at, name)) {
        at += 1 + (size_t)b->names.data[at];
        index++;
    }
    *ret_at = at;
    return index;
}

/* Ends the open run and opens one of `flags` for `container`. Reserved before; can't fail. */
static void turn_to(struct sl_block_builder *b, uint8_t index, size_t at, struct sl_slice container,
                    unsigned flags)
{
    if (index == b->containers) {
        b->names.data[at] = (uint8_t)container.bytes;
        if (container.bytes > 0)
            memcpy(b->names.data + at + 1, container.data, container.bytes);
        b->names.bytes += 1 + container.bytes;
        b->containers++;
    }
    if (b->run_lines > 0) {
        column_append(&b->runs, b->run_kind);
        column_append(&b->runs, b->run_lines);
    }
    b->run_kind = (uint16_t)((unsigned)index << RUN_SHIFT | flags);
    b->run_name_at = (uint32_t)at;
    b->run_lines = 0;
}

int sl_block_builder_add(struct sl_block_builder *b, const struct sl_line *line, struct sl_slice container)
{
    size_t bytes = line->text.bytes;
    assert(bytes <= SL_LINE_MAX_BYTES && line->stream <= SL_STDERR && b->sandbox_bytes > 0);
    if (b->lines == SL_BLOCK_LINES_MAX || b->text.bytes + bytes + b->times.bytes + b->lengths.bytes +
                                                  b->runs.bytes + VARINT_MAX_BYTES + LENGTH_MAX_BYTES +
                                                  RAW_SLACK_BYTES >
                                              SL_BLOCK_RAW_MAX_BYTES)
        return SL_BUILDER_FULL;

    unsigned flags =
        (line->partial ? (unsigned)RUN_PARTIAL : 0) | (line->stream == SL_STDERR ? (unsigned)RUN_STDERR : 0);
    bool turn = b->run_lines == 0 || (b->run_kind & (RUN_PARTIAL | RUN_STDERR)) != flags ||
                !name_stands_at(b, b->run_name_at, container);
    uint8_t index = 0;
    size_t name_at = 0;
    if (turn) {
        assert(sl_container_valid(container));
        index = find_name(b, container, &name_at);
        if (index == SL_BLOCK_CONTAINERS_MAX)
            return SL_BUILDER_FULL;
        if (column_reserve(&b->names, 1 + container.bytes) < 0 || column_reserve(&b->runs, RUN_MAX_BYTES) < 0)
            return -ENOMEM;
    }
    if (column_reserve(&b->times, VARINT_MAX_BYTES) < 0 ||
        column_reserve(&b->lengths, LENGTH_MAX_BYTES) < 0 || text_reserve(b, bytes) < 0)
        return -ENOMEM;

    if (turn)
        turn_to(b, index, name_at, container, flags);
    b->run_lines++;
    int64_t time = line->time_ns;
    if (b->lines == 0) {
        b->time_first_ns = b->time_min_ns = b->time_max_ns = time;
    } else {
        /* In 64 bits that wrap: two times may be further apart than an int64_t holds. */
        column_append(&b->times, sl_zigzag((int64_t)((uint64_t)time - (uint64_t)b->time_last_ns)));
        b->time_min_ns = time < b->time_min_ns ? time : b->time_min_ns;
        b->time_max_ns = time > b->time_max_ns ? time : b->time_max_ns;
    }
    b->time_last_ns = time;
    b->lines++;
    b->complete_lines += !line->partial;
    column_append(&b->lengths, bytes);
    if (bytes > 0)
        memcpy(b->text.data + b->headroom + b->text.bytes, line->text.data, bytes);
    b->text.bytes += bytes;
    return 0;
}

uint32_t sl_block_builder_lines(const struct sl_block_builder *b)
{
    return b->lines;
}

static uint64_t first_delta(const struct sl_block_builder *b)
{
    return sl_zigzag((int64_t)((uint64_t)b->time_first_ns - (uint64_t)b->time_min_ns));
}

struct column_sizes {
    size_t runs;
    size_t times;
    size_t before_text; /* table, runs, times, lengths */
};

static struct column_sizes sizes_now(const struct sl_block_builder *b)
{
    struct column_sizes s = {
        .runs = b->runs.bytes + varint_bytes(b->run_kind) + varint_bytes(b->run_lines),
        .times = varint_bytes(first_delta(b)) + b->times.bytes,
    };
    s.before_text = varint_bytes(s.runs) + varint_bytes(s.times) + varint_bytes(b->lengths.bytes) + s.runs +
                    s.times + b->lengths.bytes;
    return s;
}

size_t sl_block_builder_raw_bytes(const struct sl_block_builder *b)
{
    return b->lines > 0 ? sizes_now(b).before_text + b->text.bytes : 0;
}

size_t sl_block_builder_bound(const struct sl_block_builder *b)
{
    size_t names_bytes = b->containers > 0 ? b->names.bytes : 1;
    return SL_BLOCK_HEADER_BYTES + SL_SOURCE_RANGE_BYTES + 1 + (size_t)b->sandbox_bytes + names_bytes +
           sl_block_builder_raw_bytes(b);
}

/* Puts the columns before the text; the payload is contiguous then. */
static struct sl_slice raw_payload(struct sl_block_builder *b)
{
    struct column_sizes s = sizes_now(b);
    assert(s.before_text <= b->headroom);
    uint8_t *start = b->text.data + b->headroom - s.before_text;
    uint8_t *at = put_varint(start, s.runs);
    at = put_varint(at, s.times);
    at = put_varint(at, b->lengths.bytes);
    memcpy(at, b->runs.data, b->runs.bytes);
    at = put_varint(at + b->runs.bytes, b->run_kind);
    at = put_varint(at, b->run_lines);
    at = put_varint(at, first_delta(b));
    memcpy(at, b->times.data, b->times.bytes);
    at += b->times.bytes;
    memcpy(at, b->lengths.data, b->lengths.bytes);
    at += b->lengths.bytes;
    assert(at == b->text.data + b->headroom);
    return sl_slice(start, s.before_text + b->text.bytes);
}

/* Bytes compressed, or 0: it does not get smaller, or there is no memory for LZ4HC's state. */
static size_t compress(struct sl_block_builder *b, struct sl_slice raw, int level, uint8_t *out)
{
    int room = (int)raw.bytes - 1;
    int stored = 0;
    if (level > 0 && b->hc == NULL)
        b->hc = malloc((size_t)LZ4_sizeofStateHC());
    if (level > 0 && b->hc != NULL) {
        stored = LZ4_compress_HC_extStateHC(b->hc, (const char *)raw.data, (char *)out, (int)raw.bytes, room,
                                            level < LZ4HC_CLEVEL_MAX ? level : LZ4HC_CLEVEL_MAX);
    } else {
        LZ4_stream_t state; /* 16 KiB, set up by the call itself: no gain in keeping one */
        stored =
            LZ4_compress_fast_extState(&state, (const char *)raw.data, (char *)out, (int)raw.bytes, room, 1);
    }
    return stored > 0 ? (size_t)stored : 0;
}

static void put_source(uint8_t *key, uint8_t *incarnation, const struct sl_source *source)
{
    memcpy(key, source->key, sizeof source->key);
    sl_store32(incarnation, source->incarnation);
}

static void put_fixed(uint8_t *p, const struct sl_block_header *h)
{
    memset(p, 0, SL_BLOCK_HEADER_BYTES);
    sl_store32(p + BLOCK_AT_MAGIC, SL_BLOCK_MAGIC);
    p[BLOCK_AT_VERSION] = SL_BLOCK_VERSION;
    p[BLOCK_AT_CODEC] = h->codec;
    sl_store16(p + BLOCK_AT_HEADER_BYTES, (uint16_t)h->header_bytes);
    sl_store32(p + BLOCK_AT_STORED_BYTES, h->stored_bytes);
    sl_store32(p + BLOCK_AT_RAW_BYTES, h->raw_bytes);
    sl_store32(p + BLOCK_AT_LINES, h->lines);
    sl_store32(p + BLOCK_AT_TEXT_BYTES, h->text_bytes);
    sl_store16(p + BLOCK_AT_FLAGS, h->flags);
    p[BLOCK_AT_GAP_REASON] = h->gap_reason;
    p[BLOCK_AT_CONTAINERS] = h->containers;
    sl_store64(p + BLOCK_AT_TIME_MIN, (uint64_t)h->time_min_ns);
    sl_store64(p + BLOCK_AT_TIME_MAX, (uint64_t)h->time_max_ns);
    put_source(p + BLOCK_AT_SOURCE_KEY, p + BLOCK_AT_INCARNATION, &h->range.source);
    sl_store64(p + BLOCK_AT_FROM, h->range.from);
    sl_store64(p + BLOCK_AT_TO, h->range.to);
    sl_store64(p + BLOCK_AT_OPEN_FROM, h->open_from);
    sl_store64(p + BLOCK_AT_FINGERPRINT, h->fingerprint);
    sl_store64(p + BLOCK_AT_GAP_LINES, h->gap_lines);
    sl_store16(p + BLOCK_AT_FINGERPRINT_BYTES, h->fingerprint_bytes);
}

/* Second range, sandbox, names. Returns where the payload begins. */
static uint8_t *put_rest(const struct sl_block_builder *b, const struct sl_block_header *facts, uint8_t *p)
{
    if (facts->flags & SL_BLOCK_ALSO) {
        memset(p, 0, SL_SOURCE_RANGE_BYTES);
        put_source(p + ALSO_AT_SOURCE_KEY, p + ALSO_AT_INCARNATION, &facts->also.source);
        sl_store64(p + ALSO_AT_FROM, facts->also.from);
        sl_store64(p + ALSO_AT_TO, facts->also.to);
        p += SL_SOURCE_RANGE_BYTES;
    }
    *p++ = b->sandbox_bytes;
    memcpy(p, b->sandbox, b->sandbox_bytes);
    p += b->sandbox_bytes;
    if (b->containers == 0) {
        *p++ = 0; /* a block always has a name, if an empty one */
        return p;
    }
    memcpy(p, b->names.data, b->names.bytes);
    return p + b->names.bytes;
}

size_t sl_block_builder_encode(struct sl_block_builder *b, const struct sl_block_header *facts, int level,
                               void *out, size_t capacity)
{
    assert(capacity >= sl_block_builder_bound(b) && b->sandbox_bytes > 0);
    uint8_t *block = out;
    uint8_t *payload = put_rest(b, facts, block + SL_BLOCK_HEADER_BYTES);
    struct sl_block_header h = *facts;
    h.codec = SL_CODEC_NONE;
    h.header_bytes = (uint32_t)(payload - block);
    h.stored_bytes = 0;
    h.raw_bytes = 0;
    h.lines = b->lines;
    h.text_bytes = 0;
    h.containers = b->containers > 0 ? b->containers : 1;
    if (b->lines > 0) {
        struct sl_slice raw = raw_payload(b);
        size_t stored = facts->codec == SL_CODEC_LZ4 ? compress(b, raw, level, payload) : 0;
        if (stored > 0) {
            h.codec = SL_CODEC_LZ4;
        } else {
            memcpy(payload, raw.data, raw.bytes);
            stored = raw.bytes;
        }
        h.stored_bytes = (uint32_t)stored;
        h.raw_bytes = (uint32_t)raw.bytes;
        h.text_bytes = (uint32_t)b->text.bytes + b->complete_lines;
        h.time_min_ns = b->time_min_ns;
        h.time_max_ns = b->time_max_ns;
    }
    if ((h.flags & SL_BLOCK_ALSO) == 0)
        h.also = (struct sl_source_range){0};
    assert(block_header_sound(&h)); /* else the caller's facts contradict each other */
    put_fixed(block, &h);
    size_t bytes = sl_block_bytes(&h);
    sl_store32(block + BLOCK_AT_CRC, block_crc(sl_slice(block, bytes)));
    return bytes;
}
