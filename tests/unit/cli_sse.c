// SPDX-License-Identifier: Apache-2.0
#include "sse.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* What came out, as text: "kind|id|data;" for each event. */
static char heard[4096];
static int stop_at;

static int on_event(void *arg, const struct sse_event *event)
{
    (void)arg;
    size_t used = strlen(heard);
    snprintf(heard + used, sizeof heard - used, "%.*s|%.*s|%.*s;", (int)event->kind.bytes, event->kind.data,
             (int)event->id.bytes, event->id.bytes ? (const char *)event->id.data : "",
             (int)event->data.bytes, event->data.data);
    return stop_at;
}

static const char *events_of(const char *text, size_t bytes, size_t step)
{
    struct sse sse;
    heard[0] = 0;
    stop_at = 0;
    sse_init(&sse, on_event, NULL);
    for (size_t at = 0; at < bytes; at += step)
        assert_int_equal(sse_push(&sse, sl_slice(text + at, step < bytes - at ? step : bytes - at)), 0);
    sse_fini(&sse);
    return heard;
}

#define EVENTS(text) events_of((text), sizeof(text) - 1, sizeof(text))

static void an_event_has_kind_id_and_data(void **state)
{
    (void)state;
    assert_string_equal(EVENTS("id: 7\nevent: log\ndata: hello\n\n"), "log|7|hello;");
    assert_string_equal(EVENTS("data\n\n"), "message||;");
    assert_string_equal(EVENTS("data:x\ndata: y\ndata:  z\n\n"), "message||x\ny\n z;");
}

static void all_three_ends_of_line_are_known(void **state)
{
    (void)state;
    assert_string_equal(EVENTS("data: a\r\rdata: b\r\n\r\ndata: c\n\n"), "message||a;message||b;message||c;");
}

static void an_id_stays_until_the_next_one(void **state)
{
    (void)state;
    assert_string_equal(EVENTS("id: 1\ndata: a\n\ndata: b\n\nid\ndata: c\n\n"),
                        "message|1|a;message|1|b;message||c;");
}

static void an_id_with_a_nul_is_ignored(void **state)
{
    (void)state;
    assert_string_equal(EVENTS("id: 1\ndata: a\n\nid: 2\0x\ndata: b\n\n"), "message|1|a;message|1|b;");
}

static void comments_and_unknown_fields_say_nothing(void **state)
{
    (void)state;
    assert_string_equal(EVENTS(": data: no\n\n:\n\nfoo: bar\n data: x\n\nevent: log\n\ndata: yes\n\n"),
                        "message||yes;");
}

static void a_byte_order_mark_is_skipped_once(void **state)
{
    (void)state;
    assert_string_equal(EVENTS("\xef\xbb\xbf"
                               "data: a\n\n\xef\xbb\xbf"
                               "data: b\n\n"),
                        "message||a;");
}

static void retry_is_digits_only(void **state)
{
    (void)state;
    struct sse sse;
    sse_init(&sse, on_event, NULL);
    assert_int_equal(sse.retry_ms, -1);
    assert_int_equal(sse_push(&sse, sl_slice_of("retry: 1000\nretry: 2x\nretry: -3\nretry\n")), 0);
    assert_int_equal(sse.retry_ms, 1000);
    sse_fini(&sse);
}

static const char stream[] =
    "retry: 5\r\n\r\nid: a-1\r\nevent: log\r\ndata: one\r\n\r\n:\n\nid: a-2\nevent: log\ndata: "
    "two\ndata: lines\n\nevent: end\ndata: {}\n\n";
static const char stream_events[] = "log|a-1|one;log|a-2|two\nlines;end|a-2|{};";

static void it_does_not_matter_where_the_bytes_are_cut(void **state)
{
    (void)state;
    for (size_t step = 1; step <= sizeof stream; step++)
        assert_string_equal(events_of(stream, sizeof stream - 1, step), stream_events);
}

static void an_event_that_was_cut_off_never_comes_out(void **state)
{
    (void)state;
    for (size_t bytes = 0; bytes < sizeof stream; bytes++) {
        const char *got = events_of(stream, bytes, bytes + 1);
        assert_int_equal(strncmp(stream_events, got, strlen(got)), 0);
        assert_true(strlen(got) == 0 || got[strlen(got) - 1] == ';');
        assert_true(bytes == sizeof stream - 1 || strlen(got) < strlen(stream_events));
    }
}

static void after_a_reset_nothing_is_left_of_the_old_connection(void **state)
{
    (void)state;
    struct sse sse;
    heard[0] = 0;
    sse_init(&sse, on_event, NULL);
    assert_int_equal(sse_push(&sse, sl_slice_of("id: 9\nevent: log\ndata: half\ndata: a li")), 0);
    sse_reset(&sse);
    assert_int_equal(sse_push(&sse, sl_slice_of("data: new\n\n")), 0);
    assert_string_equal(heard, "message||new;");
    sse_fini(&sse);
}

static void the_callback_ends_the_parsing(void **state)
{
    (void)state;
    struct sse sse;
    heard[0] = 0;
    stop_at = 5;
    sse_init(&sse, on_event, NULL);
    assert_int_equal(sse_push(&sse, sl_slice_of("data: a\n\ndata: b\n\n")), 5);
    assert_string_equal(heard, "message||a;");
    sse_fini(&sse);
}

static void an_endless_line_is_refused_before_it_fills_the_memory(void **state)
{
    (void)state;
    enum { CHUNK = 1 << 20 };
    char *chunk = malloc(CHUNK);
    memset(chunk, 'x', CHUNK);
    struct sse sse;
    sse_init(&sse, on_event, NULL);
    int r = 0;
    for (int i = 0; i < 1000 && r == 0; i++)
        r = sse_push(&sse, sl_slice(chunk, CHUNK));
    assert_int_equal(r, -EMSGSIZE);
    assert_true(sse.line.capacity <= SSE_EVENT_MAX_BYTES);
    sse_fini(&sse);
    free(chunk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_event_has_kind_id_and_data),
        cmocka_unit_test(all_three_ends_of_line_are_known),
        cmocka_unit_test(an_id_stays_until_the_next_one),
        cmocka_unit_test(an_id_with_a_nul_is_ignored),
        cmocka_unit_test(comments_and_unknown_fields_say_nothing),
        cmocka_unit_test(a_byte_order_mark_is_skipped_once),
        cmocka_unit_test(retry_is_digits_only),
        cmocka_unit_test(it_does_not_matter_where_the_bytes_are_cut),
        cmocka_unit_test(an_event_that_was_cut_off_never_comes_out),
        cmocka_unit_test(after_a_reset_nothing_is_left_of_the_old_connection),
        cmocka_unit_test(the_callback_ends_the_parsing),
        cmocka_unit_test(an_endless_line_is_refused_before_it_fills_the_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
