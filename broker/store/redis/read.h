// SPDX-License-Identifier: Apache-2.0
/* What reading, seeking, exporting and watching share. Home thread. */
#pragma once
#include "redis.h"

enum { GAP_BYTES = 1024 };

/*
 * Notes how a sandbox was found by a read: it is looked after for a while, and must not fall behind. -EAGAIN:
 * it has; it will have another birth soon, until then nothing of it is shown.
 */
int watched_see(struct redis *r, const struct life *l);

/* ---- giving records ---- */

struct giving {
    struct redis *redis;
    struct sl_slice id;
    struct life at_first, now; /* the sandbox when the read began, and as of the last entries */
    const char *end;           /* of the range of ids asked for */
    uint64_t next;             /* number that is due */
    uint64_t entry_seq;        /* id of the entry that is given; 0: a gap made up */
    uint32_t entry_sub;
    size_t max_bytes, bytes;
    bool any, stopped, more;
    store_each *each;
    void *arg;
};
/*
 * Gives the entries from `low` to `end`, and gaps for what is missing of the lines from `next` to `until`
 * (not included). With `begun`, the first may be one that began before. -EAGAIN: the sandbox is not what it
 * was.
 */
int records_give(struct giving *g, const char *low, bool begun, uint64_t until);
/* A gap: lines before g->next that were not given before were taken by retention. */
void records_give_lost(struct giving *g);

/* ---- asking ---- */

/* A round of reading commands, tried again where a connection was gone; nothing is asked while Redis is down.
 */
void home_ask(struct redis *r, struct call *calls, size_t count);
/* 0 when the answer is of that type; < 0. */
int home_answered(const struct call *c, int type);
/* The state of a sandbox: `key` of key_of(.., 'h'), borrowed until the answer. -ENOMEM. */
int home_want_pair(struct call *c, const char *key, size_t key_bytes);
int home_take_pair(const struct call *c, struct life *l);
/* r->shown becomes the sandbox, without its sources. > 0: STORE_UNKNOWN. */
int home_show(struct redis *r, struct sl_slice id);
