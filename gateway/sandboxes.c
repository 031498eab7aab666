// SPDX-License-Identifier: Apache-2.0
/*
 * GET /v1/sandboxes, and GET, PUT, DELETE of one (API.md 3): questions to the broker, answers as JSON.
 */
#include "change.h"
#include "cursor.h"
#include "handlers.h"
#include "label.h"
#include "options.h"
#include "server.h"
#include "wire/timestamp.h"
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { LIST_DEFAULT = 100 };

struct asking {
    struct connection *c;
    struct upstream_call *call;
};

/* ---- answers ---- */

static void label_map(struct json *j, const struct sl_info *info)
{
    struct sl_reader pairs = sl_reader(info->label_pairs);
    struct sl_slice key, value;
    json_key(j, "labels");
    json_object_open(j);
    while (sl_label_next(&pairs, &key, &value)) {
        json_key_slice(j, key);
        json_slice(j, value);
    }
    json_object_close(j);
}

static void container_list(struct json *j, const struct sl_info *info)
{
    struct sl_reader names = sl_reader(info->container_names);
    json_key(j, "containers");
    json_array_open(j);
    for (unsigned i = 0; i < info->containers; i++) {
        struct sl_slice name = sl_read_slice8(&names);
        if (name.bytes)
            json_slice(j, name);
    }
    json_array_close(j);
}

static void cursor_member(struct json *j, const char *key, const struct sl_info *info, uint64_t epoch,
                          uint64_t seq)
{
    char text[CURSOR_TEXT_BYTES];
    struct cursor cursor = cursor_of(info->sandbox, epoch, info->place.birth, seq);
    json_key(j, key);
    if (info->place.oldest_seq > info->place.last_seq)
        json_none(j);
    else
        json_slice(j, sl_slice(text, cursor_render(&cursor, text)));
}

static void time_member(struct json *j, const char *key, const struct sl_info *info, int64_t ns)
{
    json_key(j, key);
    if (info->lines == 0)
        json_none(j);
    else
        json_time(j, ns);
}

static void render_info(struct json *j, const struct sl_info *info, uint64_t epoch)
{
    const struct sl_place *place = &info->place;
    json_object_open(j);
    json_key(j, "id");
    json_slice(j, info->sandbox);
    json_key(j, "state");
    json_text(j, place->state == SL_STOPPED ? "stopped" : "running");
    json_key(j, "exit_code");
    if (place->has_exit)
        json_i64(j, place->exit_code);
    else
        json_none(j);
    json_key(j, "host");
    if (info->host.bytes)
        json_slice(j, info->host);
    else
        json_none(j);
    container_list(j, info);
    label_map(j, info);
    json_key(j, "created_time");
    json_time(j, info->created_ns);
    time_member(j, "first_time", info, info->first_time_ns);
    time_member(j, "last_time", info, info->last_time_ns);
    cursor_member(j, "first_cursor", info, epoch, place->oldest_seq);
    cursor_member(j, "last_cursor", info, epoch, place->last_seq);
    json_key(j, "lines");
    json_u64(j, info->lines);
    json_key(j, "bytes");
    json_u64(j, info->bytes);
    json_key(j, "lost");
    json_u64(j, place->lost);
    json_object_close(j);
}

static void answer_fault(struct connection *c, int fault)
{
    struct problem p;
    const char *missing = upstream_missing(c->server->upstream);
    if (fault == -EPROTO || fault == -ENOMEM || fault == -EMSGSIZE)
        problem_set(&p, PROBLEM_INTERNAL, NULL, "the broker's answer could not be used");
    else
        problem_set(&p, PROBLEM_BROKER_UNAVAILABLE, NULL, "%s",
                    missing ? missing : "the broker does not answer");
    connection_problem(c, &p, p.code == PROBLEM_BROKER_UNAVAILABLE ? "Retry-After: 1\r\n" : NULL);
}

static void answer_unknown(struct connection *c)
{
    struct problem p;
    problem_set(&p, PROBLEM_SANDBOX_NOT_FOUND, NULL, "there is no sandbox of this id");
    connection_problem(c, &p, NULL);
}

static void listed(void *arg, int fault, uint8_t status, struct sl_reader *body)
{
    struct asking *a = arg;
    struct connection *c = a->c;
    uint64_t epoch, page;
    a->call = NULL;
    if (!fault && (status != SL_STATUS_OK || sl_list_answer_open(body, &epoch, &page) != 0))
        fault = -EPROTO;
    if (fault) {
        answer_fault(c, fault);
        return;
    }
    struct buffer out;
    struct json j;
    struct sl_info info;
    buffer_init(&out, 0, 64 << 20);
    json_init(&j, &out);
    json_object_open(&j);
    json_key(&j, "sandboxes");
    json_array_open(&j);
    while (sl_info_next(body, &info))
        if (grant_covers(&c->grant, info.sandbox))
            render_info(&j, &info, epoch);
    json_array_close(&j);
    if (page) {
        char text[24];
        snprintf(text, sizeof text, "%" PRIx64, page);
        json_key(&j, "next_page");
        json_text(&j, text);
    }
    json_object_close(&j);
    if (out.fault || body->failed)
        answer_fault(c, -EPROTO);
    else
        connection_answer(c, 200, "application/json", buffer_slice(&out), NULL);
    buffer_fini(&out);
}

/* INFO and PUT. */
static void informed(void *arg, int fault, uint8_t status, struct sl_reader *body)
{
    struct asking *a = arg;
    struct connection *c = a->c;
    uint64_t epoch, page;
    struct sl_info info;
    a->call = NULL;
    if (!fault && status == SL_STATUS_NOT_FOUND) {
        answer_unknown(c);
        return;
    }
    if (!fault && (sl_list_answer_open(body, &epoch, &page) != 0 || !sl_info_next(body, &info)))
        fault = -EPROTO;
    if (fault) {
        answer_fault(c, fault);
        return;
    }
    struct buffer out;
    struct json j;
    buffer_init(&out, 0, 4 << 20);
    json_init(&j, &out);
    render_info(&j, &info, epoch);
    if (out.fault)
        answer_fault(c, -ENOMEM);
    else
        connection_answer(c, 200, "application/json", buffer_slice(&out), NULL);
    buffer_fini(&out);
}

static void erased(void *arg, int fault, uint8_t status, struct sl_reader *body)
{
    struct asking *a = arg;
    (void)body;
    a->call = NULL;
    if (fault)
        answer_fault(a->c, fault);
    else if (status == SL_STATUS_NOT_FOUND)
        answer_unknown(a->c);
    else
        connection_answer(a->c, 204, NULL, sl_slice(NULL, 0), NULL);
}

/* ---- questions ---- */

static void ask(struct asking *a, nng_msg *request, const struct sl_writer *w, upstream_done *done)
{
    assert(!w->failed);
    struct upstream *u = a->c->server->upstream;
    a->call = upstream_ask(u, request, w, upstream_patience_ms(u, options.broker_grace_ns), done, a);
    if (!a->call)
        answer_fault(a->c, -ENOMEM);
}

static bool message(struct asking *a, uint8_t type, size_t capacity, nng_msg **ret, struct sl_writer *w)
{
    if (sl_client_message_new(type, capacity, ret, w) == 0)
        return true;
    answer_fault(a->c, -ENOMEM);
    return false;
}

static void ask_one(struct asking *a, uint8_t type, upstream_done *done)
{
    nng_msg *request;
    struct sl_writer w;
    if (!message(a, type, 64 + SL_ID_MAX_BYTES, &request, &w))
        return;
    sl_id_write(&w, a->c->match.id);
    ask(a, request, &w, done);
}

static int hex(struct sl_slice text, uint64_t *ret)
{
    uint64_t v = 0;
    if (text.bytes == 0 || text.bytes > 16)
        return 1;
    for (size_t i = 0; i < text.bytes; i++) {
        uint8_t c = text.data[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            return 1;
        v = v << 4 | (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    *ret = v;
    return v == 0;
}

static int list_query(const struct request *r, struct sl_list *ret, struct sl_writer *pairs,
                      struct problem *p)
{
    const struct query_pair *state = query_find(r->pairs, r->pair_count, "state");
    const struct query_pair *prefix = query_find(r->pairs, r->pair_count, "prefix");
    const struct query_pair *limit = query_find(r->pairs, r->pair_count, "limit");
    const struct query_pair *page = query_find(r->pairs, r->pair_count, "page");
    uint64_t number;
    ret->limit = LIST_DEFAULT;
    if (state && state->value.bytes) {
        if (sl_slice_equal(state->value, sl_slice_of("running")))
            ret->state = SL_RUNNING;
        else if (sl_slice_equal(state->value, sl_slice_of("stopped")))
            ret->state = SL_STOPPED;
        else {
            problem_set(p, PROBLEM_INVALID_PARAMETER, "state", "state must be running or stopped");
            return 1;
        }
    }
    if (limit && limit->value.bytes) {
        if (query_u64(limit->value, &number) != 0 || number < 1 || number > SL_LIST_MAX) {
            problem_set(p, PROBLEM_INVALID_PARAMETER, "limit", "limit must be a whole number from 1 to %d",
                        SL_LIST_MAX);
            return 1;
        }
        ret->limit = (uint16_t)number;
    }
    if (page && page->value.bytes && hex(page->value, &ret->page) != 0) {
        problem_set(p, PROBLEM_INVALID_PARAMETER, "page", "page must be a next_page of an earlier answer");
        return 1;
    }
    if (prefix)
        ret->prefix = prefix->value;
    if (ret->prefix.bytes && !sl_sandbox_id_valid(ret->prefix) &&
        !sl_slice_equal(ret->prefix, sl_slice_of(".")) && !sl_slice_equal(ret->prefix, sl_slice_of(".."))) {
        problem_set(p, PROBLEM_INVALID_PARAMETER, "prefix", "prefix must be the beginning of a sandbox id");
        return 1;
    }
    return label_parse(r->pairs, r->pair_count, pairs, &ret->labels, p);
}

static void ask_list(struct asking *a)
{
    const struct request *r = a->c->request;
    struct problem p;
    struct sl_list list = {0};
    static uint8_t memory[CHANGE_PAIRS_BYTES]; /* home thread; used only here and below, within the call */
    struct sl_writer pairs = sl_writer(memory, sizeof memory);
    if (list_query(r, &list, &pairs, &p) != 0) {
        connection_problem(a->c, &p, NULL);
        return;
    }
    list.label_pairs = sl_slice(memory, pairs.bytes);
    nng_msg *request;
    struct sl_writer w;
    if (!message(a, SL_LIST, 512 + pairs.bytes, &request, &w))
        return;
    sl_list_encode(&w, &list);
    ask(a, request, &w, listed);
}

/* ---- PUT ---- */

static void ask_put(struct asking *a)
{
    struct connection *c = a->c;
    struct problem p;
    static uint8_t memory[CHANGE_PAIRS_BYTES];
    struct sl_writer pairs = sl_writer(memory, sizeof memory), w;
    struct sl_change change = {.sandbox = c->match.id};
    const char *member, *why;
    if (change_parse(buffer_slice(&c->body), &pairs, &change, &member, &why) != 0) {
        problem_set(&p, PROBLEM_INVALID_PARAMETER, member, "%s", why);
        connection_problem(c, &p, NULL);
        return;
    }
    nng_msg *request;
    if (!message(a, SL_PUT, 1024 + pairs.bytes, &request, &w))
        return;
    sl_change_encode(&w, &change);
    ask(a, request, &w, informed);
}

static void start(struct connection *c)
{
    struct asking *a = calloc(1, sizeof *a);
    if (!a) {
        connection_abort(c);
        return;
    }
    a->c = c;
    c->user = a;
    if (c->match.route == ROUTE_SANDBOXES)
        ask_list(a);
    else if (c->request->method == METHOD_PUT)
        ask_put(a);
    else if (c->request->method == METHOD_DELETE)
        ask_one(a, SL_DELETE, erased);
    else
        ask_one(a, SL_INFO, informed);
}

static void gone(void *user)
{
    struct asking *a = user;
    upstream_cancel(a->call);
    free(a);
}

const struct handler sandboxes_handler = {.start = start, .gone = gone};
