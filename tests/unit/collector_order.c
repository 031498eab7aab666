// SPDX-License-Identifier: Apache-2.0
/* In which order the files of a log are read, whatever happens between two looks. */
#include "collector_world.h"

enum { LIVES = 24 };

static void a_life(unsigned seed, enum kind kind)
{
    char what[64];
    world_begin(seed, kind);
    collector_start();
    w.restless = true;
    for (int i = 0; i < 60; i++) {
        unsigned number = dice(12);
        if (number == 0)
            collector_dies(dice(3));
        else
            world_step(number);
    }
    world_rest();
    snprintf(what, sizeof what, "%s, seed %u, %u turns", kind_names[kind], seed, w.turned);
    all_lines_came(what);
    world_end();
}

/* SEED and SEEDS: these lives instead; KIND: of one kind. */
static void lives(enum kind kind)
{
    const char *first = getenv("SEED"), *count = getenv("SEEDS"), *only = getenv("KIND");
    if (only && strcmp(only, kind_names[kind]) != 0)
        return;
    unsigned seed = first ? (unsigned)atol(first) : 1, left = count   ? (unsigned)atol(count)
                                                              : first ? 1
                                                                      : LIVES;
    for (; left > 0; left--)
        a_life(seed++, kind);
}

static void stamped_files_come_in_order(void **state)
{
    (void)state;
    lives(STAMPED);
}

static void numbered_files_come_in_order(void **state)
{
    (void)state;
    lives(NUMBERED);
}

static void packed_files_come_in_order(void **state)
{
    (void)state;
    lives(PACKED);
}

static void copies_come_in_order(void **state)
{
    (void)state;
    lives(COPIED);
}

static void packed_copies_come_in_order(void **state)
{
    (void)state;
    lives(COPIED_PACKED);
}

/* They are held by nothing but their descriptors while no broker is there. */
static void without_names(enum kind kind, bool from_before, bool same_tick)
{
    world_begin(1, kind);
    w.connected = false;
    w.same_tick = same_tick;
    if (!from_before)
        collector_start();
    writer_write(10);
    if (from_before)
        collector_start();
    for (int turns = 0; turns < 3; turns++) {
        for (int i = 0; i < 20; i++)
            world_turn(50);
        writer_rotate();
        writer_write(10);
    }
    world_turn(50);
    world_rest();
    all_lines_came(kind_names[kind]);
    world_end();
}

static void files_without_names_come_in_order(void **state)
{
    (void)state;
    for (int way = 0; way < 8; way++)
        without_names(way & 1 ? DELETED : REPLACED, way & 2, way & 4);
}

/* What a rotation costs while `kept` rotated files are there: it must not be more for a log that keeps more.
 */
static void one_more(enum kind kind, unsigned kept, unsigned *ret_opens, unsigned *ret_reads,
                     unsigned *ret_listings)
{
    world_begin(1, kind);
    collector_start();
    for (unsigned i = 0; i < kept; i++) {
        writer_write(1 + i % 9); /* shorter than a fingerprint, and longer */
        world_turn(20);
        writer_rotate();
        world_turn(20);
    }
    for (int i = 0; i < 100; i++)
        world_turn(100); /* all are closed */
    memset(&w.calls, 0, sizeof w.calls);
    for (unsigned i = 0; i < 10; i++) {
        writer_write(1 + i % 9);
        world_turn(20);
        writer_rotate();
        world_turn(20);
    }
    *ret_opens = w.calls.opens;
    *ret_reads = w.calls.reads;
    *ret_listings = w.calls.listings;
    world_rest();
    all_lines_came(kind_names[kind]);
    world_end();
}

static void a_rotation_costs_the_same_beside_many(void **state)
{
    (void)state;
    if (getenv("KIND"))
        return;
    for (enum kind kind = STAMPED; kind <= COPIED_PACKED; kind++) {
        unsigned few[3], many[3];
        one_more(kind, 10, &few[0], &few[1], &few[2]);
        one_more(kind, 100, &many[0], &many[1], &many[2]);
        printf(
            "   10 times %s beside 10 and 100 files: %u and %u opens, %u and %u reads, %u and %u listings\n",
            kind_names[kind], few[0], many[0], few[1], many[1], few[2], many[2]);
        assert_in_range(many[0], 0, few[0] + few[0] / 4);
        assert_in_range(many[1], 0, few[1] + few[1] / 4);
        assert_in_range(many[2], 0, few[2] + few[2] / 4);
    }
}

enum { FILES = 150 };

/* A start reads each file a few times, however many there are. */
static void a_start_costs_the_same_for_each(void **state)
{
    (void)state;
    if (getenv("KIND"))
        return;
    for (enum kind kind = STAMPED; kind <= COPIED_PACKED; kind++) {
        for (unsigned known = 0; known < 2; known++) {
            world_begin(1, kind);
            if (known)
                collector_start();
            for (unsigned i = 0; i < FILES; i++) {
                writer_write(1 + i % 9);
                writer_rotate();
                world_turn(20);
            }
            for (int i = 0; known && i < 100; i++)
                world_turn(100);
            collector_dies(0);
            memset(&w.calls, 0, sizeof w.calls);
            collector_start();
            world_rest();
            printf("   %s: a start beside %d files that are %s: %u opens, %u reads, %u listings\n",
                   kind_names[kind], FILES, known ? "known" : "new", w.calls.opens, w.calls.reads,
                   w.calls.listings);
            all_lines_came(kind_names[kind]);
            assert_in_range(w.calls.opens, 0, 4 * FILES);
            assert_in_range(w.calls.reads, 0, 20 * FILES);
            world_end();
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(stamped_files_come_in_order),
                                       cmocka_unit_test(numbered_files_come_in_order),
                                       cmocka_unit_test(packed_files_come_in_order),
                                       cmocka_unit_test(copies_come_in_order),
                                       cmocka_unit_test(packed_copies_come_in_order),
                                       cmocka_unit_test(files_without_names_come_in_order),
                                       cmocka_unit_test(a_rotation_costs_the_same_beside_many),
                                       cmocka_unit_test(a_start_costs_the_same_for_each)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
