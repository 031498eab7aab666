// SPDX-License-Identifier: Apache-2.0
/* The state machine of sandbox.h: one function per record kind. Everything that can fail comes first. */
#include "sandbox.h"
#include "segment.h"
#include "wire/timestamp.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/* ---- details ---- */

static struct sl_slice details_pairs(const struct details *d)
{
    return d ? sl_slice(d->data + d->host_bytes, d->pairs_bytes) : sl_slice(NULL, 0);
}

static struct sl_slice details_names(const struct details *d)
{
    return d ? sl_slice(d->data + d->host_bytes + d->pairs_bytes, d->names_bytes) : sl_slice(NULL, 0);
}

static struct sl_slice details_host(const struct details *d)
{
    return d ? sl_slice(d->data, d->host_bytes) : sl_slice(NULL, 0);
}

static bool pairs_find(struct sl_slice pairs, struct sl_slice key, struct sl_slice *ret_value)
{
    struct sl_reader r = sl_reader(pairs);
    struct sl_slice k;
    while (sl_label_next(&r, &k, ret_value)) {
        if (sl_slice_equal(k, key))
            return true;
    }
    return false;
}

static bool names_have(const struct details *d, struct sl_slice name)
{
    struct sl_reader r = sl_reader(details_names(d));
    for (unsigned i = 0; d && i < d->names; i++) {
        if (sl_slice_equal(sl_read_slice8(&r), name))
            return true;
    }
    return false;
}

/* A container's name is noted when its first line comes; more than 255 are not noted, only stored. */
static int names_note(struct table *t, const struct details *old, const struct sl_block_header *header,
                      struct details **ret)
{
    uint8_t fresh[255 * (1 + SL_ID_MAX_BYTES)];
    struct sl_writer w = sl_writer(fresh, sizeof fresh);
    unsigned count = old ? old->names : 0;
    unsigned before = count;
    for (unsigned i = 0; i < header->containers; i++) {
        struct sl_slice name = sl_block_container(header, i);
        if (count < 255 && !names_have(old, name)) {
            sl_write_slice8(&w, name);
            count++;
        }
    }
    if (count == before || w.failed) {
        *ret = NULL;
        return 0;
    }
    struct sl_slice had = details_names(old);
    uint8_t *all = malloc(had.bytes + w.bytes);
    if (!all)
        return -ENOMEM;
    if (had.bytes)
        memcpy(all, had.data, had.bytes);
    memcpy(all + had.bytes, fresh, w.bytes);
    int fault = details_get(&t->details, details_host(old), details_pairs(old), old ? old->labels : 0,
                            sl_slice(all, had.bytes + w.bytes), (uint8_t)count, ret);
    free(all);
    return fault;
}

/* Host and labels of the change over those that are there; labels past SL_LABELS_MAX are left out. */
static int details_change(struct table *t, const struct details *old, const struct sl_change *change,
                          struct details **ret)
{
    struct sl_slice had = details_pairs(old);
    size_t most = had.bytes + (change->fields & SL_CHANGE_LABELS ? change->label_pairs.bytes : 0);
    uint8_t *pairs = malloc(most ? most : 1);
    if (!pairs)
        return -ENOMEM;
    struct sl_writer w = sl_writer(pairs, most);
    uint16_t count = 0;
    struct sl_reader r = sl_reader(had);
    struct sl_slice key, value, newer;
    struct sl_slice changed = change->fields & SL_CHANGE_LABELS ? change->label_pairs : sl_slice(NULL, 0);
    while (sl_label_next(&r, &key, &value)) {
        if (pairs_find(changed, key, &newer))
            value = newer;
        sl_label_write(&w, key, value);
        count++;
    }
    r = sl_reader(changed);
    while (sl_label_next(&r, &key, &value) && count < SL_LABELS_MAX) {
        /* Twice in one change: the first is written, the later ones find it. */
        if (pairs_find(sl_slice(pairs, w.bytes), key, &newer))
            continue;
        sl_label_write(&w, key, value);
        count++;
    }
    assert(!w.failed);
    struct sl_slice host = change->fields & SL_CHANGE_HOST ? change->host : details_host(old);
    int fault = details_get(&t->details, host, sl_slice(pairs, w.bytes), count, details_names(old),
                            old ? old->names : 0, ret);
    free(pairs);
    return fault;
}

bool sandbox_change_is_known(const struct sandbox *b, const struct sl_change *change)
{
    if (!b->alive)
        return false;
    if (change->fields & SL_CHANGE_STATE && change->state != b->state)
        return false;
    if (change->fields & SL_CHANGE_EXIT && (!b->has_exit || b->exit_code != change->exit_code))
        return false;
    if (change->fields & SL_CHANGE_HOST && !sl_slice_equal(change->host, details_host(b->details)))
        return false;
    if (change->fields & SL_CHANGE_LABELS) {
        struct sl_reader r = sl_reader(change->label_pairs);
        struct sl_slice key, value, known;
        while (sl_label_next(&r, &key, &value)) {
            if (!pairs_find(details_pairs(b->details), key, &known) || !sl_slice_equal(known, value))
                return false;
        }
    }
    return true;
}

bool sandbox_change_revives(const struct sl_change *change)
{
    if (change->fields & SL_CHANGE_HOST)
        return false;
    return !(change->fields & SL_CHANGE_STATE) || change->state == SL_RUNNING;
}

/* ---- lives ---- */

/*
 * The version a life begins with: greater than any that an earlier life under this id had, also one that was
 * forgotten since (births ascend, and no life has a change every millisecond). 0 means "none seen" to askers.
 */
static uint32_t first_version(uint32_t last, uint64_t birth)
{
    uint32_t begin = (uint32_t)(birth / SL_NS_PER_MS);
    if (last != 0 && (int32_t)(begin - last) <= 0)
        begin = last + 1;
    return begin ? begin : 1;
}

/* Needs table_reserve_birth() before. */
static void life_begin(struct table *t, struct sandbox *b, int64_t commit_ns)
{
    assert(!b->alive);
    uint64_t birth = commit_ns > 0 ? (uint64_t)commit_ns : 1;
    b->birth = birth > t->last_birth ? birth : t->last_birth + 1;
    b->created_ns = commit_ns;
    b->last_seq = 0;
    b->kept_from = 1;
    b->lost = 0;
    b->first_time_ns = 0;
    b->last_time_ns = 0;
    b->floor_ns = INT64_MIN;
    b->text_bytes = 0;
    b->version = first_version(b->version, b->birth);
    b->state = SL_RUNNING;
    b->has_exit = false;
    b->exit_code = 0;
    table_insert_birth(t, b);
}

/* ---- index ---- */

/* Room for one more entry of `segment` at the sandbox's end. */
static int index_reserve(struct sandbox *b, struct segment *segment, uint64_t first_seq)
{
    struct extent *last = b->extent_count ? &b->extents[b->extent_count - 1] : NULL;
    if (last && last->segment == segment) {
        assert(last->capacity);
        if (last->count < last->capacity)
            return 0;
        struct entry *wider = realloc(last->entries, 2 * last->capacity * sizeof *wider);
        if (!wider)
            return -ENOMEM;
        last->entries = wider;
        last->capacity *= 2;
        return 0;
    }
    int fault = sandbox_extents_reserve(b, b->extent_count + 1);
    if (fault)
        return fault;
    struct entry *entries = malloc(2 * sizeof *entries);
    if (!entries)
        return -ENOMEM;
    b->extents[b->extent_count++] =
        (struct extent){.segment = segment, .first_seq = first_seq, .entries = entries, .capacity = 2};
    return 0;
}

static void index_add(struct sandbox *b, const struct entry *entry)
{
    struct extent *last = &b->extents[b->extent_count - 1];
    if (last->count == 0)
        last->first_seq = entry->first_seq;
    last->entries[last->count++] = *entry;
    last->ceiling_ns = entry->ceiling_ns;
    last->text_bytes += entry->text_bytes;
    last->segment->text_bytes += entry->text_bytes;
    last->segment->lines += entry->lines;
    b->kept_text_bytes += entry->text_bytes;
}

/* ---- records ---- */

static bool stands(const struct sandbox *b, const struct sl_source_range *range)
{
    const struct source *s = sandbox_source(b, range->source.key);
    if (!s || !(s->bits & SOURCE_DURABLE))
        return range->from == 0;
    if (s->bits & SOURCE_BURIED)
        return false;
    if (s->incarnation == range->source.incarnation)
        return s->offset == range->from;
    return range->source.incarnation > s->incarnation && range->from == 0;
}

static void source_move(struct source *s, const struct sl_source_range *range, uint64_t open_from)
{
    s->incarnation = range->source.incarnation;
    s->offset = range->to;
    s->open_from = open_from;
    s->bits = (uint8_t)((s->bits | SOURCE_DURABLE) & ~SOURCE_CLOSED);
}

int table_apply_block(struct table *t, struct segment *segment, uint64_t offset,
                      const struct sl_record *record, const struct sl_block_header *header, bool judged,
                      struct applied *ret)
{
    *ret = (struct applied){0};
    struct sandbox *b;
    int fault = table_get(t, header->sandbox, &b);
    if (fault)
        return fault;
    uint64_t next = b->alive ? b->last_seq + 1 : 1;
    bool fits = record->first_seq == next && stands(b, &header->range) &&
                (!(header->flags & SL_BLOCK_ALSO) || stands(b, &header->also));
    assert(fits || !judged);
    if (!fits) {
        if (!b->alive && !b->durable && !b->pending)
            table_remove(t, b);
        return TABLE_MISFIT;
    }
    struct details *noted = NULL;
    struct source *source, *also = NULL;
    bool indexed = header->lines > 0 || header->flags & SL_BLOCK_GAP;
    const struct source *before = sandbox_source(b, header->range.source.key);
    bool unseen = !before || !(before->bits & SOURCE_DURABLE);
    if ((fault = sandbox_source_get(b, header->range.source.key, &source)) ||
        (header->flags & SL_BLOCK_ALSO && (fault = sandbox_source_get(b, header->also.source.key, &also))) ||
        (!b->alive && (fault = table_reserve_birth(t))) ||
        (indexed && (fault = index_reserve(b, segment, record->first_seq))) ||
        (header->lines > 0 && (fault = names_note(t, b->details, header, &noted))))
        return fault;

    if (noted) {
        details_put(&t->details, b->details);
        b->details = noted;
    }
    if (!b->alive)
        life_begin(t, b, record->commit_ns);
    b->durable = true;
    if (also) {
        also = sandbox_source(b, header->also.source.key);
        source_move(also, &header->also, header->also.to);
    }
    source = sandbox_source(b, header->range.source.key);
    source_move(source, &header->range, header->open_from);
    if (header->fingerprint_bytes) {
        source->fingerprint = header->fingerprint;
        source->fingerprint_bytes = header->fingerprint_bytes;
    }
    if (header->flags & SL_BLOCK_CLOSE)
        source->bits |= SOURCE_CLOSED;

    ret->sandbox = b;
    if (header->lines > 0) {
        if (b->last_seq == 0)
            b->first_time_ns = header->time_min_ns;
        b->last_time_ns = header->time_max_ns;
        b->last_seq += header->lines;
        b->text_bytes += header->text_bytes;
        b->floor_ns = sl_query_ceiling(record, header);
        if (unseen && b->state == SL_STOPPED) {
            b->state = SL_RUNNING;
            b->has_exit = false;
            b->exit_code = 0;
            ret->version = true;
        }
    }
    if (header->flags & SL_BLOCK_GAP) {
        if (header->gap_lines != SL_GAP_LINES_UNKNOWN)
            b->lost += header->gap_lines;
        ret->version = true;
    }
    if (ret->version)
        b->version++;
    if (indexed) {
        ret->indexed = true;
        ret->entry = (struct entry){
            .first_seq = record->first_seq,
            .ceiling_ns = header->lines > 0 ? b->floor_ns : record->floor_ns,
            .offset = (uint32_t)offset,
            .bytes = SL_RECORD_PREFIX_BYTES + record->payload_bytes,
            .lines = header->lines,
            .text_bytes = header->text_bytes,
        };
        index_add(b, &ret->entry);
    }
    return 0;
}

int table_apply_change(struct table *t, const struct sl_change *change, int64_t commit_ns,
                       struct applied *ret)
{
    *ret = (struct applied){0};
    struct sandbox *b;
    struct details *details = NULL;
    int fault = table_get(t, change->sandbox, &b);
    if (fault)
        return fault;
    bool begins = !b->alive && (!b->durable || sandbox_change_revives(change));
    if (begins && (fault = table_reserve_birth(t)))
        return fault;
    if (change->fields & (SL_CHANGE_HOST | SL_CHANGE_LABELS) &&
        (fault = details_change(t, b->details, change, &details)))
        return fault;

    if (details) {
        details_put(&t->details, b->details);
        b->details = details;
    }
    b->durable = true;
    if (begins)
        life_begin(t, b, commit_ns);
    ret->sandbox = b;
    if (!b->alive)
        return 0;
    if (change->fields & SL_CHANGE_STATE) {
        b->state = change->state;
        if (change->state == SL_RUNNING) {
            b->has_exit = false;
            b->exit_code = 0;
        }
    }
    if (change->fields & SL_CHANGE_EXIT) {
        b->has_exit = true;
        b->exit_code = change->exit_code;
    }
    b->version++;
    ret->version = true;
    return 0;
}

int table_apply_delete(struct table *t, struct sl_slice id, struct applied *ret)
{
    *ret = (struct applied){0};
    struct sandbox *b = table_find(t, id);
    if (!b || !b->alive)
        return TABLE_MISFIT;
    table_remove_birth(t, b);
    sandbox_drop_extents(b);
    details_put(&t->details, b->details);
    b->details = NULL;
    for (uint16_t i = 0; i < b->source_count; i++) {
        if (b->sources[i].bits & SOURCE_DURABLE)
            b->sources[i].bits |= SOURCE_BURIED;
    }
    b->version++;
    ret->sandbox = b;
    ret->version = true;
    ret->ended = true;
    return 0;
}
