// SPDX-License-Identifier: Apache-2.0
/*
 * The answering end of a link: requests arrive on the home thread in the order a peer sent them (one receive
 * armed at a time, LIBRARIES.md), and may be answered whenever, in any order.
 *
 * HELLO is answered in here: with a secret set, requests of a connection that has not proved itself are
 * answered SL_STATUS_UNAUTHENTICATED and never seen by the daemon. Memory is bounded: messages over
 * SL_MESSAGE_MAX_BYTES close their connection before memory is taken, and nothing more is received while
 * `max_waiting` requests are unanswered or `max_bytes` of requests are held (TCP then holds the peers back).
 *
 * All calls on the home thread; nng's threads only post to the mailbox.
 */
#pragma once
#include "wire/link_keys.h"
#include "wire/mailbox.h"
#include "wire/message.h"
#include <nng/nng.h>

struct sl_server;

struct sl_server_options {
    const char *url;           /* tcp://, ipc://, tls+tcp:// */
    struct sl_link_keys *keys; /* NULL: none. A reference is taken */
    uint64_t epoch;            /* told in WELCOME */
    size_t max_waiting;        /* unanswered requests, all peers together */
    size_t max_bytes;          /* of unanswered requests */
    void (*wake)(void *arg);   /* NULL: poll sl_server_fd() */
    void *wake_arg;
};

struct sl_request {
    struct sl_message_head head;
    struct sl_reader
        body;         /* borrowed from the message, which lives until the request is answered or dropped */
    uint32_t peer;    /* id of the connection */
    uint8_t role;     /* from its HELLO; 0: none said */
    const char *host; /* from its HELLO, "" if none; until the request is answered */
    void *user;       /* the daemon's own */
};

/* Faults: -EADDRINUSE, -EACCES, -EINVAL (a bad url, certificates that can't be used), -ENOMEM. */
int sl_server_new(const struct sl_server_options *options, struct sl_server **ret);
/* Stops receiving; unanswered requests are dropped (their askers see the connection close). */
void sl_server_free(struct sl_server *s);
int sl_server_fd(const struct sl_server *s);
/* From now on WELCOME says this epoch. `drop`: connections are closed, so that their peers come anew and
 * hear of it; requests that were received are still answered, to nobody. */
void sl_server_renew(struct sl_server *s, uint64_t epoch, bool drop);
/*
 * Other keys from now on. When they differ, all connections are closed, so that every peer proves itself
 * anew; a tls+tcp listener is replaced (nng 1.5.2 would let one more connection in by the old certificates).
 */
void sl_server_set_keys(struct sl_server *s, struct sl_link_keys *keys);
/* How many times a peer was not let in, for its secret or its certificate. Not older than a second. */
uint64_t sl_server_refused(struct sl_server *s);
/* The TCP port it listens on (the url may have said 0); 0 for ipc. */
uint16_t sl_server_port(const struct sl_server *s);
/* The next request in order of arrival, or NULL. */
struct sl_request *sl_server_next(struct sl_server *s);
/*
 * What a process left on its way when it was killed may arrive after its successor's first words, and would
 * then stand behind what is newer. So the asker of BEGIN says which process of its host it is (not 0), and
 * what was connected before is fenced: closed, and what still comes of it is dropped unseen. Fenced are the
 * asker's own earlier connections, and, when no connection named this instance in the last seconds, those of
 * all others of the host. Others that live come again, named already, and fence nobody: so several processes
 * of one host name are connected side by side. True: this was the first that was heard of the instance.
 */
bool sl_server_begin(struct sl_server *s, const struct sl_request *request, uint64_t instance);
/* The same for all connections of the host that are not the instance's, which is connected elsewhere. */
void sl_server_fence(struct sl_server *s, struct sl_slice host, uint64_t instance);
/* A peer's connections come and go unseen, but a request whose connection is gone may be dropped early. */
bool sl_request_alive(const struct sl_request *request);
/* Fresh answer with head written (status 0) and room for `capacity` body bytes. Fault: -ENOMEM. */
int sl_answer_new(const struct sl_request *request, uint8_t status, size_t capacity, nng_msg **ret,
                  struct sl_writer *ret_w);
/* Both take the answer and end the request. */
void sl_request_answer(struct sl_request *request, nng_msg *answer, const struct sl_writer *w);
/* A bare status with a sentence (may be NULL). Never fails: without memory the request is dropped. */
void sl_request_refuse(struct sl_request *request, uint8_t status, const char *sentence);

/* The number of peers connected now, by role. */
size_t sl_server_peers(const struct sl_server *s, uint8_t role);
