// SPDX-License-Identifier: Apache-2.0
/*
 * A raw query string, then, each behind a line feed, Accept and Last-Event-ID. What is taken must be in its
 * bounds; what is not must name a problem whose body is one line of JSON.
 */
#include "query.h"
#include <assert.h>
#include <stdlib.h>

static struct sl_slice cut_line(struct sl_slice *rest)
{
    const uint8_t *at = rest->bytes ? memchr(rest->data, '\n', rest->bytes) : NULL;
    struct sl_slice line = at ? sl_slice(rest->data, (size_t)(at - rest->data)) : *rest;
    *rest = at ? sl_slice(at + 1, rest->bytes - line.bytes - 1) : sl_slice(NULL, 0);
    return line;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static struct query_pair pairs[QUERY_PAIRS_MAX];
    struct sl_slice rest = sl_slice(data, bytes);
    struct sl_slice raw = cut_line(&rest), accept = cut_line(&rest), id = cut_line(&rest);
    uint8_t *scratch = malloc(raw.bytes + 1); /* of its size, so that a byte too many is seen */
    assert(scratch);
    struct problem problem;
    struct query q;
    size_t count = 0;
    int answer = query_split(raw, scratch, pairs, &count, &problem);
    if (answer == 0) {
        struct query_input input = {.pairs = pairs,
                                    .count = count,
                                    .accept = accept,
                                    .last_event_id = id,
                                    .now_ns = INT64_C(1771597800000000000),
                                    .websocket = bytes % 2};
        answer = query_parse(&input, &q, &problem);
    }
    if (answer == 0) {
        assert(q.streams >= 1 && q.streams <= QUERY_BOTH && q.format <= QUERY_SSE && q.wait_ns >= 0);
        assert(q.grep.bytes <= QUERY_PATTERN_MAX_BYTES && q.regex.bytes <= QUERY_PATTERN_MAX_BYTES);
        assert(q.follow || q.wait_ns == 0);
    } else {
        assert(answer == QUERY_INVALID && problem_status(problem.code) >= 400 && problem.detail[0]);
        struct buffer out;
        buffer_init(&out, 0, 8192);
        problem_render(&problem, &out);
        assert(out.fault == 0 && !memchr(buffer_slice(&out).data, '\n', buffer_slice(&out).bytes));
        buffer_fini(&out);
    }
    free(scratch);
    return 0;
}
