// SPDX-License-Identifier: Apache-2.0
#include "head.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* The same answer however the bytes are cut. Returns the status of a refusal, 0 when taken, -1: goes on. */
static int judge(struct sl_slice all, struct head *h, size_t *ret_bytes)
{
    int first = -2;
    size_t first_bytes = 0;
    static const size_t steps[] = {1, 2, 7, 4096, SIZE_MAX};
    for (size_t s = 0; s < sizeof steps / sizeof *steps; s++) {
        size_t have = 0;
        int answer = HEAD_MORE;
        head_begin(h);
        *ret_bytes = 0;
        while (answer == HEAD_MORE && have < all.bytes) {
            have = all.bytes - have > steps[s] ? have + steps[s] : all.bytes;
            answer = head_scan(h, sl_slice(all.data, have), ret_bytes);
        }
        int now = answer == 0 ? 0 : answer == HEAD_MORE ? -1 : (int)problem_status(h->problem.code);
        if (s == 0) {
            first = now;
            first_bytes = *ret_bytes;
        }
        assert_int_equal(now, first);
        assert_int_equal(*ret_bytes, first_bytes);
    }
    return first;
}

static int judge_text(const char *text, struct head *h, size_t *ret_bytes)
{
    return judge(sl_slice_of(text), h, ret_bytes);
}

static void a_head_is_taken_to_its_last_byte(void **state)
{
    (void)state;
    struct head h;
    size_t bytes;
    assert_int_equal(judge_text("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /", &h, &bytes), 0);
    assert_int_equal(bytes, strlen("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_int_equal(h.body_bytes, 0);
    assert_int_equal(h.skip, 0);
    assert_int_equal(
        judge_text("\r\n\r\nPUT /x?y=%41 HTTP/1.0\r\nhOST:a:1\r\nContent-Length:  12 \t\r\n\r\n", &h, &bytes),
        0);
    assert_int_equal(h.skip, 4);
    assert_int_equal(h.body_bytes, 12);
    assert_true(h.http10);
    assert_int_equal(judge_text("GET / HTTP/1.1\r\nHost: a\r\n", &h, &bytes), -1);
    assert_int_equal(judge_text("GET / HTTP/1.1\r\nHost: a\r\nA:\r\nB: \xff\x80 c\t\r\n\r\n", &h, &bytes), 0);
}

static void what_can_be_read_in_two_ways_is_refused(void **state)
{
    (void)state;
    struct head h;
    size_t bytes;
    static const struct {
        const char *text;
        int status;
    } rows[] = {
        {"GET / HTTP/1.1\nHost: a\r\n\r\n", 400},
        {"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a\r\n\n", 400},
        {"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a\r\rX: b\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a\r\nX(: b\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a\r\nX: \x01\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a\r\nX: \x7f\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n\r\n", 400},
        {"GET / HTTP/1.0\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: b@a\r\n\r\n", 400},
        {"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 400},
        {"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1,1\r\n\r\n", 400},
        {"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400},
        {"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\n", 400},
        {"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", 400},
        {"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", 400},
        {"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
        {"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x\r\nContent-Length: 1\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: a\r\nauthorization: b\r\n\r\n", 400},
        {"GET\r\nHost: a\r\n\r\n", 400},
        {"GET /\r\nHost: a\r\n\r\n", 400},
        {"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400},
        {" GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET / HTTP/1.11\r\nHost: a\r\n\r\n", 400},
        {"GET / http/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET /#a HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET /% HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET /%0 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET /%g0 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET /?a=%00 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET /?a=1%0a&b=2 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET /?a=1%0D HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"\x16\x03\x01", 400},
        {"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505},
        {"GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505},
        {"get / HTTP/1.1\r\nHost: a\r\n\r\n", 501},
        {"PROPFIND / HTTP/1.1\r\nHost: a\r\n\r\n", 501},
        {"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 405},
        {"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int status = judge_text(rows[i].text, &h, &bytes);
        if (status != rows[i].status)
            print_error("%s\n", rows[i].text);
        assert_int_equal(status, rows[i].status);
        assert_true(h.problem.detail[0]);
    }
    static const char nul[] = "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n";
    assert_int_equal(judge(sl_slice(nul, sizeof nul - 1), &h, &bytes), 400);
}

/* `count` times `what` between `front` and `back`. */
static int judge_many(const char *front, const char *what, size_t count, const char *back, struct head *h)
{
    size_t bytes = 0, taken;
    char *text = malloc(strlen(front) + count * strlen(what) + strlen(back) + 1);
    assert_non_null(text);
    bytes += (size_t)sprintf(text, "%s", front);
    for (size_t i = 0; i < count; i++)
        bytes += (size_t)sprintf(text + bytes, "%s", what);
    bytes += (size_t)sprintf(text + bytes, "%s", back);
    int status = judge(sl_slice(text, bytes), h, &taken);
    free(text);
    return status;
}

static void bombs_are_refused_before_they_are_whole(void **state)
{
    (void)state;
    struct head h;
    static const char line[] = "GET / HTTP/1.1\r\nHost: a\r\n";
    assert_int_equal(judge_many("GET /", "a", HEAD_TARGET_MAX_BYTES - 1, " HTTP/1.1\r\nHost: a\r\n\r\n", &h),
                     0);
    assert_int_equal(judge_many("GET /", "a", HEAD_TARGET_MAX_BYTES, " HTTP/1.1\r\nHost: a\r\n\r\n", &h),
                     414);
    assert_int_equal(judge_many("GET /", "a", 20000, "", &h), 414);
    assert_int_equal(judge_many("", "a", 20000, "", &h), 414);
    assert_int_equal(judge_many(line, "A:b\r\n", HEAD_FIELDS_MAX - 1, "\r\n", &h), 0);
    assert_int_equal(judge_many(line, "A:b\r\n", HEAD_FIELDS_MAX, "\r\n", &h), 431);
    assert_int_equal(judge_many(line, "Accept:b\r\n", HEAD_READ_MAX, "\r\n", &h), 431);
    assert_int_equal(judge_many("GET / HTTP/1.1\r\nHost: a\r\nX: ", "a", 16000, "\r\n\r\n", &h), 0);
    assert_int_equal(judge_many("GET / HTTP/1.1\r\nHost: a\r\nX: ", "a", HEAD_FIELDS_MAX_BYTES, "", &h), 431);
}

/* lws dropped what came behind some ninety parameters, without a word: a whole log for a page of it. */
static void many_parameters_are_refused_and_none_reaches_lws(void **state)
{
    (void)state;
    uint8_t out[256];
    struct head h;
    static const char head[] = "GET /a?b=c;d&e%3d=?f HTTP/1.1\r\nHost: c\r\n\r\n";
    static const char want[] = "GET /a HTTP/1.1\r\nHost: c\r\n\r\n";
    size_t bytes = head_copy(sl_slice_of(head), out);
    assert_int_equal(bytes, sizeof want - 1);
    assert_memory_equal(out, want, bytes);
    assert_true(sl_slice_equal(head_query(sl_slice_of(head)), sl_slice_of("b=c;d&e%3d=?f")));
    assert_int_equal(head_query(sl_slice_of(want)).bytes, 0);
    bytes = head_copy(sl_slice_of("GET /a? HTTP/1.1\r\nHost: c\r\n\r\n"), out);
    assert_int_equal(bytes, sizeof want - 1);
    assert_memory_equal(out, want, bytes);
    static const char end[] = " HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_int_equal(judge_many("GET /?a", "&a", HEAD_PARAMETERS_MAX - 1, end, &h), 0);
    assert_int_equal(judge_many("GET /?a", "&a", HEAD_PARAMETERS_MAX, end, &h), 414);
}

static void a_copy_holds_what_is_read_and_nothing_else(void **state)
{
    (void)state;
    uint8_t out[256];
    static const char head[] =
        "GET /a:b HTTP/1.1\r\nX-A: b\r\nUpgrade: h2c\r\nhost: c\r\nUpgrade:  WebSocket \r\nUpgrade: "
        "websocket, h2c\r\nCookie: d\r\nlast-event-id: e\r\nA:\r\n\r\n";
    static const char want[] =
        "GET /a:b HTTP/1.1\r\nhost: c\r\nUpgrade:  WebSocket \r\nlast-event-id: e\r\n\r\n";
    size_t bytes = head_copy(sl_slice_of(head), out);
    assert_int_equal(bytes, sizeof want - 1);
    assert_memory_equal(out, want, bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_head_is_taken_to_its_last_byte),
        cmocka_unit_test(what_can_be_read_in_two_ways_is_refused),
        cmocka_unit_test(bombs_are_refused_before_they_are_whole),
        cmocka_unit_test(many_parameters_are_refused_and_none_reaches_lws),
        cmocka_unit_test(a_copy_holds_what_is_read_and_nothing_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
