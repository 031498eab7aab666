// SPDX-License-Identifier: Apache-2.0
/*
 * Lines of an export, any bytes: decoded, learnt, and rendered as rows. A row is one line, and no text leaves
 * its quotes: outside of them stand only what the row itself is made of.
 */
#include "export_row.h"
#include "line_quick.h"

#include <assert.h>
#include <jansson.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void check_row(const char *row, size_t bytes)
{
    bool quoted = false;
    int depth = 0;
    assert(bytes > 0 && row[bytes - 1] == '\n');
    for (size_t i = 0; i + 1 < bytes; i++) {
        uint8_t c = (uint8_t)row[i];
        assert(c >= 0x20);
        if (quoted && c == '\\') {
            i++;
            assert(i + 1 < bytes && strchr("\"\\u", row[i]));
        } else if (c == '"') {
            quoted = !quoted;
        } else if (!quoted) {
            assert(strchr("{}[]:,-0123456789", c));
            depth += c == '{' || c == '[' ? 1 : c == '}' || c == ']' ? -1 : 0;
            assert(depth > 0 || i + 2 == bytes);
        }
    }
    assert(!quoted && depth == 0);
}

/* What is taken apart without jansson comes out as jansson has it. */
static void check_quick(struct sl_slice json)
{
    struct line quick, slow;
    if (line_quick(json, &quick) != 0)
        return;
    json_t *object = json_loadb((const char *)json.data, json.bytes, JSON_ALLOW_NUL, NULL);
    assert(json_is_object(object) && line_of_object(object, &slow) == LINE_OK);
    assert(quick.seq == slow.seq && quick.partial == slow.partial);
    assert(sl_slice_equal(quick.time, slow.time) && sl_slice_equal(quick.stream, slow.stream));
    assert(sl_slice_equal(quick.sandbox, slow.sandbox) && sl_slice_equal(quick.container, slow.container));
    assert(sl_slice_equal(quick.text, slow.text));
    line_fini(&quick);
    line_fini(&slow);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct export_lives *lives = export_lives_new();
    const uint8_t *end = data + bytes;
    while (data < end) {
        const uint8_t *newline = memchr(data, '\n', (size_t)(end - data));
        struct sl_slice json = sl_slice(data, (size_t)((newline ? newline : end) - data));
        struct export_item item;
        data = newline ? newline + 1 : end;
        check_quick(json);
        if (export_item_decode(json, &item) != LINE_OK)
            continue;
        assert(item.kind != EXPORT_CHECKPOINT || export_name_valid(item.checkpoint));
        if (item.kind == EXPORT_SANDBOX)
            assert(export_lives_learn(lives, &item) == 0);
        for (int form = ROW_NEW; item.kind == EXPORT_LINE && form <= ROW_OLD; form++) {
            char *row = NULL;
            size_t row_bytes = 0;
            FILE *out = open_memstream(&row, &row_bytes);
            row_render(out, (enum row_form)form, &item, export_lives_find(lives, item.sandbox));
            assert(fclose(out) == 0);
            check_row(row, row_bytes);
            free(row);
        }
        export_item_fini(&item);
    }
    export_lives_free(lives);
    return 0;
}
