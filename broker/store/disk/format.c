// SPDX-License-Identifier: Apache-2.0
#include "format.h"
#include "wire/crc32c.h"
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

static_assert(SEGMENT_HEADER_FIXED_BYTES == 4 + 4 + 8 + 12 + 4 + 8 + 8 + 8, "README: segment header");

void segment_name_render(const struct segment_name *name, char out[SEGMENT_NAME_BYTES])
{
    snprintf(out, SEGMENT_NAME_BYTES, "%010" PRIu32 "-%010" PRIu32 ".%" PRIu32 ".seg", name->first,
             name->last, name->generation);
}

static bool number_parse(const char **at, unsigned least, unsigned most, uint32_t *ret)
{
    uint64_t value = 0;
    unsigned digits = 0;
    for (; **at >= '0' && **at <= '9' && digits < most; digits++, (*at)++)
        value = value * 10 + (uint64_t)(**at - '0');
    *ret = (uint32_t)value;
    return digits >= least && value <= UINT32_MAX;
}

bool segment_name_parse(const char *text, struct segment_name *ret)
{
    struct segment_name name;
    if (!number_parse(&text, 10, 10, &name.first) || *text++ != '-' ||
        !number_parse(&text, 10, 10, &name.last) || *text++ != '.' ||
        !number_parse(&text, 1, 10, &name.generation) || strcmp(text, ".seg") != 0)
        return false;
    if (name.first == 0 || name.last < name.first || (name.generation == 0 && name.first != name.last))
        return false;
    *ret = name;
    return true;
}

bool segment_name_replaces(const struct segment_name *a, const struct segment_name *b)
{
    return a->generation > b->generation && a->first <= b->first && b->last <= a->last;
}

void segment_limit_write(struct sl_writer *w, uint32_t number, uint64_t bytes)
{
    sl_write_u32(w, number);
    sl_write_u32(w, 0);
    sl_write_u64(w, bytes);
}

bool segment_limit_next(struct sl_reader *r, uint32_t *ret_number, uint64_t *ret_bytes)
{
    if (sl_reader_left(r) < SEGMENT_LIMIT_BYTES)
        return false;
    *ret_number = sl_read_u32(r);
    sl_read_u32(r);
    *ret_bytes = sl_read_u64(r);
    return true;
}

size_t segment_header_encode(const struct segment_header *header, uint8_t *out)
{
    assert(header->limits <= SEGMENT_LIMITS_MAX);
    assert(header->limit_pairs.bytes == header->limits * (size_t)SEGMENT_LIMIT_BYTES);
    size_t payload_bytes = SEGMENT_HEADER_FIXED_BYTES + header->limit_pairs.bytes;
    uint8_t *payload = out + SL_RECORD_PREFIX_BYTES;
    struct sl_writer w = sl_writer(payload, payload_bytes);
    sl_write_u32(&w, FORMAT_HEADER);
    sl_write_u32(&w, FORMAT_VERSION);
    sl_write_u64(&w, header->epoch);
    sl_write_u32(&w, header->name.first);
    sl_write_u32(&w, header->name.last);
    sl_write_u32(&w, header->name.generation);
    sl_write_u32(&w, header->limits);
    sl_write_u64(&w, header->last_birth);
    sl_write_i64(&w, header->created_ns);
    sl_write_u32(&w, header->before);
    sl_write_u32(&w, header->dropped);
    sl_write_slice(&w, header->limit_pairs);
    assert(!w.failed && w.bytes == payload_bytes);
    struct sl_record record = {
        .kind = SL_RECORD_ENGINE,
        .payload_bytes = (uint32_t)payload_bytes,
        .floor_ns = INT64_MIN,
        .commit_ns = header->created_ns,
        .payload_crc = sl_crc32c(0, sl_slice(payload, payload_bytes)),
    };
    sl_record_encode_prefix(&record, out);
    return SL_RECORD_PREFIX_BYTES + payload_bytes;
}

int segment_header_decode(struct sl_slice payload, struct segment_header *ret)
{
    struct sl_reader r = sl_reader(payload);
    uint32_t what = sl_read_u32(&r);
    uint32_t version = sl_read_u32(&r);
    if (r.failed || what != FORMAT_HEADER)
        return FORMAT_MALFORMED;
    if (version != FORMAT_VERSION)
        return version > FORMAT_VERSION ? FORMAT_NEWER : FORMAT_MALFORMED;
    struct segment_header header = {.epoch = sl_read_u64(&r)};
    header.name.first = sl_read_u32(&r);
    header.name.last = sl_read_u32(&r);
    header.name.generation = sl_read_u32(&r);
    header.limits = sl_read_u32(&r);
    header.last_birth = sl_read_u64(&r);
    header.created_ns = sl_read_i64(&r);
    header.before = sl_read_u32(&r);
    header.dropped = sl_read_u32(&r);
    if (r.failed || header.limits > SEGMENT_LIMITS_MAX ||
        sl_reader_left(&r) != header.limits * (size_t)SEGMENT_LIMIT_BYTES)
        return FORMAT_MALFORMED;
    header.limit_pairs = sl_read_slice(&r, sl_reader_left(&r));
    *ret = header;
    return 0;
}

void dropped_encode(uint32_t number, int64_t now_ns, uint8_t out[DROPPED_RECORD_BYTES])
{
    uint8_t *payload = out + SL_RECORD_PREFIX_BYTES;
    struct sl_writer w = sl_writer(payload, DROPPED_RECORD_BYTES - SL_RECORD_PREFIX_BYTES);
    sl_write_u32(&w, FORMAT_DROPPED);
    sl_write_u32(&w, FORMAT_VERSION);
    sl_write_u32(&w, number);
    sl_write_u32(&w, 0);
    assert(!w.failed && w.bytes == w.capacity);
    struct sl_record record = {
        .kind = SL_RECORD_ENGINE,
        .payload_bytes = (uint32_t)w.bytes,
        .floor_ns = INT64_MIN,
        .commit_ns = now_ns,
        .payload_crc = sl_crc32c(0, sl_slice(payload, w.bytes)),
    };
    sl_record_encode_prefix(&record, out);
}

bool dropped_decode(struct sl_slice payload, uint32_t *ret_number)
{
    if (payload.bytes < 12 || sl_load32(payload.data) != FORMAT_DROPPED ||
        sl_load32(payload.data + 4) != FORMAT_VERSION)
        return false;
    *ret_number = sl_load32(payload.data + 8);
    return true;
}

void store_file_render(uint64_t epoch, char out[STORE_FILE_BYTES])
{
    snprintf(out, STORE_FILE_BYTES, "sandlog store %d\nepoch %016" PRIx64 "\n", FORMAT_VERSION, epoch);
}

int store_file_parse(struct sl_slice text, uint64_t *ret_epoch)
{
    char copy[STORE_FILE_BYTES];
    if (text.bytes >= sizeof copy || text.bytes == 0)
        return FORMAT_MALFORMED;
    memcpy(copy, text.data, text.bytes);
    copy[text.bytes] = 0;
    int version, used = 0;
    if (sscanf(copy, "sandlog store %9d\n%n", &version, &used) != 1)
        return FORMAT_MALFORMED;
    if (version > FORMAT_VERSION)
        return FORMAT_NEWER;
    uint64_t epoch;
    char again[STORE_FILE_BYTES];
    if (sscanf(copy + used, "epoch %16" SCNx64, &epoch) != 1)
        return FORMAT_MALFORMED;
    store_file_render(epoch, again);
    if (strcmp(again, copy) != 0)
        return FORMAT_MALFORMED;
    *ret_epoch = epoch;
    return 0;
}
