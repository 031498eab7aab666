// SPDX-License-Identifier: Apache-2.0
/*
 * The asking end of a link: requests to one broker out of several, many in flight, answers by callback on the
 * home thread.
 *
 * It dials one address at a time and moves on to the next when that one fails (back-off 50 ms to 5 s with
 * jitter; nng itself reconnects to the same one). On every new connection it says HELLO by itself and answers
 * the broker's challenge with the secret; requests asked meanwhile wait for it. It never sends a request
 * twice: when the connection or the deadline goes, `answered` gets a fault and the asker decides. Requests
 * leave in the order they were asked.
 *
 * All calls and all callbacks on the home thread; nng's threads only post to the mailbox. REQ resend time is
 * 0 (LIBRARIES.md: otherwise nng repeats requests by itself).
 */
#pragma once
#include "wire/link_keys.h"
#include "wire/mailbox.h"
#include "wire/message.h"
#include <nng/nng.h>

struct sl_client;

struct sl_client_options {
    const char *const *urls; /* 1 to 16; tcp://, ipc://, tls+tcp:// */
    size_t url_count;
    uint8_t role;      /* enum sl_role */
    const char *host;  /* collector's host name, or "" */
    uint64_t instance; /* names this process among those of its host: BEGIN says it; 0: it is not said */
    struct sl_link_keys *keys; /* NULL: none. A reference is taken */
    void (*wake)(
        void *arg); /* from any thread: call sl_client_run() soon. NULL: poll sl_client_fd() instead */
    void *wake_arg;
    /* Home thread; connected: HELLO went through, epoch is the store's. Not connected: `why` is a short
     * sentence. */
    void (*changed)(void *arg, bool connected, uint64_t epoch, const char *why);
    void *arg;
};

/* Faults: -EINVAL (no url or too many; a collector without host, another with one), -ENOMEM, -EMFILE. */
int sl_client_new(const struct sl_client_options *options, struct sl_client **ret);
/* Cancels what is in flight without callbacks. */
void sl_client_free(struct sl_client *c);
/* Other keys from the next connection on; one that was refused is tried again at once. */
void sl_client_set_keys(struct sl_client *c, struct sl_link_keys *keys);
int sl_client_fd(const struct sl_client *c);
bool sl_client_connected(const struct sl_client *c);

/*
 * A fresh message with room for `capacity` body bytes and the head written; *ret_w writes into it behind the
 * head (or compress straight to w->data + w->bytes and add to w->bytes). sl_client_ask() cuts it to w->bytes.
 * Fault: -ENOMEM.
 */
int sl_client_message_new(uint8_t type, size_t capacity, nng_msg **ret, struct sl_writer *ret_w);

/*
 * Takes `request` in any case. `answered` is called exactly once, from sl_client_run(): fault 0 with the
 * answer opened (reader at the body, head read; the message is freed after the callback returns), or a fault
 * < 0 with head and body NULL: -ECONNRESET (the connection went: the request may or may not have been done),
 * -ETIMEDOUT, -EMSGSIZE, -ENOMEM. Not connected: the request waits for a connection until its deadline.
 */
typedef void sl_client_answered(void *arg, int fault, const struct sl_message_head *head,
                                struct sl_reader *body);
void sl_client_ask(struct sl_client *c, nng_msg *request, const struct sl_writer *w, int64_t timeout_ms,
                   sl_client_answered *answered, void *arg);
/* Within `answered`, once: the message that `body` reads is the caller's, to be freed by nng_msg_free(). */
nng_msg *sl_client_keep(struct sl_client *c);
/* Home thread, when woken or when sl_client_fd() is readable, and at least every 100 ms: callbacks, dialling,
 * deadlines. */
void sl_client_run(struct sl_client *c);
