// SPDX-License-Identifier: Apache-2.0
/*
 * Where the fields of a block's fixed part stand, and what makes a header sound: shared by the decoder
 * (block.c) and the builder (block_builder.c), nobody else's business. FORMAT.md tells the same in prose.
 */
#pragma once
#include "block.h"
#include <assert.h>

enum {
    BLOCK_AT_MAGIC = 0,
    BLOCK_AT_VERSION = 4,
    BLOCK_AT_CODEC = 5,
    BLOCK_AT_HEADER_BYTES = 6,
    BLOCK_AT_STORED_BYTES = 8,
    BLOCK_AT_RAW_BYTES = 12,
    BLOCK_AT_LINES = 16,
    BLOCK_AT_TEXT_BYTES = 20,
    BLOCK_AT_CRC = 24,
    BLOCK_AT_FLAGS = 28,
    BLOCK_AT_GAP_REASON = 30,
    BLOCK_AT_CONTAINERS = 31,
    BLOCK_AT_TIME_MIN = 32,
    BLOCK_AT_TIME_MAX = 40,
    BLOCK_AT_SOURCE_KEY = 48,
    BLOCK_AT_FROM = 64,
    BLOCK_AT_TO = 72,
    BLOCK_AT_OPEN_FROM = 80,
    BLOCK_AT_FINGERPRINT = 88,
    BLOCK_AT_GAP_LINES = 96,
    BLOCK_AT_INCARNATION = 104,
    BLOCK_AT_FINGERPRINT_BYTES = 108,
    BLOCK_AT_RESERVED = 110,

    BLOCK_RESERVED_BYTES = SL_BLOCK_HEADER_BYTES - BLOCK_AT_RESERVED,

    /* of the optional second range */
    ALSO_AT_SOURCE_KEY = 0,
    ALSO_AT_FROM = 16,
    ALSO_AT_TO = 24,
    ALSO_AT_INCARNATION = 32,
    ALSO_AT_RESERVED = 36,

    /* fixed part, an id of one byte and an empty name, both behind their length byte */
    BLOCK_HEADER_MIN_BYTES = SL_BLOCK_HEADER_BYTES + 2 + 1,
    BLOCK_HEADER_MAX_BYTES = SL_BLOCK_HEADER_BYTES + SL_SOURCE_RANGE_BYTES + 256 * (1 + SL_ID_MAX_BYTES),
};
static_assert(BLOCK_RESERVED_BYTES == 18, "the fixed part is 128 bytes");
static_assert(ALSO_AT_RESERVED + 4 == SL_SOURCE_RANGE_BYTES, "the second range is 40 bytes");
static_assert(BLOCK_HEADER_MAX_BYTES <= UINT16_MAX, "header_bytes is a u16");
static_assert(SL_BLOCK_MAX_BYTES == BLOCK_HEADER_MAX_BYTES + SL_BLOCK_RAW_MAX_BYTES, "bound of a block");

/* Column `runs`: container << 2 | partial << 1 | stream, then the number of lines. */
enum { RUN_STDERR = 1 << 0, RUN_PARTIAL = 1 << 1, RUN_SHIFT = 2 };

/* Every bound that one field has, alone or beside the others; not the names. */
bool block_header_sound(const struct sl_block_header *h);
uint32_t block_crc(struct sl_slice block);
