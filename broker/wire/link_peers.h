// SPDX-License-Identifier: Apache-2.0
/*
 * The connections of a server, by nng's pipe id: who is at the other end, what it has proved, and how many of
 * its requests are held. An entry outlives its connection: nng still delivers what it had read by then, and
 * the daemon may hold requests of it. Home thread only. Inside the link library only.
 */
#pragma once
#include "link_proof.h"
#include "wire/mailbox.h"
#include "wire/message.h"

enum { LINK_PEER_BUCKETS = 256 };

enum link_letter_kind { LINK_LETTER_SLOT, LINK_LETTER_COME, LINK_LETTER_GONE };
struct link_letter {
    struct sl_letter letter; /* first: a letter of the server's mailbox is one of these */
    enum link_letter_kind kind;
};

struct link_peer {
    struct link_letter come; /* made in nng's thread, and posted from there to be added */
    struct link_peer *next;
    uint32_t id;
    uint8_t role; /* 0 until its HELLO was accepted */
    bool proven;
    bool gone;
    bool has_nonce;
    uint8_t nonce[LINK_NONCE_BYTES];
    char host[SL_HOST_MAX_BYTES + 1];
    uint64_t instance; /* from its BEGIN; 0: none said */
    bool fenced;       /* nothing of it is taken any more */
    size_t held;       /* its requests in the daemon's hands or on their way back */
    int64_t gone_ns;
};

struct link_peers {
    struct link_peer *bucket[LINK_PEER_BUCKETS];
};

/* Takes the peer. */
void link_peers_add(struct link_peers *peers, struct link_peer *peer);
/* NULL when there is none. */
struct link_peer *link_peers_find(const struct link_peers *peers, uint32_t id);
void link_peer_mark_gone(struct link_peer *peer, int64_t now_ns);
/* Finds connections that went unseen, and frees entries that are gone for a while and hold nothing. */
void link_peers_sweep(struct link_peers *peers, int64_t now_ns);
void link_peers_each(struct link_peers *peers, void (*each)(struct link_peer *peer));
/* What a HELLO says of the peer, who has the name then if it is proved (with an empty secret: always). The
 * nonce that a proof is over is made at the first one. Faults: -errno. */
enum { LINK_PEER_HAS_ANOTHER_NAME = 1, LINK_PEER_UNPROVEN };
int link_peer_hello(struct link_peer *peer, const struct sl_hello *hello, struct sl_slice secret);
/* For sl_server_begin() and sl_server_fence(), which see. */
bool link_peers_begin(struct link_peers *peers, struct link_peer *peer, uint64_t instance);
void link_peers_fence(struct link_peers *peers, const char *host, uint64_t instance);
/* Connections of that role that are there now. */
size_t link_peers_count(const struct link_peers *peers, uint8_t role);
void link_peers_free_all(struct link_peers *peers);
