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

static void answer_status(struct connection *c)
{
    struct buffer out;
    struct json j;
    const struct server *s = c->server;
    char *configuration = sl_options_render(&options_program);
    buffer_init(&out, 0, 1 << 20);
    json_init(&j, &out);
    json_object_open(&j);
    json_key(&j, "version");
    json_text(&j, SL_VERSION);
    json_key(&j, "broker");
    json_text(&j, upstream_missing(s->upstream) ? upstream_missing(s->upstream) : "connected");
    json_key(&j, "connections");
    json_u64(&j, s->connection_count);
    json_key(&j, "followers");
    json_u64(&j, s->follower_count);
    json_key(&j, "feeds");
    json_u64(&j, feeds_count(s->feeds));
    json_key(&j, "configuration");
    json_text(&j, configuration ? configuration : "");
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
        answer_text(c, 200, "alive\n");
    }
}

const struct handler operations_handler = {.start = start};
