// SPDX-License-Identifier: Apache-2.0
/*
 * UTF-8 as the WHATWG Encoding Standard decodes it: no overlong forms, no surrogates, nothing above U+10FFFF;
 * every maximal subpart of an ill-formed sequence is one U+FFFD (Unicode 15, 3.9, table 3-8). Pure, any
 * thread.
 */
#pragma once
#include "buffer.h"

/*
 * The sequence that begins at `at` (< end): its length, 1 to 4, when it is well-formed; else minus the number
 * of bytes, 1 to 3, that one U+FFFD stands for.
 */
static inline int utf8_sequence(const uint8_t *at, const uint8_t *end)
{
    size_t left = (size_t)(end - at);
    uint8_t lead = at[0], low = 0x80, high = 0xbf;
    if (lead < 0x80)
        return 1;
    if (lead < 0xc2 || lead > 0xf4)
        return -1;
    if (lead == 0xe0)
        low = 0xa0;
    else if (lead == 0xed)
        high = 0x9f;
    else if (lead == 0xf0)
        low = 0x90;
    else if (lead == 0xf4)
        high = 0x8f;
    if (left < 2 || at[1] < low || at[1] > high)
        return -1;
    if (lead < 0xe0)
        return 2;
    if (left < 3 || (at[2] & 0xc0) != 0x80)
        return -2;
    if (lead < 0xf0)
        return 3;
    return left < 4 || (at[3] & 0xc0) != 0x80 ? -3 : 4;
}

/* Bytes of the longest prefix that is well-formed; == text.bytes when all of it is. */
size_t utf8_prefix(struct sl_slice text);
static inline bool utf8_valid(struct sl_slice text)
{
    return utf8_prefix(text) == text.bytes;
}
/* The text with U+FFFD for what is ill-formed. */
void utf8_append(struct buffer *out, struct sl_slice text);
