// SPDX-License-Identifier: Apache-2.0
/*
 * The index of a sealed segment: behind its records stands, for each sandbox that has a record in it, an
 * ENGINE record with the sandbox's whole state as of the segment's end; then the parts (per sandbox, its
 * entries in this segment) and a trailer. So a start reads states and no data. README.md has the bytes.
 *
 * Decoders are pure: > 0 is FORMAT_MALFORMED or FORMAT_NEWER.
 */
#pragma once
#include "format.h"
#include "sandbox.h"

enum {
    STATE_FIXED_BYTES = 148,
    STATE_SOURCE_BYTES = 48,
    STATE_MOST_BYTES = 1 << 20, /* what does not fit a record of that size is not sealed */
    TRAILER_BYTES = 64,
    TRAILER_MAGIC = 0x31544c53, /* "SLT1" */
};

/* What a segment holds of a sandbox: where its part is. */
struct part {
    uint64_t offset; /* in the file */
    uint64_t first_seq;
    int64_t ceiling_ns;
    uint64_t stored_bytes; /* of the records */
    uint32_t count;        /* entries */
    uint32_t text_bytes;
    uint32_t crc;
};

struct state {
    uint64_t birth, last_seq, kept_from, lost;
    int64_t first_time_ns, last_time_ns, created_ns, floor_ns;
    uint64_t text_bytes;
    uint32_t version;
    int32_t exit_code;
    uint8_t state;
    bool alive, has_exit;
    struct part part;
    struct sl_slice id, host, pairs, names;
    uint16_t labels;
    uint8_t name_count;
    uint16_t source_count;
    struct sl_slice sources; /* read with state_source_next() */
};

/* Bytes of the record that holds it. */
size_t state_record_bytes(const struct sandbox *b);
/* A whole record. */
size_t state_encode(const struct sandbox *b, const struct part *part, int64_t now_ns, uint8_t *out);
/* Writes another part and kept_from into such a record. */
void state_patch(uint8_t *record, size_t bytes, uint64_t kept_from, const struct part *part);
/* `payload` is an ENGINE record's. */
int state_decode(struct sl_slice payload, struct state *ret);
bool state_source_next(struct sl_reader *r, struct source *ret);

/*
 * Makes the sandbox what the state says. With `segment`, its part becomes the newest extent. ret->ended: an
 * older life was replaced. Faults: -ENOMEM.
 */
int table_apply_state(struct table *t, const struct state *state, struct segment *segment,
                      struct applied *ret);

struct trailer {
    uint64_t states_offset; /* = where the records end */
    uint64_t states_bytes;
    uint64_t parts_bytes;
    uint32_t states;
    uint32_t before, dropped; /* as in a header, as of now */
    int64_t oldest_commit_ns;
    int64_t newest_commit_ns;
};
void trailer_encode(const struct trailer *trailer, uint8_t out[TRAILER_BYTES]);
/* The last bytes of a file of `file_bytes`. */
int trailer_decode(const uint8_t in[TRAILER_BYTES], uint64_t file_bytes, struct trailer *ret);
