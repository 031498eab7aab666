// SPDX-License-Identifier: Apache-2.0
#include "link_peers.h"
#include "wire/timestamp.h"

#include <errno.h>
#include <nng/nng.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { GONE_KEPT_MS = 5000 }; /* messages that nng had read are delivered by then */

/* nng counts pipe ids up from a random start, so that their low bits spread them evenly. */
static size_t bucket_of(uint32_t id)
{
    return id % LINK_PEER_BUCKETS;
}

void link_peers_add(struct link_peers *peers, struct link_peer *peer)
{
    struct link_peer **first = &peers->bucket[bucket_of(peer->id)];
    peer->next = *first;
    *first = peer;
}

struct link_peer *link_peers_find(const struct link_peers *peers, uint32_t id)
{
    struct link_peer *peer = peers->bucket[bucket_of(id)];
    while (peer && peer->id != id)
        peer = peer->next;
    return peer;
}

void link_peer_mark_gone(struct link_peer *peer, int64_t now_ns)
{
    if (!peer->gone) {
        peer->gone = true;
        peer->gone_ns = now_ns;
    }
}

void link_peers_sweep(struct link_peers *peers, int64_t now_ns)
{
    for (size_t i = 0; i < LINK_PEER_BUCKETS; i++) {
        struct link_peer **at = &peers->bucket[i];
        while (*at) {
            struct link_peer *peer = *at;
            if (nng_listener_id(nng_pipe_listener((nng_pipe){.id = peer->id})) < 0)
                link_peer_mark_gone(peer, now_ns);
            if (peer->gone && peer->held == 0 && now_ns - peer->gone_ns > GONE_KEPT_MS * SL_NS_PER_MS) {
                *at = peer->next;
                free(peer);
            } else {
                at = &peer->next;
            }
        }
    }
}

int link_peer_hello(struct link_peer *peer, const struct sl_hello *hello, struct sl_slice secret)
{
    if (peer->role != 0 &&
        (peer->role != hello->role || !sl_slice_equal(sl_slice_of(peer->host), hello->host)))
        return LINK_PEER_HAS_ANOTHER_NAME;
    if (!peer->has_nonce) {
        if (getrandom(peer->nonce, sizeof peer->nonce, 0) != (ssize_t)sizeof peer->nonce)
            return -EIO;
        peer->has_nonce = true;
    }
    if (secret.bytes > 0) {
        uint8_t proof[LINK_PROOF_BYTES];
        int r = link_proof(secret, peer->nonce, hello->role, hello->host, proof);
        if (r < 0)
            return r;
        if (!link_proof_equal(hello->proof, proof))
            return LINK_PEER_UNPROVEN;
    }
    peer->proven = true;
    peer->role = hello->role;
    if (hello->host.bytes > 0)
        memcpy(peer->host, hello->host.data, hello->host.bytes);
    return 0;
}

size_t link_peers_count(const struct link_peers *peers, uint8_t role)
{
    size_t count = 0;
    for (size_t i = 0; i < LINK_PEER_BUCKETS; i++)
        for (const struct link_peer *peer = peers->bucket[i]; peer; peer = peer->next)
            count += !peer->gone && peer->role == role;
    return count;
}

void link_peers_each(struct link_peers *peers, void (*each)(struct link_peer *peer))
{
    for (size_t i = 0; i < LINK_PEER_BUCKETS; i++)
        for (struct link_peer *peer = peers->bucket[i]; peer; peer = peer->next)
            each(peer);
}

static void fence(struct link_peer *peer)
{
    peer->fenced = true;
    if (!peer->gone)
        nng_pipe_close((nng_pipe){.id = peer->id});
}

bool link_peers_begin(struct link_peers *peers, struct link_peer *peer, uint64_t instance)
{
    bool first = true;
    peer->instance = instance;
    for (size_t i = 0; i < LINK_PEER_BUCKETS; i++)
        for (struct link_peer *other = peers->bucket[i]; other; other = other->next)
            if (other != peer && other->instance == instance && strcmp(other->host, peer->host) == 0) {
                first = false;
                fence(other);
            }
    if (first)
        link_peers_fence(peers, peer->host, instance);
    return first;
}

void link_peers_fence(struct link_peers *peers, const char *host, uint64_t instance)
{
    for (size_t i = 0; i < LINK_PEER_BUCKETS; i++)
        for (struct link_peer *peer = peers->bucket[i]; peer; peer = peer->next)
            if (peer->role == SL_ROLE_COLLECTOR && peer->instance != instance &&
                strcmp(peer->host, host) == 0)
                fence(peer);
}

void link_peers_free_all(struct link_peers *peers)
{
    for (size_t i = 0; i < LINK_PEER_BUCKETS; i++) {
        struct link_peer *peer = peers->bucket[i];
        peers->bucket[i] = NULL;
        while (peer) {
            struct link_peer *next = peer->next;
            free(peer);
            peer = next;
        }
    }
}
