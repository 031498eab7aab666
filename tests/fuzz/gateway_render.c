// SPDX-License-Identifier: Apache-2.0
/*
 * First byte: format and switches. The rest, cut at each byte 0xfe into lines, is rendered; an independent
 * reader of SSE must find exactly those lines and nothing more, NDJSON must be one line of valid UTF-8 each,
 * text the very bytes.
 */
#include "../unit/sse_reader.h"
#include "query.h"
#include "render.h"

static void count_log(void *arg, const struct sse_event *event)
{
    assert(strcmp(event->type, "log") == 0);
    ++*(size_t *)arg;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes < 1)
        return 0;
    struct render_style style = {.format = data[0] % 3,
                                 .timestamps = data[0] & 4,
                                 .data_json = data[0] & 8,
                                 .with_sandbox = data[0] & 16};
    struct render r;
    struct buffer out;
    buffer_init(&out, 16, 64 << 20);
    render_begin(&r, &style, sl_slice_of("box"), 1, 2);
    size_t lines = 0, text_bytes = 0;
    const uint8_t *at = data + 1, *end = data + bytes;
    while (at < end) {
        const uint8_t *stop = memchr(at, 0xfe, (size_t)(end - at));
        stop = stop ? stop : end;
        /* a copy of its size, so that a byte too many is seen */
        size_t length = (size_t)(stop - at);
        uint8_t *copy = malloc(length ? length : 1);
        assert(copy);
        memcpy(copy, at, length);
        struct render_line line = {.seq = ++lines,
                                   .time_ns = (int64_t)length,
                                   .text = sl_slice(copy, length),
                                   .partial = length % 2};
        size_t before = out.bytes;
        render_line(&r, &out, &line);
        assert(out.fault == 0);
        struct sl_slice got = sl_slice(buffer_data(&out) + before, out.bytes - before);
        if (style.format == QUERY_NDJSON)
            assert(sse_is_utf8(got.data, got.bytes) &&
                   memchr(got.data, '\n', got.bytes) == got.data + got.bytes - 1);
        text_bytes += render_text_bytes(&line) + (style.timestamps ? SL_TIME_TEXT_BYTES + 1 : 0);
        free(copy);
        at = stop < end ? stop + 1 : end;
    }
    if (style.format == QUERY_TEXT)
        assert(out.bytes == text_bytes);
    if (style.format == QUERY_SSE && lines) {
        size_t events = 0;
        assert(sse_read(buffer_slice(&out).data, buffer_slice(&out).bytes, count_log, &events, NULL) == 0);
        assert(events == lines);
    }
    buffer_fini(&out);
    return 0;
}
