// SPDX-License-Identifier: Apache-2.0
#include "passing.h"
#include "wire/timestamp.h"

/* A rotated file whose last line is open is waited for this long before the next file is begun. */
static const int64_t TORN_GRACE_NS = SL_NS_PER_S;
/* A rotated file stays open this long for late writes; a deleted one this long after it last grew. */
static const int64_t LATE_GRACE_NS = INT64_C(5) * SL_NS_PER_S;
static const int64_t GONE_GRACE_NS = SL_NS_PER_S;
/* Of a rotated file that is gone what it began with is kept so long: its .gz may not have been met yet. */
static const int64_t PACKED_GRACE_NS = INT64_C(5) * SL_NS_PER_S;
/* A .gz that is not whole is waited for while it grows; this long after, it is damaged. */
static const int64_t DAMAGED_GRACE_NS = INT64_C(10) * SL_NS_PER_S;
static const int64_t RETRY_NS = INT64_C(200) * SL_NS_PER_MS;

enum step passing_wait(struct collector *c, struct log *log, int64_t delay_ns)
{
    log->wait_until_ns = sl_monotonic_ns() + delay_ns;
    turns_later(c, log->sandbox, delay_ns);
    return STEP_IDLE;
}

static bool settled(const struct file *f)
{
    return f->in_flight == 0 && f->acked == f->sent;
}

void passing_break(struct collector *c, struct sandbox *s)
{
    s->broken = true;
    turns_answered(c, s);
}

int passing_gap(struct collector *c, struct file *f, uint8_t reason, uint16_t more_flags)
{
    sl_count(&c->counts.gaps[reason], 1);
    return pack_mark(&c->pack, f,
                     &(struct sl_block_header){.flags = (uint16_t)(SL_BLOCK_GAP | more_flags),
                                               .gap_reason = reason,
                                               .gap_lines = SL_GAP_LINES_UNKNOWN});
}

bool passing_is_empty(const struct file *f)
{
    uint64_t size;
    bool linked;
    return f->state == FILE_UNPLACED && !f->gz && f->fd >= 0 && f->next &&
           tail_stat(f, &size, &linked) == 0 && size == 0;
}

struct file *passing_next(const struct file *f)
{
    struct file *next = f->next;
    while (next && (next->state == FILE_COPY || next->state == FILE_BURIED || next->phantom ||
                    passing_is_empty(next)))
        next = next->next;
    return next;
}

/* What is open in the one does not go on in the other. */
static bool missed_between(const struct file *f, const struct file *next)
{
    for (f = f->next; f && f != next; f = f->next)
        if (f->phantom)
            return true;
    return false;
}

static struct file *copy_of(const struct file *f)
{
    for (struct file *other = f->log->files; other; other = other->next)
        if (other->state == FILE_COPY && other->copy_of == f)
            return other;
    return NULL;
}

static bool is_open(const struct file *f)
{
    return f->joins || f->searched > f->at;
}

/* A copy that was read under another source becomes known under its own, as read to its end. */
static int settle_copy(struct collector *c, struct file *f)
{
    uint8_t key[16];
    int r = tail_open(&c->fleet, f);
    if (r != 0)
        return r;
    tail_key(sl_slice_of(c->options->host), &f->identity, key);
    f->borrowed = false;
    if (memcmp(key, f->source.key, 16) == 0 || f->at == 0)
        return 0;
    memcpy(f->source.key, key, 16);
    f->source.incarnation = 1;
    f->sent = f->acked = 0;
    f->drop_until = 0;
    f->known = false;
    f->fingerprint_bytes = f->at < SL_FINGERPRINT_MAX_BYTES ? (uint16_t)f->at : SL_FINGERPRINT_MAX_BYTES;
    r = tail_fingerprint(&c->fleet, f, f->fingerprint_bytes, &f->fingerprint);
    if (r != 0)
        f->fingerprint_bytes = 0;
    return pack_mark(&c->pack, f, &(struct sl_block_header){0});
}

enum step passing_lost(struct collector *c, struct file *f)
{
    struct file *copy = copy_of(f);
    if (f->in_flight > 0)
        return STEP_IDLE;
    f->dirty = false;
    if (f->name) {
        fleet_file_rename(&c->fleet, f, NULL);
        f->nameless_ns = sl_monotonic_ns();
    }
    if (copy)
        places_adopt(c, copy, f);
    else if (f->state != FILE_UNPLACED && f->size > f->at) {
        f->closing = true;
        f->at = f->sent;
        file_forget_joins(&c->fleet, f);
        if (passing_gap(c, f, SL_GAP_SOURCE_VANISHED, SL_BLOCK_CLOSE) < 0)
            passing_break(c, f->log->sandbox);
        f->wrapped = true;
        return STEP_AGAIN;
    }
    if (f->state == FILE_UNPLACED) {
        fleet_file_free(&c->fleet, f);
        return STEP_AGAIN;
    }
    f->wrapped = true;
    return STEP_AGAIN;
}

/* Read to its end, and a newer one is there. */
static enum step pass_on(struct collector *c, struct file *f, struct file *next)
{
    struct log *log = f->log;
    if (next->state == FILE_UNPLACED) {
        int r = tail_open(&c->fleet, next);
        if (r > 0)
            return passing_lost(c, next);
        if (r == 0)
            r = places_place(c, next);
        if (r < 0)
            return passing_wait(c, log, RETRY_NS);
        if (next->state == FILE_COPY || next->state == FILE_BURIED)
            return STEP_AGAIN;
        if (next->state == FILE_UNPLACED)
            return passing_wait(c, log, RETRY_NS);
    }
    int64_t quiet_ns = sl_monotonic_ns() - f->grown_ns;
    if (!f->wrapped && is_open(f) && f->fd >= 0 && quiet_ns < TORN_GRACE_NS)
        return passing_wait(c, log, TORN_GRACE_NS - quiet_ns);
    if (!f->wrapped) {
        bool carry = memcmp(f->source.key, next->source.key, 16) != 0 && !next->truncated && next->at == 0 &&
                     next->gap_reason == SL_GAP_NONE && !f->borrowed;
        /* after a restart the next file may have been begun already: then its own open_from speaks for what
           it continues, and what is open here is carried all the same */
        carry = carry || (memcmp(f->source.key, next->source.key, 16) != 0 && f->joins && !f->borrowed);
        carry = carry && !missed_between(f, next);
        f->wrapped = true;
        if (f->fd >= 0 && pack_wrap(&c->pack, f, carry) < 0) {
            passing_break(c, log->sandbox);
            return STEP_IDLE;
        }
    }
    if (!settled(f))
        return STEP_IDLE;
    if (f->borrowed) {
        int r = settle_copy(c, f);
        if (r < 0) {
            passing_break(c, log->sandbox);
            return STEP_IDLE;
        }
        if (!settled(f))
            return STEP_AGAIN;
    }
    if (f->joins && !next->joins)
        pack_carry(&c->pack, f, next);
    f->state = FILE_DONE;
    f->behind_ns = 0;
    f->grown_ns = sl_monotonic_ns();
    turns_later(c, log->sandbox, LATE_GRACE_NS);
    return STEP_AGAIN;
}

static bool has_named(const struct log *log)
{
    for (const struct file *f = log->files; f; f = f->next)
        if (f->name)
            return true;
    return false;
}

/* Its name is gone and so may be the file: what its source has is complete. True when it was let go. */
static bool let_go(struct collector *c, struct file *f)
{
    int64_t now_ns = sl_monotonic_ns();
    int64_t since_ns = f->grown_ns > f->nameless_ns ? f->grown_ns : f->nameless_ns;
    if (f->name || f->dirty || f->closing)
        return false;
    if (now_ns - since_ns < GONE_GRACE_NS) {
        turns_later(c, f->log->sandbox, GONE_GRACE_NS);
        return false;
    }
    if (!settled(f) || f->joins || f->at != f->sent)
        return false;
    if (!copy_of(f) && !f->closed && has_named(f->log) &&
        (now_ns - f->nameless_ns < PACKED_GRACE_NS || !order_known(c, f->log))) {
        tail_close(&c->fleet, f);
        turns_later(c, f->log->sandbox, GONE_GRACE_NS);
        return false;
    }
    for (struct file *other = f->log->files; other; other = other->next)
        /* one that is not placed yet, maybe met just now, may turn out to be its copy */
        if ((other->joins && other->joins->origin == f) || other->state == FILE_UNPLACED)
            return false;
    struct file *copy = copy_of(f);
    if (copy)
        places_adopt(c, copy, f);
    else if (f->known && !f->closed) {
        f->closing = true;
        if (pack_mark(&c->pack, f, &(struct sl_block_header){.flags = SL_BLOCK_CLOSE}) < 0)
            f->closing = false;
        return false;
    }
    fleet_file_free(&c->fleet, f);
    return true;
}

enum step passing_at_end(struct collector *c, struct file *f)
{
    struct file *next = passing_next(f);
    if (next)
        return pass_on(c, f, next);
    if (f->name)
        return STEP_IDLE;
    int64_t since_ns = f->grown_ns > f->nameless_ns ? f->grown_ns : f->nameless_ns;
    if (sl_monotonic_ns() - since_ns < GONE_GRACE_NS)
        return passing_wait(c, f->log, GONE_GRACE_NS);
    if (!f->wrapped) {
        f->wrapped = true;
        if (f->fd >= 0 && pack_wrap(&c->pack, f, false) < 0)
            passing_break(c, f->log->sandbox);
        return STEP_AGAIN;
    }
    return let_go(c, f) ? STEP_AGAIN : STEP_IDLE;
}

enum step passing_truncated(struct collector *c, struct file *f)
{
    if (!f->truncated) {
        f->truncated = true;
        sl_count(&c->counts.truncations, 1);
        if (pack_release(&c->pack, f) < 0) {
            passing_break(c, f->log->sandbox);
            return STEP_IDLE;
        }
        f->gap_reason = f->size > f->at ? SL_GAP_SOURCE_TRUNCATED : SL_GAP_NONE;
    }
    if (!settled(f))
        return STEP_IDLE;
    struct file *copy = copy_of(f);
    for (struct file *other = f->log->files; !copy && other; other = other->next) {
        /* the copy may not have been looked at yet, or not be whole yet */
        if (other->state != FILE_UNPLACED || other == f)
            continue;
        if (tail_open(&c->fleet, other) != 0 || places_place(c, other) < 0 || other->state == FILE_UNPLACED)
            return passing_wait(c, f->log, RETRY_NS);
        copy = copy_of(f);
    }
    uint8_t reason = copy ? SL_GAP_NONE : f->gap_reason;
    if (copy)
        places_adopt(c, copy, f);
    file_forget_joins(&c->fleet, f);
    places_new_life(f, reason);
    return STEP_AGAIN;
}

/* What of it was there to be read is kept, and what comes after it in the log. */
enum step passing_unready(struct collector *c, struct file *f)
{
    if (sl_monotonic_ns() - f->grown_ns < DAMAGED_GRACE_NS)
        return passing_wait(c, f->log, SL_NS_PER_S);
    /* if the broker knew it and nothing more came of it, this was said before */
    if (!f->known || f->sent > f->drop_until) {
        if (pack_wrap(&c->pack, f, false) < 0) { /* the piece of a line before it */
            passing_break(c, f->log->sandbox);
            return STEP_IDLE;
        }
        f->searched = f->at;
        f->at += f->sent > 0 && f->at == f->sent; /* only what opens a source may have no width */
        if (ends_announce(c, f->log->sandbox) < 0 || passing_gap(c, f, SL_GAP_DAMAGED, 0) < 0) {
            passing_break(c, f->log->sandbox);
            return STEP_IDLE;
        }
    }
    f->dirty = false;
    f->behind_ns = 0;
    return STEP_AGAIN;
}

enum step passing_missed(struct collector *c, struct file *f)
{
    if (f->closed) {
        fleet_file_free(&c->fleet, f);
        return STEP_AGAIN;
    }
    if (f->closing || ends_announce(c, f->log->sandbox) < 0)
        return STEP_IDLE;
    f->closing = true;
    if (passing_gap(c, f, SL_GAP_SOURCE_VANISHED, SL_BLOCK_CLOSE) < 0)
        f->closing = false;
    return STEP_AGAIN;
}

bool passing_is_needed(const struct file *copy, bool stored)
{
    const struct file *f = copy->copy_of;
    uint64_t size;
    bool linked;
    if (copy->state != FILE_COPY || !f || (f->state != FILE_UNPLACED && f->state != FILE_READING))
        return false;
    if (copy->gz || copy->fd < 0 || tail_stat(copy, &size, &linked) < 0)
        size = f->size;
    return f->state == FILE_UNPLACED || f->truncated || f->changed ||
           (stored ? f->acked < size : f->dirty && f->at < size);
}

void passing_look(struct collector *c, struct log *log, int64_t now_ns)
{
    struct file *next;
    for (struct file *f = log->files; f; f = next) {
        next = f->next;
        if ((f->state == FILE_COPY || f->state == FILE_BURIED) && !f->name && f->in_flight == 0) {
            /* not at once: the event that it has another name may be on its way */
            if (now_ns - f->nameless_ns >= GONE_GRACE_NS && !passing_is_needed(f, true))
                fleet_file_free(&c->fleet, f);
            else
                turns_later(c, log->sandbox, GONE_GRACE_NS);
            continue;
        }
        if (f->state != FILE_DONE)
            continue;
        uint64_t size;
        bool linked;
        if (f->fd >= 0 && !f->gz && tail_stat(f, &size, &linked) == 0 && size > f->at) {
            turns_touch(c, f);
            continue;
        }
        if (!f->name) {
            if (!let_go(c, f))
                turns_later(c, log->sandbox, GONE_GRACE_NS);
        } else if (now_ns - f->grown_ns >= LATE_GRACE_NS) {
            if (settled(f) && f->acked == f->at)
                tail_close(&c->fleet, f);
        } else {
            turns_later(c, log->sandbox, LATE_GRACE_NS);
        }
    }
}
