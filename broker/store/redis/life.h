// SPDX-License-Identifier: Apache-2.0
/*
 * What Redis holds of one sandbox beside its records, in memory: the state (one binary field of its hash) and
 * its sources (a field each), how blocks, changes and deletions are judged against it and change it. Judging
 * changes the copy at once; whoever could not write it to Redis throws the copy away and loads it again.
 *
 * Any thread, one at a time. Faults: -ENOMEM; the copy is then to be thrown away.
 */
#pragma once
#include "../store.h"

enum { TOKEN_BYTES = 16 };

struct life_source {
    uint8_t key[16];
    uint64_t offset, open_from, fingerprint;
    uint32_t incarnation;
    uint16_t fingerprint_bytes;
    uint8_t bits;            /* enum sl_source_flags */
    bool dirty;              /* not yet in Redis */
    uint64_t durable_offset; /* as Redis is known to have it */
    uint32_t durable_incarnation;
};

struct text {
    uint8_t *data;
    size_t bytes;
};

struct life {
    uint8_t id_bytes;
    char id[SL_ID_MAX_BYTES];
    bool known; /* Redis has a hash of it; false: all below is zero */
    bool alive;
    bool has_exit;
    uint8_t state;
    uint8_t names;
    uint16_t labels;
    int32_t exit_code;
    uint32_t version;
    uint32_t sub;               /* entries of the stream at last_seq + 1: gaps behind the last line */
    uint8_t token[TOKEN_BYTES]; /* of the last write: what the next one has to find */
    uint64_t change;            /* writes so far */
    uint64_t birth, last_seq, kept_from, lost, text_bytes, kept_bytes;
    int64_t first_time_ns, last_time_ns, created_ns, floor_ns;
    int64_t line_commit_ns; /* of the record that holds the last line: what it is known by */
    struct text host, pairs, container_names;
    struct life_source *sources;
    size_t source_count;
};

void life_init(struct life *l, struct sl_slice id);
/* Frees what it owns; it is then as after life_init(). */
void life_clear(struct life *l);
struct sl_slice life_id(const struct life *l);

enum { SOURCE_FIELD_BYTES = 17, SOURCE_VALUE_BYTES = 31 };
/* Bytes that life_encode() writes. */
size_t life_bytes(const struct life *l);
void life_encode(const struct life *l, uint8_t *out);
void life_source_field(const struct life_source *s, uint8_t out[SOURCE_FIELD_BYTES]);
void life_source_encode(const struct life_source *s, uint8_t out[SOURCE_VALUE_BYTES]);
/* > 0 (LIFE_MALFORMED): not a state, or a newer version's. */
enum { LIFE_MALFORMED = 1 };
int life_decode(struct life *l, struct sl_slice state, struct sl_slice token);
int life_decode_source(struct life *l, struct sl_slice field, struct sl_slice value);

/*
 * 0: taken, *ret_record is the block's prefix; *ret_stored: it is to be put into the stream, at
 * `first_seq`-`*ret_sub`. > 0 (LIFE_NOTHING): nothing is to be written, the verdict says why.
 */
enum { LIFE_NOTHING = 1 };
int life_take_block(struct life *l, struct store_item *item, int64_t commit_ns, uint64_t birth,
                    struct sl_record *ret_record, bool *ret_stored, uint32_t *ret_sub);
int life_take_change(struct life *l, const struct sl_change *change, int64_t commit_ns, uint64_t birth);
int life_take_delete(struct life *l);

/* All of it has been written. */
void life_settle(struct life *l);

void life_place(const struct life *l, struct sl_place *ret);
/* Borrows from `l`. */
void life_info(const struct life *l, struct sl_info *ret);
/* The verdict of what was not written: where the source stands. */
void life_refuse(const struct life *l, struct store_item *item);
