// SPDX-License-Identifier: Apache-2.0
#include "dialects/age.h"
#include "wire/timestamp.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { MINUTE = 60, HOUR = 3600, DAY = 24 * HOUR };

static const struct {
    int64_t seconds;
    const char *docker, *kube;
} ages[] = {
    {-5, "Less than a second", "0s"},
    {0, "Less than a second", "0s"},
    {1, "1 second", "1s"},
    {59, "59 seconds", "59s"},
    {MINUTE, "About a minute", "60s"},
    {2 * MINUTE, "2 minutes", "2m"},
    {5 * MINUTE + 12, "5 minutes", "5m12s"},
    {10 * MINUTE + 1, "10 minutes", "10m"},
    {59 * MINUTE, "59 minutes", "59m"},
    {HOUR, "About an hour", "60m"},
    {HOUR + 30 * MINUTE, "2 hours", "90m"},
    {3 * HOUR + 5 * MINUTE, "3 hours", "3h5m"},
    {8 * HOUR, "8 hours", "8h"},
    {47 * HOUR, "47 hours", "47h"},
    {2 * DAY, "2 days", "2d"},
    {3 * DAY + 4 * HOUR, "3 days", "3d4h"},
    {8 * DAY + HOUR, "8 days", "8d"},
    {14 * DAY, "2 weeks", "14d"},
    {60 * DAY, "2 months", "60d"},
    {730 * (int64_t)DAY, "2 years", "2y"},
    {800 * (int64_t)DAY, "2 years", "2y70d"},
    {3000 * (int64_t)DAY, "8 years", "8y"},
};

static void ages_read_as_docker_ps_and_kubectl_write_them(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof ages / sizeof *ages; i++) {
        char text[AGE_TEXT_BYTES];
        age_docker(ages[i].seconds * SL_NS_PER_S, text);
        assert_string_equal(text, ages[i].docker);
        age_kube(ages[i].seconds * SL_NS_PER_S, text);
        assert_string_equal(text, ages[i].kube);
    }
    char text[AGE_TEXT_BYTES];
    age_docker(INT64_MAX, text);
    age_kube(INT64_MAX, text);
    age_kube(INT64_MIN, text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(ages_read_as_docker_ps_and_kubectl_write_them)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
