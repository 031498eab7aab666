// SPDX-License-Identifier: Apache-2.0
/* A cursor or a cursor set. What is taken is rendered to the same text again: one place has one text. */
#include "cursor.h"
#include <assert.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static struct cursor set[CURSOR_SET_MAX];
    static char text[CURSOR_SET_TEXT_BYTES];
    struct cursor one;
    size_t count = 0;
    struct sl_slice in = sl_slice(data, bytes);
    if (cursor_parse(in, &one) == CURSOR_OK) {
        char again[CURSOR_TEXT_BYTES];
        assert(sl_slice_equal(in, sl_slice(again, cursor_render(&one, again))));
    }
    if (cursor_set_parse(in, set, &count) == CURSOR_OK) {
        assert(count <= CURSOR_SET_MAX);
        size_t written = cursor_set_render(set, count, text), again = 0;
        assert(written <= CURSOR_SET_TEXT_BYTES);
        assert(cursor_set_parse(sl_slice(text, written), set, &again) == CURSOR_OK && again == count);
        (void)cursor_set_find(set, count, sl_slice_of("box"));
    }
    return 0;
}
