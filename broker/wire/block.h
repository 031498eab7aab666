// SPDX-License-Identifier: Apache-2.0
/*
 * The block: consecutive lines of ONE sandbox, encoded once, in the collector (DESIGN 2.1). Its bytes are the
 * message on the wire, the record on disk and what the gateway receives; FORMAT.md is the byte-exact
 * description.
 *
 * Encoding: a builder gathers lines into columns in memory of its own (bounded by SL_BLOCK_RAW_MAX_BYTES,
 * allocated once, reused) and writes the compressed block straight into the caller's room. Decoding is pure
 * and bounded: header first (every length checked against the slice and the limits above before anything
 * trusts it), then the payload's CRC, then the columns. After a successful decode, code may trust every field
 * and every line.
 *
 * Lines carry no newline: a complete line had one, a `partial` line had none (yet). No thread rules beyond
 * "one builder, one thread".
 */
#pragma once
#include "wire/sandbox_id.h"
#include "wire/slice.h"

enum {
    SL_BLOCK_MAGIC = 0x31424c53, /* "SLB1" */
    SL_BLOCK_VERSION = 1,
    SL_BLOCK_HEADER_BYTES = 128, /* the fixed part */
    SL_SOURCE_RANGE_BYTES = 40,  /* the optional second range */
    SL_LINE_MAX_BYTES = 1 << 20, /* one line's text in a block; longer ones are split into pieces */
    SL_BLOCK_RAW_MAX_BYTES = (1 << 20) + (1 << 16), /* all columns, uncompressed */
    SL_BLOCK_LINES_MAX = 65536,
    SL_BLOCK_CONTAINERS_MAX = 255,
    SL_FINGERPRINT_MAX_BYTES = 1024,
    /* upper bound of a whole encoded block: fixed part, range, 256 names of 128 bytes + length,
       incompressible columns */
    SL_BLOCK_MAX_BYTES = 128 + 40 + 256 * 129 + SL_BLOCK_RAW_MAX_BYTES,
};

enum sl_codec { SL_CODEC_NONE = 0, SL_CODEC_LZ4 = 1 };
enum sl_stream { SL_STDOUT = 0, SL_STDERR = 1 };

/* Why lines are missing (API.md). Stored as one byte. */
enum sl_gap_reason {
    SL_GAP_NONE = 0,
    SL_GAP_RETENTION = 1,
    SL_GAP_SOURCE_VANISHED = 2,
    SL_GAP_SOURCE_TRUNCATED = 3,
    SL_GAP_DAMAGED = 4,
};
#define SL_GAP_LINES_UNKNOWN UINT64_MAX
/* "retention", "source-vanished", "source-truncated", "damaged"; NULL for anything else. */
const char *sl_gap_reason_name(uint8_t reason);

enum sl_block_flags {
    SL_BLOCK_GAP = 1 << 0,   /* no lines: what is missing here, `gap_reason` and `gap_lines` */
    SL_BLOCK_CLOSE = 1 << 1, /* the source is read to its end and gone: its place may be forgotten */
    SL_BLOCK_ALSO = 1 << 2,  /* `also` is present: the first line of this block began in that source */
    SL_BLOCK_FLAGS_ALL = SL_BLOCK_GAP | SL_BLOCK_CLOSE | SL_BLOCK_ALSO,
};

/*
 * A source: one file's one life. `key` is a hash over host and file identity (device, inode, birth time,
 * generation), `incarnation` counts its lives (a truncated file starts a new one at 0). Offsets are bytes of
 * the file.
 */
struct sl_source {
    uint8_t key[16];
    uint32_t incarnation;
};

struct sl_source_range {
    struct sl_source source;
    uint64_t from;
    uint64_t to;
};

struct sl_block_header {
    uint8_t codec;
    uint8_t gap_reason;
    uint16_t flags;
    uint32_t header_bytes; /* fixed part, range and names */
    uint32_t stored_bytes; /* payload as stored; the whole block is header_bytes + stored_bytes */
    uint32_t raw_bytes;    /* payload uncompressed */
    uint32_t lines;
    uint32_t
        text_bytes; /* of all lines with the newlines that were there: the size of its text/plain rendering */
    int64_t time_min_ns; /* of the lines; of a gap: when it was noticed */
    int64_t time_max_ns;
    struct sl_source_range
        range;          /* what this block consumes: accepted only if the source stands at range.from */
    uint64_t open_from; /* <= range.to: where the oldest still unfinished line begins; = range.to when none */
    uint64_t fingerprint;        /* XXH3-64 of the source's first fingerprint_bytes bytes */
    uint16_t fingerprint_bytes;  /* 0 to SL_FINGERPRINT_MAX_BYTES; 0: none given */
    uint64_t gap_lines;          /* SL_GAP_LINES_UNKNOWN when it can't be known; 0 unless SL_BLOCK_GAP */
    struct sl_source_range also; /* zeros unless SL_BLOCK_ALSO */
    struct sl_slice sandbox;     /* borrowed from the decoded bytes, as are the names below */
    uint8_t containers;          /* number of names, >= 1; a name may be empty */
    struct sl_slice names;       /* `containers` times: length byte, bytes; read with sl_block_container() */
};

enum sl_block_answer {
    SL_BLOCK_OK = 0,
    SL_BLOCK_TRUNCATED = 1, /* the slice ends before the block does */
    SL_BLOCK_MALFORMED = 2, /* not a block, or a field out of its bounds */
    SL_BLOCK_NEWER = 3,     /* a version this program does not know */
    SL_BLOCK_BAD_CRC = 4,
};
const char *sl_block_answer_text(int answer);

/* Reads and checks the header. `bytes` may go on after the block. */
int sl_block_decode_header(struct sl_slice bytes, struct sl_block_header *ret);
/* decode_header, whole block present, and CRC32C of all of it. */
int sl_block_check(struct sl_slice bytes, struct sl_block_header *ret);
/* Name number `index` (< header->containers). */
struct sl_slice sl_block_container(const struct sl_block_header *header, unsigned index);
/* Whole size of the block: header_bytes + stored_bytes. */
size_t sl_block_bytes(const struct sl_block_header *header);

struct sl_line {
    int64_t time_ns;
    struct sl_slice text; /* without newline */
    uint8_t stream;       /* enum sl_stream */
    bool partial; /* the process had written no newline here: the next line of that stream goes on with it */
    uint8_t container; /* index for sl_block_container() */
};

/*
 * The lines of a checked block, in order, without an allocation per line.
 *   struct sl_block_lines it;
 *   if (sl_block_lines_open(&it, block, &header, scratch, capacity) != 0) ...damaged
 *   while (sl_block_lines_next(&it, &line)) ...
 * `scratch` must hold header.raw_bytes and live as long as the lines (unused for SL_CODEC_NONE, whose lines
 * point into the block). open decompresses and checks that the columns hold exactly header.lines lines and
 * text_bytes: > 0 is SL_BLOCK_MALFORMED. After it, next can't fail.
 */
struct sl_block_lines {
    struct sl_reader times;
    struct sl_reader lengths;
    struct sl_reader runs;
    const uint8_t *text;
    int64_t time_ns;
    uint64_t run_left;
    uint32_t left;
    uint8_t container; /* of the run, as are the two below */
    uint8_t stream;
    bool partial;
};
int sl_block_lines_open(struct sl_block_lines *it, struct sl_slice block,
                        const struct sl_block_header *header, void *scratch, size_t capacity);
bool sl_block_lines_next(struct sl_block_lines *it, struct sl_line *ret);
/*
 * All of the block's lines as text/plain at once, into header.text_bytes bytes at `out`; `it` is as opened,
 * and at its end afterwards. Only if no line is partial (false: nothing was written, and `it` is as it was).
 */
bool sl_block_lines_text(struct sl_block_lines *it, const struct sl_block_header *header, uint8_t *out);

/*
 * Building. Faults: -ENOMEM. A builder that has no lines encodes a block without lines (a gap or a plain
 * advance of the source's offset), which is legal.
 */
struct sl_block_builder;
int sl_block_builder_new(struct sl_block_builder **ret);
void sl_block_builder_free(struct sl_block_builder *b);
/* Forgets lines and names; keeps the memory. `sandbox` is valid, copied. */
void sl_block_builder_reset(struct sl_block_builder *b, struct sl_slice sandbox);
/*
 * Adds a line, copying its text. `container` is the line's container name (valid, may be empty).
 * > 0: SL_BUILDER_FULL, nothing added: raw bytes, lines or names would pass their limit.
 */
enum { SL_BUILDER_FULL = 1 };
int sl_block_builder_add(struct sl_block_builder *b, const struct sl_line *line, struct sl_slice container);
uint32_t sl_block_builder_lines(const struct sl_block_builder *b);
size_t sl_block_builder_raw_bytes(const struct sl_block_builder *b);
/* Most bytes that encode can need now. */
size_t sl_block_builder_bound(const struct sl_block_builder *b);
/*
 * Writes the block into out[0..capacity). Taken from `facts`: codec (wanted; stored raw when LZ4 does not
 * shrink it), flags, gap_*, range, open_from, fingerprint*, also, and time_min/max if there are no lines. The
 * rest is the builder's. `level` 0: LZ4 fast; 1 to 12: LZ4HC level. Capacity must be >= bound. Returns the
 * bytes written.
 */
size_t sl_block_builder_encode(struct sl_block_builder *b, const struct sl_block_header *facts, int level,
                               void *out, size_t capacity);
