// SPDX-License-Identifier: Apache-2.0
/*
 * The read loop, the only one: from a number, blocks until caught up, then (following) blocks as they come.
 * History comes in pages of storage, live blocks from the sandbox's feed; both go through the same filter and
 * renderer, so nothing falls between them. It holds `fill_bytes` of rendered output and two pages at most,
 * whatever the reader does; three, and large ones, only while they are taken fast; a line longer than that is
 * held whole.
 *
 * Home thread. `changed` is called when there is something to look at: a place, bytes, an end, a fault.
 */
#pragma once
#include "feed.h"
#include "filter.h"
#include "query.h"

struct server;
struct reader;

enum {
    READER_FILL_BYTES = 64 << 10,
    /* Of one that does not follow: four blocks, and with the line that makes it full still one send. */
    READER_BULK_BYTES = 248 << 10,
    READER_BULK_PIECE_BYTES = 256 << 10,
    /* Of filter_work(), for all readers in a turn of the loop: 4 to 15 ms. Who needs more goes on in the next
       one. */
    READER_TURN_WORK = 4 << 20,
};

enum reader_state {
    READER_FINDS,   /* nothing is known yet */
    READER_UNKNOWN, /* there is no such sandbox */
    READER_READS,   /* place is known; bytes come */
    READER_FAILED,  /* fault is set */
    READER_ENDED,   /* end is set; bytes may be left */
};

struct reader_options {
    struct server *server;
    struct sl_slice sandbox;   /* borrowed, as is the query */
    const struct query *query; /* checked */
    struct filter *filter;     /* borrowed */
    struct render_style style;
    uint64_t after_seq; /* has_after: first line wanted is behind it */
    uint64_t before_seq;
    bool has_after;
    bool has_before;
    bool raw;          /* output is raw.h's items, for a merge; style is not used */
    size_t fill_bytes; /* of output at most, but for one line; 0: READER_FILL_BYTES */
    int64_t grace_ns;  /* how long the broker may be away, until the first answer */
    void (*changed)(void *arg);
    void *arg;
};
/* Asks at once. Fault: -ENOMEM. */
int reader_new(const struct reader_options *options, struct reader **ret);
void reader_free(struct reader *r);

enum reader_state reader_state(const struct reader *r);
int reader_fault(const struct reader *r);
/* Of the last answer; READS and ENDED. */
const struct sl_place *reader_place(const struct reader *r);
uint64_t reader_epoch(const struct reader *r);
/* ENDED: why. FEED_FOREIGN is READER_FAILED with -ESTALE. */
enum render_end_reason reader_end(const struct reader *r);
/* Whether anything was or will be given before the end that is known by now (for 204). */
bool reader_exhausted(const struct reader *r);
/* Number of the last line given whole, 0 for none. */
uint64_t reader_last_given(const struct reader *r);
bool reader_follows(const struct reader *r);
/* The newest line that is known to be stored; what the reader was not given of it is its lag. */
uint64_t reader_newest(const struct reader *r);
/* It was there before its sandbox was. */
bool reader_waited(const struct reader *r);
/* It follows and has nothing now: the next line is one that has not come yet. */
bool reader_idle(const struct reader *r);

/*
 * What comes next: at most max_bytes (0: whole lines only, all there is), with room around as connection.h
 * wants it; nothing now: *ret_bytes 0. Then reader_took().
 */
void reader_piece(struct reader *r, size_t max_bytes, uint8_t **ret, size_t *ret_bytes);
void reader_took(struct reader *r, size_t bytes);
/* Ended, and a piece of so many bytes is all that is left. */
bool reader_ends_with(const struct reader *r, size_t bytes);
/* No line has been given in part. */
bool reader_at_line(const struct reader *r);
/* About once a second: retries, `until` by the clock. True: look at it, as if `changed` had been called. */
bool reader_tick(struct reader *r, int64_t now_ns);
/* Goes on with those whose filter needed more than a turn of the loop has; server.c's, each turn. */
void readers_resume(struct server *s);
/* Ends it now, with this reason. */
void reader_stop(struct reader *r, enum render_end_reason reason);
