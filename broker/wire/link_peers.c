// SPDX-License-Identifier: Apache-2.0
#include "link_peers.h"
#include "wire/timestamp.h"

#include <nng/nng.h>
#include <stdlib.h>

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
