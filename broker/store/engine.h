// SPDX-License-Identifier: Apache-2.0
/*
 * What an engine is to store.c: the functions of store.h, one table per engine. An engine's state begins with
 * struct store. Same promises, threads and errors as store.h; nobody but store.c and the engines sees this.
 */
#pragma once
#include "store.h"

struct store_engine {
    void (*close)(struct store *s);
    uint64_t (*epoch)(const struct store *s);
    const char *(*trouble)(const struct store *s);
    /* both NULL: an engine that only one broker can have, and that takes nothing back */
    uint64_t (*setbacks)(const struct store *s);
    void (*tell)(struct store *s, struct sl_slice note);
    void (*run)(struct store *s);
    void (*append)(struct store *s, struct store_batch *batch);
    int (*place)(struct store *s, struct sl_slice sandbox, struct sl_place *ret);
    int (*info)(struct store *s, struct sl_slice sandbox, struct sl_info *ret);
    int (*list)(struct store *s, const struct sl_list *list,
                bool (*each)(void *arg, const struct sl_info *info), void *arg, uint64_t *ret_next_page);
    int (*sources)(struct store *s, struct sl_slice sandbox,
                   void (*each)(void *arg, const struct sl_source_place *place), void *arg);
    int (*read)(struct store *s, struct sl_slice sandbox, uint64_t from_seq, size_t max_bytes,
                store_each *each, void *arg, bool *ret_more);
    int (*seek_time)(struct store *s, struct sl_slice sandbox, int64_t time_ns, uint64_t *ret_seq);
    int (*seek_back)(struct store *s, struct sl_slice sandbox, uint64_t before_seq, size_t max_bytes,
                     uint64_t *ret_seq);
    /* Export; all NULL: the engine has none, and store.c answers -ENOTSUP. */
    void (*consumer_change)(struct store *s, struct store_consumer_change *change);
    int (*lease)(struct store *s, struct sl_slice consumer, uint64_t holder, uint32_t ttl_ms);
    int (*scan)(struct store *s, struct sl_slice consumer, struct sl_slice checkpoint, size_t max_bytes,
                store_scan_each *each, void *arg, struct sl_checkpoint *ret_from,
                struct sl_checkpoint *ret_next, bool *ret_more);
    int (*consumers)(struct store *s, void (*each)(void *arg, const struct sl_consumer *consumer), void *arg);
    void (*stats)(struct store *s, struct store_stats *ret);
    void (*compact)(struct store *s, void (*done)(void *arg, int fault), void *arg);
};

struct store {
    const struct store_engine *engine;
};

/* The disk engine. `location` is a directory; faults as store_open(). */
int disk_open(const struct store_options *options, struct store **ret, const char **ret_why);
int disk_check(const char *directory, bool repair, store_report *report, void *arg,
               struct store_check_result *ret);

/* The Redis engine. `location` is redis://...; -EINVAL: it can't be read, or asks for what Redis has not. */
int redis_open(const struct store_options *options, struct store **ret, const char **ret_why);
