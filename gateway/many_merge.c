// SPDX-License-Identifier: Apache-2.0
#include "many_inner.h"
#include "wire/timestamp.h"

#define PATIENCE_NS (INT64_C(200) * 1000000) /* how long lines at hand wait for those of a slow member */

bool many_get_ready(struct many *l, struct member *m)
{
    enum reader_state state = reader_state(m->reader);
    if (m->ready)
        return true;
    if (state != READER_READS && state != READER_ENDED)
        return false;
    const struct sl_place *place = reader_place(m->reader);
    uint64_t seq = l->cursor[m->at].seq;
    /* a tail skips lines: who resumes before a line of it came goes on behind what was skipped */
    if (seq == 0)
        seq = reader_last_given(m->reader);
    render_begin(&m->render, &l->style, sl_slice(m->id, m->id_bytes), reader_epoch(m->reader), place->birth);
    l->cursor[m->at] = cursor_of(sl_slice(m->id, m->id_bytes), reader_epoch(m->reader), place->birth, seq);
    m->ready = true;
    return true;
}

struct sl_slice many_cursor(struct many *l)
{
    memcpy(l->sorted, l->cursor, l->count * sizeof *l->sorted);
    size_t known = 0;
    for (size_t i = 0; i < l->count; i++)
        if (l->members[i]->ready)
            l->sorted[known++] = l->cursor[i];
    return sl_slice(l->cursor_text, cursor_set_render(l->sorted, known, l->cursor_text));
}

static void tell_member_end(struct many *l, struct member *m, enum render_end_reason reason)
{
    const struct sl_place *place = reader_place(m->reader);
    m->ended = true;
    if (reader_state(m->reader) == READER_FAILED) {
        l->over = true; /* a stream with a hole would look whole */
        connection_abort(l->c);
        return;
    }
    if (l->c->websocket || l->query.follow || l->style.format == QUERY_SSE)
        render_end(&m->render, &l->out,
                   &(struct render_end){.reason = reason,
                                        .has_exit = place->has_exit,
                                        .exit_code = place->exit_code,
                                        .last_seq = place->last_seq,
                                        .lost = place->lost});
}

/* Renders one item; false: the limit does not let it through. */
static bool give(struct many *l, struct member *m, struct raw_item *item)
{
    const struct query *q = &l->query;
    if (item->is_gap) {
        item->gap.cursor = many_cursor(l);
        render_gap(&m->render, &l->out, &item->gap);
        return true;
    }
    size_t bytes = render_text_bytes(&item->line);
    if ((q->has_limit && l->given_lines >= q->limit) ||
        (q->has_limit_bytes && l->given_bytes + bytes > q->limit_bytes))
        return false;
    l->cursor[m->at].seq = item->line.seq;
    item->line.cursor = many_cursor(l);
    render_line(&m->render, &l->out, &item->line);
    l->given_lines++;
    l->given_bytes += bytes;
    return true;
}

/* The member whose next line is the oldest; NULL: nothing now. *ret_item is borrowed from its reader. */
static struct member *oldest(struct many *l, struct raw_item *ret_item, bool *ret_loading)
{
    struct member *best = NULL;
    *ret_loading = false;
    for (size_t i = 0; i < l->count; i++) {
        struct member *m = l->members[i];
        struct raw_item item;
        uint8_t *data = NULL;
        size_t bytes = 0;
        if (m->ended)
            continue;
        if (many_get_ready(l, m))
            reader_piece(m->reader, 0, &data, &bytes);
        enum reader_state state = reader_state(m->reader);
        if (bytes == 0) {
            if (state == READER_UNKNOWN)
                m->ended = true; /* it was deleted before it was read */
            else if (state == READER_ENDED || state == READER_FAILED)
                tell_member_end(l, m, reader_end(m->reader));
            else if (!reader_idle(m->reader))
                *ret_loading = true;
            continue;
        }
        raw_read(sl_slice(data, bytes), &item);
        /* a gap stands before the line that comes next, whatever the time: at once */
        if (!best || item.is_gap || (!ret_item->is_gap && item.line.time_ns < ret_item->line.time_ns)) {
            best = m;
            *ret_item = item;
        }
    }
    return best;
}

void many_merge(struct many *l)
{
    struct raw_item item;
    bool loading;
    while (l->out.bytes - l->out_at < MANY_FILL_BYTES && !l->limit_reached && !l->over && !l->out.fault) {
        struct member *m = oldest(l, &item, &loading);
        if (!m)
            break;
        int64_t now_ns = sl_monotonic_ns();
        if (loading && l->waits_ns == 0)
            l->waits_ns = now_ns;
        if (loading && now_ns - l->waits_ns < PATIENCE_NS)
            return;
        l->waits_ns = 0;
        l->limit_reached = !give(l, m, &item);
        if (!l->limit_reached)
            reader_took(m->reader, item.bytes);
    }
    if (l->query.has_limit && l->given_lines >= l->query.limit)
        l->limit_reached = true;
    if (l->limit_reached && !l->over) {
        for (size_t i = 0; i < l->count; i++)
            if (!l->members[i]->ended && l->members[i]->ready) {
                struct reader *r = l->members[i]->reader;
                reader_stop(r, RENDER_LIMIT);
                /* one may have been read to its end, and still not have been given all of it */
                tell_member_end(l, l->members[i], reader_exhausted(r) ? reader_end(r) : RENDER_LIMIT);
            }
        l->over = true;
    }
}
