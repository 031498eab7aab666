// SPDX-License-Identifier: Apache-2.0
/* Where reading begins: the broker's places, matched with the files that are there. */
#include "collector.h"
#include "wire/diagnostics.h"
#include "wire/timestamp.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <xxhash.h>

/* A sibling that may be a copy in the making is waited for this long. */
static const int64_t COPY_GRACE_NS = INT64_C(5) * SL_NS_PER_S;

static const char *host_of(const struct collector *c)
{
    return c->options->host;
}

static void clear(struct collector *c, struct file *f)
{
    file_forget_joins(&c->fleet, f);
    if (f->longer)
        f->longer->on = false;
    f->life++;
    f->at = f->sent = f->acked = f->drop_until = f->searched = 0;
    f->fingerprint = 0;
    f->fingerprint_bytes = 0;
    f->copy_of = NULL;
    f->gap_reason = SL_GAP_NONE;
    f->known = f->borrowed = f->truncated = f->changed = f->wrapped = f->closing = f->closed = f->heir =
        false;
    f->dirty = true;
    if (!f->phantom && f->state != FILE_BURIED)
        f->state = FILE_UNPLACED;
}

void places_new_life(struct file *f, uint8_t gap_reason)
{
    uint32_t incarnation = f->source.incarnation + (f->known || f->sent > 0);
    assert(!f->joins && f->in_flight == 0);
    if (f->longer)
        f->longer->on = false;
    f->life++;
    f->at = f->sent = f->acked = f->drop_until = f->searched = f->size = 0;
    f->fingerprint = 0;
    f->fingerprint_bytes = 0;
    f->known = f->truncated = f->changed = f->wrapped = false;
    f->source.incarnation = incarnation;
    f->gap_reason = gap_reason;
    f->dirty = true;
}

void places_adopt(struct collector *c, struct file *copy, struct file *f)
{
    assert(f->in_flight == 0 && copy->in_flight == 0);
    /* not behind it; younger copies may stand between */
    struct file *before = f->log->files;
    while (before != copy && before != f)
        before = before->next;
    if (before == f) {
        struct file **at = &f->next;
        while (*at != copy)
            at = &(*at)->next;
        *at = copy->next;
        for (at = &f->log->files; *at != f; at = &(*at)->next)
            ;
        copy->next = f;
        *at = copy;
    }
    file_forget_joins(&c->fleet, copy);
    copy->source = f->source;
    copy->at = f->at;
    copy->sent = f->sent;
    copy->acked = f->acked;
    copy->drop_until = f->drop_until;
    copy->searched = f->at;
    copy->fingerprint = f->fingerprint;
    copy->fingerprint_bytes = f->fingerprint_bytes;
    copy->joins = f->joins;
    copy->known = f->known;
    copy->borrowed = true;
    copy->copy_of = NULL;
    copy->state = FILE_READING;
    copy->dirty = true;
    f->joins = NULL;
    /* what else was a copy of it (the .gz of the copy) is none of what it will be */
    for (struct file *other = f->log->files; other; other = other->next)
        if (other->copy_of == f)
            other->copy_of = copy;
    f->known = true; /* this incarnation is the copy's from now on, also if nothing of it was sent yet */
    fleet_ready(&c->fleet, copy->log->sandbox);
}

static void go_on(struct file *f, const struct sl_source_place *p)
{
    f->source = p->source;
    f->at = p->open_from;
    f->sent = f->acked = f->drop_until = p->offset;
    f->searched = f->at;
    f->fingerprint = p->fingerprint;
    f->fingerprint_bytes = p->fingerprint_bytes;
    f->known = true;
    f->state = FILE_READING;
}

static void drop_place(struct sandbox *s, uint32_t i)
{
    s->places[i] = s->places[--s->place_count];
    if (s->place_count == 0) {
        free(s->places);
        s->places = NULL;
    }
}

/* The file is still the one that the place is about, and has what was read of it. > 0: it is not. */
static int still(struct collector *c, struct file *f, const struct sl_source_place *p)
{
    uint64_t fingerprint, size;
    bool linked;
    int r;
    if (p->fingerprint_bytes > 0) {
        r = tail_fingerprint(&c->fleet, f, p->fingerprint_bytes, &fingerprint);
        if (r != 0)
            return r;
        if (fingerprint != p->fingerprint)
            return 1;
    }
    if (f->gz)
        return 0;
    r = tail_stat(f, &size, &linked);
    return r < 0 ? r : size < p->offset;
}

/* Not the one that is written to. One whose name is gone was any of them, a copy too. */
static bool is_sibling(const struct file *f)
{
    return !f->name || strcmp(f->name, f->log->base) != 0;
}

/* Whether another file of the log begins so, and holds what is looked for, so that nothing of it is lost. */
static bool held_by_copy(struct collector *c, const struct file *f, uint64_t of, uint16_t bytes)
{
    for (struct file *other = f->log->files; other && bytes > 0; other = other->next) {
        uint64_t fingerprint;
        if (other != f && !other->phantom && tail_open(&c->fleet, other) == 0 &&
            tail_fingerprint(&c->fleet, other, bytes, &fingerprint) == 0 && fingerprint == of)
            return true;
    }
    return false;
}

bool places_cut(struct collector *c, struct file *f)
{
    return !alike_itself(c, f) && !held_by_copy(c, f, f->fingerprint, f->fingerprint_bytes);
}

/* By its own key. 0: placed. > 0: the broker does not know it. */
static int place_known(struct collector *c, struct file *f, const uint8_t key[16])
{
    struct sandbox *s = f->log->sandbox;
    for (uint32_t i = 0; i < s->place_count; i++) {
        struct sl_source_place *p = &s->places[i];
        if (memcmp(p->source.key, key, 16) != 0)
            continue;
        f->log->chain_lost = false;
        if (p->flags & SL_SOURCE_BURIED) {
            f->state = FILE_BURIED;
            f->dirty = false;
            drop_place(s, i);
            return 0;
        }
        int r = still(c, f, p);
        if (r < 0)
            return r;
        if (r == 0) {
            go_on(f, p);
            drop_place(s, i);
            return 0;
        }
        /* Truncated while nobody looked. The place stays: a copy of what it was may be there. */
        f->source = p->source;
        f->known = true;
        if (!held_by_copy(c, f, p->fingerprint, p->fingerprint_bytes))
            f->log->owed = SL_GAP_SOURCE_TRUNCATED; /* copies of what came after it may come first */
        places_new_life(f, SL_GAP_NONE);
        f->state = FILE_READING;
        return 0;
    }
    return 1;
}

/*
 * Of a file that is shorter than what was read of the source: it may be a copy in the making if the original
 * is there and older. A copy of what is gone was finished before that went.
 */
static bool may_become_copy(struct collector *c, const struct file *f, const uint8_t key[16])
{
    for (const struct file *other = f->log->files; other; other = other->next) {
        uint8_t of_other[16];
        tail_key(sl_slice_of(host_of(c)), &other->identity, of_other);
        if (other != f && other->name && memcmp(of_other, key, 16) == 0)
            return !alike_born_before(f, other);
    }
    return false;
}

/* What a file is known by is its own: no copy of it takes that, so all of the log's files come before. */
static int claim_places(struct collector *c, struct log *log)
{
    for (struct file *f = log->files; log->unclaimed && f; f = f->next) {
        uint8_t key[16];
        if (f->state != FILE_UNPLACED || tail_open(&c->fleet, f) != 0)
            continue;
        tail_key(sl_slice_of(host_of(c)), &f->identity, key);
        int r = place_known(c, f, key);
        if (r < 0)
            return r;
    }
    log->unclaimed = false;
    return 0;
}

static bool is_left(const struct sandbox *s)
{
    for (uint32_t i = 0; i < s->place_count; i++)
        if (!(s->places[i].flags & (SL_SOURCE_BURIED | SL_SOURCE_CLOSED)) && s->places[i].offset > 0)
            return true;
    return false;
}

/*
 * Whether the broker has places that no file here has taken, so that one of them may be what vanished of a
 * log. < 0: fault; 0: no; 1: yes; 2: not all files are met.
 */
static int any_left(struct collector *c, const struct sandbox *s)
{
    if (s->place_count == 0)
        return 0;
    if (!watch_listed(c->watch))
        return 2;
    for (struct log *log = s->logs; log; log = log->sandbox_next) {
        int r = claim_places(c, log);
        if (r < 0)
            return r;
    }
    /* what was read as a plain file may be a .gz by now, also in another log of the sandbox */
    for (struct log *log = s->logs; is_left(s) && log; log = log->sandbox_next) {
        for (struct file *f = log->files; f; f = f->next) {
            if (f->state != FILE_UNPLACED || !is_sibling(f) || tail_open(&c->fleet, f) != 0)
                continue;
            int r = places_place(c, f);
            if (r < 0 || f->state == FILE_UNPLACED)
                return r < 0 ? r : 2;
        }
    }
    return is_left(s);
}

/* As a copy, or the .gz, of something known. 0: placed; 1: of nothing; 2: can't be told yet. */
static int place_copy(struct collector *c, struct file *f)
{
    struct sandbox *s = f->log->sandbox;
    struct first first;
    int answer = 1;
    int r = alike_read(c, f, &first);
    if (r < 0)
        return r;
    for (uint32_t i = 0; i < s->place_count; i++) {
        struct sl_source_place p = s->places[i];
        if (p.flags & SL_SOURCE_BURIED || p.fingerprint_bytes == 0)
            continue;
        if (first.bytes < p.fingerprint_bytes) {
            if (answer != 2 && may_become_copy(c, f, p.source.key))
                answer = 2;
            continue;
        }
        if (alike_fingerprint(&first, p.fingerprint_bytes) != p.fingerprint)
            continue;
        f->log->chain_lost = false;
        go_on(f, &p);
        f->borrowed = true;
        drop_place(s, i);
        return 0;
    }
    for (struct file *other = f->log->files; other; other = other->next) {
        if (other == f || other->phantom || other->state == FILE_COPY || (f->gz && other->gz))
            continue;
        r = alike(c, f, &first, other);
        if (r < 0)
            return r;
        if (r == 2)
            answer = 2;
        if (r != 0)
            continue;
        if (other->state == FILE_BURIED) {
            f->state = FILE_BURIED;
        } else {
            f->state = FILE_COPY;
            f->copy_of = other;
        }
        f->dirty = false;
        return 0;
    }
    return answer;
}

int places_place(struct collector *c, struct file *f)
{
    struct sandbox *s = f->log->sandbox;
    uint8_t key[16];
    assert(f->state == FILE_UNPLACED && f->fd >= 0);
    tail_key(sl_slice_of(host_of(c)), &f->identity, key);
    int r = place_known(c, f, key);
    if (r <= 0)
        return r;
    if (is_sibling(f)) {
        r = claim_places(c, f->log);
        if (r < 0)
            return r;
        r = place_copy(c, f);
        if (r <= 0)
            return r;
        if (r == 2 && sl_monotonic_ns() - f->grown_ns < COPY_GRACE_NS)
            return 0;
    }
    memcpy(f->source.key, key, 16);
    f->source.incarnation = 1;
    f->state = FILE_READING;
    /* It may begin a new life of a sandbox that was deleted without anybody here having been told. */
    s->announced = 0;
    return 0;
}

int places_lost(struct collector *c, struct file *f)
{
    int r = any_left(c, f->log->sandbox);
    if (r < 0 || r == 2)
        return r < 0 ? r : 1;
    f->log->chain_lost = false;
    f->heir = r == 1;
    if (f->heir)
        f->gap_reason = SL_GAP_SOURCE_VANISHED;
    return 0;
}

void places_wanted(struct collector *c, uint64_t epoch)
{
    bool other = c->epoch && c->epoch != epoch;
    c->epoch = epoch;
    for (size_t i = 0; i <= c->fleet.sandboxes.mask; i++) {
        for (struct table_node *n = c->fleet.sandboxes.buckets[i]; n; n = n->next) {
            struct sandbox *s = table_owner(n, struct sandbox, by_id);
            if (other && s->end == END_SAID && s->logs)
                s->end = END_DRAIN;
            s->broken = true;
            if (s->in_flight == 0)
                fleet_want_sync(&c->fleet, s);
        }
    }
}

void places_known(void *arg, struct sandbox *s, const struct sl_source_place *places, uint32_t count)
{
    struct collector *c = arg;
    free(s->places);
    s->places = NULL;
    s->place_count = 0;
    if (count > 0) {
        s->places = malloc(count * sizeof *places);
        if (!s->places) {
            fleet_want_sync(&c->fleet, s);
            return;
        }
        memcpy(s->places, places, count * sizeof *places);
        s->place_count = count;
        s->told = true;
    }
    s->synced_once = true;
    s->sync = SYNC_DONE;
    s->broken = false;
    for (struct log *log = s->logs; log; log = log->sandbox_next) {
        log->wait_until_ns = 0;
        log->unclaimed = true;
        log->owed = SL_GAP_NONE;
        for (struct file *f = log->files; f; f = f->next) {
            log->chain_lost = log->chain_lost || f->heir;
            clear(c, f);
        }
    }
    fleet_ready(&c->fleet, s);
}
