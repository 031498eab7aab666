// SPDX-License-Identifier: Apache-2.0
/*
 * The inside of link_keys.h, and how nng is told of it. Home thread. Inside the link library only.
 */
#pragma once
#include "wire/link_keys.h"
#include <nng/nng.h>

struct sl_link_keys {
    size_t refs;
    struct sl_slice secret;
    /* PEM, NUL-terminated, or NULL. */
    char *ca, *cert, *key;
};

bool link_tls_url(const char *url);
/* Gives the certificates to what is about to listen or dial at `url`; nothing to do for other addresses. An
 * nng error. */
int link_tls_listener(const struct sl_link_keys *k, const char *url, nng_listener listener);
int link_tls_dialer(const struct sl_link_keys *k, const char *url, nng_dialer dialer);

/* What nng counted: attempts that failed because of certificates, and in other ways that a peer may cause. */
struct link_tls_failures {
    uint64_t certificate; /* not taken by one of the two ends */
    uint64_t other;       /* cut; so does an end that got no certificate */
    /* Of a listener's `other`, those before they were connections: each one that was counts once in `other`
     * too when it ends, a moment before it is taken off. */
    uint64_t unborn;
    uint64_t refused; /* nobody listens */
};
/* `kind` is "listener" or "dialer". Walks all of nng's numbers: not more than once a second. */
struct link_tls_failures link_tls_failures(const char *kind, int id);
