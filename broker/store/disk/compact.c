// SPDX-License-Identifier: Apache-2.0
#include "compact.h"
#include "disk.h"
#include "wire/timestamp.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

enum { COMPACT_MOST_BYTES = 1 << 30, COMPACT_FAN = 4 };

struct compact_job {
    struct background_job job;
    struct compact c;
    bool written; /* which step it is at */
};

/* ---- what is worth it ---- */

static bool fit(const struct segment *s)
{
    return s->sealed && !s->busy && !s->uncompactable;
}

/* Text that nobody can read any more. */
static bool mostly_dead(const struct segment *s)
{
    return s->dead_text_bytes > s->text_bytes / 2;
}

static uint64_t most_bytes(const struct disk *d)
{
    uint64_t most = COMPACT_MOST_BYTES;
    /* Retention drops whole segments: they must not grow past what it is asked for. */
    if (d->options.retention_bytes && d->options.retention_bytes / 4 < most)
        most = d->options.retention_bytes / 4;
    return most;
}

/* Finds adjacent segments [*ret_first, +count) to be made one, among those that no consumer holds. */
static size_t choose(const struct disk *d, bool all, size_t *ret_first)
{
    uint64_t most = most_bytes(d);
    size_t end = consumers_held_from(d, sl_now_ns());
    for (size_t i = 0; i < end; i++) {
        if (!fit(d->segments[i]))
            continue;
        uint64_t bytes = 0;
        size_t count = 0;
        uint32_t generation = d->segments[i]->name.generation;
        bool dead = false, fresh = false;
        for (size_t k = i; k < end && fit(d->segments[k]); k++, count++) {
            const struct segment *s = d->segments[k];
            /* What was lost before it is told by its place in the row. */
            if (count && (s->lost_before || bytes + s->file_bytes > most))
                break;
            if (all ? s->name.generation && !s->dead_text_bytes : s->name.generation != generation)
                break;
            bytes += s->file_bytes;
            dead = dead || s->dead_text_bytes;
            fresh = fresh || s->name.generation == 0;
        }
        *ret_first = i;
        if (all ? count && (dead || fresh) : count >= COMPACT_FAN)
            return count;
        if (!all && mostly_dead(d->segments[i]))
            return 1;
    }
    return 0;
}

/* ---- the steps ---- */

static void job_free(struct compact_job *job)
{
    for (size_t i = 0; i < job->c.input_count; i++)
        free(job->c.inputs[i].states);
    free(job->c.inputs);
    free(job->c.limits);
    free(job->c.lives);
    free(job);
}

static void compact_work(struct background_job *base)
{
    struct compact_job *job = (struct compact_job *)base;
    job->c.fault = job->written ? compact_write(&job->c) : compact_read_states(&job->c);
}

/*
 * True when a newer segment has the sandbox's whole state in its index. A newer segment that is not sealed
 * has only records, and those build upon the state that an older one has.
 */
static bool stated_later(const struct disk *d, const struct sandbox *b, const struct segment_name *name)
{
    if (b->state_segment >= name->first && b->state_segment <= name->last)
        return false;
    for (size_t i = d->segment_count; i-- > 0;) {
        if (d->segments[i]->name.last == b->state_segment)
            return d->segments[i]->sealed;
    }
    return false;
}

/* What of each life goes into the output. True: some lines of a life that goes on do not. */
static bool choose_lives(struct disk *d, struct compact *c)
{
    bool trims = false;
    for (size_t i = 0; i < c->life_count; i++) {
        struct compact_life *life = &c->lives[i];
        life->kept_from = life->state.kept_from;
        life->keep_state = life->keep_records = false;
        const struct sandbox *b = table_find(&d->table, life->state.id);
        trims = trims || (b && b->alive && b->birth == life->state.birth && life->state.part.count &&
                          life->state.part.first_seq < b->kept_from);
        if (i + 1 < c->life_count && sl_slice_equal(c->lives[i + 1].state.id, life->state.id))
            continue; /* the newest speaks for the sandbox */
        if (!b)
            continue;
        life->keep_records = b->alive && b->birth == life->state.birth;
        life->keep_state = life->keep_records || !stated_later(d, b, &c->name);
        if (life->keep_records && b->kept_from > life->kept_from)
            life->kept_from = b->kept_from;
    }
    return trims;
}

/* The extents in the inputs give way to one in the output. */
static void exchange(struct disk *d, struct compact *c, struct segment *output)
{
    for (size_t i = 0; i < c->life_count; i++) {
        const struct compact_life *life = &c->lives[i];
        struct sandbox *b = table_find(&d->table, life->state.id);
        if (!b)
            continue;
        if (b->state_segment >= c->name.first && b->state_segment <= c->name.last)
            b->state_segment = c->name.last;
        if (!life->keep_records || !b->alive || b->birth != life->state.birth)
            continue;
        uint32_t kept = 0;
        bool placed = life->part.count == 0;
        for (uint32_t x = 0; x < b->extent_count; x++) {
            struct extent *e = &b->extents[x];
            if (e->segment->name.last < c->name.first || e->segment->name.first > c->name.last) {
                b->extents[kept++] = *e;
                continue;
            }
            if (e->capacity)
                free(e->entries);
            if (placed)
                continue;
            placed = true;
            b->extents[kept++] = (struct extent){
                .segment = output,
                .first_seq = life->part.first_seq,
                .ceiling_ns = life->part.ceiling_ns,
                .part_offset = life->part.offset,
                .count = life->part.count,
                .part_crc = life->part.crc,
                .text_bytes = life->part.text_bytes,
            };
            output->live_text_bytes += life->part.text_bytes;
        }
        b->extent_count = kept;
        b->kept_text_bytes = 0;
        for (uint32_t x = 0; x < kept; x++)
            b->kept_text_bytes += b->extents[x].text_bytes;
    }
}

static void install(struct disk *d, struct compact *c)
{
    struct segment *output;
    int fault = disk_add_segment(d, &c->name, &output);
    if (fault) {
        /* The file is complete and replaces its inputs at the next start, if nothing does before. */
        char name[SEGMENT_NAME_BYTES];
        segment_name_render(&c->name, name);
        (void)io_unlink(d->io, name);
        io_close(d->io, c->file);
        for (size_t i = 0; i < c->input_count; i++)
            c->inputs[i].segment->busy = false;
        return;
    }
    output->file = c->file;
    output->closed = output->sealed = output->named = true;
    output->tail = output->durable = output->written = c->states_offset;
    output->file_bytes = c->file_bytes;
    output->text_bytes = c->text_bytes;
    output->lines = c->lines;
    output->last_birth = c->last_birth;
    output->before = c->before;
    output->dropped = c->dropped;
    output->lost_before = c->inputs[0].segment->lost_before;
    output->oldest_commit_ns = c->oldest_commit_ns;
    output->newest_commit_ns = c->newest_commit_ns;
    exchange(d, c, output);
    output->dead_text_bytes = output->text_bytes - output->live_text_bytes;
    d->compactions++;
    d->damaged_blocks += c->damaged_blocks;
    for (size_t i = 0; i < c->input_count; i++)
        disk_drop_file(d, c->inputs[i].segment);
}

static void compact_done(struct background_job *base, void *context)
{
    struct compact_job *job = (struct compact_job *)base;
    struct disk *d = context;
    struct compact *c = &job->c;
    if (!c->fault && !job->written) {
        /* Said before it happens, so that no crash finds it done and not said. */
        if (choose_lives(d, c) && !d->closing)
            consumers_overrun(d, c->name.last);
        job->written = true;
        background_submit(&d->background, &job->job);
        return;
    }
    d->compacting = NULL;
    if (!c->fault) {
        install(d, c);
    } else {
        for (size_t i = 0; i < c->input_count; i++) {
            c->inputs[i].segment->busy = false;
            /* An input that can't be read stays as it is: its readers get the gap. */
            if (c->fault == -EIO || c->fault == -EFBIG)
                c->inputs[i].segment->uncompactable = true;
        }
        d->compact_fault = c->fault;
    }
    int fault = c->fault;
    job_free(job);
    disk_compacted(d, fault);
}

void compact_start(struct disk *d, bool all)
{
    size_t first = 0, count = d->compacting || d->closing ? 0 : choose(d, all, &first);
    if (count == 0)
        return;
    struct compact_job *job = calloc(1, sizeof *job);
    struct compact_input *inputs = calloc(count, sizeof *inputs);
    if (!job || !inputs) {
        free(job);
        free(inputs);
        return;
    }
    struct compact *c = &job->c;
    c->io = d->io;
    c->cpu_percent = d->options.compact_cpu_percent;
    c->bytes_per_s = d->options.compact_bytes_per_s;
    c->inputs = inputs;
    c->input_count = count;
    c->file = -1;
    c->epoch = d->epoch;
    /* Not the greatest of now: what follows is replayed with the births it was given. */
    c->last_birth = d->segments[first]->last_birth;
    c->before = d->segments[first]->before;
    c->dropped = d->dropped;
    c->name = (struct segment_name){.first = d->segments[first]->name.first,
                                    .last = d->segments[first + count - 1]->name.last};
    for (size_t i = 0; i < count; i++) {
        struct segment *s = d->segments[first + i];
        inputs[i].segment = s;
        s->busy = true;
        if (s->name.generation >= c->name.generation)
            c->name.generation = s->name.generation + 1;
    }
    c->limits = malloc(first * SEGMENT_LIMIT_BYTES + 1);
    if (!c->limits) {
        for (size_t i = 0; i < count; i++)
            inputs[i].segment->busy = false;
        job_free(job);
        return;
    }
    struct sl_writer w = sl_writer(c->limits, first * SEGMENT_LIMIT_BYTES);
    for (size_t i = 0; i < first && c->limit_count < SEGMENT_LIMITS_MAX; i++) {
        if (d->segments[i]->sealed)
            continue;
        segment_limit_write(&w, d->segments[i]->name.last, d->segments[i]->tail);
        c->limit_count++;
    }
    job->job.work = compact_work;
    job->job.done = compact_done;
    d->compacting = c;
    background_submit(&d->background, &job->job);
}

void compact_cancel(struct disk *d)
{
    if (d->compacting)
        atomic_store(&d->compacting->cancelled, true);
}
