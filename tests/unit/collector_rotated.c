// SPDX-License-Identifier: Apache-2.0
#include "rotated.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void names_of_rotated_files_tell_their_base(void **state)
{
    (void)state;
    static const char *const names[] = {
        "0.log.20261120-204500", "0.log.20261120-204500.gz",  "0.log.1", "0.log.12.gz", "0.log-20261120",
        "0.log-20261120.gz",     "0.log.2026-11-20T20:45:00Z"};
    struct sl_slice base;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_true(rotated_name(sl_slice_of(names[i]), &base));
        assert_true(sl_slice_equal(base, sl_slice_of("0.log")));
    }
}

static void other_names_are_their_own(void **state)
{
    (void)state;
    static const char *const names[] = {"0.log", "main.log",  "job-7",    "a.gz",      ".1",
                                        "x.",    "x.log.old", "x.log.1a", "web-12.log"};
    struct sl_slice base;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_false(rotated_name(sl_slice_of(names[i]), &base));
}

static void order(const char *older, const char *newer)
{
    struct sl_slice base = sl_slice_of("a.log");
    assert_true(rotated_compare(base, sl_slice_of(older), sl_slice_of(newer)) < 0);
    assert_true(rotated_compare(base, sl_slice_of(newer), sl_slice_of(older)) > 0);
}

static void numbers_count_up_with_age_and_stamps_down(void **state)
{
    (void)state;
    order("a.log.2", "a.log.1");
    order("a.log.10", "a.log.9");
    order("a.log.10.gz", "a.log.2");
    order("a.log.1", "a.log");
    order("a.log.20261120-204500", "a.log.20261120-204501.gz");
    order("a.log.20261120", "a.log");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(names_of_rotated_files_tell_their_base),
                                       cmocka_unit_test(other_names_are_their_own),
                                       cmocka_unit_test(numbers_count_up_with_age_and_stamps_down)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
