// SPDX-License-Identifier: Apache-2.0
/*
 * A pattern, a line feed, a text. First byte: grep or regex, ignore_case. Whatever the pattern, it is taken
 * or refused with a sentence, and the work stays within its bound; asked twice, it answers the same.
 */
#include "filter.h"
#include "pattern.h"
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes < 1)
        return 0;
    const uint8_t *source = data + 1, *feed = memchr(source, '\n', bytes - 1);
    size_t source_bytes = feed ? (size_t)(feed - source) : bytes - 1;
    struct sl_slice text = feed ? sl_slice(feed + 1, bytes - 2 - source_bytes) : sl_slice(NULL, 0);
    if (source_bytes > QUERY_PATTERN_MAX_BYTES)
        return 0;
    struct query q = {.streams = QUERY_BOTH, .ignore_case = data[0] & 2};
    *(data[0] & 1 ? &q.regex : &q.grep) = sl_slice(source, source_bytes);
    struct filter *f = NULL;
    struct problem problem;
    int answer = filter_new(&q, &f, &problem);
    if (answer) {
        assert(answer == FILTER_INVALID && problem.detail[0] && (data[0] & 1));
        return 0;
    }
    bool once = filter_line(f, 0, 0, sl_slice(NULL, 0), text);
    assert(filter_work(f) <= (text.bytes + 1) * (PATTERN_PROGRAM_MAX + 200));
    assert(filter_line(f, 0, 0, sl_slice(NULL, 0), text) == once);
    filter_free(f);
    return 0;
}
