// SPDX-License-Identifier: Apache-2.0
#include "filter.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

struct filter {
    bool has_since;
    bool has_until;
    bool has_container;
    uint8_t streams;
    uint8_t container_bytes;
    int64_t since_ns;
    int64_t until_ns;
    size_t grep_bytes; /* 0: none, or folded: then it is a pattern */
    uint64_t searched;
    struct pattern *folded; /* grep with ignore_case */
    struct pattern *regex;
    uint8_t container[SL_ID_MAX_BYTES];
    uint8_t grep[QUERY_PATTERN_MAX_BYTES];
};

static int make_pattern(struct sl_slice source, bool literal, bool ignore_case, const char *parameter,
                        struct pattern **ret, struct problem *ret_problem)
{
    const char *why = NULL;
    int answer = literal ? pattern_new_literal(source, ignore_case, ret, &why)
                         : pattern_new(source, ignore_case, ret, &why);
    if (answer > 0) {
        problem_set(ret_problem, PROBLEM_INVALID_PARAMETER, parameter, "%s: %s", parameter, why);
        return FILTER_INVALID;
    }
    return answer;
}

int filter_new(const struct query *q, struct filter **ret, struct problem *ret_problem)
{
    assert(q->container.bytes <= SL_ID_MAX_BYTES && q->grep.bytes <= QUERY_PATTERN_MAX_BYTES &&
           q->regex.bytes <= QUERY_PATTERN_MAX_BYTES);
    struct filter *f = calloc(1, sizeof *f);
    if (!f)
        return -ENOMEM;
    f->has_since = q->has_since;
    f->since_ns = q->since_ns;
    f->has_until = q->has_until;
    f->until_ns = q->until_ns;
    f->streams = q->streams;
    f->has_container = q->has_container;
    f->container_bytes = (uint8_t)q->container.bytes;
    if (q->container.bytes)
        memcpy(f->container, q->container.data, q->container.bytes);
    int answer = 0;
    if (q->grep.bytes && q->ignore_case) {
        answer = make_pattern(q->grep, true, true, "grep", &f->folded, ret_problem);
    } else if (q->grep.bytes) {
        f->grep_bytes = q->grep.bytes;
        memcpy(f->grep, q->grep.data, q->grep.bytes);
    }
    if (!answer && q->regex.bytes)
        answer = make_pattern(q->regex, false, q->ignore_case, "regex", &f->regex, ret_problem);
    if (answer) {
        filter_free(f);
        return answer;
    }
    *ret = f;
    return 0;
}

void filter_free(struct filter *f)
{
    if (!f)
        return;
    pattern_free(f->folded);
    pattern_free(f->regex);
    free(f);
}

uint64_t filter_work(const struct filter *f)
{
    return f->searched / 8 + (f->folded ? pattern_work(f->folded) : 0) +
           (f->regex ? pattern_work(f->regex) : 0);
}

static struct sl_slice container_of(const struct filter *f)
{
    return sl_slice(f->container, f->container_bytes);
}

enum filter_verdict filter_block(const struct filter *f, const struct sl_record *record,
                                 const struct sl_block_header *header)
{
    if (header->lines == 0)
        return FILTER_NONE;
    bool all = f->streams == QUERY_BOTH && !f->grep_bytes && !f->folded && !f->regex;
    /* no line of it has a query time below `least` or above `most` */
    int64_t least = sl_query_time(record->floor_ns, header->time_min_ns, record->commit_ns);
    int64_t most = sl_query_ceiling(record, header);
    if (f->has_since && most < f->since_ns)
        return FILTER_NONE;
    if (f->has_until && least >= f->until_ns)
        return FILTER_NONE;
    all = all && (!f->has_since || least >= f->since_ns) && (!f->has_until || most < f->until_ns);
    if (f->has_container) {
        unsigned named = 0;
        for (unsigned i = 0; i < header->containers; i++)
            named += sl_slice_equal(sl_block_container(header, i), container_of(f));
        if (named == 0)
            return FILTER_NONE;
        all = all && named == header->containers;
    }
    return all ? FILTER_ALL : FILTER_SOME;
}

bool filter_past(const struct filter *f, int64_t query_ns)
{
    return f->has_until && query_ns >= f->until_ns;
}

int filter_line_some(struct filter *f, int64_t query_ns, uint8_t stream, struct sl_slice container,
                     struct sl_slice text, uint64_t work_max, struct filter_pause *pause)
{
    if (!(f->streams >> stream & 1) || (f->has_since && query_ns < f->since_ns) || filter_past(f, query_ns))
        return 0;
    if (f->has_container && !sl_slice_equal(container, container_of(f)))
        return 0;
    if (f->grep_bytes && !pause->grepped) {
        f->searched += text.bytes;
        if (text.bytes < f->grep_bytes || !memmem(text.data, text.bytes, f->grep, f->grep_bytes))
            return 0;
    }
    if (f->folded && !pause->grepped) {
        int answer = pattern_match_some(f->folded, text, work_max, &pause->pattern);
        if (answer != 1)
            return answer == PATTERN_LATER ? FILTER_LATER : 0;
        pause->pattern.at = 0;
    }
    pause->grepped = true;
    if (!f->regex)
        return 1;
    int answer = pattern_match_some(f->regex, text, work_max, &pause->pattern);
    return answer == PATTERN_LATER ? FILTER_LATER : answer;
}

bool filter_line(struct filter *f, int64_t query_ns, uint8_t stream, struct sl_slice container,
                 struct sl_slice text)
{
    struct filter_pause pause = {0};
    return filter_line_some(f, query_ns, stream, container, text, UINT64_MAX, &pause) == 1;
}
