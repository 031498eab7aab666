// SPDX-License-Identifier: Apache-2.0
#include "kube.h"
#include "catalog.h"
#include "dialect.h"
#include "handlers.h"
#include "kube_json.h"
#include "kube_query.h"
#include "server.h"
#include "wire/timestamp.h"
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { ANSWER_MAX_BYTES = 64 << 20, NAMESPACES_MAX = 1000, LABEL_BYTES = 512 };

struct asking {
    struct connection *c;
    struct catalog catalog;
    int64_t now_ns;
    struct sl_slice labels; /* selectors, checked */
    struct sl_slice fields;
    bool table;
    bool found;
    bool refused; /* problem is set */
    struct problem problem;
    uint8_t label[LABEL_BYTES];
    struct buffer seen; /* names of namespaces, each behind its length */
    struct json json;
    struct buffer body;
};

/* ---- problems ---- */

static const char *reason_of(enum problem_code code)
{
    switch (problem_status(code)) {
    case 400:
        return "BadRequest";
    case 401:
        return "Unauthorized";
    case 403:
        return "Forbidden";
    case 404:
        return "NotFound";
    case 405:
        return "MethodNotAllowed";
    case 409:
        return "Conflict";
    case 410:
        return "Expired";
    case 413:
        return "RequestEntityTooLarge";
    case 429:
        return "TooManyRequests";
    case 503:
        return "ServiceUnavailable";
    default:
        return "InternalError";
    }
}

void kube_problem(struct connection *c, const struct problem *p, const char *headers)
{
    const struct dialect *d = c->dialect;
    struct buffer body;
    struct json j;
    char text[PROBLEM_DETAIL_BYTES + 64];
    bool pod = p->code == PROBLEM_SANDBOX_NOT_FOUND;
    bool space = pod && d->name.bytes == 0;
    struct sl_slice name = pod ? (space ? d->space : d->name) : sl_slice(NULL, 0);
    if (name.bytes > 253) /* no name is longer */
        name.bytes = 253;
    if (pod)
        snprintf(text, sizeof text, "%s \"%.*s\" not found", space ? "namespaces" : "pods", (int)name.bytes,
                 (const char *)name.data);
    else if (p->code == PROBLEM_NOT_FOUND)
        snprintf(text, sizeof text, "the server could not find the requested resource");
    else if (p->code == PROBLEM_METHOD_NOT_ALLOWED)
        snprintf(text, sizeof text, "the server does not allow this method on the requested resource");
    else
        snprintf(text, sizeof text, "%s", p->detail);
    buffer_init(&body, 0, 8 << 10);
    json_init(&j, &body);
    kube_render_status(&j, reason_of(p->code), problem_status(p->code), text, name,
                       space ? "namespaces" : "pods");
    buffer_append(&body, "\n", 1);
    connection_answer(c, problem_status(p->code), "application/json", buffer_slice(&body), headers);
    buffer_fini(&body);
}

static void answer_fault(struct asking *a, int fault)
{
    struct problem p;
    catalog_problem(a->c->server, fault, &p);
    connection_problem(a->c, &p, p.code == PROBLEM_BROKER_UNAVAILABLE ? "Retry-After: 1\r\n" : NULL);
}

static void answer_code(struct connection *c, enum problem_code code)
{
    struct problem p;
    problem_set(&p, code, NULL, "%s", problem_title(code));
    connection_problem(c, &p, NULL);
}

static void answer_body(struct asking *a)
{
    buffer_append(&a->body, "\n", 1);
    if (a->body.fault)
        answer_fault(a, -EMSGSIZE);
    else
        connection_answer(a->c, 200, "application/json", buffer_slice(&a->body), NULL);
}

static void asking_free(struct asking *a)
{
    catalog_cancel(&a->catalog);
    buffer_fini(&a->body);
    buffer_fini(&a->seen);
    free(a);
}

/* ---- one pod ---- */

/* Which container's lines the log is to be of. */
static void choose_container(struct asking *a, const struct sl_info *info)
{
    struct query *q = &a->c->dialect->query;
    struct sl_slice stored = {0}, wanted = q->container;
    unsigned count = kube_container_count(info);
    if (wanted.bytes == 0 && count > 1) {
        char names[128] = "";
        size_t at = 0;
        for (unsigned i = 0; i < count && at < sizeof names - 1; i++) {
            struct sl_slice name = kube_container(info, i);
            at += (size_t)snprintf(names + at, sizeof names - at, "%s%.*s", i ? " " : "", (int)name.bytes,
                                   (const char *)name.data);
        }
        a->refused = true;
        problem_set(&a->problem, PROBLEM_BAD_REQUEST, "container",
                    "a container name must be specified for pod %.*s, choose one of: [%s]",
                    (int)info->sandbox.bytes, (const char *)info->sandbox.data, names);
    } else if (wanted.bytes && !kube_container_find(info, wanted, &stored)) {
        a->refused = true;
        problem_set(&a->problem, PROBLEM_BAD_REQUEST, "container", "container %.*s is not valid for pod %.*s",
                    (int)(wanted.bytes < 100 ? wanted.bytes : 100), (const char *)wanted.data,
                    (int)info->sandbox.bytes, (const char *)info->sandbox.data);
    } else if (wanted.bytes && info->containers) {
        q->has_container = true;
        q->container = stored.bytes ? wanted : sl_slice(NULL, 0);
    }
}

static bool take_pod(void *arg, const struct sl_info *info)
{
    struct asking *a = arg;
    struct dialect *d = a->c->dialect;
    if (!sl_slice_equal(kube_namespace(info), d->space))
        return true;
    a->found = true;
    if (d->call == KUBE_LOG) {
        choose_container(a, info);
    } else if (a->table) {
        kube_table_open(&a->json);
        kube_table_row(&a->json, info, a->now_ns);
        kube_table_close(&a->json, sl_slice(NULL, 0));
    } else {
        kube_render_pod(&a->json, info, true);
    }
    return true;
}

/* The reader answers from here on, and it alone knows this connection then. */
static void hand_over(struct asking *a)
{
    struct connection *c = a->c;
    c->match.route = ROUTE_LOGS;
    c->match.id = c->dialect->name;
    c->handler = &logs_handler;
    c->user = NULL;
    asking_free(a);
    c->handler->start(c);
}

static void took_pod(void *arg, int fault, uint64_t next_page)
{
    struct asking *a = arg;
    (void)next_page;
    if (fault)
        answer_fault(a, fault);
    else if (!a->found)
        answer_code(a->c, PROBLEM_SANDBOX_NOT_FOUND);
    else if (a->refused)
        connection_problem(a->c, &a->problem, NULL);
    else if (a->c->dialect->call == KUBE_LOG)
        hand_over(a);
    else
        answer_body(a);
}

static void look(struct asking *a)
{
    if (!sl_sandbox_id_valid(a->c->dialect->name)) {
        answer_code(a->c, PROBLEM_SANDBOX_NOT_FOUND);
        return;
    }
    a->catalog.take = take_pod;
    a->catalog.done = took_pod;
    catalog_one(&a->catalog, a->c->dialect->name);
}

/* ---- lists ---- */

static bool label_value(const void *object, struct sl_slice key, struct sl_slice *ret)
{
    return catalog_label(object, key, ret);
}

static bool field_value(const void *object, struct sl_slice key, struct sl_slice *ret)
{
    return kube_field(object, key, ret);
}

static bool take_listed(void *arg, const struct sl_info *info)
{
    struct asking *a = arg;
    struct sl_slice space = a->c->dialect->space;
    bool match = false;
    if ((space.bytes && !sl_slice_equal(kube_namespace(info), space)) ||
        kube_select(a->labels, label_value, info, &match) != 0 || !match ||
        kube_select(a->fields, field_value, info, &match) != 0 || !match)
        return false;
    if (a->table)
        kube_table_row(&a->json, info, a->now_ns);
    else
        kube_render_pod(&a->json, info, false);
    return true;
}

static void took_list(void *arg, int fault, uint64_t next_page)
{
    struct asking *a = arg;
    char next[24] = "";
    if (fault) {
        answer_fault(a, fault);
        return;
    }
    if (next_page)
        snprintf(next, sizeof next, "%" PRIu64, next_page);
    if (a->table)
        kube_table_close(&a->json, sl_slice_of(next));
    else
        kube_list_close(&a->json, sl_slice_of(next));
    answer_body(a);
}

/* An object that has everything: selectors are read once before they are asked. */
static bool any_value(const void *object, struct sl_slice key, struct sl_slice *ret)
{
    (void)object;
    *ret = key;
    return true;
}

static bool known_field(const void *object, struct sl_slice key, struct sl_slice *ret)
{
    static const struct sl_info nothing = {0};
    bool *unknown = *(bool *const *)object;
    if (!kube_field(&nothing, key, ret))
        *unknown = true;
    return true;
}

/* labelSelector, fieldSelector, limit, continue. > 0 with *p. */
static int list_query(struct asking *a, struct problem *p)
{
    const struct request *r = a->c->request;
    const struct query_pair *labels = query_find(r->pairs, r->pair_count, "labelSelector");
    const struct query_pair *fields = query_find(r->pairs, r->pair_count, "fieldSelector");
    const struct query_pair *limit = query_find(r->pairs, r->pair_count, "limit");
    const struct query_pair *page = query_find(r->pairs, r->pair_count, "continue");
    bool match, unknown = false, *told = &unknown;
    a->labels = labels ? labels->value : sl_slice(NULL, 0);
    a->fields = fields ? fields->value : sl_slice(NULL, 0);
    if (kube_select(a->labels, any_value, NULL, &match) != 0) {
        problem_set(p, PROBLEM_INVALID_PARAMETER, "labelSelector", "unable to parse requirement: %.*s",
                    (int)(a->labels.bytes < 200 ? a->labels.bytes : 200), (const char *)a->labels.data);
        return 1;
    }
    if (kube_select(a->fields, known_field, &told, &match) != 0 || unknown) {
        problem_set(p, PROBLEM_INVALID_PARAMETER, "fieldSelector", "field label not supported: %.*s",
                    (int)(a->fields.bytes < 200 ? a->fields.bytes : 200), (const char *)a->fields.data);
        return 1;
    }
    if (limit && limit->value.bytes && query_u64(limit->value, &a->catalog.wanted) != 0) {
        problem_set(p, PROBLEM_INVALID_PARAMETER, "limit", "limit must be a whole number from 0");
        return 1;
    }
    if (page && page->value.bytes && query_u64(page->value, &a->catalog.list.page) != 0) {
        problem_set(p, PROBLEM_INVALID_PARAMETER, "continue", "continue key is not valid");
        return 1;
    }
    return 0;
}

static void list(struct asking *a)
{
    const struct request *r = a->c->request;
    struct sl_slice space = a->c->dialect->space;
    struct problem p;
    if (kube_bool(query_find(r->pairs, r->pair_count, "watch"))) {
        answer_code(a->c, PROBLEM_METHOD_NOT_ALLOWED);
        return;
    }
    if (list_query(a, &p) != 0) {
        connection_problem(a->c, &p, NULL);
        return;
    }
    /* A namespace is a label, but for the one that needs none: the broker can look for it. */
    if (space.bytes && space.bytes < LABEL_BYTES - 32 && !sl_slice_equal(space, sl_slice_of("default"))) {
        struct sl_writer w = sl_writer(a->label, sizeof a->label);
        sl_label_write(&w, sl_slice_of("namespace"), space);
        a->catalog.list.labels = 1;
        a->catalog.list.label_pairs = sl_slice(a->label, w.bytes);
    }
    a->catalog.resumable = true;
    a->catalog.take = take_listed;
    a->catalog.done = took_list;
    if (a->table)
        kube_table_open(&a->json);
    else
        kube_list_open(&a->json, "PodList");
    catalog_walk(&a->catalog);
}

/* ---- namespaces ---- */

static bool seen(struct asking *a, struct sl_slice name)
{
    struct sl_reader names = sl_reader(buffer_slice(&a->seen));
    while (sl_reader_left(&names))
        if (sl_slice_equal(sl_read_slice32(&names), name))
            return true;
    uint32_t bytes = (uint32_t)name.bytes;
    buffer_append(&a->seen, &bytes, sizeof bytes); /* little-endian, as everywhere */
    buffer_append_slice(&a->seen, name);
    return false;
}

static bool take_namespace(void *arg, const struct sl_info *info)
{
    struct asking *a = arg;
    struct sl_slice name = kube_namespace(info), wanted = a->c->dialect->space;
    if (wanted.bytes) {
        a->found = a->found || sl_slice_equal(name, wanted);
        return a->found;
    }
    if (seen(a, name))
        return false;
    kube_render_namespace(&a->json, name, false);
    return true;
}

static void took_namespaces(void *arg, int fault, uint64_t next_page)
{
    struct asking *a = arg;
    (void)next_page;
    if (fault) {
        answer_fault(a, fault);
        return;
    }
    if (a->c->dialect->space.bytes == 0)
        kube_list_close(&a->json, sl_slice(NULL, 0));
    else if (a->found)
        kube_render_namespace(&a->json, a->c->dialect->space, true);
    else {
        answer_code(a->c, PROBLEM_SANDBOX_NOT_FOUND);
        return;
    }
    answer_body(a);
}

static void namespaces(struct asking *a)
{
    a->catalog.take = take_namespace;
    a->catalog.done = took_namespaces;
    if (a->c->dialect->space.bytes) {
        a->catalog.wanted = 1;
        a->found = sl_slice_equal(a->c->dialect->space, sl_slice_of("default"));
    } else {
        a->catalog.wanted = NAMESPACES_MAX;
        kube_list_open(&a->json, "NamespaceList");
        seen(a, sl_slice_of("default"));
        kube_render_namespace(&a->json, sl_slice_of("default"), false);
    }
    catalog_walk(&a->catalog);
}

/* ---- start ---- */

static bool accepts(const struct request *r, const char *what)
{
    return r->accept.bytes && memmem(r->accept.data, r->accept.bytes, what, strlen(what));
}

static void answer_constant(struct connection *c, const char *text)
{
    connection_answer(c, 200, "application/json", sl_slice_of(text), NULL);
}

/* What can be answered without a broker; false: it can't. */
static bool answer_at_once(struct connection *c)
{
    struct dialect *d = c->dialect;
    const struct request *r = c->request;
    struct problem p;
    switch (d->call) {
    case KUBE_API:
        answer_constant(c, kube_api_versions);
        return true;
    case KUBE_APIS:
        answer_constant(c, kube_api_groups);
        return true;
    case KUBE_RESOURCES:
        answer_constant(c, kube_resources);
        return true;
    case DIALECT_UNKNOWN:
        answer_code(c, PROBLEM_NOT_FOUND);
        return true;
    case KUBE_LOG:
        break;
    default:
        return false;
    }
    if (kube_bool(query_find(r->pairs, r->pair_count, "previous"))) {
        problem_set(&p, PROBLEM_BAD_REQUEST, "previous",
                    "previous terminated container not found in pod \"%.*s\"",
                    (int)(d->name.bytes < 128 ? d->name.bytes : 128), (const char *)d->name.data);
        connection_problem(c, &p, NULL);
        return true;
    }
    if (kube_query(r->pairs, r->pair_count, sl_now_ns(), &d->query, &p) != 0) {
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
    a->table = accepts(c->request, "as=Table");
    a->catalog.server = c->server;
    a->catalog.grant = &c->grant;
    a->catalog.arg = a;
    buffer_init(&a->body, 0, ANSWER_MAX_BYTES);
    buffer_init(&a->seen, 0, ANSWER_MAX_BYTES);
    json_init(&a->json, &a->body);
    c->user = a;
    switch (c->dialect->call) {
    case KUBE_VERSION:
        kube_render_version(&a->json, accepts(c->request, "application/json"));
        answer_body(a);
        return;
    case KUBE_PODS:
        list(a);
        return;
    case KUBE_NAMESPACES:
    case KUBE_NAMESPACE:
        namespaces(a);
        return;
    default:
        look(a);
    }
}

static void gone(void *user)
{
    asking_free(user);
}

const struct handler kube_handler = {.start = start, .gone = gone};
