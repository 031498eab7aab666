// SPDX-License-Identifier: Apache-2.0
/*
 * A client's requests: those that wait for a connection, those that nng has, and idle ones kept for reuse
 * with their context and aio. nng sends contexts in the order in which their sends were started, and here
 * only the home thread starts them; so requests leave in the order of their numbers.
 *
 * Home thread only, but for the aio's callback, which posts the request's letter. Inside the link library
 * only.
 */
#pragma once
#include "wire/link_client.h"
#include <stdatomic.h>

enum link_client_letter { LINK_LETTER_DONE, LINK_LETTER_PIPE };
struct link_client_letter_head {
    struct sl_letter letter; /* first: a letter of the client's mailbox is one of these */
    enum link_client_letter kind;
};

enum link_phase { LINK_PHASE_IDLE, LINK_PHASE_SENDING, LINK_PHASE_ANSWER };

struct link_request {
    struct link_client_letter_head done; /* posted when nng gives it back */
    struct link_flight *flight;
    struct link_request *next;           /* in `waiting`, in `idle`, or in a list of its owner */
    struct link_request *after, *before; /* in `sent` */
    nng_ctx ctx;
    nng_aio *aio;
    nng_msg *message;  /* ours: not sent yet, or the answer */
    _Atomic int phase; /* enum link_phase; still LINK_PHASE_SENDING in one that comes back unsent */
    int result;        /* of nng */
    bool has_ctx;
    /* The client's own. */
    bool hello;
    bool late; /* given up at its deadline; comes back cancelled */
    uint8_t type;
    uint32_t connection; /* count of connections when it was handed to nng */
    int fault;
    uint64_t number;
    uint64_t id;
    int64_t sent_ns;
    int64_t deadline_ns;
    sl_client_answered *answered;
    void *arg;
};

struct link_flight {
    struct sl_mailbox *mailbox;
    nng_socket socket;
    _Atomic int sending;          /* handed to nng and not sent yet */
    struct link_request *waiting; /* by number */
    struct link_request **waiting_last;
    struct link_request *sent; /* with nng */
    struct link_request *idle;
    size_t idle_count;
};

void link_flight_init(struct link_flight *f, struct sl_mailbox *mailbox, nng_socket socket);
/* Ends everything without a word to anybody; empties the mailbox. The socket is still open. */
void link_flight_fini(struct link_flight *f);

/* Fault: -ENOMEM. */
int link_request_new(struct link_flight *f, struct link_request **ret);
/* Without context and aio, only good for being told that it failed; ends the program without memory even for
 * that. */
struct link_request *link_request_bare(struct link_flight *f);
/* Done with it: kept for reuse or freed, its message freed. */
void link_request_rest(struct link_request *r);

/* Into `waiting`, at the place of its number. */
void link_flight_wait(struct link_flight *f, struct link_request *r);
/* The first that waits, taken out; NULL when none does. */
struct link_request *link_flight_next(struct link_flight *f);
/* Takes those out whose deadline has passed; returns them as a chain by `next`. */
struct link_request *link_flight_overdue(struct link_flight *f, int64_t now_ns);

/* Hands it and its message to nng. */
void link_flight_send(struct link_flight *f, struct link_request *r, uint32_t connection, int64_t now_ns);
/* Its letter has come: it is nng's no more. */
void link_flight_back(struct link_flight *f, struct link_request *r);
/* Takes back what nng has not sent; each comes with its letter. */
void link_flight_recall(struct link_flight *f);
