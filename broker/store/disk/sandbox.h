// SPDX-License-Identifier: Apache-2.0
/*
 * What the engine knows of each sandbox, and the one way it changes: table_apply_*(), the same for a record
 * that has just become durable and for one that recovery reads, so that both lead to the same state (README,
 * invariant 3). Beside the durable state a sandbox with something in flight has a `pending` one, kept by
 * judge.c.
 *
 * Home thread. Faults: -ENOMEM only; a record whose application failed with it leaves the table as it was.
 */
#pragma once
#include "details.h"
#include "wire/message.h"

struct segment;
struct hot_list;

/* Where one record stands: as it is in an index part on disk (32 bytes). Also of gaps (lines 0). */
struct entry {
    uint64_t first_seq;
    int64_t ceiling_ns; /* query time of its last line */
    uint32_t offset;    /* in the segment */
    uint32_t bytes;     /* prefix and payload */
    uint32_t lines;
    uint32_t text_bytes;
};

/* What one segment holds of one sandbox: `count` entries, in memory or as a part of the segment's index. */
struct extent {
    struct segment *segment;
    uint64_t first_seq;
    int64_t ceiling_ns; /* of the last entry */
    union {
        struct entry *entries; /* capacity > 0 */
        uint64_t part_offset;  /* capacity 0 */
    };
    uint32_t count;
    uint32_t capacity;
    uint32_t part_crc;
    uint32_t text_bytes; /* of its blocks that are kept, as far as is known */
};

enum source_bits {
    SOURCE_BURIED = SL_SOURCE_BURIED,
    SOURCE_CLOSED = SL_SOURCE_CLOSED,
    SOURCE_DURABLE = 1 << 2, /* clear: known only to the judge */
};
struct source {
    uint8_t key[16];
    uint64_t offset;
    uint64_t open_from;
    uint64_t fingerprint;
    uint32_t incarnation;
    uint16_t fingerprint_bytes;
    uint8_t bits;
};

/* A source as it will be once all in flight is durable. */
struct pending_source {
    uint64_t offset;
    uint32_t incarnation;
    uint8_t bits;
};

struct pending {
    struct sandbox *sandbox;
    struct pending *next;
    struct pending **link;
    uint64_t last_seq;
    int64_t floor_ns;
    uint32_t in_flight; /* items */
    bool alive;
    uint16_t capacity;
    struct pending_source *sources; /* as many as the sandbox has, in its order */
};

/* One allocation while it has one source and one extent, as idle ones do: see README on memory. */
struct sandbox {
    struct sandbox
        *next; /* of the same bucket; `hash` beside it, so that a walk touches no more of the others */
    uint32_t hash;
    uint32_t version;
    uint64_t birth; /* of the present life, or of the last one */
    uint64_t last_seq;
    uint64_t kept_from; /* lines below it were given up to retention */
    uint64_t lost;
    int64_t first_time_ns;
    int64_t last_time_ns;
    int64_t created_ns;
    int64_t floor_ns;
    uint64_t text_bytes;      /* ever */
    uint64_t kept_text_bytes; /* in the extents */
    struct details *details;
    struct source *sources; /* &one_source, or malloc'd */
    struct extent *extents; /* ascending; &one_extent, or malloc'd */
    struct hot_list *hot;
    struct pending *pending;
    struct source one_source;
    struct extent one_extent;
    uint32_t extent_count;
    uint32_t state_segment; /* number of the segment with its newest record: where its state is saved */
    int32_t exit_code;
    uint16_t source_count;
    uint8_t state;
    uint8_t id_bytes;
    bool alive; /* false: deleted, or known to the judge only */
    bool has_exit;
    bool durable; /* some record of it is */
    char id[];
};

struct table {
    struct details_set details;
    struct sandbox **buckets;
    size_t mask;
    size_t count;
    struct sandbox *
        *by_birth; /* alive ones, ascending birth; while it is loading all, in the order they came */
    size_t alive;
    size_t alive_capacity;
    uint64_t last_birth; /* the greatest ever given */
    bool loading;
};

int table_init(struct table *t);
void table_fini(struct table *t);
/* From now on sandboxes may come in whatever order, until table_loaded(); by_birth is not to be used
 * meanwhile. */
void table_load(struct table *t);
/* Makes by_birth. Fault: -ENOMEM. */
int table_loaded(struct table *t);
/* So many sandboxes are coming. */
void table_expect(struct table *t, size_t count);
/*
 * Has the processor fetch what a table_find() or table_get() of each of these will look at, all at once: one
 * after the other they take twice as long, nearly all of it waiting for memory.
 */
enum { TABLE_FETCH_MOST = 32 };
void table_fetch(const struct table *t, const struct sl_slice ids[], size_t count);
/* NULL when there is none. */
struct sandbox *table_find(const struct table *t, struct sl_slice id);
/* Finds or makes one that is neither durable nor alive. */
int table_get(struct table *t, struct sl_slice id, struct sandbox **ret);
/* Frees it and all it owns but its hot records. */
void table_remove(struct table *t, struct sandbox *b);
struct sl_slice sandbox_id(const struct sandbox *b);

/* Room for one more in by_birth; then a life may begin (b->birth set) or end without a fault. */
int table_reserve_birth(struct table *t);
void table_insert_birth(struct table *t, struct sandbox *b);
void table_remove_birth(struct table *t, struct sandbox *b);

/* What applying a record did, for the engine. */
struct applied {
    struct sandbox *sandbox;
    bool version; /* its place's version changed */
    bool ended;   /* a life ended: extents and hot records are to be dropped */
    bool indexed; /* `entry` was added */
    struct entry entry;
};
/*
 * A block at `offset` of `segment`. `judged`: the judge accepted it; otherwise (recovery) the block has to
 * stand at its source's place and number, > 0 (TABLE_MISFIT) when it does not, with nothing changed.
 */
enum { TABLE_MISFIT = 1 };
int table_apply_block(struct table *t, struct segment *segment, uint64_t offset,
                      const struct sl_record *record, const struct sl_block_header *header, bool judged,
                      struct applied *ret);
int table_apply_change(struct table *t, const struct sl_change *change, int64_t commit_ns,
                       struct applied *ret);
/* > 0 (TABLE_MISFIT): no such sandbox alive. */
int table_apply_delete(struct table *t, struct sl_slice id, struct applied *ret);

/* True when applying the change to the durable state would change nothing. */
bool sandbox_change_is_known(const struct sandbox *b, const struct sl_change *change);
/* True when the change leaves a deleted sandbox deleted (README, decision on changes of deleted sandboxes).
 */
bool sandbox_change_revives(const struct sl_change *change);

/* NULL when not known. */
struct source *sandbox_source(const struct sandbox *b, const uint8_t key[16]);
/* Finds or makes one that is not durable. Pointers to sources are void after. */
int sandbox_source_get(struct sandbox *b, const uint8_t key[16], struct source **ret);
/* Room for so many, in all. Pointers to them are void after. Faults: -ENOMEM. */
int sandbox_sources_reserve(struct sandbox *b, uint16_t count);
int sandbox_extents_reserve(struct sandbox *b, uint32_t count);
void sandbox_drop_extents(struct sandbox *b);
/* The first line kept; last_seq + 1 when none is. */
uint64_t sandbox_oldest(const struct sandbox *b);
void sandbox_place(const struct sandbox *b, struct sl_place *ret);
void sandbox_info(const struct sandbox *b, struct sl_info *ret);
