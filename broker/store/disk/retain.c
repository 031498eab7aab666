// SPDX-License-Identifier: Apache-2.0
#include "retain.h"
#include "disk.h"
#include "wire/timestamp.h"
#include <assert.h>
#include <stdlib.h>

static uint64_t bytes_on_disk(const struct disk *d)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < d->segment_count; i++)
        bytes += d->segments[i]->sealed ? d->segments[i]->file_bytes : d->segments[i]->durable;
    return bytes;
}

bool retain_rolls(const struct disk *d, const struct segment *s, int64_t now_ns)
{
    return d->options.retention_age_ns && s->oldest_commit_ns &&
           now_ns - s->oldest_commit_ns > d->options.retention_age_ns / 2;
}

static bool due(const struct disk *d, const struct segment *s, int64_t now_ns)
{
    if (!s->closed || s->in_flight || s->sealing || s->busy)
        return false;
    uint64_t bytes = s->sealed ? s->file_bytes : s->durable;
    if (d->options.retention_age_ns && s->newest_commit_ns < now_ns - d->options.retention_age_ns)
        return true;
    return d->options.retention_bytes && bytes_on_disk(d) - bytes >= d->options.retention_bytes;
}

/* Nothing of it is left to be read, and nobody will send more: it is as if it had never been. */
static bool forgettable(const struct sandbox *b, const struct segment *s)
{
    if (b->pending || (b->alive && b->state != SL_STOPPED))
        return false;
    for (uint32_t i = 0; i < b->extent_count; i++) {
        if (b->extents[i].segment != s)
            return false;
    }
    for (uint16_t i = 0; i < b->source_count; i++) {
        if (!(b->sources[i].bits & SOURCE_CLOSED))
            return false;
    }
    return true;
}

static void lose_extent(struct disk *d, struct sandbox *b, const struct segment *s)
{
    uint32_t kept = 0;
    bool lost = false;
    for (uint32_t i = 0; i < b->extent_count; i++) {
        struct extent *x = &b->extents[i];
        if (x->segment != s) {
            b->extents[kept++] = *x;
            continue;
        }
        if (x->capacity)
            free(x->entries);
        lost = true;
        b->kept_text_bytes -= x->text_bytes;
    }
    if (!lost)
        return;
    b->extent_count = kept;
    uint64_t from = kept ? b->extents[0].first_seq : b->last_seq + 1;
    if (from > b->kept_from)
        b->kept_from = from;
    b->version++;
    hot_trim(&d->hot, b, b->kept_from);
}

/* Every sandbox of the table; `each` may free it. */
static void for_all(struct disk *d, void (*each)(struct disk *d, struct sandbox *b, void *arg), void *arg)
{
    for (size_t i = 0; i <= d->table.mask; i++) {
        struct sandbox *next;
        for (struct sandbox *b = d->table.buckets[i]; b; b = next) {
            next = b->next;
            each(d, b, arg);
        }
    }
}

static void drop_each(struct disk *d, struct sandbox *b, void *arg)
{
    struct segment *s = arg;
    bool forget = b->state_segment == s->name.last && forgettable(b, s);
    lose_extent(d, b, s);
    if (forget) {
        hot_drop(&d->hot, b);
        table_remove(&d->table, b);
    }
}

struct stating {
    struct segment *segment;
    struct sandbox **sandboxes;
    size_t count, capacity;
    bool failed;
};

static void state_each(struct disk *d, struct sandbox *b, void *arg)
{
    struct stating *w = arg;
    (void)d;
    /* One with something in flight is about to be noted in a newer segment; if that fails, see below. */
    if (b->state_segment != w->segment->name.last || !b->durable || b->pending ||
        forgettable(b, w->segment) || w->failed)
        return;
    if (w->count == w->capacity) {
        size_t capacity = w->capacity ? 2 * w->capacity : 256;
        struct sandbox **wider = realloc(w->sandboxes, capacity * sizeof(struct sandbox *));
        if (!wider) {
            w->failed = true;
            return;
        }
        w->sandboxes = wider;
        w->capacity = capacity;
    }
    w->sandboxes[w->count++] = b;
}

void retain_run(struct disk *d, int64_t now_ns)
{
    if (d->dropping || d->closing || d->segment_count == 0)
        return;
    struct segment *s = d->segments[0];
    if (!due(d, s, now_ns) || consumers_held_from(d, now_ns) == 0)
        return;
    struct stating w = {.segment = s};
    for_all(d, state_each, &w);
    if (!w.failed) {
        d->dropping = s;
        s->busy = true;
        int fault = disk_append_states(d, w.sandboxes, w.count);
        if (fault)
            retain_stated(d, fault);
    }
    free(w.sandboxes);
}

struct needing {
    const struct segment *segment;
    bool *needed;
};

static void needed_each(struct disk *d, struct sandbox *b, void *arg)
{
    struct needing *n = arg;
    (void)d;
    if (b->durable && b->state_segment == n->segment->name.last && !forgettable(b, n->segment))
        *n->needed = true;
}

void retain_stated(struct disk *d, int fault)
{
    struct segment *s = d->dropping;
    assert(s);
    d->dropping = NULL;
    s->busy = false;
    /* Newer segments have the table of consumers; without one, a new one is begun with it. */
    if (fault && d->consumers.recorded && d->segment_count == 1)
        return;
    /* Those that were passed over, or have been touched by nothing since, get another round; whom nobody
     * could state, too. When there is nobody, it goes though nothing can be written: on a full disk, too. */
    bool needed = false;
    struct needing n = {s, &needed};
    for_all(d, needed_each, &n);
    if (needed)
        return;
    for_all(d, drop_each, s);
    uint32_t number = s->name.last;
    d->dropped = number;
    disk_drop_file(d, s);
    consumers_overrun(d, number);
    if (!fault)
        retain_run(d, sl_now_ns());
}

/* ---- one sandbox ---- */

void retain_sandbox(struct disk *d, struct sandbox *b)
{
    uint64_t limit = d->options.sandbox_bytes;
    /* Not at every block: between once and twice the limit. */
    if (!limit || b->kept_text_bytes <= limit + limit / 2)
        return;
    uint64_t kept = 0, from = 0;
    struct extent *first = NULL; /* the first that is kept, or some of it */
    uint32_t some = 0;
    for (uint32_t x = b->extent_count; x-- > 0 && !from;) {
        struct extent *extent = &b->extents[x];
        if (kept + extent->text_bytes < limit) {
            kept += extent->text_bytes;
            continue;
        }
        const struct entry *entries = part_entries(d, b, extent);
        some = 0;
        for (uint32_t i = entries ? extent->count : 0; i-- > 0;) {
            some += entries[i].text_bytes;
            if (kept + some >= limit) {
                from = entries[i].first_seq;
                first = extent;
                break;
            }
        }
        kept += some;
    }
    if (!first || from < b->kept_from)
        return;
    b->kept_text_bytes = kept;
    if (some < first->text_bytes) {
        first->segment->dead_text_bytes += first->text_bytes - some;
        first->text_bytes = some;
    }
    if (from == b->kept_from)
        return;
    b->kept_from = from;
    b->version++;
    uint32_t lost = 0;
    while (lost + 1 < b->extent_count && b->extents[lost + 1].first_seq <= from)
        lost++;
    for (uint32_t x = 0; x < lost; x++) {
        b->extents[x].segment->dead_text_bytes += b->extents[x].text_bytes;
        if (b->extents[x].capacity)
            free(b->extents[x].entries);
    }
    memmove(b->extents, b->extents + lost, (b->extent_count - lost) * sizeof *b->extents);
    b->extent_count -= lost;
    hot_trim(&d->hot, b, from);
}
