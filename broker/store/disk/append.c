// SPDX-License-Identifier: Apache-2.0
#include "disk.h"
#include "wire/crc32c.h"
#include "wire/timestamp.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

struct append_record {
    uint32_t item;
    uint32_t payload_bytes;
    uint64_t offset;
    struct sl_record record;
    uint8_t prefix[SL_RECORD_PREFIX_BYTES];
};

/* One batch on its way through the commit thread. One allocation. */
struct append_job {
    struct commit_job job;
    struct store_batch *batch;
    uint8_t *header; /* of a new segment, NULL otherwise */
    size_t header_bytes;
    size_t records;
    uint8_t *states; /* of a job without a batch: pointers to the sandboxes, then their state records */
    struct sandbox **stated;
    struct consumer_table *table; /* likewise: the table that is written */
    struct store_consumer_change *change;
    struct append_record record[];
};

static int append_job_new(size_t items, struct append_job **ret)
{
    /* The records, then two vectors a record and one for a header. */
    size_t records_bytes = sizeof(struct append_job) + items * sizeof(struct append_record);
    records_bytes = (records_bytes + 15) & ~(size_t)15;
    struct append_job *job = malloc(records_bytes + (2 * items + 1) * sizeof(struct iovec));
    if (!job)
        return -ENOMEM;
    *job = (struct append_job){.job = {.vectors = (struct iovec *)((char *)job + records_bytes)}};
    *ret = job;
    return 0;
}

static void append_job_free(struct append_job *job)
{
    free(job->header);
    free(job->states);
    free(job->table);
    free(job);
}

static struct sl_slice item_payload(const struct store_item *item)
{
    return item->kind == STORE_DELETE ? item->sandbox : item->payload;
}

static void vector_add(struct commit_job *job, const void *data, size_t bytes)
{
    job->vectors[job->count++] = (struct iovec){.iov_base = (void *)(uintptr_t)data, .iov_len = bytes};
    job->bytes += bytes;
}

/* ---- where it goes ---- */

static int header_make(struct disk *d, struct segment *s, struct append_job *job)
{
    size_t limits = 0;
    for (size_t i = 0; i < d->segment_count; i++)
        limits += d->segments[i] != s && !d->segments[i]->sealed;
    if (limits > SEGMENT_LIMITS_MAX)
        return -EMFILE;
    size_t room = SEGMENT_HEADER_FIXED_BYTES + limits * SEGMENT_LIMIT_BYTES;
    uint8_t *pairs = malloc(limits * SEGMENT_LIMIT_BYTES + 1);
    job->header = malloc(SL_RECORD_PREFIX_BYTES + room + CONSUMERS_RECORD_MAX_BYTES);
    if (!pairs || !job->header) {
        free(pairs);
        return -ENOMEM;
    }
    struct sl_writer w = sl_writer(pairs, limits * SEGMENT_LIMIT_BYTES);
    for (size_t i = 0; i < d->segment_count; i++) {
        const struct segment *other = d->segments[i];
        if (other != s && !other->sealed)
            segment_limit_write(&w, other->name.last, other->tail);
    }
    assert(!w.failed);
    struct segment_header header = {
        .epoch = d->epoch,
        .name = s->name,
        .last_birth = d->table.last_birth,
        .created_ns = sl_now_ns(),
        .dropped = d->dropped,
        .limits = (uint32_t)limits,
        .limit_pairs = sl_slice(pairs, w.bytes),
    };
    for (size_t i = d->segment_count; i-- > 0 && header.before == 0;) {
        if (d->segments[i] != s && (d->segments[i]->durable || d->segments[i]->in_flight))
            header.before = d->segments[i]->name.last;
    }
    s->last_birth = header.last_birth;
    s->before = header.before;
    s->dropped = header.dropped;
    job->header_bytes = segment_header_encode(&header, job->header);
    if (d->consumers.recorded)
        job->header_bytes +=
            consumers_encode(&d->consumers.pending, header.created_ns, job->header + job->header_bytes);
    free(pairs);
    return 0;
}

/* Finds room for the batch: in the active segment, or in a new one whose header goes with it. */
static int place_batch(struct disk *d, uint64_t most_bytes, struct append_job *job)
{
    if (d->active && d->active->tail + most_bytes > d->options.segment_bytes) {
        disk_roll(d);
    }
    if (!d->active) {
        struct segment *s;
        struct segment_name name = {d->next_number, d->next_number, 0};
        int fault = disk_add_segment(d, &name, &s);
        if (fault)
            return fault;
        if ((fault = header_make(d, s, job))) {
            disk_remove_segment(d, s);
            return fault;
        }
        d->next_number++;
        d->active = s;
    }
    job->job.segment = d->active;
    job->job.offset = d->active->tail;
    if (job->header)
        vector_add(&job->job, job->header, job->header_bytes);
    return 0;
}

/* Nothing goes there after all. */
static void unplace(struct disk *d, const struct append_job *job)
{
    if (!job->header)
        return;
    disk_remove_segment(d, d->active);
    d->active = NULL;
    d->next_number--;
}

static void append_job_drop(struct disk *d, struct append_job *job)
{
    unplace(d, job);
    append_job_free(job);
}

/* ---- submitting ---- */

/* What is in flight is void, the segment takes no more, and only what is durable counts of it. */
static void fail_all(struct disk *d, struct segment *s, int fault)
{
    commit_abort(&d->commit, d->generation, fault);
    d->generation++;
    d->trouble = disk_fault_text(fault);
    judge_rollback(&d->judge);
    consumers_rollback(&d->consumers);
    if (s)
        s->closed = s->suspect = true;
    if (d->active)
        d->active->closed = d->active->suspect = true;
    struct segment *active = d->active;
    d->active = NULL;
    for (size_t i = 0; i < d->segment_count; i++) {
        if (d->segments[i]->in_flight)
            d->segments[i]->tail = d->segments[i]->durable;
    }
    if (active)
        seal_start(d, active);
}

static void refuse(struct disk *d, struct store_batch *batch, int fault)
{
    for (size_t i = 0; i < batch->count; i++)
        judge_refuse(&d->judge, &batch->items[i]);
    batch->done(batch, fault);
}

static void refuse_later(struct disk *d, struct store_batch *batch)
{
    struct store_batch **end = &d->refused;
    while (*end)
        end = &(*end)->next;
    batch->next = NULL;
    *end = batch;
    if (d->options.wake)
        d->options.wake(d->options.arg);
}

void disk_append(struct store *s, struct store_batch *batch)
{
    struct disk *d = (struct disk *)s;
    struct append_job *job;
    if (append_job_new(batch->count, &job)) {
        refuse_later(d, batch);
        return;
    }
    uint64_t most_bytes = 0;
    for (size_t i = 0; i < batch->count; i++)
        most_bytes += SL_RECORD_PREFIX_BYTES + item_payload(&batch->items[i]).bytes;
    if (place_batch(d, most_bytes, job)) {
        append_job_free(job);
        refuse_later(d, batch);
        return;
    }
    job->batch = batch;
    int64_t now_ns = sl_now_ns();
    for (size_t i = 0; i < batch->count; i++) {
        struct store_item *item = &batch->items[i];
        struct append_record *r = &job->record[job->records];
        int answer = judge_item(&d->judge, item, now_ns, &r->record);
        if (answer < 0) {
            /* Half a batch is judged; without memory to undo just that, all in flight has failed. */
            append_job_drop(d, job);
            fail_all(d, NULL, answer);
            refuse_later(d, batch);
            return;
        }
        if (answer > 0)
            continue;
        struct sl_slice payload = item_payload(item);
        r->item = (uint32_t)i;
        r->offset = job->job.offset + job->job.bytes;
        r->record.payload_bytes = (uint32_t)payload.bytes;
        if (item->kind != STORE_BLOCK)
            r->record.payload_crc = sl_crc32c(0, payload);
        sl_record_encode_prefix(&r->record, r->prefix);
        vector_add(&job->job, r->prefix, sizeof r->prefix);
        vector_add(&job->job, payload.data, payload.bytes);
        job->records++;
    }
    if (!job->records)
        unplace(d, job);
    if (job->records) {
        d->active->tail += job->job.bytes;
        d->active->in_flight++;
    } else {
        job->job.segment = NULL;
        job->job.count = 0;
        job->job.bytes = 0;
    }
    job->job.generation = d->generation;
    commit_submit(&d->commit, &job->job);
}

/* ---- publishing ---- */

static int apply_record(struct disk *d, struct append_job *job, const struct append_record *r)
{
    struct store_item *item = &job->batch->items[r->item];
    struct applied applied;
    int answer;
    switch (item->kind) {
    case STORE_BLOCK:
        answer = table_apply_block(&d->table, job->job.segment, r->offset, &r->record, &item->header, true,
                                   &applied);
        break;
    case STORE_CHANGE:
        answer = table_apply_change(&d->table, &item->change, r->record.commit_ns, &applied);
        break;
    default:
        answer = table_apply_delete(&d->table, item->sandbox, &applied);
        break;
    }
    if (answer < 0)
        return answer;
    assert(answer == 0);
    if (applied.ended)
        hot_drop(&d->hot, applied.sandbox);
    if (applied.indexed)
        retain_sandbox(d, applied.sandbox);
    if (applied.indexed)
        hot_add(&d->hot, applied.sandbox, &applied.entry, sl_slice(r->prefix, sizeof r->prefix),
                item->payload);
    segment_commit_time(job->job.segment, r->record.commit_ns);
    seal_touch(job->job.segment, applied.sandbox);
    judge_settle(&d->judge, applied.sandbox);
    return 0;
}

/*
 * A segment of which nothing was acknowledged must not be found by a start. If its file can't be unlinked it
 * stays known, and the next header sets it the limit 0.
 */
static void drop_if_void(struct disk *d, struct segment *s)
{
    if (!s || s->in_flight || !s->closed || s->durable)
        return;
    char name[SEGMENT_NAME_BYTES];
    segment_name_render(&s->name, name);
    int fault = s->file >= 0 ? io_unlink(d->io, name) : 0;
    if (fault == 0 || fault == -ENOENT)
        disk_remove_segment(d, s);
}

/* What became of it; all that is in flight fails with it. */
static int job_fault(struct disk *d, const struct append_job *job)
{
    int fault = job->job.fault;
    bool current = job->job.generation == d->generation;
    if (!fault && !current)
        fault = -ECANCELED;
    if (fault && current)
        fail_all(d, job->job.segment, fault);
    return fault;
}

static void publish(struct disk *d, struct append_job *job)
{
    struct store_batch *batch = job->batch;
    struct segment *s = job->job.segment;
    int fault = job_fault(d, job);
    for (size_t i = 0; !fault && i < job->records; i++) {
        fault = apply_record(d, job, &job->record[i]);
        if (fault) {
            /* Durable, but not taken in for want of memory: it must not have happened. */
            s->durable = job->record[i].offset;
            fail_all(d, s, fault);
        }
    }
    if (s) {
        s->in_flight--;
        if (!fault)
            s->durable = job->job.offset + job->job.bytes;
    }
    if (s)
        seal_start(d, s);
    if (fault) {
        refuse(d, batch, fault);
    } else {
        if (s)
            d->trouble = NULL;
        for (size_t i = 0; d->options.grown && i < job->records; i++) {
            const struct store_item *item = &batch->items[job->record[i].item];
            d->options.grown(d->options.arg, item->kind == STORE_BLOCK    ? item->header.sandbox
                                             : item->kind == STORE_CHANGE ? item->change.sandbox
                                                                          : item->sandbox);
        }
        batch->done(batch, 0);
    }
    drop_if_void(d, s);
    append_job_free(job);
}

/* ---- states ---- */

/* Of a job without a batch. */
static int job_land(struct disk *d, const struct append_job *job)
{
    struct segment *s = job->job.segment;
    int fault = job_fault(d, job);
    s->in_flight--;
    if (!fault)
        s->durable = job->job.offset + job->job.bytes;
    return fault;
}

int disk_append_states(struct disk *d, struct sandbox **sandboxes, size_t count)
{
    struct append_job *job;
    int fault = append_job_new(count + 1, &job); /* the states, and the note */
    if (fault)
        return fault;
    size_t bytes = DROPPED_RECORD_BYTES;
    for (size_t i = 0; i < count; i++)
        bytes += state_record_bytes(sandboxes[i]);
    job->states = malloc(bytes + count * sizeof(struct sandbox *));
    if (!job->states || (fault = place_batch(d, bytes, job))) {
        append_job_free(job);
        return fault ? fault : -ENOMEM;
    }
    /* The sandboxes first: they are pointers. */
    job->stated = (struct sandbox **)(void *)job->states;
    if (count)
        memcpy(job->stated, sandboxes, count * sizeof(struct sandbox *));
    job->records = count;
    uint8_t *at = job->states + count * sizeof(struct sandbox *);
    static const struct part none;
    int64_t now_ns = sl_now_ns();
    for (size_t i = 0; i < count; i++)
        at += state_encode(sandboxes[i], &none, now_ns, at);
    dropped_encode(d->dropping->name.last, now_ns, at);
    vector_add(&job->job, job->states + count * sizeof(struct sandbox *), bytes);
    d->active->tail += job->job.bytes;
    d->active->in_flight++;
    job->job.generation = d->generation;
    commit_submit(&d->commit, &job->job);
    return 0;
}

static void publish_states(struct disk *d, struct append_job *job)
{
    struct segment *s = job->job.segment;
    int fault = job_land(d, job);
    if (!fault) {
        for (size_t i = 0; i < job->records; i++)
            seal_touch(s, job->stated[i]);
        /* The note alone makes no segment younger. */
        if (job->records)
            segment_commit_time(s, sl_now_ns());
        d->dropped = s->dropped = d->dropping->name.last;
    }
    seal_start(d, s);
    drop_if_void(d, s);
    append_job_free(job);
    retain_stated(d, fault);
}

/* ---- the table of consumers ---- */

int disk_append_table(struct disk *d, struct consumer_table *table, struct store_consumer_change *change)
{
    struct append_job *job;
    int fault = append_job_new(0, &job);
    if (fault) {
        free(table);
        return fault;
    }
    job->table = table;
    job->change = change;
    job->states = malloc(CONSUMERS_RECORD_MAX_BYTES);
    if (!job->states || (fault = place_batch(d, CONSUMERS_RECORD_MAX_BYTES, job))) {
        append_job_free(job);
        return fault ? fault : -ENOMEM;
    }
    /* A new segment begins with the pending table, which is this one. */
    if (!job->header)
        vector_add(&job->job, job->states, consumers_encode(table, sl_now_ns(), job->states));
    d->active->tail += job->job.bytes;
    d->active->in_flight++;
    job->job.generation = d->generation;
    commit_submit(&d->commit, &job->job);
    return 0;
}

static void publish_table(struct disk *d, struct append_job *job)
{
    struct segment *s = job->job.segment;
    int fault = job_land(d, job);
    if (!fault) {
        segment_commit_time(s, sl_now_ns());
        consumers_settle(&d->consumers, job->table);
        d->trouble = NULL;
    }
    seal_start(d, s);
    drop_if_void(d, s);
    consumers_changed(d, job->change, fault);
    append_job_free(job);
}

void disk_run(struct store *s)
{
    struct disk *d = (struct disk *)s;
    while (d->refused) {
        struct store_batch *batch = d->refused;
        d->refused = batch->next;
        refuse(d, batch, -ENOMEM);
    }
    struct commit_job *jobs = commit_take(&d->commit);
    while (jobs) {
        struct append_job *job = (struct append_job *)jobs;
        jobs = jobs->next;
        if (job->batch)
            publish(d, job);
        else if (job->table)
            publish_table(d, job);
        else
            publish_states(d, job);
    }
    background_take(&d->sealer, d);
    background_take(&d->background, d);
    disk_upkeep(d);
}
