// SPDX-License-Identifier: Apache-2.0
/*
 * The record: what the broker makes of a block when it appends it. A fixed prefix (sequence number of the
 * first line, query-time floor, commit time), then the payload: the collector's block untouched, or one of
 * the small records that make the log the whole database. Prefix + block is also, byte for byte, what readers
 * get over the query link.
 *
 * Pure; decode checks every bound. FORMAT.md is the byte-exact description.
 */
#pragma once
#include "wire/block.h"

enum {
    SL_RECORD_MAGIC = 0x31524c53, /* "SLR1" */
    SL_RECORD_VERSION = 1,
    SL_RECORD_PREFIX_BYTES = 48,
    SL_RECORD_MAX_BYTES = SL_RECORD_PREFIX_BYTES + SL_BLOCK_MAX_BYTES,
};

enum sl_record_kind {
    SL_RECORD_BLOCK = 1,  /* payload: a block (also a gap: a block without lines) */
    SL_RECORD_CHANGE = 2, /* payload: struct sl_change: state, labels, host of a sandbox; creates it if new */
    SL_RECORD_DELETE = 3, /* payload: the sandbox id */
    SL_RECORD_CONSUMER = 4, /* payload: place of an export consumer */
    SL_RECORD_ENGINE = 5,   /* payload: the engine's own (segment header, source snapshot, index footer) */
};

struct sl_record {
    uint8_t kind;
    uint32_t payload_bytes;
    uint64_t first_seq; /* BLOCK: of its first line; of a block without lines: of the line that comes next */
    int64_t floor_ns;   /* BLOCK: query time before its first line (INT64_MIN at the start) */
    int64_t commit_ns;  /* broker's clock when it was appended */
    uint32_t payload_crc; /* CRC32C of the payload; 0 for a BLOCK, which carries its own */
};

enum sl_record_answer {
    SL_RECORD_OK = 0,
    SL_RECORD_TRUNCATED = 1,
    SL_RECORD_MALFORMED = 2,
    SL_RECORD_NEWER = 3,
    SL_RECORD_BAD_CRC = 4,
};

void sl_record_encode_prefix(const struct sl_record *record, uint8_t out[SL_RECORD_PREFIX_BYTES]);
/* Checks magic, version, the prefix's own CRC and bounds; the payload may be absent from `bytes`. */
int sl_record_decode_prefix(struct sl_slice bytes, struct sl_record *ret);
/*
 * Prefix and payload both present and their CRCs right; for a BLOCK the block is checked too and *ret_header
 * filled. ret_payload borrows from `bytes`; the record takes SL_RECORD_PREFIX_BYTES + payload_bytes.
 */
int sl_record_check(struct sl_slice bytes, struct sl_record *ret, struct sl_slice *ret_payload,
                    struct sl_block_header *ret_header);

/*
 * Query time (DESIGN 3): the running maximum, along a sandbox's lines, of min(time, commit + 5 s). Never goes
 * back. sl_query_time: of the next line, given the value before it. sl_query_ceiling: of a block's last line,
 * without looking inside it.
 */
#define SL_QUERY_SLACK_NS (INT64_C(5) * 1000000000)
int64_t sl_query_time(int64_t before_ns, int64_t time_ns, int64_t commit_ns);
int64_t sl_query_ceiling(const struct sl_record *record, const struct sl_block_header *header);
