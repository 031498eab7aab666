// SPDX-License-Identifier: Apache-2.0
#include "pace.h"
#include "wire/timestamp.h"
#include <time.h>

enum {
    PACE_LEAST_NS = 2 * 1000 * 1000,  /* shorter waits are put off */
    PACE_PIECE_NS = 20 * 1000 * 1000, /* a wait looks so often whether it is cancelled */
    PACE_SAVED_NS = 50 * 1000 * 1000, /* so much unused time counts, not more */
};

static int64_t real_now(void *arg)
{
    (void)arg;
    return sl_monotonic_ns();
}

static int64_t real_cpu(void *arg)
{
    struct timespec t;
    (void)arg;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * SL_NS_PER_S + t.tv_nsec;
}

static void real_wait(void *arg, int64_t ns)
{
    struct timespec t = {.tv_sec = ns / SL_NS_PER_S, .tv_nsec = ns % SL_NS_PER_S};
    (void)arg;
    nanosleep(&t, NULL);
}

static const struct pace_clock real_clock = {.now_ns = real_now, .cpu_ns = real_cpu, .wait = real_wait};

void pace_begin(struct pace *p, const struct pace_clock *clock, unsigned cpu_percent, uint64_t bytes_per_s,
                const atomic_bool *cancelled)
{
    *p = (struct pace){.clock = clock ? clock : &real_clock,
                       .cpu_percent = cpu_percent < 100 ? cpu_percent : 0,
                       .bytes_per_s = bytes_per_s,
                       .cancelled = cancelled};
    p->since_ns = p->clock->now_ns(p->clock->arg);
    p->cpu_since_ns = p->clock->cpu_ns(p->clock->arg);
}

void pace_step(struct pace *p, uint64_t bytes)
{
    const struct pace_clock *c = p->clock;
    if (!p->cpu_percent && !p->bytes_per_s)
        return;
    p->bytes += bytes;
    int64_t now = c->now_ns(c->arg), cpu = c->cpu_ns(c->arg), due = now;
    if (p->cpu_percent)
        due = p->since_ns + (cpu - p->cpu_since_ns) * 100 / p->cpu_percent;
    if (p->bytes_per_s) {
        int64_t io = p->since_ns + (int64_t)((double)p->bytes / (double)p->bytes_per_s * 1e9);
        due = !p->cpu_percent || io > due ? io : due;
    }
    while (due - now >= PACE_LEAST_NS && !atomic_load(p->cancelled)) {
        c->wait(c->arg, due - now < PACE_PIECE_NS ? due - now : PACE_PIECE_NS);
        now = c->now_ns(c->arg);
    }
    if (now - due > PACE_SAVED_NS) {
        p->since_ns = now - PACE_SAVED_NS;
        p->cpu_since_ns = cpu;
        p->bytes = 0;
    }
}
