// SPDX-License-Identifier: Apache-2.0
#include "entry.h"
#include "wire/timestamp.h"

int cri_parse(struct sl_slice record, struct entry *ret)
{
    int64_t time_ns;
    size_t at;
    if (sl_time_parse_rfc3339(record, &time_ns, &at) != 0)
        return ENTRY_MALFORMED;
    const uint8_t *p = record.data;
    /* " stdout F" is the least that can follow */
    if (record.bytes - at < 9 || p[at] != ' ' || p[at + 7] != ' ')
        return ENTRY_MALFORMED;
    uint8_t stream;
    if (memcmp(p + at + 1, "stdout", 6) == 0)
        stream = SL_STDOUT;
    else if (memcmp(p + at + 1, "stderr", 6) == 0)
        stream = SL_STDERR;
    else
        return ENTRY_MALFORMED;
    uint8_t tag = p[at + 8];
    if (tag != 'F' && tag != 'P')
        return ENTRY_MALFORMED;
    at += 9;
    if (at < record.bytes && p[at] == ':') {
        const uint8_t *blank = memchr(p + at, ' ', record.bytes - at);
        at = blank ? (size_t)(blank - p) : record.bytes;
    }
    if (at < record.bytes && p[at++] != ' ')
        return ENTRY_MALFORMED;
    ret->time_ns = time_ns;
    ret->stream = stream;
    ret->whole = tag == 'F';
    ret->text = sl_slice(p + at, record.bytes - at);
    return 0;
}
