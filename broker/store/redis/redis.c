// SPDX-License-Identifier: Apache-2.0
#include "export.h"
#include "wire/timestamp.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#define TROUBLE_LASTS_NS (10 * SL_NS_PER_S)

enum { ANSWER_MS = 1000 };

/* ---- coming up ---- */

static void redis_free(struct redis *r)
{
    link_free(r->link);
    life_clear(&r->shown);
    if (r->gap)
        sl_block_builder_free(r->gap);
    free(r->record);
    ids_free(r->grown);
    ids_free(r->notes_in);
    ids_free(r->notes_out);
    ids_free(r->fallen);
    watched_free(r);
    if (r->watcher_pipe[0] > 0) {
        close(r->watcher_pipe[0]);
        close(r->watcher_pipe[1]);
    }
    pthread_cond_destroy(&r->work);
    pthread_mutex_destroy(&r->mutex);
    free(r);
}

static struct redis *redis_new(const struct store_options *options)
{
    struct redis *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->options = *options;
    r->options.location = NULL;
    /* Until it has been looked, all may be owed. */
    atomic_init(&r->hold_ns, options->export_holds ? 0 : INT64_MAX);
    r->queue_end = &r->queue;
    r->good_end = &r->good;
    r->bad_end = &r->bad;
    pthread_cond_init(&r->work, NULL);
    pthread_mutex_init(&r->mutex, NULL);
    r->record = malloc(SL_RECORD_MAX_BYTES);
    if (!r->record || sl_block_builder_new(&r->gap) ||
        getrandom(r->instance, sizeof r->instance, 0) != sizeof r->instance ||
        pipe2(r->watcher_pipe, O_CLOEXEC | O_NONBLOCK) != 0) {
        redis_free(r);
        return NULL;
    }
    return r;
}

static const struct store_engine engine;

int redis_open(const struct store_options *options, struct store **ret, const char **ret_why)
{
    static char why[TROUBLE_BYTES];
    struct location location;
    *ret_why = location_parse(options->location, &location);
    if (!*ret_why && options->retention_bytes)
        *ret_why = "a limit for all sandboxes together is Redis' own maxmemory; limit each sandbox here";
    if (*ret_why)
        return -EINVAL;
    script_init(&append_script);
    script_init(&heads_script);
    script_init(&note_script);
    script_init(&consumer_script);
    script_init(&lease_script);
    script_init(&thin_script);
    struct redis *r = redis_new(options);
    if (!r)
        return -ENOMEM;
    r->location = location;
    r->store.engine = &engine;
    int fault = link_new(&r->location, ANSWER_MS, &r->topology, &r->link);
    if (fault == 0)
        fault = epoch_get(r->link, &r->epoch, why);
    r->epoch_found = r->epoch;
    /* What does not keep from reading is the watcher's to tell. */
    if (fault == 0 && link_look(r->link, &r->identity) == -EAGAIN)
        snprintf(r->watch_trouble, sizeof r->watch_trouble, "%s", link_why(r->link));
    if (fault == 0)
        export_look(r, r->link);
    if (fault == 0)
        fault = -pthread_create(&r->writer, NULL, writer_main, r);
    if (fault == 0 && (fault = -pthread_create(&r->watcher, NULL, watch_main, r)) != 0) {
        atomic_store(&r->closing, true);
        pthread_join(r->writer, NULL);
    }
    if (fault) {
        redis_free(r);
        *ret_why = *why ? why : NULL;
        return fault;
    }
    *ret = &r->store;
    return 0;
}

/* ---- home ---- */

static void redis_run(struct store *s)
{
    struct redis *r = (struct redis *)s;
    pthread_mutex_lock(&r->mutex);
    struct store_batch *good = r->good, *bad = r->bad;
    struct ids *grown = r->grown, *notes = r->notes_in;
    struct compaction *compacted = r->compacted;
    struct changing *changed = r->changed;
    bool tick = r->tick;
    r->good = r->bad = NULL;
    r->good_end = &r->good;
    r->bad_end = &r->bad;
    r->grown = r->notes_in = NULL;
    r->compacted = NULL;
    r->changed = NULL;
    r->tick = false;
    r->epoch = r->epoch_found;
    r->setbacks = r->setbacks_found;
    pthread_mutex_unlock(&r->mutex);
    while (good || bad) {
        struct store_batch *batch = good ? good : bad;
        int fault = good ? 0 : -EIO;
        if (good)
            good = batch->next;
        else
            bad = batch->next;
        batch->next = NULL;
        batch->done(batch, fault);
    }
    /* The list has the newest first. */
    struct ids *oldest = NULL;
    while (grown) {
        struct ids *next = grown->next;
        grown->next = oldest;
        oldest = grown;
        grown = next;
    }
    for (struct ids *i = oldest; i; i = i->next)
        r->options.grown(r->options.arg, sl_slice(i->id, i->bytes));
    ids_free(oldest);
    for (struct ids *i = notes; i && r->options.told; i = i->next)
        r->options.told(r->options.arg, sl_slice(i->id, i->bytes));
    ids_free(notes);
    struct changing *in_order = NULL;
    while (changed) {
        struct changing *next = changed->next;
        changed->next = in_order;
        in_order = changed;
        changed = next;
    }
    while (in_order) {
        struct changing *next = in_order->next;
        in_order->change->done(in_order->change, in_order->answer);
        free(in_order);
        in_order = next;
    }
    while (compacted) {
        struct compaction *next = compacted->next;
        compacted->done(compacted->arg, compacted->fault);
        free(compacted);
        compacted = next;
    }
    if (tick)
        watched_tick(r);
}

static void redis_wake_watcher(struct redis *r)
{
    ssize_t ignored = write(r->watcher_pipe[1], "x", 1);
    (void)ignored;
}

static void redis_close(struct store *s)
{
    struct redis *r = (struct redis *)s;
    pthread_mutex_lock(&r->mutex);
    atomic_store(&r->closing, true);
    pthread_cond_signal(&r->work);
    pthread_mutex_unlock(&r->mutex);
    redis_wake_watcher(r);
    pthread_join(r->writer, NULL);
    pthread_join(r->watcher, NULL);
    while (r->compactions) {
        struct compaction *c = r->compactions;
        r->compactions = c->next;
        c->fault = -ECANCELED;
        c->next = r->compacted;
        r->compacted = c;
    }
    while (r->changes) {
        struct changing *c = r->changes;
        r->changes = c->next;
        c->answer = -ECANCELED;
        c->next = r->changed;
        r->changed = c;
    }
    r->tick = false;
    redis_run(s);
    redis_free(r);
}

static uint64_t redis_epoch(const struct store *s)
{
    return ((const struct redis *)s)->epoch;
}

static uint64_t redis_setbacks(const struct store *s)
{
    return ((const struct redis *)s)->setbacks;
}

static void redis_tell(struct store *s, struct sl_slice note)
{
    struct redis *r = (struct redis *)s;
    pthread_mutex_lock(&r->mutex);
    bool first = !r->notes_out;
    int fault = ids_push(&r->notes_out, note);
    pthread_mutex_unlock(&r->mutex);
    if (first && fault == 0)
        redis_wake_watcher(r);
}

static const char *redis_trouble(const struct store *s)
{
    struct redis *r = (struct redis *)(uintptr_t)s;
    pthread_mutex_lock(&r->mutex);
    const char *text = *r->watch_trouble ? r->watch_trouble : r->write_trouble;
    if (text == r->write_trouble && sl_monotonic_ns() - r->write_trouble_ns > TROUBLE_LASTS_NS)
        *r->write_trouble = 0;
    memcpy(r->trouble, text, sizeof r->trouble);
    pthread_mutex_unlock(&r->mutex);
    return *r->trouble ? r->trouble : NULL;
}

static void redis_append(struct store *s, struct store_batch *batch)
{
    struct redis *r = (struct redis *)s;
    batch->next = NULL;
    pthread_mutex_lock(&r->mutex);
    *r->queue_end = batch;
    r->queue_end = &batch->next;
    pthread_cond_signal(&r->work);
    pthread_mutex_unlock(&r->mutex);
}

static void redis_stats(struct store *s, struct store_stats *ret)
{
    struct redis *r = (struct redis *)s;
    pthread_mutex_lock(&r->mutex);
    *ret = (struct store_stats){
        .sandboxes = r->sandboxes,
        .damaged_blocks = r->damaged,
        .commits = r->commits,
        .commit_faults = r->commit_faults,
        .sync_latency = &r->latency,
    };
    pthread_mutex_unlock(&r->mutex);
}

static void redis_compact(struct store *s, void (*done)(void *arg, int fault), void *arg)
{
    struct redis *r = (struct redis *)s;
    struct compaction *c = malloc(sizeof *c);
    pthread_mutex_lock(&r->mutex);
    if (c) {
        *c = (struct compaction){.next = r->compactions, .done = done, .arg = arg};
        r->compactions = c;
        pthread_cond_signal(&r->work);
    }
    pthread_mutex_unlock(&r->mutex);
    if (!c)
        done(arg, -ENOMEM);
}

static const struct store_engine engine = {
    .close = redis_close,
    .epoch = redis_epoch,
    .trouble = redis_trouble,
    .setbacks = redis_setbacks,
    .tell = redis_tell,
    .run = redis_run,
    .append = redis_append,
    .place = redis_place,
    .info = redis_info,
    .list = redis_list,
    .sources = redis_sources,
    .read = redis_read,
    .seek_time = redis_seek_time,
    .seek_back = redis_seek_back,
    .consumer_change = redis_consumer_change,
    .lease = redis_lease,
    .scan = redis_scan,
    .consumers = redis_consumers,
    .stats = redis_stats,
    .compact = redis_compact,
};
