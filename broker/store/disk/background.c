// SPDX-License-Identifier: Apache-2.0
#include "background.h"
#include <assert.h>
#include <errno.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static struct background_job *next_job(struct background *g)
{
    struct background_job *job = g->queue;
    if (job) {
        g->queue = job->next;
        if (!g->queue)
            g->queue_end = &g->queue;
    }
    return job;
}

static void finished(struct background *g, struct background_job *job)
{
    job->next = NULL;
    *g->done_end = job;
    g->done_end = &job->next;
}

static void wait_for_work(struct background *g)
{
    if (g->period_s == 0) {
        pthread_cond_wait(&g->work, &g->lock);
        return;
    }
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += g->period_s;
    if (pthread_cond_clockwait(&g->work, &g->lock, CLOCK_MONOTONIC, &until) == ETIMEDOUT && g->wake) {
        pthread_mutex_unlock(&g->lock);
        g->wake(g->wake_arg);
        pthread_mutex_lock(&g->lock);
    }
}

static void *background_main(void *arg)
{
    struct background *g = arg;
    /* Behind commits and reads: of this thread only, as Linux has it. */
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), 10);
    pthread_mutex_lock(&g->lock);
    for (;;) {
        while (!g->queue && !g->stop)
            wait_for_work(g);
        struct background_job *job = next_job(g);
        if (!job)
            break;
        pthread_mutex_unlock(&g->lock);
        job->work(job);
        pthread_mutex_lock(&g->lock);
        finished(g, job);
        pthread_mutex_unlock(&g->lock);
        if (g->wake)
            g->wake(g->wake_arg);
        pthread_mutex_lock(&g->lock);
    }
    pthread_mutex_unlock(&g->lock);
    return NULL;
}

int background_init(struct background *g, bool threaded, void (*wake)(void *arg), void *wake_arg,
                    int period_s)
{
    *g = (struct background){.wake = wake, .wake_arg = wake_arg, .threaded = threaded, .period_s = period_s};
    g->queue_end = &g->queue;
    g->done_end = &g->done;
    pthread_mutex_init(&g->lock, NULL);
    pthread_cond_init(&g->work, NULL);
    int fault = threaded ? -pthread_create(&g->thread, NULL, background_main, g) : 0;
    if (fault) {
        pthread_cond_destroy(&g->work);
        pthread_mutex_destroy(&g->lock);
    }
    return fault;
}

void background_stop(struct background *g)
{
    if (!g->threaded)
        return;
    pthread_mutex_lock(&g->lock);
    g->stop = true;
    pthread_cond_signal(&g->work);
    pthread_mutex_unlock(&g->lock);
    pthread_join(g->thread, NULL);
    g->threaded = false;
}

void background_fini(struct background *g)
{
    background_stop(g);
    assert(!g->queue && !g->done);
    pthread_cond_destroy(&g->work);
    pthread_mutex_destroy(&g->lock);
}

void background_submit(struct background *g, struct background_job *job)
{
    job->next = NULL;
    g->unfinished++;
    pthread_mutex_lock(&g->lock);
    *g->queue_end = job;
    g->queue_end = &job->next;
    pthread_cond_signal(&g->work);
    pthread_mutex_unlock(&g->lock);
    if (!g->threaded && g->wake)
        g->wake(g->wake_arg);
}

void background_take(struct background *g, void *context)
{
    struct background_job *job;
    while (!g->threaded && (job = next_job(g))) {
        job->work(job);
        finished(g, job);
    }
    pthread_mutex_lock(&g->lock);
    struct background_job *jobs = g->done;
    g->done = NULL;
    g->done_end = &g->done;
    pthread_mutex_unlock(&g->lock);
    while ((job = jobs)) {
        jobs = job->next;
        g->unfinished--;
        job->done(job, context);
    }
}
