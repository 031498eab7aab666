// SPDX-License-Identifier: Apache-2.0
#include "wire/timestamp.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
/* cmocka.h needs the four above */
#include <cmocka.h>

static int parse(const char *text, int64_t *ret_ns)
{
    size_t used = 0;
    int answer = sl_time_parse_rfc3339(sl_slice_of(text), ret_ns, &used);
    if (answer == 0)
        assert_int_equal(used, strlen(text));
    return answer;
}

static int64_t parsed(const char *text)
{
    int64_t ns = -1;
    if (parse(text, &ns) != 0)
        fail_msg("refused: %s", text);
    return ns;
}

static void assert_rendered(int64_t ns, const char *text)
{
    char out[SL_TIME_TEXT_BYTES + 1] = {0};
    sl_time_render(ns, out);
    assert_string_equal(out, text);
}

static void every_day_of_every_year_is_what_timegm_says(void **state)
{
    (void)state;
    const int64_t first = -106751; /* 1677-09-22 */
    const int64_t last = 106751;   /* 2262-04-11 */
    for (int64_t day = first; day <= last; day++) {
        int64_t s = day * 86400 + (day * 7919 % 86400 + 86400) % 86400;
        if (day == last)
            s = day * 86400;
        time_t t = (time_t)s;
        struct tm tm;
        assert_non_null(gmtime_r(&t, &tm));
        char text[64];
        snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.%09dZ", tm.tm_year + 1900, tm.tm_mon + 1,
                 tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, 123456789);
        int64_t ns = s * SL_NS_PER_S + 123456789;
        assert_int_equal(parsed(text), ns);
        assert_rendered(ns, text);
    }
}

static void what_is_rendered_reads_as_the_same_nanosecond(void **state)
{
    (void)state;
    srandom(1);
    for (int i = 0; i < 200000; i++) {
        int64_t ns = (int64_t)(((uint64_t)random() << 42) ^ ((uint64_t)random() << 21) ^ (uint64_t)random());
        char out[SL_TIME_TEXT_BYTES];
        sl_time_render(ns, out);
        int64_t again = 0;
        size_t used = 0;
        assert_int_equal(sl_time_parse_rfc3339(sl_slice(out, sizeof out), &again, &used), 0);
        assert_int_equal(used, sizeof out);
        assert_int_equal(again, ns);
    }
}

static void the_edges_of_64_bits_are_exact_and_beyond_them_is_out_of_range(void **state)
{
    (void)state;
    assert_rendered(INT64_MIN, "1677-09-21T00:12:43.145224192Z");
    assert_rendered(INT64_MAX, "2262-04-11T23:47:16.854775807Z");
    assert_int_equal(parsed("1677-09-21T00:12:43.145224192Z"), INT64_MIN);
    assert_int_equal(parsed("2262-04-11T23:47:16.854775807Z"), INT64_MAX);
    int64_t ns = 5;
    static const char *const beyond[] = {"1677-09-21T00:12:43.145224191Z", "2262-04-11T23:47:16.854775808Z",
                                         "0000-01-01T00:00:00Z",           "9999-12-31T23:59:60Z",
                                         "2262-04-11T23:47:16-00:01",      "1677-09-21T00:12:44+00:01"};
    for (size_t i = 0; i < sizeof beyond / sizeof beyond[0]; i++)
        assert_int_equal(parse(beyond[i], &ns), SL_TIME_OUT_OF_RANGE);
    assert_int_equal(ns, 5);
}

static void all_shapes_of_rfc3339_are_read(void **state)
{
    (void)state;
    const int64_t s = INT64_C(1795207324) * SL_NS_PER_S; /* 2026-11-20T20:42:04Z */
    static const struct {
        const char *text;
        int64_t rest_ns;
    } shapes[] = {
        {"2026-11-20T20:42:04Z", 0},
        {"2026-11-20t20:42:04z", 0},
        {"2026-11-20 20:42:04Z", 0},
        {"2026-11-20T20:42:04.792961689Z", 792961689},
        {"2026-11-20T20:42:04.792961689+00:00", 792961689},
        {"2026-11-20T20:42:04.7929616899999Z", 792961689}, /* cut, not rounded */
        {"2026-11-20T20:42:04.7Z", 700000000},
        {"2026-11-20T20:42:04.79296168Z", 792961680},
        {"2026-11-20T20:42:04.000000001-00:00", 1},
        {"2026-11-20T22:12:04+01:30", 0},
        {"2026-11-20T15:12:04.5-05:30", 500000000},
        {"2026-11-21T20:41:04+23:59", 0},
        {"2026-11-20T20:41:64Z", -1},
        {"2026-11-20T20:41:60Z", -4 * SL_NS_PER_S},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        int64_t ns = 0;
        if (shapes[i].rest_ns == -1)
            assert_int_equal(parse(shapes[i].text, &ns), SL_TIME_MALFORMED);
        else
            assert_int_equal(parsed(shapes[i].text), s + shapes[i].rest_ns);
    }
}

static void what_follows_the_zone_is_left_to_the_caller(void **state)
{
    (void)state;
    int64_t ns = 0;
    size_t used = 0;
    assert_int_equal(
        sl_time_parse_rfc3339(sl_slice_of("2026-11-20T20:42:04.792961689Z stdout F x"), &ns, &used), 0);
    assert_int_equal(used, 30);
    assert_int_equal(
        sl_time_parse_rfc3339(sl_slice_of("2026-11-20T20:42:04.792961689+00:00 stdout"), &ns, &used), 0);
    assert_int_equal(used, 35);
}

static void no_other_byte_at_any_place_is_taken_for_a_time(void **state)
{
    (void)state;
    const char whole[] = "2026-11-20T20:42:04.792961689+00:00";
    for (size_t at = 0; at < sizeof whole - 1; at++) {
        for (unsigned c = 0; c < 256; c++) {
            char text[sizeof whole];
            memcpy(text, whole, sizeof whole);
            text[at] = (char)c;
            bool digit_stood = whole[at] >= '0' && whole[at] <= '9';
            bool allowed = digit_stood ? c >= '0' && c <= '9' : (char)c == whole[at];
            allowed = allowed || (at == 10 && (c == 't' || c == ' ')) || (at == 29 && c == '-');
            int64_t ns = 0;
            size_t used = 0;
            int answer = sl_time_parse_rfc3339(sl_slice(text, sizeof text - 1), &ns, &used);
            bool ends_early = at >= 19 && (c == 'Z' || c == 'z');
            if (!allowed && !ends_early)
                assert_int_equal(answer, SL_TIME_MALFORMED);
        }
    }
    for (size_t bytes = 0; bytes < sizeof whole - 1; bytes++) {
        int64_t ns = 0;
        size_t used = 0;
        char *exact = malloc(bytes + 1);
        assert_non_null(exact);
        memcpy(exact, whole, bytes);
        assert_int_equal(sl_time_parse_rfc3339(sl_slice(exact, bytes), &ns, &used), SL_TIME_MALFORMED);
        free(exact);
    }
}

static void dates_that_are_not_in_the_calendar_are_malformed(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "2026-02-29T00:00:00Z",      "2026-00-10T00:00:00Z",    "2026-13-10T00:00:00Z",
        "2026-04-31T00:00:00Z",      "2026-04-00T00:00:00Z",    "1900-02-29T00:00:00Z",
        "2026-04-30T24:00:00Z",      "2026-04-30T00:60:00Z",    "2026-04-30T00:00:61Z",
        "2026-04-30T00:00:00.Z",     "2026-04-30T00:00:00",     "2026-04-30T00:00:00+24:00",
        "2026-04-30T00:00:00+00:60", "2026-04-30T00:00:00+0000"};
    int64_t ns = 7;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(parse(wrong[i], &ns), SL_TIME_MALFORMED);
    assert_int_equal(ns, 7);
    parsed("2000-02-29T00:00:00Z");
    parsed("2024-02-29T23:59:59Z");
}

static int64_t user(const char *text, int64_t now_ns)
{
    int64_t ns = -1;
    if (sl_time_parse_user(sl_slice_of(text), now_ns, &ns) != 0)
        fail_msg("refused: %s", text);
    return ns;
}

static void users_may_type_dates_seconds_and_ages(void **state)
{
    (void)state;
    const int64_t now = INT64_C(1795207324) * SL_NS_PER_S;
    assert_int_equal(user("2026-11-20T20:42:04Z", 0), now);
    assert_int_equal(user("2026-11-20T20:42:04", 0), now);
    assert_int_equal(user("2026-11-20T20:42:04.5", 0), now + 500000000);
    assert_int_equal(user("2026-11-20", 0), now - INT64_C(74524) * SL_NS_PER_S);
    assert_int_equal(user("1795207324", 0), now);
    assert_int_equal(user("1795207324.000000001", 0), now + 1);
    assert_int_equal(user("0", now), 0);
    assert_int_equal(user("90s", now), now - 90 * SL_NS_PER_S);
    assert_int_equal(user("10m", now), now - 600 * SL_NS_PER_S);
    assert_int_equal(user("1h30m", now), now - 5400 * SL_NS_PER_S);
    assert_int_equal(user("1.5h", now), now - 5400 * SL_NS_PER_S);
    assert_int_equal(user("2d", now), now - 172800 * SL_NS_PER_S);
    assert_int_equal(user("1w1ns", now), now - 604800 * SL_NS_PER_S - 1);
    assert_int_equal(user("1ms2us3\xc2\xb5s4\xce\xbcs", now), now - 1009000);
    assert_int_equal(user(".5s", now), now - 500000000);
    static const char *const wrong[] = {"",
                                        "s",
                                        "1x",
                                        "1h ",
                                        " 1h",
                                        "-1h",
                                        "+5",
                                        "1..5s",
                                        "1h30",
                                        "tomorrow",
                                        "1795207.",
                                        ".5",
                                        "0.0000000001",
                                        "2026-11",
                                        "2026-11-20T",
                                        "2026-11-20T20:42:04Zz",
                                        "2026-11-20Z"};
    int64_t ns = 7;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(sl_time_parse_user(sl_slice_of(wrong[i]), now, &ns), SL_TIME_MALFORMED);
    static const char *const beyond[] = {"9223372037",           "99999999999999999999999", "20000w",
                                         "9223372036.854775808", "99999999999999999999h",   "2300-01-01"};
    for (size_t i = 0; i < sizeof beyond / sizeof beyond[0]; i++)
        assert_int_equal(sl_time_parse_user(sl_slice_of(beyond[i]), now, &ns), SL_TIME_OUT_OF_RANGE);
    assert_int_equal(sl_time_parse_user(sl_slice_of("10000w"), INT64_MIN + 5, &ns), SL_TIME_OUT_OF_RANGE);
    assert_int_equal(ns, 7);
}

static void a_length_of_time_is_an_age_or_bare_seconds(void **state)
{
    (void)state;
    int64_t ns = 0;
    assert_int_equal(sl_duration_parse(sl_slice_of("30"), &ns), 0);
    assert_int_equal(ns, 30 * SL_NS_PER_S);
    assert_int_equal(sl_duration_parse(sl_slice_of("0.25"), &ns), 0);
    assert_int_equal(ns, 250000000);
    assert_int_equal(sl_duration_parse(sl_slice_of("1h0m30s"), &ns), 0);
    assert_int_equal(ns, 3630 * SL_NS_PER_S);
    assert_int_equal(sl_duration_parse(sl_slice_of("-1"), &ns), SL_TIME_MALFORMED);
    assert_int_equal(sl_duration_parse(sl_slice_of("none"), &ns), SL_TIME_MALFORMED);
    assert_int_equal(sl_duration_parse(sl_slice_of("9223372036854775808ns"), &ns), SL_TIME_OUT_OF_RANGE);
    assert_int_equal(sl_duration_parse(sl_slice_of("9223372036854775807ns"), &ns), 0);
    assert_int_equal(ns, INT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_day_of_every_year_is_what_timegm_says),
        cmocka_unit_test(what_is_rendered_reads_as_the_same_nanosecond),
        cmocka_unit_test(the_edges_of_64_bits_are_exact_and_beyond_them_is_out_of_range),
        cmocka_unit_test(all_shapes_of_rfc3339_are_read),
        cmocka_unit_test(what_follows_the_zone_is_left_to_the_caller),
        cmocka_unit_test(no_other_byte_at_any_place_is_taken_for_a_time),
        cmocka_unit_test(dates_that_are_not_in_the_calendar_are_malformed),
        cmocka_unit_test(users_may_type_dates_seconds_and_ages),
        cmocka_unit_test(a_length_of_time_is_an_age_or_bare_seconds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
