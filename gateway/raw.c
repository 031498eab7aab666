// SPDX-License-Identifier: Apache-2.0
#include "raw.h"
#include <assert.h>

struct raw_head {
    bool is_gap;
    struct render_line line;
    struct render_gap gap;
};

void raw_line(struct buffer *out, const struct render_line *line)
{
    struct raw_head head;
    memset(&head, 0, sizeof head);
    head.line = *line;
    head.line.text.data = head.line.container.data = NULL;
    if (!buffer_room(out, sizeof head + line->container.bytes + line->text.bytes))
        return;
    buffer_append(out, &head, sizeof head);
    buffer_append_slice(out, line->container);
    buffer_append_slice(out, line->text);
}

void raw_gap(struct buffer *out, const struct render_gap *gap)
{
    struct raw_head head;
    memset(&head, 0, sizeof head);
    head.is_gap = true;
    head.gap = *gap;
    buffer_append(out, &head, sizeof head);
}

void raw_read(struct sl_slice bytes, struct raw_item *ret)
{
    struct raw_head head;
    assert(bytes.bytes >= sizeof head);
    memcpy(&head, bytes.data, sizeof head);
    *ret = (struct raw_item){.is_gap = head.is_gap, .line = head.line, .gap = head.gap, .bytes = sizeof head};
    if (head.is_gap)
        return;
    const uint8_t *at = bytes.data + sizeof head;
    ret->bytes += head.line.container.bytes + head.line.text.bytes;
    assert(bytes.bytes >= ret->bytes);
    ret->line.container = sl_slice(at, head.line.container.bytes);
    ret->line.text = sl_slice(at + head.line.container.bytes, head.line.text.bytes);
}
