// SPDX-License-Identifier: Apache-2.0
#include "dialects/docker_query.h"
#include "wire/timestamp.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static const int64_t now_ns = INT64_C(1771597800) * 1000000000; /* 2026-02-20T14:30:00Z */
static uint8_t scratch[QUERY_RAW_MAX_BYTES];
static struct query_pair pairs[QUERY_PAIRS_MAX];
static struct problem problem;

static int parse(const char *raw, struct query *ret)
{
    size_t count = 0;
    assert_int_equal(query_split(sl_slice_of(raw), scratch, pairs, &count, &problem), 0);
    return docker_query(pairs, count, now_ns, ret, &problem);
}

static struct query take(const char *raw)
{
    struct query q;
    if (parse(raw, &q) != 0)
        fail_msg("%s: %s", raw, problem.detail);
    return q;
}

static void parameters_become_a_read_of_ours(void **state)
{
    (void)state;
    struct query q =
        take("stdout=1&stderr=1&tail=12&since=1771597000.000000001&until=2026-02-20T14:30:00.5Z&follow=1"
             "&timestamps=1&details=1");
    assert_true(q.framed && q.follow && q.timestamps && q.gaps && q.has_tail && q.has_since && q.has_until);
    assert_int_equal(q.streams, QUERY_BOTH);
    assert_int_equal(q.format, QUERY_TEXT);
    assert_int_equal(q.tail, 12);
    assert_true(q.since_ns == INT64_C(1771597000000000001));
    assert_true(q.until_ns == now_ns + 500000001); /* dockerd's until is inclusive */
    assert_false(q.limit_cuts || q.has_limit_bytes || q.has_container);
    assert_true(take("stdout=1&since=0001-01-01T00:00:00Z").since_ns < 0);
    assert_true(take("stdout=1&since=10m").since_ns == now_ns - 600 * SL_NS_PER_S);
}

static void what_dockerd_takes_for_nothing_is_nothing(void **state)
{
    (void)state;
    struct query q =
        take("stderr=yes&stdout=none&tail=all&since=0&until=&follow&timestamps=false&details=No");
    assert_int_equal(q.streams, QUERY_STDERR);
    assert_false(q.has_tail || q.has_since || q.has_until || q.follow || q.timestamps || q.gaps);
    assert_false(take("stdout=1&tail=-5").has_tail);
    assert_false(take("stdout=1&tail=").has_tail);
    q = take("stdout=1&tail=0");
    assert_true(q.has_tail && q.tail == 0);
}

static void no_stream_and_no_time_are_refused(void **state)
{
    (void)state;
    struct query q;
    assert_int_equal(parse("", &q), QUERY_INVALID);
    assert_string_equal(problem.detail, "Bad parameters: you must choose at least one stream");
    assert_int_equal(parse("stdout=0&stderr=0", &q), QUERY_INVALID);
    assert_int_equal(parse("stdout=1&since=yesterday", &q), QUERY_INVALID);
    assert_string_equal(problem.parameter, "since");
    assert_int_equal(parse("stdout=1&until=1.2.3", &q), QUERY_INVALID);
}

/* ---- filters ---- */

static uint8_t label_bytes[256];

static struct sl_info sandbox(const char *id, uint8_t state, const char *key, const char *value)
{
    struct sl_writer w = sl_writer(label_bytes, sizeof label_bytes);
    struct sl_info info = {.sandbox = sl_slice_of(id), .place = {.state = state}};
    if (key) {
        sl_label_write(&w, sl_slice_of(key), sl_slice_of(value));
        info.labels = 1;
    }
    info.label_pairs = sl_slice(label_bytes, w.bytes);
    return info;
}

static bool passes(const char *filters, const struct sl_info *info)
{
    struct docker_filters f;
    if (docker_filters_parse(sl_slice_of(filters), &f, &problem) != 0)
        fail_msg("%s: %s", filters, problem.detail);
    bool match = docker_filters_match(&f, info);
    docker_filters_fini(&f);
    return match;
}

static void filters_are_read_in_both_forms(void **state)
{
    (void)state;
    struct sl_info info = sandbox("box-1", SL_RUNNING, NULL, NULL);
    assert_true(passes("", &info) && passes("{}", &info));
    assert_true(passes("{\"id\":[\"x\",\"box\"]}", &info) && passes("{\"id\":{\"box\":true}}", &info));
    assert_false(passes("{\"id\":[\"y\"]}", &info));
    assert_true(passes("{\"id\":{\"x\":false}}", &info));
}

static void a_container_has_to_pass_every_filter(void **state)
{
    (void)state;
    struct sl_info info = sandbox("box-1", SL_RUNNING, "app", "shop");
    assert_true(passes("{\"name\":[\"^/box-1$\"],\"label\":[\"app\"]}", &info));
    assert_true(passes("{\"name\":[\"^box\"],\"label\":[\"app=shop\"],\"status\":[\"running\"]}", &info));
    assert_false(passes("{\"label\":[\"app=shop\",\"tier\"]}", &info));
    assert_false(passes("{\"label\":[\"app=sho\"]}", &info));
    assert_false(passes("{\"status\":[\"exited\"]}", &info));
    assert_true(passes("{\"status\":[\"exited\",\"running\"]}", &info));
    assert_false(passes("{\"status\":[\"paused\"]}", &info));
    info = sandbox("box-2", SL_STOPPED, "name", "web");
    info.place.has_exit = true;
    info.place.exit_code = 137;
    assert_true(passes("{\"name\":[\"web\"],\"exited\":[\"137\"],\"status\":[\"exited\"]}", &info));
    assert_false(passes("{\"name\":[\"box\"]}", &info));
    assert_false(passes("{\"exited\":[\"0\"]}", &info));
    info = sandbox("box-3", SL_STOPPING, NULL, NULL); /* its last lines are on the way */
    assert_true(passes("{\"status\":[\"running\"]}", &info));
}

static void at_most_sixteen_patterns_are_tried(void **state)
{
    (void)state;
    char text[256] = "{\"id\":[\"0\"";
    struct docker_filters f;
    for (int i = 1; i <= DOCKER_PATTERNS_MAX; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), ",\"%d\"", i);
    strcat(text, "]}");
    assert_int_equal(docker_filters_parse(sl_slice_of(text), &f, &problem), QUERY_INVALID);
    assert_non_null(strstr(problem.detail, "more than 16 values"));
}

static void what_is_no_filter_is_refused_and_named(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "x",
        "[]",
        "{\"id\":1}",
        "{\"id\":[1]}",
        "{\"volume\":[\"a\"]}",
        "{\"status\":[\"up\"]}",
        "{\"exited\":[\"-1\"]}",
        "{\"label\":[\"=x\"]}",
        "{\"name\":[\"(\"]}",
        "{\"id\":[1],\"name\":[\"a\"]}",
    };
    struct docker_filters f;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        problem.detail[0] = 0;
        if (docker_filters_parse(sl_slice_of(bad[i]), &f, &problem) != QUERY_INVALID ||
            strncmp(problem.detail, "invalid filter", 14) != 0)
            fail_msg("%s: %s", bad[i], problem.detail);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parameters_become_a_read_of_ours),
        cmocka_unit_test(what_dockerd_takes_for_nothing_is_nothing),
        cmocka_unit_test(no_stream_and_no_time_are_refused),
        cmocka_unit_test(filters_are_read_in_both_forms),
        cmocka_unit_test(a_container_has_to_pass_every_filter),
        cmocka_unit_test(at_most_sixteen_patterns_are_tried),
        cmocka_unit_test(what_is_no_filter_is_refused_and_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
