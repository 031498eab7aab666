// SPDX-License-Identifier: Apache-2.0
#include "canary_count.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static void write_lines(struct canary_count *count, int n)
{
    char text[CANARY_LINE_BYTES];
    for (int i = 0; i < n; i++)
        assert_true(canary_count_write(count, i * 1000, text) > 0);
}

static void read_line(struct canary_count *count, int n, int64_t now_ns)
{
    char text[CANARY_LINE_BYTES];
    int bytes = snprintf(text, sizeof text, "canary %d", n);
    canary_count_read(count, sl_slice(text, (size_t)bytes), now_ns);
}

static void all_in_order_is_well(void **state)
{
    (void)state;
    struct canary_count count = {0};
    struct canary_result result;
    write_lines(&count, 3000);
    for (int i = 0; i < 3000; i++)
        read_line(&count, i, i * 1000 + i + 1); /* takes 1 to 3000 ns */
    canary_count_result(&count, 5000, &result);
    assert_true(canary_count_well(&count, &result));
    assert_int_equal(result.p50_ns, 1500);
    assert_int_equal(result.p99_ns, 2970);
    assert_int_equal(result.max_ns, 3000);
    canary_count_fini(&count);
}

static void each_fault_is_counted_and_is_not_well(void **state)
{
    (void)state;
    static const struct {
        int lines[8];
        size_t missing, doubled, out_of_order, foreign;
    } cases[] = {
        {{0, 1, 3, -1}, 1, 0, 0, 0},
        {{0, 1, 1, 2, 3, -1}, 0, 1, 0, 0},
        {{0, 2, 1, 3, -1}, 0, 0, 1, 0},
        {{0, 1, 2, 3, 4, -1}, 0, 0, 0, 1}, /* was never written */
        {{-1}, 4, 0, 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct canary_count count = {0};
        struct canary_result result;
        write_lines(&count, 4);
        for (const int *line = cases[i].lines; *line >= 0; line++)
            read_line(&count, *line, 100000);
        canary_count_result(&count, 1000000, &result);
        assert_int_equal(result.missing, cases[i].missing);
        assert_int_equal(count.doubled, cases[i].doubled);
        assert_int_equal(count.out_of_order, cases[i].out_of_order);
        assert_int_equal(count.foreign, cases[i].foreign);
        assert_false(canary_count_well(&count, &result));
        canary_count_fini(&count);
    }
}

static void a_late_line_is_counted_but_not_missing(void **state)
{
    (void)state;
    struct canary_count count = {0};
    struct canary_result result;
    write_lines(&count, 2);
    read_line(&count, 0, 10);
    read_line(&count, 1, 1000 + 501);
    canary_count_result(&count, 500, &result);
    assert_int_equal(result.late, 1);
    assert_int_equal(result.missing, 0);
    assert_false(canary_count_well(&count, &result));
    canary_count_fini(&count);
}

static void other_text_is_foreign(void **state)
{
    (void)state;
    static const char *const texts[] = {"",
                                        "canary",
                                        "canary ",
                                        "canary x",
                                        "canary 1x",
                                        "canary -1",
                                        "canary 99999999999999999999999",
                                        "Canary 1"};
    struct canary_count count = {0};
    write_lines(&count, 2);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        canary_count_read(&count, sl_slice_of(texts[i]), 1);
    assert_int_equal(count.foreign, sizeof texts / sizeof *texts);
    assert_int_equal(count.read, 0);
    canary_count_fini(&count);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_in_order_is_well),
        cmocka_unit_test(each_fault_is_counted_and_is_not_well),
        cmocka_unit_test(a_late_line_is_counted_but_not_missing),
        cmocka_unit_test(other_text_is_foreign),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
