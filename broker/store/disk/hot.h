// SPDX-License-Identifier: Apache-2.0
/*
 * Hot records: the newest of each sandbox, kept in memory within one budget, so that a tail or a follower
 * reads no disk. Of each sandbox they are a gapless run that ends with its newest record.
 *
 * What makes up the last HOT_KEEP_TEXT_BYTES of a sandbox's text is kept longer than all the rest ("spare"):
 * the oldest spare goes first, then the oldest of what is left. Without memory a record is not kept, and then
 * nothing older of that sandbox either. Home thread.
 */
#pragma once
#include "sandbox.h"

enum { HOT_KEEP_TEXT_BYTES = 64 << 10 };

struct hot {
    struct hot *newer, *older; /* in the queue it is in */
    struct hot_list *list;
    uint64_t first_seq;
    int64_t ceiling_ns;
    uint32_t lines;
    uint32_t text_bytes;
    uint32_t bytes;
    uint8_t record[]; /* prefix and payload */
};

struct hot_list {
    struct sandbox *sandbox;
    struct hot **items; /* ring: items[(first + i) & mask], i < count, ascending */
    uint32_t first, count, mask;
    uint32_t spare;           /* how many, from the oldest, are spare */
    uint64_t kept_text_bytes; /* of those that are not */
    bool bare;                /* no gap stands right before the first: reading may begin with it */
};

struct hot_queue {
    struct hot *oldest, *newest;
};

struct hot_cache {
    uint64_t budget_bytes;
    uint64_t bytes;
    struct hot_queue spare, kept;
};

void hot_init(struct hot_cache *c, uint64_t budget_bytes);
void hot_fini(struct hot_cache *c);
/* Copies the record in. */
void hot_add(struct hot_cache *c, struct sandbox *b, const struct entry *entry, struct sl_slice prefix,
             struct sl_slice payload);
/* What ends before this number. */
void hot_trim(struct hot_cache *c, struct sandbox *b, uint64_t first_seq);
/* All of a sandbox. */
void hot_drop(struct hot_cache *c, struct sandbox *b);
/*
 * Where reading from `from_seq` starts among the hot records: index of the first to give, 0 <= i <= count.
 * False: older ones are needed (or there are none hot).
 */
bool hot_find(const struct sandbox *b, uint64_t from_seq, uint32_t *ret_index);
static inline struct hot *hot_at(const struct hot_list *l, uint32_t index)
{
    return l->items[(l->first + index) & l->mask];
}
