// SPDX-License-Identifier: Apache-2.0
/*
 * Reads: by the index from a number, then over to the hot records as soon as they go that far. Holes are
 * given as gaps made up for them; a record that can't be read or whose checksum is wrong is such a hole.
 */
#include "disk.h"
#include "wire/timestamp.h"
#include <assert.h>
#include <errno.h>

static struct sandbox *find_alive(const struct disk *d, struct sl_slice id)
{
    struct sandbox *b = table_find(&d->table, id);
    return b && b->alive ? b : NULL;
}

/* ---- giving ---- */

struct giving {
    struct disk *disk;
    struct sandbox *sandbox;
    uint64_t next; /* number that is due */
    size_t max_bytes;
    size_t bytes;
    bool any;
    bool stopped; /* by `each`, or by max_bytes */
    bool more;    /* by max_bytes */
    store_each *each;
    void *arg;
};

static bool room_for(struct giving *g, size_t bytes)
{
    if (g->any && g->bytes + bytes > g->max_bytes)
        g->stopped = g->more = true;
    return !g->stopped;
}

static void give(struct giving *g, struct sl_slice bytes, const struct sl_record *record, uint64_t next)
{
    g->any = true;
    g->bytes += bytes.bytes;
    if (next > g->next)
        g->next = next;
    if (!g->each(g->arg, bytes, record))
        g->stopped = true;
}

struct sl_slice disk_gap_record(struct disk *d, const struct sandbox *b, uint64_t next, uint64_t lines,
                                uint8_t reason, struct sl_record *ret)
{
    int64_t now_ns = sl_now_ns();
    struct sl_block_header facts = {
        .flags = SL_BLOCK_GAP,
        .gap_reason = reason,
        .gap_lines = lines,
        .time_min_ns = now_ns,
        .time_max_ns = now_ns,
    };
    sl_block_builder_reset(d->gap, sandbox_id(b));
    assert(sl_block_builder_bound(d->gap) <= GAP_RECORD_BYTES - SL_RECORD_PREFIX_BYTES);
    size_t bytes = sl_block_builder_encode(d->gap, &facts, 0, d->gap_record + SL_RECORD_PREFIX_BYTES,
                                           GAP_RECORD_BYTES - SL_RECORD_PREFIX_BYTES);
    *ret = (struct sl_record){
        .kind = SL_RECORD_BLOCK,
        .payload_bytes = (uint32_t)bytes,
        .first_seq = next,
        .floor_ns = INT64_MIN,
        .commit_ns = now_ns,
    };
    sl_record_encode_prefix(ret, d->gap_record);
    return sl_slice(d->gap_record, SL_RECORD_PREFIX_BYTES + bytes);
}

/* Lines g->next to `next` - 1 are not there. */
static void give_gap(struct giving *g, uint64_t next, uint8_t reason)
{
    struct sl_record record;
    struct sl_slice bytes = disk_gap_record(g->disk, g->sandbox, next, next - g->next, reason, &record);
    if (room_for(g, bytes.bytes))
        give(g, bytes, &record, next);
}

/* What is missing between what is due and `next`: first what retention took, then damage. */
static void give_hole(struct giving *g, uint64_t next)
{
    uint64_t kept = g->sandbox->kept_from;
    if (!g->stopped && g->next < kept && g->next < next)
        give_gap(g, kept < next ? kept : next, SL_GAP_RETENTION);
    if (!g->stopped && g->next < next)
        give_gap(g, next, SL_GAP_DAMAGED);
}

static void give_hot(struct giving *g, uint32_t index)
{
    const struct hot_list *l = g->sandbox->hot;
    for (; index < l->count && !g->stopped; index++) {
        const struct hot *h = hot_at(l, index);
        struct sl_slice bytes = sl_slice(h->record, h->bytes);
        struct sl_record record;
        int answer = sl_record_decode_prefix(bytes, &record);
        assert(answer == SL_RECORD_OK);
        give_hole(g, h->first_seq);
        if (room_for(g, h->bytes))
            give(g, bytes, &record, h->first_seq + h->lines);
    }
}

static void give_cold(struct giving *g, const struct segment *s, const struct entry *e)
{
    struct disk *d = g->disk;
    give_hole(g, e->first_seq);
    if (!room_for(g, e->bytes))
        return;
    struct sl_record record;
    struct sl_slice payload, bytes = sl_slice(d->scratch, e->bytes);
    struct sl_block_header header;
    bool good = e->bytes <= SL_RECORD_MAX_BYTES &&
                io_read(d->io, s->file, e->offset, d->scratch, e->bytes) == (int64_t)e->bytes &&
                sl_record_check(bytes, &record, &payload, &header) == SL_RECORD_OK &&
                record.kind == SL_RECORD_BLOCK && record.first_seq == e->first_seq &&
                header.lines == e->lines && sl_slice_equal(header.sandbox, sandbox_id(g->sandbox));
    if (good) {
        give(g, bytes, &record, e->first_seq + e->lines);
        return;
    }
    d->damaged_blocks++;
    if (g->next < e->first_seq + e->lines)
        give_gap(g, e->first_seq + e->lines, SL_GAP_DAMAGED);
}

/* ---- the index ---- */

/* The extent in which reading from `from_seq` begins. */
static uint32_t first_extent(const struct sandbox *b, uint64_t from_seq)
{
    uint32_t low = 0, high = b->extent_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (b->extents[middle].first_seq < from_seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 ? low - 1 : 0;
}

static bool behind(const struct entry *e, uint64_t from_seq)
{
    return e->lines ? e->first_seq + e->lines > from_seq : e->first_seq >= from_seq;
}

/* First entry that is not behind us; ends ascend. */
static uint32_t first_entry(const struct entry *entries, uint32_t count, uint64_t from_seq)
{
    uint32_t low = 0, high = count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (behind(&entries[middle], from_seq))
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* True when the rest was given from the hot records, or has to be asked for anew. */
static bool over_to_hot(struct giving *g, const struct entry *e)
{
    const struct hot_list *l = g->sandbox->hot;
    if (!l || e->first_seq < hot_at(l, 0)->first_seq)
        return false;
    if (e->lines == 0 && e->first_seq == hot_at(l, 0)->first_seq && hot_at(l, 0)->lines > 0)
        return false;
    uint64_t due = g->next > hot_at(l, 0)->first_seq ? g->next : hot_at(l, 0)->first_seq;
    uint32_t index;
    if (!hot_find(g->sandbox, due, &index))
        index = 0;
    if (g->any && index < l->count && hot_at(l, index)->lines && hot_at(l, index)->first_seq < g->next) {
        /* Compaction has cut the blocks elsewhere: lines would come twice within one answer. */
        g->stopped = g->more = true;
        return true;
    }
    give_hot(g, index);
    return true;
}

int disk_read(struct store *s, struct sl_slice sandbox, uint64_t from_seq, size_t max_bytes, store_each *each,
              void *arg, bool *ret_more)
{
    struct disk *d = (struct disk *)s;
    struct sandbox *b = find_alive(d, sandbox);
    if (!b)
        return STORE_UNKNOWN;
    struct giving g = {
        .disk = d,
        .sandbox = b,
        .next = from_seq ? from_seq : 1,
        .max_bytes = max_bytes,
        .each = each,
        .arg = arg,
    };
    uint32_t index;
    bool done = false;
    if (g.next >= b->kept_from && hot_find(b, g.next, &index)) {
        give_hot(&g, index);
        done = true;
    }
    for (uint32_t x = first_extent(b, g.next); x < b->extent_count && !done && !g.stopped; x++) {
        const struct extent *extent = &b->extents[x];
        const struct entry *entries = part_entries(d, b, extent);
        if (!entries)
            continue;
        for (uint32_t i = first_entry(entries, extent->count, g.next);
             i < extent->count && !done && !g.stopped; i++) {
            const struct entry *e = &entries[i];
            if (e->first_seq + e->lines <= b->kept_from && e->first_seq < b->kept_from)
                continue;
            done = over_to_hot(&g, e);
            if (!done)
                give_cold(&g, extent->segment, e);
        }
    }
    if (!done && !g.stopped && g.next <= b->last_seq)
        give_hole(&g, b->last_seq + 1);
    *ret_more = g.more || (g.stopped && g.next <= b->last_seq);
    return 0;
}

/* ---- seeking ---- */

int disk_seek_time(struct store *s, struct sl_slice sandbox, int64_t time_ns, uint64_t *ret_seq)
{
    struct disk *d = (struct disk *)s;
    const struct sandbox *b = find_alive(d, sandbox);
    if (!b)
        return STORE_UNKNOWN;
    uint64_t oldest = sandbox_oldest(b);
    uint64_t found = b->last_seq + 1;
    uint32_t low = 0, high = b->extent_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (b->extents[middle].count == 0 || b->extents[middle].ceiling_ns < time_ns)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < b->extent_count) {
        const struct extent *extent = &b->extents[low];
        const struct entry *entries = part_entries(d, b, extent);
        uint32_t first = 0, last = entries ? extent->count : 0;
        while (first < last) {
            uint32_t middle = first + (last - first) / 2;
            if (entries[middle].ceiling_ns < time_ns)
                first = middle + 1;
            else
                last = middle;
        }
        found = entries && first < extent->count ? entries[first].first_seq : extent->first_seq;
    }
    *ret_seq = found > oldest ? found : oldest;
    return 0;
}

int disk_seek_back(struct store *s, struct sl_slice sandbox, uint64_t before_seq, size_t max_bytes,
                   uint64_t *ret_seq)
{
    struct disk *d = (struct disk *)s;
    const struct sandbox *b = find_alive(d, sandbox);
    if (!b)
        return STORE_UNKNOWN;
    if (before_seq == 0)
        before_seq = 1;
    if (before_seq > b->last_seq + 1)
        before_seq = b->last_seq + 1;
    uint64_t oldest = sandbox_oldest(b), found = before_seq;
    size_t bytes = 0;
    bool any = false;
    /* Of the hot ones alone, if there are any: a tail asks no disk, and no answer lies across the seam. */
    for (uint32_t i = b->hot ? b->hot->count : 0; i-- > 0;) {
        const struct hot *h = hot_at(b->hot, i);
        if (h->first_seq >= before_seq || h->first_seq < oldest)
            continue;
        if (any && bytes + h->bytes > max_bytes)
            goto out;
        bytes += h->bytes;
        any = true;
        found = h->first_seq;
    }
    if (any)
        goto out;
    for (uint32_t x = b->extent_count; x-- > 0;) {
        const struct extent *extent = &b->extents[x];
        if (extent->first_seq >= before_seq)
            continue;
        const struct entry *entries = part_entries(d, b, extent);
        for (uint32_t i = entries ? extent->count : 0; i-- > 0;) {
            const struct entry *e = &entries[i];
            if (e->first_seq >= before_seq)
                continue;
            if (e->first_seq + e->lines <= oldest && e->first_seq < oldest)
                goto out;
            if (any && bytes + e->bytes > max_bytes)
                goto out;
            bytes += e->bytes;
            any = true;
            found = e->first_seq;
        }
    }
out:
    *ret_seq = found;
    return 0;
}

/* ---- about sandboxes ---- */

int disk_place(struct store *s, struct sl_slice sandbox, struct sl_place *ret)
{
    const struct sandbox *b = find_alive((struct disk *)s, sandbox);
    if (!b)
        return STORE_UNKNOWN;
    sandbox_place(b, ret);
    return 0;
}

int disk_info(struct store *s, struct sl_slice sandbox, struct sl_info *ret)
{
    const struct sandbox *b = find_alive((struct disk *)s, sandbox);
    if (!b)
        return STORE_UNKNOWN;
    sandbox_info(b, ret);
    return 0;
}

static bool has_labels(const struct sl_info *info, struct sl_slice wanted)
{
    struct sl_reader w = sl_reader(wanted);
    struct sl_slice key, value, k, v;
    while (sl_label_next(&w, &key, &value)) {
        struct sl_reader r = sl_reader(info->label_pairs);
        bool found = false;
        while (!found && sl_label_next(&r, &k, &v))
            found = sl_slice_equal(k, key) && sl_slice_equal(v, value);
        if (!found)
            return false;
    }
    return true;
}

int disk_list(struct store *s, const struct sl_list *list,
              bool (*each)(void *arg, const struct sl_info *info), void *arg, uint64_t *ret_next_page)
{
    const struct table *t = &((struct disk *)s)->table;
    /* A page is named by the birth below which it begins: births are distinct and only newer ones come. */
    size_t at = t->alive;
    if (list->page) {
        size_t low = 0;
        while (low < at) {
            size_t middle = low + (at - low) / 2;
            if (t->by_birth[middle]->birth < list->page)
                low = middle + 1;
            else
                at = middle;
        }
    }
    unsigned given = 0;
    *ret_next_page = 0;
    while (at-- > 0) {
        const struct sandbox *b = t->by_birth[at];
        bool running = b->state != SL_STOPPED;
        if (list->state && (list->state == SL_STOPPED) == running)
            continue;
        if (b->id_bytes < list->prefix.bytes ||
            (list->prefix.bytes && memcmp(b->id, list->prefix.data, list->prefix.bytes) != 0))
            continue;
        struct sl_info info;
        sandbox_info(b, &info);
        if (list->labels && !has_labels(&info, list->label_pairs))
            continue;
        if (given == list->limit) {
            *ret_next_page = b->birth + 1;
            break;
        }
        given++;
        if (!each(arg, &info)) {
            *ret_next_page = at > 0 ? b->birth : 0;
            break;
        }
    }
    return 0;
}

int disk_sources(struct store *s, struct sl_slice sandbox,
                 void (*each)(void *arg, const struct sl_source_place *place), void *arg)
{
    const struct sandbox *b = table_find(&((struct disk *)s)->table, sandbox);
    if (!b || !b->durable)
        return STORE_UNKNOWN;
    for (uint16_t i = 0; i < b->source_count; i++) {
        const struct source *source = &b->sources[i];
        if (!(source->bits & SOURCE_DURABLE))
            continue;
        struct sl_source_place place = {
            .source.incarnation = source->incarnation,
            .offset = source->offset,
            .open_from = source->open_from,
            .fingerprint = source->fingerprint,
            .fingerprint_bytes = source->fingerprint_bytes,
            .flags = source->bits & (SOURCE_BURIED | SOURCE_CLOSED),
        };
        memcpy(place.source.key, source->key, sizeof place.source.key);
        each(arg, &place);
    }
    return 0;
}
