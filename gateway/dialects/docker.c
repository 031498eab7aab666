// SPDX-License-Identifier: Apache-2.0
#include "docker.h"
#include "catalog.h"
#include "dialect.h"
#include "docker_json.h"
#include "docker_query.h"
#include "handlers.h"
#include "server.h"
#include "wire/timestamp.h"
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { ANSWER_MAX_BYTES = 64 << 20 };

/* By what a container is looked for: in Docker's order. */
enum step { STEP_ID, STEP_NAME, STEP_PREFIX, STEP_NONE };

struct asking {
    struct connection *c;
    struct catalog catalog;
    enum step step;
    struct docker_filters filters;
    struct docker_totals totals;
    int64_t now_ns;
    uint8_t label[2 + 8 + SL_ID_MAX_BYTES];
    struct sl_slice id; /* found: c->dialect->id */
    struct json json;
    struct buffer body;
};

void docker_problem(struct connection *c, const struct problem *p, const char *headers)
{
    struct buffer body;
    struct json j;
    char text[PROBLEM_DETAIL_BYTES + 64];
    struct sl_slice name = c->dialect->name;
    if (p->code == PROBLEM_SANDBOX_NOT_FOUND)
        snprintf(text, sizeof text, "No such container: %.*s", (int)(name.bytes < 256 ? name.bytes : 256),
                 (const char *)name.data);
    else if (p->code == PROBLEM_NOT_FOUND)
        snprintf(text, sizeof text, "page not found");
    else if (p->code == PROBLEM_METHOD_NOT_ALLOWED)
        snprintf(text, sizeof text, "this server keeps logs: it can be read from, and nothing else");
    else
        snprintf(text, sizeof text, "%s", p->detail);
    buffer_init(&body, 0, 8 << 10);
    json_init(&j, &body);
    json_object_open(&j);
    json_key(&j, "message");
    json_text(&j, text);
    json_object_close(&j);
    buffer_append(&body, "\n", 1);
    connection_answer(c, problem_status(p->code), "application/json", buffer_slice(&body), headers);
    buffer_fini(&body);
}

/* ---- answers ---- */

static void answer_body(struct asking *a)
{
    struct problem p;
    buffer_append(&a->body, "\n", 1);
    if (a->body.fault) {
        catalog_problem(a->c->server, -EMSGSIZE, &p);
        connection_problem(a->c, &p, NULL);
        return;
    }
    connection_answer(a->c, 200, "application/json", buffer_slice(&a->body), NULL);
}

static void answer_ping(struct connection *c)
{
    connection_answer(c, 200, "text/plain; charset=utf-8", sl_slice_of("OK"),
                      "Api-Version: 1.50\r\nDocker-Experimental: false\r\nOstype: linux\r\n"
                      "Pragma: no-cache\r\n");
}

static void answer_fault(struct asking *a, int fault)
{
    struct problem p;
    catalog_problem(a->c->server, fault, &p);
    connection_problem(a->c, &p, p.code == PROBLEM_BROKER_UNAVAILABLE ? "Retry-After: 1\r\n" : NULL);
}

static void answer_unknown(struct asking *a)
{
    struct problem p;
    problem_set(&p, PROBLEM_SANDBOX_NOT_FOUND, NULL, "there is no such container");
    connection_problem(a->c, &p, NULL);
}

static void answer_no_page(struct connection *c)
{
    struct problem p;
    problem_set(&p, PROBLEM_NOT_FOUND, NULL, "there is nothing at this path");
    connection_problem(c, &p, NULL);
}

static void asking_free(struct asking *a)
{
    catalog_cancel(&a->catalog);
    docker_filters_fini(&a->filters);
    buffer_fini(&a->body);
    free(a);
}

/* ---- one container ---- */

static void look(struct asking *a);

static bool take_one(void *arg, const struct sl_info *info)
{
    struct asking *a = arg;
    if (a->id.bytes) /* a second one: only a prefix can mean two */
        return true;
    memcpy(a->c->dialect->id, info->sandbox.data, info->sandbox.bytes);
    a->id = sl_slice(a->c->dialect->id, info->sandbox.bytes);
    if (a->c->dialect->call == DOCKER_INSPECT)
        docker_render_inspected(&a->json, info);
    return true;
}

/* The reader answers from here on, and it alone knows this connection then. */
static void hand_over(struct asking *a)
{
    struct connection *c = a->c;
    c->match.route = ROUTE_LOGS;
    c->match.id = a->id;
    c->handler = &logs_handler;
    c->user = NULL;
    asking_free(a);
    c->handler->start(c);
}

static void took_one(void *arg, int fault, uint64_t next_page)
{
    struct asking *a = arg;
    struct problem p;
    (void)next_page;
    if (fault) {
        answer_fault(a, fault);
    } else if (a->catalog.taken > 1) {
        problem_set(&p, PROBLEM_INVALID_PARAMETER, NULL, "multiple IDs found with provided prefix: %.*s",
                    (int)a->c->dialect->name.bytes, (const char *)a->c->dialect->name.data);
        connection_problem(a->c, &p, NULL);
    } else if (a->catalog.taken == 0) {
        a->step++;
        look(a);
    } else if (a->c->dialect->call == DOCKER_LOGS) {
        hand_over(a);
    } else {
        answer_body(a);
    }
}

static void look(struct asking *a)
{
    struct sl_slice name = a->c->dialect->name;
    struct sl_writer label = sl_writer(a->label, sizeof a->label);
    if (!sl_sandbox_id_valid(name))
        a->step = STEP_NONE;
    a->catalog.list = (struct sl_list){0};
    a->catalog.take = take_one;
    a->catalog.done = took_one;
    switch (a->step) {
    case STEP_ID:
        catalog_one(&a->catalog, name);
        return;
    case STEP_NAME:
        sl_label_write(&label, sl_slice_of("name"), name);
        assert(!label.failed);
        a->catalog.list.labels = 1;
        a->catalog.list.label_pairs = sl_slice(a->label, label.bytes);
        a->catalog.wanted = 1; /* the newest of this name */
        a->catalog.resumable = true;
        catalog_walk(&a->catalog);
        return;
    case STEP_PREFIX:
        a->catalog.list.prefix = name;
        a->catalog.wanted = 2;
        a->catalog.resumable = true;
        catalog_walk(&a->catalog);
        return;
    case STEP_NONE:
        answer_unknown(a);
    }
}

/* ---- all containers ---- */

static bool take_listed(void *arg, const struct sl_info *info)
{
    struct asking *a = arg;
    if (!docker_filters_match(&a->filters, info))
        return false;
    docker_render_listed(&a->json, info, a->now_ns);
    return true;
}

static void took_list(void *arg, int fault, uint64_t next_page)
{
    struct asking *a = arg;
    (void)next_page;
    if (fault) {
        answer_fault(a, fault);
        return;
    }
    json_array_close(&a->json);
    answer_body(a);
}

static void list(struct asking *a)
{
    const struct request *r = a->c->request;
    const struct query_pair *filters = query_find(r->pairs, r->pair_count, "filters");
    const struct query_pair *limit = query_find(r->pairs, r->pair_count, "limit");
    struct problem p;
    int answer = docker_filters_parse(filters ? filters->value : sl_slice(NULL, 0), &a->filters, &p);
    if (answer) {
        if (answer < 0)
            catalog_problem(a->c->server, answer, &p);
        connection_problem(a->c, &p, NULL);
        return;
    }
    /* A limit, or a status that is asked for, is about all containers, not only about running ones. */
    if (limit)
        (void)query_u64(limit->value, &a->catalog.wanted);
    if (!a->filters.by_status && !a->filters.by_code && a->catalog.wanted == 0 &&
        !docker_bool(query_find(r->pairs, r->pair_count, "all")))
        a->catalog.list.state = SL_RUNNING;
    a->catalog.take = take_listed;
    a->catalog.done = took_list;
    json_array_open(&a->json);
    catalog_walk(&a->catalog);
}

static bool take_counted(void *arg, const struct sl_info *info)
{
    struct asking *a = arg;
    if (info->place.state == SL_STOPPED)
        a->totals.stopped++;
    else
        a->totals.running++;
    return true;
}

static void took_counted(void *arg, int fault, uint64_t next_page)
{
    struct asking *a = arg;
    (void)next_page;
    if (fault) {
        answer_fault(a, fault);
        return;
    }
    docker_render_info(&a->json, &a->totals);
    answer_body(a);
}

/* ---- start ---- */

/* What can be answered without a broker; false: it can't. */
static bool answer_at_once(struct connection *c)
{
    struct dialect *d = c->dialect;
    const struct request *r = c->request;
    struct problem p;
    if (d->minor > DOCKER_API_MINOR || d->minor < DOCKER_API_MINOR_MIN) {
        problem_set(&p, PROBLEM_INVALID_PARAMETER, NULL,
                    d->minor > DOCKER_API_MINOR
                        ? "client version 1.%u is too new. Maximum supported API version is 1.%u"
                        : "client version 1.%u is too old. Minimum supported API version is 1.%u, please "
                          "upgrade your client to a newer version",
                    d->minor,
                    (unsigned)(d->minor > DOCKER_API_MINOR ? DOCKER_API_MINOR : DOCKER_API_MINOR_MIN));
        connection_problem(c, &p, NULL);
        return true;
    }
    if (d->call == DOCKER_PING) {
        answer_ping(c);
        return true;
    }
    if (d->call == DIALECT_UNKNOWN) {
        answer_no_page(c);
        return true;
    }
    if (d->call == DOCKER_LOGS && docker_query(r->pairs, r->pair_count, sl_now_ns(), &d->query, &p) != 0) {
        connection_problem(c, &p, NULL);
        return true;
    }
    return false;
}

static void start(struct connection *c)
{
    if (answer_at_once(c))
        return;
    struct asking *a = calloc(1, sizeof *a);
    if (!a) {
        connection_abort(c);
        return;
    }
    a->c = c;
    a->now_ns = sl_now_ns();
    a->catalog.server = c->server;
    a->catalog.grant = &c->grant;
    a->catalog.arg = a;
    buffer_init(&a->body, 0, ANSWER_MAX_BYTES);
    json_init(&a->json, &a->body);
    c->user = a;
    switch (c->dialect->call) {
    case DOCKER_VERSION:
        docker_render_version(&a->json);
        answer_body(a);
        return;
    case DOCKER_INFO:
        a->catalog.take = take_counted;
        a->catalog.done = took_counted;
        catalog_walk(&a->catalog);
        return;
    case DOCKER_LIST:
        list(a);
        return;
    default:
        look(a);
    }
}

static void gone(void *user)
{
    asking_free(user);
}

const struct handler docker_handler = {.start = start, .gone = gone};
