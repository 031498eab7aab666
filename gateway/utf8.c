// SPDX-License-Identifier: Apache-2.0
#include "utf8.h"

size_t utf8_prefix(struct sl_slice text)
{
    if (text.bytes == 0)
        return 0;
    const uint8_t *at = text.data, *end = text.data + text.bytes;
    while (at < end) {
        while (end - at >= 8 && !(sl_load64(at) & UINT64_C(0x8080808080808080)))
            at += 8;
        if (at == end)
            break;
        int bytes = utf8_sequence(at, end);
        if (bytes < 0)
            break;
        at += bytes;
    }
    return (size_t)(at - text.data);
}

void utf8_append(struct buffer *out, struct sl_slice text)
{
    while (text.bytes) {
        size_t good = utf8_prefix(text);
        buffer_append(out, text.data, good);
        text = sl_slice(text.data + good, text.bytes - good);
        if (text.bytes == 0)
            return;
        size_t bad = (size_t)-utf8_sequence(text.data, text.data + text.bytes);
        buffer_append(out, "\xef\xbf\xbd", 3);
        text = sl_slice(text.data + bad, text.bytes - bad);
    }
}
