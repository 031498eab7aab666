// SPDX-License-Identifier: Apache-2.0
#include "reader.h"
#include "connection.h"
#include "reader_inner.h"
#include "server.h"
#include "wire/timestamp.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/* ---- states ---- */

void reader_finish(struct reader *r, enum render_end_reason reason)
{
    r->end = reason;
    r->state = READER_ENDED;
    feed_leave(&r->follower);
    reader_drop_pages(r);
    reader_unrest(r);
}

void reader_fail(struct reader *r, int fault)
{
    r->fault = fault;
    r->state = READER_FAILED;
    feed_leave(&r->follower);
    reader_drop_pages(r);
    reader_unrest(r);
}

/* All of `out` was taken. */
static void empty(struct reader *r)
{
    buffer_cut(&r->out, 0);
    r->out_at = 0;
    r->out_seq = r->at.seq ? r->at.seq - 1 : 0;
}

/* ---- pages ---- */

void reader_drop_pages(struct reader *r)
{
    upstream_cancel(r->call);
    r->call = NULL;
    reader_page_free(r->back);
    r->back = NULL;
    for (int i = 0; i < READER_PAGES; i++) {
        if (r->page[i])
            r->server->freed_bytes += r->page[i]->bytes;
        reader_page_free(r->page[i]);
        r->page[i] = NULL;
    }
}

static void ask_page(struct reader *r, uint64_t seq);

/* The next page is asked for while others are held: while one is taken another waits, and for a download that
 * keeps up a third is on its way. */
static void ask_ahead(struct reader *r)
{
    int held = 1;
    while (held < READER_PAGES && r->page[held])
        held++;
    const struct page *newest = r->page[held - 1];
    if (newest && newest->more && !r->call && held < (newest->large ? READER_PAGES : 2))
        ask_page(r, newest->behind);
}

/* Takes from the held page what there is room and time for; false: there is more of it, or the reader has
 * ended. */
static bool take_page(struct reader *r)
{
    struct page *p = r->page[0];
    while (p->at < p->bytes) {
        struct sl_slice rest = sl_slice(p->records + p->at, p->bytes - p->at);
        if (!p->opened && sl_record_check(rest, &p->record, &p->block, &p->header) != SL_RECORD_OK) {
            reader_fail(r, -EBADMSG);
            return false;
        }
        p->opened = true;
        if (!reader_take_record(r, p))
            return false;
        p->opened = false;
        p->decoded = 0;
        p->at += SL_RECORD_PREFIX_BYTES + p->block.bytes;
    }
    int64_t now_ns = sl_monotonic_ns();
    r->caught_up = !p->more;
    r->fast = now_ns - r->page_ns < READER_FAST_NS;
    r->page_ns = now_ns;
    reader_page_free(p);
    memmove(r->page, r->page + 1, sizeof r->page - sizeof r->page[0]);
    r->page[READER_PAGES - 1] = NULL;
    ask_ahead(r);
    return true;
}

/* The number behind everything in these records, by their heads alone: whoever takes them checks them. */
static uint64_t behind(struct sl_slice records, uint64_t from)
{
    struct sl_record record;
    struct sl_block_header header;
    uint64_t seq = from;
    while (records.bytes && sl_record_decode_prefix(records, &record) == SL_RECORD_OK &&
           record.payload_bytes <= records.bytes - SL_RECORD_PREFIX_BYTES) {
        struct sl_slice block = sl_slice(records.data + SL_RECORD_PREFIX_BYTES, record.payload_bytes);
        if (sl_block_decode_header(block, &header) != SL_BLOCK_OK ||
            record.first_seq > UINT64_MAX - header.lines)
            break;
        if (record.first_seq + header.lines > seq)
            seq = record.first_seq + header.lines;
        records = sl_slice(block.data + block.bytes, records.bytes - SL_RECORD_PREFIX_BYTES - block.bytes);
    }
    return seq;
}

struct page *reader_page_new(struct reader *r, const struct sl_read_part *part)
{
    struct page *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->message = upstream_keep(r->server->upstream);
    p->records = part->records.data;
    p->bytes = part->records.bytes;
    p->more = part->more;
    p->large = r->asked_large;
    return p;
}

void reader_page_free(struct page *p)
{
    if (p)
        nng_msg_free(p->message);
    free(p);
}

/* What the broker said about the sandbox, in any answer; false: the reader has ended. */
bool reader_take_place(struct reader *r, const struct upstream_page *page)
{
    bool first = r->state == READER_FINDS;
    if (!first && page->epoch != r->epoch) {
        reader_fail(r, -ESTALE);
        return false;
    }
    if (!page->part.found || (!first && page->part.place.birth != r->place.birth)) {
        if (first)
            r->state = READER_UNKNOWN;
        else
            reader_finish(r, RENDER_DELETED);
        return false;
    }
    r->epoch = page->epoch;
    r->place = page->part.place;
    feeds_broker_clock(r->server->feeds, page->now_ns);
    if (first)
        render_begin(&r->render, &r->style, r->sandbox, r->epoch, r->place.birth);
    r->state = READER_READS;
    return true;
}

void reader_retry_later(struct reader *r, int fault)
{
    int64_t now_ns = sl_monotonic_ns();
    if (r->away_ns == 0)
        r->away_ns = now_ns;
    bool starts = r->state == READER_FINDS;
    int64_t patience_ns = starts ? r->grace_ns : READER_PATIENCE_NS;
    if (fault == -EACCES || fault == -EPROTO ||
        ((starts || !r->query->follow) && now_ns - r->away_ns >= patience_ns))
        reader_fail(r, fault);
    else
        r->retry = true; /* by the next tick, or when the broker is back */
}

static void hold_page(struct reader *r, struct page *p)
{
    p->behind = behind(sl_slice(p->records, p->bytes), r->at.seq);
    if (!r->page[0])
        r->page_ns = sl_monotonic_ns();
    int held = 0;
    while (r->page[held])
        held++;
    r->page[held] = p;
    ask_ahead(r);
}

static void paged(void *arg, int fault, const struct upstream_page *page)
{
    struct reader *r = arg;
    r->call = NULL;
    if (fault) {
        reader_retry_later(r, fault);
    } else {
        r->away_ns = 0;
        if (reader_take_place(r, page)) {
            struct page *p = reader_page_new(r, &page->part);
            sl_count(&r->server->counts.page_bytes, page->part.records.bytes);
            if (!p) {
                reader_fail(r, -ENOMEM);
            } else {
                hold_page(r, p);
            }
        }
    }
    reader_advance(r);
    r->changed(r->arg);
}

/* Larger pages are fewer turns of nng's threads and ours. Who is slow would hold them, and one for whom other
 * things come first than bytes would wait for them: only a download that keeps up gets them. */
static void ask_page(struct reader *r, uint64_t seq)
{
    assert(!r->call);
    r->asked_large = r->fast && r->fill_bytes >= READER_BULK_BYTES;
    struct upstream_read read = {.entry = {.sandbox = r->sandbox, .how = SL_READ_FROM, .value = seq},
                                 .max_bytes = r->asked_large ? SL_PAGE_MAX_BYTES : UPSTREAM_PAGE_BYTES,
                                 .timeout_ms = READER_TIMEOUT_MS};
    r->call = upstream_read(r->server->upstream, &read, paged, r);
    sl_count(&r->server->counts.pages, 1);
    if (!r->call)
        reader_fail(r, -ENOMEM);
}

/* ---- the loop ---- */

static bool plain(const struct reader *r)
{
    const struct query *q = r->query;
    return !r->raw && !q->has_limit && !q->has_limit_bytes && !r->has_before && !q->has_until &&
           q->streams == QUERY_BOTH && !q->has_container && !q->grep.bytes && !q->regex.bytes &&
           (!q->has_since || r->since_passed);
}

/* All that is stored has been taken. */
static void caught_up(struct reader *r)
{
    const struct query *q = r->query;
    if (!q->follow || (r->has_before && r->at.seq >= r->before_seq)) {
        reader_finish(r, RENDER_COMPLETE);
    } else if (q->has_limit && r->given_lines >= q->limit) {
        reader_finish(r, RENDER_LIMIT);
    } else if (r->place.state == SL_STOPPED && r->at.seq > r->place.last_seq) {
        reader_finish(r, RENDER_STOPPED);
    } else {
        r->follower.at = r->at;
        if (feed_join(r->server->feeds, r->sandbox, r->epoch, &r->place, &r->follower) < 0)
            reader_fail(r, -ENOMEM);
    }
}

/* The feed ended, and everything of it was taken. */
static void feed_over(struct reader *r)
{
    enum feed_end end = feed_ended(r->follower.feed);
    r->place = *feed_place(r->follower.feed);
    if (end == FEED_FOREIGN)
        reader_fail(r, -ESTALE);
    else if (end == FEED_BROKEN)
        reader_fail(r, -EBADMSG);
    else
        reader_finish(r, end == FEED_DELETED ? RENDER_DELETED : RENDER_STOPPED);
}

/* A private follower takes blocks; one that may share does so as soon as it stands at the end. */
static void take_feed(struct reader *r)
{
    struct lines *l;
    int answer;
    r->place = *feed_place(r->follower.feed);
    while ((answer = feed_next(&r->follower, &l)) == 0) {
        lines_ref(l);
        bool done = reader_take_lines(r, l);
        lines_unref(l);
        if (r->state != READER_READS)
            return;
        r->follower.at = r->at;
        if (!done)
            return;
    }
    if (answer == FEED_PASSED) {
        feed_leave(&r->follower);
        sl_count(&r->server->counts.fell_behind, 1);
        r->caught_up = false;
    } else if (feed_ended(r->follower.feed)) {
        feed_over(r);
    } else if (plain(r)) {
        feed_share(&r->follower, &r->style, &r->partials);
    }
}

void reader_advance(struct reader *r)
{
    while (r->state == READER_READS && !r->resting && !reader_full(r)) {
        if (r->follower.class)
            return;
        if (r->follower.feed) {
            take_feed(r);
            if (r->state == READER_READS && r->follower.feed)
                return; /* full, or waiting for news, or sharing */
        } else if (r->page[0]) {
            if (!take_page(r))
                return;
        } else if (r->call || r->retry) {
            return;
        } else if (r->caught_up) {
            caught_up(r);
        } else {
            ask_page(r, r->at.seq);
        }
    }
}

static void news(void *arg)
{
    struct reader *r = arg;
    if (r->state == READER_FINDS) { /* the sandbox that it waited for is there */
        feed_leave(&r->follower);
        reader_seek(r);
        return;
    }
    if (!r->follower.class)
        reader_advance(r);
    r->changed(r->arg);
}

/* ---- outside ---- */

void reader_begin_at(struct reader *r, struct position at, const struct sl_read_part *part)
{
    r->at = at;
    r->begun = true;
    if (part) {
        struct page *p = reader_page_new(r, part);
        if (!p) {
            reader_fail(r, -ENOMEM);
            return;
        }
        hold_page(r, p);
    }
    reader_advance(r);
}

int reader_new(const struct reader_options *o, struct reader **ret)
{
    struct reader *r = calloc(1, sizeof *r);
    if (!r)
        return -ENOMEM;
    r->server = o->server;
    r->sandbox = o->sandbox;
    r->query = o->query;
    r->filter = o->filter;
    r->style = o->style;
    r->raw = o->raw;
    r->fill_bytes = o->fill_bytes ? o->fill_bytes : READER_FILL_BYTES;
    r->has_after = o->has_after;
    r->after_seq = o->after_seq < UINT64_MAX ? o->after_seq : UINT64_MAX - 1; /* one has to come after it */
    r->has_before = o->has_before;
    r->before_seq = o->before_seq;
    r->grace_ns = o->grace_ns;
    r->changed = o->changed;
    r->arg = o->arg;
    r->follower.news = news;
    r->follower.arg = r;
    buffer_init(&r->out, CONNECTION_FRONT_BYTES, 64 << 20);
    reader_seek(r);
    *ret = r;
    return 0;
}

void reader_free(struct reader *r)
{
    if (!r)
        return;
    feed_leave(&r->follower);
    reader_drop_pages(r);
    reader_unrest(r);
    r->server->freed_bytes += r->out.capacity;
    buffer_fini(&r->out);
    free(r);
}

enum reader_state reader_state(const struct reader *r)
{
    return r->state;
}

int reader_fault(const struct reader *r)
{
    return r->fault;
}

const struct sl_place *reader_place(const struct reader *r)
{
    return &r->place;
}

uint64_t reader_epoch(const struct reader *r)
{
    return r->epoch;
}

enum render_end_reason reader_end(const struct reader *r)
{
    return r->end;
}

bool reader_exhausted(const struct reader *r)
{
    return r->state == READER_ENDED && reader_pending(r) == 0;
}

uint64_t reader_last_given(const struct reader *r)
{
    if (reader_pending(r)) /* somewhere in the middle: the last line that is surely whole */
        return r->out_seq;
    return r->follower.class ? feed_last_given(&r->follower) : r->at.seq ? r->at.seq - 1 : 0;
}

bool reader_follows(const struct reader *r)
{
    return r->query->follow;
}

uint64_t reader_newest(const struct reader *r)
{
    return r->follower.feed ? feed_place(r->follower.feed)->last_seq : r->place.last_seq;
}

bool reader_waited(const struct reader *r)
{
    return r->waited;
}

bool reader_idle(const struct reader *r)
{
    return r->state == READER_READS && r->follower.feed && !r->resting && reader_pending(r) == 0;
}

void reader_piece(struct reader *r, size_t max_bytes, uint8_t **ret, size_t *ret_bytes)
{
    *ret_bytes = 0;
    if (reader_pending(r) == 0) {
        empty(r);
        reader_advance(r);
    }
    if (reader_pending(r)) {
        if (!buffer_room(&r->out, CONNECTION_BACK_BYTES)) {
            reader_fail(r, -ENOMEM);
            return;
        }
        *ret = buffer_data(&r->out) + r->out_at;
        *ret_bytes = max_bytes && reader_pending(r) > max_bytes ? max_bytes : reader_pending(r);
        return;
    }
    if (!r->follower.class)
        return;
    int answer = feed_piece(&r->follower, max_bytes, ret, ret_bytes);
    if (answer == FEED_PASSED) {
        r->at = r->follower.at;
        sl_count(&r->server->counts.fell_behind, 1);
        take_feed(r);
        reader_advance(r);
        if (reader_pending(r))
            reader_piece(r, max_bytes, ret, ret_bytes);
    } else if (answer == FEED_NOTHING && feed_ended(r->follower.feed)) {
        r->at.seq = feed_last_given(&r->follower) + 1;
        feed_over(r);
    }
}

void reader_took(struct reader *r, size_t bytes)
{
    r->moved = true;
    if (reader_pending(r)) {
        r->out_at += bytes;
        assert(r->out_at <= r->out.bytes);
        if (reader_pending(r) == 0) {
            /* a long line made it larger; who follows with others needs none */
            buffer_shrink(&r->out, r->follower.class ? 0 : 2 * r->fill_bytes);
            empty(r);
        }
    } else if (bytes) {
        feed_took(&r->follower, bytes);
    }
}

bool reader_tick(struct reader *r, int64_t now_ns)
{
    enum reader_state before = r->state;
    if (r->state == READER_FINDS && r->follower.feed) {
        bool there = feed_place(r->follower.feed)->birth != 0;
        if (there || now_ns >= r->wait_until_ns)
            feed_leave(&r->follower);
        if (there)
            reader_seek(r);
        else if (!r->follower.feed)
            r->state = READER_UNKNOWN;
    }
    if (r->retry && !r->call && (r->state == READER_READS || r->state == READER_FINDS)) {
        r->retry = false;
        if (r->state == READER_FINDS || !r->begun)
            reader_seek(r);
        else if (!r->page[0])
            reader_advance(r);
    }
    /* Nobody reads: the pages are not held for that, they are asked for again. Nor are large ones for who has
     * become slow. */
    bool slow = r->page[0] && now_ns - r->page_ns > READER_SLOW_NS &&
                (r->page[0]->large || (r->page[1] && r->page[1]->large) || (r->call && r->asked_large));
    if (r->state == READER_READS && r->begun && !r->resting &&
        (slow || (!r->moved && (r->page[0] || (r->call && reader_pending(r)))))) {
        reader_drop_pages(r);
        r->caught_up = r->fast = false;
    }
    r->moved = false;
    if (r->state == READER_READS && r->follower.feed && r->query->has_until &&
        feeds_broker_now_ns(r->server->feeds) > r->query->until_ns + READER_UNTIL_SLACK_NS)
        reader_finish(r, RENDER_UNTIL);
    return r->state != before || reader_pending(r) > 0;
}

void reader_stop(struct reader *r, enum render_end_reason reason)
{
    uint8_t *data;
    size_t bytes;
    if (r->state != READER_READS)
        return;
    /* A line may have been given in part: the rest of its chunk is still owed. */
    if (r->follower.class && feed_piece(&r->follower, 0, &data, &bytes) == 0) {
        if (reader_pending(r) == 0)
            empty(r);
        buffer_append(&r->out, data, bytes);
        feed_took(&r->follower, bytes);
    }
    if (r->follower.class)
        r->at.seq = feed_last_given(&r->follower) + 1;
    if (r->follower.feed) /* one that shares does not look at it for each line */
        r->place = *feed_place(r->follower.feed);
    reader_finish(r, reason);
}

bool reader_ends_with(const struct reader *r, size_t bytes)
{
    return r->state == READER_ENDED && reader_pending(r) == bytes;
}

bool reader_at_line(const struct reader *r)
{
    return reader_pending(r) == 0 && (!r->follower.class || feed_at_line(&r->follower));
}
