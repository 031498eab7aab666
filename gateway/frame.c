// SPDX-License-Identifier: Apache-2.0
#include "frame.h"

enum { CONTINUATION = 0, BINARY = 2, CLOSE = 8, PONG = 10, CONTROL_MAX_BYTES = 125, MASK_BYTES = 4 };

void frame_begin(struct frame *f)
{
    *f = (struct frame){0};
}

static unsigned head_wanted(const struct frame *f)
{
    unsigned length = f->head_bytes < 2 ? 0 : f->head[1] & 0x7f;
    return length == 126 ? 4 : length == 127 ? 10 : 2;
}

/* The head is there. */
static int take_head(struct frame *f)
{
    unsigned opcode = f->head[0] & 0x0f, form = f->head[1] & 0x7f;
    bool final = f->head[0] & 0x80, control = opcode & 8;
    uint64_t length = form < 126 ? form : 0;
    for (unsigned i = 2; i < f->head_bytes; i++)
        length = length << 8 | f->head[i];
    if (f->head[0] & 0x70 || !(f->head[1] & 0x80) || opcode > PONG || (opcode > BINARY && opcode < CLOSE))
        return FRAME_PROTOCOL;
    if (control && (!final || length > CONTROL_MAX_BYTES || (opcode == CLOSE && length == 1)))
        return FRAME_PROTOCOL;
    if ((form == 126 && length < 126) || (form == 127 && length <= UINT16_MAX))
        return FRAME_PROTOCOL; /* 5.2: in the fewest bytes */
    if (!control && (opcode == CONTINUATION) != f->in_message)
        return FRAME_PROTOCOL;
    if (length > FRAME_MAX_BYTES)
        return FRAME_TOO_BIG;
    if (!control)
        f->in_message = !final;
    f->left = MASK_BYTES + length;
    f->head_bytes = 0;
    return 0;
}

int frame_scan(struct frame *f, struct sl_slice bytes, size_t *ret_good)
{
    size_t at = 0;
    *ret_good = 0;
    while (at < bytes.bytes) {
        if (f->left) {
            size_t step = bytes.bytes - at < f->left ? bytes.bytes - at : (size_t)f->left;
            f->left -= step;
            at += step;
            *ret_good = at;
            continue;
        }
        f->head[f->head_bytes++] = bytes.data[at++];
        if (f->head_bytes < head_wanted(f) || f->head_bytes < 2)
            continue;
        int code = take_head(f);
        if (code)
            return code;
        *ret_good = at;
    }
    *ret_good = bytes.bytes;
    return 0;
}
