// SPDX-License-Identifier: Apache-2.0
#include "link_flight.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

enum { IDLE_MAX = 64 }; /* kept for reuse: 1.25 KiB each */

/* nng's thread. The one aio of a request sends, and then receives the answer. */
static void on_aio(void *arg)
{
    struct link_request *r = arg;
    struct link_flight *f = r->flight;
    int result = nng_aio_result(r->aio);
    if (atomic_load(&r->phase) == LINK_PHASE_SENDING) {
        if (result == 0) {
            atomic_store(&r->phase, LINK_PHASE_ANSWER);
            atomic_fetch_sub(&f->sending, 1);
            nng_ctx_recv(r->ctx, r->aio);
            return;
        }
        r->message = nng_aio_get_msg(r->aio);
        nng_aio_set_msg(r->aio, NULL);
        atomic_fetch_sub(&f->sending, 1);
    } else if (result == 0) {
        r->message = nng_aio_get_msg(r->aio);
        nng_aio_set_msg(r->aio, NULL);
    }
    r->result = result;
    sl_mailbox_post(f->mailbox, &r->done.letter);
}

void link_flight_init(struct link_flight *f, struct sl_mailbox *mailbox, nng_socket socket)
{
    f->mailbox = mailbox;
    f->socket = socket;
    f->waiting_last = &f->waiting;
}

static void request_free(struct link_request *r)
{
    if (r->aio)
        nng_aio_free(r->aio);
    if (r->has_ctx)
        nng_ctx_close(r->ctx);
    nng_msg_free(r->message);
    free(r);
}

static void free_chain(struct link_request *r)
{
    while (r) {
        struct link_request *next = r->next;
        request_free(r);
        r = next;
    }
}

void link_flight_fini(struct link_flight *f)
{
    for (struct link_request *r = f->sent; r; r = r->after)
        nng_aio_stop(r->aio);
    sl_mailbox_take(f->mailbox); /* letters of what is freed now */
    for (struct link_request *r = f->sent; r;) {
        struct link_request *after = r->after;
        request_free(r);
        r = after;
    }
    free_chain(f->waiting);
    free_chain(f->idle);
    f->sent = f->waiting = f->idle = NULL;
}

struct link_request *link_request_bare(struct link_flight *f)
{
    struct link_request *r = calloc(1, sizeof *r);
    if (!r)
        abort();
    r->flight = f;
    return r;
}

int link_request_new(struct link_flight *f, struct link_request **ret)
{
    struct link_request *r = f->idle;
    if (r) {
        f->idle = r->next;
        f->idle_count--;
        r->next = NULL;
        r->hello = r->late = false;
        r->fault = 0;
        *ret = r;
        return 0;
    }
    r = calloc(1, sizeof *r);
    if (!r)
        return -ENOMEM;
    r->flight = f;
    r->done.kind = LINK_LETTER_DONE;
    if (nng_aio_alloc(&r->aio, on_aio, r) != 0 || nng_ctx_open(&r->ctx, f->socket) != 0) {
        request_free(r);
        return -ENOMEM;
    }
    r->has_ctx = true;
    *ret = r;
    return 0;
}

void link_request_rest(struct link_request *r)
{
    struct link_flight *f = r->flight;
    nng_msg_free(r->message);
    r->message = NULL;
    atomic_store(&r->phase, LINK_PHASE_IDLE);
    if (f->idle_count >= IDLE_MAX || !r->has_ctx) {
        request_free(r);
        return;
    }
    r->next = f->idle;
    f->idle = r;
    f->idle_count++;
}

void link_flight_wait(struct link_flight *f, struct link_request *r)
{
    struct link_request **at = &f->waiting;
    if (f->waiting_last != &f->waiting) {
        /* Nearly always behind the last one; only what was taken back belongs in front. */
        struct link_request *last =
            (struct link_request *)((char *)f->waiting_last - offsetof(struct link_request, next));
        if (last->number < r->number)
            at = f->waiting_last;
    }
    while (*at && (*at)->number < r->number)
        at = &(*at)->next;
    r->next = *at;
    *at = r;
    if (!r->next)
        f->waiting_last = &r->next;
}

struct link_request *link_flight_next(struct link_flight *f)
{
    struct link_request *r = f->waiting;
    if (r) {
        f->waiting = r->next;
        if (!f->waiting)
            f->waiting_last = &f->waiting;
        r->next = NULL;
    }
    return r;
}

struct link_request *link_flight_overdue(struct link_flight *f, int64_t now_ns)
{
    struct link_request *chain = NULL, **chain_last = &chain;
    struct link_request **at = &f->waiting;
    while (*at) {
        struct link_request *r = *at;
        if (now_ns >= r->deadline_ns) {
            *at = r->next;
            r->next = NULL;
            *chain_last = r;
            chain_last = &r->next;
        } else {
            at = &r->next;
        }
    }
    f->waiting_last = at;
    return chain;
}

void link_flight_send(struct link_flight *f, struct link_request *r, uint32_t connection, int64_t now_ns)
{
    r->before = NULL;
    r->after = f->sent;
    if (f->sent)
        f->sent->before = r;
    f->sent = r;
    r->connection = connection;
    r->sent_ns = now_ns;
    nng_aio_set_msg(r->aio, r->message);
    r->message = NULL;
    atomic_store(&r->phase, LINK_PHASE_SENDING);
    atomic_fetch_add(&f->sending, 1);
    nng_ctx_send(r->ctx, r->aio);
}

void link_flight_back(struct link_flight *f, struct link_request *r)
{
    if (r->before)
        r->before->after = r->after;
    else
        f->sent = r->after;
    if (r->after)
        r->after->before = r->before;
    r->after = r->before = NULL;
}

void link_flight_recall(struct link_flight *f)
{
    for (struct link_request *r = f->sent; r; r = r->after)
        if (atomic_load(&r->phase) == LINK_PHASE_SENDING)
            nng_aio_cancel(r->aio);
}
