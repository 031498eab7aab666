// SPDX-License-Identifier: Apache-2.0
#include "feed.h"
#include "connection.h"
#include "feed_inner.h"
#include "server.h"
#include "wire/timestamp.h"
#include <assert.h>
#include <errno.h>
#include <search.h>
#include <stdlib.h>

/* ---- the ring ---- */

static void ring_drop_first(struct feed *feed)
{
    struct lines *l = feed->ring[0];
    feed->tail = position_behind(feed->tail, &l->record, &l->header);
    feed->ring_bytes -= l->memory_bytes;
    feed->feeds->memory_bytes -= l->memory_bytes;
    memmove(feed->ring, feed->ring + 1, --feed->ring_count * sizeof *feed->ring);
    feed->ring_base++;
    lines_unref(l);
}

/* A feed may keep its share of --memory, never less than its newest block. */
static size_t ring_limit(const struct feeds *f)
{
    size_t share = f->count ? f->budget_bytes / f->count : f->budget_bytes;
    return share < FEED_RING_BYTES ? share : FEED_RING_BYTES;
}

static int ring_push(struct feed *feed, struct lines *l)
{
    if (feed->ring_count == feed->ring_capacity) {
        size_t capacity = feed->ring_capacity ? 2 * feed->ring_capacity : 4;
        struct lines **ring = realloc(feed->ring, capacity * sizeof *ring);
        if (!ring)
            return -ENOMEM;
        feed->ring = ring;
        feed->ring_capacity = capacity;
    }
    feed->ring[feed->ring_count++] = l;
    feed->ring_bytes += l->memory_bytes;
    feed->feeds->memory_bytes += l->memory_bytes;
    while (feed->ring_count > 1 &&
           (feed->ring_bytes > ring_limit(feed->feeds) || feed->ring_count > FEED_RING_MAX))
        ring_drop_first(feed);
    return 0;
}

int feed_next(struct follower *f, struct lines **ret)
{
    struct feed *feed = f->feed;
    if (f->ring_serial <= feed->ring_base) {
        if (position_before(f->at, feed->tail))
            return FEED_PASSED;
        f->ring_serial = feed->ring_base;
    }
    for (; f->ring_serial - feed->ring_base < feed->ring_count; f->ring_serial++) {
        struct lines *l = feed->ring[f->ring_serial - feed->ring_base];
        if (position_wants(f->at, &l->record, &l->header)) {
            *ret = l;
            return 0;
        }
    }
    return FEED_NOTHING;
}

/* ---- coming and going ---- */

static int compare(const void *a, const void *b)
{
    const struct feed *x = a, *y = b;
    size_t least = x->sandbox.bytes < y->sandbox.bytes ? x->sandbox.bytes : y->sandbox.bytes;
    int order = memcmp(x->sandbox.data, y->sandbox.data, least);
    return order ? order : (x->sandbox.bytes > y->sandbox.bytes) - (x->sandbox.bytes < y->sandbox.bytes);
}

static struct feed *feed_new(struct feeds *f, struct sl_slice sandbox)
{
    struct feed *feed = calloc(1, sizeof *feed + sandbox.bytes);
    if (!feed)
        return NULL;
    memcpy(feed->id, sandbox.data, sandbox.bytes);
    feed->sandbox = sl_slice(feed->id, sandbox.bytes);
    feed->feeds = f;
    TAILQ_INIT(&feed->followers);
    TAILQ_INIT(&feed->classes);
    if (!tsearch(feed, &f->by_sandbox, compare)) {
        free(feed);
        return NULL;
    }
    f->count++;
    return feed;
}

static void feed_free(struct feed *feed)
{
    struct feeds *f = feed->feeds;
    feed_unask(feed);
    while (feed->ring_count)
        ring_drop_first(feed);
    free(feed->ring);
    assert(TAILQ_EMPTY(&feed->classes));
    tdelete(feed, &f->by_sandbox, compare);
    f->count--;
    free(feed);
}

static void enter(struct feed *feed, struct follower *follower)
{
    follower->feed = feed;
    follower->class = NULL;
    follower->chunk = NULL;
    follower->ring_serial = 0; /* feed_next() compares with the tail first */
    TAILQ_INSERT_TAIL(&feed->followers, follower, link);
    feed->follower_count++;
}

static struct feed *find(struct feeds *f, struct sl_slice sandbox)
{
    struct feed probe = {.sandbox = sandbox};
    void *found = tfind(&probe, &f->by_sandbox, compare);
    return found ? *(struct feed **)found : NULL;
}

int feed_join(struct feeds *f, struct sl_slice sandbox, uint64_t epoch, const struct sl_place *place,
              struct follower *follower)
{
    struct feed *feed = find(f, sandbox);
    if (!feed && !(feed = feed_new(f, sandbox)))
        return -ENOMEM;
    if (feed->place.birth == 0) { /* new, or waited for by others, who look at it with their next tick */
        feed->epoch = epoch;
        feed->place = *place;
        feed->head = feed->tail = follower->at;
        feed_ask_soon(feed);
    }
    enter(feed, follower);
    return 0;
}

int feed_await(struct feeds *f, struct sl_slice sandbox, struct follower *follower)
{
    struct feed *feed = find(f, sandbox);
    if (!feed) {
        if (!(feed = feed_new(f, sandbox)))
            return -ENOMEM;
        feed->head = feed->tail = (struct position){.seq = 1};
        feed_ask_soon(feed);
    }
    enter(feed, follower);
    return 0;
}

void feed_leave(struct follower *follower)
{
    struct feed *feed = follower->feed;
    if (!feed)
        return;
    if (follower->class)
        class_leave(follower);
    TAILQ_REMOVE(&feed->followers, follower, link);
    feed->follower_count--;
    follower->feed = NULL;
    if (TAILQ_EMPTY(&feed->followers) && !feed->held)
        feed_free(feed);
}

const struct sl_place *feed_place(const struct feed *feed)
{
    return &feed->place;
}

enum feed_end feed_ended(const struct feed *feed)
{
    return feed->end;
}

void feeds_broker_clock(struct feeds *f, int64_t broker_now_ns)
{
    f->broker_clock_ns = broker_now_ns - sl_monotonic_ns();
}

int64_t feeds_broker_now_ns(const struct feeds *f)
{
    return sl_monotonic_ns() + f->broker_clock_ns;
}

size_t feeds_count(const struct feeds *f)
{
    return f->count;
}

/* ---- news ---- */

static void tell(struct feed *feed)
{
    struct follower *follower, *next;
    feed->held = true; /* followers may leave, also the last one */
    for (follower = TAILQ_FIRST(&feed->followers); follower; follower = next) {
        next = TAILQ_NEXT(follower, link);
        follower->news(follower->arg);
    }
    feed->feeds->woken += feed->follower_count;
    feed->held = false;
    if (TAILQ_EMPTY(&feed->followers))
        feed_free(feed);
}

/* Records that came. Faults: -ENOMEM (ask again later), -EBADMSG (they can't be read). */
static int take_records(struct feed *feed, struct sl_slice records, bool *ret_news)
{
    struct counts *counts = &feed->feeds->server->counts;
    int64_t now_ns = sl_now_ns();
    struct feed_class *class;
    TAILQ_FOREACH(class, &feed->classes, link)
    class_make_room(class);
    while (records.bytes) {
        struct sl_record record;
        struct sl_block_header header;
        struct sl_slice block;
        struct lines *l;
        if (sl_record_check(records, &record, &block, &header) != SL_RECORD_OK)
            return -EBADMSG;
        if (position_wants(feed->head, &record, &header)) {
            int fault = lines_new(&record, block, &l);
            if (fault < 0)
                return fault;
            if ((fault = ring_push(feed, l)) < 0) {
                lines_unref(l);
                return fault;
            }
            TAILQ_FOREACH(class, &feed->classes, link)
            class_render(class, l);
            feed->head = position_behind(feed->head, &record, &header);
            sl_count(&counts->blocks, 1);
            sl_observe(&counts->follow_lag, now_ns > record.commit_ns ? now_ns - record.commit_ns : 0);
            *ret_news = true;
        }
        size_t took = SL_RECORD_PREFIX_BYTES + block.bytes;
        records = sl_slice(records.data + took, records.bytes - took);
    }
    return 0;
}

void feed_take(struct feed *feed, uint64_t epoch, const struct sl_read_part *part)
{
    bool news = false;
    if (feed->place.birth == 0) { /* it was waited for, and is there: its readers find out for themselves */
        if (part->found)
            tell(feed);
        return;
    }
    if (epoch != feed->epoch)
        feed->end = FEED_FOREIGN;
    else if (!part->found || part->place.birth != feed->place.birth)
        feed->end = FEED_DELETED;
    if (!feed->end) {
        feed->place = part->place;
        int fault = take_records(feed, part->records, &news);
        if (news)
            feed->hot_until_ns = sl_monotonic_ns() + FEED_HOT_NS;
        if (fault == -EBADMSG)
            feed->end = FEED_BROKEN;
        else if (fault)
            feed->feeds->retry_ns = sl_monotonic_ns() + 100 * SL_NS_PER_MS;
        else if (!part->more && part->place.state == SL_STOPPED && feed->head.seq > part->place.last_seq)
            feed->end = FEED_STOPPED;
    }
    if (news || feed->end)
        tell(feed); /* may free it */
}
