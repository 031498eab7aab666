// SPDX-License-Identifier: Apache-2.0
/*
 * Standing reads. Feeds wait in two queues: `hot` ones, with news in the last seconds, are asked at the pace;
 * the others at once, and apart, so that one busy sandbox does not make the broker set up dozens of quiet
 * waits again and again. A group is asked with one request; its answer frees all of it.
 */
#include "feed_inner.h"
#include "options.h"
#include "server.h"
#include "wire/timestamp.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/timerfd.h>

enum {
    GROUP_MAX = 64,
    WAIT_MS = 30000,
    /* A broker lets 512 reads of a connection wait. Many small groups are gathered for a moment, and let run
       out soon, so that they come together in larger ones. */
    WAIT_SMALL_MS = 2000,
    SMALL_GROUP = 16,
    ASKS_MANY = 32,
    GATHER_MS = 20,
    ANSWER_MS = 10000,
    RETRY_MS = 100,
    PACE_MAX_MS = 50,
    /* A hand-out costs a send per follower that had news. Beside many who had none it is worth waiting for
       more as well: 5,000 of them and 10 busy ones take 3 % of a core at 4 µs each, 5 % at 2. */
    FOLLOWER_NS = 20000,
    CONNECTION_NS = 4000,
};

struct ask {
    struct feeds *feeds;
    LIST_ENTRY(ask) link;
    int64_t asked_ns;
    unsigned count;
    struct feed *feed[GROUP_MAX]; /* NULL: it has gone */
};

int feeds_new(struct server *s, int pace_fd, struct feeds **ret)
{
    struct feeds *f = calloc(1, sizeof *f);
    if (!f)
        return -ENOMEM;
    f->server = s;
    f->pace_fd = pace_fd;
    f->budget_bytes = (size_t)options.memory_bytes;
    TAILQ_INIT(&f->hot);
    TAILQ_INIT(&f->cold);
    LIST_INIT(&f->asked);
    *ret = f;
    return 0;
}

void feeds_free(struct feeds *f)
{
    struct ask *ask;
    if (!f)
        return;
    while ((ask = LIST_FIRST(&f->asked))) { /* the upstream has gone before, and forgot them */
        LIST_REMOVE(ask, link);
        free(ask);
    }
    free(f);
}

void feed_ask_soon(struct feed *feed)
{
    struct feeds *f = feed->feeds;
    if (feed->asking)
        return;
    feed->asking = true;
    if (feed->hot_until_ns > sl_monotonic_ns())
        TAILQ_INSERT_TAIL(&f->hot, feed, queued);
    else
        TAILQ_INSERT_TAIL(&f->cold, feed, queued);
}

void feed_unask(struct feed *feed)
{
    if (!feed->asking)
        return;
    feed->asking = false;
    if (feed->ask) {
        feed->ask->feed[feed->ask_index] = NULL;
        feed->ask = NULL;
        return;
    }
    struct feed *other;
    TAILQ_FOREACH(other, &feed->feeds->hot, queued)
    if (other == feed) {
        TAILQ_REMOVE(&feed->feeds->hot, feed, queued);
        return;
    }
    TAILQ_REMOVE(&feed->feeds->cold, feed, queued);
}

static void answered(void *arg, int fault, uint8_t status, struct sl_reader *body)
{
    struct ask *ask = arg;
    struct feeds *f = ask->feeds;
    uint64_t epoch = 0;
    int64_t now_ns = 0;
    f->asks--;
    LIST_REMOVE(ask, link);
    if (!fault && (status != SL_STATUS_OK || sl_read_answer_open(body, &epoch, &now_ns) != 0))
        fault = -EPROTO;
    struct sl_read_part part;
    if (fault) {
        f->retry_ns = sl_monotonic_ns() + RETRY_MS * SL_NS_PER_MS;
    } else {
        feeds_broker_clock(f, now_ns);
        int64_t took_ns = sl_monotonic_ns() - ask->asked_ns;
        if (sl_reader_left(body) == 0 && took_ns < WAIT_SMALL_MS / 2 * SL_NS_PER_MS)
            f->retry_ns = sl_monotonic_ns() + RETRY_MS * SL_NS_PER_MS; /* too many reads wait there */
        while (sl_read_part_next(body, &part))
            if (part.entry < ask->count && ask->feed[part.entry]) {
                feed_take(ask->feed[part.entry], epoch, &part); /* clears the entry when the feed goes */
            }
    }
    for (unsigned i = 0; i < ask->count; i++)
        if (ask->feed[i]) {
            ask->feed[i]->asking = false;
            ask->feed[i]->ask = NULL;
            if (!ask->feed[i]->end)
                feed_ask_soon(ask->feed[i]);
        }
    free(ask);
}

static void ask_group(struct feeds *f, struct feed_queue *queue)
{
    nng_msg *request;
    struct sl_writer w;
    struct ask *ask = calloc(1, sizeof *ask);
    if (!ask || sl_client_message_new(SL_READ, 64 + GROUP_MAX * (SL_ID_MAX_BYTES + 16), &request, &w) < 0) {
        free(ask);
        f->retry_ns = sl_monotonic_ns() + RETRY_MS * SL_NS_PER_MS;
        return;
    }
    struct feed *feed;
    ask->feeds = f;
    while (ask->count < GROUP_MAX && (feed = TAILQ_FIRST(queue))) {
        TAILQ_REMOVE(queue, feed, queued);
        feed->ask = ask;
        feed->ask_index = (uint16_t)ask->count;
        ask->feed[ask->count++] = feed;
    }
    uint32_t wait_ms = ask->count < SMALL_GROUP && f->asks > ASKS_MANY ? WAIT_SMALL_MS : WAIT_MS;
    sl_read_begin(&w, &(struct sl_read){.max_bytes = UPSTREAM_PAGE_BYTES,
                                        .wait_ms = wait_ms,
                                        .entries = (uint16_t)ask->count});
    for (unsigned i = 0; i < ask->count; i++) {
        feed = ask->feed[i];
        sl_read_entry_write(&w, &(struct sl_read_entry){.sandbox = feed->sandbox,
                                                        .how = SL_READ_FROM,
                                                        .value = feed->head.seq,
                                                        .version = feed->place.version});
    }
    f->asks++;
    ask->asked_ns = sl_monotonic_ns();
    sl_count(&f->server->counts.asks, 1);
    LIST_INSERT_HEAD(&f->asked, ask, link);
    if (!upstream_ask(f->server->upstream, request, &w, (int64_t)wait_ms + ANSWER_MS, answered, ask)) {
        LIST_REMOVE(ask, link);
        for (unsigned i = 0; i < ask->count; i++) {
            ask->feed[i]->asking = false;
            ask->feed[i]->ask = NULL;
            feed_ask_soon(ask->feed[i]);
        }
        f->asks--;
        f->retry_ns = sl_monotonic_ns() + RETRY_MS * SL_NS_PER_MS;
        free(ask);
    }
}

static void arm(struct feeds *f, int64_t at_ns)
{
    struct itimerspec when = {.it_value = {.tv_sec = at_ns / SL_NS_PER_S, .tv_nsec = at_ns % SL_NS_PER_S}};
    timerfd_settime(f->pace_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

/* When a queue that is not empty may be asked for next. */
static int64_t due(const struct feeds *f, const struct feed_queue *queue, int64_t not_before_ns)
{
    if (TAILQ_EMPTY(queue))
        return INT64_MAX;
    return not_before_ns > f->retry_ns ? not_before_ns : f->retry_ns;
}

static void ask_all(struct feeds *f, struct feed_queue *queue, int64_t now_ns)
{
    while (!TAILQ_EMPTY(queue) && now_ns >= f->retry_ns)
        ask_group(f, queue);
}

void feeds_turn(struct feeds *f)
{
    int64_t now_ns = sl_monotonic_ns();
    sl_gauge_set(&f->server->counts.feeds, (int64_t)f->count);
    sl_gauge_set(&f->server->counts.feed_bytes, (int64_t)f->memory_bytes);
    if (now_ns >= due(f, &f->cold, f->gather_ns)) {
        ask_all(f, &f->cold, now_ns);
        f->gather_ns = f->asks > ASKS_MANY ? now_ns + GATHER_MS * SL_NS_PER_MS : now_ns;
    }
    if (now_ns >= due(f, &f->hot, f->pace_ns)) {
        int64_t pace_ns =
            (int64_t)f->woken * FOLLOWER_NS + (int64_t)f->server->connection_count * CONNECTION_NS;
        if (pace_ns > PACE_MAX_MS * SL_NS_PER_MS)
            pace_ns = PACE_MAX_MS * SL_NS_PER_MS;
        f->pace_ns = pace_ns < SL_NS_PER_MS ? now_ns : now_ns + pace_ns;
        f->woken = 0;
        ask_all(f, &f->hot, now_ns);
    }
    int64_t cold_ns = due(f, &f->cold, f->gather_ns), hot_ns = due(f, &f->hot, f->pace_ns);
    int64_t next_ns = cold_ns < hot_ns ? cold_ns : hot_ns;
    if (next_ns != INT64_MAX)
        arm(f, next_ns);
}
