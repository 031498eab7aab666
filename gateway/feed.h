// SPDX-License-Identifier: Apache-2.0
/*
 * Feeds: one live stream per sandbox that is followed, shared by all its followers here. A feed lives as long
 * as it has followers. It keeps a standing read at the broker (grouped with other feeds', re-asked as soon as
 * it is answered), decodes each block once, and keeps the newest ones (FEED_RING_BYTES at most).
 *
 * A follower is a reader that has come to the end. It takes blocks by itself (feed_next), or, when it wants
 * every line as it is, shares bytes that are rendered once per style (feed_share, feed_piece). Nobody is
 * waited for: who is slower than the memory lasts is told FEED_PASSED and reads from storage again.
 *
 * Pace: news is handed out at once, but the next ask of busy feeds waits longer the more followers and
 * connections there are (0 to 50 ms), so that under load one write carries many lines. Home thread.
 */
#pragma once
#include "buffer.h"
#include "lines.h"
#include "render.h"
#include "upstream.h"
#include <sys/queue.h>

struct server;
struct feeds;
struct feed;
struct feed_class;
struct chunk;

enum { FEED_RING_BYTES = 256 << 10, FEED_RING_MAX = 512, FEED_CLASS_BYTES = 256 << 10 };

enum feed_end {
    FEED_LIVES = 0,
    FEED_STOPPED, /* and its last line was handed out */
    FEED_DELETED,
    FEED_BROKEN,  /* what the broker sends can't be read */
    FEED_FOREIGN, /* the broker has another store now: cursors are void */
};

struct follower {
    void (*news)(void *arg); /* feed_next() or feed_piece() may have something now, or the feed has ended */
    void *arg;
    struct position at; /* private followers: what they want next; they move it themselves */
    /* the feed's: */
    struct feed *feed;
    struct feed_class *class; /* NULL: private */
    struct chunk *chunk;
    size_t chunk_at;
    uint64_t ring_serial;
    TAILQ_ENTRY(follower) link;
};

/* `pace_fd` is a timerfd that the server polls; then feeds_turn(). Fault: -ENOMEM. */
int feeds_new(struct server *s, int pace_fd, struct feeds **ret);
/* There are no followers any more. */
void feeds_free(struct feeds *f);
/* Asks what is to be asked now; when a batch of answers was handed out, and when pace_fd fires. */
void feeds_turn(struct feeds *f);

/*
 * Follows `sandbox`, of which `place` (of this epoch) is known, from follower->at, privately. Fault: -ENOMEM.
 */
int feed_join(struct feeds *f, struct sl_slice sandbox, uint64_t epoch, const struct sl_place *place,
              struct follower *follower);
/* Waits for a sandbox that is not known: news comes when it is; then feed_leave(). Fault: -ENOMEM. */
int feed_await(struct feeds *f, struct sl_slice sandbox, struct follower *follower);
void feed_leave(struct follower *follower); /* not joined is fine */

enum { FEED_NOTHING = 1, FEED_PASSED = 2 };
/* The next block for follower->at, borrowed until the next answer; FEED_NOTHING: wait for news. */
int feed_next(struct follower *follower, struct lines **ret);
/* Shares rendered lines from here on; false when the follower does not stand at the feed's end. */
bool feed_share(struct follower *follower, const struct render_style *style, const struct partials *partials);
/*
 * Of a sharing follower: what it has not been given yet, at most max_bytes of it (0: all). FEED_PASSED: it is
 * private again, at follower->at. Then feed_took().
 */
int feed_piece(struct follower *follower, size_t max_bytes, uint8_t **ret, size_t *ret_bytes);
void feed_took(struct follower *follower, size_t bytes);
bool feed_at_line(const struct follower *follower); /* no line was given in part, none is owed */
/* Number of the last line that it was given whole. */
uint64_t feed_last_given(const struct follower *follower);

const struct sl_place *feed_place(const struct feed *feed);
enum feed_end feed_ended(const struct feed *feed);
/* The broker's clock now, as far as answers tell. */
int64_t feeds_broker_now_ns(const struct feeds *f);
/* An answer of another kind has told it too. */
void feeds_broker_clock(struct feeds *f, int64_t broker_now_ns);
size_t feeds_count(const struct feeds *f);
