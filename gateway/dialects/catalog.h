// SPDX-License-Identifier: Apache-2.0
/*
 * Asks the broker which sandboxes there are, page by page: what both dialects' lists and look-ups are made
 * of. Embedded in its asker. `take` is called per sandbox (its info is borrowed for the call), then `done`
 * once, from the upstream's callbacks, unless catalog_cancel() came first; `done` may free the catalog.
 * Home thread. Faults: the upstream's, -EPROTO (an answer that can't be read), -ENOMEM.
 */
#pragma once
#include "problem.h"
#include "upstream.h"

struct grant;
struct server;

struct catalog {
    struct server *server;
    const struct grant *grant;  /* sandboxes that it does not cover are not there */
    struct upstream_call *call; /* NULL: nothing is under way */
    struct sl_list list;        /* prefix and label_pairs are borrowed until `done`; limit is the catalog's */
    uint64_t wanted;            /* ends when `take` has said true so many times; 0: all */
    uint64_t taken;
    bool resumable; /* next_page has to stand behind the last one taken: pages are not larger than needed */
    bool (*take)(void *arg, const struct sl_info *info); /* whether it counts */
    void (*done)(void *arg, int fault, uint64_t next_page);
    void *arg;
};
/* server, grant, list, wanted, resumable, take, done and arg are filled in. */
void catalog_walk(struct catalog *c);
/* Of this id (valid) alone; `take` is not called when it is unknown. */
void catalog_one(struct catalog *c, struct sl_slice id);
void catalog_cancel(struct catalog *c);

/* What a reader is told of a fault. */
void catalog_problem(const struct server *s, int fault, struct problem *ret);

/* A label's value; false: there is none of this key. */
bool catalog_label(const struct sl_info *info, struct sl_slice key, struct sl_slice *ret);
/* When the sandbox began and (stopped ones) ended, as far as its lines tell. */
int64_t catalog_began_ns(const struct sl_info *info);
int64_t catalog_ended_ns(const struct sl_info *info);
