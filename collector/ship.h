// SPDX-License-Identifier: Apache-2.0
/*
 * Shipping: blocks and changes to the broker in a window of requests, and what it answers.
 *
 * One request at a time is being filled, straight in its nng message; it goes when it is full or when
 * ship_flush() is called. A collector that has lines asks ship_wants() first: yes when nothing is in flight,
 * and when a full request's worth is waiting and the window is open; so single lines leave at once and a
 * backlog leaves in large requests. No line is kept for a resend: what fails is read again (file->life grows,
 * the sandbox is synced anew once nothing of it is in flight).
 *
 * Home thread. Answers come from ship_run() as calls of struct ship_events.
 */
#pragma once
#include "fleet.h"
#include "wire/link_client.h"
#include "wire/metrics.h"

struct ship;

struct ship_options {
    const char *const *urls;
    size_t url_count;
    const char *host;
    struct sl_link_keys *keys; /* a reference is taken */
};

struct ship_events {
    void (*connected)(void *arg, bool connected, uint64_t epoch, const char *why);
    /* The broker's places of a sandbox that was asked for; places are borrowed. */
    void (*places)(void *arg, struct sandbox *s, const struct sl_source_place *places, uint32_t count);
    /* Something of the sandbox was answered: there may be work again. */
    void (*answered)(void *arg, struct sandbox *s);
    /* The broker was told the sandbox's end (or can't be told: `ok` false). */
    void (*ended)(void *arg, struct sandbox *s, bool ok);
    /* The broker wants it read to its end. */
    void (*stop)(void *arg, struct sl_slice sandbox);
    /* An answer to ship_mine(): ids (sl_id_next) of sandboxes that run on this host as far as the broker
     * knows; NULL: ask again later. next_page 0: there are no more. */
    void (*mine)(void *arg, struct sl_reader *ids, uint64_t next_page);
    /* The source's sandbox was deleted. */
    void (*buried)(void *arg, struct file *f);
    void *arg;
};

struct ship_counts {
    uint64_t requests;
    uint64_t bytes;
    uint64_t resends; /* blocks that were not taken and are read again */
    uint64_t refused;
    struct sl_histogram latency;
};

int ship_new(const struct ship_options *options, struct fleet *fleet, const struct ship_events *events,
             struct ship **ret);
void ship_free(struct ship *ship);
void ship_set_keys(struct ship *ship, struct sl_link_keys *keys);
int ship_fd(const struct ship *ship);
bool ship_connected(const struct ship *ship);
uint32_t ship_connection(const struct ship *ship);
void ship_run(struct ship *ship);
struct ship_counts *ship_counts(struct ship *ship);

/* Whether blocks should be made now. `deep`: there is at least a whole request's worth waiting. */
bool ship_wants(const struct ship *ship, bool deep);
unsigned ship_in_flight(const struct ship *ship);
/* Takes the builder's lines as a block of `f`; -ENOMEM. */
int ship_block(struct ship *ship, struct file *f, struct file *also, struct sl_block_builder *lines,
               const struct sl_block_header *facts);
/* A change of a sandbox: labels and host, or (`end`) its end, which is answered by events.ended. */
int ship_change(struct ship *ship, struct sandbox *s, const struct sl_change *change, bool end);
/* Ends a source whose file is gone for good: as a gap of unknown size, if `gap`; -ENOMEM. */
int ship_gone(struct ship *ship, struct sandbox *s, const struct sl_source_place *place, bool gap);
/* Asks which sandboxes run on this host; -ENOMEM. */
int ship_mine(struct ship *ship, uint64_t page);
/* Sends what has been gathered. */
void ship_flush(struct ship *ship);
/* Asks for the places of sandboxes that want it. */
void ship_sync(struct ship *ship);
