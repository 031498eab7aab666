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
#include <string.h>

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

/* ---- what can't be read, ever ---- */

static void note(void *arg, const char *sentence)
{
    char *all = arg;
    strncat(all, sentence, 4095 - strlen(all));
    strncat(all, "\n", 4095 - strlen(all));
}

struct files {
    char name[64][IO_NAME_MAX_BYTES + 1];
    uint64_t bytes[64];
    unsigned count;
};

static void note_file(void *arg, const char *name, uint64_t bytes)
{
    struct files *f = arg;
    if (!strstr(name, ".seg") || f->count == 64)
        return;
    snprintf(f->name[f->count], sizeof f->name[0], "%s", name);
    f->bytes[f->count++] = bytes;
}

static bool is_replaced(const struct files *f, unsigned which)
{
    struct segment_name name, other;
    if (!segment_name_parse(f->name[which], &name))
        return false;
    for (unsigned i = 0; i < f->count; i++) {
        if (segment_name_parse(f->name[i], &other) && segment_name_replaces(&other, &name))
            return true;
    }
    return false;
}

/*
 * A stretch of any segment, at any place, that can't be read: check says so and goes on, and after a repair
 * the store opens, reads and takes appends. Without one, a start either does as well or says no, unchanged.
 */
static void a_repair_goes_on_past_what_cannot_be_read(void)
{
    unsigned stretches = 0;
    for (uint64_t place = 0; place < 60; place++) {
        struct ledger ledger;
        struct sim *sim;
        ledger_init(&ledger, 99);
        demand(sim_new(&sim) == 0, "memory");
        struct store *s = open_healthy(sim);
        for (int i = 0; i < 30; i++) {
            ledger_send(&ledger, s);
            store_run(s);
        }
        struct files files = {0};
        bool crashed = place % 2;
        struct sim_random r = {.state = place};
        struct sim *disk = crashed ? sim_crash(sim, &r) : sim;
        store_close(s);
        sim_each(disk, note_file, &files);
        unsigned f = (unsigned)(sim_random(&r) % files.count);
        uint64_t at = place < 8 ? 0 : sim_random(&r) % files.bytes[f];
        demand(sim_hurt(disk, files.name[f], at, at + 1), "there is such a file");
        char text[4096] = "";
        struct store_check_result result;
        demand(disk_check_io(sim_io(disk), false, note, text, &result) == 0, "checked");
        if (!is_replaced(&files, f)) {
            demand(strstr(text, "can't be read") || strstr(text, "index is damaged") ||
                       strstr(text, "behind the last good record"),
                   "it is said");
            for (unsigned i = 0; i < files.count; i++)
                demand(strstr(text, files.name[i]) || is_replaced(&files, i), "the others are checked too");
            stretches++;
        }
        demand(disk_check_io(sim_io(disk), true, note, text, &result) == 0, "repaired");
        s = open_healthy(disk);
        ledger_go_on(&ledger, s);
        store_close(s);
        ledger_fini(&ledger);
        if (crashed)
            sim_free(disk);
        sim_free(sim);
    }
    printf("unreadable stretches: %u\n", stretches);
}

/* How many runs of each place are made; more by hand: `store_faults 5` (30 s of CPU time). */
int main(int argc, char **argv)
{
    uint64_t seeds = argc > 1 ? strtoull(argv[1], NULL, 10) : 2;
    a_repair_goes_on_past_what_cannot_be_read();
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
            /* Twice past the end in five: runs differ by their seed. */
            for (uint64_t n = 1, missed = 0; missed * seeds < 10 && n < 200; n++) {
                if (getenv("SEEDS"))
                    fprintf(stderr, "%s %d %" PRIu64 "\n", kinds[k].name, forever, n);
                bool met = false;
                for (uint64_t seed = 0; seed < seeds; seed++)
                    met |= run(kinds[k].calls, n, kinds[k].fault, forever, n * 17 + k + seed * 1000);
                count += met;
                missed += !met;
            }
        }
        printf("%s: %" PRIu64 " places\n", kinds[k].name, count);
    }
    return 0;
}
