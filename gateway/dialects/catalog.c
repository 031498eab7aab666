// SPDX-License-Identifier: Apache-2.0
#include "catalog.h"
#include "options.h"
#include "server.h"
#include "wire/timestamp.h"
#include <assert.h>
#include <errno.h>

static void finish(struct catalog *c, int fault, uint64_t next_page)
{
    c->done(c->arg, fault, next_page);
}

static bool enough(const struct catalog *c)
{
    return c->wanted && c->taken >= c->wanted;
}

static void ask(struct catalog *c, nng_msg *request, const struct sl_writer *w, upstream_done *done)
{
    assert(!w->failed);
    struct upstream *u = c->server->upstream;
    c->call = upstream_ask(u, request, w, upstream_patience_ms(u, options.broker_grace_ns), done, c);
    if (!c->call)
        finish(c, -ENOMEM, 0);
}

static void ask_page(struct catalog *c);

static void answered(void *arg, int fault, uint8_t status, struct sl_reader *body)
{
    struct catalog *c = arg;
    struct sl_info info;
    uint64_t epoch, page = 0;
    c->call = NULL;
    if (!fault && status == SL_STATUS_NOT_FOUND) {
        finish(c, 0, 0);
        return;
    }
    if (!fault && (status != SL_STATUS_OK || sl_list_answer_open(body, &epoch, &page) != 0))
        fault = -EPROTO;
    if (fault) {
        finish(c, fault, 0);
        return;
    }
    while (!enough(c) && sl_info_next(body, &info))
        if (grant_covers(c->grant, info.sandbox))
            c->taken += c->take(c->arg, &info);
    if (body->failed) {
        finish(c, -EPROTO, 0);
    } else if (page && !enough(c)) {
        c->list.page = page;
        ask_page(c);
    } else {
        finish(c, 0, page);
    }
}

static void ask_page(struct catalog *c)
{
    nng_msg *request;
    struct sl_writer w;
    uint64_t left = c->wanted - c->taken;
    c->list.limit = c->resumable && c->wanted && left < SL_LIST_MAX ? (uint16_t)left : SL_LIST_MAX;
    if (sl_client_message_new(SL_LIST, 512 + c->list.label_pairs.bytes, &request, &w) < 0) {
        finish(c, -ENOMEM, 0);
        return;
    }
    sl_list_encode(&w, &c->list);
    ask(c, request, &w, answered);
}

void catalog_walk(struct catalog *c)
{
    c->taken = 0;
    ask_page(c);
}

void catalog_one(struct catalog *c, struct sl_slice id)
{
    nng_msg *request;
    struct sl_writer w;
    c->taken = 0;
    if (sl_client_message_new(SL_INFO, 64 + SL_ID_MAX_BYTES, &request, &w) < 0) {
        finish(c, -ENOMEM, 0);
        return;
    }
    sl_id_write(&w, id);
    ask(c, request, &w, answered);
}

void catalog_cancel(struct catalog *c)
{
    upstream_cancel(c->call);
    c->call = NULL;
}

void catalog_problem(const struct server *s, int fault, struct problem *ret)
{
    const char *missing = upstream_missing(s->upstream);
    if (fault == -EPROTO || fault == -ENOMEM || fault == -EMSGSIZE)
        problem_set(ret, PROBLEM_INTERNAL, NULL, "the broker's answer could not be used");
    else
        problem_set(ret, PROBLEM_BROKER_UNAVAILABLE, NULL, "%s",
                    missing ? missing : "the broker does not answer");
}

bool catalog_label(const struct sl_info *info, struct sl_slice key, struct sl_slice *ret)
{
    struct sl_reader pairs = sl_reader(info->label_pairs);
    struct sl_slice k, v;
    while (sl_label_next(&pairs, &k, &v))
        if (sl_slice_equal(k, key)) {
            *ret = v;
            return true;
        }
    return false;
}

int64_t catalog_began_ns(const struct sl_info *info)
{
    return info->lines && info->first_time_ns < info->created_ns ? info->first_time_ns : info->created_ns;
}

int64_t catalog_ended_ns(const struct sl_info *info)
{
    return info->lines && info->last_time_ns > catalog_began_ns(info) ? info->last_time_ns
                                                                      : catalog_began_ns(info);
}
