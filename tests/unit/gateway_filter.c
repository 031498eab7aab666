// SPDX-License-Identifier: Apache-2.0
#include "filter.h"
#include "wire/timestamp.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static uint64_t seed = 1;
static unsigned any(unsigned below)
{
    seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (unsigned)(seed >> 33) % below;
}

static struct filter *made(struct query q)
{
    struct filter *f = NULL;
    struct problem p;
    if (!q.streams)
        q.streams = QUERY_BOTH;
    if (filter_new(&q, &f, &p) != 0)
        fail_msg("%s", p.detail);
    return f;
}

static bool wants(struct query q, const char *text)
{
    struct filter *f = made(q);
    bool answer = filter_line(f, 0, SL_STDOUT, sl_slice_of("main"), sl_slice_of(text));
    filter_free(f);
    return answer;
}

static void text_and_pattern_decide_together(void **state)
{
    (void)state;
    struct query grep = {.grep = sl_slice_of("Err")};
    assert_true(wants(grep, "an Error") && !wants(grep, "an error") && !wants(grep, "") &&
                !wants(grep, "Er"));
    grep.ignore_case = true;
    assert_true(wants(grep, "an ERROR") && wants(grep, "an error") && !wants(grep, "eror"));
    struct query regex = {.regex = sl_slice_of("^E[a-z]+$")};
    assert_true(wants(regex, "Error") && !wants(regex, "ERROR") && !wants(regex, "an Error"));
    regex.ignore_case = true;
    assert_true(wants(regex, "eRROR"));
    struct query both = {.grep = sl_slice_of("x"), .regex = sl_slice_of("y")};
    assert_true(wants(both, "yx") && !wants(both, "x") && !wants(both, "y"));
    struct query none = {0};
    assert_true(wants(none, "") && wants(none, "anything"));
}

static void text_is_searched_over_nul_and_bytes_that_are_no_utf8(void **state)
{
    (void)state;
    struct query q = {.grep = sl_slice("\0\xff", 2)};
    struct filter *f = made(q);
    assert_true(filter_line(f, 0, SL_STDOUT, sl_slice(NULL, 0),
                            sl_slice("a\0\xff"
                                     "b",
                                     4)));
    assert_false(filter_line(f, 0, SL_STDOUT, sl_slice(NULL, 0), sl_slice("a\xff\0b", 4)));
    assert_false(filter_line(f, 0, SL_STDOUT, sl_slice(NULL, 0), sl_slice(NULL, 0)));
    filter_free(f);
}

static void stream_container_and_time_decide(void **state)
{
    (void)state;
    struct sl_slice main_name = sl_slice_of("main"), text = sl_slice_of("x");
    struct filter *f = made((struct query){.streams = QUERY_STDERR});
    assert_true(filter_line(f, 0, SL_STDERR, main_name, text) &&
                !filter_line(f, 0, SL_STDOUT, main_name, text));
    filter_free(f);
    f = made((struct query){.has_container = true, .container = sl_slice_of("main")});
    assert_true(filter_line(f, 0, SL_STDERR, main_name, text));
    assert_false(filter_line(f, 0, SL_STDERR, sl_slice_of("mai"), text) ||
                 filter_line(f, 0, SL_STDERR, sl_slice(NULL, 0), text));
    filter_free(f);
    f = made((struct query){.has_since = true, .since_ns = 10, .has_until = true, .until_ns = 20});
    assert_false(filter_line(f, 9, 0, main_name, text) || filter_line(f, 20, 0, main_name, text));
    assert_true(filter_line(f, 10, 0, main_name, text) && filter_line(f, 19, 0, main_name, text));
    assert_true(filter_past(f, 20) && !filter_past(f, 19));
    filter_free(f);
}

static void a_pattern_that_is_wrong_is_told_with_its_parameter(void **state)
{
    (void)state;
    struct query q = {.streams = QUERY_BOTH, .regex = sl_slice_of("(a")};
    struct filter *f = NULL;
    struct problem p;
    assert_int_equal(filter_new(&q, &f, &p), FILTER_INVALID);
    assert_null(f);
    assert_string_equal(p.parameter, "regex");
    assert_string_equal(p.detail, "regex: the pattern has a ( without its )");
    assert_int_equal(problem_status(p.code), 400);
}

static void the_longest_grep_is_taken_in_both_cases(void **state)
{
    (void)state;
    char text[QUERY_PATTERN_MAX_BYTES + 1];
    memset(text, 'a', sizeof text);
    text[QUERY_PATTERN_MAX_BYTES] = '\0';
    struct query q = {.grep = sl_slice(text, QUERY_PATTERN_MAX_BYTES)};
    assert_true(wants(q, text) && !wants(q, text + 1));
    q.ignore_case = true;
    assert_true(wants(q, text) && !wants(q, text + 1));
}

/* What is said of a whole block is what is found line by line, for real blocks and random questions. */
static void the_word_about_a_block_agrees_with_its_lines(void **state)
{
    (void)state;
    struct sl_block_builder *b;
    static uint8_t room[1 << 17], unpacked[1 << 16];
    static const char *const names[] = {"", "main", "side"};
    unsigned verdicts[3] = {0};
    assert_int_equal(sl_block_builder_new(&b), 0);
    for (unsigned round = 0; round < 20000; round++) {
        sl_block_builder_reset(b, sl_slice_of("box"));
        unsigned lines = any(6), names_used = 1 + any(3);
        for (unsigned i = 0; i < lines; i++) {
            struct sl_line line = {
                .time_ns = 100 + any(20), .text = sl_slice_of("x"), .stream = (uint8_t)any(2)};
            assert_int_equal(sl_block_builder_add(b, &line, sl_slice_of(names[any(names_used)])), 0);
        }
        struct sl_block_header facts = {.codec = SL_CODEC_NONE, .range.source.incarnation = 1}, header;
        assert_true(sl_block_builder_bound(b) <= sizeof room);
        struct sl_slice block = sl_slice(room, sl_block_builder_encode(b, &facts, 0, room, sizeof room));
        assert_int_equal(sl_block_check(block, &header), 0);
        struct sl_record record = {.kind = SL_RECORD_BLOCK,
                                   .first_seq = 1,
                                   .floor_ns = any(4) ? 95 + any(25) : INT64_MIN,
                                   .commit_ns = any(3) ? 1000 : 110 - SL_QUERY_SLACK_NS};
        struct query q = {.streams = (uint8_t)(any(2) ? QUERY_BOTH : 1 + any(2)),
                          .has_since = any(2),
                          .since_ns = 95 + any(30),
                          .has_until = any(2),
                          .until_ns = 95 + any(30),
                          .has_container = any(2),
                          .container = sl_slice_of(names[1 + any(2)]),
                          .grep = sl_slice_of(any(3) ? "" : "x")};
        struct filter *f = made(q);
        enum filter_verdict verdict = filter_block(f, &record, &header);
        struct sl_block_lines it;
        struct sl_line line;
        unsigned wanted = 0;
        int64_t query_ns = record.floor_ns;
        assert_int_equal(sl_block_lines_open(&it, block, &header, unpacked, sizeof unpacked), 0);
        while (sl_block_lines_next(&it, &line)) {
            query_ns = sl_query_time(query_ns, line.time_ns, record.commit_ns);
            wanted +=
                filter_line(f, query_ns, line.stream, sl_block_container(&header, line.container), line.text);
        }
        if ((verdict == FILTER_NONE && wanted) || (verdict == FILTER_ALL && wanted < lines))
            fail_msg("verdict %d, %u of %u lines", verdict, wanted, lines);
        verdicts[verdict]++;
        filter_free(f);
    }
    assert_true(verdicts[FILTER_NONE] > 1000 && verdicts[FILTER_SOME] > 1000 && verdicts[FILTER_ALL] > 500);
    sl_block_builder_free(b);
}

static void work_is_counted(void **state)
{
    (void)state;
    static const struct query rows[] = {
        {.streams = 3, .grep = {(const uint8_t *)"zz", 2}},
        {.streams = 3, .grep = {(const uint8_t *)"zz", 2}, .ignore_case = true},
        {.streams = 3, .regex = {(const uint8_t *)"z+y", 3}}};
    static uint8_t text[100000];
    for (size_t i = 0; i < 3; i++) {
        struct filter *f = made(rows[i]);
        assert_int_equal(filter_work(f), 0);
        filter_line(f, 0, 0, sl_slice(NULL, 0), sl_slice(text, sizeof text));
        assert_true(filter_work(f) >= sizeof text / 8 && filter_work(f) < 2 * sizeof text);
        filter_free(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_and_pattern_decide_together),
        cmocka_unit_test(text_is_searched_over_nul_and_bytes_that_are_no_utf8),
        cmocka_unit_test(stream_container_and_time_decide),
        cmocka_unit_test(a_pattern_that_is_wrong_is_told_with_its_parameter),
        cmocka_unit_test(the_longest_grep_is_taken_in_both_cases),
        cmocka_unit_test(the_word_about_a_block_agrees_with_its_lines),
        cmocka_unit_test(work_is_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
