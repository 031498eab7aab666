// SPDX-License-Identifier: Apache-2.0
#include "upstream.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>

struct upstream {
    struct sl_client *client;
    void (*changed)(void *arg, bool connected);
    void *arg;
    char missing[160];
    bool connected;
    LIST_HEAD(, upstream_call) calls;
};

struct upstream_call {
    LIST_ENTRY(upstream_call) link;
    upstream_done *done; /* NULL: cancelled */
    upstream_paged *paged;
    void *arg;
};

static void changed(void *arg, bool connected, uint64_t epoch, const char *why)
{
    struct upstream *u = arg;
    (void)epoch;
    u->connected = connected;
    if (!connected)
        snprintf(u->missing, sizeof u->missing, "%s%s",
                 why && strncmp(why, "no broker", 9) == 0 ? "" : "no broker: ", why ? why : "it is away");
    u->changed(u->arg, connected);
}

int upstream_new(const struct upstream_options *options, struct upstream **ret)
{
    struct upstream *u = calloc(1, sizeof *u);
    if (!u)
        return -ENOMEM;
    LIST_INIT(&u->calls);
    u->changed = options->changed;
    u->arg = options->arg;
    snprintf(u->missing, sizeof u->missing, "no broker: not connected yet");
    struct sl_client_options client = {
        .urls = options->urls,
        .url_count = options->url_count,
        .role = SL_ROLE_GATEWAY,
        .host = "",
        .keys = options->keys,
        .wake = options->wake,
        .wake_arg = options->arg,
        .changed = changed,
        .arg = u,
    };
    int fault = sl_client_new(&client, &u->client);
    if (fault < 0) {
        free(u);
        return fault;
    }
    *ret = u;
    return 0;
}

void upstream_stop(struct upstream *u)
{
    sl_client_free(u->client);
    u->client = NULL;
}

void upstream_free(struct upstream *u)
{
    struct upstream_call *call;
    if (!u)
        return;
    if (u->client)
        upstream_stop(u);
    while ((call = LIST_FIRST(&u->calls))) {
        LIST_REMOVE(call, link);
        free(call);
    }
    free(u);
}

void upstream_set_keys(struct upstream *u, struct sl_link_keys *keys)
{
    sl_client_set_keys(u->client, keys);
}

void upstream_run(struct upstream *u)
{
    sl_client_run(u->client);
}

const char *upstream_missing(const struct upstream *u)
{
    return u->connected ? NULL : u->missing;
}

int64_t upstream_patience_ms(const struct upstream *u, int64_t grace_ns)
{
    return upstream_missing(u) ? grace_ns / 1000000 + 1 : UPSTREAM_ANSWER_MS;
}

static void answered(void *arg, int fault, const struct sl_message_head *head, struct sl_reader *body)
{
    struct upstream_call *call = arg;
    uint8_t status = SL_STATUS_OK;
    LIST_REMOVE(call, link);
    if (!fault) {
        status = head->status;
        if (status == SL_STATUS_UNAVAILABLE)
            fault = -EAGAIN;
        else if (status == SL_STATUS_UNAUTHENTICATED)
            fault = -EACCES;
        else if (status == SL_STATUS_MALFORMED || status == SL_STATUS_NEWER)
            fault = -EPROTO;
    }
    if (call->done)
        call->done(call->arg, fault, status, fault ? NULL : body);
    free(call);
}

struct upstream_call *upstream_ask(struct upstream *u, nng_msg *request, const struct sl_writer *w,
                                   int64_t timeout_ms, upstream_done *done, void *arg)
{
    struct upstream_call *call = u ? calloc(1, sizeof *call) : NULL;
    if (!call) {
        nng_msg_free(request);
        return NULL;
    }
    call->done = done;
    call->arg = arg;
    LIST_INSERT_HEAD(&u->calls, call, link);
    sl_client_ask(u->client, request, w, timeout_ms, answered, call);
    return call;
}

void upstream_cancel(struct upstream_call *call)
{
    if (call) {
        call->done = NULL;
        call->paged = NULL;
    }
}

nng_msg *upstream_keep(struct upstream *u)
{
    return sl_client_keep(u->client);
}

static void page_answered(void *arg, int fault, const struct sl_message_head *head, struct sl_reader *body)
{
    struct upstream_call *call = arg;
    struct upstream_page page = {0};
    LIST_REMOVE(call, link);
    if (!fault && head->status != SL_STATUS_OK)
        fault = head->status == SL_STATUS_UNAVAILABLE       ? -EAGAIN
                : head->status == SL_STATUS_UNAUTHENTICATED ? -EACCES
                                                            : -EPROTO;
    if (!fault && sl_read_answer_open(body, &page.epoch, &page.now_ns) != 0)
        fault = -EPROTO;
    if (!fault)
        sl_read_part_next(body, &page.part); /* none: a wait without news, zeros */
    if (!fault && body->failed)
        fault = -EPROTO;
    if (call->paged)
        call->paged(call->arg, fault, fault ? NULL : &page);
    free(call);
}

struct upstream_call *upstream_read(struct upstream *u, const struct upstream_read *read,
                                    upstream_paged *done, void *arg)
{
    nng_msg *request;
    struct sl_writer w;
    struct upstream_call *call = u ? calloc(1, sizeof *call) : NULL;
    if (!call)
        return NULL;
    if (sl_client_message_new(SL_READ, 64 + SL_ID_MAX_BYTES, &request, &w) < 0) {
        free(call);
        return NULL;
    }
    sl_read_begin(&w,
                  &(struct sl_read){.max_bytes = read->max_bytes, .wait_ms = read->wait_ms, .entries = 1});
    sl_read_entry_write(&w, &read->entry);
    call->paged = done;
    call->arg = arg;
    LIST_INSERT_HEAD(&u->calls, call, link);
    sl_client_ask(u->client, request, &w, (int64_t)read->wait_ms + read->timeout_ms, page_answered, call);
    return call;
}
