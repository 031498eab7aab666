// SPDX-License-Identifier: Apache-2.0
#include "json.h"
#include "scan.h"
#include "utf8.h"
#include "wire/timestamp.h"
#include <assert.h>

static_assert((int)SCAN_STEP <= (int)BUFFER_SLACK_BYTES, "scan_copy() scribbles on the slack only");

void json_init(struct json *j, struct buffer *out)
{
    *j = (struct json){.out = out};
}

/* The comma before a value or key, where one belongs. */
static void separate(struct json *j)
{
    uint32_t bit = UINT32_C(1) << j->depth;
    if (j->keyed)
        j->keyed = false;
    else if (j->begun & bit)
        buffer_append(j->out, ",", 1);
    j->begun |= bit;
}

static void open_with(struct json *j, const char *bracket)
{
    separate(j);
    assert(j->depth + 1 < JSON_DEPTH_MAX);
    j->depth++;
    j->begun &= ~(UINT32_C(1) << j->depth);
    buffer_append(j->out, bracket, 1);
}

static void close_with(struct json *j, const char *bracket)
{
    assert(j->depth > 0 && !j->keyed);
    j->depth--;
    buffer_append(j->out, bracket, 1);
}

void json_object_open(struct json *j)
{
    open_with(j, "{");
}

void json_object_close(struct json *j)
{
    close_with(j, "}");
}

void json_array_open(struct json *j)
{
    open_with(j, "[");
}

void json_array_close(struct json *j)
{
    close_with(j, "]");
}

void json_key(struct json *j, const char *key)
{
    separate(j);
    buffer_append(j->out, "\"", 1);
    buffer_append_text(j->out, key);
    buffer_append(j->out, "\":", 2);
    j->keyed = true;
}

void json_key_slice(struct json *j, struct sl_slice key)
{
    separate(j);
    buffer_append(j->out, "\"", 1);
    json_escape(j->out, key);
    buffer_append(j->out, "\":", 2);
    j->keyed = true;
}

void json_slice(struct json *j, struct sl_slice value)
{
    separate(j);
    buffer_append(j->out, "\"", 1);
    json_escape(j->out, value);
    buffer_append(j->out, "\"", 1);
}

void json_text(struct json *j, const char *value)
{
    if (value)
        json_slice(j, sl_slice_of(value));
    else
        json_none(j);
}

void json_u64(struct json *j, uint64_t value)
{
    separate(j);
    buffer_append_u64(j->out, value);
}

void json_i64(struct json *j, int64_t value)
{
    separate(j);
    buffer_append_i64(j->out, value);
}

void json_bool(struct json *j, bool value)
{
    separate(j);
    buffer_append_text(j->out, value ? "true" : "false");
}

void json_none(struct json *j)
{
    separate(j);
    buffer_append(j->out, "null", 4);
}

void json_whole(struct json *j, const char *value)
{
    separate(j);
    buffer_append_text(j->out, value);
}

void json_time(struct json *j, int64_t ns)
{
    char time[SL_TIME_TEXT_BYTES];
    sl_time_render(ns, time);
    json_slice(j, sl_slice(time, sizeof time));
}

/* One ASCII byte that can't stand for itself. */
static void escape_ascii(struct buffer *out, uint8_t c)
{
    static const char short_forms[] = "btn\0fr"; /* 0x08 to 0x0d, without 0x0b */
    char text[6] = "\\u00";
    if (c == '"' || c == '\\') { /* by far the most frequent */
        uint8_t *at = buffer_room(out, 2);
        if (at) {
            at[0] = '\\';
            at[1] = c;
            buffer_took(out, 2);
        }
    } else if (c >= 0x08 && c <= 0x0d && c != 0x0b) {
        text[1] = short_forms[c - 0x08];
        buffer_append(out, text, 2);
    } else {
        text[4] = (char)('0' + (c >> 4));
        text[5] = "0123456789abcdef"[c & 15];
        buffer_append(out, text, 6);
    }
}

bool json_escape(struct buffer *out, struct sl_slice text)
{
    bool utf8 = true;
    if (text.bytes == 0)
        return utf8;
    const uint8_t *at = text.data, *end = text.data + text.bytes;
    while (at < end) {
        uint8_t *room = buffer_room(out, (size_t)(end - at));
        if (!room)
            return utf8;
        size_t plain = scan_copy(room, at, (size_t)(end - at), SCAN_JSON);
        at += plain;
        buffer_took(out, plain);
        if (at == end)
            break;
        if (*at < 0x80) {
            escape_ascii(out, *at++);
            continue;
        }
        /* all well-formed sequences that follow each other at once */
        const uint8_t *from = at;
        int bytes = 0;
        while (at < end && *at >= 0x80 && (bytes = utf8_sequence(at, end)) > 0)
            at += bytes;
        buffer_append(out, from, (size_t)(at - from));
        if (bytes < 0) {
            utf8 = false;
            buffer_append(out, "\xef\xbf\xbd", 3);
            at -= bytes;
        }
    }
    return utf8;
}
