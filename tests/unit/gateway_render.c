// SPDX-License-Identifier: Apache-2.0
/* PROMISES 23 and 24: whatever bytes a line holds, each format carries it, and no frame can be broken or
 * forged. */
#include "query.h"
#include "render.h"
#include "sse_reader.h"
#include "utf8.h"
#include "wire/block.h"
#include <errno.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static const int64_t noon_ns = INT64_C(1771597800123456789); /* 2026-02-20T14:30:00.123456789Z */

static uint64_t seed = 1;
static unsigned any(unsigned below)
{
    seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (unsigned)(seed >> 33) % below;
}

static struct render renderer(uint8_t format, bool timestamps, bool data_json, bool with_sandbox)
{
    struct render_style style = {.format = format,
                                 .timestamps = timestamps,
                                 .data_json = data_json,
                                 .with_sandbox = with_sandbox,
                                 .gaps = true};
    struct render r;
    render_begin(&r, &style, sl_slice_of("box"), 1, 2);
    return r;
}

static struct sl_slice cursor_text(uint64_t seq)
{
    static char text[4][CURSOR_TEXT_BYTES];
    static unsigned turn;
    struct cursor c = cursor_of(sl_slice_of("box"), 1, 2, seq);
    turn = (turn + 1) % 4;
    return sl_slice(text[turn], cursor_render(&c, text[turn]));
}

/* `%` in the expectation stands for the cursors, in their order. */
static void assert_renders(struct buffer *out, const char *want, uint64_t first, uint64_t second)
{
    struct buffer filled;
    buffer_init(&filled, 0, 10000);
    uint64_t seqs[2] = {first, second};
    for (unsigned k = 0; *want; want++)
        if (*want == '%')
            buffer_append_slice(&filled, cursor_text(seqs[k++]));
        else
            buffer_append(&filled, want, 1);
    buffer_append(&filled, "", 1);
    buffer_append(out, "", 1);
    assert_int_equal(out->fault, 0);
    assert_string_equal((const char *)buffer_slice(out).data, (const char *)buffer_slice(&filled).data);
    buffer_fini(&filled);
    buffer_cut(out, 0);
}

static void each_format_is_as_the_contract_shows_it(void **state)
{
    (void)state;
    struct buffer out;
    buffer_init(&out, 0, 1 << 20);
    struct render_line line = {.seq = 17,
                               .time_ns = noon_ns,
                               .stream = SL_STDERR,
                               .text = sl_slice_of("a \"b\"\t\x01"),
                               .container = sl_slice_of("main")};
    struct render text = renderer(QUERY_TEXT, false, false, false);
    render_line(&text, &out, &line);
    assert_renders(&out, "a \"b\"\t\x01\n", 0, 0);
    struct render stamped = renderer(QUERY_TEXT, true, false, false);
    render_line(&stamped, &out, &line);
    assert_renders(&out, "2026-02-20T14:30:00.123456789Z a \"b\"\t\x01\n", 0, 0);
    struct render object = renderer(QUERY_NDJSON, false, false, false);
    render_line(&object, &out, &line);
    assert_renders(
        &out,
        "{\"seq\":17,\"cursor\":\"%\",\"time\":\"2026-02-20T14:30:00.123456789Z\",\"stream\":\"stderr\","
        "\"container\":\"main\",\"line\":\"a \\\"b\\\"\\t\\u0001\"}\n",
        17, 0);
    struct render many = renderer(QUERY_NDJSON, false, false, true);
    line.container = sl_slice(NULL, 0);
    line.cursor = sl_slice_of("m.AQ");
    line.partial = true;
    line.stream = SL_STDOUT;
    line.text = sl_slice_of("\xff");
    render_line(&many, &out, &line);
    assert_renders(
        &out,
        "{\"sandbox\":\"box\",\"seq\":17,\"cursor\":\"m.AQ\",\"time\":\"2026-02-20T14:30:00.123456789Z\","
        "\"stream\":\"stdout\",\"line\":\"\xef\xbf\xbd\",\"partial\":true,\"raw\":\"/w==\"}\n",
        0, 0);
    line = (struct render_line){.seq = 1, .time_ns = noon_ns, .text = sl_slice_of("one\rtwo\r\nthree\n\r")};
    struct render sse = renderer(QUERY_SSE, false, false, false);
    render_head(&sse.style, &out);
    render_line(&sse, &out, &line);
    render_keep_alive(&sse.style, &out);
    assert_renders(&out,
                   "retry: 1000\n\nid: %\nevent: log\ndata: one\ndata: two\ndata: three\ndata: \ndata: \n\n"
                   ": keep-alive\n\n",
                   1, 0);
    struct render sse_json = renderer(QUERY_SSE, true, true, false);
    render_line(&sse_json, &out, &line);
    assert_renders(
        &out,
        "id: %\nevent: log\ndata: {\"seq\":1,\"cursor\":\"%\",\"time\":\"2026-02-20T14:30:00.123456789Z\","
        "\"stream\":\"stdout\",\"line\":\"one\\rtwo\\r\\nthree\\n\\r\"}\n\n",
        1, 1);
    buffer_fini(&out);
}

static void gaps_ends_and_errors_are_as_the_contract_shows_them(void **state)
{
    (void)state;
    struct buffer out;
    buffer_init(&out, 0, 1 << 20);
    struct render sse = renderer(QUERY_SSE, false, false, false);
    struct render object = renderer(QUERY_NDJSON, false, false, true);
    struct render text = renderer(QUERY_TEXT, false, false, false);
    struct render_gap gap = {.has_from = true,
                             .from_seq = 4,
                             .has_to = true,
                             .to_seq = 136,
                             .lines = 131,
                             .reason = SL_GAP_RETENTION};
    render_gap(&sse, &out, &gap);
    struct sl_slice id = cursor_text(4);
    char want[300];
    snprintf(want, sizeof want,
             "id: %.*s\nevent: gap\ndata: "
             "{\"from\":\"%%\",\"to\":\"%%\",\"lines\":131,\"reason\":\"retention\"}\n\n",
             (int)id.bytes, (const char *)id.data);
    assert_renders(&out, want, 4, 136);
    render_gap(&object, &out, &gap);
    assert_renders(&out,
                   "{\"event\":\"gap\",\"sandbox\":\"box\",\"from\":\"%\",\"to\":\"%\",\"lines\":131,"
                   "\"reason\":\"retention\"}\n",
                   4, 136);
    render_gap(&text, &out, &gap);
    assert_renders(&out, "--- sandlog: gap of 131 lines: retention\n", 0, 0);
    gap = (struct render_gap){
        .lines = SL_GAP_LINES_UNKNOWN, .reason = SL_GAP_SOURCE_VANISHED, .mid_line = true};
    render_gap(&sse, &out, &gap);
    assert_renders(
        &out,
        "event: gap\ndata: {\"from\":null,\"to\":null,\"lines\":null,\"reason\":\"source-vanished\"}\n\n", 0,
        0);
    render_gap(&text, &out, &gap);
    assert_renders(&out, "\n--- sandlog: gap of an unknown number of lines: source-vanished\n", 0, 0);
    text.style.gaps = false;
    render_gap(&text, &out, &gap);
    assert_renders(&out, "", 0, 0);
    struct render_end end = {.reason = RENDER_STOPPED, .has_exit = true, .exit_code = 0, .last_seq = 4711};
    render_end(&sse, &out, &end);
    assert_renders(
        &out, "event: end\ndata: {\"reason\":\"stopped\",\"exit_code\":0,\"last_seq\":4711,\"lost\":0}\n\n",
        0, 0);
    end = (struct render_end){.reason = RENDER_COMPLETE, .last_seq = 1, .lost = 2};
    render_end(&object, &out, &end);
    assert_renders(
        &out,
        "{\"event\":\"end\",\"sandbox\":\"box\",\"reason\":\"complete\",\"exit_code\":null,\"last_seq\":1,"
        "\"lost\":2}\n",
        0, 0);
    render_end(&text, &out, &end);
    assert_renders(&out, "", 0, 0);
    struct problem p;
    problem_set(&p, PROBLEM_TOO_MANY_FOLLOWERS, NULL, "later");
    render_error(&sse.style, &out, &p);
    assert_renders(
        &out,
        "event: error\ndata: {\"type\":\"urn:sandlog:problem:too-many-followers\",\"title\":\"Too many "
        "followers\",\"status\":429,\"detail\":\"later\"}\n\n",
        0, 0);
    buffer_fini(&out);
}

static void a_partial_line_has_no_newline_and_its_rest_no_second_timestamp(void **state)
{
    (void)state;
    struct buffer out;
    buffer_init(&out, 0, 1 << 20);
    struct render stamped = renderer(QUERY_TEXT, true, false, false);
    struct render_line line = {.seq = 1, .time_ns = noon_ns, .text = sl_slice_of("begun"), .partial = true};
    render_line(&stamped, &out, &line);
    line = (struct render_line){
        .seq = 2, .time_ns = noon_ns + 5, .text = sl_slice_of(", ended"), .continues = true};
    assert_int_equal(render_text_bytes(&line), 8);
    render_line(&stamped, &out, &line);
    assert_renders(&out, "2026-02-20T14:30:00.123456789Z begun, ended\n", 0, 0);
    buffer_fini(&out);
}

static void times_are_exact_however_they_jump(void **state)
{
    (void)state;
    struct buffer out;
    buffer_init(&out, 0, 1 << 20);
    struct render stamped = renderer(QUERY_TEXT, true, false, false);
    for (unsigned round = 0; round < 100000; round++) {
        int64_t ns = (int64_t)((uint64_t)any(1u << 31) << 33 ^ (uint64_t)any(1u << 31) << 2 ^ any(4));
        if (any(2))
            ns = noon_ns + (int64_t)any(2000000000u) - 1000000000;
        char want[SL_TIME_TEXT_BYTES];
        sl_time_render(ns, want);
        struct render_line line = {.seq = 1, .time_ns = ns};
        buffer_cut(&out, 0);
        render_line(&stamped, &out, &line);
        assert_memory_equal(buffer_slice(&out).data, want, SL_TIME_TEXT_BYTES);
    }
    buffer_fini(&out);
}

/* ---- byte soup ---- */

static const char *const spices[] = {"\r",
                                     "\n",
                                     "\r\n",
                                     "\n\n",
                                     "\r\r",
                                     "data: x",
                                     "id: 9",
                                     "event: end",
                                     "retry: 1",
                                     ":",
                                     "\xef\xbb\xbf",
                                     "\xe2\x80\xa8",
                                     "\xf0\x9f\x98\x80",
                                     "\xff",
                                     "\xed\xa0\x80",
                                     "\"",
                                     "\\",
                                     "{",
                                     "\x1b[31m",
                                     "}\n{",
                                     " ",
                                     "plain text of some length, more than 16"};

static size_t soup(uint8_t *out, size_t capacity)
{
    size_t bytes = 0;
    for (unsigned pieces = any(12); pieces; pieces--) {
        unsigned which = any(sizeof spices / sizeof spices[0] + 2);
        uint8_t one = which & 1 ? 0 : (uint8_t)any(256);
        struct sl_slice s =
            which < sizeof spices / sizeof spices[0] ? sl_slice_of(spices[which]) : sl_slice(&one, 1);
        if (bytes + s.bytes > capacity)
            break;
        memcpy(out + bytes, s.data, s.bytes);
        bytes += s.bytes;
    }
    return bytes;
}

struct soup_line {
    uint8_t text[400];
    struct render_line line;
};

enum { SOUP_LINES = 8 };
struct expected {
    struct soup_line lines[SOUP_LINES];
    size_t seen;
    bool json;
};

static void assert_object_is(json_t *object, const struct soup_line *want)
{
    assert_non_null(object);
    assert_int_equal(json_integer_value(json_object_get(object, "seq")), want->line.seq);
    assert_int_equal(json_is_true(json_object_get(object, "partial")), want->line.partial);
    json_t *text = json_object_get(object, "line"), *raw = json_object_get(object, "raw");
    assert_int_equal(raw == NULL, sse_is_utf8(want->text, want->line.text.bytes));
    struct buffer base64;
    buffer_init(&base64, 0, 10000);
    if (raw) {
        buffer_append_base64(&base64, want->line.text);
        assert_true(
            sl_slice_equal(sl_slice(json_string_value(raw), json_string_length(raw)), buffer_slice(&base64)));
    } else {
        assert_true(
            sl_slice_equal(sl_slice(json_string_value(text), json_string_length(text)), want->line.text));
    }
    buffer_fini(&base64);
    json_decref(object);
}

static void check_event(void *arg, const struct sse_event *event)
{
    struct expected *e = arg;
    assert_true(e->seen < SOUP_LINES);
    const struct soup_line *want = &e->lines[e->seen++];
    struct sl_slice id = cursor_text(want->line.seq);
    assert_string_equal(event->type, "log");
    assert_true(sl_slice_equal(sl_slice(event->id, strlen(event->id)), id));
    if (e->json) {
        assert_object_is(json_loadb((const char *)event->data, event->data_bytes, JSON_ALLOW_NUL, NULL),
                         want);
        return;
    }
    struct buffer text;
    buffer_init(&text, 0, 10000);
    for (size_t i = 0; i < want->line.text.bytes;
         i++) { /* what a reader of lines sees: every end of one is LF */
        bool pair = want->text[i] == '\n' && i > 0 && want->text[i - 1] == '\r';
        if (!pair)
            buffer_append(&text, want->text[i] == '\r' ? (const uint8_t *)"\n" : &want->text[i], 1);
    }
    struct buffer shown;
    buffer_init(&shown, 0, 10000);
    utf8_append(&shown, buffer_slice(&text));
    assert_true(sl_slice_equal(sl_slice(event->data, event->data_bytes), buffer_slice(&shown)));
    buffer_fini(&shown);
    buffer_fini(&text);
}

static void no_text_can_break_or_forge_a_frame_of_sse(void **state)
{
    (void)state;
    static struct expected e;
    struct buffer out;
    buffer_init(&out, 0, 1 << 20);
    for (unsigned round = 0; round < 20000; round++) {
        e.seen = 0;
        e.json = round & 1;
        struct render sse = renderer(QUERY_SSE, false, e.json, false);
        buffer_cut(&out, 0);
        for (unsigned i = 0; i < SOUP_LINES; i++) {
            size_t bytes = soup(e.lines[i].text, sizeof e.lines[i].text);
            e.lines[i].line = (struct render_line){.seq = round * 100 + i,
                                                   .time_ns = noon_ns,
                                                   .text = sl_slice(e.lines[i].text, bytes),
                                                   .partial = any(2)};
            render_line(&sse, &out, &e.lines[i].line);
        }
        size_t comments = sse_read(buffer_slice(&out).data, buffer_slice(&out).bytes, check_event, &e, NULL);
        assert_int_equal(comments, 0);
        assert_int_equal(e.seen, SOUP_LINES);
    }
    buffer_fini(&out);
}

static void every_byte_can_be_had_back_from_ndjson_and_text(void **state)
{
    (void)state;
    static struct soup_line one;
    struct buffer out;
    buffer_init(&out, 0, 1 << 20);
    struct render object = renderer(QUERY_NDJSON, false, false, false);
    struct render text = renderer(QUERY_TEXT, false, false, false);
    for (unsigned round = 0; round < 50000; round++) {
        one.line = (struct render_line){.seq = round, .partial = any(2)};
        one.line.text = sl_slice(one.text, soup(one.text, sizeof one.text));
        buffer_cut(&out, 0);
        render_line(&object, &out, &one.line);
        struct sl_slice got = buffer_slice(&out);
        assert_ptr_equal(memchr(got.data, '\n', got.bytes), got.data + got.bytes - 1);
        assert_object_is(json_loadb((const char *)got.data, got.bytes, JSON_ALLOW_NUL, NULL), &one);
        buffer_cut(&out, 0);
        render_line(&text, &out, &one.line);
        got = buffer_slice(&out);
        assert_int_equal(got.bytes, render_text_bytes(&one.line));
        assert_true(sl_slice_equal(sl_slice(got.data, one.line.text.bytes), one.line.text));
    }
    buffer_fini(&out);
}

static void a_line_of_the_largest_size_fits_and_a_limit_is_kept(void **state)
{
    (void)state;
    uint8_t *text = malloc(SL_LINE_MAX_BYTES);
    assert_non_null(text);
    memset(text, 0x01, SL_LINE_MAX_BYTES); /* six bytes each in JSON */
    struct buffer out;
    buffer_init(&out, 16, (SL_LINE_MAX_BYTES * 6) + 1000);
    struct render object = renderer(QUERY_NDJSON, false, false, false);
    struct render_line line = {.seq = 1, .text = sl_slice(text, SL_LINE_MAX_BYTES)};
    render_line(&object, &out, &line);
    assert_int_equal(out.fault, 0);
    size_t first = out.bytes;
    render_line(&object, &out, &line);
    assert_int_equal(out.fault, -EMSGSIZE);
    buffer_cut(&out, first);
    assert_int_equal(out.fault, 0);
    buffer_fini(&out);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_format_is_as_the_contract_shows_it),
        cmocka_unit_test(gaps_ends_and_errors_are_as_the_contract_shows_them),
        cmocka_unit_test(a_partial_line_has_no_newline_and_its_rest_no_second_timestamp),
        cmocka_unit_test(times_are_exact_however_they_jump),
        cmocka_unit_test(no_text_can_break_or_forge_a_frame_of_sse),
        cmocka_unit_test(every_byte_can_be_had_back_from_ndjson_and_text),
        cmocka_unit_test(a_line_of_the_largest_size_fits_and_a_limit_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
