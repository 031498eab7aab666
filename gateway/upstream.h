// SPDX-License-Identifier: Apache-2.0
/*
 * The way to the brokers: asks over one sl_client, and lets an asker walk away. All on the home thread.
 *
 * `done` is called exactly once, from upstream_run(), unless upstream_cancel() came first. Answers are
 * borrowed until it returns. Faults: those of sl_client_ask(), and -EAGAIN (the store can't answer now),
 * -EACCES (the broker does not take our secret), -EPROTO (an answer that can't be read).
 */
#pragma once
#include "wire/link_client.h"

struct upstream;
struct upstream_call;

struct upstream_options {
    const char *const *urls;
    size_t url_count;
    struct sl_link_keys *keys; /* a reference is taken */
    void (*wake)(void *arg);   /* any thread */
    void (*changed)(void *arg, bool connected);
    void *arg;
};
int upstream_new(const struct upstream_options *options, struct upstream **ret);
/* Ends the link and its threads; calls stay, may be cancelled, and are never answered. */
void upstream_stop(struct upstream *u);
void upstream_free(struct upstream *u);
void upstream_run(struct upstream *u);
void upstream_set_keys(struct upstream *u, struct sl_link_keys *keys);
/* NULL while connected, else a sentence. */
const char *upstream_missing(const struct upstream *u);

/*
 * How long a first answer is waited for, so that a client hears of a broker that is away (`grace_ns`), or
 * there and silent, within 5 s.
 */
enum { UPSTREAM_ANSWER_MS = 4000 };
int64_t upstream_patience_ms(const struct upstream *u, int64_t grace_ns);

/* When fault is 0, `status` is SL_STATUS_OK, NOT_FOUND, or one of the export's; `body` stands behind the
 * head. */
typedef void upstream_done(void *arg, int fault, uint8_t status, struct sl_reader *body);
/* A request as sl_client_message_new() made it; taken in any case. NULL: no memory, or `u` is NULL
 * as in a gateway that ends; nothing was asked. */
struct upstream_call *upstream_ask(struct upstream *u, nng_msg *request, const struct sl_writer *w,
                                   int64_t timeout_ms, upstream_done *done, void *arg);
void upstream_cancel(struct upstream_call *call); /* NULL is fine */

/* What is asked for at once, but by a download that takes what it gets as fast as it comes (reader.c). */
enum { UPSTREAM_PAGE_BYTES = 256 << 10 };

/* One sandbox's page: READ with a single entry. */
struct upstream_page {
    uint64_t epoch;
    int64_t now_ns; /* the broker's clock */
    struct sl_read_part part;
};
typedef void upstream_paged(void *arg, int fault, const struct upstream_page *page);
/* Within upstream_paged, once: the message that the page's records are in; nng_msg_free() by the caller. */
nng_msg *upstream_keep(struct upstream *u);
struct upstream_read {
    struct sl_read_entry entry;
    uint32_t max_bytes;
    uint32_t wait_ms;
    int64_t timeout_ms; /* behind wait_ms */
};
/* With wait_ms and no news, page->part.found is false and page->part.place.version is 0. */
struct upstream_call *upstream_read(struct upstream *u, const struct upstream_read *read,
                                    upstream_paged *done, void *arg);
