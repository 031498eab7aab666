// SPDX-License-Identifier: Apache-2.0
/*
 * What comes of a block: gaps, lines that the filter lets through, limits. And whose turn it is: a pattern
 * over a long line may need more work than others can wait for, so a turn of the loop has READER_TURN_WORK
 * for all readers; who is in the middle of a line then rests, and goes on in the next turn where it stopped.
 */
#include "connection.h"
#include "raw.h"
#include "reader_inner.h"
#include "server.h"
#include <errno.h>

/* ---- turns ---- */

int reader_wants(struct reader *r, const struct lines_walk *w, const struct sl_line *line,
                 struct sl_slice container)
{
    struct server *s = r->server;
    int answer = FILTER_LATER;
    if (s->turn_work > 0) {
        uint64_t before = filter_work(r->filter);
        answer = filter_line_some(r->filter, w->query_ns, line->stream, container, line->text, s->turn_work,
                                  &r->pause);
        uint64_t cost = filter_work(r->filter) - before;
        s->turn_work -= cost < s->turn_work ? cost : s->turn_work;
    }
    if (answer != FILTER_LATER) {
        r->pause = (struct filter_pause){0};
    } else if (!r->resting) {
        r->resting = true;
        TAILQ_INSERT_TAIL(&s->resting, r, rest);
        lws_cancel_service(s->lws); /* the next turn begins at once */
    }
    return answer;
}

void reader_unrest(struct reader *r)
{
    if (r->resting)
        TAILQ_REMOVE(&r->server->resting, r, rest);
    r->resting = false;
    r->pause = (struct filter_pause){0};
}

void readers_resume(struct server *s)
{
    struct reader *r;
    while (s->turn_work > 0 && (r = TAILQ_FIRST(&s->resting))) {
        TAILQ_REMOVE(&s->resting, r, rest);
        r->resting = false;
        if (r->back)
            reader_search_back(r);
        else
            reader_advance(r);
        r->changed(r->arg);
    }
    if (!TAILQ_EMPTY(&s->resting))
        lws_cancel_service(s->lws);
}

/* ---- lines ---- */

static void give_gap(struct reader *r, const struct sl_record *record, const struct sl_block_header *header)
{
    /* The store makes it up for the page it was asked for; who begins behind it misses nothing. */
    if (header->gap_reason == SL_GAP_RETENTION && record->first_seq <= r->at.seq)
        return;
    size_t before = r->out.bytes;
    struct render_gap gap = {
        .has_from = r->at.seq > 1,
        .from_seq = r->at.seq - 1,
        .has_to = record->first_seq <= r->place.last_seq,
        .to_seq = record->first_seq,
        .lines = record->first_seq > r->at.seq ? record->first_seq - r->at.seq : header->gap_lines,
        .reason = header->gap_reason,
        .mid_line = r->mid_line,
    };
    if (r->raw)
        raw_gap(&r->out, &gap);
    else
        render_gap(&r->render, &r->out, &gap);
    r->mid_line = r->mid_line && r->out.bytes == before;
}

/* Returns what counts towards limit_bytes. */
static size_t give_line(struct reader *r, const struct render_line *view)
{
    const struct query *q = r->query;
    size_t before = r->out.bytes;
    if (r->raw)
        raw_line(&r->out, view);
    else
        render_line(&r->render, &r->out, view);
    if (!q->limit_cuts || r->out.fault)
        return render_text_bytes(view);
    if (q->has_limit_bytes && r->out.bytes - before > q->limit_bytes - r->given_bytes)
        buffer_cut(&r->out, before + (size_t)(q->limit_bytes - r->given_bytes));
    return r->out.bytes - before;
}

/*
 * One block, from the line that is wanted next. Returns true when it is done with, false when there is no
 * room for more of it now, or the reader has ended.
 */
static bool take_lines(struct reader *r, const struct sl_record *record, const struct sl_block_header *header,
                       struct lines_walk *w)
{
    struct sl_line line;
    const struct query *q = r->query;
    bool all = filter_block(r->filter, record, header) == FILTER_ALL;
    while (lines_next(w, &line)) {
        struct sl_slice container = sl_block_container(header, line.container);
        if (w->seq < r->at.seq) {
            partials_step(&r->partials, &line, container); /* seen before or not: it ends up the same */
            continue;
        }
        if (r->has_before && w->seq >= r->before_seq) {
            reader_finish(r, RENDER_COMPLETE);
            return false;
        }
        if (filter_past(r->filter, w->query_ns)) {
            reader_finish(r, r->query->follow ? RENDER_UNTIL : RENDER_COMPLETE);
            return false;
        }
        int wanted = all ? 1 : reader_wants(r, w, &line, container);
        if (wanted == READER_RESTS)
            return false;
        bool continues = partials_step(&r->partials, &line, container);
        if (wanted) {
            struct render_line view = {.seq = w->seq,
                                       .time_ns = line.time_ns,
                                       .text = line.text,
                                       .container = container,
                                       .stream = line.stream,
                                       .partial = line.partial,
                                       .continues = continues};
            if (q->has_limit_bytes && !q->limit_cuts &&
                r->given_bytes + render_text_bytes(&view) > q->limit_bytes) {
                reader_finish(r, RENDER_LIMIT);
                return false;
            }
            if (q->has_limit && r->given_lines >= q->limit) { /* limit=0 */
                reader_finish(r, RENDER_LIMIT);
                return false;
            }
            size_t sent = give_line(r, &view);
            r->since_passed = true;
            r->mid_line = line.partial;
            r->given_lines++;
            r->given_bytes += sent;
            if (q->limit_cuts && q->has_limit_bytes && r->given_bytes >= q->limit_bytes) {
                r->at = (struct position){.seq = w->seq + 1};
                reader_finish(r, RENDER_LIMIT);
                return false;
            }
        }
        r->at = (struct position){.seq = w->seq + 1};
        if (q->has_limit && r->given_lines >= q->limit) {
            reader_finish(r, RENDER_LIMIT);
            return false;
        }
        if (reader_full(r))
            return false;
    }
    return true;
}

/* What is to be known of a record before its lines are looked at. False: nothing is left to do with it, and
 * *ret_done says whether the next may come. */
static bool opens(struct reader *r, const struct sl_record *record, const struct sl_block_header *header,
                  bool *ret_done)
{
    *ret_done = true;
    if (!position_wants(r->at, record, header))
        return false;
    if (r->has_before && record->first_seq >= r->before_seq) {
        reader_finish(r, RENDER_COMPLETE);
        *ret_done = false;
        return false;
    }
    if (header->lines == 0) {
        if (header->flags & SL_BLOCK_GAP)
            give_gap(r, record, header);
        r->at = position_behind(r->at, record, header);
        *ret_done = !reader_full(r);
        return false;
    }
    if (filter_block(r->filter, record, header) == FILTER_NONE &&
        !filter_past(r->filter, sl_query_ceiling(record, header))) {
        r->partials.count = 0; /* what was open may have ended in there */
        r->at = position_behind(r->at, record, header);
        return false;
    }
    return true;
}

static bool take(struct reader *r, const struct sl_record *record, const struct sl_block_header *header,
                 struct lines_walk *w)
{
    bool done = take_lines(r, record, header, w);
    if (r->out.fault)
        reader_fail(r, r->out.fault);
    return done && r->state == READER_READS;
}

bool reader_take_lines(struct reader *r, const struct lines *l)
{
    struct lines_walk w;
    bool done;
    if (!opens(r, &l->record, &l->header, &done))
        return done;
    lines_walk_again(&w, l);
    return take(r, &l->record, &l->header, &w);
}

/* Text of a block that is wanted whole, and nothing else: what most downloads are made of. */
static bool wants_whole(const struct reader *r, const struct sl_record *record,
                        const struct sl_block_header *header)
{
    const struct query *q = r->query;
    return !r->raw && r->style.format == QUERY_TEXT && !r->style.timestamps && !r->style.framed &&
           r->at.seq <= record->first_seq && r->partials.count == 0 && !q->has_limit && !q->has_limit_bytes &&
           (!r->has_before || record->first_seq + header->lines <= r->before_seq) &&
           header->text_bytes <= r->fill_bytes && filter_block(r->filter, record, header) == FILTER_ALL;
}

/* False: it was not given, line by line it is. */
static bool give_whole(struct reader *r, const struct sl_record *record, const struct sl_block_header *header,
                       struct lines_walk *w)
{
    uint8_t *room = buffer_room(&r->out, header->text_bytes);
    if (!room || !sl_block_lines_text(&w->it, header, room))
        return false;
    buffer_took(&r->out, header->text_bytes);
    r->since_passed = true;
    r->mid_line = false;
    r->given_lines += header->lines;
    r->given_bytes += header->text_bytes;
    r->at = (struct position){.seq = record->first_seq + header->lines};
    return true;
}

/*
 * A block is decoded into memory that all readers share (one thread), and into a buffer that has room for all
 * that it gives as text, so that it is decoded once; what gives more than that goes on in the middle, unless
 * another reader has decoded something meanwhile.
 */
bool reader_take_record(struct reader *r, struct page *p)
{
    static uint8_t scratch[SL_BLOCK_RAW_MAX_BYTES];
    static uint64_t decoded;
    bool done, fresh = p->decoded == 0 || p->decoded != decoded;
    if (!opens(r, &p->record, &p->header, &done))
        return done;
    bool whole = fresh && wants_whole(r, &p->record, &p->header);
    if (whole && r->out.bytes > 0 && r->out.bytes + p->header.text_bytes > r->fill_bytes)
        return false;
    if (fresh && lines_walk(&p->walk, &p->record, p->block, &p->header, scratch, sizeof scratch) < 0) {
        reader_fail(r, -EBADMSG);
        return false;
    }
    p->decoded = fresh ? ++decoded : decoded;
    if (whole && give_whole(r, &p->record, &p->header, &p->walk))
        return !reader_full(r);
    done = take(r, &p->record, &p->header, &p->walk);
    if (r->resting) /* the line that was given up in the middle is behind the walk */
        p->decoded = 0;
    return done;
}
