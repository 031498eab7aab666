// SPDX-License-Identifier: Apache-2.0
/*
 * What the writer remembers of the sandboxes it writes to: the copy that the next write is judged against,
 * and what it has last seen for sure. Writer's thread.
 */
#pragma once
#include "redis.h"

enum { BOXES_MAX = 100000, BOX_BUCKETS = 1 << 14 };

struct box {
    struct box *next; /* of the bucket */
    struct life life;
    struct seen seen;
    bool loaded;           /* `life` is what Redis had when last heard of */
    bool fresh;            /* loaded, or written to, in this round */
    bool plain;            /* its slot is on the move: no transactions in this round */
    bool open;             /* SEEN_OPEN: to be asked for before it is judged */
    uint64_t fallen;       /* the life that lost lines which were seen: the next write gives it a new birth */
    uint64_t listed_birth; /* as which it stands in the list; 0: not, or not known */
    /* of a round: */
    bool in_round, settled, written;
    int fault;
    struct store_item **items; /* in order */
    size_t item_count, item_capacity;
    struct call call;
    /* wanted of retention: entries below `trim_to` go, if the sandbox still begins at `trim_from` */
    uint64_t trim_from, trim_to, trim_bytes;
    char trim_keep[ENTRY_ID_BYTES];
};

struct boxes {
    struct box *buckets[BOX_BUCKETS];
    size_t count;
};

/* NULL: no memory. */
struct box *boxes_get(struct boxes *all, struct sl_slice id);
/* Forgets those that are in no round, when there are too many. */
void boxes_trim(struct boxes *all);
void boxes_free(struct boxes *all);
int box_add(struct box *b, struct store_item *item);

/* Memory for the small arguments of a round's commands. */
struct arena {
    struct arena_chunk *chunks;
};
void *arena_get(struct arena *a, size_t bytes);
void arena_free(struct arena *a);
