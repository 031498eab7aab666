// SPDX-License-Identifier: Apache-2.0
/*
 * A client and a server of the link in one thread, over real nng, for the tests of both. pair_turn() lets
 * both work; PAIR_UNTIL(condition) turns until it holds, and fails after 30 s.
 */
#pragma once
#include "wire/link_client.h"
#include "wire/link_server.h"
#include "wire/timestamp.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
/* cmocka.h needs setjmp, stdarg and stdlib */
#include <cmocka.h>

struct pair {
    struct sl_server *server;
    struct sl_client *client;
    char folder[64];
    char url[2][128];
    /* What `changed` said last. */
    bool connected;
    int changes;
    uint64_t epoch;
    char why[256];
    /* Every request that the server gives goes here. */
    void (*on_request)(struct pair *p, struct sl_request *request);
    int answered;
    int faults;
    int last_fault;
    void *user;
};

static inline void pair_changed(void *arg, bool connected, uint64_t epoch, const char *why)
{
    struct pair *p = arg;
    p->connected = connected;
    p->changes++;
    p->epoch = connected ? epoch : p->epoch;
    snprintf(p->why, sizeof p->why, "%s", why);
}

static inline int pair_setup(void **state)
{
    struct pair *p = calloc(1, sizeof *p);
    assert_non_null(p);
    snprintf(p->folder, sizeof p->folder, "/tmp/sandlog-link-XXXXXX");
    assert_non_null(mkdtemp(p->folder));
    for (int i = 0; i < 2; i++)
        snprintf(p->url[i], sizeof p->url[i], "ipc://%s/%d", p->folder, i);
    *state = p;
    return 0;
}

static inline int pair_teardown(void **state)
{
    struct pair *p = *state;
    sl_client_free(p->client);
    sl_server_free(p->server);
    for (int i = 0; i < 2; i++)
        unlink(p->url[i] + 6);
    rmdir(p->folder);
    free(p);
    return 0;
}

static inline int pair_serve_at(struct pair *p, const char *url, const char *secret, size_t max_waiting)
{
    struct sl_link_keys *keys;
    assert_int_equal(sl_link_keys_of(sl_slice_of(secret), &keys), 0);
    int r = sl_server_new(
        &(struct sl_server_options){
            .url = url, .keys = keys, .epoch = 4711, .max_waiting = max_waiting, .max_bytes = 64 << 20},
        &p->server);
    sl_link_keys_unref(keys);
    return r;
}

static inline void pair_serve(struct pair *p)
{
    assert_int_equal(pair_serve_at(p, p->url[0], "", 30000), 0);
}

static inline void pair_unserve(struct pair *p)
{
    sl_server_free(p->server);
    p->server = NULL;
}

static inline void pair_dial_at(struct pair *p, const char *const *urls, size_t count, const char *secret)
{
    struct sl_link_keys *keys;
    assert_int_equal(sl_link_keys_of(sl_slice_of(secret), &keys), 0);
    assert_int_equal(sl_client_new(&(struct sl_client_options){.urls = urls,
                                                               .url_count = count,
                                                               .role = SL_ROLE_COLLECTOR,
                                                               .host = "host-1",
                                                               .keys = keys,
                                                               .changed = pair_changed,
                                                               .arg = p},
                                   &p->client),
                     0);
    sl_link_keys_unref(keys);
}

static inline void pair_dial(struct pair *p)
{
    pair_dial_at(p, &(const char *){p->url[0]}, 1, "");
}

static inline void pair_turn(struct pair *p)
{
    struct pollfd fds[2] = {{.fd = p->server ? sl_server_fd(p->server) : -1, .events = POLLIN},
                            {.fd = p->client ? sl_client_fd(p->client) : -1, .events = POLLIN}};
    poll(fds, 2, 10);
    struct sl_request *request;
    while (p->server && (request = sl_server_next(p->server)))
        p->on_request(p, request);
    if (p->client)
        sl_client_run(p->client);
}

#define PAIR_UNTIL(p, condition)                                                                             \
    do {                                                                                                     \
        int64_t pair_end_ns = sl_monotonic_ns() + 30 * SL_NS_PER_S;                                          \
        while (!(condition)) {                                                                               \
            pair_turn(p);                                                                                    \
            if (sl_monotonic_ns() > pair_end_ns)                                                             \
                fail_msg("did not come: %s", #condition);                                                    \
        }                                                                                                    \
    } while (0)

static inline void pair_count(void *arg, int fault, const struct sl_message_head *head,
                              struct sl_reader *body)
{
    struct pair *p = arg;
    (void)body;
    p->answered++;
    p->faults += fault != 0 || head->status != SL_STATUS_OK;
    p->last_fault = fault;
}

/* Asks with `number` and `padding` further bytes. */
static inline void pair_ask(struct pair *p, uint64_t number, size_t padding, int64_t timeout_ms)
{
    nng_msg *message;
    struct sl_writer w;
    assert_int_equal(sl_client_message_new(SL_INFO, 8 + padding, &message, &w), 0);
    sl_write_u64(&w, number);
    w.bytes += padding;
    sl_client_ask(p->client, message, &w, timeout_ms, pair_count, p);
}

static inline void pair_answer(struct sl_request *request, uint64_t number)
{
    nng_msg *answer;
    struct sl_writer w;
    assert_int_equal(sl_answer_new(request, SL_STATUS_OK, 8, &answer, &w), 0);
    sl_write_u64(&w, number);
    sl_request_answer(request, answer, &w);
}
