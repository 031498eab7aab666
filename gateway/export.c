// SPDX-License-Identifier: Apache-2.0
#include "export.h"
#include "handlers.h"
#include "options.h"
#include "server.h"
#include "wire/timestamp.h"
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>

struct asking {
    struct connection *c;
    struct upstream_call *call;
};

/* ---- shared ---- */

void export_refuse(struct connection *c, int fault, uint8_t status)
{
    struct problem p;
    const char *missing = upstream_missing(c->server->upstream), *headers = NULL;
    if (fault == -EPROTO || fault == -ENOMEM || fault == -EMSGSIZE) {
        problem_set(&p, PROBLEM_INTERNAL, NULL, "the broker's answer could not be used");
    } else if (fault) {
        problem_set(&p, PROBLEM_BROKER_UNAVAILABLE, NULL, "%s",
                    missing ? missing : "the broker does not answer");
        headers = "Retry-After: 1\r\n";
    } else if (status == SL_STATUS_BUSY) {
        problem_set(&p, PROBLEM_CONSUMER_BUSY, NULL,
                    "somebody else reads this consumer now; or did until a moment ago");
        headers = "Retry-After: 2\r\n";
    } else if (status == SL_STATUS_FOREIGN) {
        problem_set(&p, PROBLEM_CURSOR_EXPIRED, "checkpoint", "this checkpoint is of another store");
    } else if (status == SL_STATUS_BAD_CHECKPOINT) {
        problem_set(&p, PROBLEM_INVALID_PARAMETER, "checkpoint", "this is not a checkpoint of the export");
    } else if (status == SL_STATUS_TOO_MANY) {
        problem_set(&p, PROBLEM_TOO_MANY_CONSUMERS, NULL,
                    "there are %d consumers, which is the most; delete one", SL_CONSUMERS_MAX);
    } else {
        problem_set(&p, PROBLEM_CONSUMER_NOT_FOUND, NULL, "there is no consumer of this name");
    }
    connection_problem(c, &p, headers);
}

void export_render_checkpoint(struct buffer *out, struct sl_slice checkpoint)
{
    /* Nothing in it needs escaping. */
    buffer_append_text(out, "{\"checkpoint\":\"");
    buffer_append_slice(out, checkpoint);
    buffer_append_text(out, "\"}\n");
}

int export_ack_parse(struct sl_slice body, struct sl_checkpoint *ret, const char **ret_why)
{
    json_error_t ignored;
    json_t *root = json_loadb((const char *)body.data, body.bytes, JSON_REJECT_DUPLICATES, &ignored);
    const json_t *member = json_object_get(root, "checkpoint");
    struct sl_slice text = sl_slice(json_string_value(member), json_string_length(member));
    int answer = 0;
    if (!json_is_object(root))
        *ret_why = "the body must be a JSON object";
    else if (!json_is_string(member) || !sl_checkpoint_valid(text))
        *ret_why = "checkpoint must be one that the export gave";
    else
        answer = -1;
    if (answer) {
        ret->bytes = (uint8_t)text.bytes;
        memcpy(ret->text, text.data, text.bytes);
    }
    json_decref(root);
    return answer ? 0 : EXPORT_INVALID;
}

/* ---- answers ---- */

static void answer_json(struct connection *c, struct buffer *body)
{
    if (body->fault)
        connection_abort(c);
    else
        connection_answer(c, 200, "application/json", buffer_slice(body), NULL);
    buffer_fini(body);
}

static void render_consumer(struct json *j, const struct sl_consumer *consumer, int64_t now_ns)
{
    int64_t age_ns = consumer->oldest_ns && now_ns > consumer->oldest_ns ? now_ns - consumer->oldest_ns : 0;
    json_object_open(j);
    json_key(j, "consumer");
    json_slice(j, consumer->name);
    json_key(j, "checkpoint");
    json_slice(j, consumer->checkpoint);
    json_key(j, "lag_lines");
    json_u64(j, consumer->lag_lines);
    json_key(j, "lag_bytes");
    json_u64(j, consumer->lag_bytes);
    json_key(j, "lag_seconds");
    json_i64(j, (age_ns + SL_NS_PER_S - 1) / SL_NS_PER_S);
    json_key(j, "overruns");
    json_u64(j, consumer->overruns);
    json_key(j, "reading");
    json_bool(j, consumer->leased);
    json_object_close(j);
}

static void listed(void *arg, int fault, uint8_t status, struct sl_reader *body)
{
    struct asking *a = arg;
    uint64_t epoch;
    int64_t now_ns;
    a->call = NULL;
    if (!fault && status == SL_STATUS_OK && sl_consumers_open(body, &epoch, &now_ns) != 0)
        fault = -EPROTO;
    if (fault || status != SL_STATUS_OK) {
        export_refuse(a->c, fault, status);
        return;
    }
    struct buffer out;
    struct json j;
    struct sl_consumer consumer;
    buffer_init(&out, 0, 1 << 20);
    json_init(&j, &out);
    json_object_open(&j);
    json_key(&j, "consumers");
    json_array_open(&j);
    while (sl_consumer_next(body, &consumer))
        render_consumer(&j, &consumer, now_ns);
    json_array_close(&j);
    json_object_close(&j);
    buffer_append(&out, "\n", 1);
    answer_json(a->c, &out);
}

static void acked(void *arg, int fault, uint8_t status, struct sl_reader *body)
{
    struct asking *a = arg;
    struct sl_slice place;
    a->call = NULL;
    if (!fault && status == SL_STATUS_OK && sl_ack_answer_decode(body, &place) != 0)
        fault = -EPROTO;
    if (fault || status != SL_STATUS_OK) {
        export_refuse(a->c, fault, status);
        return;
    }
    struct buffer out;
    buffer_init(&out, 0, 1 << 10);
    export_render_checkpoint(&out, place);
    answer_json(a->c, &out);
}

static void forgotten(void *arg, int fault, uint8_t status, struct sl_reader *body)
{
    struct asking *a = arg;
    (void)body;
    a->call = NULL;
    if (fault || status != SL_STATUS_OK)
        export_refuse(a->c, fault, status);
    else
        connection_answer(a->c, 204, NULL, sl_slice(NULL, 0), NULL);
}

/* ---- requests ---- */

static void ask(struct asking *a, uint8_t type, struct sl_slice consumer, struct sl_slice checkpoint,
                upstream_done *done)
{
    nng_msg *request;
    struct sl_writer w;
    if (sl_client_message_new(type, 2 * (1 + SL_CHECKPOINT_MAX_BYTES), &request, &w) < 0) {
        connection_abort(a->c);
        return;
    }
    if (type == SL_ACK)
        sl_ack_encode(&w, consumer, checkpoint);
    else if (type == SL_FORGET)
        sl_consumer_name_encode(&w, consumer);
    struct upstream *u = a->c->server->upstream;
    a->call = upstream_ask(u, request, &w, upstream_patience_ms(u, options.broker_grace_ns), done, a);
    if (!a->call)
        connection_abort(a->c);
}

static void start(struct connection *c)
{
    if (c->match.route == ROUTE_EXPORT && c->request->method == METHOD_GET) {
        c->handler = &export_stream_handler;
        c->handler->start(c);
        return;
    }
    struct asking *a = calloc(1, sizeof *a);
    if (!a) {
        connection_abort(c);
        return;
    }
    a->c = c;
    c->user = a;
    struct sl_checkpoint checkpoint;
    const char *why;
    if (c->match.route == ROUTE_EXPORTS) {
        ask(a, SL_CONSUMERS, sl_slice(NULL, 0), sl_slice(NULL, 0), listed);
    } else if (c->request->method == METHOD_DELETE) {
        ask(a, SL_FORGET, c->match.id, sl_slice(NULL, 0), forgotten);
    } else if (export_ack_parse(buffer_slice(&c->body), &checkpoint, &why) == 0) {
        ask(a, SL_ACK, c->match.id, sl_checkpoint_slice(&checkpoint), acked);
    } else {
        struct problem p;
        problem_set(&p, PROBLEM_INVALID_PARAMETER, "checkpoint", "%s", why);
        connection_problem(c, &p, NULL);
    }
}

static void gone(void *user)
{
    struct asking *a = user;
    upstream_cancel(a->call);
    free(a);
}

const struct handler export_handler = {.start = start, .gone = gone};
