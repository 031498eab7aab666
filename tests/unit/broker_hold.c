// SPDX-License-Identifier: Apache-2.0
/* --export-hold: a size, an age, both or none. */
#include "hold.h"
#include "wire/timestamp.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
/* behind setjmp.h, stdarg.h */
#include <cmocka.h>

static void a_size_an_age_both_or_none_are_read(void **state)
{
    (void)state;
    const int64_t day_ns = 24 * 3600 * SL_NS_PER_S;
    static const uint64_t gib = UINT64_C(1) << 30;
    const struct {
        const char *text;
        struct hold hold;
    } cases[] = {
        {"10GiB", {true, 10 * gib, 0}},
        {"3d", {true, 0, 3 * day_ns}},
        {"10GiB,3d", {true, 10 * gib, 3 * day_ns}},
        {"3d,10GiB", {true, 10 * gib, 3 * day_ns}},
        {"1", {true, 1, 0}},
        {"7KiB", {true, 7 << 10, 0}},
        {"7MiB", {true, 7 << 20, 0}},
        {"2TiB", {true, 2048 * gib, 0}},
        {"4294967295GiB", {true, UINT64_C(4294967295) * gib, 0}},
        {"1s", {true, 0, SL_NS_PER_S}},
        {"none", {false, 0, 0}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct hold hold = {true, 99, 99};
        assert_int_equal(hold_parse(cases[i].text, &hold), 0);
        assert_int_equal(hold.holds, cases[i].hold.holds);
        assert_true(hold.bytes == cases[i].hold.bytes);
        assert_true(hold.age_ns == cases[i].hold.age_ns);
    }
}

static void everything_else_is_refused_and_changes_nothing(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "",
        ",",
        "0",
        "0GiB",
        "0s",
        "-1",
        "GiB",
        "d",
        "10GB",
        "10gib",
        "10 GiB",
        "1.5GiB",
        "10GiB,",
        ",3d",
        "3d,,10GiB",
        "10GiB,20GiB",
        "3d,4d",
        "10GiB,3d,1",
        "none,3d",
        "10GiB,none",
        "None",
        "3d 10GiB",
        "10GiBx",
        "99999999999TiB",
        "+5GiB",
        "8388608TiB",
        "4294967296000",
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct hold hold = {true, 99, 99};
        if (hold_parse(cases[i], &hold) != HOLD_BAD)
            fail_msg("\"%s\" is taken", cases[i]);
        assert_true(hold.holds && hold.bytes == 99 && hold.age_ns == 99);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_size_an_age_both_or_none_are_read),
        cmocka_unit_test(everything_else_is_refused_and_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
