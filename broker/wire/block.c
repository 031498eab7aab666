// SPDX-License-Identifier: Apache-2.0
#include "block.h"
#include "block_layout.h"
#include "crc32c.h"
#include <lz4.h>

const char *sl_gap_reason_name(uint8_t reason)
{
    switch (reason) {
    case SL_GAP_RETENTION:
        return "retention";
    case SL_GAP_SOURCE_VANISHED:
        return "source-vanished";
    case SL_GAP_SOURCE_TRUNCATED:
        return "source-truncated";
    case SL_GAP_DAMAGED:
        return "damaged";
    default:
        return NULL;
    }
}

const char *sl_block_answer_text(int answer)
{
    switch (answer) {
    case SL_BLOCK_OK:
        return "ok";
    case SL_BLOCK_TRUNCATED:
        return "the block is cut short";
    case SL_BLOCK_MALFORMED:
        return "not a block, or a field is out of its bounds";
    case SL_BLOCK_NEWER:
        return "the block has a version that this program does not know";
    case SL_BLOCK_BAD_CRC:
        return "the block's checksum is wrong";
    default:
        return "unknown answer";
    }
}

static bool gap_fields_sound(const struct sl_block_header *h)
{
    if ((h->flags & SL_BLOCK_GAP) == 0)
        return h->gap_reason == SL_GAP_NONE && h->gap_lines == 0;
    return h->lines == 0 && sl_gap_reason_name(h->gap_reason) != NULL;
}

static bool size_fields_sound(const struct sl_block_header *h)
{
    if (h->lines == 0)
        return h->raw_bytes == 0 && h->stored_bytes == 0 && h->text_bytes == 0 && h->codec == SL_CODEC_NONE;
    /* Each line takes at least a byte of time and a byte of length; that pays for its newline, too. */
    if (h->lines > SL_BLOCK_LINES_MAX || h->raw_bytes > SL_BLOCK_RAW_MAX_BYTES ||
        h->raw_bytes < 2 * h->lines || h->text_bytes > h->raw_bytes)
        return false;
    return h->codec == SL_CODEC_NONE ? h->stored_bytes == h->raw_bytes
                                     : h->stored_bytes > 0 && h->stored_bytes < h->raw_bytes;
}

bool block_header_sound(const struct sl_block_header *h)
{
    return h->codec <= SL_CODEC_LZ4 && (h->flags & ~SL_BLOCK_FLAGS_ALL) == 0 && gap_fields_sound(h) &&
           size_fields_sound(h) && h->time_min_ns <= h->time_max_ns && h->range.from <= h->range.to &&
           h->open_from <= h->range.to && h->fingerprint_bytes <= SL_FINGERPRINT_MAX_BYTES &&
           h->also.from <= h->also.to && h->containers >= 1;
}

/* The checksum stands for all of the block, its own field read as zeros. */
uint32_t block_crc(struct sl_slice block)
{
    static const uint8_t zeros[4];
    uint32_t crc = sl_crc32c(0, sl_slice(block.data, BLOCK_AT_CRC));
    crc = sl_crc32c(crc, sl_slice(zeros, sizeof zeros));
    return sl_crc32c(crc, sl_slice(block.data + BLOCK_AT_FLAGS, block.bytes - BLOCK_AT_FLAGS));
}

static bool all_zero(const uint8_t *at, size_t bytes)
{
    uint8_t any = 0;
    for (size_t i = 0; i < bytes; i++)
        any |= at[i];
    return any == 0;
}

static void decode_fixed(const uint8_t *p, struct sl_block_header *h)
{
    h->codec = p[BLOCK_AT_CODEC];
    h->gap_reason = p[BLOCK_AT_GAP_REASON];
    h->flags = sl_load16(p + BLOCK_AT_FLAGS);
    h->header_bytes = sl_load16(p + BLOCK_AT_HEADER_BYTES);
    h->stored_bytes = sl_load32(p + BLOCK_AT_STORED_BYTES);
    h->raw_bytes = sl_load32(p + BLOCK_AT_RAW_BYTES);
    h->lines = sl_load32(p + BLOCK_AT_LINES);
    h->text_bytes = sl_load32(p + BLOCK_AT_TEXT_BYTES);
    h->time_min_ns = (int64_t)sl_load64(p + BLOCK_AT_TIME_MIN);
    h->time_max_ns = (int64_t)sl_load64(p + BLOCK_AT_TIME_MAX);
    memcpy(h->range.source.key, p + BLOCK_AT_SOURCE_KEY, sizeof h->range.source.key);
    h->range.source.incarnation = sl_load32(p + BLOCK_AT_INCARNATION);
    h->range.from = sl_load64(p + BLOCK_AT_FROM);
    h->range.to = sl_load64(p + BLOCK_AT_TO);
    h->open_from = sl_load64(p + BLOCK_AT_OPEN_FROM);
    h->fingerprint = sl_load64(p + BLOCK_AT_FINGERPRINT);
    h->fingerprint_bytes = sl_load16(p + BLOCK_AT_FINGERPRINT_BYTES);
    h->gap_lines = sl_load64(p + BLOCK_AT_GAP_LINES);
    h->containers = p[BLOCK_AT_CONTAINERS];
}

/* Second range, sandbox and names; they fill the header to its last byte. */
static bool decode_rest(struct sl_reader *r, struct sl_block_header *h)
{
    if (h->flags & SL_BLOCK_ALSO) {
        struct sl_slice also = sl_read_slice(r, SL_SOURCE_RANGE_BYTES);
        if (r->failed || !all_zero(also.data + ALSO_AT_RESERVED, SL_SOURCE_RANGE_BYTES - ALSO_AT_RESERVED))
            return false;
        memcpy(h->also.source.key, also.data + ALSO_AT_SOURCE_KEY, sizeof h->also.source.key);
        h->also.from = sl_load64(also.data + ALSO_AT_FROM);
        h->also.to = sl_load64(also.data + ALSO_AT_TO);
        h->also.source.incarnation = sl_load32(also.data + ALSO_AT_INCARNATION);
    }
    h->sandbox = sl_read_slice8(r);
    if (r->failed || !sl_sandbox_id_valid(h->sandbox))
        return false;
    h->names = sl_slice(r->at, sl_reader_left(r));
    for (unsigned i = 0; i < h->containers; i++) {
        struct sl_slice name = sl_read_slice8(r);
        if (r->failed || !sl_container_valid(name))
            return false;
    }
    return sl_reader_left(r) == 0;
}

int sl_block_decode_header(struct sl_slice bytes, struct sl_block_header *ret)
{
    const uint8_t *p = bytes.data;
    if (bytes.bytes > BLOCK_AT_VERSION) {
        if (sl_load32(p + BLOCK_AT_MAGIC) != SL_BLOCK_MAGIC || p[BLOCK_AT_VERSION] == 0)
            return SL_BLOCK_MALFORMED;
        if (p[BLOCK_AT_VERSION] > SL_BLOCK_VERSION)
            return SL_BLOCK_NEWER;
    }
    if (bytes.bytes < SL_BLOCK_HEADER_BYTES)
        return SL_BLOCK_TRUNCATED;

    struct sl_block_header h = {0};
    decode_fixed(p, &h);
    if (h.header_bytes < BLOCK_HEADER_MIN_BYTES || h.header_bytes > BLOCK_HEADER_MAX_BYTES ||
        !all_zero(p + BLOCK_AT_RESERVED, BLOCK_RESERVED_BYTES))
        return SL_BLOCK_MALFORMED;
    if (bytes.bytes < h.header_bytes)
        return SL_BLOCK_TRUNCATED;
    struct sl_reader r =
        sl_reader(sl_slice(p + SL_BLOCK_HEADER_BYTES, h.header_bytes - (size_t)SL_BLOCK_HEADER_BYTES));
    if (!decode_rest(&r, &h) || !block_header_sound(&h))
        return SL_BLOCK_MALFORMED;
    *ret = h;
    return SL_BLOCK_OK;
}

int sl_block_check(struct sl_slice bytes, struct sl_block_header *ret)
{
    struct sl_block_header h;
    int answer = sl_block_decode_header(bytes, &h);
    if (answer != SL_BLOCK_OK)
        return answer;
    if (bytes.bytes < sl_block_bytes(&h))
        return SL_BLOCK_TRUNCATED;
    if (block_crc(sl_slice(bytes.data, sl_block_bytes(&h))) != sl_load32(bytes.data + BLOCK_AT_CRC))
        return SL_BLOCK_BAD_CRC;
    *ret = h;
    return SL_BLOCK_OK;
}

struct sl_slice sl_block_container(const struct sl_block_header *header, unsigned index)
{
    assert(index < header->containers);
    const uint8_t *at = header->names.data;
    for (; index > 0; index--)
        at += 1 + *at;
    return sl_slice(at + 1, *at);
}

size_t sl_block_bytes(const struct sl_block_header *header)
{
    return (size_t)header->header_bytes + header->stored_bytes;
}

/* ---- lines ---- */

/* Of a column that open has checked: ends inside it, and in 64 bits. */
static inline uint64_t next_varint(struct sl_reader *column)
{
    uint64_t v = *column->at++;
    if (v < 0x80)
        return v;
    v &= 0x7f;
    for (unsigned shift = 7;; shift += 7) {
        uint64_t byte = *column->at++;
        v |= (byte & 0x7f) << shift;
        if (byte < 0x80)
            return v;
    }
}

/* As sl_read_varint(), in place while no varint can reach the column's end: open is the read path. */
static inline uint64_t checked_varint(struct sl_reader *column)
{
    const uint8_t *at = column->at;
    if (column->end - at < 10)
        return sl_read_varint(column);
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 63; shift += 7) {
        uint64_t byte = *at++;
        v |= (byte & 0x7f) << shift;
        if (byte < 0x80) {
            column->at = at;
            return v;
        }
    }
    return sl_read_varint(column); /* ten bytes, or one that overflows */
}

/* Runs of known containers that cover exactly `lines` lines; tells how many of these end with a newline. */
static bool runs_sound(struct sl_reader runs, const struct sl_block_header *header, uint64_t *ret_newlines)
{
    uint64_t lines = 0;
    uint64_t newlines = 0;
    while (sl_reader_left(&runs) > 0) {
        uint64_t kind = checked_varint(&runs);
        uint64_t run = checked_varint(&runs);
        if (runs.failed || kind >> RUN_SHIFT >= header->containers || run == 0 || run > header->lines - lines)
            return false;
        lines += run;
        newlines += kind & RUN_PARTIAL ? 0 : run;
    }
    *ret_newlines = newlines;
    return lines == header->lines;
}

/* Exactly `lines` times, whose lowest and highest are those of the header. */
static bool times_sound(struct sl_reader times, const struct sl_block_header *header)
{
    uint64_t time = (uint64_t)header->time_min_ns;
    int64_t min = INT64_MAX;
    int64_t max = INT64_MIN;
    for (uint32_t i = 0; i < header->lines; i++) {
        time += (uint64_t)sl_unzigzag(checked_varint(&times));
        min = (int64_t)time < min ? (int64_t)time : min;
        max = (int64_t)time > max ? (int64_t)time : max;
    }
    return !times.failed && sl_reader_left(&times) == 0 && min == header->time_min_ns &&
           max == header->time_max_ns;
}

/* Exactly `lines` lengths, which add up to the text column. */
static bool lengths_sound(struct sl_reader lengths, size_t text_bytes, const struct sl_block_header *header)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < header->lines; i++) {
        uint64_t bytes = checked_varint(&lengths);
        if (bytes > SL_LINE_MAX_BYTES)
            return false;
        sum += bytes;
    }
    return !lengths.failed && sl_reader_left(&lengths) == 0 && sum == text_bytes;
}

/* The raw payload, from the block itself or decompressed into scratch; NULL: it is not raw_bytes long. */
static const uint8_t *raw_payload(struct sl_slice block, const struct sl_block_header *header, void *scratch)
{
    const uint8_t *stored = block.data + header->header_bytes;
    if (header->codec == SL_CODEC_NONE)
        return stored;
    int raw =
        LZ4_decompress_safe((const char *)stored, scratch, (int)header->stored_bytes, (int)header->raw_bytes);
    return raw >= 0 && (uint32_t)raw == header->raw_bytes ? scratch : NULL;
}

int sl_block_lines_open(struct sl_block_lines *it, struct sl_slice block,
                        const struct sl_block_header *header, void *scratch, size_t capacity)
{
    assert(block.bytes >= sl_block_bytes(header));
    assert(header->codec == SL_CODEC_NONE || capacity >= header->raw_bytes);
    if (header->lines == 0) {
        *it = (struct sl_block_lines){.left = 0};
        return SL_BLOCK_OK;
    }
    const uint8_t *raw = raw_payload(block, header, scratch);
    if (raw == NULL)
        return SL_BLOCK_MALFORMED;
    struct sl_reader r = sl_reader(sl_slice(raw, header->raw_bytes));
    uint64_t runs_bytes = sl_read_varint(&r);
    uint64_t times_bytes = sl_read_varint(&r);
    uint64_t lengths_bytes = sl_read_varint(&r);
    struct sl_slice runs = sl_read_slice(&r, runs_bytes);
    struct sl_slice times = sl_read_slice(&r, times_bytes);
    struct sl_slice lengths = sl_read_slice(&r, lengths_bytes);
    if (r.failed)
        return SL_BLOCK_MALFORMED;
    struct sl_block_lines lines = {
        .times = sl_reader(times),
        .lengths = sl_reader(lengths),
        .runs = sl_reader(runs),
        .text = r.at,
        .time_ns = header->time_min_ns,
        .left = header->lines,
    };
    size_t text_bytes = sl_reader_left(&r);
    uint64_t newlines;
    if (!runs_sound(lines.runs, header, &newlines) || text_bytes + newlines != header->text_bytes ||
        !times_sound(lines.times, header) || !lengths_sound(lines.lengths, text_bytes, header))
        return SL_BLOCK_MALFORMED;
    *it = lines;
    return SL_BLOCK_OK;
}

bool sl_block_lines_next(struct sl_block_lines *it, struct sl_line *ret)
{
    if (it->left == 0)
        return false;
    it->left--;
    if (it->run_left == 0) {
        uint64_t kind = next_varint(&it->runs);
        it->container = (uint8_t)(kind >> RUN_SHIFT);
        it->stream = kind & RUN_STDERR ? SL_STDERR : SL_STDOUT;
        it->partial = (kind & RUN_PARTIAL) != 0;
        it->run_left = next_varint(&it->runs);
    }
    it->run_left--;
    it->time_ns = (int64_t)((uint64_t)it->time_ns + (uint64_t)sl_unzigzag(next_varint(&it->times)));
    size_t bytes = next_varint(&it->lengths);
    ret->time_ns = it->time_ns;
    ret->text = sl_slice(it->text, bytes);
    ret->stream = it->stream;
    ret->partial = it->partial;
    ret->container = it->container;
    it->text += bytes;
    return true;
}

/* Few runs, nearly always one: a look at each of them costs nothing. */
static bool any_partial(struct sl_reader runs)
{
    bool any = false;
    while (sl_reader_left(&runs) > 0) {
        any = any || (next_varint(&runs) & RUN_PARTIAL) != 0;
        next_varint(&runs);
    }
    return any;
}

bool sl_block_lines_text(struct sl_block_lines *it, const struct sl_block_header *header, uint8_t *out)
{
    assert(it->left == header->lines);
    if (any_partial(it->runs))
        return false;
    const uint8_t *text = it->text;
    for (uint32_t left = it->left; left > 0; left--) {
        size_t bytes = next_varint(&it->lengths);
        memcpy(out, text, bytes);
        text += bytes;
        out += bytes;
        *out++ = '\n';
    }
    it->text = text;
    it->left = 0;
    return true;
}
