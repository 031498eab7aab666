// SPDX-License-Identifier: Apache-2.0
#include "entry.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

static uint8_t scratch[4096];
static struct sl_slice attrs;

static int parse(const char *record, struct entry *ret)
{
    return docker_parse(sl_slice_of(record), scratch, ret, &attrs);
}

static void log_is(const char *json, const char *text, size_t bytes, bool whole)
{
    char record[1024];
    struct entry e;
    snprintf(record, sizeof record,
             "{\"log\":\"%s\",\"stream\":\"stdout\",\"time\":\"2026-11-20T20:42:04Z\"}", json);
    assert_int_equal(parse(record, &e), 0);
    assert_int_equal(e.text.bytes, bytes);
    assert_memory_equal(e.text.data, text, bytes);
    assert_int_equal(e.whole, whole);
}

static void every_escape_is_decoded(void **state)
{
    (void)state;
    log_is("plain\\n", "plain", 5, true);
    log_is("no newline", "no newline", 10, false);
    log_is("", "", 0, false);
    log_is("\\n", "", 0, true);
    log_is("\\\"\\\\\\/\\b\\f\\n\\r\\t\\n", "\"\\/\b\f\n\r\t", 8, true);
    log_is("\\u0000\\u001b[31m\\u000a", "\0\33[31m", 6, true);
    log_is("\\u00e4\\u20AC\\n", "\xc3\xa4\xe2\x82\xac", 5, true);
    log_is("\\ud83d\\ude00\\n", "\xf0\x9f\x98\x80", 4, true);
}

static void a_lone_surrogate_becomes_the_replacement_character(void **state)
{
    (void)state;
    log_is("\\ud83d\\n", "\xef\xbf\xbd", 3, true);
    log_is("\\ud83dx", "\xef\xbf\xbdx", 4, false);
    log_is("\\ude00\\ud83d\\u0041", "\xef\xbf\xbd\xef\xbf\xbd\x41", 7, false);
}

static void members_come_in_any_order_and_others_are_skipped(void **state)
{
    (void)state;
    struct entry e;
    assert_int_equal(
        parse(
            "{ \"a\":[1,{\"log\":\"no\"},\"]}\"], \"time\":\"2026-11-20T20:42:04.5Z\" ,\"n\":null,\"attrs\":"
            "{\"k\":\"v\\u0041\",\"x\":1,\"l\":\"m\"},\"stream\":\"stderr\",\"log\":\"t\\n\"}",
            &e),
        0);
    assert_int_equal(e.stream, SL_STDERR);
    assert_int_equal(e.time_ns, INT64_C(1795207324500000000));
    assert_true(sl_slice_equal(e.text, sl_slice_of("t")));
    size_t at = 0;
    struct sl_slice key, value;
    assert_true(docker_attrs_next(attrs, &at, scratch, &key, &value));
    assert_true(sl_slice_equal(key, sl_slice_of("k")) && sl_slice_equal(value, sl_slice_of("vA")));
    assert_true(docker_attrs_next(attrs, &at, scratch, &key, &value));
    assert_true(sl_slice_equal(key, sl_slice_of("l")) && sl_slice_equal(value, sl_slice_of("m")));
    assert_false(docker_attrs_next(attrs, &at, scratch, &key, &value));
}

static void what_is_no_record_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "{}",
        "text",
        "{\"log\":\"x\"}",
        "{\"log\":\"x\",\"stream\":\"stdout\",\"time\":\"yesterday\"}",
        "{\"log\":\"x\",\"stream\":\"other\",\"time\":\"2026-11-20T20:42:04Z\"}",
        "{\"log\":1,\"stream\":\"stdout\",\"time\":\"2026-11-20T20:42:04Z\"}",
        "{\"log\":\"\\x\",\"stream\":\"stdout\",\"time\":\"2026-11-20T20:42:04Z\"}",
        "{\"log\":\"\\u12\",\"stream\":\"stdout\",\"time\":\"2026-11-20T20:42:04Z\"}",
        "{\"log\":\"x\",\"stream\":\"stdout\",\"time\":\"2026-11-20T20:42:04Z\"",
        "{\"log\":\"x\",\"stream\":\"stdout\",\"time\":\"2026-11-20T20:42:04Z\"}}",
        "{\"log\":\"x\",\"stream\":\"stdout\",\"time\":\"2026-11-20T20:42:04Z\"}{",
        "{\"log\":\"x\" \"stream\":\"stdout\",\"time\":\"2026-11-20T20:42:04Z\"}"};
    struct entry e;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(parse(bad[i], &e), ENTRY_MALFORMED);
}

static void a_cut_record_is_never_taken(void **state)
{
    (void)state;
    static const char whole[] = "{\"log\":\"a\\u00e4\\n\",\"stream\":\"stdout\",\"attrs\":{\"a\":\"b\"},"
                                "\"time\":\"2026-11-20T20:42:04Z\"}";
    struct entry e;
    for (size_t n = 0; n + 1 < sizeof whole; n++)
        assert_int_equal(docker_parse(sl_slice(whole, n), scratch, &e, &attrs), ENTRY_MALFORMED);
    assert_int_equal(docker_parse(sl_slice(whole, sizeof whole - 1), scratch, &e, &attrs), 0);
}

static void places_in_record_and_text_map_to_and_fro(void **state)
{
    (void)state;
    static const char whole[] =
        "{\"log\":\"a\\u00e4b\\tc\\n\",\"stream\":\"stdout\",\"time\":\"2026-11-20T20:42:04Z\"}";
    struct sl_slice record = sl_slice_of(whole);
    static const size_t ends[] = {8, 9, 9, 15, 16, 18, 19};
    for (size_t n = 0; n < sizeof ends / sizeof *ends; n++)
        assert_int_equal(docker_record_before(record, n), ends[n]);
    assert_int_equal(docker_text_before(record, 15), 3);
    assert_int_equal(docker_text_before(record, 3), 0);
}

/* A line of 1 MiB of NUL, or of what one escape stands for each: the rest was searched for its quote behind
 * every one of them, which took the collector, and all its sandboxes, a minute of CPU time. It takes some
 * milliseconds. */
static void a_line_of_nothing_but_escapes_takes_no_longer_for_that(void **state)
{
    (void)state;
    static const char *const escapes[] = {"\\u0000", "\\r", "\\\"", "\\\\"};
    static const char head[] = "{\"log\":\"",
                      tail[] = "\\n\",\"stream\":\"stdout\",\"time\":\"2026-11-20T20:42:04Z\"}";
    const size_t units = 1 << 20;
    uint8_t *record = malloc(sizeof head + sizeof tail + 6 * units), *text = malloc(6 * units + 64);
    assert_true(record && text);
    for (size_t i = 0; i < sizeof escapes / sizeof *escapes; i++) {
        size_t bytes = 0, one = strlen(escapes[i]);
        memcpy(record, head, sizeof head - 1);
        bytes += sizeof head - 1;
        for (size_t n = 0; n < units; n++, bytes += one)
            memcpy(record + bytes, escapes[i], one);
        memcpy(record + bytes, tail, sizeof tail - 1);
        bytes += sizeof tail - 1;
        struct entry e;
        clock_t begun = clock();
        assert_int_equal(docker_parse(sl_slice(record, bytes), text, &e, &attrs), 0);
        assert_true(e.whole && e.text.bytes == units);
        assert_true(clock() - begun < 5 * CLOCKS_PER_SEC);
    }
    free(record);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_of_nothing_but_escapes_takes_no_longer_for_that),
        cmocka_unit_test(every_escape_is_decoded),
        cmocka_unit_test(a_lone_surrogate_becomes_the_replacement_character),
        cmocka_unit_test(members_come_in_any_order_and_others_are_skipped),
        cmocka_unit_test(what_is_no_record_is_refused),
        cmocka_unit_test(a_cut_record_is_never_taken),
        cmocka_unit_test(places_in_record_and_text_map_to_and_fro)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
