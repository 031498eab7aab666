// SPDX-License-Identifier: Apache-2.0
/* Turns: who is read now, and which of a log's files. */
#include "passing.h"
#include "wire/diagnostics.h"
#include "wire/timestamp.h"
#include <string.h>

static const int64_t SETTLE_NS = INT64_C(10) * SL_NS_PER_MS;
static const int64_t RETRY_NS = INT64_C(200) * SL_NS_PER_MS;

void turns_touch(struct collector *c, struct file *f)
{
    if (f->state == FILE_COPY || f->state == FILE_BURIED)
        return;
    f->dirty = true;
    if (f->behind_ns == 0)
        f->behind_ns = sl_monotonic_ns();
    fleet_ready(&c->fleet, f->log->sandbox);
}

void turns_later(struct collector *c, struct sandbox *s, int64_t delay_ns)
{
    int64_t at_ns = sl_monotonic_ns() + delay_ns;
    if (!s->in_timers) {
        s->in_timers = true;
        s->timer_ns = at_ns;
        s->timer_next = c->timers;
        c->timers = s;
    } else if (at_ns < s->timer_ns) {
        s->timer_ns = at_ns;
    }
}

/* What stands before it is to be read first: a gap has a place. */
static bool work_before(const struct file *phantom)
{
    for (const struct file *f = phantom->log->files; f != phantom; f = f->next)
        if (!f->phantom && !passing_is_empty(f) &&
            (f->dirty || f->state == FILE_UNPLACED || passing_is_needed(f, false)))
            return true;
    return false;
}

/* What it is a copy of has become another file's content: the copy goes on for that, and comes before
 * younger files.
 */
static bool original_was_cut(struct collector *c, struct file *copy)
{
    struct file *f = copy->copy_of;
    uint64_t size, copied;
    bool linked;
    if (!f || (f->state != FILE_READING && f->state != FILE_UNPLACED) || f->truncated)
        return false;
    if (!alike_itself(c, f) || tail_stat(f, &size, &linked) < 0)
        return true;
    return !f->gz && (size < f->size || (copy->fd >= 0 && !copy->gz &&
                                         tail_stat(copy, &copied, &linked) == 0 && size < copied));
}

/* The oldest file of the log that is not over. */
static struct file *turn_of(struct collector *c, struct log *log)
{
    for (struct file *f = log->files; f; f = f->next)
        if (f->state == FILE_READING && (f->changed || (f->phantom && !work_before(f))))
            return f;
    struct file *empty = NULL;
    for (struct file *f = log->files; f; f = f->next) {
        if (f->state == FILE_COPY && f->next && original_was_cut(c, f)) {
            f->copy_of->dirty = true;
            return f->copy_of;
        }
        if (f->state == FILE_DONE && f->dirty) {
            /* written to after it was passed on */
            f->state = FILE_READING;
            f->wrapped = false;
        }
        if (f->phantom && work_before(f))
            continue;
        if (passing_is_empty(f)) {
            empty = empty ? empty : f;
            continue;
        }
        if (f->state == FILE_UNPLACED || f->state == FILE_READING)
            return empty && !f->dirty && !passing_next(f) ? empty : f;
    }
    return empty;
}

static enum step step(struct collector *c, struct log *log)
{
    struct sandbox *s = log->sandbox;
    if (log->wait_until_ns > sl_monotonic_ns())
        return STEP_IDLE;
    log->wait_until_ns = 0;
    struct file *f = turn_of(c, log);
    if (!f)
        return STEP_IDLE;
    if (f->phantom) {
        if (!f->closing && (log->stirred || !log->ordered)) {
            if (!order_settled(c, log))
                return passing_wait(c, log, SETTLE_NS);
            if (turn_of(c, log) != f)
                return STEP_AGAIN;
        }
        return passing_missed(c, f);
    }
    if (f->truncated || f->changed)
        return passing_truncated(c, f);
    if (!f->dirty)
        return passing_at_end(c, f);
    int r = tail_open(&c->fleet, f);
    if (r > 0)
        return passing_lost(c, f);
    if (r < 0)
        return passing_wait(c, log, RETRY_NS);
    if (f->state == FILE_UNPLACED) {
        r = places_place(c, f);
        if (r >= 0 && passing_is_empty(f)) {
            turns_later(c, s, RETRY_NS);
            return STEP_IDLE;
        }
        if (r < 0 || f->state == FILE_UNPLACED)
            return passing_wait(c, log, RETRY_NS);
        return STEP_AGAIN;
    }
    bool fresh = f->sent == 0 && f->at == 0 && !f->known;
    if (fresh && f->met_as)
        return STEP_IDLE; /* what came before it may be in the queue still */
    if (fresh && (log->stirred || !log->ordered)) {
        if (!order_settled(c, log))
            return passing_wait(c, log, SETTLE_NS);
        if (turn_of(c, log) != f)
            return STEP_AGAIN;
    }
    if (fresh && log->chain_lost) {
        r = places_lost(c, f);
        if (r != 0)
            return passing_wait(c, log, r < 0 ? RETRY_NS : SETTLE_NS);
    }
    if (fresh && log->owed != SL_GAP_NONE) {
        f->gap_reason = log->owed;
        log->owed = SL_GAP_NONE;
    }
    uint64_t at = f->at;
    if (f->gap_reason != SL_GAP_NONE && f->sent == 0) {
        uint8_t reason = f->gap_reason;
        f->gap_reason = SL_GAP_NONE;
        if (ends_announce(c, s) < 0 || passing_gap(c, f, reason, 0) < 0)
            passing_break(c, s);
        return STEP_AGAIN;
    }
    if (s->announced != ship_connection(c->ship)) {
        uint64_t size;
        bool linked;
        /* only a sandbox that has a line is told of */
        if (tail_stat(f, &size, &linked) == 0 && (f->gz || size > f->at) && ends_announce(c, s) < 0)
            return passing_wait(c, log, RETRY_NS);
    }
    r = pack_turn(&c->pack, f);
    if (f->at > at)
        f->grown_ns = sl_monotonic_ns();
    switch (r) {
    case PACK_MORE:
        return STEP_DEEP;
    case PACK_END:
        f->dirty = false;
        f->behind_ns = 0;
        return f->at > at || passing_next(f) || !f->name ? STEP_AGAIN : STEP_IDLE;
    case PACK_TRUNCATED:
        /* judged a little later: the event of a copy that was made before is in the queue by now */
        f->changed = true;
        return passing_wait(c, log, SETTLE_NS);
    case PACK_UNREADY:
        return passing_unready(c, f);
    default: {
        char shown[512];
        sl_log(SL_WARNING, "file.fault", "file=%s why=\"%s\"",
               sl_log_value(sl_slice_of(f->name ? f->name : ""), shown, sizeof shown), strerror(-r));
        passing_wait(c, log, SL_NS_PER_S);
        passing_break(c, s);
        return STEP_IDLE;
    }
    }
}

bool turns_take(struct collector *c, struct sandbox *s)
{
    bool again = false;
    if (s->broken || s->sync != SYNC_DONE)
        return false;
    /* every log once, the next one first the next time */
    struct log *first = s->turn ? s->turn : s->logs;
    struct log *log = first;
    while (log) {
        struct log *next = log->sandbox_next ? log->sandbox_next : s->logs;
        enum step done = step(c, log);
        if (s->broken)
            return false;
        if (done == STEP_DEEP) {
            s->turn = next;
            c->deep = true;
            return true;
        }
        again = again || done == STEP_AGAIN;
        log = next == first ? NULL : next;
    }
    s->turn = s->logs;
    if (!again)
        ends_check(c, s);
    return again;
}

/* ---- events ---- */

void turns_answered(void *arg, struct sandbox *s)
{
    struct collector *c = arg;
    if (s->broken && s->in_flight == 0 && s->sync != SYNC_WANTED)
        fleet_want_sync(&c->fleet, s);
    else
        fleet_ready(&c->fleet, s);
}

void turns_buried(void *arg, struct file *f)
{
    struct collector *c = arg;
    f->state = FILE_BURIED;
    f->dirty = false;
    f->behind_ns = 0;
    f->acked = f->sent = f->at;
    f->life++;
    file_forget_joins(&c->fleet, f);
    tail_close(&c->fleet, f);
    /* Which of its sources lived before the deletion, and whether the id was used anew since, only the broker
     * knows. */
    f->log->sandbox->announced = 0;
    f->log->sandbox->broken = true;
}

void turns_timers(struct collector *c, int64_t now_ns)
{
    struct sandbox **at = &c->timers;
    struct sandbox *due = NULL;
    while (*at) {
        struct sandbox *s = *at;
        if (s->timer_ns > now_ns) {
            at = &s->timer_next;
            continue;
        }
        *at = s->timer_next;
        s->timer_next = due;
        due = s;
    }
    while (due) {
        struct sandbox *s = due;
        due = s->timer_next;
        s->in_timers = false;
        for (struct log *log = s->logs; log; log = log->sandbox_next) {
            arrivals_look(c, log, now_ns);
            if (log->wait_until_ns > now_ns)
                turns_later(c, s, log->wait_until_ns - now_ns);
            if (s->sync == SYNC_DONE && !s->broken && ship_connected(c->ship))
                passing_look(c, log, now_ns);
            else
                turns_later(c, s, RETRY_NS);
            struct file *newest = log_newest(log);
            if (newest && !newest->name && newest->state == FILE_READING && newest->fd >= 0) {
                uint64_t size;
                bool linked;
                if (tail_stat(newest, &size, &linked) == 0 &&
                    size > (newest->searched > newest->at ? newest->searched : newest->at))
                    newest->dirty = true;
            }
        }
        fleet_ready(&c->fleet, s);
    }
}
