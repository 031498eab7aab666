// SPDX-License-Identifier: Apache-2.0
/*
 * What the ends of a link prove themselves with: a shared secret, and certificates where the address is
 * tls+tcp. Read from files at start and again when a daemon is told to reload.
 *
 * tls+tcp: who listens needs `cert` and `key`; with `ca` too, only peers with a certificate of that authority
 * are let in (mutual TLS). Who dials needs `ca`, of which the other end's certificate has to be, for the host
 * that stands in the address; `cert` and `key` are what it proves itself with. nng has TLS through mbedTLS in
 * Debian's build; where it has none, reading says so.
 *
 * Immutable and refcounted; home thread. Contents are wiped when the last reference goes.
 */
#pragma once
#include "wire/slice.h"

struct sl_link_keys;

/* Paths, NULL for those that are not given; their options are named in sentences. */
struct sl_link_files {
    const char *secret; /* --secret: the file without a newline at its end, 1 to 4096 bytes */
    const char *ca;     /* --link-ca, PEM, one or more certificates */
    const char *cert;   /* --link-cert, PEM, the chain */
    const char *key;    /* --link-key, PEM, not encrypted */
};

enum { SL_LINK_KEYS_REFUSED = 1, SL_LINK_WHY_BYTES = 512 };
/*
 * > 0 (SL_LINK_KEYS_REFUSED) with a sentence in why: a file that can't be read or is not what it should be,
 * or one that an address of `urls` needs and that is not given. Fault: -ENOMEM.
 */
int sl_link_keys_read(const struct sl_link_files *files, bool listens, const char *const *urls,
                      size_t url_count, struct sl_link_keys **ret, char why[SL_LINK_WHY_BYTES]);
/* Of a secret alone, copied; empty: none. Fault: -ENOMEM. */
int sl_link_keys_of(struct sl_slice secret, struct sl_link_keys **ret);
struct sl_link_keys *sl_link_keys_ref(struct sl_link_keys *k); /* NULL is fine */
void sl_link_keys_unref(struct sl_link_keys *k);               /* NULL is fine */
bool sl_link_keys_equal(const struct sl_link_keys *a, const struct sl_link_keys *b);
