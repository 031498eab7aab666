// SPDX-License-Identifier: Apache-2.0
#include "docker_query.h"
#include "catalog.h"
#include "wire/timestamp.h"
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>

bool docker_bool(const struct query_pair *pair)
{
    static const char *const no[] = {"0", "no", "false", "none"};
    if (!pair || pair->value.bytes == 0)
        return false;
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        if (pair->value.bytes == strlen(no[i]) &&
            strncasecmp((const char *)pair->value.data, no[i], pair->value.bytes) == 0)
            return false;
    return true;
}

static bool word(const struct query_pair *pair, const char *text)
{
    return sl_slice_equal(pair->value, sl_slice_of(text));
}

/* "" and "0" mean no bound. */
static int take_time(const struct query_pair *pair, const char *name, int64_t now_ns, bool *ret_has,
                     int64_t *ret_ns, struct problem *p)
{
    if (!pair || pair->value.bytes == 0 || word(pair, "0"))
        return 0;
    if (query_time(pair->value, now_ns, ret_ns) != 0) {
        problem_set(p, PROBLEM_INVALID_PARAMETER, name,
                    "invalid value for \"%s\": it must be Unix seconds, RFC 3339, or an age such as 10m",
                    name);
        return QUERY_INVALID;
    }
    *ret_has = true;
    return 0;
}

int docker_query(const struct query_pair *pairs, size_t count, int64_t now_ns, struct query *ret,
                 struct problem *ret_problem)
{
    const struct query_pair *tail = query_find(pairs, count, "tail");
    struct query q = {.format = QUERY_TEXT, .framed = true};
    if (docker_bool(query_find(pairs, count, "stdout")))
        q.streams |= QUERY_STDOUT;
    if (docker_bool(query_find(pairs, count, "stderr")))
        q.streams |= QUERY_STDERR;
    if (q.streams == 0) {
        problem_set(ret_problem, PROBLEM_INVALID_PARAMETER, "stdout",
                    "Bad parameters: you must choose at least one stream");
        return QUERY_INVALID;
    }
    q.follow = docker_bool(query_find(pairs, count, "follow"));
    q.timestamps = docker_bool(query_find(pairs, count, "timestamps"));
    q.gaps = docker_bool(query_find(pairs, count, "details"));
    /* dockerd takes whatever is no number, and numbers below zero, as "all". */
    q.has_tail = tail && query_u64(tail->value, &q.tail) == 0;
    int answer =
        take_time(query_find(pairs, count, "since"), "since", now_ns, &q.has_since, &q.since_ns, ret_problem);
    if (answer == 0)
        answer = take_time(query_find(pairs, count, "until"), "until", now_ns, &q.has_until, &q.until_ns,
                           ret_problem);
    if (answer)
        return answer;
    /* dockerd's until includes the very nanosecond, ours does not. */
    if (q.has_until && q.until_ns < INT64_MAX)
        q.until_ns++;
    *ret = q;
    return 0;
}

/* ---- filters ---- */

static int invalid(struct problem *p, const char *key, const char *value)
{
    problem_set(p, PROBLEM_INVALID_PARAMETER, "filters", "invalid filter '%.60s%s%.60s'", key,
                value ? "=" : "", value ? value : "");
    return QUERY_INVALID;
}

static int take_pattern(struct pattern *patterns[DOCKER_PATTERNS_MAX], size_t *count, const char *key,
                        const char *value, struct problem *p)
{
    const char *why;
    if (*count == DOCKER_PATTERNS_MAX)
        return invalid(p, key, "more than 16 values");
    int answer = pattern_new(sl_slice_of(value), false, &patterns[*count], &why);
    if (answer < 0)
        return answer;
    if (answer > 0)
        return invalid(p, key, value);
    ++*count;
    return 0;
}

static int take_status(struct docker_filters *f, const char *value, struct problem *p)
{
    static const char *const known[] = {"created", "restarting", "running", "removing",
                                        "paused",  "exited",     "dead"};
    bool found = false;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        found = found || strcmp(value, known[i]) == 0;
    if (!found)
        return invalid(p, "status", value);
    f->by_status = true;
    f->running = f->running || strcmp(value, "running") == 0;
    f->exited = f->exited || strcmp(value, "exited") == 0;
    return 0;
}

static int take_label(struct docker_filters *f, const char *value, struct problem *p)
{
    const char *equals = strchr(value, '=');
    size_t key = equals ? (size_t)(equals - value) : strlen(value);
    struct sl_slice right = equals ? sl_slice_of(equals + 1) : sl_slice(value, 0);
    if (key == 0 || key > SL_LABEL_KEY_MAX_BYTES || right.bytes > SL_LABEL_VALUE_MAX_BYTES ||
        f->labels == SL_LABELS_MAX)
        return invalid(p, "label", value);
    size_t more = 1 + key + 2 + right.bytes;
    uint8_t *pairs = realloc(f->label_pairs, f->label_bytes + more);
    if (!pairs)
        return -ENOMEM;
    struct sl_writer w = sl_writer(pairs + f->label_bytes, more);
    sl_label_write(&w, sl_slice(value, key), right);
    f->label_pairs = pairs;
    f->label_bytes += more;
    f->labels++;
    return 0;
}

static int take(struct docker_filters *f, const char *key, const char *value, struct problem *p)
{
    uint64_t code;
    if (strcmp(key, "name") == 0)
        return take_pattern(f->names, &f->name_count, key, value, p);
    if (strcmp(key, "id") == 0)
        return take_pattern(f->ids, &f->id_count, key, value, p);
    if (strcmp(key, "status") == 0)
        return take_status(f, value, p);
    if (strcmp(key, "label") == 0)
        return take_label(f, value, p);
    if (strcmp(key, "exited") != 0 || query_u64(sl_slice_of(value), &code) != 0 || code > INT32_MAX)
        return invalid(p, key, value);
    f->by_code = true;
    f->code = (int32_t)code;
    return 0;
}

static int take_values(struct docker_filters *f, const char *key, json_t *values, struct problem *p)
{
    const char *value;
    json_t *item;
    size_t index;
    int answer = 0;
    if (json_is_array(values)) {
        json_array_foreach(values, index, item)
        {
            if (!answer)
                answer =
                    json_is_string(item) ? take(f, key, json_string_value(item), p) : invalid(p, key, NULL);
        }
        return answer;
    }
    if (!json_is_object(values))
        return invalid(p, key, NULL);
    json_object_foreach(values, value, item)
    {
        if (!answer && json_is_true(item))
            answer = take(f, key, value, p);
    }
    return answer;
}

int docker_filters_parse(struct sl_slice text, struct docker_filters *ret, struct problem *ret_problem)
{
    struct docker_filters f = {0};
    const char *key;
    json_t *values;
    int answer = 0;
    *ret = f;
    if (text.bytes == 0)
        return 0;
    json_t *root = json_loadb((const char *)text.data, text.bytes, 0, NULL);
    if (!json_is_object(root)) {
        json_decref(root);
        problem_set(ret_problem, PROBLEM_INVALID_PARAMETER, "filters", "invalid filter: not a JSON object");
        return QUERY_INVALID;
    }
    json_object_foreach(root, key, values)
    {
        if (!answer)
            answer = take_values(&f, key, values, ret_problem);
    }
    json_decref(root);
    if (answer)
        docker_filters_fini(&f);
    else
        *ret = f;
    return answer;
}

void docker_filters_fini(struct docker_filters *f)
{
    for (size_t i = 0; i < f->name_count; i++)
        pattern_free(f->names[i]);
    for (size_t i = 0; i < f->id_count; i++)
        pattern_free(f->ids[i]);
    free(f->label_pairs);
    *f = (struct docker_filters){0};
}

struct sl_slice docker_name(const struct sl_info *info)
{
    struct sl_slice name;
    return catalog_label(info, sl_slice_of("name"), &name) && name.bytes ? name : info->sandbox;
}

/* Docker matches a name with and without the slash in front, so that ^/x$ and ^x$ both mean it. */
static bool match_name(const struct docker_filters *f, struct sl_slice name)
{
    uint8_t slashed[1 + SL_LABEL_VALUE_MAX_BYTES] = "/";
    memcpy(slashed + 1, name.data, name.bytes);
    for (size_t i = 0; i < f->name_count; i++)
        if (pattern_match(f->names[i], name) || pattern_match(f->names[i], sl_slice(slashed, name.bytes + 1)))
            return true;
    return f->name_count == 0;
}

static bool match_id(const struct docker_filters *f, struct sl_slice id)
{
    for (size_t i = 0; i < f->id_count; i++)
        if (pattern_match(f->ids[i], id))
            return true;
    return f->id_count == 0;
}

static bool match_labels(const struct docker_filters *f, const struct sl_info *info)
{
    struct sl_reader pairs = sl_reader(sl_slice(f->label_pairs, f->label_bytes));
    struct sl_slice key, value, have;
    while (sl_label_next(&pairs, &key, &value))
        if (!catalog_label(info, key, &have) || (value.bytes && !sl_slice_equal(have, value)))
            return false;
    return true;
}

bool docker_filters_match(const struct docker_filters *f, const struct sl_info *info)
{
    bool stopped = info->place.state == SL_STOPPED;
    int32_t code = info->place.has_exit ? info->place.exit_code : 0;
    if (f->by_status && !(stopped ? f->exited : f->running))
        return false;
    if (f->by_code && !(stopped && code == f->code))
        return false;
    return match_labels(f, info) && match_id(f, info->sandbox) && match_name(f, docker_name(info));
}
