// SPDX-License-Identifier: Apache-2.0
/*
 * One cooked REP0 socket. A request is one context with one aio: it waits for a message (one of them at a
 * time, because nng hands messages to several armed contexts on several threads and so out of order), is
 * handed to the daemon, and takes the answer back to its connection.
 *
 * Connections. A peer's entry is made before its first message can come (ADD_PRE) and outlives REM_POST: what
 * nng had read by then is still delivered, and the daemon may hold its requests.
 */
#include "link_server.h"
#include "link_listener.h"
#include "link_peers.h"
#include "link_threads.h"
#include "link_tls.h"
#include "wire/timestamp.h"

#include <assert.h>
#include <errno.h>
#include <nng/protocol/reqrep0/rep.h>
#include <nng/supplemental/util/platform.h>
#include <stddef.h>
#include <stdlib.h>

enum {
    ANSWER_WITHIN_MS = 30000, /* a peer that does not read its answers for that long is let go */
    IDLE_MAX = 256,           /* slots kept for reuse, with context and aio: 1.25 KiB each */
    SWEEP_EVERY_MS = 5000,
};

struct gone {
    struct link_letter letter;
    uint32_t id;
};

enum slot_state { SLOT_IDLE, SLOT_ARMED, SLOT_READY, SLOT_HELD, SLOT_ANSWERING };

struct slot {
    struct link_letter letter;
    struct sl_request request; /* what the daemon sees */
    struct sl_server *server;
    struct link_peer *peer;
    struct slot *next;                    /* in `idle` or `ready` */
    struct slot *all_next, *all_previous; /* in `all` */
    nng_ctx ctx;
    nng_aio *aio;
    nng_msg *message; /* the request */
    size_t bytes;     /* of the request, then of the answer: counted in server.bytes */
    enum slot_state state;
    bool has_ctx;
    int result;
};

struct sl_server {
    struct sl_mailbox mailbox;
    nng_socket socket;
    struct link_listener listener;
    struct sl_link_keys *keys;
    uint64_t refused; /* proofs that were wrong */
    uint64_t epoch;
    size_t max_waiting;
    size_t max_bytes;
    struct link_peers peers;
    struct slot *all;
    struct slot *idle;
    size_t idle_count;
    struct slot *ready; /* to be handed to the daemon */
    struct slot **ready_last;
    struct slot *armed;
    size_t waiting; /* requests received and not answered to the end */
    size_t bytes;   /* of those, and of answers on their way */
    int64_t swept_ns;
    int64_t retry_ns; /* not before: nothing could be armed for want of memory, nor listened */
};

/* ---- nng's threads ---- */

static void on_slot(void *arg)
{
    struct slot *slot = arg;
    slot->result = nng_aio_result(slot->aio);
    sl_mailbox_post(&slot->server->mailbox, &slot->letter.letter);
}

static void on_pipe_come(nng_pipe pipe, nng_pipe_ev event, void *arg)
{
    (void)event;
    struct sl_server *s = arg;
    struct link_peer *peer = calloc(1, sizeof *peer);
    if (!peer) {
        nng_pipe_close(pipe); /* no room for another peer now */
        return;
    }
    peer->come.kind = LINK_LETTER_COME;
    peer->id = (uint32_t)nng_pipe_id(pipe);
    sl_mailbox_post(&s->mailbox, &peer->come.letter);
}

static void on_pipe_gone(nng_pipe pipe, nng_pipe_ev event, void *arg)
{
    (void)event;
    struct sl_server *s = arg;
    struct gone *gone = calloc(1, sizeof *gone);
    if (!gone)
        return; /* the sweep finds it */
    gone->letter.kind = LINK_LETTER_GONE;
    gone->id = (uint32_t)nng_pipe_id(pipe);
    sl_mailbox_post(&s->mailbox, &gone->letter.letter);
}

/* ---- slots ---- */

static void slot_end_nng(struct slot *slot)
{
    if (slot->aio)
        nng_aio_free(slot->aio);
    if (slot->has_ctx)
        nng_ctx_close(slot->ctx);
    nng_msg_free(slot->message);
}

static void slot_free(struct slot *slot)
{
    struct sl_server *s = slot->server;
    if (slot->all_previous)
        slot->all_previous->all_next = slot->all_next;
    else
        s->all = slot->all_next;
    if (slot->all_next)
        slot->all_next->all_previous = slot->all_previous;
    slot_end_nng(slot);
    free(slot);
}

static struct slot *slot_new(struct sl_server *s)
{
    struct slot *slot = s->idle;
    if (slot) {
        s->idle = slot->next;
        s->idle_count--;
        slot->next = NULL;
        return slot;
    }
    slot = calloc(1, sizeof *slot);
    if (!slot)
        return NULL;
    slot->server = s;
    slot->letter.kind = LINK_LETTER_SLOT;
    slot->all_next = s->all;
    if (s->all)
        s->all->all_previous = slot;
    s->all = slot;
    if (nng_aio_alloc(&slot->aio, on_slot, slot) != 0 || nng_ctx_open(&slot->ctx, s->socket) != 0) {
        slot_free(slot);
        return NULL;
    }
    slot->has_ctx = true;
    return slot;
}

static void slot_rest(struct slot *slot)
{
    struct sl_server *s = slot->server;
    if (slot->peer) {
        slot->peer->held--;
        slot->peer = NULL;
    }
    s->bytes -= slot->bytes;
    slot->bytes = 0;
    nng_msg_free(slot->message);
    slot->message = NULL;
    slot->request = (struct sl_request){0};
    slot->state = SLOT_IDLE;
    if (s->idle_count >= IDLE_MAX) {
        slot_free(slot);
        return;
    }
    slot->next = s->idle;
    s->idle = slot;
    s->idle_count++;
}

/* Receives the next message if there is room for it. */
static void arm(struct sl_server *s)
{
    if (s->armed || s->waiting >= s->max_waiting || s->bytes >= s->max_bytes)
        return;
    struct slot *slot = slot_new(s);
    if (!slot) {
        s->retry_ns = sl_monotonic_ns() + 100 * SL_NS_PER_MS;
        return;
    }
    slot->state = SLOT_ARMED;
    s->armed = slot;
    nng_aio_set_timeout(slot->aio, NNG_DURATION_INFINITE);
    nng_ctx_recv(slot->ctx, slot->aio);
}

/* The end of a request that was received. */
static void slot_end(struct slot *slot)
{
    struct sl_server *s = slot->server;
    s->waiting--;
    slot_rest(slot);
}

static void send_answer(struct slot *slot, nng_msg *answer)
{
    struct sl_server *s = slot->server;
    /* The request's message has done its duty; what counts from now on is the answer. */
    s->bytes -= slot->bytes;
    slot->bytes = nng_msg_len(answer);
    s->bytes += slot->bytes;
    nng_msg_free(slot->message);
    slot->message = NULL;
    slot->request.body = (struct sl_reader){0};
    slot->state = SLOT_ANSWERING;
    nng_aio_set_msg(slot->aio, answer);
    nng_aio_set_timeout(slot->aio, ANSWER_WITHIN_MS);
    nng_ctx_send(slot->ctx, slot->aio);
    arm(s);
}

static nng_pipe peer_pipe(const struct link_peer *peer)
{
    return (nng_pipe){.id = peer->id};
}

/* Ends a request that can't be answered; its asker sees the connection close. */
static void slot_drop(struct slot *slot)
{
    nng_pipe_close(peer_pipe(slot->peer));
    struct sl_server *s = slot->server;
    slot_end(slot);
    arm(s);
}

static struct slot *slot_of(const struct sl_request *request)
{
    return (struct slot *)((char *)(uintptr_t)request - offsetof(struct slot, request));
}

/* ---- HELLO ---- */

static struct sl_slice secret_of(const struct sl_server *s)
{
    return s->keys ? s->keys->secret : sl_slice(NULL, 0);
}

static void answer_hello(struct slot *slot)
{
    struct sl_server *s = slot->server;
    struct link_peer *peer = slot->peer;
    struct sl_hello hello;
    if (sl_hello_decode(&slot->request.body, &hello) != 0) {
        sl_request_refuse(&slot->request, SL_STATUS_MALFORMED, "HELLO could not be read");
        return;
    }
    int r = link_peer_hello(peer, &hello, secret_of(s));
    if (r == LINK_PEER_HAS_ANOTHER_NAME) {
        sl_request_refuse(&slot->request, SL_STATUS_MALFORMED, "this connection has another name already");
        return;
    }
    if (r < 0) {
        slot_drop(slot);
        return;
    }
    s->refused += r == LINK_PEER_UNPROVEN && hello.proof.bytes > 0;
    nng_msg *answer;
    struct sl_writer w;
    struct sl_welcome welcome = {.epoch = s->epoch, .version = sl_slice_of(SL_VERSION)};
    memcpy(welcome.nonce, peer->nonce, sizeof welcome.nonce);
    uint8_t status = r == 0 ? SL_STATUS_OK : SL_STATUS_UNAUTHENTICATED;
    if (sl_answer_new(&slot->request, status, 512, &answer, &w) != 0) {
        slot_drop(slot);
        return;
    }
    sl_welcome_encode(&w, &welcome);
    sl_request_answer(&slot->request, answer, &w);
}

/* ---- what comes in ---- */

static void on_message(struct slot *slot)
{
    struct sl_server *s = slot->server;
    struct sl_request *request = &slot->request;
    request->body = sl_reader(sl_slice(nng_msg_body(slot->message), nng_msg_len(slot->message)));
    request->peer = slot->peer->id;
    /* What can be answered at all is answered with the asker's own type and id. */
    struct sl_slice bytes = sl_slice(nng_msg_body(slot->message), nng_msg_len(slot->message));
    int status = sl_message_open(&request->body, &request->head);
    if (status == SL_STATUS_NEWER) {
        sl_request_refuse(request, SL_STATUS_NEWER,
                          "this broker is " SL_VERSION " and does not know this request");
        return;
    }
    if (status != 0) {
        request->head = (struct sl_message_head){0};
        if (bytes.bytes >= SL_MESSAGE_HEAD_BYTES && sl_load32(bytes.data) == SL_MESSAGE_MAGIC)
            request->head = (struct sl_message_head){.type = bytes.data[5], .id = sl_load64(bytes.data + 8)};
        sl_request_refuse(request, SL_STATUS_MALFORMED, "this is not a request of sandlog");
        return;
    }
    if (request->head.type == SL_HELLO) {
        answer_hello(slot);
        return;
    }
    if (secret_of(s).bytes > 0 && !slot->peer->proven) {
        sl_request_refuse(request, SL_STATUS_UNAUTHENTICATED, "HELLO with a proof of the secret comes first");
        return;
    }
    request->role = slot->peer->role;
    request->host = slot->peer->host;
    slot->state = SLOT_READY;
    slot->next = NULL;
    *s->ready_last = slot;
    s->ready_last = &slot->next;
}

static void on_received(struct slot *slot)
{
    struct sl_server *s = slot->server;
    assert(s->armed == slot);
    s->armed = NULL;
    if (slot->result != 0) {
        slot_rest(slot);
        s->retry_ns = sl_monotonic_ns() + 100 * SL_NS_PER_MS;
        return;
    }
    slot->message = nng_aio_get_msg(slot->aio);
    nng_aio_set_msg(slot->aio, NULL);
    uint32_t id = (uint32_t)nng_pipe_id(nng_msg_get_pipe(slot->message));
    slot->peer = link_peers_find(&s->peers, id);
    if (!slot->peer) {
        slot_rest(slot); /* long gone */
        return;
    }
    slot->peer->held++;
    slot->bytes = nng_msg_len(slot->message);
    s->bytes += slot->bytes;
    s->waiting++;
    slot->request.host = "";
    slot->state = SLOT_HELD;
    on_message(slot);
}

static void on_answered(struct slot *slot)
{
    if (slot->result != 0) {
        nng_msg *answer = nng_aio_get_msg(slot->aio);
        nng_aio_set_msg(slot->aio, NULL);
        nng_msg_free(answer);
        /* It does not read, or there was no memory: it must not wait for an answer that will not come. */
        nng_pipe_close(peer_pipe(slot->peer));
    }
    slot_end(slot);
}

/* ---- the daemon's turn ---- */

static void listen_again(struct sl_server *s)
{
    if (link_listener_open(&s->listener, s->socket, s->keys) != 0)
        s->retry_ns = sl_monotonic_ns() + 100 * SL_NS_PER_MS;
}

static void take_letters(struct sl_server *s)
{
    struct sl_letter *letter = sl_mailbox_take(&s->mailbox);
    while (letter) {
        struct link_letter *l = (struct link_letter *)letter;
        letter = letter->next;
        switch (l->kind) {
        case LINK_LETTER_SLOT: {
            struct slot *slot = (struct slot *)l;
            if (slot->state == SLOT_ARMED)
                on_received(slot);
            else
                on_answered(slot);
            break;
        }
        case LINK_LETTER_COME:
            link_peers_add(&s->peers, (struct link_peer *)l);
            break;
        case LINK_LETTER_GONE: {
            struct gone *gone = (struct gone *)l;
            struct link_peer *peer = link_peers_find(&s->peers, gone->id);
            if (peer)
                link_peer_mark_gone(peer, sl_monotonic_ns());
            free(gone);
            break;
        }
        }
    }
}

struct sl_request *sl_server_next(struct sl_server *s)
{
    for (;;) {
        struct slot *slot = s->ready;
        if (slot) {
            s->ready = slot->next;
            if (!s->ready)
                s->ready_last = &s->ready;
            slot->next = NULL;
            slot->state = SLOT_HELD;
            if (slot->peer->fenced) {
                slot_drop(slot);
                continue;
            }
            return &slot->request;
        }
        take_letters(s);
        int64_t now_ns = sl_monotonic_ns();
        if (now_ns - s->swept_ns > SWEEP_EVERY_MS * SL_NS_PER_MS) {
            s->swept_ns = now_ns;
            link_peers_sweep(&s->peers, now_ns);
        }
        if (link_listener_deaf(&s->listener, now_ns)) {
            link_listener_close(&s->listener);
            listen_again(s);
        }
        if (now_ns >= s->retry_ns) {
            if (!s->listener.open)
                listen_again(s);
            arm(s);
        }
        if (!s->ready)
            return NULL;
    }
}

bool sl_request_alive(const struct sl_request *request)
{
    return !slot_of(request)->peer->gone;
}

/* ---- answers ---- */

int sl_answer_new(const struct sl_request *request, uint8_t status, size_t capacity, nng_msg **ret,
                  struct sl_writer *ret_w)
{
    nng_msg *message;
    if (nng_msg_alloc(&message, SL_MESSAGE_HEAD_BYTES + capacity) != 0)
        return -ENOMEM;
    struct sl_message_head head = {.type = request->head.type, .status = status, .id = request->head.id};
    if (head.type == 0)
        head.type = SL_HELLO; /* a message of no type that we could repeat */
    *ret_w = sl_writer(nng_msg_body(message), nng_msg_len(message));
    sl_message_begin(ret_w, &head);
    *ret = message;
    return 0;
}

void sl_request_answer(struct sl_request *request, nng_msg *answer, const struct sl_writer *w)
{
    struct slot *slot = slot_of(request);
    assert(slot->state == SLOT_HELD);
    assert(w->data == nng_msg_body(answer));
    if (w->failed || w->bytes > SL_MESSAGE_MAX_BYTES) {
        nng_msg_free(answer);
        sl_request_refuse(request, SL_STATUS_UNAVAILABLE, "the answer does not fit into a message");
        return;
    }
    nng_msg_chop(answer, nng_msg_len(answer) - w->bytes);
    send_answer(slot, answer);
}

void sl_request_refuse(struct sl_request *request, uint8_t status, const char *sentence)
{
    struct slot *slot = slot_of(request);
    assert(slot->state == SLOT_HELD);
    nng_msg *answer;
    struct sl_writer w;
    size_t bytes = sentence ? strnlen(sentence, UINT8_MAX) : 0;
    if (sl_answer_new(request, status, bytes + 1, &answer, &w) != 0) {
        slot_drop(slot);
        return;
    }
    sl_write_slice8(&w, sl_slice(sentence, bytes));
    sl_request_answer(request, answer, &w);
}

/* ---- the outside ---- */

static void drop_peer(struct link_peer *peer)
{
    if (!peer->gone)
        nng_pipe_close(peer_pipe(peer));
}

void sl_server_renew(struct sl_server *s, uint64_t epoch, bool drop)
{
    s->epoch = epoch;
    if (drop)
        link_peers_each(&s->peers, drop_peer);
}

bool sl_server_begin(struct sl_server *s, const struct sl_request *request, uint64_t instance)
{
    return link_peers_begin(&s->peers, slot_of(request)->peer, instance);
}

void sl_server_fence(struct sl_server *s, struct sl_slice host, uint64_t instance)
{
    char name[SL_HOST_MAX_BYTES + 1];
    if (host.bytes >= sizeof name)
        return;
    memcpy(name, host.data, host.bytes);
    name[host.bytes] = 0;
    link_peers_fence(&s->peers, name, instance);
}

void sl_server_set_keys(struct sl_server *s, struct sl_link_keys *keys)
{
    static const struct sl_link_keys none;
    if (sl_link_keys_equal(keys ? keys : &none, s->keys ? s->keys : &none))
        return;
    struct sl_link_keys *old = s->keys;
    s->keys = sl_link_keys_ref(keys);
    sl_link_keys_unref(old);
    if (link_tls_url(s->listener.url))
        link_listener_close(&s->listener);
    link_peers_each(&s->peers, drop_peer);
    if (!s->listener.open)
        listen_again(s);
}

uint64_t sl_server_refused(struct sl_server *s)
{
    return s->refused + link_listener_refused(&s->listener, sl_monotonic_ns());
}

int sl_server_fd(const struct sl_server *s)
{
    return s->mailbox.fd;
}

uint16_t sl_server_port(const struct sl_server *s)
{
    return s->listener.port;
}

size_t sl_server_peers(const struct sl_server *s, uint8_t role)
{
    return link_peers_count(&s->peers, role);
}

static int server_init(struct sl_server *s, const struct sl_server_options *options)
{
    link_threads_start();
    s->ready_last = &s->ready;
    s->epoch = options->epoch;
    s->max_waiting = options->max_waiting;
    s->max_bytes = options->max_bytes;
    s->swept_ns = sl_monotonic_ns();
    s->keys = sl_link_keys_ref(options->keys);
    int r = link_listener_init(&s->listener, options->url);
    if (r < 0)
        return r;
    r = nng_rep0_open(&s->socket);
    if (r == 0)
        r = nng_pipe_notify(s->socket, NNG_PIPE_EV_ADD_PRE, on_pipe_come, s);
    if (r == 0)
        r = nng_pipe_notify(s->socket, NNG_PIPE_EV_REM_POST, on_pipe_gone, s);
    if (r == 0)
        r = link_listener_open(&s->listener, s->socket, s->keys);
    return link_fault(r);
}

int sl_server_new(const struct sl_server_options *options, struct sl_server **ret)
{
    struct sl_server *s = calloc(1, sizeof *s);
    if (!s)
        return -ENOMEM;
    int r = sl_mailbox_init(&s->mailbox, options->wake, options->wake_arg);
    if (r < 0) {
        free(s);
        return r;
    }
    r = server_init(s, options);
    if (r < 0) {
        sl_server_free(s);
        return r;
    }
    arm(s);
    *ret = s;
    return 0;
}

/* Slots are in `all` too; news of connections live in the mailbox alone. */
static void drop_letters(struct sl_server *s)
{
    for (struct sl_letter *letter = sl_mailbox_take(&s->mailbox); letter;) {
        struct link_letter *l = (struct link_letter *)letter;
        letter = letter->next;
        if (l->kind != LINK_LETTER_SLOT)
            free(l);
    }
}

void sl_server_free(struct sl_server *s)
{
    if (!s)
        return;
    /* No new peers, then aios, contexts, and the socket last: nng 1.5.2 can hang the other way round. */
    link_listener_close(&s->listener);
    for (struct slot *slot = s->all; slot; slot = slot->all_next)
        nng_aio_stop(slot->aio);
    drop_letters(s);
    for (struct slot *slot = s->all; slot;) {
        struct slot *next = slot->all_next;
        /* Where the aio was stopped, its message (a request just received, an answer not sent) is ours. */
        if (slot->state == SLOT_ARMED || slot->state == SLOT_ANSWERING)
            nng_msg_free(nng_aio_get_msg(slot->aio));
        slot_end_nng(slot);
        free(slot);
        slot = next;
    }
    if (nng_socket_id(s->socket) > 0)
        nng_close(s->socket);
    drop_letters(s);
    sl_mailbox_fini(&s->mailbox);
    link_peers_free_all(&s->peers);
    sl_link_keys_unref(s->keys);
    link_listener_fini(&s->listener);
    free(s);
}
