// SPDX-License-Identifier: Apache-2.0
/* What the home thread does beside appends and reads: when to look at retention, and when to compact. */
#include "disk.h"
#include "wire/timestamp.h"
#include <errno.h>
#include <stdlib.h>

enum { LOOK_AGAIN_S = 1 };

void disk_sealed(struct disk *d)
{
    d->looked_ns = 0;
}

static void tell(struct compact_waiter **waiters, int fault)
{
    while (*waiters) {
        struct compact_waiter *w = *waiters;
        *waiters = w->next;
        w->done(w->arg, fault);
        free(w);
    }
}

void disk_compacted(struct disk *d, int fault)
{
    if (fault && !d->closing)
        tell(&d->round, fault);
    d->looked_ns = 0;
}

void disk_end_waiting(struct disk *d, int fault)
{
    tell(&d->round, fault);
    tell(&d->waiting, fault);
}

static bool all_sealed(const struct disk *d)
{
    for (size_t i = 0; i < d->segment_count; i++) {
        const struct segment *s = d->segments[i];
        if (s != d->active && !s->sealed && !s->suspect && !s->unsealable)
            return false;
    }
    return true;
}

void disk_upkeep(struct disk *d)
{
    if (d->closing)
        return;
    int64_t now_ns = sl_monotonic_ns();
    if (d->looked_ns == 0 || now_ns - d->looked_ns > LOOK_AGAIN_S * SL_NS_PER_S) {
        d->looked_ns = now_ns;
        if (d->active && d->active->in_flight == 0 && retain_rolls(d, d->active, sl_now_ns()))
            disk_roll(d);
        retain_run(d, sl_now_ns());
        seal_retry(d);
        if (!d->round)
            compact_start(d, false);
    }
    if (!d->round && d->waiting) {
        d->round = d->waiting;
        d->waiting = NULL;
        disk_roll(d);
    }
    if (d->round && !d->compacting && !d->dropping && all_sealed(d)) {
        compact_start(d, true);
        if (!d->compacting)
            tell(&d->round, 0);
    }
}

void disk_compact(struct store *s, void (*done)(void *arg, int fault), void *arg)
{
    struct disk *d = (struct disk *)s;
    struct compact_waiter *w = malloc(sizeof *w);
    if (!w) {
        done(arg, -ENOMEM);
        return;
    }
    *w = (struct compact_waiter){.next = d->waiting, .done = done, .arg = arg};
    d->waiting = w;
    if (d->options.wake)
        d->options.wake(d->options.arg);
}
