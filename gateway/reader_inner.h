// SPDX-License-Identifier: Apache-2.0
/*
 * What the files of the reader share: reader.c (the loop), reader_take.c (what comes of a block, and whose
 * turn it is), seek.c (where it begins). Nobody else's business.
 */
#pragma once
#include "reader.h"

#define READER_PATIENCE_NS    (INT64_C(30) * 1000000000) /* a download waits so long for a broker */
#define READER_UNTIL_SLACK_NS (INT64_C(10) * 1000000000) /* API.md: `until` with follow, by the clock */
#define READER_FAST_NS        (INT64_C(100) * 1000000)   /* a page taken within it: the next may be large */
#define READER_SLOW_NS        (INT64_C(1) * 1000000000)  /* then one that is large is given back */
enum { READER_TIMEOUT_MS = 10000, READER_PAGES = 3 };

struct page {
    nng_msg *message; /* that `records` are in */
    size_t at;        /* of the record that is being taken */
    size_t bytes;
    bool more;
    bool large;      /* it was asked for as one */
    uint64_t behind; /* the number behind everything in it */
    bool opened;     /* the record at `at` was looked at: */
    struct sl_record record;
    struct sl_slice block;
    struct sl_block_header header;
    struct lines_walk walk; /* in the middle of it, while `decoded` is the last block that was decoded */
    uint64_t decoded;       /* 0: it was not */
    const uint8_t *records;
};

struct reader {
    struct server *server;
    struct sl_slice sandbox;
    const struct query *query;
    struct filter *filter;
    struct render_style style;
    struct render render;
    struct partials partials;
    bool raw;
    size_t fill_bytes;
    bool has_after, has_before;
    uint64_t after_seq, before_seq;
    int64_t grace_ns;
    void (*changed)(void *arg);
    void *arg;

    enum reader_state state;
    int fault;
    enum render_end_reason end;
    uint64_t epoch;
    struct sl_place place;
    struct position at;
    uint64_t given_lines, given_bytes;
    bool since_passed; /* a line at or after `since` was seen: all later ones are */
    bool mid_line;     /* text: the last line given was partial */
    bool caught_up;    /* the last page was the last one */
    bool begun;        /* reader_begin_at() was called: `at` counts */
    bool moved;        /* something was taken since the last tick */
    bool retry;
    int64_t away_ns; /* since when the broker has not answered */

    struct upstream_call *call;
    struct page *page[READER_PAGES]; /* [0] is being taken, the others wait */
    int64_t page_ns;                 /* monotonic: since when [0] is being taken */
    bool fast;                       /* the last one was taken within READER_FAST_NS */
    bool asked_large;
    struct buffer out;
    size_t out_at;
    uint64_t out_seq; /* the last line before what is in `out` */
    struct follower follower;

    /* reader_take.c: a line that is being filtered over several turns */
    bool resting;
    struct filter_pause pause;
    TAILQ_ENTRY(reader) rest;

    /* seek.c */
    struct page *back; /* being searched for matches, from its end's number on */
    int64_t back_ns;   /* the broker's clock when it came */
    uint64_t back_seq; /* lines below it are counted */
    uint64_t back_matches;
    uint64_t back_nth; /* which of them is looked for; 0: how many there are */
    uint64_t bound;    /* a filtered tail: lines below it are still to be looked at */
    uint64_t wanted;   /* matches still wanted */
    bool bounded;
    int64_t wait_until_ns; /* monotonic */
    bool waited;
};

void reader_finish(struct reader *r, enum render_end_reason reason);
void reader_fail(struct reader *r, int fault);
static inline size_t reader_pending(const struct reader *r)
{
    return r->out.bytes - r->out_at;
}
/* What was taken of `out` makes room only when all was. */
static inline bool reader_full(const struct reader *r)
{
    return r->out.bytes >= r->fill_bytes;
}
/* Goes on wherever it stands. */
void reader_advance(struct reader *r);
/* Of the page that the upstream tells of just now. */
struct page *reader_page_new(struct reader *r, const struct sl_read_part *part);
void reader_page_free(struct page *p); /* NULL is fine */

/* Takes what there is room and time for. True: all of it; else it is called again, or the reader has ended.
 */
bool reader_take_lines(struct reader *r, const struct lines *l);
bool reader_take_record(struct reader *r, struct page *p); /* the one that is open */
/* filter_line_some() within the turn's work; READER_RESTS: it has been put off, and is called again later. */
enum { READER_RESTS = FILTER_LATER };
int reader_wants(struct reader *r, const struct lines_walk *w, const struct sl_line *line,
                 struct sl_slice container);
void reader_unrest(struct reader *r);
/* seek.c: goes on with r->back. */
void reader_search_back(struct reader *r);

/* Finds where to begin and calls reader_begin_at(), or ends or fails the reader. */
void reader_seek(struct reader *r);
void reader_begin_at(struct reader *r, struct position at, const struct sl_read_part *part);
bool reader_take_place(struct reader *r, const struct upstream_page *page);
void reader_retry_later(struct reader *r, int fault);
void reader_drop_pages(struct reader *r);
