// SPDX-License-Identifier: Apache-2.0
/*
 * What the server exports to a consumer, page by page, and the consumer's place. A page is what stands before
 * a checkpoint; half a page is never given. A connection that ends comes back with the next call of
 * feed_next(), at the consumer's place: whoever has pages that are not acknowledged acknowledges or forgets
 * them first. One thread.
 */
#pragma once
#include "export_item.h"
#include "retry.h"
#include "server.h"

struct feed;

struct feed_page {
    struct sl_slice text;       /* whole lines, each with its newline; valid until the next call */
    struct sl_slice checkpoint; /* behind it; likewise */
    bool first;                 /* of a connection: empty, and `checkpoint` is where the pages begin */
};

enum feed_answer {
    FEED_PAGE = 0,
    FEED_QUIET = 1, /* nothing within the time */
    FEED_END = 2,   /* without `follow`: all is there, up to the last page */
    FEED_CUT = 3,   /* the connection is gone; retry_say() told why, but after an orderly end */
    FEED_NEVER = 4, /* why was said */
};

/*
 * All borrowed until feed_free(). `cancelled`: true ends an acknowledgement that waits. NULL without memory.
 * Without `follow`, a server that can't be reached at first is final: the address may be mistyped.
 */
struct feed *feed_new(const struct server *server, const char *consumer, bool follow, struct retry *retry,
                      bool (*cancelled)(void));
void feed_free(struct feed *feed);
int feed_next(struct feed *feed, int timeout_ms, struct feed_page *ret);
/* Ends the connection, if there is one, and forgets what was not given. */
void feed_cut(struct feed *feed);
/* The time that the caller was away and did not listen is not the server's silence. */
void feed_held(struct feed *feed, int64_t ns);

/* Moves the place. 0, FEED_CUT (may be done or not), FEED_NEVER. */
int feed_ack(struct feed *feed, struct sl_slice checkpoint);
/* The same with a place from elsewhere: FEED_NEVER says, without a word, that the server does not know it. */
int feed_move(struct feed *feed, struct sl_slice checkpoint);
/* How many lines the consumer is behind; false: not known. Says nothing. */
bool feed_lag(struct feed *feed, int64_t *ret_lines);
