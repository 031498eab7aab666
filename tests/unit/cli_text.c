// SPDX-License-Identifier: Apache-2.0
#include "text.h"
#include "wire/timestamp.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static char out[40];

static const char *bytes_of(int64_t bytes)
{
    text_bytes(bytes, out, sizeof out);
    return out;
}

static const char *age_of(int64_t seconds)
{
    text_age(seconds * SL_NS_PER_S, out, sizeof out);
    return out;
}

static const char *latency_of(int64_t ns)
{
    text_latency(ns, out, sizeof out);
    return out;
}

static void sizes_have_two_or_more_digits_and_a_unit(void **state)
{
    (void)state;
    assert_string_equal(bytes_of(0), "0B");
    assert_string_equal(bytes_of(1023), "1023B");
    assert_string_equal(bytes_of(1024), "1.0KiB");
    assert_string_equal(bytes_of(10 * 1024), "10KiB");
    assert_string_equal(bytes_of(1024 * 1024 - 1), "1.0MiB");
    assert_string_equal(bytes_of(INT64_C(3) << 40), "3.0TiB");
}

static void ages_are_told_in_one_unit(void **state)
{
    (void)state;
    assert_string_equal(age_of(-5), "0s");
    assert_string_equal(age_of(119), "119s");
    assert_string_equal(age_of(120), "2m");
    assert_string_equal(age_of(7200), "2h");
    assert_string_equal(age_of(48 * 3600), "2d");
}

static void latencies_keep_their_scale(void **state)
{
    (void)state;
    assert_string_equal(latency_of(850000), "850us");
    assert_string_equal(latency_of(3100000), "3.1ms");
    assert_string_equal(latency_of(2400000000), "2.40s");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_have_two_or_more_digits_and_a_unit),
        cmocka_unit_test(ages_are_told_in_one_unit),
        cmocka_unit_test(latencies_keep_their_scale),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
