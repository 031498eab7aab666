// SPDX-License-Identifier: Apache-2.0
#include "commit.h"
#include "wire/timestamp.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

enum { COMMIT_VECTORS = 1024 };

/* Part of a group: as many jobs as their vectors fit, all of one segment and one after another in it. */
static int write_jobs(struct commit *c, struct segment *s, struct commit_job *first,
                      const struct commit_job *end)
{
    while (first != end) {
        struct iovec vectors[COMMIT_VECTORS];
        int count = 0;
        uint64_t at = first->offset, bytes = 0;
        struct commit_job *job = first;
        if (job->count > COMMIT_VECTORS) {
            int fault = io_write(c->io, s->file, at, job->vectors, job->count);
            if (fault)
                return fault;
            first = job->next;
            continue;
        }
        for (; job != end && count + job->count <= COMMIT_VECTORS; job = job->next) {
            if (!job->segment)
                continue;
            assert(job->offset == at + bytes);
            memcpy(&vectors[count], job->vectors, (size_t)job->count * sizeof vectors[0]);
            count += job->count;
            bytes += job->bytes;
        }
        int fault = count ? io_write(c->io, s->file, at, vectors, count) : 0;
        if (fault)
            return fault;
        first = job;
    }
    return 0;
}

/* Jobs of one segment (and jobs without one among them), durable after it. */
static int commit_group(struct commit *c, struct segment *s, struct commit_job *first,
                        const struct commit_job *end)
{
    uint64_t to = 0;
    for (const struct commit_job *job = first; job != end; job = job->next) {
        if (job->segment)
            to = job->offset + job->bytes;
    }
    if (s->file < 0) {
        char name[SEGMENT_NAME_BYTES];
        segment_name_render(&s->name, name);
        int file = io_open(c->io, name, IO_NEW);
        if (file < 0)
            return file;
        s->file = file;
    }
    if (to > s->reserved) {
        uint64_t step = (to - s->reserved + SEGMENT_RESERVE_BYTES - 1) / SEGMENT_RESERVE_BYTES;
        /* A hint: without the room the write itself will say so. */
        (void)io_reserve(c->io, s->file, s->reserved, step * SEGMENT_RESERVE_BYTES);
        s->reserved += step * SEGMENT_RESERVE_BYTES;
    }
    while (first != end && !first->segment)
        first = first->next;
    int fault = write_jobs(c, s, first, end);
    if (!fault)
        fault = io_sync(c->io, s->file);
    if (!fault && !s->named) {
        fault = io_sync_names(c->io);
        s->named = !fault;
    }
    if (!fault)
        s->written = to;
    return fault;
}

/*
 * Nothing of the group was acknowledged: take it away as far as that is possible. What can't be taken away
 * is ruled out by the limit in the next segment's header.
 */
static void abandon(struct commit *c, struct segment *s)
{
    if (s->file < 0)
        return;
    if (s->written > 0) {
        (void)io_truncate(c->io, s->file, s->written);
        return;
    }
    char name[SEGMENT_NAME_BYTES];
    segment_name_render(&s->name, name);
    (void)io_unlink(c->io, name);
}

static void work_off(struct commit *c, struct commit_job *jobs)
{
    struct commit_job *first = jobs;
    while (first) {
        struct segment *s = NULL;
        struct commit_job *end = first;
        uint64_t newest = 0;
        for (; end && (!s || !end->segment || end->segment == s); end = end->next) {
            s = end->segment ? end->segment : s;
            newest = end->generation;
        }
        pthread_mutex_lock(&c->lock);
        int fault = first->generation <= c->failed_generation ? c->fault : 0;
        /* Generations ascend: only the first may be older than a later one, and then it fails alone. */
        if (fault) {
            for (end = first; end && end->generation <= c->failed_generation; end = end->next)
                ;
        }
        pthread_mutex_unlock(&c->lock);
        if (!fault && s) {
            int64_t start_ns = sl_monotonic_ns();
            fault = commit_group(c, s, first, end);
            sl_observe(&c->latency, sl_monotonic_ns() - start_ns);
            atomic_fetch_add(&c->groups, 1);
            if (fault) {
                atomic_fetch_add(&c->faults, 1);
                abandon(c, s);
                commit_abort(c, newest, fault);
            }
        }
        for (struct commit_job *job = first; job != end; job = job->next)
            job->fault = fault;
        first = end;
    }
}

static void finish(struct commit *c, struct commit_job *jobs)
{
    *c->done_end = jobs;
    while (*c->done_end)
        c->done_end = &(*c->done_end)->next;
}

static struct commit_job *take_queue(struct commit *c)
{
    struct commit_job *jobs = c->queue;
    c->queue = NULL;
    c->queue_end = &c->queue;
    return jobs;
}

static void *commit_main(void *arg)
{
    struct commit *c = arg;
    pthread_mutex_lock(&c->lock);
    for (;;) {
        while (!c->queue && !c->stop)
            pthread_cond_wait(&c->work, &c->lock);
        if (!c->queue)
            break;
        struct commit_job *jobs = take_queue(c);
        pthread_mutex_unlock(&c->lock);
        work_off(c, jobs);
        pthread_mutex_lock(&c->lock);
        finish(c, jobs);
        pthread_mutex_unlock(&c->lock);
        if (c->wake)
            c->wake(c->wake_arg);
        pthread_mutex_lock(&c->lock);
    }
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

int commit_init(struct commit *c, struct io *io, bool threaded, void (*wake)(void *arg), void *wake_arg)
{
    *c = (struct commit){.io = io, .wake = wake, .wake_arg = wake_arg, .threaded = threaded};
    c->queue_end = &c->queue;
    c->done_end = &c->done;
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->work, NULL);
    int fault = threaded ? -pthread_create(&c->thread, NULL, commit_main, c) : 0;
    if (fault) {
        pthread_cond_destroy(&c->work);
        pthread_mutex_destroy(&c->lock);
    }
    return fault;
}

void commit_stop(struct commit *c)
{
    if (c->threaded) {
        pthread_mutex_lock(&c->lock);
        c->stop = true;
        pthread_cond_signal(&c->work);
        pthread_mutex_unlock(&c->lock);
        pthread_join(c->thread, NULL);
        c->threaded = false;
    }
}

void commit_fini(struct commit *c)
{
    commit_stop(c);
    assert(!c->queue && !c->done);
    pthread_cond_destroy(&c->work);
    pthread_mutex_destroy(&c->lock);
}

void commit_submit(struct commit *c, struct commit_job *job)
{
    job->next = NULL;
    job->fault = 0;
    pthread_mutex_lock(&c->lock);
    *c->queue_end = job;
    c->queue_end = &job->next;
    if (c->threaded)
        pthread_cond_signal(&c->work);
    pthread_mutex_unlock(&c->lock);
    if (!c->threaded && c->wake)
        c->wake(c->wake_arg);
}

struct commit_job *commit_take(struct commit *c)
{
    pthread_mutex_lock(&c->lock);
    if (!c->threaded && c->queue) {
        struct commit_job *jobs = take_queue(c);
        pthread_mutex_unlock(&c->lock);
        work_off(c, jobs);
        pthread_mutex_lock(&c->lock);
        finish(c, jobs);
    }
    struct commit_job *jobs = c->done;
    c->done = NULL;
    c->done_end = &c->done;
    pthread_mutex_unlock(&c->lock);
    return jobs;
}

void commit_abort(struct commit *c, uint64_t generation, int fault)
{
    pthread_mutex_lock(&c->lock);
    if (generation > c->failed_generation) {
        c->failed_generation = generation;
        c->fault = fault;
    }
    pthread_mutex_unlock(&c->lock);
}
