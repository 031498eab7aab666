// SPDX-License-Identifier: Apache-2.0
#include "problem.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void a_problem_is_the_body_that_rfc_9457_describes(void **state)
{
    (void)state;
    struct problem p;
    struct buffer out;
    buffer_init(&out, 0, 4096);
    problem_set(&p, PROBLEM_INVALID_PARAMETER, "tail", "tail must be a whole number, not \"%s\"", "x");
    problem_render(&p, &out);
    assert_true(sl_slice_equal(
        buffer_slice(&out),
        sl_slice_of("{\"type\":\"urn:sandlog:problem:invalid-parameter\",\"title\":\"Invalid "
                    "parameter\",\"status\":400,"
                    "\"detail\":\"tail must be a whole number, not \\\"x\\\"\",\"parameter\":\"tail\"}")));
    buffer_cut(&out, 0);
    problem_set(&p, PROBLEM_CURSOR_EXPIRED, NULL, "gone");
    strcpy(p.oldest, "00000000-00000000-5");
    problem_render(&p, &out);
    assert_true(sl_slice_equal(
        buffer_slice(&out),
        sl_slice_of("{\"type\":\"urn:sandlog:problem:cursor-expired\",\"title\":\"Cursor expired\","
                    "\"status\":410,\"detail\":\"gone\",\"oldest\":\"00000000-00000000-5\"}")));
    buffer_fini(&out);
}

static void every_code_has_its_status_and_its_close_code(void **state)
{
    (void)state;
    static const struct {
        enum problem_code code;
        unsigned status, close;
    } rows[] = {
        {PROBLEM_NONE, 0, 1000},
        {PROBLEM_INVALID_PARAMETER, 400, 4400},
        {PROBLEM_UNAUTHENTICATED, 401, 4401},
        {PROBLEM_SANDBOX_NOT_FOUND, 404, 4404},
        {PROBLEM_SANDBOX_NOT_RUNNING, 409, 4409},
        {PROBLEM_CURSOR_EXPIRED, 410, 4410},
        {PROBLEM_TOO_MANY_FOLLOWERS, 429, 4429},
        {PROBLEM_INTERNAL, 500, 1011},
        {PROBLEM_BROKER_UNAVAILABLE, 503, 1013},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(problem_status(rows[i].code), rows[i].status);
        assert_int_equal(problem_close_code(rows[i].code), rows[i].close);
    }
    for (int code = 0; code < PROBLEM_CODES; code++) {
        assert_non_null(problem_name((enum problem_code)code));
        assert_non_null(problem_title((enum problem_code)code));
    }
}

static void a_detail_that_is_too_long_is_cut(void **state)
{
    (void)state;
    struct problem p;
    char lengthy[1000];
    memset(lengthy, 'x', sizeof lengthy - 1);
    lengthy[sizeof lengthy - 1] = '\0';
    problem_set(&p, PROBLEM_BAD_REQUEST, lengthy, "%s", lengthy);
    assert_int_equal(strlen(p.detail), sizeof p.detail - 1);
    assert_int_equal(strlen(p.parameter), sizeof p.parameter - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_problem_is_the_body_that_rfc_9457_describes),
        cmocka_unit_test(every_code_has_its_status_and_its_close_code),
        cmocka_unit_test(a_detail_that_is_too_long_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
