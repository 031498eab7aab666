// SPDX-License-Identifier: Apache-2.0
/*
 * What the files of the feed share: feed.c (followers and blocks), feed_class.c (rendered lines), feed_ask.c
 * (standing reads). Nobody else's business.
 */
#pragma once
#include "feed.h"

#define FEED_HOT_NS (2 * INT64_C(1000000000)) /* a feed with news is asked at the pace for so long */

struct chunk {
    unsigned users;  /* followers in it */
    bool listed;     /* still in its class */
    uint64_t before; /* last number before it */
    struct position end;
    struct buffer bytes;
    TAILQ_ENTRY(chunk) link;
};

struct feed_class {
    struct feed *feed;
    struct render render;
    struct partials partials;
    unsigned followers;
    size_t bytes;
    struct position at;
    bool mid_line; /* text: the last line rendered was partial */
    bool broken;   /* no memory: followers go on from storage */
    TAILQ_HEAD(chunk_list, chunk) chunks;
    TAILQ_ENTRY(feed_class) link;
};

struct feed {
    struct feeds *feeds;
    struct sl_slice sandbox;
    uint64_t epoch;
    struct sl_place place;
    struct position head; /* what is asked for next */
    struct position tail; /* the oldest place from which the ring goes on without a hole */
    struct lines **ring;
    size_t ring_count, ring_capacity, ring_bytes;
    uint64_t ring_base; /* serial of ring[0] */
    size_t follower_count;
    int64_t hot_until_ns;
    enum feed_end end;
    bool held;
    bool asking; /* in an ask, or queued for one */
    struct ask *ask;
    uint16_t ask_index;
    TAILQ_HEAD(, follower) followers;
    TAILQ_HEAD(, feed_class) classes;
    TAILQ_ENTRY(feed) queued;
    uint8_t id[];
};

TAILQ_HEAD(feed_queue, feed);
struct feeds {
    struct server *server;
    void *by_sandbox; /* tsearch tree */
    size_t count;
    size_t memory_bytes;
    size_t budget_bytes;
    size_t asks; /* under way */
    LIST_HEAD(, ask) asked;
    size_t woken; /* followers, since the last paced ask */
    int pace_fd;
    int64_t pace_ns;             /* hot feeds: not before this, monotonic */
    int64_t gather_ns;           /* cold ones */
    int64_t retry_ns;            /* the broker is away: not before this */
    int64_t broker_clock_ns;     /* its clock minus our monotonic one */
    struct feed_queue hot, cold; /* to be asked */
};

void feed_ask_soon(struct feed *feed);
void feed_unask(struct feed *feed);
/* Takes an answer's part; may free the feed. */
void feed_take(struct feed *feed, uint64_t epoch, const struct sl_read_part *part);
/* Before an answer's blocks are rendered, never between: what is new was not offered to anybody yet. */
void class_make_room(struct feed_class *class);
void class_render(struct feed_class *class, const struct lines *l);
void class_leave(struct follower *follower);
