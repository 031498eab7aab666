// SPDX-License-Identifier: Apache-2.0
#include "link_listener.h"
#include "link_tls.h"
#include "wire/message.h"
#include "wire/timestamp.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ENVELOPE_BYTES = 4 }; /* nng's request id counts into RECVMAXSZ */

int link_listener_init(struct link_listener *l, const char *url)
{
    l->url = malloc(strlen(url) + sizeof "65535");
    if (!l->url)
        return -ENOMEM;
    strcpy(l->url, url);
    return 0;
}

void link_listener_fini(struct link_listener *l)
{
    link_listener_close(l);
    free(l->url);
}

int link_listener_open(struct link_listener *l, nng_socket socket, const struct sl_link_keys *keys)
{
    static const struct sl_link_keys none;
    /* Where it was, also when the address let the system choose. */
    size_t bytes = strlen(l->url);
    if (l->port != 0 && bytes > 2 && strcmp(l->url + bytes - 2, ":0") == 0)
        snprintf(l->url + bytes - 1, sizeof "65535", "%u", (unsigned)l->port);
    int r = nng_listener_create(&l->nng, socket, l->url);
    if (r != 0)
        return r;
    r = nng_listener_set_size(l->nng, NNG_OPT_RECVMAXSZ, SL_MESSAGE_MAX_BYTES + ENVELOPE_BYTES);
    if (r == 0)
        r = link_tls_listener(keys ? keys : &none, l->url, l->nng);
    if (r == 0)
        r = nng_listener_start(l->nng, 0);
    if (r != 0) {
        nng_listener_close(l->nng);
        return r;
    }
    l->open = true;
    int port;
    if (nng_listener_get_int(l->nng, NNG_OPT_TCP_BOUND_PORT, &port) == 0)
        l->port = (uint16_t)port;
    return 0;
}

static void count(struct link_listener *l)
{
    l->refused = link_tls_failures("listener", nng_listener_id(l->nng)).certificate;
}

void link_listener_close(struct link_listener *l)
{
    if (!l->open)
        return;
    if (link_tls_url(l->url))
        count(l);
    l->refused_before += l->refused;
    l->refused = 0;
    l->cut = false;
    l->open = false;
    nng_listener_close(l->nng);
}

/*
 * nng 1.5.2 stops accepting for good, without a word, when a peer closes an ipc connection while it is being
 * negotiated (listener_accept_cb on NNG_ECLOSED), as one that is killed does. It counts it, though: then the
 * listener is replaced, and all peers come again.
 */
bool link_listener_deaf(struct link_listener *l, int64_t now_ns)
{
    if (now_ns - l->looked_ns < SL_NS_PER_S || !l->open || strncmp(l->url, "ipc:", 4) != 0)
        return false;
    l->looked_ns = now_ns;
    bool before = l->cut;
    l->cut = link_tls_failures("listener", nng_listener_id(l->nng)).unborn > 0;
    return before && l->cut; /* twice: the numbers are not of one moment */
}

uint64_t link_listener_refused(struct link_listener *l, int64_t now_ns)
{
    if (link_tls_url(l->url) && l->open && now_ns - l->counted_ns >= SL_NS_PER_S) {
        l->counted_ns = now_ns;
        count(l);
    }
    return l->refused_before + l->refused;
}

int link_fault(int nng_error)
{
    switch (nng_error) {
    case 0:
        return 0;
    case NNG_EADDRINUSE:
        return -EADDRINUSE;
    case NNG_EPERM:
        return -EACCES;
    case NNG_ENOMEM:
        return -ENOMEM;
    case NNG_ENOFILES:
        return -EMFILE;
    case NNG_EADDRINVAL:
    case NNG_EINVAL:
    case NNG_ENOTSUP:
    case NNG_ENOENT:
        return -EINVAL;
    default:
        return nng_error > NNG_ESYSERR && nng_error < NNG_ETRANERR ? -(nng_error - NNG_ESYSERR) : -EIO;
    }
}
