// SPDX-License-Identifier: Apache-2.0
/*
 * Parked reads: read requests that wait for news, found by sandbox in O(1) when the store has grown. Knows
 * nothing of what a read means (read.h does). Home thread. Faults: -ENOMEM.
 */
#pragma once
#include "wire/link_server.h"

enum { PARKED_OF_PEER_MAX = 512 }; /* reads of one connection that may wait at once */

struct parked_read;
struct parked_name;

struct parked_entry {
    struct parked_read *read;
    struct parked_name *name; /* NULL while it is not parked */
    struct parked_entry *prev, *next;
    struct sl_slice sandbox; /* in the request's body */
    uint64_t value;
    uint32_t version;
    uint8_t how;
    bool news; /* its sandbox has grown since it was parked */
};

struct parked_read {
    struct sl_request *request;
    int64_t deadline_ns;
    int64_t news_ns;                             /* when its first news came; 0: asleep */
    struct parked_read *prev, *next;             /* all of them */
    struct parked_read *woken_prev, *woken_next; /* those with news */
    uint32_t max_bytes;
    uint16_t count;
    struct parked_entry entries[];
};

struct parked;

int parked_new(struct parked **ret);
/* Frees the reads in it; their requests are left to the server. */
void parked_free(struct parked *p);
/* A read with room for `count` entries, not in any index yet; NULL without memory. Free it with free(). */
struct parked_read *parked_read_new(uint16_t count);
/* Takes the read until parked_remove(). > 0 (PARKED_FULL): its connection has too many here. */
enum { PARKED_FULL = 1 };
int parked_add(struct parked *p, struct parked_read *read);
void parked_remove(struct parked *p, struct parked_read *read);
/* Marks entries of this sandbox, and wakes their reads. */
void parked_grown(struct parked *p, struct sl_slice sandbox, int64_t now_ns);
/* The read that has had news longest, which goes to sleep again (it stays parked, its entries marked), and
 * when they came; NULL when there is none. */
struct parked_read *parked_woken(struct parked *p, int64_t *ret_news_ns);
/* The one after `read` (NULL: the first) of all; take the next before a remove. */
struct parked_read *parked_next(struct parked *p, struct parked_read *read);
size_t parked_count(const struct parked *p);
