// SPDX-License-Identifier: Apache-2.0
/*
 * Lines and gaps on their way from a reader to a merge of several: not rendered yet, because what they are
 * rendered as depends on the merge (a cursor that covers all members). In memory only, of this process, so
 * the bytes are structs and texts as they are. Pure.
 */
#pragma once
#include "buffer.h"
#include "render.h"

struct raw_item {
    bool is_gap;
    struct render_line line; /* texts are borrowed; `cursor` is empty */
    struct render_gap gap;
    size_t bytes; /* of the item: what to go on by */
};

void raw_line(struct buffer *out, const struct render_line *line);
void raw_gap(struct buffer *out, const struct render_gap *gap);
/* The first item of `bytes`, which raw_line() and raw_gap() wrote and which is not empty. */
void raw_read(struct sl_slice bytes, struct raw_item *ret);
