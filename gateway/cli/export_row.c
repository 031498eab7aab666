// SPDX-License-Identifier: Apache-2.0
#include "export_row.h"

#include <jansson.h>

/* 2105-12-31T23:59:59Z: what old servers print of a later DateTime makes no sense (18.16) */
#define DATETIME_LAST_S INT64_C(4291747199)

static void add(FILE *out, const char *text)
{
    fputs_unlocked(text, out);
}

static void add_string(FILE *out, struct sl_slice text)
{
    putc_unlocked('"', out);
    size_t plain = 0;
    for (size_t i = 0; i < text.bytes; i++) {
        uint8_t c = text.data[i];
        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        fwrite_unlocked(text.data + plain, 1, i - plain, out);
        plain = i + 1;
        if (c < 0x20)
            fprintf(out, "\\u%04x", c);
        else
            fprintf(out, "\\%c", c);
    }
    if (plain < text.bytes)
        fwrite_unlocked(text.data + plain, 1, text.bytes - plain, out);
    putc_unlocked('"', out);
}

/* Always ten digits: a shorter number is taken for a year by servers that read dates too. */
static void add_time(FILE *out, enum row_form form, int64_t time_ns)
{
    if (form == ROW_NEW) {
        int64_t ns = time_ns < 0 ? 0 : time_ns;
        fprintf(out, "{\"Timestamp\":\"%010lld.%09lld\"", (long long)(ns / SL_NS_PER_S),
                (long long)(ns % SL_NS_PER_S));
        return;
    }
    int64_t s = time_ns < 0 ? 0 : time_ns / SL_NS_PER_S;
    s = s > DATETIME_LAST_S ? DATETIME_LAST_S : s;
    fprintf(out, "{\"Timestamp\":\"%010lld\",\"TimestampNs\":%lld", (long long)s, (long long)time_ns);
}

enum part { PAIRS, KEYS, VALUES };

static void add_attribute(FILE *out, enum part part, struct sl_slice key, struct sl_slice value, bool *first)
{
    if (!*first)
        putc_unlocked(',', out);
    *first = false;
    if (part != VALUES)
        add_string(out, key);
    if (part == PAIRS)
        putc_unlocked(':', out);
    if (part != KEYS)
        add_string(out, value);
}

static void add_attributes(FILE *out, enum part part, const struct export_life *life)
{
    bool first = true;
    if (!life)
        return;
    if (life->host.bytes > 0)
        add_attribute(out, part, sl_slice_of("host.name"), life->host, &first);
    const char *key;
    json_t *value;
    json_t *labels = (json_t *)(uintptr_t)life->labels; /* iterated, not changed */
    json_object_foreach(labels, key, value)
    {
        if (json_is_string(value))
            add_attribute(out, part, sl_slice_of(key),
                          sl_slice(json_string_value(value), json_string_length(value)), &first);
    }
}

void row_render(FILE *out, enum row_form form, const struct export_item *item, const struct export_life *life)
{
    const struct line *line = &item->line;
    add_time(out, form, item->time_ns);
    add(out, ",\"ServiceName\":");
    add_string(out, item->sandbox);
    add(out, ",\"Life\":");
    add_string(out, life ? life->life : sl_slice(NULL, 0));
    add(out, ",\"Body\":");
    add_string(out, line->text);
    if (form == ROW_NEW) {
        add(out, ",\"ResourceAttributes\":{");
        add_attributes(out, PAIRS, life);
        putc_unlocked('}', out);
    } else {
        add(out, ",\"ResourceAttributes.Key\":[");
        add_attributes(out, KEYS, life);
        add(out, "],\"ResourceAttributes.Value\":[");
        add_attributes(out, VALUES, life);
        putc_unlocked(']', out);
    }
    fprintf(out, ",\"Seq\":%llu,\"Stream\":", (unsigned long long)line->seq);
    add_string(out, line->stream);
    add(out, ",\"Container\":");
    add_string(out, line->container);
    add(out, line->partial ? ",\"Partial\":1}\n" : ",\"Partial\":0}\n");
}
