// SPDX-License-Identifier: Apache-2.0
/*
 * The commit thread: writes what waits, one go per segment, and syncs once for all of it (README, invariant
 * 1). The home thread says what goes where; this one only writes, and tells the outcome in order.
 *
 * After a fault everything that was submitted with the same generation, or an older one, fails too, because
 * it was judged as if the failed had happened. A segment that had a fault is never written or synced again.
 *
 * commit_submit, commit_take: home thread. `wake` is called from the commit thread. Without a thread
 * (`threaded` false, for tests that need one order of events) commit_take() does the work.
 */
#pragma once
#include "segment.h"
#include "wire/metrics.h"
#include <pthread.h>

struct commit_job {
    struct commit_job *next;
    struct segment *segment; /* NULL: nothing to write, only its turn to wait for */
    uint64_t offset;
    uint64_t bytes;
    struct iovec *vectors;
    int count;
    uint64_t generation;
    int fault; /* the outcome */
};

struct commit {
    struct io *io;
    void (*wake)(void *arg);
    void *wake_arg;
    bool threaded;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct commit_job *queue, **queue_end;
    struct commit_job *done, **done_end;
    uint64_t failed_generation; /* none older or equal is written */
    int fault;
    bool stop;
    struct sl_histogram latency;
    _Atomic uint64_t groups;
    _Atomic uint64_t faults;
};

/* Faults: -ENOMEM, -EAGAIN. */
int commit_init(struct commit *c, struct io *io, bool threaded, void (*wake)(void *arg), void *wake_arg);
/* After everything that was submitted has its outcome, which commit_take() still gives. */
void commit_stop(struct commit *c);
void commit_fini(struct commit *c);
void commit_submit(struct commit *c, struct commit_job *job);
/* Jobs with an outcome, in the order of submission. */
struct commit_job *commit_take(struct commit *c);
/* From now on every job of this generation or an older one fails. */
void commit_abort(struct commit *c, uint64_t generation, int fault);
