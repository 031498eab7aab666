// SPDX-License-Identifier: Apache-2.0
/*
 * Where a reader begins. Most reads need one question, whose answer is already the first page: from a number,
 * from a time, or the last N. Only a tail of filtered lines goes backwards, page by page, counting matches
 * until it has N; it keeps nothing but the count, and then reads forward from where the N-th one stands.
 */
#include "reader_inner.h"
#include "server.h"
#include "wire/timestamp.h"
#include <errno.h>
#include <stdlib.h>

enum seek {
    SEEK_START,    /* from the first line, or behind the cursor */
    SEEK_TIME,     /* from the first block that may hold a line at or after `since` */
    SEEK_TAIL,     /* the last N, by arithmetic */
    SEEK_NONE,     /* tail=0: behind the last one */
    SEEK_ABOVE,    /* the N before a cursor, by arithmetic */
    SEEK_BACK,     /* the last N that match */
    SEEK_BACK_END, /* the same, but first: where `until` cuts */
};

static enum seek seek_of(const struct reader *r)
{
    const struct query *q = r->query;
    bool by_line = q->streams != QUERY_BOTH || q->has_container || q->grep.bytes || q->regex.bytes;
    if (!q->has_tail)
        return q->has_since && !r->has_after ? SEEK_TIME : SEEK_START;
    if (q->tail == 0)
        return SEEK_NONE;
    if (by_line || q->has_until || (r->has_before && q->has_since))
        return q->has_until && !r->bounded ? SEEK_BACK_END : SEEK_BACK;
    return r->has_before ? SEEK_ABOVE : SEEK_TAIL;
}

static uint64_t first_wanted(const struct reader *r)
{
    return r->has_after ? r->after_seq + 1 : 1;
}

static uint64_t above(const struct reader *r)
{
    uint64_t seq = r->before_seq > r->query->tail ? r->before_seq - r->query->tail : 1;
    return seq > first_wanted(r) ? seq : first_wanted(r);
}

/* A gap directly in front of where a tail or a time begins is not part of it: all gaps so far count as seen.
 */
static void begin(struct reader *r, uint64_t seq, int64_t now_ns, const struct sl_read_part *part)
{
    bool at_cursor = seq == first_wanted(r) && (r->has_after || !r->query->has_tail);
    reader_begin_at(r, (struct position){.seq = seq, .gap_ns = at_cursor ? 0 : now_ns}, part);
}

/* ---- backwards ---- */

static bool walk_record(struct sl_slice *records, struct sl_record *record, struct sl_block_header *header,
                        struct lines_walk *w)
{
    static uint8_t scratch[SL_BLOCK_RAW_MAX_BYTES];
    struct sl_slice block;
    while (records->bytes) {
        if (sl_record_check(*records, record, &block, header) != SL_RECORD_OK)
            return false;
        size_t took = SL_RECORD_PREFIX_BYTES + block.bytes;
        *records = sl_slice(records->data + took, records->bytes - took);
        if (header->lines)
            return lines_walk(w, record, block, header, scratch, sizeof scratch) == 0;
    }
    return false;
}

/* Counts matches in r->back, up to the nth. False: it rests, and goes on from there. */
static bool count_matches(struct reader *r)
{
    struct sl_slice records = sl_slice(r->back->records, r->back->bytes);
    struct sl_record record;
    struct sl_block_header header;
    struct lines_walk w;
    struct sl_line line;
    while (walk_record(&records, &record, &header, &w)) {
        enum filter_verdict verdict = filter_block(r->filter, &record, &header);
        if (verdict == FILTER_NONE || record.first_seq + header.lines <= r->back_seq)
            continue;
        while (lines_next(&w, &line)) {
            if (w.seq >= r->bound || w.seq < first_wanted(r) || w.seq < r->back_seq)
                continue;
            int wanted = verdict == FILTER_ALL
                             ? 1
                             : reader_wants(r, &w, &line, sl_block_container(&header, line.container));
            if (wanted == READER_RESTS)
                return false;
            r->back_seq = w.seq + 1;
            if (wanted && ++r->back_matches == r->back_nth)
                return true;
        }
    }
    return true;
}

/* First number in these records, and whether the time filter can match nothing older. */
static uint64_t first_of(const struct reader *r, struct sl_slice records, bool *ret_oldest)
{
    struct sl_record record;
    struct sl_block_header header;
    struct sl_slice block;
    *ret_oldest = false;
    if (records.bytes == 0 || sl_record_check(records, &record, &block, &header) != SL_RECORD_OK)
        return 1;
    *ret_oldest = r->query->has_since && sl_query_ceiling(&record, &header) < r->query->since_ns;
    return record.first_seq;
}

void reader_search_back(struct reader *r)
{
    if (!count_matches(r))
        return;
    struct sl_slice records = sl_slice(r->back->records, r->back->bytes);
    bool oldest, more = r->back->more;
    uint64_t start = first_of(r, records, &oldest);
    if (r->back_nth > 0) {
        start = r->back_seq - 1; /* the nth */
    } else if (r->back_matches >= r->wanted) {
        r->back_nth = r->back_matches - r->wanted + 1;
        r->back_matches = r->back_seq = 0;
        reader_search_back(r);
        return;
    }
    int64_t now_ns = r->back_ns;
    bool enough = r->back_nth > 0;
    reader_page_free(r->back);
    r->back = NULL;
    if (!enough && more && !oldest && start > first_wanted(r)) {
        r->wanted -= r->back_matches;
        r->bound = start;
        reader_seek(r);
        return;
    }
    begin(r, start > first_wanted(r) ? start : first_wanted(r), now_ns, NULL);
}

static void took_back(struct reader *r, const struct upstream_page *page)
{
    r->back = reader_page_new(r, &page->part);
    if (!r->back) {
        reader_fail(r, -ENOMEM);
        return;
    }
    r->back_ns = page->now_ns;
    r->back_seq = r->back_matches = r->back_nth = 0;
    reader_search_back(r);
}

static void took_end(struct reader *r, const struct upstream_page *page)
{
    struct sl_record record;
    struct sl_block_header header;
    struct sl_slice block;
    uint64_t end = page->part.place.last_seq + 1;
    if (page->part.records.bytes &&
        sl_record_check(page->part.records, &record, &block, &header) == SL_RECORD_OK)
        end = record.first_seq + header.lines;
    r->bounded = true;
    r->bound = r->has_before && r->before_seq < end ? r->before_seq : end;
    reader_seek(r);
}

/* ---- asking ---- */

static void took_tail(struct reader *r, const struct upstream_page *page)
{
    const struct sl_place *place = &page->part.place;
    uint64_t n = r->query->tail, seq = place->last_seq > n ? place->last_seq - n + 1 : 1;
    if (seq < place->oldest_seq)
        seq = place->oldest_seq;
    if (seq < first_wanted(r))
        seq = first_wanted(r);
    begin(r, seq, page->now_ns, &page->part);
}

static void took_time(struct reader *r, const struct upstream_page *page)
{
    struct sl_record record;
    struct sl_block_header header;
    struct sl_slice block;
    uint64_t seq = page->part.place.last_seq + 1;
    if (page->part.records.bytes &&
        sl_record_check(page->part.records, &record, &block, &header) == SL_RECORD_OK)
        seq = record.first_seq;
    reader_begin_at(r, (struct position){.seq = seq, .gap_ns = page->now_ns}, &page->part);
}

static void found(void *arg, int fault, const struct upstream_page *page)
{
    struct reader *r = arg;
    r->call = NULL;
    if (fault == -ETIMEDOUT && r->state == READER_FINDS) {
        reader_fail(r, fault); /* it was given its time */
    } else if (fault) {
        reader_retry_later(r, fault);
    } else if (!page->part.found && r->wait_until_ns > sl_monotonic_ns()) {
        r->away_ns = 0;
        r->waited = true;
        r->follower.at = (struct position){.seq = 1};
        if (feed_await(r->server->feeds, r->sandbox, &r->follower) < 0)
            reader_retry_later(r, -ENOMEM);
        return;
    } else if (reader_take_place(r, page)) {
        r->away_ns = 0;
        switch (seek_of(r)) {
        case SEEK_START:
            begin(r, first_wanted(r), page->now_ns, &page->part);
            break;
        case SEEK_ABOVE:
            /* Numbers that retention took are none to page up through. */
            begin(r, above(r) > page->part.place.oldest_seq ? above(r) : page->part.place.oldest_seq,
                  page->now_ns, &page->part);
            break;
        case SEEK_TIME:
            took_time(r, page);
            break;
        case SEEK_TAIL:
            took_tail(r, page);
            break;
        case SEEK_NONE:
            r->at = (struct position){.seq = r->place.last_seq + 1, .gap_ns = page->now_ns};
            r->caught_up = true;
            reader_begin_at(r, r->at, NULL);
            break;
        case SEEK_BACK:
            took_back(r, page);
            break;
        case SEEK_BACK_END:
            took_end(r, page);
            break;
        }
    }
    r->changed(r->arg);
}

void reader_seek(struct reader *r)
{
    enum seek seek = seek_of(r);
    int64_t now_ns = sl_monotonic_ns();
    struct upstream_read read = {
        .entry = {.sandbox = r->sandbox, .how = SL_READ_FROM, .value = first_wanted(r)},
        .max_bytes = UPSTREAM_PAGE_BYTES,
        .timeout_ms = upstream_patience_ms(r->server->upstream, r->grace_ns),
    };
    /* who begins is patient from here on: a link that is given up meanwhile does not begin the wait anew */
    if (r->away_ns == 0 && (r->state == READER_FINDS || upstream_missing(r->server->upstream)))
        r->away_ns = now_ns;
    if (seek == SEEK_TIME) {
        read.entry.how = SL_READ_TIME;
        read.entry.value = (uint64_t)r->query->since_ns;
    } else if (seek == SEEK_TAIL || seek == SEEK_NONE) {
        read.entry.how = SL_READ_TAIL;
        read.entry.value = seek == SEEK_NONE ? 1 : r->query->tail;
    } else if (seek == SEEK_ABOVE) {
        read.entry.value = above(r);
    } else if (seek == SEEK_BACK_END) {
        read.entry.how = SL_READ_TIME;
        read.entry.value = (uint64_t)r->query->until_ns;
        read.max_bytes = 1; /* at least one record comes: its end is what is asked */
    } else if (seek == SEEK_BACK) {
        if (!r->bounded) {
            r->bounded = true;
            r->bound = r->has_before ? r->before_seq : UINT64_MAX;
        }
        if (r->wanted == 0)
            r->wanted = r->query->tail;
        read.entry.how = SL_READ_BEFORE;
        read.entry.value = r->bound;
    }
    if (r->query->wait_ns && r->wait_until_ns == 0)
        r->wait_until_ns = now_ns + r->query->wait_ns;
    sl_count(&r->server->counts.pages, 1);
    r->call = upstream_read(r->server->upstream, &read, found, r);
    if (!r->call)
        reader_retry_later(r, -ENOMEM);
}
