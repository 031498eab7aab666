// SPDX-License-Identifier: Apache-2.0
/*
 * Up to the first line feed a path; up to the second a query string; then a selector, which is also read as
 * Docker's filters. What is taken must be in its bounds; what is not must name a problem.
 */
#include "dialects/dialect.h"
#include "dialects/docker_query.h"
#include "dialects/kube_query.h"
#include <assert.h>
#include <stdlib.h>

static struct sl_slice cut_line(struct sl_slice *rest)
{
    const uint8_t *at = rest->bytes ? memchr(rest->data, '\n', rest->bytes) : NULL;
    struct sl_slice line = at ? sl_slice(rest->data, (size_t)(at - rest->data)) : *rest;
    *rest = at ? sl_slice(at + 1, rest->bytes - line.bytes - 1) : sl_slice(NULL, 0);
    return line;
}

static bool value_of(const void *object, struct sl_slice key, struct sl_slice *ret)
{
    (void)object;
    assert(key.bytes > 0);
    *ret = key;
    return key.bytes % 2;
}

static void check_query(int answer, const struct query *q, const struct problem *problem)
{
    if (answer == 0)
        assert(q->streams >= 1 && q->streams <= QUERY_BOTH && q->format == QUERY_TEXT);
    else
        assert(answer == QUERY_INVALID && problem->detail[0]);
}

static void check_filters(struct sl_slice text, struct sl_slice id)
{
    struct docker_filters filters;
    struct problem problem;
    struct sl_info info = {.sandbox = id, .place = {.state = SL_RUNNING}};
    int answer = docker_filters_parse(text, &filters, &problem);
    if (answer == 0) {
        docker_filters_match(&filters, &info);
        docker_filters_fini(&filters);
    } else {
        assert(answer == QUERY_INVALID && problem.detail[0]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static struct query_pair pairs[QUERY_PAIRS_MAX];
    struct sl_slice rest = sl_slice(data, bytes);
    struct sl_slice path = cut_line(&rest), raw = cut_line(&rest), selector = rest;
    uint8_t *scratch = malloc(raw.bytes + 1);
    assert(scratch);
    struct dialect d;
    struct problem problem;
    struct query q = {0};
    size_t count = 0;
    bool match;
    if (dialect_find(path, &d) != DIALECT_NONE)
        assert(d.name.bytes <= path.bytes && d.space.bytes <= path.bytes && dialect_content_type(&d));
    if (query_split(raw, scratch, pairs, &count, &problem) == 0) {
        int answer = docker_query(pairs, count, INT64_C(1771597800000000000), &q, &problem);
        check_query(answer, &q, &problem);
        answer = kube_query(pairs, count, INT64_C(1771597800000000000), &q, &problem);
        check_query(answer, &q, &problem);
    }
    int answer = kube_select(selector, value_of, NULL, &match);
    assert(answer == 0 || answer == KUBE_SELECTOR_INVALID);
    check_filters(selector, sl_slice(path.data, path.bytes < SL_ID_MAX_BYTES ? path.bytes : SL_ID_MAX_BYTES));
    free(scratch);
    return 0;
}
