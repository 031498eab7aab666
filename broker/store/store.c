// SPDX-License-Identifier: Apache-2.0
#include "engine.h"
#include <assert.h>
#include <errno.h>

static bool is_redis(const char *location)
{
    return strncmp(location, "redis://", 8) == 0 || strncmp(location, "rediss://", 9) == 0;
}

int store_open(const struct store_options *options, struct store **ret, const char **ret_why)
{
    if (is_redis(options->location))
        return redis_open(options, ret, ret_why);
    return disk_open(options, ret, ret_why);
}

int store_check(const char *location, bool repair, store_report *report, void *arg,
                struct store_check_result *ret)
{
    if (is_redis(location))
        return -ENOTSUP;
    return disk_check(location, repair, report, arg, ret);
}

void store_close(struct store *s)
{
    if (s)
        s->engine->close(s);
}

uint64_t store_epoch(const struct store *s)
{
    return s->engine->epoch(s);
}

const char *store_trouble(const struct store *s)
{
    return s->engine->trouble(s);
}

uint64_t store_setbacks(const struct store *s)
{
    return s->engine->setbacks ? s->engine->setbacks(s) : 0;
}

void store_tell(struct store *s, struct sl_slice note)
{
    assert(note.bytes > 0 && note.bytes <= STORE_NOTE_MAX_BYTES);
    if (s->engine->tell)
        s->engine->tell(s, note);
}

void store_run(struct store *s)
{
    s->engine->run(s);
}

void store_append(struct store *s, struct store_batch *batch)
{
    s->engine->append(s, batch);
}

int store_place(struct store *s, struct sl_slice sandbox, struct sl_place *ret)
{
    return s->engine->place(s, sandbox, ret);
}

int store_info(struct store *s, struct sl_slice sandbox, struct sl_info *ret)
{
    return s->engine->info(s, sandbox, ret);
}

int store_list(struct store *s, const struct sl_list *list,
               bool (*each)(void *arg, const struct sl_info *info), void *arg, uint64_t *ret_next_page)
{
    return s->engine->list(s, list, each, arg, ret_next_page);
}

int store_sources(struct store *s, struct sl_slice sandbox,
                  void (*each)(void *arg, const struct sl_source_place *place), void *arg)
{
    return s->engine->sources(s, sandbox, each, arg);
}

int store_read(struct store *s, struct sl_slice sandbox, uint64_t from_seq, size_t max_bytes,
               store_each *each, void *arg, bool *ret_more)
{
    return s->engine->read(s, sandbox, from_seq, max_bytes, each, arg, ret_more);
}

int store_seek_time(struct store *s, struct sl_slice sandbox, int64_t time_ns, uint64_t *ret_seq)
{
    return s->engine->seek_time(s, sandbox, time_ns, ret_seq);
}

int store_seek_back(struct store *s, struct sl_slice sandbox, uint64_t before_seq, size_t max_bytes,
                    uint64_t *ret_seq)
{
    return s->engine->seek_back(s, sandbox, before_seq, max_bytes, ret_seq);
}

void store_consumer_change(struct store *s, struct store_consumer_change *change)
{
    if (s->engine->consumer_change)
        s->engine->consumer_change(s, change);
    else
        change->done(change, -ENOTSUP);
}

int store_lease(struct store *s, struct sl_slice consumer, uint64_t holder, uint32_t ttl_ms)
{
    return s->engine->lease ? s->engine->lease(s, consumer, holder, ttl_ms) : -ENOTSUP;
}

int store_scan(struct store *s, struct sl_slice consumer, struct sl_slice checkpoint, size_t max_bytes,
               store_scan_each *each, void *arg, struct sl_checkpoint *ret_from,
               struct sl_checkpoint *ret_next, bool *ret_more)
{
    if (!s->engine->scan)
        return -ENOTSUP;
    return s->engine->scan(s, consumer, checkpoint, max_bytes, each, arg, ret_from, ret_next, ret_more);
}

int store_consumers(struct store *s, void (*each)(void *arg, const struct sl_consumer *consumer), void *arg)
{
    return s->engine->consumers ? s->engine->consumers(s, each, arg) : -ENOTSUP;
}

void store_stats(struct store *s, struct store_stats *ret)
{
    s->engine->stats(s, ret);
}

void store_compact(struct store *s, void (*done)(void *arg, int fault), void *arg)
{
    s->engine->compact(s, done, arg);
}
