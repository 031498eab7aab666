// SPDX-License-Identifier: Apache-2.0
#include "query.h"
#include "wire/sandbox_id.h"
#include "wire/timestamp.h"
#include <assert.h>
#include <stdio.h>

enum parameter {
    P_TAIL,
    P_SINCE,
    P_UNTIL,
    P_AFTER,
    P_BEFORE,
    P_FOLLOW,
    P_WAIT,
    P_DATA,
    P_TIMESTAMPS,
    P_STREAM,
    P_CONTAINER,
    P_GREP,
    P_REGEX,
    P_IGNORE_CASE,
    P_LIMIT,
    P_LIMIT_BYTES,
    P_FORMAT,
    P_GAPS,
    P_ACCESS_TOKEN,
    P_COUNT
};

static const struct alias {
    const char *name;
    enum parameter parameter;
} aliases[] = {
    {"tail", P_TAIL},
    {"tail_lines", P_TAIL},
    {"tailLines", P_TAIL},
    {"n", P_TAIL},
    {"since", P_SINCE},
    {"since_time", P_SINCE},
    {"sinceTime", P_SINCE},
    {"until", P_UNTIL},
    {"until_time", P_UNTIL},
    {"after", P_AFTER},
    {"cursor", P_AFTER},
    {"before", P_BEFORE},
    {"follow", P_FOLLOW},
    {"f", P_FOLLOW},
    {"wait", P_WAIT},
    {"data", P_DATA},
    {"timestamps", P_TIMESTAMPS},
    {"t", P_TIMESTAMPS},
    {"stream", P_STREAM},
    {"container", P_CONTAINER},
    {"grep", P_GREP},
    {"regex", P_REGEX},
    {"ignore_case", P_IGNORE_CASE},
    {"limit", P_LIMIT},
    {"limit_bytes", P_LIMIT_BYTES},
    {"format", P_FORMAT},
    {"gaps", P_GAPS},
    {"access_token", P_ACCESS_TOKEN},
};

static bool is(struct sl_slice s, const char *text)
{
    return sl_slice_equal(s, sl_slice_of(text));
}

int query_bool(const struct query_pair *pair, bool *ret)
{
    struct sl_slice v = pair->value;
    if (pair->bare || is(v, "1") || is(v, "true") || is(v, "True"))
        *ret = true;
    else if (v.bytes == 0 || is(v, "0") || is(v, "false"))
        *ret = false;
    else
        return QUERY_INVALID;
    return 0;
}

int query_u64(struct sl_slice text, uint64_t *ret)
{
    uint64_t v = 0;
    if (text.bytes == 0)
        return QUERY_INVALID;
    for (size_t i = 0; i < text.bytes; i++) {
        unsigned digit = (unsigned)text.data[i] - '0';
        if (digit > 9 || __builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, digit, &v))
            return QUERY_INVALID;
    }
    *ret = v;
    return 0;
}

const struct query_pair *query_find(const struct query_pair *pairs, size_t count, const char *name)
{
    for (size_t i = count; i-- > 0;)
        if (is(pairs[i].name, name))
            return &pairs[i];
    return NULL;
}

/* What was given, fit for a sentence: cut, and no control characters. */
struct shown {
    char text[72];
};
static struct shown show(struct sl_slice value)
{
    struct shown s = {""};
    size_t bytes = value.bytes < 48 ? value.bytes : 48;
    bool cut = bytes < value.bytes;
    /* a cut must not stand within a character */
    while (cut && bytes > 44 && (value.data[bytes] & 0xc0) == 0x80)
        bytes--;
    for (size_t i = 0; i < bytes; i++)
        s.text[i] = (char)(value.data[i] < 0x20 || value.data[i] == 0x7f ? '?' : value.data[i]);
    snprintf(s.text + bytes, sizeof s.text - bytes, "%s", cut ? "..." : "");
    return s;
}

static int invalid(struct problem *p, const struct query_pair *pair, const char *what)
{
    struct shown name = show(pair->name), value = show(pair->value);
    problem_set(p, PROBLEM_INVALID_PARAMETER, name.text, "%s %s, not \"%s\"", name.text, what, value.text);
    return QUERY_INVALID;
}

/*
 * `since=2026-02-20T14:30:00+02:00`, typed without %2B, arrives with a space before the offset; nothing else
 * has a space six bytes before its end.
 */
int query_time(struct sl_slice text, int64_t now_ns, int64_t *ret)
{
    /* two centuries from now, and as many before: farther than any line, and room to reckon with */
    static const int64_t far_ns = INT64_C(200) * 365 * 86400 * SL_NS_PER_S;
    uint8_t copy[64];
    if (text.bytes > 16 && text.bytes <= sizeof copy && text.data[text.bytes - 6] == ' ') {
        memcpy(copy, text.data, text.bytes);
        copy[text.bytes - 6] = '+';
        text = sl_slice(copy, text.bytes);
    }
    int answer = sl_time_parse_user(text, now_ns, ret);
    /* Dates that 64 bits don't hold; 0001-01-01T00:00:00Z is what Go's clients send for "no time". */
    if (answer == SL_TIME_OUT_OF_RANGE && text.bytes > 4 && text.data[4] == '-') {
        *ret = text.data[0] < '2' ? -far_ns : far_ns;
        answer = SL_TIME_OK;
    }
    return answer;
}

/* An age ends in its unit, other times in a digit or Z. */
static bool is_age(struct sl_slice time)
{
    return memchr("smhdw", time.data[time.bytes - 1], 5) != NULL;
}

static const char *const time_rule =
    "must be a time such as 2026-02-20T14:30:00Z, Unix seconds, or an age such as 10m";
static const char *const bool_rule = "must be 1, true, 0 or false";

static int take_bool(const struct query_pair *pair, bool *ret, struct problem *p)
{
    return query_bool(pair, ret) == 0 ? 0 : invalid(p, pair, bool_rule);
}

static int take_pattern(const struct query_pair *pair, struct sl_slice *ret, struct problem *p)
{
    if (pair->value.bytes > QUERY_PATTERN_MAX_BYTES) {
        struct shown name = show(pair->name);
        problem_set(p, PROBLEM_INVALID_PARAMETER, name.text, "%s must be at most %d bytes long, not %zu",
                    name.text, QUERY_PATTERN_MAX_BYTES, pair->value.bytes);
        return QUERY_INVALID;
    }
    *ret = pair->value;
    return 0;
}

static int take_word(const struct query_pair *pair, const char *const words[3], const char *rule,
                     uint8_t *ret, struct problem *p)
{
    for (uint8_t i = 0; i < 3 && words[i]; i++)
        if (is(pair->value, words[i])) {
            *ret = i;
            return 0;
        }
    return invalid(p, pair, rule);
}

/* One parameter, its value not empty unless it is a boolean. */
static int take(struct query *q, enum parameter parameter, const struct query_pair *pair, int64_t now_ns,
                struct problem *p)
{
    static const char *const data_words[3] = {"text", "json"};
    static const char *const stream_words[3] = {"stdout", "stderr", "both"};
    static const char *const format_words[3] = {"text", "ndjson", "sse"};
    struct sl_slice value = pair->value;
    uint8_t word = 0;
    int answer = 0;
    switch (parameter) {
    case P_TAIL:
        q->has_tail = !is(value, "all");
        if (q->has_tail && query_u64(value, &q->tail) != 0)
            return invalid(p, pair, "must be a whole number from 0 or `all`");
        return 0;
    case P_SINCE:
        q->has_since = true;
        return query_time(value, now_ns, &q->since_ns) == 0 ? 0 : invalid(p, pair, time_rule);
    case P_UNTIL:
        q->has_until = true;
        return query_time(value, now_ns, &q->until_ns) == 0 ? 0 : invalid(p, pair, time_rule);
    case P_AFTER:
        q->after = value;
        q->after_name = is(pair->name, "cursor") ? "cursor" : "after";
        return 0;
    case P_BEFORE:
        q->before = value;
        return 0;
    case P_FOLLOW:
        return take_bool(pair, &q->follow, p);
    case P_WAIT:
        return sl_duration_parse(value, &q->wait_ns) == 0
                   ? 0
                   : invalid(p, pair, "must be a length of time such as 30s, or seconds");
    case P_DATA:
        answer = take_word(pair, data_words, "must be `text` or `json`", &word, p);
        q->data_json = word == 1;
        return answer;
    case P_TIMESTAMPS:
        return take_bool(pair, &q->timestamps, p);
    case P_STREAM:
        answer = take_word(pair, stream_words, "must be `stdout`, `stderr` or `both`", &word, p);
        q->streams = (uint8_t)(word + 1); /* the words stand in the order of the mask */
        return answer;
    case P_CONTAINER:
        q->has_container = true;
        q->container = value;
        return sl_container_valid(value)
                   ? 0
                   : invalid(p, pair, "must be a container's name: 1 to 128 of A-Z a-z 0-9 . _ : -");
    case P_GREP:
        return take_pattern(pair, &q->grep, p);
    case P_REGEX:
        return take_pattern(pair, &q->regex, p);
    case P_IGNORE_CASE:
        return take_bool(pair, &q->ignore_case, p);
    case P_LIMIT:
        q->has_limit = true;
        return query_u64(value, &q->limit) == 0 ? 0 : invalid(p, pair, "must be a whole number from 0");
    case P_LIMIT_BYTES:
        q->has_limit_bytes = true;
        return query_u64(value, &q->limit_bytes) == 0 ? 0 : invalid(p, pair, "must be a whole number from 0");
    case P_FORMAT:
        return take_word(pair, format_words, "must be `text`, `ndjson` or `sse`", &q->format, p);
    case P_GAPS:
        return take_bool(pair, &q->gaps, p);
    case P_ACCESS_TOKEN:
        q->access_token = value;
        return 0;
    case P_COUNT:
        break;
    }
    assert(false && "a parameter without a case");
    return 0;
}

static bool is_switch(enum parameter parameter)
{
    return parameter == P_FOLLOW || parameter == P_TIMESTAMPS || parameter == P_IGNORE_CASE ||
           parameter == P_GAPS;
}

int query_parse(const struct query_input *input, struct query *ret, struct problem *ret_problem)
{
    const struct query_pair *last[P_COUNT] = {NULL};
    for (size_t i = 0; i < input->count; i++)
        for (size_t k = 0; k < sizeof aliases / sizeof aliases[0]; k++)
            if (is(input->pairs[i].name, aliases[k].name))
                last[aliases[k].parameter] = &input->pairs[i];

    struct query q = {.streams = QUERY_BOTH};
    bool has_format = false;
    for (enum parameter parameter = 0; parameter < P_COUNT; parameter++) {
        const struct query_pair *pair = last[parameter];
        if (!pair || (pair->value.bytes == 0 && !is_switch(parameter)))
            continue;
        int answer = take(&q, parameter, pair, input->now_ns, ret_problem);
        if (answer)
            return answer;
        if (parameter == P_FORMAT)
            has_format = true;
    }
    if (input->websocket)
        q.follow = true;
    if (!q.follow)
        q.wait_ns = 0;
    if (input->last_event_id.bytes) {
        q.after = input->last_event_id;
        q.after_name = "Last-Event-ID";
        q.resumes = true;
        /* An EventSource comes back to the URL it began with. What tail and an age cut off was cut off then;
         * taken again they would cut off what came while it was away. */
        q.has_tail = false;
        q.has_since = q.has_since && !is_age(last[P_SINCE]->value);
    }
    uint8_t accepted = query_accept(input->accept, q.follow, &q.accepts_sse);
    if (input->websocket)
        q.format = QUERY_NDJSON;
    else if (!has_format)
        q.format = accepted;
    *ret = q;
    return 0;
}
