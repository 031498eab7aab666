// SPDX-License-Identifier: Apache-2.0
#include "render.h"
#include "query.h"
#include "scan.h"
#include "utf8.h"
#include "wire/block.h"
#include <assert.h>
#include <stdio.h>

static_assert((int)SCAN_STEP <= (int)BUFFER_SLACK_BYTES, "scan_copy() scribbles on the slack only");

enum {
    SECOND_BYTES = 20, /* of a time, up to and with the point */
    FRAME_HEAD_BYTES = 8,
    LINE_FIXED_BYTES =
        32 + 3 * SL_TIME_TEXT_BYTES + 192, /* of a line, besides lead, cursor, container, text */
};

struct render_style render_style_of(const struct query *q, bool with_sandbox)
{
    return (struct render_style){
        .format = q->format,
        .timestamps = q->timestamps,
        .data_json = q->data_json || (with_sandbox && q->format == QUERY_SSE),
        .with_sandbox = with_sandbox,
        .gaps = q->gaps,
        .framed = q->framed,
    };
}

static bool objects(const struct render_style *style)
{
    return style->format == QUERY_NDJSON || (style->format == QUERY_SSE && style->data_json);
}

void render_begin(struct render *r, const struct render_style *style, struct sl_slice sandbox, uint64_t epoch,
                  uint64_t birth)
{
    assert(sandbox.bytes <= SL_ID_MAX_BYTES);
    *r = (struct render){.style = *style, .sandbox = sandbox, .second = INT64_MIN};
    struct cursor c = cursor_of(sandbox, epoch, birth, 0);
    char text[CURSOR_TEXT_BYTES];
    cursor_render(&c, text);
    memcpy(r->cursor, text, CURSOR_PREFIX_BYTES);
    /* an id needs no escaping */
    int bytes = 0;
    if (objects(style))
        bytes = style->with_sandbox ? snprintf((char *)r->lead, sizeof r->lead,
                                               "{\"sandbox\":\"%.*s\",\"seq\":", (int)sandbox.bytes,
                                               (const char *)sandbox.data)
                                    : snprintf((char *)r->lead, sizeof r->lead, "{\"seq\":");
    assert(bytes >= 0 && (size_t)bytes < sizeof r->lead);
    r->lead_bytes = (uint8_t)bytes;
}

/* ---- pieces, written where there is room for them; each returns the end of what it wrote ---- */

static uint8_t *put(uint8_t *out, const void *data, size_t bytes)
{
    memcpy(out, data, bytes);
    return out + bytes;
}
#define PUT(out, literal) put(out, literal, sizeof(literal) - 1)

static uint8_t *put_u64(uint8_t *out, uint64_t v)
{
    uint8_t digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (uint8_t)('0' + v % 10);
        v /= 10;
    } while (v);
    return put(out, digits + at, sizeof digits - at);
}

static uint8_t *put_cursor(const struct render *r, uint8_t *out, uint64_t seq)
{
    return put_u64(put(out, r->cursor, CURSOR_PREFIX_BYTES), seq);
}

/* Lines of one second come together: only its nine digits are made anew. */
static uint8_t *put_time(struct render *r, uint8_t *out, int64_t ns)
{
    int64_t second = ns / SL_NS_PER_S, rest = ns % SL_NS_PER_S;
    if (rest < 0) {
        rest += SL_NS_PER_S;
        second--;
    }
    if (second != r->second) {
        sl_time_render(ns, r->time);
        r->second = second;
    }
    out = put(out, r->time, SECOND_BYTES);
    uint32_t digits = (uint32_t)rest;
    for (int i = 8; i >= 0; i--, digits /= 10)
        out[i] = (uint8_t)('0' + digits % 10);
    out[9] = 'Z';
    return out + 10;
}

/* ---- a line ---- */

/* Docker's streams: 1 stdout, 2 stderr. */
static void put_frame_head(uint8_t *out, uint8_t stream, size_t bytes)
{
    uint32_t length = __builtin_bswap32((uint32_t)bytes);
    memset(out, 0, FRAME_HEAD_BYTES);
    out[0] = (uint8_t)(stream + 1);
    memcpy(out + 4, &length, sizeof length);
}

static void line_text(struct render *r, struct buffer *out, const struct render_line *line)
{
    uint8_t *room = buffer_room(out, FRAME_HEAD_BYTES + line->text.bytes + SL_TIME_TEXT_BYTES + 2);
    if (!room)
        return;
    uint8_t *begin = r->style.framed ? room + FRAME_HEAD_BYTES : room, *to = begin;
    if (r->style.timestamps && !line->continues) {
        to = put_time(r, to, line->time_ns);
        *to++ = ' ';
    }
    if (line->text.bytes)
        to = put(to, line->text.data, line->text.bytes);
    if (!line->partial)
        *to++ = '\n';
    if (r->style.framed)
        put_frame_head(room, line->stream, (size_t)(to - begin));
    buffer_took(out, (size_t)(to - room));
}

static void line_object(struct render *r, struct buffer *out, const struct render_line *line)
{
    uint8_t *room = buffer_room(out, r->lead_bytes + line->cursor.bytes + line->container.bytes +
                                         line->text.bytes + LINE_FIXED_BYTES);
    if (!room)
        return;
    uint8_t *to = put_u64(put(room, r->lead, r->lead_bytes), line->seq);
    if (!r->style.bare) {
        to = PUT(to, ",\"cursor\":\"");
        to = line->cursor.bytes ? put(to, line->cursor.data, line->cursor.bytes)
                                : put_cursor(r, to, line->seq);
        *to++ = '"';
    }
    to = PUT(to, ",\"time\":\"");
    to = put_time(r, to, line->time_ns);
    to = line->stream == SL_STDERR ? PUT(to, "\",\"stream\":\"stderr\",")
                                   : PUT(to, "\",\"stream\":\"stdout\",");
    if (line->container.bytes) { /* a valid name needs no escaping */
        to = PUT(to, "\"container\":\"");
        to = put(to, line->container.data, line->container.bytes);
        to = PUT(to, "\",");
    }
    to = PUT(to, "\"line\":\"");
    buffer_took(out, (size_t)(to - room));
    bool utf8 = json_escape(out, line->text);
    buffer_append(out, "\"", 1);
    if (line->partial)
        buffer_append_text(out, ",\"partial\":true");
    if (!utf8) {
        buffer_append_text(out, ",\"raw\":\"");
        buffer_append_base64(out, line->text);
        buffer_append(out, "\"", 1);
    }
    buffer_append(out, "}", 1);
}

/* SSE's data: further `data:` lines at CR, LF and CRLF each; U+FFFD for what is not UTF-8. */
static void data_text(struct buffer *out, struct sl_slice text)
{
    if (text.bytes == 0)
        return;
    const uint8_t *at = text.data, *end = text.data + text.bytes;
    while (at < end) {
        uint8_t *room = buffer_room(out, (size_t)(end - at));
        if (!room)
            return;
        size_t plain = scan_copy(room, at, (size_t)(end - at), SCAN_SSE);
        buffer_took(out, plain);
        at += plain;
        if (at == end)
            return;
        if (*at < 0x80) {
            at += *at == '\r' && end - at > 1 && at[1] == '\n' ? 2 : 1;
            buffer_append_text(out, "\ndata: ");
            continue;
        }
        const uint8_t *from = at;
        int bytes = 0;
        while (at < end && *at >= 0x80 && (bytes = utf8_sequence(at, end)) > 0)
            at += bytes;
        buffer_append(out, from, (size_t)(at - from));
        if (bytes < 0) {
            buffer_append(out, "\xef\xbf\xbd", 3);
            at -= bytes;
        }
    }
}

static void line_sse(struct render *r, struct buffer *out, const struct render_line *line)
{
    uint8_t *room = buffer_room(out, line->cursor.bytes + line->text.bytes + LINE_FIXED_BYTES);
    if (!room)
        return;
    uint8_t *to = PUT(room, "id: ");
    to = line->cursor.bytes ? put(to, line->cursor.data, line->cursor.bytes) : put_cursor(r, to, line->seq);
    to = PUT(to, "\nevent: log\ndata: ");
    bool text = !r->style.data_json;
    if (text && r->style.timestamps && !line->continues) {
        to = put_time(r, to, line->time_ns);
        *to++ = ' ';
    }
    buffer_took(out, (size_t)(to - room));
    if (text)
        data_text(out, line->text);
    else
        line_object(r, out, line);
    buffer_append(out, "\n\n", 2);
}

void render_line(struct render *r, struct buffer *out, const struct render_line *line)
{
    switch (r->style.format) {
    case QUERY_TEXT:
        line_text(r, out, line);
        return;
    case QUERY_NDJSON:
        line_object(r, out, line);
        buffer_append(out, "\n", 1);
        return;
    default:
        line_sse(r, out, line);
    }
}

/* ---- gap, end, error ---- */

/* Opens the object of an event: NDJSON names it inside, SSE in its own field. */
static void event_open(const struct render_style *style, struct buffer *out, struct json *j,
                       const char *event, struct sl_slice id)
{
    if (style->format == QUERY_SSE) {
        if (id.bytes) {
            buffer_append_text(out, "id: ");
            buffer_append_slice(out, id);
            buffer_append(out, "\n", 1);
        }
        buffer_append_text(out, "event: ");
        buffer_append_text(out, event);
        buffer_append_text(out, "\ndata: ");
    }
    json_init(j, out);
    json_object_open(j);
    if (style->format == QUERY_NDJSON) {
        json_key(j, "event");
        json_text(j, event);
    }
}

static void event_close(const struct render_style *style, struct buffer *out, struct json *j)
{
    json_object_close(j);
    if (style->format == QUERY_SSE)
        buffer_append(out, "\n\n", 2);
    else
        buffer_append(out, "\n", 1);
}

static void event_sandbox(const struct render *r, struct json *j)
{
    if (r->style.with_sandbox) {
        json_key(j, "sandbox");
        json_slice(j, r->sandbox);
    }
}

static struct sl_slice cursor_text(const struct render *r, uint64_t seq, uint8_t out[CURSOR_TEXT_BYTES])
{
    return sl_slice(out, (size_t)(put_cursor(r, out, seq) - out));
}

void render_gap(struct render *r, struct buffer *out, const struct render_gap *gap)
{
    const char *reason = sl_gap_reason_name(gap->reason);
    assert(reason);
    bool known = gap->lines != SL_GAP_LINES_UNKNOWN;
    if (r->style.format == QUERY_TEXT) {
        if (!r->style.gaps)
            return;
        size_t begin = out->bytes;
        if (r->style.framed)
            buffer_append(out, (const uint8_t[FRAME_HEAD_BYTES]){0}, FRAME_HEAD_BYTES);
        buffer_append_text(out, gap->mid_line ? "\n--- sandlog: gap of " : "--- sandlog: gap of ");
        if (known)
            buffer_append_u64(out, gap->lines);
        else
            buffer_append_text(out, "an unknown number of");
        buffer_append_text(out, known && gap->lines == 1 ? " line: " : " lines: ");
        buffer_append_text(out, reason);
        buffer_append(out, "\n", 1);
        if (r->style.framed && !out->fault)
            put_frame_head(buffer_data(out) + begin, SL_STDERR, out->bytes - begin - FRAME_HEAD_BYTES);
        return;
    }
    struct json j;
    uint8_t text[CURSOR_TEXT_BYTES];
    struct sl_slice id = gap->cursor;
    if (!id.bytes && gap->has_from)
        id = cursor_text(r, gap->from_seq, text);
    event_open(&r->style, out, &j, "gap", id);
    event_sandbox(r, &j);
    json_key(&j, "from");
    if (gap->has_from)
        json_slice(&j, cursor_text(r, gap->from_seq, text));
    else
        json_none(&j);
    json_key(&j, "to");
    if (gap->has_to)
        json_slice(&j, cursor_text(r, gap->to_seq, text));
    else
        json_none(&j);
    json_key(&j, "lines");
    if (known)
        json_u64(&j, gap->lines);
    else
        json_none(&j);
    json_key(&j, "reason");
    json_text(&j, reason);
    event_close(&r->style, out, &j);
}

const char *render_reason_name(enum render_end_reason reason)
{
    static const char *const names[RENDER_REASONS] = {
        [RENDER_STOPPED] = "stopped",   [RENDER_DELETED] = "deleted", [RENDER_UNTIL] = "until",
        [RENDER_LIMIT] = "limit",       [RENDER_EXPIRED] = "expired", [RENDER_SHUTDOWN] = "shutdown",
        [RENDER_COMPLETE] = "complete",
    };
    assert((unsigned)reason < RENDER_REASONS);
    return names[reason];
}

void render_end(struct render *r, struct buffer *out, const struct render_end *end)
{
    if (r->style.format == QUERY_TEXT)
        return;
    struct json j;
    event_open(&r->style, out, &j, "end", sl_slice(NULL, 0));
    event_sandbox(r, &j);
    json_key(&j, "reason");
    json_text(&j, render_reason_name(end->reason));
    json_key(&j, "exit_code");
    if (end->has_exit)
        json_i64(&j, end->exit_code);
    else
        json_none(&j);
    json_key(&j, "last_seq");
    json_u64(&j, end->last_seq);
    json_key(&j, "lost");
    json_u64(&j, end->lost);
    event_close(&r->style, out, &j);
}

void render_error(const struct render_style *style, struct buffer *out, const struct problem *p)
{
    if (style->format == QUERY_TEXT)
        return;
    struct json j;
    event_open(style, out, &j, "error", sl_slice(NULL, 0));
    problem_members(p, &j);
    event_close(style, out, &j);
}

void render_head(const struct render_style *style, struct buffer *out)
{
    if (style->format == QUERY_SSE)
        buffer_append_text(out, "retry: 1000\n\n");
}

void render_keep_alive(const struct render_style *style, struct buffer *out)
{
    if (style->format == QUERY_SSE)
        buffer_append_text(out, ": keep-alive\n\n");
}

const char *render_content_type(const struct render_style *style)
{
    switch (style->format) {
    case QUERY_TEXT:
        return "text/plain; charset=utf-8";
    case QUERY_NDJSON:
        return "application/x-ndjson";
    default:
        return "text/event-stream";
    }
}
