// SPDX-License-Identifier: Apache-2.0
#include "kube_query.h"
#include "wire/timestamp.h"

static bool is(struct sl_slice s, const char *text)
{
    return sl_slice_equal(s, sl_slice_of(text));
}

bool kube_bool(const struct query_pair *pair)
{
    static const char off[] = "false";
    if (!pair || is(pair->value, "0"))
        return false;
    return pair->value.bytes != sizeof off - 1 ||
           strncasecmp((const char *)pair->value.data, off, sizeof off - 1) != 0;
}

static int invalid(struct problem *p, const char *name, const char *what)
{
    problem_set(p, PROBLEM_INVALID_PARAMETER, name, "%s: %s", name, what);
    return QUERY_INVALID;
}

/* A whole number of at least `least`; an empty value is as if it were not there. */
static int take_number(const struct query_pair *pairs, size_t count, const char *name, uint64_t least,
                       bool *ret_has, uint64_t *ret, struct problem *p)
{
    const struct query_pair *pair = query_find(pairs, count, name);
    if (!pair || pair->value.bytes == 0)
        return 0;
    if (query_u64(pair->value, ret) != 0 || *ret > INT64_MAX)
        return invalid(p, name,
                       least ? "must be a whole number greater than 0"
                             : "must be a whole number greater than or equal to 0");
    if (*ret < least)
        return invalid(p, name, "must be greater than 0");
    *ret_has = true;
    return 0;
}

static int take_since(const struct query_pair *pairs, size_t count, int64_t now_ns, struct query *q,
                      struct problem *p)
{
    const struct query_pair *time = query_find(pairs, count, "sinceTime");
    uint64_t seconds;
    bool has_seconds = false;
    int answer = take_number(pairs, count, "sinceSeconds", 1, &has_seconds, &seconds, p);
    if (answer)
        return answer;
    if (has_seconds) {
        int64_t age_ns;
        q->has_since = true;
        if (__builtin_mul_overflow((int64_t)seconds, SL_NS_PER_S, &age_ns) ||
            __builtin_sub_overflow(now_ns, age_ns, &q->since_ns))
            q->since_ns = INT64_MIN;
    }
    if (!time || time->value.bytes == 0)
        return 0;
    if (has_seconds)
        return invalid(p, "sinceTime", "at most one of `sinceTime` or `sinceSeconds` may be specified");
    if (time->value.bytes < 20 || time->value.data[10] != 'T' ||
        query_time(time->value, now_ns, &q->since_ns) != 0)
        return invalid(p, "sinceTime", "must be a time such as 2026-02-20T14:30:00Z");
    q->has_since = true;
    return 0;
}

int kube_query(const struct query_pair *pairs, size_t count, int64_t now_ns, struct query *ret,
               struct problem *ret_problem)
{
    const struct query_pair *container = query_find(pairs, count, "container");
    const struct query_pair *stream = query_find(pairs, count, "stream");
    struct query q = {.format = QUERY_TEXT, .streams = QUERY_BOTH, .limit_cuts = true};
    q.follow = kube_bool(query_find(pairs, count, "follow"));
    q.timestamps = kube_bool(query_find(pairs, count, "timestamps"));
    if (stream && is(stream->value, "Stdout"))
        q.streams = QUERY_STDOUT;
    else if (stream && is(stream->value, "Stderr"))
        q.streams = QUERY_STDERR;
    else if (stream && stream->value.bytes && !is(stream->value, "All"))
        return invalid(ret_problem, "stream", "must be All, Stdout or Stderr");
    int answer = take_number(pairs, count, "tailLines", 0, &q.has_tail, &q.tail, ret_problem);
    if (answer == 0)
        answer = take_number(pairs, count, "limitBytes", 1, &q.has_limit_bytes, &q.limit_bytes, ret_problem);
    if (answer == 0)
        answer = take_since(pairs, count, now_ns, &q, ret_problem);
    if (answer)
        return answer;
    if (container)
        q.container = container->value;
    *ret = q;
    return 0;
}

/* ---- selectors ---- */

struct scan {
    const uint8_t *at;
    const uint8_t *end;
};

static void skip(struct scan *s)
{
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\t'))
        s->at++;
}

static bool take(struct scan *s, const char *text)
{
    size_t bytes = strlen(text);
    skip(s);
    if ((size_t)(s->end - s->at) < bytes || memcmp(s->at, text, bytes) != 0)
        return false;
    s->at += bytes;
    return true;
}

static struct sl_slice take_word(struct scan *s)
{
    skip(s);
    const uint8_t *from = s->at;
    while (s->at < s->end && *s->at && !strchr(" \t,()=!", *s->at))
        s->at++;
    return sl_slice(from, (size_t)(s->at - from));
}

/* `(a,b)`: whether `have` is one of them. */
static bool take_set(struct scan *s, bool has, struct sl_slice have, bool *ret)
{
    *ret = false;
    if (!take(s, "("))
        return false;
    do {
        struct sl_slice word = take_word(s);
        *ret = *ret || (has && sl_slice_equal(word, have));
    } while (take(s, ","));
    return take(s, ")");
}

static bool take_requirement(struct scan *s, kube_value *value, const void *object, bool *ret)
{
    bool absent = take(s, "!"), in;
    struct sl_slice have = {0}, key = take_word(s);
    if (key.bytes == 0)
        return false;
    bool has = value(object, key, &have);
    if (absent) {
        *ret = !has;
    } else if (take(s, "==") || take(s, "=")) {
        struct sl_slice word = take_word(s);
        *ret = has && sl_slice_equal(word, have);
    } else if (take(s, "!=")) {
        struct sl_slice word = take_word(s);
        *ret = !has || !sl_slice_equal(word, have);
    } else if (take(s, "in ") || take(s, "in(")) {
        s->at -= s->at[-1] == '(';
        if (!take_set(s, has, have, ret))
            return false;
    } else if (take(s, "notin ") || take(s, "notin(")) {
        s->at -= s->at[-1] == '(';
        if (!take_set(s, has, have, &in))
            return false;
        *ret = !in;
    } else {
        *ret = has;
    }
    skip(s);
    return s->at == s->end || *s->at == ',';
}

int kube_select(struct sl_slice selector, kube_value *value, const void *object, bool *ret)
{
    bool all = true, one;
    if (selector.bytes == 0) {
        *ret = true;
        return 0;
    }
    struct scan s = {selector.data, selector.data + selector.bytes};
    skip(&s);
    while (s.at < s.end) {
        if (!take_requirement(&s, value, object, &one))
            return KUBE_SELECTOR_INVALID;
        all = all && one;
        if (s.at < s.end && (++s.at, skip(&s), s.at == s.end)) /* a comma at the end */
            return KUBE_SELECTOR_INVALID;
    }
    *ret = all;
    return 0;
}
