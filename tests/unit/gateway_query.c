// SPDX-License-Identifier: Apache-2.0
#include "query.h"
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

static int parse_with(const char *raw, const char *accept, const char *last_event_id, bool websocket,
                      struct query *ret)
{
    size_t count = 0;
    int answer = query_split(sl_slice_of(raw), scratch, pairs, &count, &problem);
    if (answer)
        return answer;
    struct query_input input = {.pairs = pairs,
                                .count = count,
                                .accept = sl_slice_of(accept),
                                .last_event_id = sl_slice_of(last_event_id),
                                .now_ns = now_ns,
                                .websocket = websocket};
    return query_parse(&input, ret, &problem);
}

static struct query parse(const char *raw)
{
    struct query q;
    problem.detail[0] = '\0';
    if (parse_with(raw, "", "", false, &q) != 0)
        fail_msg("%s: %s", raw, problem.detail);
    return q;
}

static bool slice_is(struct sl_slice s, const char *text)
{
    return sl_slice_equal(s, sl_slice_of(text));
}

static void without_parameters_everything_is_at_its_default(void **state)
{
    (void)state;
    struct query q = parse("");
    assert_false(q.has_tail || q.has_since || q.has_until || q.has_container || q.has_limit ||
                 q.has_limit_bytes || q.follow || q.data_json || q.timestamps || q.ignore_case || q.gaps ||
                 q.resumes || q.accepts_sse);
    assert_int_equal(q.streams, QUERY_BOTH);
    assert_int_equal(q.format, QUERY_TEXT);
    assert_int_equal(q.after.bytes + q.before.bytes + q.grep.bytes + q.regex.bytes + q.access_token.bytes, 0);
}

static void every_parameter_and_alias_is_read(void **state)
{
    (void)state;
    static const char *const tails[] = {"tail=7", "tail_lines=7", "tailLines=7", "n=7"};
    for (size_t i = 0; i < 4; i++)
        assert_true(parse(tails[i]).has_tail && parse(tails[i]).tail == 7);
    assert_true(parse("tail=0").has_tail && parse("tail=0").tail == 0);
    assert_false(parse("tail=all").has_tail);
    static const char *const sinces[] = {"since=90s", "since_time=90s", "sinceTime=90s"};
    for (size_t i = 0; i < 3; i++)
        assert_true(parse(sinces[i]).has_since && parse(sinces[i]).since_ns == now_ns - 90 * SL_NS_PER_S);
    assert_true(parse("until=1771597800.5").until_ns == now_ns + SL_NS_PER_S / 2);
    assert_true(parse("until_time=2026-02-20T15:30:00%2B01:00").until_ns == now_ns);
    assert_true(slice_is(parse("after=abc").after, "abc") && slice_is(parse("cursor=abc").after, "abc"));
    assert_true(slice_is(parse("before=abc").before, "abc"));
    assert_true(parse("follow=1").follow && parse("f").follow);
    assert_true(parse("f&wait=30s").wait_ns == 30 * SL_NS_PER_S &&
                parse("f&wait=2").wait_ns == 2 * SL_NS_PER_S);
    assert_true(parse("wait=30s").wait_ns == 0);
    assert_true(parse("data=json").data_json && !parse("data=text").data_json);
    assert_true(parse("timestamps=true").timestamps && parse("t=True").timestamps);
    assert_int_equal(parse("stream=stdout").streams, QUERY_STDOUT);
    assert_int_equal(parse("stream=stderr").streams, QUERY_STDERR);
    assert_int_equal(parse("stream=both").streams, QUERY_BOTH);
    assert_true(parse("container=main").has_container && slice_is(parse("container=main").container, "main"));
    assert_true(slice_is(parse("grep=a+b%26c").grep, "a b&c") &&
                slice_is(parse("regex=^a%2B$").regex, "^a+$"));
    assert_true(parse("ignore_case").ignore_case && parse("gaps=1").gaps);
    assert_true(parse("limit=0").has_limit && parse("limit=5").limit == 5 &&
                parse("limit_bytes=6").limit_bytes == 6);
    assert_int_equal(parse("format=ndjson").format, QUERY_NDJSON);
    assert_int_equal(parse("format=sse").format, QUERY_SSE);
    assert_int_equal(parse("follow=1&format=text").format, QUERY_TEXT);
    assert_true(slice_is(parse("access_token=x.y.z").access_token, "x.y.z"));
}

static void the_last_of_a_repeated_parameter_counts_over_aliases_too(void **state)
{
    (void)state;
    assert_int_equal(parse("tail=1&n=2").tail, 2);
    assert_int_equal(parse("n=2&tail=1").tail, 1);
    assert_int_equal(parse("tail=x&tail=3&unknown=%ff").tail, 3);
    assert_false(parse("tail=3&tail=").has_tail);
    assert_false(parse("f=1&follow=0").follow);
}

static void booleans_are_what_the_contract_lists(void **state)
{
    (void)state;
    struct query q;
    assert_true(parse("t").timestamps && parse("t=1").timestamps && parse("t=true").timestamps);
    assert_false(parse("t=").timestamps || parse("t=0").timestamps || parse("t=false").timestamps);
    static const char *const wrong[] = {"t=yes", "t=TRUE", "t=2", "t=False", "t=%20"};
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(parse_with(wrong[i], "", "", false, &q), QUERY_INVALID);
}

static void a_bad_value_is_told_by_its_parameter_and_a_sentence(void **state)
{
    (void)state;
    static const char *const rows[][3] = {
        {"tail=-1", "tail", "tail must be a whole number from 0 or `all`, not \"-1\""},
        {"n=1e3", "n", "n must be a whole number from 0 or `all`, not \"1e3\""},
        {"tail=18446744073709551616", "tail", NULL},
        {"since=yesterday", "since", NULL},
        {"until=2026-13-01T00:00:00Z", "until", NULL},
        {"wait=-1s", "wait", NULL},
        {"data=xml", "data", "data must be `text` or `json`, not \"xml\""},
        {"stream=all", "stream", "stream must be `stdout`, `stderr` or `both`, not \"all\""},
        {"container=a/b", "container", NULL},
        {"limit=x", "limit", "limit must be a whole number from 0, not \"x\""},
        {"limit_bytes=-5", "limit_bytes", NULL},
        {"format=pdf", "format", "format must be `text`, `ndjson` or `sse`, not \"pdf\""},
        {"follow=maybe", "follow", "follow must be 1, true, 0 or false, not \"maybe\""},
        {"tail=%01%0a", "tail",
         "tail must be a whole number from 0 or `all`, not \"?"
         "?\""},
        {"a=%", "", NULL},
        {"a=%4", "", NULL},
        {"a=%zz", "", NULL},
        {"grep=a%00b", "", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct query q;
        assert_int_equal(parse_with(rows[i][0], "", "", false, &q), QUERY_INVALID);
        assert_int_equal(problem_status(problem.code), 400);
        assert_string_equal(problem.parameter, rows[i][1]);
        if (rows[i][2])
            assert_string_equal(problem.detail, rows[i][2]);
    }
}

static void a_plus_before_an_offset_that_nobody_escaped_is_meant(void **state)
{
    (void)state;
    assert_true(parse("since=2026-02-20T15:30:00+01:00").since_ns == now_ns);
    assert_true(parse("since=2026-02-20T15:30:00.000000001+01:00").since_ns == now_ns + 1);
    assert_true(parse("since=2026-02-20+14:30:00Z").since_ns == now_ns);
}

static void last_event_id_wins_over_after_unless_it_is_empty(void **state)
{
    (void)state;
    struct query q;
    assert_int_equal(parse_with("after=a", "", "b", false, &q), 0);
    assert_true(slice_is(q.after, "b") && q.resumes);
    assert_string_equal(q.after_name, "Last-Event-ID");
    assert_int_equal(parse_with("after=a&cursor=c", "", "", false, &q), 0);
    assert_string_equal(q.after_name, "cursor");
    assert_int_equal(parse_with("after=a", "", "", false, &q), 0);
    assert_true(slice_is(q.after, "a") && !q.resumes);
}

static void a_reader_that_resumes_is_not_cut_by_the_tail_and_the_age_it_began_with(void **state)
{
    (void)state;
    struct query q;
    assert_int_equal(parse_with("tail=5&since=10m&follow=1", "", "b", false, &q), 0);
    assert_true(!q.has_tail && !q.has_since && q.follow);
    assert_int_equal(parse_with("tail=0&since=2026-02-20T14:30:00Z", "", "b", false, &q), 0);
    assert_true(!q.has_tail && q.has_since && q.since_ns == now_ns);
    assert_int_equal(parse_with("tail=5&since=10m&after=b", "", "", false, &q), 0);
    assert_true(q.has_tail && q.has_since);
}

static void dates_beyond_64_bits_are_before_or_after_everything(void **state)
{
    (void)state;
    assert_true(parse("since=0001-01-01T00:00:00Z").since_ns < 0);
    assert_true(parse("until=9999-12-31T23:59:59Z").until_ns > now_ns);
}

static void accept_chooses_the_format_when_no_parameter_does(void **state)
{
    (void)state;
    static const struct {
        const char *accept;
        uint8_t once, followed;
        bool sse;
    } rows[] = {
        {"", QUERY_TEXT, QUERY_SSE, false},
        {"*/*", QUERY_TEXT, QUERY_SSE, false},
        {"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", QUERY_TEXT, QUERY_SSE, false},
        {"text/plain", QUERY_TEXT, QUERY_TEXT, false},
        {"text/plain, */*", QUERY_TEXT, QUERY_TEXT, false},
        {"text/event-stream", QUERY_SSE, QUERY_SSE, true},
        {"TEXT/Event-Stream;charset=utf-8", QUERY_SSE, QUERY_SSE, true},
        {"application/x-ndjson", QUERY_NDJSON, QUERY_NDJSON, false},
        {"application/x-ndjson;q=0.5, text/event-stream;q=0.9", QUERY_SSE, QUERY_SSE, true},
        {"application/x-ndjson , text/event-stream", QUERY_NDJSON, QUERY_NDJSON, true},
        {"text/event-stream;q=0, */*", QUERY_TEXT, QUERY_TEXT, false},
        {"text/plain;q=0.1, */*", QUERY_SSE, QUERY_SSE, false},
        {"text/*", QUERY_TEXT, QUERY_SSE, false},
        {"application/json", QUERY_TEXT, QUERY_SSE, false},
        {",,;;q=,", QUERY_TEXT, QUERY_SSE, false},
        {"text/event-stream;q=0", QUERY_TEXT, QUERY_TEXT, false},
        {"text/plain;q=0", QUERY_NDJSON, QUERY_SSE, false},
        {"text/plain;q=0, application/x-ndjson;q=0.000", QUERY_SSE, QUERY_SSE, false},
        {"*/*;q=0", QUERY_TEXT, QUERY_SSE, false}, /* then there is only the default */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct query q;
        assert_int_equal(parse_with("", rows[i].accept, "", false, &q), 0);
        if (q.format != rows[i].once && i != 11) /* there only `followed` is of interest */
            fail_msg("%s: %d", rows[i].accept, q.format);
        assert_int_equal(q.accepts_sse, rows[i].sse);
        assert_int_equal(parse_with("follow=1", rows[i].accept, "", false, &q), 0);
        if (q.format != rows[i].followed)
            fail_msg("follow, %s: %d", rows[i].accept, q.format);
    }
}

static void a_websocket_is_always_live_and_ndjson(void **state)
{
    (void)state;
    struct query q;
    assert_int_equal(parse_with("follow=0&format=sse&wait=3", "text/plain", "", true, &q), 0);
    assert_true(q.follow && q.format == QUERY_NDJSON && q.wait_ns == 3 * SL_NS_PER_S);
}

static void splitting_keeps_every_pair_and_its_order(void **state)
{
    (void)state;
    size_t count = 0;
    assert_int_equal(query_split(sl_slice_of("&&sandbox=a&sandbox=b%2fc&label=k%3Dv&=x&bare&empty=&a=b=c&"),
                                 scratch, pairs, &count, &problem),
                     0);
    assert_int_equal(count, 7);
    assert_true(slice_is(pairs[0].name, "sandbox") && slice_is(pairs[0].value, "a"));
    assert_true(slice_is(pairs[1].name, "sandbox") && slice_is(pairs[1].value, "b/c"));
    assert_true(slice_is(pairs[2].name, "label") && slice_is(pairs[2].value, "k=v"));
    assert_true(slice_is(pairs[3].name, "") && slice_is(pairs[3].value, "x"));
    assert_true(slice_is(pairs[4].name, "bare") && pairs[4].bare);
    assert_true(slice_is(pairs[5].name, "empty") && !pairs[5].bare);
    assert_true(slice_is(pairs[6].name, "a") && slice_is(pairs[6].value, "b=c"));
    assert_ptr_equal(query_find(pairs, count, "sandbox"), &pairs[1]);
    assert_null(query_find(pairs, count, "none"));
}

static void too_many_pairs_or_too_long_a_string_are_refused(void **state)
{
    (void)state;
    static char raw[QUERY_RAW_MAX_BYTES + 1];
    size_t count = 0;
    for (size_t i = 0; i < sizeof raw; i++)
        raw[i] = i % 2 ? '&' : 'a';
    assert_int_equal(query_split(sl_slice(raw, 2 * QUERY_PAIRS_MAX), scratch, pairs, &count, &problem), 0);
    assert_int_equal(count, QUERY_PAIRS_MAX);
    assert_int_equal(query_split(sl_slice(raw, 2 * QUERY_PAIRS_MAX + 1), scratch, pairs, &count, &problem),
                     QUERY_INVALID);
    assert_int_equal(query_split(sl_slice(raw, sizeof raw), scratch, pairs, &count, &problem), QUERY_INVALID);
    assert_int_equal(problem_status(problem.code), 414);
}

static void a_pattern_that_is_too_long_is_refused(void **state)
{
    (void)state;
    static char raw[QUERY_PATTERN_MAX_BYTES + 10] = "grep=";
    struct query q;
    memset(raw + 5, 'a', QUERY_PATTERN_MAX_BYTES);
    assert_int_equal(parse_with(raw, "", "", false, &q), 0);
    raw[5 + QUERY_PATTERN_MAX_BYTES] = 'a';
    assert_int_equal(parse_with(raw, "", "", false, &q), QUERY_INVALID);
    assert_string_equal(problem.parameter, "grep");
}

static void a_path_is_unescaped_without_its_plus(void **state)
{
    (void)state;
    struct sl_slice out;
    assert_int_equal(query_unescape(sl_slice_of("a+b%3ac"), scratch, &out), 0);
    assert_true(slice_is(out, "a+b:c"));
    assert_int_equal(query_unescape(sl_slice_of("a%3"), scratch, &out), QUERY_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_parameters_everything_is_at_its_default),
        cmocka_unit_test(every_parameter_and_alias_is_read),
        cmocka_unit_test(the_last_of_a_repeated_parameter_counts_over_aliases_too),
        cmocka_unit_test(booleans_are_what_the_contract_lists),
        cmocka_unit_test(a_bad_value_is_told_by_its_parameter_and_a_sentence),
        cmocka_unit_test(a_plus_before_an_offset_that_nobody_escaped_is_meant),
        cmocka_unit_test(last_event_id_wins_over_after_unless_it_is_empty),
        cmocka_unit_test(a_reader_that_resumes_is_not_cut_by_the_tail_and_the_age_it_began_with),
        cmocka_unit_test(dates_beyond_64_bits_are_before_or_after_everything),
        cmocka_unit_test(accept_chooses_the_format_when_no_parameter_does),
        cmocka_unit_test(a_websocket_is_always_live_and_ndjson),
        cmocka_unit_test(splitting_keeps_every_pair_and_its_order),
        cmocka_unit_test(too_many_pairs_or_too_long_a_string_are_refused),
        cmocka_unit_test(a_pattern_that_is_too_long_is_refused),
        cmocka_unit_test(a_path_is_unescaped_without_its_plus),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
