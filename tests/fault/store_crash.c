// SPDX-License-Identifier: Apache-2.0
/*
 * Crashes: writers work on a store whose disk is played in memory; before and after every call that changes
 * the disk, disks are made as a crash would leave them, opened, checked against the ledger, written to,
 * closed and opened and checked again. The store runs without threads, so a seed repeats a run exactly.
 *
 *   store_crash [CRASHES [SEED]]
 */
#include "ledger.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct run {
    struct ledger ledger;
    struct sim *sim;
    struct sim_random random;
    uint64_t crashes, wanted;
    uint64_t cut; /* records that recoveries cut */
    bool checking;
};

static struct store_options options_for(struct sim_random *r)
{
    struct store_options o = {.segment_bytes = 8 << 10};
    o.memory_bytes = sim_random(r) & 1 ? 1 << 20 : 0;
    o.export_holds = sim_random(r) % 4 != 0;
    return o;
}

static struct store *open_store(struct sim *sim, const struct store_options *options)
{
    struct store *s;
    const char *why;
    int fault = disk_open_io(options, sim_io(sim), false, &s, &why);
    if (fault) {
        fprintf(stderr, "start failed: %d %s\n", fault, why);
        abort();
    }
    return s;
}

static void crash(void *arg)
{
    struct run *r = arg;
    if (sim_random(&r->random) % 2 || r->crashes >= r->wanted)
        return;
    r->crashes++;
    struct sim *sim = sim_crash(r->sim, &r->random);
    struct store_options options = options_for(&r->random);
    struct store *s = open_store(sim, &options);
    struct store_stats stats;
    store_stats(s, &stats);
    r->cut += stats.cut_records;
    ledger_check(&r->ledger, s);
    if (r->crashes % 4 == 0) {
        ledger_go_on(&r->ledger, s);
        ledger_check(&r->ledger, s);
        store_close(s);
        s = open_store(sim, &options);
        ledger_check(&r->ledger, s);
    }
    store_close(s);
    sim_free(sim);
    r->ledger.went_on = false;
}

static void run_once(struct run *r, uint64_t seed)
{
    r->random.state = seed;
    ledger_init(&r->ledger, seed * 3 + 1);
    if (sim_new(&r->sim))
        abort();
    struct store_options options = options_for(&r->random);
    sim_hook(r->sim, crash, r);
    struct store *s = open_store(r->sim, &options);
    for (int i = 0; i < 60; i++) {
        ledger_send(&r->ledger, s);
        ledger_consume(&r->ledger, s);
        if (sim_random(&r->random) % 3 == 0) {
            store_run(s);
            ledger_check(&r->ledger, s);
        }
        if (sim_random(&r->random) % 40 == 0) {
            store_close(s);
            s = open_store(r->sim, &options);
        }
    }
    store_close(s);
    ledger_fini(&r->ledger);
    sim_free(r->sim);
}

int main(int argc, char **argv)
{
    struct run r = {.wanted = argc > 1 ? strtoull(argv[1], NULL, 10) : 20000};
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1, runs = 0;
    for (; r.crashes < r.wanted; runs++) {
        if (getenv("SEEDS"))
            fprintf(stderr, "seed %" PRIu64 "\n", seed + runs);
        run_once(&r, seed + runs);
    }
    printf("%" PRIu64 " crashes in %" PRIu64 " runs, %" PRIu64 " records cut\n", r.crashes, runs, r.cut);
    return 0;
}
