// SPDX-License-Identifier: Apache-2.0
#include "entry.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static int parse(const char *record, struct entry *ret)
{
    return cri_parse(sl_slice_of(record), ret);
}

static void a_record_is_time_stream_tags_and_text(void **state)
{
    (void)state;
    struct entry e;
    assert_int_equal(parse("2026-11-20T20:42:04.792961689Z stderr F a b  c ", &e), 0);
    assert_int_equal(e.time_ns, INT64_C(1795207324792961689));
    assert_int_equal(e.stream, SL_STDERR);
    assert_true(e.whole);
    assert_true(sl_slice_equal(e.text, sl_slice_of("a b  c ")));
    assert_int_equal(parse("2026-11-20T21:42:04.7+01:00 stdout P x", &e), 0);
    assert_int_equal(e.time_ns, INT64_C(1795207324700000000));
    assert_false(e.whole);
}

static void further_tags_are_ignored(void **state)
{
    (void)state;
    struct entry e;
    assert_int_equal(parse("2026-11-20T20:42:04Z stdout P:one:two text", &e), 0);
    assert_false(e.whole);
    assert_true(sl_slice_equal(e.text, sl_slice_of("text")));
    assert_int_equal(parse("2026-11-20T20:42:04Z stdout F:one", &e), 0);
    assert_true(e.whole);
    assert_int_equal(e.text.bytes, 0);
}

static void a_text_may_be_empty_or_missing(void **state)
{
    (void)state;
    struct entry e;
    assert_int_equal(parse("2026-11-20T20:42:04Z stdout F ", &e), 0);
    assert_int_equal(e.text.bytes, 0);
    assert_int_equal(parse("2026-11-20T20:42:04Z stdout F", &e), 0);
    assert_int_equal(e.text.bytes, 0);
}

static void what_is_no_record_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "text",
                                      "2026-11-20T20:42:04Z",
                                      "2026-11-20T20:42:04Z stdout",
                                      "2026-11-20T20:42:04Z stdout ",
                                      "2026-11-20T20:42:04Z stdout X text",
                                      "2026-11-20T20:42:04Z stdout Full",
                                      "2026-11-20T20:42:04Z stdin  F text",
                                      "2026-11-20T20:42:04Z  stdout F text",
                                      "2026-13-20T20:42:04Z stdout F text",
                                      "2026-11-20 stdout F text"};
    struct entry e;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(parse(bad[i], &e), ENTRY_MALFORMED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_is_time_stream_tags_and_text), cmocka_unit_test(further_tags_are_ignored),
        cmocka_unit_test(a_text_may_be_empty_or_missing), cmocka_unit_test(what_is_no_record_is_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
