// SPDX-License-Identifier: Apache-2.0
/*
 * The background thread: one long piece of work at a time (sealing a segment, compacting), never in the way
 * of commits. `work` runs there and touches nothing but its job; background_take() gives the job back to the
 * home thread. Without a thread (for tests) background_take() does the work.
 */
#pragma once
#include <pthread.h>
#include <stdbool.h>

struct background_job {
    struct background_job *next;
    void (*work)(struct background_job *job);                /* background thread */
    void (*done)(struct background_job *job, void *context); /* home thread; frees it */
};

struct background {
    void (*wake)(void *arg);
    void *wake_arg;
    bool threaded;
    bool stop;
    int period_s;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct background_job *queue, **queue_end;
    struct background_job *done, **done_end;
    unsigned unfinished; /* home thread: submitted, not yet given back */
};

/* With period_s > 0, `wake` is called that often besides. Faults: -EAGAIN. */
int background_init(struct background *g, bool threaded, void (*wake)(void *arg), void *wake_arg,
                    int period_s);
/* Ends the thread after what is queued is worked off. */
void background_stop(struct background *g);
void background_fini(struct background *g);
void background_submit(struct background *g, struct background_job *job);
/* Calls `done` of each finished job. */
void background_take(struct background *g, void *context);
