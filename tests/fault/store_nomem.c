// SPDX-License-Identifier: Apache-2.0
/*
 * Failing memory: the n-th allocation of the store fails, and some after it, for every n of a run that
 * appends, rolls, seals, compacts, reads, closes and recovers. Nothing crashes or leaks, nothing acknowledged
 * is lost, and the store goes on when there is memory again. The linker puts the __wrap functions in.
 */
#include "ledger.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *old, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes);

static volatile bool armed;
static uint64_t calls, fail_at, fail_for;

static bool fails(void)
{
    if (!armed || sim_inside)
        return false;
    calls++;
    return calls >= fail_at && calls < fail_at + fail_for;
}

void *__wrap_malloc(size_t bytes)
{
    return fails() ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    return fails() ? NULL : __real_calloc(count, bytes);
}

void *__wrap_realloc(void *old, size_t bytes)
{
    return fails() ? NULL : __real_realloc(old, bytes);
}

static void around(bool inside)
{
    armed = inside;
}

static const struct store_options options = {.segment_bytes = 8 << 10, .memory_bytes = 8 << 10};

static struct store *open_store(struct sim *sim)
{
    struct store *s = NULL;
    const char *why = NULL;
    struct io *io = sim_io(sim);
    armed = true;
    int fault = disk_open_io(&options, io, false, &s, &why);
    armed = false;
    if (fault && fault != -ENOMEM) {
        fprintf(stderr, "start: %d %s\n", fault, why);
        abort();
    }
    return fault ? NULL : s;
}

static void run_store(struct store *s)
{
    armed = true;
    store_run(s);
    armed = false;
}

static bool take_nothing(void *arg, struct sl_slice bytes, const struct sl_record *prefix)
{
    (void)arg, (void)bytes, (void)prefix;
    return true;
}

/* How many allocations there were. */
static uint64_t run(uint64_t at, uint64_t for_how_many, uint64_t seed)
{
    struct ledger ledger;
    struct sim *sim;
    struct sim_random r = {.state = seed};
    calls = 0;
    fail_at = at;
    fail_for = for_how_many;
    ledger_init(&ledger, seed);
    ledger.no_deletions = true;
    if (sim_new(&sim))
        abort();
    struct store *s = open_store(sim);
    for (int i = 0; i < 60; i++) {
        while (!s)
            s = open_store(sim);
        ledger_send(&ledger, s);
        if (sim_random(&r) % 2)
            run_store(s);
        if (i % 8 == 0) {
            bool more;
            armed = true;
            (void)store_read(s, sl_slice_of("box-1"), 1, 100000, take_nothing, NULL, &more);
            armed = false;
        }
        if (i % 20 == 19) {
            armed = true;
            store_close(s);
            armed = false;
            s = open_store(sim);
            while (!s)
                s = open_store(sim);
            ledger_reopened(&ledger, s);
        }
    }
    fail_for = 0;
    run_store(s);
    ledger_check(&ledger, s);
    ledger_go_on(&ledger, s);
    ledger_check(&ledger, s);
    store_close(s);
    s = open_store(sim);
    ledger_check(&ledger, s);
    store_close(s);
    ledger_fini(&ledger);
    sim_free(sim);
    return calls;
}

int main(void)
{
    ledger_around = around;
    uint64_t places = 0, step = 1;
    for (uint64_t for_how_many = 1; for_how_many <= 5; for_how_many += 4) {
        for (uint64_t n = 1; run(n, for_how_many, 7) >= n; n += step) {
            if (getenv("SEEDS"))
                fprintf(stderr, "%" PRIu64 " for %" PRIu64 "\n", n, for_how_many);
            places++;
            step = n > 300 ? 3 : 1;
        }
    }
    printf("%" PRIu64 " places\n", places);
    return 0;
}
