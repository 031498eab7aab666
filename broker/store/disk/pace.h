// SPDX-License-Identifier: Apache-2.0
/*
 * Keeps a piece of background work to its share of a core and of the disk: the work says after each step how
 * many bytes it moved, and pace_step() waits as long as the shares ask for. What was not used for a while is
 * not saved up. Used by one thread.
 */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Where time comes from and goes; for tests. */
struct pace_clock {
    int64_t (*now_ns)(void *arg); /* monotonic */
    int64_t (*cpu_ns)(void *arg); /* used by the calling thread */
    void (*wait)(void *arg, int64_t ns);
    void *arg;
};

struct pace {
    const struct pace_clock *clock;
    unsigned cpu_percent;         /* of one core; 0 or 100 and more: all of it */
    uint64_t bytes_per_s;         /* read and written; 0: no limit */
    const atomic_bool *cancelled; /* ends a wait early */
    int64_t since_ns, cpu_since_ns;
    uint64_t bytes; /* since then */
};

/* `clock` NULL: the real one. Called by the thread that works. */
void pace_begin(struct pace *p, const struct pace_clock *clock, unsigned cpu_percent, uint64_t bytes_per_s,
                const atomic_bool *cancelled);
void pace_step(struct pace *p, uint64_t bytes);
