// SPDX-License-Identifier: Apache-2.0
#include "export_item.h"
#include "line_quick.h"

#include <errno.h>
#include <jansson.h>

static struct sl_slice text_of(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    return json_is_string(value) ? sl_slice(json_string_value(value), json_string_length(value))
                                 : sl_slice(NULL, 0);
}

bool export_is_checkpoint(struct sl_slice json)
{
    static const char head[] = "{\"checkpoint\"";
    return json.bytes >= sizeof head - 1 && memcmp(json.data, head, sizeof head - 1) == 0;
}

bool export_name_valid(struct sl_slice text)
{
    if (text.bytes == 0 || text.bytes > EXPORT_CHECKPOINT_MAX_BYTES ||
        sl_slice_equal(text, sl_slice_of(".")) || sl_slice_equal(text, sl_slice_of("..")))
        return false;
    for (size_t i = 0; i < text.bytes; i++) {
        uint8_t c = text.data[i];
        if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' ||
              c == '_' || c == '-'))
            return false;
    }
    return true;
}

static int take_line(struct export_item *item)
{
    size_t used;
    item->kind = EXPORT_LINE;
    item->sandbox = item->line.sandbox;
    if (item->sandbox.bytes == 0 || item->line.seq == 0 ||
        sl_time_parse_rfc3339(item->line.time, &item->time_ns, &used) != 0 || used != item->line.time.bytes) {
        line_fini(&item->line);
        return LINE_MALFORMED;
    }
    return LINE_OK;
}

static int decode_event(const json_t *object, struct export_item *item)
{
    struct sl_slice event = text_of(object, "event");
    item->sandbox = text_of(object, "sandbox");
    if (sl_slice_equal(event, sl_slice_of("gap"))) {
        const json_t *lines = json_object_get(object, "lines");
        item->kind = EXPORT_GAP;
        item->missing = json_is_integer(lines) ? json_integer_value(lines) : -1;
        return item->sandbox.bytes > 0 ? LINE_OK : LINE_MALFORMED;
    }
    if (sl_slice_equal(event, sl_slice_of("sandbox"))) {
        item->kind = EXPORT_SANDBOX;
        item->life = text_of(object, "life");
        item->host = text_of(object, "host");
        item->labels = json_object_get(object, "labels");
        if (!json_is_object(item->labels))
            item->labels = NULL;
        return item->sandbox.bytes > 0 && item->life.bytes > 0 ? LINE_OK : LINE_MALFORMED;
    }
    return LINE_OK;
}

int export_item_decode(struct sl_slice json, struct export_item *ret)
{
    struct export_item item = {.json = json};
    if (json.bytes == 0 || (json.bytes == 1 && json.data[0] == '\r')) {
        *ret = item;
        return LINE_OK;
    }
    int r = line_quick(json, &item.line);
    json_t *object = NULL;
    if (r == LINE_QUICK_NOT) {
        object = json_loadb((const char *)json.data, json.bytes, JSON_ALLOW_NUL, NULL);
        if (!json_is_object(object)) {
            json_decref(object);
            return LINE_MALFORMED;
        }
        if (json_object_get(object, "line")) {
            r = line_of_object(object, &item.line); /* takes it */
            object = NULL;
        }
    }
    if (!object) {
        if (r == 0)
            r = take_line(&item);
        if (r == 0)
            *ret = item;
        return r;
    }
    item.object = object;
    if (json_object_get(object, "checkpoint")) {
        item.kind = EXPORT_CHECKPOINT;
        item.checkpoint = text_of(object, "checkpoint");
        /* it becomes a file's name: what the server promises is not taken on trust */
        r = export_name_valid(item.checkpoint) ? LINE_OK : LINE_MALFORMED;
    } else {
        r = decode_event(object, &item);
    }
    if (r == LINE_OK)
        *ret = item;
    else
        json_decref(object);
    return r;
}

void export_item_fini(struct export_item *item)
{
    if (item->kind == EXPORT_LINE)
        line_fini(&item->line);
    json_decref(item->object);
    *item = (struct export_item){0};
}
