// SPDX-License-Identifier: Apache-2.0
/*
 * UTF-8 as the WHATWG Encoding Standard decodes it: no overlong forms, no surrogates, nothing above U+10FFFF;
 * every maximal subpart of an ill-formed sequence is one U+FFFD (Unicode 15, 3.9, table 3-8). Pure, any
 * thread.
 */
#pragma once
#include "buffer.h"

/* Bytes of the longest prefix that is well-formed; == text.bytes when all of it is. */
size_t utf8_prefix(struct sl_slice text);
static inline bool utf8_valid(struct sl_slice text)
{
    return utf8_prefix(text) == text.bytes;
}
/*
 * Of text that begins with an ill-formed sequence (utf8_prefix() == 0, text not empty): how many bytes the
 * one U+FFFD stands for, 1 to 3.
 */
size_t utf8_bad_bytes(struct sl_slice text);
/* The text with U+FFFD for what is ill-formed. */
void utf8_append(struct buffer *out, struct sl_slice text);
