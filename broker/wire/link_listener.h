// SPDX-License-Identifier: Apache-2.0
/*
 * Where a server listens: one nng listener at a time, opened again where it was when its certificates change
 * or when it has stopped accepting, and what nng counted of those it refused, over all of them. Home thread
 * only. Inside the link library only.
 */
#pragma once
#include <nng/nng.h>
#include <stdbool.h>
#include <stdint.h>

struct sl_link_keys;

struct link_listener {
    char *url; /* as it was given; with the port that was chosen once it is open again */
    nng_listener nng;
    bool open;
    uint16_t port; /* of tcp: and tls+tcp:, once it was open */
    bool cut;      /* at the last look a connection of this one had ended before it was one */
    int64_t looked_ns;
    uint64_t refused_before; /* by earlier ones */
    uint64_t refused;        /* by this one, as counted last */
    int64_t counted_ns;
};

/* -ENOMEM; all zero before. Does not open. */
int link_listener_init(struct link_listener *l, const char *url);
void link_listener_fini(struct link_listener *l);

/* `keys` may be NULL. An nng error; then it is closed and may be opened again. */
int link_listener_open(struct link_listener *l, nng_socket socket, const struct sl_link_keys *keys);
/* Nothing to do when it is closed. */
void link_listener_close(struct link_listener *l);

/* True when it accepts nobody any more: to be closed and opened. Looks once a second. */
bool link_listener_deaf(struct link_listener *l, int64_t now_ns);
/* Connections whose certificate was not taken, or that did not take ours. Counts once a second. */
uint64_t link_listener_refused(struct link_listener *l, int64_t now_ns);

/* An nng error as -errno. */
int link_fault(int nng_error);
