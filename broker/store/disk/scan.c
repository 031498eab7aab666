// SPDX-License-Identifier: Apache-2.0
/*
 * Scans for export: the records of the segments as they lie there, whole windows read at once. What retention
 * gave up of one sandbox is given as long as it is there; what belongs to deleted lives is passed over.
 */
#include "consumers.h"
#include "disk.h"
#include "wire/timestamp.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

enum {
    SCAN_PASSED_MAX_BYTES = 8 << 20, /* looked at in one call without anything to give */
};

struct scanning {
    struct disk *disk;
    const struct consumer *consumer;
    struct place at;
    size_t max_bytes, bytes;
    uint64_t passed_bytes;
    bool any, stopped;
    int fault;
    store_scan_each *each;
    void *arg;
};

/* False: it was not taken, and nothing more will be. */
static bool give(struct scanning *g, const struct sandbox *b, struct sl_slice bytes,
                 const struct sl_record *record)
{
    struct store_scanned scanned = {
        .record = bytes, .prefix = record, .birth = b->birth, .version = b->version};
    if ((g->any && g->bytes + bytes.bytes > g->max_bytes) || !g->each(g->arg, &scanned)) {
        g->stopped = true;
        return false;
    }
    g->any = true;
    g->bytes += bytes.bytes;
    return true;
}

static bool give_gap(struct scanning *g, const struct sandbox *b, uint64_t next, uint64_t lines,
                     uint8_t reason)
{
    struct sl_record record;
    struct sl_slice bytes = disk_gap_record(g->disk, b, next, lines, reason, &record);
    return give(g, b, bytes, &record);
}

/* ---- places ---- */

/* The first segment that ends at or behind this number; segment_count when there is none. */
static size_t segment_from(const struct disk *d, uint32_t number)
{
    size_t i = d->segment_count;
    while (i > 0 && d->segments[i - 1]->name.last >= number)
        i--;
    return i;
}

static struct place begin_of(const struct segment *s, bool gaps)
{
    return (struct place){
        .number = s->name.last, .generation = s->name.generation, .gaps_from = gaps ? 0 : GAPS_NONE};
}

/* The segment that the place is in now; NULL at the end. A place that is no more becomes the next one that
 * is. */
static struct segment *settle(struct scanning *g)
{
    struct disk *d = g->disk;
    size_t i = segment_from(d, g->at.number);
    if (i == d->segment_count)
        return NULL;
    struct segment *s = d->segments[i];
    if (s->name.last == g->at.number && s->name.generation == g->at.generation)
        return s;
    /* A number that no file ever had: nothing is missing there. In front of all there is, retention took it.
     */
    bool never = s->name.first > g->at.number && i > 0 && g->at.offset == 0;
    bool rewritten = s->name.generation > 0 && s->name.first <= g->consumer->lost_number;
    g->at = begin_of(s, !never || rewritten || g->at.gaps_from != GAPS_NONE);
    return s;
}

/*
 * Over to what follows a segment that takes no more; false: it may still grow, or nothing that is durable
 * follows. (A number that no durable file has may be given again after a crash, so no place names one.)
 */
static bool cross(struct scanning *g, struct segment *s)
{
    struct disk *d = g->disk;
    if (s == d->active || !s->closed || s->in_flight)
        return false;
    size_t i = segment_from(d, s->name.last + 1);
    while (i < d->segment_count && d->segments[i]->durable == 0)
        i++;
    if (i == d->segment_count)
        return false;
    const struct segment *next = d->segments[i];
    g->at = begin_of(next, next->name.generation > 0 && next->name.first <= g->consumer->lost_number);
    return true;
}

/* ---- gaps of what is gone ---- */

/* What is not there any more of each sandbox, by births: all may have been owed. */
static void give_lost(struct scanning *g)
{
    const struct table *t = &g->disk->table;
    size_t low = 0, high = t->alive;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (t->by_birth[middle]->birth < g->at.gaps_from)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < t->alive; low++) {
        const struct sandbox *b = t->by_birth[low];
        if (b->kept_from > 1 && !give_gap(g, b, b->kept_from, SL_GAP_LINES_UNKNOWN, SL_GAP_RETENTION))
            return;
        g->at.gaps_from = b->birth + 1;
    }
    g->at.gaps_from = GAPS_NONE;
}

/* ---- damage ---- */

/*
 * What can't be read at this offset, by the indexes of all sandboxes: whose block it was, and where the next
 * one is. Slow, and rare.
 */
static void give_damage(struct scanning *g, const struct segment *s)
{
    struct disk *d = g->disk;
    uint64_t next = s->durable;
    const struct sandbox *whose = NULL;
    struct entry lost = {0};
    d->damaged_blocks++;
    for (size_t i = 0; i < d->table.alive; i++) {
        const struct sandbox *b = d->table.by_birth[i];
        for (uint32_t x = 0; x < b->extent_count; x++) {
            const struct extent *e = &b->extents[x];
            const struct entry *entries = e->segment == s ? part_entries(d, b, e) : NULL;
            if (!entries && e->segment == s && e->count) {
                /* Whose lines are lost is not known now: told later, not passed over. */
                g->fault = -EIO;
                g->stopped = true;
                return;
            }
            for (uint32_t k = 0; entries && k < e->count; k++) {
                if (entries[k].offset == g->at.offset) {
                    whose = b;
                    lost = entries[k];
                } else if (entries[k].offset > g->at.offset && entries[k].offset < next) {
                    next = entries[k].offset;
                }
            }
        }
    }
    if (whose && lost.lines && !give_gap(g, whose, lost.first_seq + lost.lines, lost.lines, SL_GAP_DAMAGED))
        return;
    g->at.offset = next;
    g->at.lines += lost.lines;
    g->at.text_bytes += lost.text_bytes;
}

/* ---- records ---- */

/* Whether a record in `s` is of the life that the sandbox has now (README, decision on lives in scans). -EIO:
 * the index that tells can't be read now. */
static int of_this_life(struct disk *d, const struct segment *s, const struct sandbox *b,
                        const struct sl_record *record, uint64_t offset)
{
    if (b->birth <= s->last_birth || record->commit_ns > b->created_ns)
        return 1;
    for (uint32_t x = 0; x < b->extent_count; x++) {
        if (b->extents[x].segment != s)
            continue;
        const struct entry *entries = part_entries(d, b, &b->extents[x]);
        if (!entries)
            return -EIO;
        if (b->extents[x].count)
            return offset >= entries[0].offset;
    }
    return record->commit_ns == b->created_ns;
}

/* One whole record that was checked. False: it is not taken. */
static bool take_record(struct scanning *g, const struct segment *s, struct sl_slice bytes,
                        const struct sl_record *record, const struct sl_block_header *header)
{
    struct disk *d = g->disk;
    if (record->kind == SL_RECORD_BLOCK) {
        const struct sandbox *b = table_find(&d->table, header->sandbox);
        bool tells = header->lines > 0 || header->flags & SL_BLOCK_GAP;
        int lives = tells && b && b->alive ? of_this_life(d, s, b, record, g->at.offset) : 0;
        if (lives < 0) {
            g->fault = lives;
            g->stopped = true;
            return false;
        }
        if (lives && !give(g, b, bytes, record))
            return false;
        g->at.lines += header->lines;
        g->at.text_bytes += header->text_bytes;
    }
    g->at.offset += bytes.bytes;
    g->passed_bytes += bytes.bytes;
    return true;
}

/* From the place to the segment's end, or until it is enough. */
static void scan_segment(struct scanning *g, const struct segment *s)
{
    struct disk *d = g->disk;
    size_t have = 0;
    uint64_t base = g->at.offset;
    while (!g->stopped && g->at.offset < s->durable) {
        if (g->passed_bytes >= SCAN_PASSED_MAX_BYTES && !g->any) {
            g->stopped = true;
            return;
        }
        struct sl_slice bytes =
            sl_slice(d->window + (g->at.offset - base), have - (size_t)(g->at.offset - base));
        struct sl_record record;
        struct sl_slice payload;
        struct sl_block_header header;
        int answer = sl_record_check(bytes, &record, &payload, &header);
        if (answer == SL_RECORD_TRUNCATED && base + have < s->durable) {
            memmove(d->window, bytes.data, bytes.bytes);
            base = g->at.offset;
            have = bytes.bytes;
            uint64_t want = DISK_WINDOW_BYTES - SL_RECORD_MAX_BYTES;
            if (want > s->durable - (base + have))
                want = s->durable - (base + have);
            int64_t got = io_read(d->io, s->file, base + have, d->window + have, want);
            if (got == (int64_t)want) {
                have += want;
                continue;
            }
        }
        if (answer != SL_RECORD_OK) {
            give_damage(g, s);
            base = g->at.offset;
            have = 0;
            continue;
        }
        take_record(g, s, sl_slice(bytes.data, SL_RECORD_PREFIX_BYTES + payload.bytes), &record, &header);
    }
}

int disk_scan(struct store *s, struct sl_slice consumer, struct sl_slice checkpoint, size_t max_bytes,
              store_scan_each *each, void *arg, struct sl_checkpoint *ret_from,
              struct sl_checkpoint *ret_next, bool *ret_more)
{
    struct disk *d = (struct disk *)s;
    struct scanning g = {.disk = d, .max_bytes = max_bytes, .each = each, .arg = arg};
    g.consumer = consumers_find(&d->consumers.durable, consumer);
    if (!g.consumer)
        return STORE_UNKNOWN;
    g.at = g.consumer->place;
    int answer = checkpoint.bytes ? place_parse(d->epoch, checkpoint, &g.at) : 0;
    if (answer)
        return answer;
    if (!d->window && !(d->window = malloc(DISK_WINDOW_BYTES)))
        return -ENOMEM;
    place_render(d->epoch, &g.at, ret_from);
    struct segment *segment;
    while (!g.stopped && (segment = settle(&g)) != NULL) {
        if (g.at.gaps_from != GAPS_NONE)
            give_lost(&g);
        if (!g.stopped)
            scan_segment(&g, segment);
        if (g.stopped || !cross(&g, segment))
            break;
    }
    place_render(d->epoch, &g.at, ret_next);
    *ret_more = g.stopped;
    /* What was given before it is good: the next call meets the fault first. */
    return g.any ? 0 : g.fault;
}
