// SPDX-License-Identifier: Apache-2.0
/* The share of a core and of the disk that compaction keeps to, on clocks that are played. */
#include "store/disk/pace.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const int64_t MS = 1000 * 1000;

struct played {
    int64_t now_ns, cpu_ns;
    unsigned waits;
    atomic_bool *cancel_after_a_wait;
};

static int64_t played_now(void *arg)
{
    return ((struct played *)arg)->now_ns;
}
static int64_t played_cpu(void *arg)
{
    return ((struct played *)arg)->cpu_ns;
}
static void played_wait(void *arg, int64_t ns)
{
    struct played *p = arg;
    assert_true(ns > 0);
    p->now_ns += ns;
    p->waits++;
    if (p->cancel_after_a_wait)
        atomic_store(p->cancel_after_a_wait, true);
}

static struct played played;
static atomic_bool cancelled;
static const struct pace_clock clock_played = {
    .now_ns = played_now, .cpu_ns = played_cpu, .wait = played_wait, .arg = &played};

static void begin(struct pace *p, unsigned percent, uint64_t bytes_per_s)
{
    played = (struct played){.now_ns = 7 * MS, .cpu_ns = 3 * MS};
    atomic_store(&cancelled, false);
    pace_begin(p, &clock_played, percent, bytes_per_s, &cancelled);
}

/* So much work of so many bytes; `blocked_ns` more of it is not on the CPU. */
static void work(struct pace *p, int64_t cpu_ns, int64_t blocked_ns, uint64_t bytes)
{
    played.cpu_ns += cpu_ns;
    played.now_ns += cpu_ns + blocked_ns;
    pace_step(p, bytes);
}

static void the_share_of_a_core_is_kept(void **state)
{
    (void)state;
    for (unsigned percent = 1; percent < 100; percent += 7) {
        struct pace p;
        begin(&p, percent, 0);
        for (int i = 0; i < 1000; i++)
            work(&p, (1 + i % 9) * MS, 0, 1 << 20);
        int64_t used = played.cpu_ns - 3 * MS, took = played.now_ns - 7 * MS;
        assert_true(used * 100 <= (took + 2 * MS) * percent);
        assert_true(used * 100 >= took * percent * 9 / 10); /* and it is used */
    }
}

static void the_share_of_the_disk_is_kept(void **state)
{
    (void)state;
    struct pace p;
    begin(&p, 100, 8 << 20);
    for (int i = 0; i < 100; i++)
        work(&p, 1 * MS, 0, 1 << 20);
    int64_t took = played.now_ns - 7 * MS;
    assert_in_range(took, 12400 * MS, 12600 * MS);
}

static void time_that_was_not_used_is_not_saved_up(void **state)
{
    (void)state;
    struct pace p;
    begin(&p, 50, 0);
    work(&p, 1 * MS, 10000 * MS, 0); /* a slow disk */
    int64_t now = played.now_ns, cpu = played.cpu_ns;
    for (int i = 0; i < 100; i++)
        work(&p, 10 * MS, 0, 0);
    assert_true((played.cpu_ns - cpu) * 100 <= (played.now_ns - now + 100 * MS) * 50);
}

static void without_limits_nothing_waits(void **state)
{
    (void)state;
    struct pace p;
    begin(&p, 100, 0);
    for (int i = 0; i < 1000; i++)
        work(&p, 10 * MS, 0, 1 << 30);
    begin(&p, 0, 0);
    for (int i = 0; i < 1000; i++)
        work(&p, 10 * MS, 0, 1 << 30);
    assert_int_equal(played.waits, 0);
}

static void who_is_cancelled_waits_no_longer(void **state)
{
    (void)state;
    struct pace p;
    begin(&p, 1, 0);
    played.cancel_after_a_wait = &cancelled;
    work(&p, 1000 * MS, 0, 0);
    assert_int_equal(played.waits, 1);
    assert_true(played.now_ns < 1100 * MS);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_share_of_a_core_is_kept),
        cmocka_unit_test(the_share_of_the_disk_is_kept),
        cmocka_unit_test(time_that_was_not_used_is_not_saved_up),
        cmocka_unit_test(without_limits_nothing_waits),
        cmocka_unit_test(who_is_cancelled_waits_no_longer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
