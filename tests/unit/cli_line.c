// SPDX-License-Identifier: Apache-2.0
#include "line.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static int decode(const char *json, struct line *line)
{
    return line_decode(sl_slice_of(json), line);
}

static void a_line_is_decoded_to_its_bytes(void **state)
{
    (void)state;
    struct line line;
    assert_int_equal(decode("{\"seq\":17,\"cursor\":\"c\",\"time\":\"2026-02-20T14:30:00.123456789Z\","
                            "\"stream\":\"stderr\",\"container\":\"main\",\"line\":\"a\\u0000b\\r\\u00e9\"}",
                            &line),
                     LINE_OK);
    assert_int_equal(line.seq, 17);
    assert_true(sl_slice_equal(line.time, sl_slice_of("2026-02-20T14:30:00.123456789Z")));
    assert_true(sl_slice_equal(line.stream, sl_slice_of("stderr")));
    assert_true(sl_slice_equal(line.text, sl_slice("a\0b\r\xc3\xa9", 6)));
    assert_false(line.partial);
    line_fini(&line);
}

static void raw_bytes_win_over_their_readable_form(void **state)
{
    (void)state;
    static const struct {
        const char *raw;
        const char *bytes;
        size_t count;
    } cases[] = {{"", "", 0},
                 {"/w==", "\xff", 1},
                 {"/wA=", "\xff\0", 2},
                 {"/wD+", "\xff\0\xfe", 3},
                 {"+/+/AA==", "\xfb\xff\xbf\0", 4}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char json[100];
        struct line line;
        snprintf(json, sizeof json, "{\"line\":\"?\",\"raw\":\"%s\",\"partial\":true}", cases[i].raw);
        assert_int_equal(decode(json, &line), LINE_OK);
        assert_true(sl_slice_equal(line.text, sl_slice(cases[i].bytes, cases[i].count)));
        assert_true(line.partial);
        line_fini(&line);
    }
}

/* The form that the gateway writes is taken apart without jansson; a blank behind the brace is not that form.
 */
static void what_is_taken_apart_quickly_is_what_jansson_has(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "{\"seq\":1,\"cursor\":\"c\",\"time\":\"t\",\"stream\":\"stdout\",\"line\":\"\"}",
        "{\"sandbox\":\"a\",\"seq\":0,\"time\":\"t\",\"stream\":\"stderr\",\"container\":\"\",\"line\":"
        "\"plain, and longer\"}",
        "{\"seq\":999999999999999999,\"time\":\"t\",\"stream\":\"x\",\"line\":\"\\\"\\\\\\/"
        "\\b\\f\\n\\r\\t\\u0000\\u001b\\u007f\"}",
        "{\"seq\":9223372036854775807,\"time\":\"t\",\"stream\":\"x\",\"line\":\"\\u00e9\\ud83d\\ude00\"}",
        "{\"seq\":7,\"time\":\"t\",\"stream\":\"x\",\"line\":\"gr\xc3\xbc\xc3\x9f \xf0\x9f\x98\x80 "
        "end\",\"partial\":true}",
        "{\"seq\":7,\"time\":\"t\",\"stream\":\"x\",\"line\":\"\xef\xbf\xbd\",\"partial\":true,\"raw\":\"/"
        "w==\"}",
        "{\"seq\":7,\"time\":\"t\",\"stream\":\"x\",\"line\":\"a\",\"line\":\"b\"}",
    };
    static const char *const refused[] = {
        "{\"seq\":7,\"time\":\"t\",\"stream\":\"x\",\"line\":\"\xff\"}",
        "{\"seq\":7,\"time\":\"t\",\"stream\":\"x\",\"line\":\"\xed\xa0\x80\"}",
        "{\"seq\":7,\"time\":\"t\",\"stream\":\"x\",\"line\":\"a\nb\"}",
        "{\"seq\":7,\"time\":\"t\",\"stream\":\"x\",\"line\":\"\\x\"}",
        "{\"seq\":7,\"time\":\"t\",\"stream\":\"x\",\"line\":\"\\u00g0\"}",
        "{\"seq\":07,\"time\":\"t\",\"stream\":\"x\",\"line\":\"\"}",
        "{\"seq\":7,\"time\":\"t\",\"stream\":\"x\",\"line\":\"a\\\"}",
        "{\"seq\":7,\"time\":\"t\",\"stream\":\"x\",\"line\":\"\"} x",
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char slow_json[400];
        struct line quick, slow;
        snprintf(slow_json, sizeof slow_json, "{ %s", cases[i] + 1);
        assert_int_equal(decode(cases[i], &quick), LINE_OK);
        assert_int_equal(decode(slow_json, &slow), LINE_OK);
        assert_true(quick.seq == slow.seq && quick.partial == slow.partial);
        assert_true(sl_slice_equal(quick.sandbox, slow.sandbox) && sl_slice_equal(quick.time, slow.time));
        assert_true(sl_slice_equal(quick.stream, slow.stream));
        assert_true(sl_slice_equal(quick.container, slow.container));
        assert_true(sl_slice_equal(quick.text, slow.text));
        assert_true((quick.object == NULL) == (i < 3 || i == 4)); /* the others are left to it */
        line_fini(&quick);
        line_fini(&slow);
    }
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        struct line line;
        assert_int_equal(decode(refused[i], &line), LINE_MALFORMED);
    }
    /* `\` and a NUL */
    struct line line;
    static const char nul[] = "{\"seq\":7,\"time\":\"t\",\"stream\":\"x\",\"line\":\"\\\0\"}";
    assert_int_equal(line_decode(sl_slice(nul, sizeof nul - 1), &line), LINE_MALFORMED);
}

static void what_is_no_line_is_refused(void **state)
{
    (void)state;
    static const char *const cases[] = {"",
                                        "{",
                                        "[]",
                                        "17",
                                        "{}",
                                        "{\"line\":1}",
                                        "{\"line\":\"x\",\"raw\":1}",
                                        "{\"line\":\"x\",\"raw\":\"a\"}",
                                        "{\"line\":\"x\",\"raw\":\"====\"}",
                                        "{\"line\":\"x\",\"raw\":\"a=aa\"}",
                                        "{\"line\":\"x\",\"raw\":\"aa\\u0000=\"}",
                                        "{\"line\":\"x\"} y"};
    struct line line;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(decode(cases[i], &line), LINE_MALFORMED);
}

static void a_gap_may_not_know_its_size(void **state)
{
    (void)state;
    struct gap gap;
    assert_int_equal(gap_decode(sl_slice_of("{\"lines\":131,\"reason\":\"retention\"}"), &gap), LINE_OK);
    assert_int_equal(gap.lines, 131);
    assert_string_equal(gap.reason, "retention");
    assert_int_equal(gap_decode(sl_slice_of("{\"lines\":null,\"reason\":\"damaged\"}"), &gap), LINE_OK);
    assert_int_equal(gap.lines, -1);
    assert_int_equal(gap_decode(sl_slice_of("nonsense"), &gap), LINE_MALFORMED);
}

static void an_end_may_have_an_exit_code(void **state)
{
    (void)state;
    struct end end;
    assert_int_equal(end_decode(sl_slice_of("{\"reason\":\"stopped\",\"exit_code\":0}"), &end), LINE_OK);
    assert_string_equal(end.reason, "stopped");
    assert_int_equal(end.exit_code, 0);
    assert_int_equal(end_decode(sl_slice_of("{\"reason\":\"deleted\",\"exit_code\":null}"), &end), LINE_OK);
    assert_int_equal(end.exit_code, -1);
}

static void a_problem_is_known_by_the_last_part_of_its_type(void **state)
{
    (void)state;
    struct problem problem;
    static const char *const types[] = {"https://x.example/problems/sandbox-not-found",
                                        "urn:sandlog:sandbox-not-found", "sandbox-not-found"};
    for (size_t i = 0; i < 3; i++) {
        char json[200];
        snprintf(json, sizeof json, "{\"type\":\"%s\",\"title\":\"T\",\"detail\":\"D\"}", types[i]);
        assert_int_equal(problem_decode(sl_slice_of(json), &problem), LINE_OK);
        assert_string_equal(problem.code, "sandbox-not-found");
        assert_string_equal(problem.detail, "D");
    }
    assert_int_equal(problem_decode(sl_slice_of("{\"title\":\"T\"}"), &problem), LINE_OK);
    assert_string_equal(problem.code, "");
    assert_string_equal(problem.detail, "T");
    assert_int_equal(problem_decode(sl_slice_of("<html>"), &problem), LINE_MALFORMED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_is_decoded_to_its_bytes),
        cmocka_unit_test(raw_bytes_win_over_their_readable_form),
        cmocka_unit_test(what_is_taken_apart_quickly_is_what_jansson_has),
        cmocka_unit_test(what_is_no_line_is_refused),
        cmocka_unit_test(a_gap_may_not_know_its_size),
        cmocka_unit_test(an_end_may_have_an_exit_code),
        cmocka_unit_test(a_problem_is_known_by_the_last_part_of_its_type),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
