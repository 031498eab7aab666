// SPDX-License-Identifier: Apache-2.0
/* The inside of a link: servers and the map of slots (link_map.c), rounds (link.c). */
#pragma once
#include "link.h"

enum { NOWHERE = 0xffff };

struct node {
    char host[LINK_HOST_BYTES];
    int port;
    redisContext *c;
    int64_t pause_ns;
    int64_t again_ns; /* not before */
    bool waits;
};

struct link {
    struct location location;
    int timeout_ms;
    const atomic_uint *topology; /* moved by who finds that servers changed */
    unsigned topology_seen;
    struct node nodes[LINK_NODES_MAX];
    unsigned node_count;
    unsigned single; /* the node that serves all slots when there is no cluster */
    bool mapped;
    bool cluster;
    bool map_stale;
    int64_t map_ns; /* when it was last asked for */
    unsigned jitter;
    char why[LINK_WHY_BYTES];
    uint16_t slots[LINK_SLOTS];
};

bool node_up(struct link *l, struct node *n);
void node_drop(struct link *l, struct node *n);
unsigned node_get(struct link *l, const char *host, size_t host_bytes, int port);
/* link_why() becomes what an error of this server means. */
void node_explain(struct link *l, const struct node *n, const char *error);
