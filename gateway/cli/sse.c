// SPDX-License-Identifier: Apache-2.0
#include "sse.h"

#include <errno.h>
#include <stdlib.h>

static int text_add(struct sse_text *text, const void *data, size_t bytes)
{
    if (text->bytes + bytes > SSE_EVENT_MAX_BYTES)
        return -EMSGSIZE;
    if (text->bytes + bytes > text->capacity) {
        size_t capacity = text->capacity ? text->capacity : 256;
        while (capacity < text->bytes + bytes)
            capacity *= 2;
        uint8_t *grown = realloc(text->data, capacity);
        if (!grown)
            return -ENOMEM;
        text->data = grown;
        text->capacity = capacity;
    }
    if (bytes > 0)
        memcpy(text->data + text->bytes, data, bytes);
    text->bytes += bytes;
    return 0;
}

static struct sl_slice text_slice(const struct sse_text *text)
{
    return sl_slice(text->data, text->bytes);
}

void sse_init(struct sse *sse, int (*event)(void *arg, const struct sse_event *event), void *arg)
{
    *sse = (struct sse){.event = event, .arg = arg, .retry_ms = -1};
}

void sse_fini(struct sse *sse)
{
    free(sse->line.data);
    free(sse->kind.data);
    free(sse->id.data);
    free(sse->data.data);
    *sse = (struct sse){0};
}

void sse_reset(struct sse *sse)
{
    sse->line.bytes = sse->kind.bytes = sse->id.bytes = sse->data.bytes = 0;
    sse->begun = sse->after_cr = false;
}

static int dispatch(struct sse *sse)
{
    int r = 0;
    if (sse->data.bytes > 0) {
        struct sse_event event = {
            .kind = sse->kind.bytes > 0 ? text_slice(&sse->kind) : sl_slice_of("message"),
            .id = text_slice(&sse->id),
            .data = sl_slice(sse->data.data, sse->data.bytes - 1), /* without the last LF */
        };
        r = sse->event(sse->arg, &event);
    }
    sse->kind.bytes = sse->data.bytes = 0;
    return r;
}

static int set(struct sse_text *text, struct sl_slice value)
{
    text->bytes = 0;
    return text_add(text, value.data, value.bytes);
}

static bool name_is(struct sl_slice name, const char *expected)
{
    return sl_slice_equal(name, sl_slice_of(expected));
}

static int field(struct sse *sse, struct sl_slice name, struct sl_slice value)
{
    if (name_is(name, "data")) {
        int r = text_add(&sse->data, value.data, value.bytes);
        return r == 0 ? text_add(&sse->data, "\n", 1) : r;
    }
    if (name_is(name, "event"))
        return set(&sse->kind, value);
    if (name_is(name, "id")) /* one with a NUL is ignored */
        return value.bytes > 0 && memchr(value.data, 0, value.bytes) ? 0 : set(&sse->id, value);
    if (name_is(name, "retry") && value.bytes > 0 && value.bytes <= 9) {
        int64_t ms = 0;
        for (size_t i = 0; i < value.bytes; i++) {
            if (value.data[i] < '0' || value.data[i] > '9')
                return 0;
            ms = ms * 10 + (value.data[i] - '0');
        }
        sse->retry_ms = ms;
    }
    return 0;
}

static int line(struct sse *sse, struct sl_slice text)
{
    if (!sse->begun) {
        sse->begun = true;
        if (text.bytes >= 3 && memcmp(text.data, "\xef\xbb\xbf", 3) == 0)
            text = sl_slice(text.data + 3, text.bytes - 3);
    }
    if (text.bytes == 0)
        return dispatch(sse);
    const uint8_t *colon = memchr(text.data, ':', text.bytes);
    if (!colon)
        return field(sse, text, sl_slice(NULL, 0));
    size_t name_bytes = (size_t)(colon - text.data);
    struct sl_slice value = sl_slice(colon + 1, text.bytes - name_bytes - 1);
    if (value.bytes > 0 && value.data[0] == ' ')
        value = sl_slice(value.data + 1, value.bytes - 1);
    return field(sse, sl_slice(text.data, name_bytes), value); /* a comment has no name */
}

/* The end of the line at the start of bytes; NULL when it is not there yet. */
static const uint8_t *line_end(struct sl_slice bytes)
{
    const uint8_t *lf = memchr(bytes.data, '\n', bytes.bytes);
    const uint8_t *cr = memchr(bytes.data, '\r', lf ? (size_t)(lf - bytes.data) : bytes.bytes);
    return cr ? cr : lf;
}

int sse_push(struct sse *sse, struct sl_slice bytes)
{
    while (bytes.bytes > 0) {
        if (sse->after_cr && bytes.data[0] == '\n') { /* CR LF is one end */
            bytes = sl_slice(bytes.data + 1, bytes.bytes - 1);
            sse->after_cr = false;
            continue;
        }
        sse->after_cr = false;
        const uint8_t *end = line_end(bytes);
        if (!end)
            return text_add(&sse->line, bytes.data, bytes.bytes);
        size_t n = (size_t)(end - bytes.data);
        struct sl_slice text = sl_slice(bytes.data, n);
        int r = 0;
        if (sse->line.bytes > 0) {
            r = text_add(&sse->line, bytes.data, n);
            text = text_slice(&sse->line);
        }
        if (r == 0)
            r = line(sse, text);
        sse->line.bytes = 0;
        if (r != 0)
            return r;
        sse->after_cr = *end == '\r';
        bytes = sl_slice(end + 1, bytes.bytes - n - 1);
    }
    return 0;
}
