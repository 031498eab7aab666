// SPDX-License-Identifier: Apache-2.0
#include "line_quick.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

/* -1 for bytes that are not of the alphabet */
static int base64_value(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* RFC 4648, padded. out: text.bytes / 4 * 3 bytes. > 0: malformed. */
static int base64_decode(struct sl_slice text, uint8_t *out, size_t *ret_bytes)
{
    if (text.bytes % 4 != 0)
        return 1;
    size_t n = 0;
    for (size_t i = 0; i < text.bytes; i += 4) {
        bool last = i + 4 == text.bytes;
        size_t pad = !last ? 0 : text.data[i + 3] != '=' ? 0 : text.data[i + 2] != '=' ? 1 : 2;
        uint32_t bits = 0;
        for (size_t k = 0; k < 4; k++) {
            int v = k >= 4 - pad ? 0 : base64_value(text.data[i + k]);
            if (v < 0)
                return 1;
            bits = bits << 6 | (uint32_t)v;
        }
        for (size_t k = 0; k < 3 - pad; k++)
            out[n++] = (uint8_t)(bits >> (16 - 8 * k));
    }
    *ret_bytes = n;
    return 0;
}

/* NULL: not a JSON object. */
static json_t *load(struct sl_slice json)
{
    json_t *object = json_loadb((const char *)json.data, json.bytes, JSON_ALLOW_NUL, NULL);
    if (object && !json_is_object(object)) {
        json_decref(object);
        return NULL;
    }
    return object;
}

static struct sl_slice text_of(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    if (!json_is_string(value))
        return sl_slice(NULL, 0);
    return sl_slice(json_string_value(value), json_string_length(value));
}

int line_of_object(json_t *object, struct line *ret)
{
    struct line line = {
        .seq = (uint64_t)json_integer_value(json_object_get(object, "seq")),
        .time = text_of(object, "time"),
        .stream = text_of(object, "stream"),
        .sandbox = text_of(object, "sandbox"),
        .container = text_of(object, "container"),
        .text = text_of(object, "line"),
        .partial = json_is_true(json_object_get(object, "partial")),
        .object = object,
    };
    if (!json_is_string(json_object_get(object, "line"))) {
        json_decref(object);
        return LINE_MALFORMED;
    }
    const json_t *raw = json_object_get(object, "raw");
    if (raw) {
        struct sl_slice text = text_of(object, "raw");
        size_t bytes = 0;
        line.raw = malloc(text.bytes + 1);
        if (!line.raw) {
            json_decref(object);
            return -ENOMEM;
        }
        if (!json_is_string(raw) || base64_decode(text, line.raw, &bytes) != 0) {
            line_fini(&line);
            return LINE_MALFORMED;
        }
        line.text = sl_slice(line.raw, bytes);
    }
    *ret = line;
    return LINE_OK;
}

int line_decode(struct sl_slice json, struct line *ret)
{
    int r = line_quick(json, ret);
    if (r != LINE_QUICK_NOT)
        return r;
    json_t *object = load(json);
    return object ? line_of_object(object, ret) : LINE_MALFORMED;
}

void line_fini(struct line *line)
{
    free(line->raw);
    json_decref(line->object);
    *line = (struct line){0};
}

static void copy_text(const json_t *object, const char *name, char *out, size_t capacity)
{
    struct sl_slice text = text_of(object, name);
    snprintf(out, capacity, "%.*s", text.bytes < capacity ? (int)text.bytes : (int)capacity,
             text.data ? (const char *)text.data : "");
}

static int64_t integer_of(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    return json_is_integer(value) ? json_integer_value(value) : -1;
}

int gap_decode(struct sl_slice json, struct gap *ret)
{
    json_t *object = load(json);
    if (!object)
        return LINE_MALFORMED;
    ret->lines = integer_of(object, "lines");
    copy_text(object, "reason", ret->reason, sizeof ret->reason);
    json_decref(object);
    return LINE_OK;
}

int end_decode(struct sl_slice json, struct end *ret)
{
    json_t *object = load(json);
    if (!object)
        return LINE_MALFORMED;
    ret->exit_code = integer_of(object, "exit_code");
    copy_text(object, "reason", ret->reason, sizeof ret->reason);
    json_decref(object);
    return LINE_OK;
}

int problem_decode(struct sl_slice json, struct problem *ret)
{
    json_t *object = load(json);
    if (!object)
        return LINE_MALFORMED;
    char type[200];
    copy_text(object, "type", type, sizeof type);
    const char *slash = strrchr(type, '/'), *colon = strrchr(type, ':');
    const char *code = slash > colon ? slash + 1 : colon ? colon + 1 : type;
    snprintf(ret->code, sizeof ret->code, "%.*s", (int)sizeof ret->code - 1, code);
    copy_text(object, "detail", ret->detail, sizeof ret->detail);
    if (!ret->detail[0])
        copy_text(object, "title", ret->detail, sizeof ret->detail);
    json_decref(object);
    return LINE_OK;
}
