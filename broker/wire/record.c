// SPDX-License-Identifier: Apache-2.0
#include "record.h"
#include "crc32c.h"
#include <assert.h>

enum {
    AT_MAGIC = 0,
    AT_VERSION = 4,
    AT_KIND = 5,
    AT_RESERVED_A = 6,
    AT_PAYLOAD_BYTES = 8,
    AT_PAYLOAD_CRC = 12,
    AT_FIRST_SEQ = 16,
    AT_FLOOR = 24,
    AT_COMMIT = 32,
    AT_RESERVED_B = 40,
    AT_PREFIX_CRC = 44,
};
static_assert(AT_PREFIX_CRC + 4 == SL_RECORD_PREFIX_BYTES, "the prefix is 48 bytes and ends with its CRC");

/* Lines are numbered from 1; a block carries its own checksum. */
static bool sound(const struct sl_record *r)
{
    if (r->kind < SL_RECORD_BLOCK || r->kind > SL_RECORD_ENGINE || r->payload_bytes > SL_BLOCK_MAX_BYTES)
        return false;
    return r->kind != SL_RECORD_BLOCK ||
           (r->payload_crc == 0 && r->first_seq >= 1 && r->payload_bytes > SL_BLOCK_HEADER_BYTES);
}

void sl_record_encode_prefix(const struct sl_record *record, uint8_t out[SL_RECORD_PREFIX_BYTES])
{
    assert(sound(record));
    memset(out, 0, SL_RECORD_PREFIX_BYTES);
    sl_store32(out + AT_MAGIC, SL_RECORD_MAGIC);
    out[AT_VERSION] = SL_RECORD_VERSION;
    out[AT_KIND] = record->kind;
    sl_store32(out + AT_PAYLOAD_BYTES, record->payload_bytes);
    sl_store32(out + AT_PAYLOAD_CRC, record->payload_crc);
    sl_store64(out + AT_FIRST_SEQ, record->first_seq);
    sl_store64(out + AT_FLOOR, (uint64_t)record->floor_ns);
    sl_store64(out + AT_COMMIT, (uint64_t)record->commit_ns);
    sl_store32(out + AT_PREFIX_CRC, sl_crc32c(0, sl_slice(out, AT_PREFIX_CRC)));
}

int sl_record_decode_prefix(struct sl_slice bytes, struct sl_record *ret)
{
    const uint8_t *p = bytes.data;
    if (bytes.bytes > AT_VERSION) {
        if (sl_load32(p + AT_MAGIC) != SL_RECORD_MAGIC || p[AT_VERSION] == 0)
            return SL_RECORD_MALFORMED;
        if (p[AT_VERSION] > SL_RECORD_VERSION)
            return SL_RECORD_NEWER;
    }
    if (bytes.bytes < SL_RECORD_PREFIX_BYTES)
        return SL_RECORD_TRUNCATED;
    if (sl_crc32c(0, sl_slice(p, AT_PREFIX_CRC)) != sl_load32(p + AT_PREFIX_CRC))
        return SL_RECORD_BAD_CRC;

    struct sl_record r = {
        .kind = p[AT_KIND],
        .payload_bytes = sl_load32(p + AT_PAYLOAD_BYTES),
        .payload_crc = sl_load32(p + AT_PAYLOAD_CRC),
        .first_seq = sl_load64(p + AT_FIRST_SEQ),
        .floor_ns = (int64_t)sl_load64(p + AT_FLOOR),
        .commit_ns = (int64_t)sl_load64(p + AT_COMMIT),
    };
    if (!sound(&r) || sl_load16(p + AT_RESERVED_A) != 0 || sl_load32(p + AT_RESERVED_B) != 0)
        return SL_RECORD_MALFORMED;
    *ret = r;
    return SL_RECORD_OK;
}

/* A block whose own bounds are right, but which is not what the prefix says, is malformed as a record. */
static int check_block(const struct sl_record *r, struct sl_slice payload, struct sl_block_header *ret)
{
    struct sl_block_header h;
    switch (sl_block_check(payload, &h)) {
    case SL_BLOCK_OK:
        break;
    case SL_BLOCK_NEWER:
        return SL_RECORD_NEWER;
    case SL_BLOCK_BAD_CRC:
        return SL_RECORD_BAD_CRC;
    default:
        return SL_RECORD_MALFORMED;
    }
    if (sl_block_bytes(&h) != payload.bytes || r->first_seq > UINT64_MAX - h.lines)
        return SL_RECORD_MALFORMED;
    *ret = h;
    return SL_RECORD_OK;
}

int sl_record_check(struct sl_slice bytes, struct sl_record *ret, struct sl_slice *ret_payload,
                    struct sl_block_header *ret_header)
{
    struct sl_record r;
    int answer = sl_record_decode_prefix(bytes, &r);
    if (answer != SL_RECORD_OK)
        return answer;
    if (bytes.bytes - SL_RECORD_PREFIX_BYTES < r.payload_bytes)
        return SL_RECORD_TRUNCATED;
    struct sl_slice payload = sl_slice(bytes.data + SL_RECORD_PREFIX_BYTES, r.payload_bytes);
    if (r.kind == SL_RECORD_BLOCK)
        answer = check_block(&r, payload, ret_header);
    else if (sl_crc32c(0, payload) != r.payload_crc)
        answer = SL_RECORD_BAD_CRC;
    if (answer != SL_RECORD_OK)
        return answer;
    *ret = r;
    *ret_payload = payload;
    return SL_RECORD_OK;
}

/* A clock at the end of time has no room for the slack. */
static int64_t latest(int64_t commit_ns)
{
    return commit_ns > INT64_MAX - SL_QUERY_SLACK_NS ? INT64_MAX : commit_ns + SL_QUERY_SLACK_NS;
}

int64_t sl_query_time(int64_t before_ns, int64_t time_ns, int64_t commit_ns)
{
    int64_t limit = latest(commit_ns);
    int64_t bounded = time_ns < limit ? time_ns : limit;
    return bounded > before_ns ? bounded : before_ns;
}

int64_t sl_query_ceiling(const struct sl_record *record, const struct sl_block_header *header)
{
    if (header->lines == 0)
        return record->floor_ns;
    return sl_query_time(record->floor_ns, header->time_max_ns, record->commit_ns);
}
