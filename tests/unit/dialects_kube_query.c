// SPDX-License-Identifier: Apache-2.0
#include "dialects/kube_query.h"
#include "wire/timestamp.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const int64_t now_ns = INT64_C(1771597800) * 1000000000; /* 2026-02-20T14:30:00Z */
static uint8_t scratch[QUERY_RAW_MAX_BYTES];
static struct query_pair pairs[QUERY_PAIRS_MAX];
static struct problem problem;

static int parse(const char *raw, struct query *ret)
{
    size_t count = 0;
    assert_int_equal(query_split(sl_slice_of(raw), scratch, pairs, &count, &problem), 0);
    return kube_query(pairs, count, now_ns, ret, &problem);
}

static struct query take(const char *raw)
{
    struct query q;
    if (parse(raw, &q) != 0)
        fail_msg("%s: %s", raw, problem.detail);
    return q;
}

static void pod_log_options_become_a_read_of_ours(void **state)
{
    (void)state;
    struct query q =
        take("container=c&follow=true&tailLines=3&limitBytes=10&timestamps=true&sinceSeconds=60");
    assert_true(q.follow && q.timestamps && q.has_tail && q.has_limit_bytes && q.has_since && q.limit_cuts);
    assert_true(q.tail == 3 && q.limit_bytes == 10 && q.since_ns == now_ns - 60 * SL_NS_PER_S);
    assert_true(sl_slice_equal(q.container, sl_slice_of("c")) && !q.framed && q.format == QUERY_TEXT);
    assert_int_equal(q.streams, QUERY_BOTH);
    q = take("sinceTime=2026-02-20T15:30:00%2B01:00&stream=Stderr&follow=0&timestamps=False&tailLines=");
    assert_true(q.has_since && q.since_ns == now_ns && q.streams == QUERY_STDERR);
    assert_false(q.follow || q.timestamps || q.has_tail || q.has_limit_bytes);
    assert_true(take("sinceTime=0001-01-01T00:00:00Z").since_ns < 0);
    assert_true(take("follow").follow && take("follow=").follow);
    assert_true(take("sinceSeconds=9223372036854775807").since_ns == INT64_MIN);
}

static void options_out_of_bounds_are_refused_and_named(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        {"tailLines=-1", "tailLines"},
        {"tailLines=x", "tailLines"},
        {"limitBytes=0", "limitBytes"},
        {"limitBytes=99999999999999999999", "limitBytes"},
        {"sinceSeconds=0", "sinceSeconds"},
        {"sinceTime=10m", "sinceTime"},
        {"sinceTime=2026-02-20T14:30:00Zx", "sinceTime"},
        {"sinceTime=2026-02-20T14:30:00Z&sinceSeconds=1", "sinceTime"},
        {"stream=stdout", "stream"},
    };
    struct query q;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(parse(bad[i][0], &q), QUERY_INVALID);
        assert_string_equal(problem.parameter, bad[i][1]);
    }
}

/* ---- selectors ---- */

/* Has a=1 and b=2. */
static bool value_of(const void *object, struct sl_slice key, struct sl_slice *ret)
{
    (void)object;
    bool a = sl_slice_equal(key, sl_slice_of("a")), b = sl_slice_equal(key, sl_slice_of("b"));
    *ret = sl_slice_of(a ? "1" : "2");
    return a || b;
}

static void a_selector_holds_when_all_of_it_does(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool match;
    } selectors[] = {
        {"", true},
        {" ", true},
        {"a", true},
        {"c", false},
        {"!c", true},
        {"!a", false},
        {"a=1", true},
        {"a==1", true},
        {"a = 1 , b = 2", true},
        {"a=1,b=3", false},
        {"a!=1", false},
        {"c!=1", true},
        {"a in (1)", true},
        {"a in(0, 1 ,2)", true},
        {"a in (0,2)", false},
        {"c in (1)", false},
        {"a notin (1)", false},
        {"a notin(2,3),b", true},
        {"c notin (1)", true},
        {"c=", false},
        {"a=1,b in (2,3),!c", true},
        {"a=1,b in (2,3),!b", false},
    };
    for (size_t i = 0; i < sizeof selectors / sizeof *selectors; i++) {
        bool match = !selectors[i].match;
        if (kube_select(sl_slice_of(selectors[i].text), value_of, NULL, &match) != 0 ||
            match != selectors[i].match)
            fail_msg("%s", selectors[i].text);
    }
}

static void what_is_no_selector_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {",",         "a,",  "a,,b",  "=1", "a in 1", "a in (1",
                                      "a in (1))", "a b", "a=1 b", "!",  "a=(1)",  "a!1"};
    bool match;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (kube_select(sl_slice_of(bad[i]), value_of, NULL, &match) != KUBE_SELECTOR_INVALID)
            fail_msg("%s", bad[i]);
    assert_int_equal(kube_select(sl_slice("a\0", 2), value_of, NULL, &match), KUBE_SELECTOR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pod_log_options_become_a_read_of_ours),
        cmocka_unit_test(options_out_of_bounds_are_refused_and_named),
        cmocka_unit_test(a_selector_holds_when_all_of_it_does),
        cmocka_unit_test(what_is_no_selector_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
