// SPDX-License-Identifier: Apache-2.0
/*
 * Failing I/O: the n-th call of a kind fails, for every n until none is left to fail, once or until it is
 * healed. Nothing acknowledged is lost, nothing is doubled, the store takes appends again after it, also
 * after a crash right behind the fault; no call crashes. Start-up is among the calls: it may then say no,
 * but the next one succeeds.
 */
#include "ledger.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static const struct store_options options = {.segment_bytes = 8 << 10, .memory_bytes = 4 << 10};

static struct store *open_or_not(struct sim *sim)
{
    struct store *s = NULL;
    const char *why = NULL;
    int fault = disk_open_io(&options, sim_io(sim), false, &s, &why);
    if (fault && (!why || !why[0]))
        abort();
    return fault ? NULL : s;
}

static struct store *open_healthy(struct sim *sim)
{
    sim_fail(sim, 0, 0, 0, false);
    struct store *s = open_or_not(sim);
    if (!s) {
        fprintf(stderr, "a healthy disk is refused\n");
        abort();
    }
    return s;
}

static void check_after(const struct ledger *ledger, struct sim *sim, bool crash, struct sim_random *r)
{
    struct sim *disk = crash ? sim_crash(sim, r) : sim;
    struct store *s = open_healthy(disk);
    ledger_check(ledger, s);
    store_close(s);
    if (crash)
        sim_free(disk);
}

/* False: fewer than `countdown` such calls were made. */
static bool run(unsigned calls, uint64_t countdown, int fault, bool forever, uint64_t seed)
{
    struct ledger ledger;
    struct sim *sim;
    struct sim_random r = {.state = seed};
    ledger_init(&ledger, seed);
    if (sim_new(&sim))
        abort();
    sim_fail(sim, calls, countdown, fault, forever);
    struct store *s = open_or_not(sim);
    bool healed = false, failed = false, reopened = false;
    for (int i = 0; i < 40; i++) {
        failed = failed || sim_failed(sim);
        if (!s)
            s = open_healthy(sim);
        if (reopened)
            ledger_reopened(&ledger, s);
        reopened = false;
        ledger_send(&ledger, s);
        ledger_consume(&ledger, s);
        if (sim_random(&r) % 2)
            store_run(s);
        if (forever && !healed && sim_failed(sim) && sim_random(&r) % 8 == 0) {
            store_run(s);
            sim_fail(sim, 0, 0, 0, false);
            healed = true;
        }
        if (sim_random(&r) % 3 == 0)
            check_after(&ledger, sim, true, &r);
        if (sim_random(&r) % 20 == 0) {
            store_close(s);
            s = open_or_not(sim);
            reopened = true;
        }
    }
    failed = failed || sim_failed(sim) || healed;
    if (!s)
        s = open_healthy(sim);
    if (reopened)
        ledger_reopened(&ledger, s);
    store_run(s);
    sim_fail(sim, 0, 0, 0, false);
    ledger_check(&ledger, s);
    ledger_go_on(&ledger, s);
    if (store_trouble(s)) {
        fprintf(stderr, "healed, and still: %s\n", store_trouble(s));
        abort();
    }
    ledger_check(&ledger, s);
    check_after(&ledger, sim, true, &r);
    store_close(s);
    check_after(&ledger, sim, false, &r);
    ledger_fini(&ledger);
    sim_free(sim);
    return failed;
}

static void demand(bool good, const char *what)
{
    if (!good) {
        fprintf(stderr, "not so: %s\n", what);
        abort();
    }
}

static bool all_sealed(const struct disk *d)
{
    for (size_t i = 0; i < d->segment_count; i++) {
        const struct segment *s = d->segments[i];
        if (s != d->active && (!s->sealed || s->suspect))
            return false;
    }
    return true;
}

/* A segment whose sync failed used to stay without its index until the next start, which had to read it
 * whole. */
static void a_segment_that_had_a_fault_is_replaced_while_the_store_runs(bool forever, unsigned calls)
{
    struct ledger ledger;
    struct sim *sim;
    struct sim_random r = {.state = 5};
    ledger_init(&ledger, 77);
    demand(sim_new(&sim) == 0, "memory");
    struct store *s = open_healthy(sim);
    struct disk *d = (struct disk *)s;
    for (int i = 0; i < 4; i++) {
        ledger_send(&ledger, s);
        store_run(s);
    }
    demand(d->active && d->active->durable, "something is stored");
    const struct segment *hurt = d->active;
    sim_fail(sim, calls, 1, -EIO, forever);
    while (!sim_failed(sim) || d->active == hurt) {
        ledger_send(&ledger, s);
        store_run(s);
    }
    for (int i = 0; i < 3; i++) {
        d->looked_ns = 0;
        store_run(s);
    }
    demand(all_sealed(d) == !forever, "a lasting fault leaves it as it is");
    check_after(&ledger, sim, true, &r);
    sim_fail(sim, 0, 0, 0, false);
    for (int i = 0; i < 3; i++) {
        d->looked_ns = 0;
        store_run(s);
    }
    demand(all_sealed(d), "sealed");
    ledger_check(&ledger, s);
    ledger_send(&ledger, s);
    store_run(s);
    for (int i = 0; i < 20; i++)
        check_after(&ledger, sim, true, &r);
    store_close(s);
    check_after(&ledger, sim, false, &r);
    ledger_fini(&ledger);
    sim_free(sim);
}

int main(void)
{
    for (int forever = 0; forever < 2; forever++) {
        a_segment_that_had_a_fault_is_replaced_while_the_store_runs(forever, SIM_SYNC);
        a_segment_that_had_a_fault_is_replaced_while_the_store_runs(forever, SIM_WRITE);
    }
    static const struct {
        const char *name;
        unsigned calls;
        int fault;
    } kinds[] = {
        {"open", SIM_OPEN, -EMFILE},
        {"write", SIM_WRITE, -EIO},
        {"write, full", SIM_WRITE, -ENOSPC},
        {"sync", SIM_SYNC, -EIO},
        {"sync, full", SIM_SYNC, -ENOSPC},
        {"rename, unlink", SIM_NAMES, -EIO},
        {"sync, truncate", SIM_SYNC | SIM_TRUNCATE, -EIO},
        {"read", SIM_READ, -EIO},
    };
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        uint64_t count = 0;
        for (int forever = 0; forever < 2; forever++) {
            /* Twice past the end: runs differ by their seed. */
            for (uint64_t n = 1, missed = 0; missed < 2 && n < 200; n++) {
                if (getenv("SEEDS"))
                    fprintf(stderr, "%s %d %" PRIu64 "\n", kinds[k].name, forever, n);
                bool met = false;
                for (uint64_t seed = 0; seed < 5; seed++)
                    met |= run(kinds[k].calls, n, kinds[k].fault, forever, n * 17 + k + seed * 1000);
                count += met;
                missed += !met;
            }
        }
        printf("%s: %" PRIu64 " places\n", kinds[k].name, count);
    }
    return 0;
}
