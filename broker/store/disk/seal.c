// SPDX-License-Identifier: Apache-2.0
#include "seal.h"
#include "disk.h"
#include "wire/crc32c.h"
#include "wire/timestamp.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

void seal_touch(struct segment *s, struct sandbox *b)
{
    if (b->state_segment == s->name.last)
        return;
    b->state_segment = s->name.last;
    if (s->touched_count == s->touched_capacity) {
        size_t capacity = s->touched_capacity ? 2 * s->touched_capacity : 64;
        struct sandbox **wider = realloc(s->touched, capacity * sizeof(struct sandbox *));
        if (!wider) {
            s->unsealable = true;
            return;
        }
        s->touched = wider;
        s->touched_capacity = capacity;
    }
    s->touched[s->touched_count++] = b;
}

static const struct extent *extent_of(const struct sandbox *b, const struct segment *s)
{
    for (uint32_t i = b->extent_count; i-- > 0;) {
        if (b->extents[i].segment == s)
            return &b->extents[i];
    }
    return NULL;
}

void seal_fini(struct seal *seal)
{
    free(seal->bytes);
    free(seal->parts);
    *seal = (struct seal){0};
}

int seal_make(struct segment *s, const struct consumers *consumers, struct seal *ret)
{
    struct seal seal = {.segment = s, .count = s->touched_count};
    size_t states_bytes = 0, parts_bytes = 0;
    uint8_t table[CONSUMERS_RECORD_MAX_BYTES];
    if (consumers->recorded)
        states_bytes = consumers_encode(&consumers->durable, sl_now_ns(), table);
    size_t table_bytes = states_bytes;
    for (size_t i = 0; i < s->touched_count; i++) {
        const struct sandbox *b = s->touched[i];
        const struct extent *x = extent_of(b, s);
        size_t bytes = state_record_bytes(b);
        if (bytes > STATE_MOST_BYTES)
            return -EFBIG;
        states_bytes += bytes;
        parts_bytes += x ? x->count * sizeof(struct entry) : 0;
    }
    seal.size = states_bytes + parts_bytes + TRAILER_BYTES;
    seal.bytes = malloc(seal.size);
    seal.parts = calloc(seal.count + 1, sizeof *seal.parts);
    if (!seal.bytes || !seal.parts) {
        seal_fini(&seal);
        return -ENOMEM;
    }
    int64_t now_ns = sl_now_ns();
    size_t state_at = table_bytes, part_at = states_bytes;
    memcpy(seal.bytes, table, table_bytes);
    for (size_t i = 0; i < s->touched_count; i++) {
        struct sandbox *b = s->touched[i];
        const struct extent *x = extent_of(b, s);
        struct seal_part *p = &seal.parts[i];
        p->sandbox = b;
        p->birth = b->birth;
        if (x && x->count) {
            size_t bytes = x->count * sizeof(struct entry);
            memcpy(seal.bytes + part_at, x->entries, bytes);
            p->part = (struct part){
                .offset = s->durable + part_at,
                .first_seq = x->first_seq,
                .ceiling_ns = x->ceiling_ns,
                .count = x->count,
                .crc = sl_crc32c(0, sl_slice(seal.bytes + part_at, bytes)),
            };
            for (uint32_t k = 0; k < x->count; k++) {
                p->part.stored_bytes += x->entries[k].bytes;
                p->part.text_bytes += x->entries[k].text_bytes;
            }
            part_at += bytes;
        }
        state_at += state_encode(b, &p->part, now_ns, seal.bytes + state_at);
    }
    assert(state_at == states_bytes && part_at == states_bytes + parts_bytes);
    struct trailer trailer = {
        .states_offset = s->durable,
        .states_bytes = states_bytes,
        .parts_bytes = parts_bytes,
        .states = (uint32_t)seal.count + (table_bytes > 0),
        .before = s->before,
        .dropped = s->dropped,
        .oldest_commit_ns = s->oldest_commit_ns,
        .newest_commit_ns = s->newest_commit_ns,
    };
    trailer_encode(&trailer, seal.bytes + part_at);
    *ret = seal;
    return 0;
}

int seal_write(struct io *io, const struct seal *seal)
{
    const struct segment *s = seal->segment;
    /* First away with what may lie behind the records, so that the trailer is the file's end. */
    int fault = io_truncate(io, s->file, s->durable);
    struct iovec all = {.iov_base = seal->bytes, .iov_len = seal->size};
    if (!fault)
        fault = io_write(io, s->file, s->durable, &all, 1);
    if (!fault)
        fault = io_sync(io, s->file);
    return fault;
}

enum { COPY_BYTES = 1 << 20 };

static int copy_records(struct io *io, const struct segment *s, int file)
{
    uint8_t *bytes = malloc(COPY_BYTES);
    int fault = bytes ? 0 : -ENOMEM;
    for (uint64_t at = 0; at < s->durable && !fault;) {
        size_t part = s->durable - at < COPY_BYTES ? (size_t)(s->durable - at) : COPY_BYTES;
        int64_t got = io_read(io, s->file, at, bytes, part);
        struct iovec all = {.iov_base = bytes, .iov_len = part};
        if (got != (int64_t)part)
            fault = got < 0 ? (int)got : -EIO;
        else
            fault = io_write(io, file, at, &all, 1);
        at += part;
    }
    free(bytes);
    return fault;
}

int seal_replace(struct io *io, const struct seal *seal, int *ret_file)
{
    (void)io_unlink(io, SEAL_FILE);
    int file = io_open(io, SEAL_FILE, IO_NEW);
    if (file < 0)
        return file;
    char name[SEGMENT_NAME_BYTES];
    segment_name_render(&seal->segment->name, name);
    struct iovec all = {.iov_base = seal->bytes, .iov_len = seal->size};
    int fault = copy_records(io, seal->segment, file);
    if (!fault)
        fault = io_write(io, file, seal->segment->durable, &all, 1);
    if (!fault)
        fault = io_sync(io, file);
    if (!fault)
        fault = io_rename(io, SEAL_FILE, name);
    if (!fault)
        fault = io_sync_names(io);
    if (fault) {
        io_close(io, file);
        (void)io_unlink(io, SEAL_FILE);
        return fault;
    }
    *ret_file = file;
    return 0;
}

void seal_finish(struct seal *seal)
{
    struct segment *s = seal->segment;
    s->sealed = true;
    s->file_bytes = s->durable + seal->size;
    for (size_t i = 0; i < seal->count; i++) {
        struct seal_part *p = &seal->parts[i];
        struct sandbox *b = p->sandbox;
        struct extent *x = (struct extent *)(uintptr_t)extent_of(b, s);
        if (b->birth != p->birth || !x || !x->capacity)
            continue;
        if (x->count == 0) {
            /* Left by a reservation that was never used. */
            free(x->entries);
            x->entries = NULL;
            x->capacity = 0;
            continue;
        }
        assert(x->count == p->part.count);
        free(x->entries);
        x->capacity = 0;
        x->part_offset = p->part.offset;
        x->part_crc = p->part.crc;
    }
    free(s->touched);
    s->touched = NULL;
    s->touched_count = s->touched_capacity = 0;
}

/* ---- in the background ---- */

static void seal_work(struct background_job *job)
{
    struct seal_job *s = (struct seal_job *)job;
    s->seal.fault = s->replace ? seal_replace(s->io, &s->seal, &s->file) : seal_write(s->io, &s->seal);
}

static void seal_done(struct background_job *job, void *context)
{
    struct seal_job *s = (struct seal_job *)job;
    struct disk *d = context;
    struct segment *segment = s->seal.segment;
    segment->sealing = false;
    if (s->seal.fault) {
        /* What the file has behind its records is not known now, nor whether a later sync would say. */
        segment->suspect = true;
        s->next = d->unsealed;
        d->unsealed = s;
        return;
    }
    if (s->replace) {
        io_close(d->io, segment->file);
        segment->file = s->file;
        segment->suspect = false;
    }
    seal_finish(&s->seal);
    seal_fini(&s->seal);
    free(s);
    disk_sealed(d);
}

static void seal_submit(struct disk *d, struct seal_job *job)
{
    struct segment *s = job->seal.segment;
    job->io = d->io;
    job->job.work = seal_work;
    job->job.done = seal_done;
    job->replace = s->suspect;
    s->sealing = true;
    background_submit(&d->sealer, &job->job);
}

void seal_start(struct disk *d, struct segment *s)
{
    if (!s->closed || s->in_flight || s->sealed || s->sealing || s->unsealable || s->durable == 0)
        return;
    for (const struct seal_job *job = d->unsealed; job; job = job->next) {
        if (job->seal.segment == s)
            return;
    }
    struct seal_job *job = calloc(1, sizeof *job);
    if (!job || seal_make(s, &d->consumers, &job->seal)) {
        /* Too late at any later moment: the state moves on. The next start seals it. */
        free(job);
        s->unsealable = true;
        return;
    }
    seal_submit(d, job);
}

void seal_retry(struct disk *d)
{
    struct seal_job *job = d->unsealed;
    d->unsealed = NULL;
    while (job) {
        struct seal_job *next = job->next;
        seal_submit(d, job);
        job = next;
    }
}

void seal_forget(struct disk *d, const struct segment *s)
{
    for (struct seal_job **at = &d->unsealed; *at; at = &(*at)->next) {
        struct seal_job *job = *at;
        if (job->seal.segment != s)
            continue;
        *at = job->next;
        seal_fini(&job->seal);
        free(job);
        return;
    }
}
