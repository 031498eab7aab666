// SPDX-License-Identifier: Apache-2.0
/*
 * One cooked REQ0 socket, one dialer at a time, one context and one aio per request in flight.
 *
 * The gate. nng keeps requests that it has not sent yet for the next connection, where they would be on the
 * wire before our HELLO. So a new pipe is let in (ADD_PRE) only while the gate is open; the gate shuts behind
 * it and opens again when the home thread has seen the pipe go and has taken back every request that nng had
 * not sent. A pipe that meets a shut gate is closed; the dialer comes again.
 *
 * Order. nng sends contexts in the order in which their sends were started, from this one thread; what is
 * taken back is put in front of what still waits, by its number.
 */
#include "link_client.h"
#include "link_flight.h"
#include "link_proof.h"
#include "link_threads.h"
#include "link_tls.h"
#include "wire/timestamp.h"

#include <assert.h>
#include <errno.h>
#include <nng/protocol/reqrep0/req.h>
#include <nng/supplemental/util/platform.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    URLS_MAX = 16,
    ENVELOPE_BYTES = 4,       /* nng's request id counts into RECVMAXSZ */
    CONNECT_WITHIN_MS = 1000, /* then the next address has its turn */
    /* Then the only address gets a new dialer: nng 1.5.2's gives up for good, without a word, when a
     * connection is closed while it is being negotiated (dialer_connect_cb on NNG_ECLOSED), as a broker that
     * is killed does. */
    REDIAL_AFTER_MS = 2000,
    HELLO_WITHIN_MS = 5000,
    BEGIN_WITHIN_MS = 60000,
    BACKOFF_MIN_MS = 50,
    BACKOFF_MAX_MS = 5000,
    TIMEOUT_MAX_MS = 24 * 3600 * 1000,
};

enum state { STATE_RESTING, STATE_DIALLING, STATE_HELLO, STATE_CONNECTED };

struct sl_client {
    struct sl_mailbox mailbox;
    nng_socket socket;
    char *urls[URLS_MAX];
    size_t url_count;
    size_t url;
    uint64_t instance;
    uint8_t role;
    char host[SL_HOST_MAX_BYTES + 1];
    struct sl_link_keys *keys;
    bool renewed; /* the dialer has the keys that were */
    void (*changed)(void *arg, bool connected, uint64_t epoch, const char *why);
    void *arg;

    enum state state;
    bool has_dialer;
    nng_dialer dialer;
    uint32_t pipe; /* the one that the gate let in and that the home thread knows; 0: none */
    uint32_t connection;
    bool proving;     /* the HELLO under way carries a proof */
    int64_t since_ns; /* the state's beginning */
    int64_t rest_until_ns;
    int64_t heard_ns; /* last answer of any kind */
    int64_t checked_ns;
    size_t failures; /* addresses tried in vain, since the last connection */
    char why[200];

    /* Shared with nng's threads. */
    _Atomic uint32_t gate;    /* 0: open, else the pipe that is in */
    _Atomic uint32_t removed; /* the last pipe seen to go */
    atomic_bool rung;         /* `bell` is in the mailbox */
    struct link_client_letter_head bell;

    struct link_flight flight;
    struct link_request *answering; /* its asker hears just now */
    struct link_request *failed;    /* to be told so by the next run */
    struct link_request **failed_last;
    uint64_t numbers;
    bool running;
};

static _Atomic uint64_t message_ids = 1;

/* ---- nng's threads ---- */

static void ring(struct sl_client *c)
{
    if (!atomic_exchange(&c->rung, true))
        sl_mailbox_post(&c->mailbox, &c->bell.letter);
}

static void on_pipe_add(nng_pipe pipe, nng_pipe_ev event, void *arg)
{
    (void)event;
    struct sl_client *c = arg;
    uint32_t open = 0;
    if (atomic_compare_exchange_strong(&c->gate, &open, (uint32_t)nng_pipe_id(pipe)))
        ring(c);
    else
        nng_pipe_close(pipe);
}

static void on_pipe_remove(nng_pipe pipe, nng_pipe_ev event, void *arg)
{
    (void)event;
    struct sl_client *c = arg;
    uint32_t id = (uint32_t)nng_pipe_id(pipe);
    if (atomic_load(&c->gate) == id) {
        atomic_store(&c->removed, id);
        ring(c);
    }
}

/* ---- requests ---- */

static void fail_later(struct sl_client *c, struct link_request *r, int fault)
{
    r->fault = fault;
    r->next = NULL;
    *c->failed_last = r;
    c->failed_last = &r->next;
}

static void send_now(struct sl_client *c, struct link_request *r)
{
    link_flight_send(&c->flight, r, c->connection, sl_monotonic_ns());
}

static void pump(struct sl_client *c)
{
    while (c->state == STATE_CONNECTED && c->flight.waiting)
        send_now(c, link_flight_next(&c->flight));
}

/* ---- the connection ---- */

static void enter(struct sl_client *c, enum state state)
{
    c->state = state;
    c->since_ns = sl_monotonic_ns();
}

static void tell_lost(struct sl_client *c, bool was_connected, const char *why)
{
    /* A reason is told once, not with each attempt. */
    if (!was_connected && strcmp(c->why, why) == 0)
        return;
    snprintf(c->why, sizeof c->why, "%s", why);
    if (c->changed)
        c->changed(c->arg, false, 0, c->why);
}

/* Opens the gate if nothing of the last connection is left in nng's hands. */
static void open_gate(struct sl_client *c)
{
    if (c->pipe == 0 && atomic_load(&c->gate) != 0 && atomic_load(&c->gate) == atomic_load(&c->removed) &&
        atomic_load(&c->flight.sending) == 0)
        atomic_store(&c->gate, 0);
}

/* The pipe is gone or will be: takes back what nng has not sent. What it has sent fails by itself. */
static void pipe_lost(struct sl_client *c)
{
    if (c->pipe != 0)
        atomic_store(&c->removed, c->pipe);
    c->pipe = 0;
    link_flight_recall(&c->flight);
    open_gate(c);
}

static void drop_dialer(struct sl_client *c)
{
    if (c->has_dialer) {
        nng_dialer_close(c->dialer);
        c->has_dialer = false;
    }
    c->renewed = false;
    /* A pipe that slipped in meanwhile is closed with its dialer, but its removal may have gone unseen. */
    uint32_t in = atomic_load(&c->gate);
    if (in != 0)
        c->pipe = in;
    pipe_lost(c);
}

/* Leaves this address; the next one has its turn, after a rest when all have been tried. */
static void next_address(struct sl_client *c)
{
    drop_dialer(c);
    c->url = (c->url + 1) % c->url_count;
    size_t round = ++c->failures / c->url_count;
    int64_t rest_ms = 0;
    if (c->failures % c->url_count == 0) {
        rest_ms = BACKOFF_MIN_MS;
        for (size_t i = 1; i < round && rest_ms < BACKOFF_MAX_MS; i++)
            rest_ms *= 2;
        if (rest_ms > BACKOFF_MAX_MS)
            rest_ms = BACKOFF_MAX_MS;
        /* Many clients that lost one broker must not come back in step. */
        rest_ms = rest_ms / 2 + (int64_t)(nng_random() % (uint32_t)(rest_ms / 2 + 1));
    }
    c->rest_until_ns = sl_monotonic_ns() + rest_ms * SL_NS_PER_MS;
    enter(c, STATE_RESTING);
}

static void dial(struct sl_client *c)
{
    static const struct sl_link_keys none;
    enter(c, STATE_DIALLING);
    int r = nng_dialer_create(&c->dialer, c->socket, c->urls[c->url]);
    if (r == 0) {
        c->has_dialer = true;
        nng_dialer_set_ms(c->dialer, NNG_OPT_RECONNMINT, 50);
        nng_dialer_set_ms(c->dialer, NNG_OPT_RECONNMAXT, 1000);
        nng_dialer_set_size(c->dialer, NNG_OPT_RECVMAXSZ, SL_MESSAGE_MAX_BYTES + ENVELOPE_BYTES);
        r = link_tls_dialer(c->keys ? c->keys : &none, c->urls[c->url], c->dialer);
        if (r == 0)
            r = nng_dialer_start(c->dialer, NNG_FLAG_NONBLOCK);
    }
    if (r != 0) {
        char why[200];
        snprintf(why, sizeof why, "%.120s can't be dialled: %s", c->urls[c->url], nng_strerror(r));
        next_address(c);
        tell_lost(c, false, why);
    }
}

static void refused(struct sl_client *c, const char *why)
{
    bool was = c->state == STATE_CONNECTED;
    next_address(c);
    tell_lost(c, was, why);
}

static void say_hello(struct sl_client *c, const uint8_t *nonce)
{
    struct link_request *r;
    nng_msg *message;
    struct sl_writer w;
    uint8_t proof[LINK_PROOF_BYTES];
    struct sl_hello hello = {
        .role = c->role, .host = sl_slice_of(c->host), .version = sl_slice_of(SL_VERSION)};
    if (nonce) {
        if (link_proof(c->keys->secret, nonce, c->role, hello.host, proof) != 0) {
            refused(c, "out of memory");
            return;
        }
        hello.proof = sl_slice(proof, sizeof proof);
    }
    if (sl_client_message_new(SL_HELLO, 1024, &message, &w) != 0) {
        refused(c, "out of memory");
        return;
    }
    sl_hello_encode(&w, &hello);
    assert(!w.failed);
    nng_msg_chop(message, nng_msg_len(message) - w.bytes);
    if (link_request_new(&c->flight, &r) != 0) {
        nng_msg_free(message);
        refused(c, "out of memory");
        return;
    }
    struct sl_reader reader = sl_reader(sl_slice(nng_msg_body(message), nng_msg_len(message)));
    struct sl_message_head head;
    int opened = sl_message_open(&reader, &head);
    assert(opened == 0);
    r->hello = true;
    r->message = message;
    r->id = head.id;
    r->type = SL_HELLO;
    r->deadline_ns = sl_monotonic_ns() + HELLO_WITHIN_MS * SL_NS_PER_MS;
    c->proving = nonce != NULL;
    enter(c, STATE_HELLO);
    send_now(c, r);
}

static void on_begun(void *arg, int fault, const struct sl_message_head *head, struct sl_reader *body)
{
    (void)arg, (void)fault, (void)head, (void)body; /* a broker that does not know it does without */
}

static void say_begin(struct sl_client *c)
{
    nng_msg *message;
    struct sl_writer w;
    if (!c->instance || sl_client_message_new(SL_BEGIN, sizeof c->instance, &message, &w) != 0)
        return;
    sl_begin_encode(&w, c->instance);
    sl_client_ask(c, message, &w, BEGIN_WITHIN_MS, on_begun, NULL);
}

static void on_welcome(struct sl_client *c, const struct sl_message_head *head, struct sl_reader *body)
{
    struct sl_welcome welcome;
    const char *url = c->urls[c->url];
    char why[200];
    switch (head->status) {
    case SL_STATUS_OK:
        if (sl_welcome_decode(body, &welcome) != 0)
            break;
        enter(c, STATE_CONNECTED);
        c->failures = 0;
        c->why[0] = 0;
        c->heard_ns = c->since_ns;
        say_begin(c);
        if (c->changed)
            c->changed(c->arg, true, welcome.epoch, "");
        return;
    case SL_STATUS_UNAUTHENTICATED:
        if (!c->keys || c->keys->secret.bytes == 0)
            snprintf(why, sizeof why, "%.120s wants a secret, and none is set", url);
        else if (c->proving)
            snprintf(why, sizeof why, "%.120s has another secret than this program", url);
        else if (sl_welcome_decode(body, &welcome) == 0) {
            say_hello(c, welcome.nonce);
            return;
        } else
            break;
        refused(c, why);
        return;
    case SL_STATUS_NEWER:
        snprintf(why, sizeof why, "%.120s speaks another version than this program (" SL_VERSION ")", url);
        refused(c, why);
        return;
    default:
        break;
    }
    snprintf(why, sizeof why, "%.120s does not speak this program's language", url);
    refused(c, why);
}

static void dial_anew(struct sl_client *c)
{
    drop_dialer(c);
    c->rest_until_ns = sl_monotonic_ns();
    enter(c, STATE_RESTING);
}

/* Why there is no connection, as far as nng tells. */
static void why_not(struct sl_client *c, char *why, size_t bytes)
{
    const char *url = c->urls[c->url];
    struct link_tls_failures f = {0};
    if (link_tls_url(url) && c->has_dialer)
        f = link_tls_failures("dialer", nng_dialer_id(c->dialer));
    if (f.certificate > 0)
        snprintf(why, bytes,
                 "%.120s: the certificates do not fit (--link-ca, --link-cert, the name in the address)",
                 url);
    else if (f.other > 0 && f.refused == 0)
        snprintf(why, bytes, "%.120s: no TLS, or it asks for a certificate (--link-cert)", url);
    else
        snprintf(why, bytes, "no broker at %.120s", url);
}

static void on_bell(struct sl_client *c)
{
    atomic_store(&c->rung, false);
    uint32_t in = atomic_load(&c->gate);
    if (in != 0 && atomic_load(&c->removed) == in) {
        bool was = c->state == STATE_CONNECTED;
        bool greeting = c->state == STATE_HELLO;
        c->pipe = in;
        pipe_lost(c);
        if (was || greeting) {
            char why[200];
            snprintf(why, sizeof why, "the connection to %.120s was lost", c->urls[c->url]);
            enter(c, STATE_DIALLING);
            if (c->renewed)
                dial_anew(c);
            tell_lost(c, was, why);
        }
    } else if (in != 0 && in != c->pipe && c->state == STATE_DIALLING) {
        c->pipe = in;
        c->connection++;
        say_hello(c, NULL);
    }
}

/* ---- what comes back ---- */

static int fault_of(int result)
{
    return result == NNG_ENOMEM ? -ENOMEM : -ECONNRESET;
}

static void on_done(struct sl_client *c, struct link_request *r)
{
    link_flight_back(&c->flight, r);
    bool unsent = atomic_load(&r->phase) == LINK_PHASE_SENDING;
    bool current = r->connection == c->connection && c->pipe != 0;
    if (r->hello) {
        struct sl_message_head head;
        if (r->result == 0 && current && c->state == STATE_HELLO) {
            struct sl_reader reader = sl_reader(sl_slice(nng_msg_body(r->message), nng_msg_len(r->message)));
            if (sl_message_open(&reader, &head) != 0)
                head = (struct sl_message_head){.status = SL_STATUS_MALFORMED};
            on_welcome(c, &head, &reader);
        }
        link_request_rest(r);
        return;
    }
    if (r->result != 0 && unsent && !r->late && r->result != NNG_ENOMEM) {
        link_flight_wait(&c->flight, r); /* never left this program: the next connection takes it */
        return;
    }
    int fault = r->result == 0 ? 0 : r->late ? -ETIMEDOUT : fault_of(r->result);
    struct sl_message_head head;
    struct sl_reader reader = {0};
    if (fault == 0) {
        c->heard_ns = sl_monotonic_ns();
        reader = sl_reader(sl_slice(nng_msg_body(r->message), nng_msg_len(r->message)));
        if (sl_message_open(&reader, &head) != 0 || head.id != r->id || head.type != r->type) {
            fault = -ECONNRESET;
            if (current)
                refused(c, "an answer could not be understood");
        }
    }
    c->answering = r;
    r->answered(r->arg, fault, fault == 0 ? &head : NULL, fault == 0 ? &reader : NULL);
    c->answering = NULL;
    link_request_rest(r);
}

static void check_deadlines(struct sl_client *c, int64_t now_ns)
{
    bool silent = false;
    for (struct link_request *r = c->flight.sent; r; r = r->after) {
        if (r->late || now_ns < r->deadline_ns)
            continue;
        r->late = true;
        /* Not a word since it was sent: rather a dead peer than a slow answer. */
        if (r->connection == c->connection && (r->hello || c->heard_ns < r->sent_ns))
            silent = true;
        nng_aio_cancel(r->aio);
    }
    struct link_request *overdue = link_flight_overdue(&c->flight, now_ns);
    while (overdue) {
        struct link_request *r = overdue;
        overdue = r->next;
        fail_later(c, r, -ETIMEDOUT);
    }
    if (silent && c->pipe != 0) {
        char why[200];
        snprintf(why, sizeof why, "%.120s does not answer", c->urls[c->url]);
        refused(c, why);
    }
}

static void keep_dialling(struct sl_client *c, int64_t now_ns)
{
    open_gate(c);
    if (c->state == STATE_RESTING && now_ns >= c->rest_until_ns) {
        /* There is no dialer now, so whatever still stands in the gate is a dead pipe. */
        drop_dialer(c);
        if (atomic_load(&c->gate) == 0)
            dial(c);
    }
    if (c->state == STATE_DIALLING && now_ns - c->since_ns >= CONNECT_WITHIN_MS * SL_NS_PER_MS) {
        char why[200];
        if (c->url_count == 1 && now_ns - c->since_ns < REDIAL_AFTER_MS * SL_NS_PER_MS && c->why[0])
            return; /* what there is to say was said */
        why_not(c, why, sizeof why);
        if (c->url_count > 1)
            next_address(c);
        else if (now_ns - c->since_ns >= REDIAL_AFTER_MS * SL_NS_PER_MS)
            dial_anew(c);
        tell_lost(c, false, why);
    }
}

void sl_client_run(struct sl_client *c)
{
    assert(!c->running); /* callbacks must not call it */
    c->running = true;
    struct sl_letter *letter = sl_mailbox_take(&c->mailbox);
    while (letter) {
        struct sl_letter *next = letter->next;
        struct link_client_letter_head *l = (struct link_client_letter_head *)letter;
        if (l->kind == LINK_LETTER_PIPE)
            on_bell(c);
        else
            on_done(c, (struct link_request *)l);
        letter = next;
    }
    int64_t now_ns = sl_monotonic_ns();
    if (now_ns - c->checked_ns >= 10 * SL_NS_PER_MS) {
        c->checked_ns = now_ns;
        check_deadlines(c, now_ns);
    }
    keep_dialling(c, now_ns);
    pump(c);
    struct link_request *failed = c->failed;
    c->failed = NULL;
    c->failed_last = &c->failed;
    while (failed) {
        struct link_request *r = failed;
        failed = r->next;
        r->answered(r->arg, r->fault, NULL, NULL);
        link_request_rest(r);
    }
    c->running = false;
}

/* ---- the outside ---- */

int sl_client_message_new(uint8_t type, size_t capacity, nng_msg **ret, struct sl_writer *ret_w)
{
    nng_msg *message;
    if (nng_msg_alloc(&message, SL_MESSAGE_HEAD_BYTES + capacity) != 0)
        return -ENOMEM;
    struct sl_message_head head = {.type = type, .id = atomic_fetch_add(&message_ids, 1)};
    *ret_w = sl_writer(nng_msg_body(message), nng_msg_len(message));
    sl_message_begin(ret_w, &head);
    *ret = message;
    return 0;
}

void sl_client_ask(struct sl_client *c, nng_msg *request, const struct sl_writer *w, int64_t timeout_ms,
                   sl_client_answered *answered, void *arg)
{
    struct link_request *r;
    int fault = link_request_new(&c->flight, &r);
    if (fault != 0)
        r = link_request_bare(&c->flight);
    struct sl_reader reader = sl_reader(sl_slice(w->data, w->bytes));
    struct sl_message_head head;
    int opened = sl_message_open(&reader, &head);
    assert(opened == 0);
    nng_msg_chop(request, nng_msg_len(request) - w->bytes);
    r->message = request;
    r->id = head.id;
    r->type = head.type;
    r->number = ++c->numbers;
    r->answered = answered;
    r->arg = arg;
    r->deadline_ns =
        sl_monotonic_ns() + (timeout_ms < TIMEOUT_MAX_MS ? timeout_ms : TIMEOUT_MAX_MS) * SL_NS_PER_MS;
    if (fault == 0 && (w->failed || w->bytes > SL_MESSAGE_MAX_BYTES))
        fault = -EMSGSIZE;
    if (fault != 0) {
        fail_later(c, r, fault);
        ring(c);
        return;
    }
    if (c->state == STATE_CONNECTED && !c->flight.waiting)
        send_now(c, r);
    else
        link_flight_wait(&c->flight, r);
}

nng_msg *sl_client_keep(struct sl_client *c)
{
    nng_msg *message = c->answering->message;
    c->answering->message = NULL;
    return message;
}

void sl_client_set_keys(struct sl_client *c, struct sl_link_keys *keys)
{
    struct sl_link_keys *old = c->keys;
    c->keys = sl_link_keys_ref(keys);
    sl_link_keys_unref(old);
    if (c->state == STATE_CONNECTED || c->state == STATE_HELLO) {
        c->renewed = true;
        return;
    }
    c->failures = 0;
    dial_anew(c);
}

int sl_client_fd(const struct sl_client *c)
{
    return c->mailbox.fd;
}

bool sl_client_connected(const struct sl_client *c)
{
    return c->state == STATE_CONNECTED;
}

static int client_init(struct sl_client *c, const struct sl_client_options *options)
{
    c->failed_last = &c->failed;
    c->bell.kind = LINK_LETTER_PIPE;
    c->role = options->role;
    c->instance = options->instance;
    c->changed = options->changed;
    c->arg = options->arg;
    c->state = STATE_RESTING;
    if (options->host) {
        size_t bytes = strlen(options->host);
        if (bytes > SL_HOST_MAX_BYTES)
            return -EINVAL;
        memcpy(c->host, options->host, bytes);
    }
    if ((c->role == SL_ROLE_COLLECTOR) != (c->host[0] != 0))
        return -EINVAL;
    if (options->url_count == 0 || options->url_count > URLS_MAX)
        return -EINVAL;
    for (; c->url_count < options->url_count; c->url_count++)
        if (!(c->urls[c->url_count] = strdup(options->urls[c->url_count])))
            return -ENOMEM;
    c->keys = sl_link_keys_ref(options->keys);
    link_threads_start();
    if (nng_req0_open(&c->socket) != 0)
        return -ENOMEM;
    link_flight_init(&c->flight, &c->mailbox, c->socket);
    /* -1: a dead peer is told as NNG_ECONNRESET at once, instead of nng repeating the request later. */
    int r = nng_socket_set_ms(c->socket, NNG_OPT_REQ_RESENDTIME, NNG_DURATION_INFINITE);
    if (r == 0)
        r = nng_pipe_notify(c->socket, NNG_PIPE_EV_ADD_PRE, on_pipe_add, c);
    if (r == 0)
        r = nng_pipe_notify(c->socket, NNG_PIPE_EV_REM_POST, on_pipe_remove, c);
    return r == 0 ? 0 : -ENOMEM;
}

int sl_client_new(const struct sl_client_options *options, struct sl_client **ret)
{
    struct sl_client *c = calloc(1, sizeof *c);
    if (!c)
        return -ENOMEM;
    int r = sl_mailbox_init(&c->mailbox, options->wake, options->wake_arg);
    if (r < 0) {
        free(c);
        return r;
    }
    r = client_init(c, options);
    if (r < 0) {
        sl_client_free(c);
        return r;
    }
    dial(c);
    *ret = c;
    return 0;
}

void sl_client_free(struct sl_client *c)
{
    if (!c)
        return;
    /* Aios first, then contexts, then the socket: nng 1.5.2 can hang the other way round. */
    while (c->failed) {
        struct link_request *r = c->failed;
        c->failed = r->next;
        link_request_rest(r);
    }
    if (nng_socket_id(c->socket) > 0) {
        link_flight_fini(&c->flight);
        nng_close(c->socket);
    }
    sl_mailbox_fini(&c->mailbox);
    for (size_t i = 0; i < c->url_count; i++)
        free(c->urls[i]);
    sl_link_keys_unref(c->keys);
    free(c);
}
