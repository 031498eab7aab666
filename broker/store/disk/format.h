// SPDX-License-Identifier: Apache-2.0
/*
 * Bytes of the disk engine's own records and file names; README.md in this folder is the byte-exact
 * description. Pure; a decoder's answer > 0 (FORMAT_MALFORMED, FORMAT_NEWER) means that nothing was taken.
 */
#pragma once
#include "wire/record.h"

enum { FORMAT_MALFORMED = 1, FORMAT_NEWER = 2 };
enum { FORMAT_VERSION = 1 };

/* First word of an ENGINE record's payload. */
enum format_what { FORMAT_HEADER = 1, FORMAT_STATE = 2, FORMAT_DROPPED = 3 };

/* ---- file names: FIRST-LAST.GENERATION.seg ---- */
enum { SEGMENT_NAME_BYTES = 10 + 1 + 10 + 1 + 10 + 4 + 1 };
struct segment_name {
    uint32_t first; /* range of the numbers whose records it holds; one number unless it was compacted */
    uint32_t last;
    uint32_t generation; /* 0; a compaction's is one more than the greatest of what it replaces */
};
void segment_name_render(const struct segment_name *name, char out[SEGMENT_NAME_BYTES]);
/* False: not a segment's name. */
bool segment_name_parse(const char *text, struct segment_name *ret);
/* True when `a` holds all that `b` holds and replaces it. */
bool segment_name_replaces(const struct segment_name *a, const struct segment_name *b);

/* ---- segment header: the first record of each segment ---- */
enum { SEGMENT_LIMITS_MAX = 1024 };
struct segment_header {
    uint64_t epoch;
    struct segment_name name;
    uint64_t last_birth; /* greatest birth given before this segment */
    int64_t created_ns;
    uint32_t before;  /* number of the segment before it that has records; 0: none, or not known */
    uint32_t dropped; /* what retention had dropped by then: all up to this number */
    uint32_t limits;  /* of unsealed segments: bytes behind which nothing of them was ever acknowledged */
    struct sl_slice limit_pairs; /* u32 number, u32 0, u64 bytes; read with segment_limit_next() */
};
enum { SEGMENT_HEADER_FIXED_BYTES = 56, SEGMENT_LIMIT_BYTES = 16 };
void segment_limit_write(struct sl_writer *w, uint32_t number, uint64_t bytes);
bool segment_limit_next(struct sl_reader *r, uint32_t *ret_number, uint64_t *ret_bytes);
/* A whole record, prefix and payload. `out` has room for SL_RECORD_PREFIX_BYTES + FIXED + limits * LIMIT. */
size_t segment_header_encode(const struct segment_header *header, uint8_t *out);
/* `payload` is an ENGINE record's. */
int segment_header_decode(struct sl_slice payload, struct segment_header *ret);

/* ---- what retention is about to drop: an ENGINE record ---- */
enum { DROPPED_RECORD_BYTES = SL_RECORD_PREFIX_BYTES + 16 };
void dropped_encode(uint32_t number, int64_t now_ns, uint8_t out[DROPPED_RECORD_BYTES]);
/* `payload` is an ENGINE record's. False: it is another one. */
bool dropped_decode(struct sl_slice payload, uint32_t *ret_number);

/* ---- the file `store`: names the store ---- */
enum { STORE_FILE_BYTES = 40 };
void store_file_render(uint64_t epoch, char out[STORE_FILE_BYTES]);
int store_file_parse(struct sl_slice text, uint64_t *ret_epoch);
