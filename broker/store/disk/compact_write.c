// SPDX-License-Identifier: Apache-2.0
#include "compact.h"
#include "segment.h"
#include "wire/crc32c.h"
#include "wire/timestamp.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

enum {
    COMPACT_RAW_BYTES = 384 << 10, /* of a merged block; README, decision on its size */
    COMPACT_LEVEL = 9,             /* LZ4HC; README, decision on size and level */
    COMPACT_WINDOW_BYTES = 1 << 20,
    COMPACT_SYNC_BYTES = 8 << 20, /* written at most before a sync: so that a commit waits for no more */
};
static const char compact_file[] = COMPACT_FILE;

/* ---- reading ---- */

static int compare_lives(const void *left, const void *right)
{
    const struct compact_life *a = left, *b = right;
    size_t bytes = a->state.id.bytes < b->state.id.bytes ? a->state.id.bytes : b->state.id.bytes;
    int order = memcmp(a->state.id.data, b->state.id.data, bytes);
    if (order == 0 && a->state.id.bytes != b->state.id.bytes)
        order = a->state.id.bytes < b->state.id.bytes ? -1 : 1;
    if (order == 0 && a->state.birth != b->state.birth)
        order = a->state.birth < b->state.birth ? -1 : 1;
    return order ? order : (a->input > b->input) - (a->input < b->input);
}

static int read_states(struct compact *c, uint32_t input, size_t *capacity)
{
    struct compact_input *in = &c->inputs[input];
    const struct segment *s = in->segment;
    uint8_t last[TRAILER_BYTES];
    struct trailer t;
    if (io_read(c->io, s->file, s->file_bytes - TRAILER_BYTES, last, TRAILER_BYTES) != TRAILER_BYTES ||
        trailer_decode(last, s->file_bytes, &t))
        return -EIO;
    in->states = malloc(t.states_bytes + 1);
    if (!in->states)
        return -ENOMEM;
    if (io_read(c->io, s->file, t.states_offset, in->states, t.states_bytes) != (int64_t)t.states_bytes)
        return -EIO;
    struct sl_slice rest = sl_slice(in->states, t.states_bytes);
    while (rest.bytes) {
        struct sl_record record;
        struct sl_slice payload;
        struct sl_block_header ignored;
        struct compact_life life = {.input = input};
        if (sl_record_check(rest, &record, &payload, &ignored))
            return -EIO;
        if (record.kind == SL_RECORD_CONSUMER) {
            c->consumers = sl_slice(rest.data, SL_RECORD_PREFIX_BYTES + payload.bytes);
            rest = sl_slice(rest.data + c->consumers.bytes, rest.bytes - c->consumers.bytes);
            continue;
        }
        if (state_decode(payload, &life.state))
            return -EIO;
        life.record = sl_slice(rest.data, SL_RECORD_PREFIX_BYTES + payload.bytes);
        if (c->life_count == *capacity) {
            *capacity = *capacity ? 2 * *capacity : 256;
            struct compact_life *wider = realloc(c->lives, *capacity * sizeof *wider);
            if (!wider)
                return -ENOMEM;
            c->lives = wider;
        }
        c->lives[c->life_count++] = life;
        rest = sl_slice(rest.data + life.record.bytes, rest.bytes - life.record.bytes);
    }
    return 0;
}

int compact_read_states(struct compact *c)
{
    size_t capacity = 0;
    int fault = 0;
    for (uint32_t i = 0; i < c->input_count && !fault; i++)
        fault = read_states(c, i, &capacity);
    if (!fault && c->life_count)
        qsort(c->lives, c->life_count, sizeof *c->lives, compare_lives);
    return fault;
}

/* ---- writing ---- */

struct output {
    struct compact *c;
    uint8_t *buffer;
    size_t buffered;
    uint64_t written;
    uint64_t synced;
    struct entry *entries; /* of all lives, one behind the other */
    size_t count, capacity;
    size_t first; /* of the present life */
    struct sl_block_builder *builder;
    uint8_t *block;   /* room for one */
    uint8_t *record;  /* one that was read */
    uint8_t *scratch; /* its columns */
    /* the block being built */
    struct sl_slice sandbox;
    uint64_t first_seq, next_seq;
    int64_t floor_ns, query_ns, commit_ns;
    uint64_t text_bytes;
    struct sl_source_range range;
};

static int output_flush(struct output *o)
{
    struct iovec all = {.iov_base = o->buffer, .iov_len = o->buffered};
    int fault = o->buffered ? io_write(o->c->io, o->c->file, o->written, &all, 1) : 0;
    o->written += o->buffered;
    pace_step(&o->c->pace, o->buffered);
    o->buffered = 0;
    if (!fault && o->written - o->synced >= COMPACT_SYNC_BYTES) {
        fault = io_sync(o->c->io, o->c->file);
        o->synced = o->written;
    }
    return fault;
}

static int output_bytes(struct output *o, const void *data, size_t bytes)
{
    while (bytes) {
        size_t part = COMPACT_WINDOW_BYTES - o->buffered;
        if (part > bytes)
            part = bytes;
        memcpy(o->buffer + o->buffered, data, part);
        o->buffered += part;
        data = (const uint8_t *)data + part;
        bytes -= part;
        if (o->buffered == COMPACT_WINDOW_BYTES) {
            int fault = output_flush(o);
            if (fault)
                return fault;
        }
    }
    return 0;
}

static int output_record(struct output *o, struct entry entry, struct sl_slice prefix,
                         struct sl_slice payload)
{
    uint64_t at = o->written + o->buffered;
    if (at > UINT32_MAX - SL_RECORD_MAX_BYTES)
        return -EFBIG;
    if (o->count == o->capacity) {
        size_t capacity = o->capacity ? 2 * o->capacity : 1024;
        struct entry *wider = realloc(o->entries, capacity * sizeof *wider);
        if (!wider)
            return -ENOMEM;
        o->entries = wider;
        o->capacity = capacity;
    }
    entry.offset = (uint32_t)at;
    o->entries[o->count++] = entry;
    int fault = output_bytes(o, prefix.data, prefix.bytes);
    return fault ? fault : output_bytes(o, payload.data, payload.bytes);
}

/* The block being built, if it has lines. */
static int output_block(struct output *o)
{
    uint32_t lines = sl_block_builder_lines(o->builder);
    if (lines == 0)
        return 0;
    struct sl_block_header facts = {.codec = SL_CODEC_LZ4, .range = o->range, .open_from = o->range.to};
    facts.range.from = facts.range.to;
    size_t room = sl_block_builder_bound(o->builder);
    assert(room <= SL_BLOCK_MAX_BYTES + 65536);
    size_t bytes = sl_block_builder_encode(o->builder, &facts, COMPACT_LEVEL, o->block, room);
    struct sl_record record = {
        .kind = SL_RECORD_BLOCK,
        .payload_bytes = (uint32_t)bytes,
        .first_seq = o->first_seq,
        .floor_ns = o->floor_ns,
        .commit_ns = o->commit_ns,
    };
    uint8_t prefix[SL_RECORD_PREFIX_BYTES];
    sl_record_encode_prefix(&record, prefix);
    struct entry entry = {
        .first_seq = o->first_seq,
        .ceiling_ns = o->query_ns,
        .bytes = (uint32_t)(SL_RECORD_PREFIX_BYTES + bytes),
        .lines = lines,
        .text_bytes = (uint32_t)o->text_bytes,
    };
    sl_block_builder_reset(o->builder, o->sandbox);
    return output_record(o, entry, sl_slice(prefix, sizeof prefix), sl_slice(o->block, bytes));
}

/* Adds the lines of a block; its query times stay what they were. */
static int merge_block(struct output *o, const struct sl_record *record, const struct sl_block_header *header,
                       struct sl_slice payload)
{
    struct sl_block_lines it;
    struct sl_line line;
    if (sl_block_lines_open(&it, payload, header, o->scratch, SL_BLOCK_RAW_MAX_BYTES))
        return -EBADMSG;
    if (record->first_seq != o->next_seq) {
        int fault = output_block(o);
        if (fault)
            return fault;
    }
    uint64_t seq = record->first_seq;
    o->query_ns = record->floor_ns;
    while (sl_block_lines_next(&it, &line)) {
        struct sl_slice name = sl_block_container(header, line.container);
        bool fresh = sl_block_builder_lines(o->builder) == 0;
        int answer = !fresh && sl_block_builder_raw_bytes(o->builder) >= COMPACT_RAW_BYTES
                         ? SL_BUILDER_FULL
                         : sl_block_builder_add(o->builder, &line, name);
        if (answer == SL_BUILDER_FULL) {
            int fault = output_block(o);
            if (fault)
                return fault;
            fresh = true;
            answer = sl_block_builder_add(o->builder, &line, name);
        }
        if (answer)
            return answer < 0 ? answer : -EFBIG;
        if (fresh) {
            o->first_seq = seq;
            o->floor_ns = o->query_ns;
            o->commit_ns = record->commit_ns;
            o->text_bytes = 0;
        }
        if (record->commit_ns > o->commit_ns)
            o->commit_ns = record->commit_ns;
        o->query_ns = sl_query_time(o->query_ns, line.time_ns, record->commit_ns);
        o->text_bytes += line.text.bytes + !line.partial;
        o->range = header->range;
        seq++;
    }
    o->next_seq = seq;
    return 0;
}

static int take_record(struct output *o, const struct segment *s, const struct entry *e, struct sl_slice id)
{
    struct compact *c = o->c;
    struct sl_record record;
    struct sl_slice payload;
    struct sl_block_header header;
    struct sl_slice bytes = sl_slice(o->record, e->bytes);
    /* What can't be read now may be read later: then the inputs stay as they are. */
    int64_t got =
        e->bytes > SL_RECORD_MAX_BYTES ? 0 : io_read(c->io, s->file, e->offset, o->record, e->bytes);
    if (got < 0)
        return (int)got;
    pace_step(&c->pace, e->bytes);
    if (got != (int64_t)e->bytes || sl_record_check(bytes, &record, &payload, &header) ||
        record.kind != SL_RECORD_BLOCK || record.first_seq != e->first_seq || header.lines != e->lines ||
        !sl_slice_equal(header.sandbox, id)) {
        /* Left out: readers meet a hole of known size where it stood. */
        c->damaged_blocks++;
        return 0;
    }
    /* A line ahead of its commit time counts as of commit + 5 s: such a block must keep its own commit time.
     */
    bool merge = header.lines && header.time_max_ns <= record.commit_ns + SL_QUERY_SLACK_NS;
    int fault = merge ? merge_block(o, &record, &header, payload) : -EBADMSG;
    if (fault == -EBADMSG) {
        fault = output_block(o);
        if (!fault)
            fault = output_record(o, *e, sl_slice(o->record, SL_RECORD_PREFIX_BYTES), payload);
        o->next_seq = 0;
    }
    if (c->oldest_commit_ns == 0 || record.commit_ns < c->oldest_commit_ns)
        c->oldest_commit_ns = record.commit_ns;
    if (record.commit_ns > c->newest_commit_ns)
        c->newest_commit_ns = record.commit_ns;
    return fault;
}

/* The records that one input has of a life. */
static int take_part(struct output *o, const struct compact_life *life)
{
    struct compact *c = o->c;
    const struct segment *s = c->inputs[life->input].segment;
    const struct part *p = &life->state.part;
    size_t bytes = p->count * sizeof(struct entry);
    struct entry *entries = malloc(bytes + 1);
    if (!entries)
        return -ENOMEM;
    int fault = 0;
    if (io_read(c->io, s->file, p->offset, entries, bytes) != (int64_t)bytes ||
        sl_crc32c(0, sl_slice(entries, bytes)) != p->crc)
        fault = -EIO;
    for (uint32_t i = 0; i < p->count && !fault; i++) {
        const struct entry *e = &entries[i];
        if (e->first_seq + e->lines <= life->kept_from && e->first_seq < life->kept_from)
            continue;
        fault = atomic_load(&c->cancelled) ? -ECANCELED : take_record(o, s, e, life->state.id);
    }
    free(entries);
    return fault;
}

/* lives[from..to) are one life in several inputs; the last has its newest state and gets the part. */
static int take_life(struct output *o, size_t from, size_t to)
{
    struct compact_life *newest = &o->c->lives[to - 1];
    o->first = o->count;
    o->next_seq = 0;
    o->sandbox = newest->state.id;
    sl_block_builder_reset(o->builder, o->sandbox);
    for (size_t i = from; i < to && newest->keep_records; i++) {
        o->c->lives[i].kept_from = newest->kept_from;
        int fault = take_part(o, &o->c->lives[i]);
        if (fault)
            return fault;
    }
    int fault = output_block(o);
    if (fault || o->count == o->first)
        return fault;
    struct part *p = &newest->part;
    *p = (struct part){
        .offset = o->first, /* in entries, until it is known where they go */
        .first_seq = o->entries[o->first].first_seq,
        .ceiling_ns = o->entries[o->count - 1].ceiling_ns,
        .count = (uint32_t)(o->count - o->first),
        .crc = sl_crc32c(0, sl_slice(&o->entries[o->first], (o->count - o->first) * sizeof(struct entry))),
    };
    uint64_t text = 0;
    for (size_t i = o->first; i < o->count; i++) {
        p->stored_bytes += o->entries[i].bytes;
        text += o->entries[i].text_bytes;
        o->c->lines += o->entries[i].lines;
    }
    p->text_bytes = text > UINT32_MAX ? UINT32_MAX : (uint32_t)text;
    o->c->text_bytes += p->text_bytes;
    return 0;
}

static bool same_life(const struct compact_life *a, const struct compact_life *b)
{
    return a->state.birth == b->state.birth && sl_slice_equal(a->state.id, b->state.id);
}

static int output_index(struct output *o)
{
    struct compact *c = o->c;
    c->states_offset = o->written + o->buffered;
    uint64_t states_bytes = c->consumers.bytes;
    uint32_t states = c->consumers.bytes > 0;
    int fault = output_bytes(o, c->consumers.data, c->consumers.bytes);
    if (fault)
        return fault;
    for (size_t i = 0; i < c->life_count; i++)
        states_bytes += c->lives[i].keep_state ? c->lives[i].record.bytes : 0;
    for (size_t i = 0; i < c->life_count; i++) {
        struct compact_life *life = &c->lives[i];
        if (!life->keep_state)
            continue;
        if (life->part.count)
            life->part.offset = c->states_offset + states_bytes + life->part.offset * sizeof(struct entry);
        state_patch((uint8_t *)(uintptr_t)life->record.data, life->record.bytes, life->kept_from,
                    &life->part);
        fault = output_bytes(o, life->record.data, life->record.bytes);
        if (fault)
            return fault;
        states++;
    }
    struct trailer trailer = {
        .states_offset = c->states_offset,
        .states_bytes = states_bytes,
        .parts_bytes = o->count * sizeof(struct entry),
        .states = states,
        .before = c->before,
        .dropped = c->dropped,
        .oldest_commit_ns = c->oldest_commit_ns,
        .newest_commit_ns = c->newest_commit_ns,
    };
    uint8_t last[TRAILER_BYTES];
    trailer_encode(&trailer, last);
    fault = output_bytes(o, o->entries, o->count * sizeof(struct entry));
    if (!fault)
        fault = output_bytes(o, last, sizeof last);
    if (!fault)
        fault = output_flush(o);
    c->file_bytes = o->written;
    return fault;
}

static int output_all(struct output *o)
{
    struct compact *c = o->c;
    struct segment_header header = {
        .epoch = c->epoch,
        .name = c->name,
        .last_birth = c->last_birth,
        .created_ns = sl_now_ns(),
        .before = c->before,
        .dropped = c->dropped,
        .limits = c->limit_count,
        .limit_pairs = sl_slice(c->limits, c->limit_count * (size_t)SEGMENT_LIMIT_BYTES),
    };
    /* The record's room serves: it is larger than any header. */
    size_t bytes = segment_header_encode(&header, o->record);
    int fault = output_bytes(o, o->record, bytes);
    for (size_t i = 0; i < c->life_count && !fault;) {
        size_t to = i + 1;
        while (to < c->life_count && same_life(&c->lives[i], &c->lives[to]))
            to++;
        fault = take_life(o, i, to);
        i = to;
    }
    return fault ? fault : output_index(o);
}

int compact_write(struct compact *c)
{
    struct output o = {.c = c};
    pace_begin(&c->pace, NULL, c->cpu_percent, c->bytes_per_s, &c->cancelled);
    (void)io_unlink(c->io, compact_file);
    int fault = -ENOMEM;
    o.buffer = malloc(COMPACT_WINDOW_BYTES);
    o.block = malloc(SL_BLOCK_MAX_BYTES + 65536);
    o.record = malloc(SL_RECORD_MAX_BYTES);
    o.scratch = malloc(SL_BLOCK_RAW_MAX_BYTES);
    if (!o.buffer || !o.block || !o.record || !o.scratch || (fault = sl_block_builder_new(&o.builder)))
        goto out;
    c->file = io_open(c->io, compact_file, IO_NEW);
    if (c->file < 0) {
        fault = c->file;
        goto out;
    }
    char name[SEGMENT_NAME_BYTES];
    segment_name_render(&c->name, name);
    if ((fault = output_all(&o)) || (fault = io_sync(c->io, c->file)))
        goto out;
    io_forget(c->io, c->file);
    if ((fault = io_rename(c->io, compact_file, name)))
        goto out;
    fault = io_sync_names(c->io);
    /* If a crash shows the name all the same, no harm: it holds what its inputs hold, and those are still
     * there. */
    if (fault)
        (void)io_unlink(c->io, name);
out:
    if (fault) {
        io_close(c->io, c->file);
        c->file = -1;
        (void)io_unlink(c->io, compact_file);
    }
    sl_block_builder_free(o.builder);
    free(o.buffer);
    free(o.block);
    free(o.record);
    free(o.scratch);
    free(o.entries);
    return fault;
}
