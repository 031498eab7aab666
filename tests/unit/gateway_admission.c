// SPDX-License-Identifier: Apache-2.0
#include "admission.h"
#include "wire/timestamp.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static void followers_are_counted_in_all_and_by_reader(void **state)
{
    (void)state;
    struct admission_limits limits = {.followers = 3, .followers_of_one = 2};
    struct admission *a;
    struct visitor *v[5];
    unsigned retry_s = 0;
    assert_int_equal(admission_new(&limits, &a), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(admission_enter(a, 1, 0, &v[i], &retry_s), 0);
    assert_int_equal(admission_follow(a, v[0], &retry_s), 0);
    assert_int_equal(admission_follow(a, v[1], &retry_s), 0);
    assert_int_equal(admission_follow(a, v[2], &retry_s), ADMISSION_TOO_MANY_FOLLOWERS);
    assert_true(retry_s >= 1);
    for (uint64_t i = 3; i < 5; i++)
        assert_int_equal(admission_enter(a, i, 0, &v[i], &retry_s), 0);
    assert_int_equal(admission_follow(a, v[3], &retry_s), 0);
    assert_int_equal(admission_follow(a, v[4], &retry_s), ADMISSION_TOO_MANY_FOLLOWERS);
    admission_leave(a, v[0], true, 0);
    assert_int_equal(admission_follow(a, v[4], &retry_s), 0);
    admission_leave(a, v[1], true, 0);
    admission_leave(a, v[2], false, 0);
    admission_leave(a, v[3], true, 0);
    admission_leave(a, v[4], true, 0);
    admission_free(a);
}

static void requests_of_one_reader_are_held_to_their_rate(void **state)
{
    (void)state;
    struct admission_limits limits = {.requests_per_s_of_one = 10};
    struct admission *a;
    struct visitor *v;
    unsigned retry_s;
    assert_int_equal(admission_new(&limits, &a), 0);
    int64_t now_ns = SL_NS_PER_S;
    unsigned taken = 0;
    for (int i = 0; i < 50; i++)
        if (admission_enter(a, 1, now_ns, &v, &retry_s) == 0) {
            admission_leave(a, v, false, now_ns);
            taken++;
        }
    assert_int_equal(taken, 10);
    assert_int_equal(admission_enter(a, 2, now_ns, &v, &retry_s), 0);
    admission_leave(a, v, false, now_ns);
    now_ns += SL_NS_PER_S / 2;
    for (int i = 0; i < 50; i++)
        if (admission_enter(a, 1, now_ns, &v, &retry_s) == 0) {
            admission_leave(a, v, false, now_ns);
            taken++;
        }
    assert_int_equal(taken, 15);
    admission_tick(a, now_ns + 10 * SL_NS_PER_S);
    admission_free(a);
}

static void bytes_of_one_reader_are_held_to_their_rate_and_the_line_is_kept(void **state)
{
    (void)state;
    struct admission_limits limits = {.bytes_per_s_of_one = 1000};
    struct admission *a;
    struct visitor *v, *w;
    unsigned retry_s;
    int64_t now_ns = SL_NS_PER_S;
    assert_int_equal(admission_new(&limits, &a), 0);
    assert_int_equal(admission_enter(a, 1, now_ns, &v, &retry_s), 0);
    assert_int_equal(admission_enter(a, 2, now_ns, &w, &retry_s), 0);
    size_t sent = 0;
    for (int turn = 0; turn < 1000; turn++, now_ns += SL_NS_PER_S / 100)
        while (admission_may_send(a, v, false, now_ns)) {
            admission_sent(a, v, 300, now_ns);
            sent += 300;
        }
    assert_in_range(sent, 10000, 11500);                  /* ten seconds, one ahead, and a piece over */
    assert_true(admission_may_send(a, w, false, now_ns)); /* the other one's are its own */
    now_ns += 10 * SL_NS_PER_S;
    admission_line(v, true);
    assert_false(admission_may_send(a, v, false, now_ns)); /* nobody passes who stands in line */
    assert_true(admission_may_send(a, v, true, now_ns));
    admission_line(v, false);
    assert_true(admission_may_send(a, v, false, now_ns));
    admission_sent(a, v, 5000, now_ns);
    admission_sent(a, v, -5000, now_ns); /* they were not sent after all */
    assert_true(admission_may_send(a, v, false, now_ns));
    /* Who leaves in debt is not forgotten for coming again. */
    admission_sent(a, v, 5000, now_ns);
    admission_leave(a, v, false, now_ns);
    admission_tick(a, now_ns);
    assert_int_equal(admission_enter(a, 1, now_ns, &v, &retry_s), 0);
    assert_false(admission_may_send(a, v, false, now_ns));
    admission_leave(a, v, false, now_ns);
    admission_leave(a, w, false, now_ns);
    admission_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(followers_are_counted_in_all_and_by_reader),
        cmocka_unit_test(requests_of_one_reader_are_held_to_their_rate),
        cmocka_unit_test(bytes_of_one_reader_are_held_to_their_rate_and_the_line_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
