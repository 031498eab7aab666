// SPDX-License-Identifier: Apache-2.0
/*
 * /healthz, /readyz, /metrics, /status, /openapi.yaml (API.md 5): for operators.
 */
#include "feed.h"
#include "handlers.h"
#include "openapi.h"
#include "options.h"
#include "server.h"
#include "wire/timestamp.h"
#include <stdio.h>
#include <stdlib.h>

enum { FOLLOWERS_SHOWN_MAX = 200 };

static void answer_text(struct connection *c, unsigned status, const char *text)
{
    connection_answer(c, status, "text/plain; charset=utf-8", sl_slice_of(text), NULL);
}

static void answer_ready(struct connection *c)
{
    char text[256];
    const char *missing = c->server->stop_ns ? "shutting down" : upstream_missing(c->server->upstream);
    snprintf(text, sizeof text, "%s\n", missing ? missing : "ready");
    answer_text(c, missing ? 503 : 200, text);
}

static void answer_metrics(struct connection *c)
{
    char *text = sl_metrics_render(c->server->counts.metrics);
    if (text)
        connection_answer(c, 200, "text/plain; version=0.0.4; charset=utf-8", sl_slice_of(text), NULL);
    else
        connection_abort(c);
    free(text);
}

struct follower_line {
    const struct connection *c;
    struct follower_report report;
};

static int most_behind_first(const void *a, const void *b)
{
    const struct follower_line *x = a, *y = b;
    return (y->report.lag_lines > x->report.lag_lines) - (y->report.lag_lines < x->report.lag_lines);
}

static void seconds_member(struct json *j, const char *key, int64_t ns)
{
    json_key(j, key);
    json_u64(j, (uint64_t)(ns > 0 ? ns / SL_NS_PER_S : 0));
}

/* Those that are most behind. No address and no token: who reads is not told. */
static void follower_members(struct json *j, const struct server *s)
{
    struct follower_line *lines = calloc(s->follower_count ? s->follower_count : 1, sizeof *lines);
    const struct connection *c;
    size_t count = 0;
    int64_t now_ns = sl_monotonic_ns();
    LIST_FOREACH(c, &s->connections, all)
    if (lines && c->follows && count < s->follower_count) {
        lines[count].c = c;
        if (c->handler->report && c->user)
            c->handler->report(c->user, &lines[count].report);
        count++;
    }
    if (count)
        qsort(lines, count, sizeof *lines, most_behind_first);
    json_array_open(j);
    for (size_t i = 0; i < count && i < FOLLOWERS_SHOWN_MAX; i++) {
        const struct follower_report *r = &lines[i].report;
        c = lines[i].c;
        json_object_open(j);
        json_key(j, "sandbox");
        if (c->match.id.bytes)
            json_slice(j, c->match.id);
        else
            json_none(j); /* several */
        json_key(j, "format");
        json_text(j, r->format ? r->format : "export"); /* whose lag is in /v1/export */
        seconds_member(j, "for_seconds", now_ns - c->started_ns);
        json_key(j, "sent_bytes");
        json_u64(j, c->bytes_sent);
        json_key(j, "lag_lines");
        if (r->format)
            json_u64(j, r->lag_lines);
        else
            json_none(j);
        if (r->format) {
            seconds_member(j, "lag_seconds", r->lag_ns);
        } else {
            json_key(j, "lag_seconds");
            json_none(j);
        }
        json_object_close(j);
    }
    json_array_close(j);
    free(lines);
}

static void answer_status(struct connection *c)
{
    struct buffer out;
    struct json j;
    const struct server *s = c->server;
    char *configuration = sl_options_json(&options_program);
    buffer_init(&out, 0, 1 << 20);
    json_init(&j, &out);
    json_object_open(&j);
    json_key(&j, "daemon");
    json_text(&j, "gateway");
    json_key(&j, "version");
    json_text(&j, SL_VERSION);
    seconds_member(&j, "uptime_seconds", sl_monotonic_ns() - s->started_ns);
    json_key(&j, "broker");
    json_text(&j, upstream_missing(s->upstream) ? upstream_missing(s->upstream) : "connected");
    json_key(&j, "connections");
    json_u64(&j, s->connection_count);
    json_key(&j, "follower_count");
    json_u64(&j, s->follower_count);
    json_key(&j, "feeds");
    json_u64(&j, feeds_count(s->feeds));
    json_key(&j, "followers");
    follower_members(&j, s);
    json_key(&j, "configuration");
    json_whole(&j, configuration ? configuration : "{}");
    json_object_close(&j);
    if (out.fault)
        connection_abort(c);
    else
        connection_answer(c, 200, "application/json", buffer_slice(&out), NULL);
    buffer_fini(&out);
    free(configuration);
}

static void start(struct connection *c)
{
    switch (c->match.route) {
    case ROUTE_OPENAPI:
        connection_answer(c, 200, "application/yaml", openapi_bytes(), NULL);
        return;
    case ROUTE_READYZ:
        answer_ready(c);
        return;
    case ROUTE_METRICS:
        answer_metrics(c);
        return;
    case ROUTE_STATUS:
        answer_status(c);
        return;
    default:
        answer_text(c, 200, "ok\n");
    }
}

const struct handler operations_handler = {.start = start};
