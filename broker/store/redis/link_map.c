// SPDX-License-Identifier: Apache-2.0
/* Servers, connections, and where the slots are. */
#include "link_inner.h"
#include "wire/timestamp.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>

#define PAUSE_FIRST_NS (50 * SL_NS_PER_MS)
#define PAUSE_MOST_NS  (2 * SL_NS_PER_S)
#define MAP_PAUSE_NS   (200 * SL_NS_PER_MS)

enum { CONNECT_MS = 1000 };

int link_new(const struct location *location, int timeout_ms, const atomic_uint *topology, struct link **ret)
{
    struct link *l = calloc(1, sizeof *l);
    if (!l)
        return -ENOMEM;
    l->location = *location;
    l->timeout_ms = timeout_ms;
    l->topology = topology;
    l->topology_seen = atomic_load(topology);
    l->jitter = (unsigned)sl_monotonic_ns() ^ (unsigned)(uintptr_t)l;
    memset(l->slots, 0xff, sizeof l->slots);
    for (unsigned i = 0; i < location->seed_count; i++) {
        struct node *n = &l->nodes[l->node_count++];
        memcpy(n->host, location->seeds[i].host, sizeof n->host);
        n->port = location->seeds[i].port;
    }
    *ret = l;
    return 0;
}

void link_free(struct link *l)
{
    if (!l)
        return;
    for (unsigned i = 0; i < l->node_count; i++)
        if (l->nodes[i].c)
            redisFree(l->nodes[i].c);
    free(l);
}

const char *link_why(const struct link *l)
{
    return l->why;
}

const char *reply_error(const redisReply *reply)
{
    return reply && reply->type == REDIS_REPLY_ERROR ? reply->str : NULL;
}

/* CRC-16 of the XMODEM kind, as Redis Cluster says. */
unsigned link_slot(struct sl_slice key)
{
    const uint8_t *open = memchr(key.data, '{', key.bytes);
    if (open) {
        size_t left = key.bytes - (size_t)(open + 1 - key.data);
        const uint8_t *shut = memchr(open + 1, '}', left);
        if (shut && shut > open + 1)
            key = sl_slice(open + 1, (size_t)(shut - open - 1));
    }
    unsigned crc = 0;
    for (size_t i = 0; i < key.bytes; i++) {
        crc ^= (unsigned)key.data[i] << 8;
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1;
        crc &= 0xffff;
    }
    return crc % LINK_SLOTS;
}

/* ---- what errors mean ---- */

void node_explain(struct link *l, const struct node *n, const char *error)
{
    static const struct {
        const char *code, *sentence;
    } known[] = {
        {"OOM", "is full (maxmemory): it takes nothing more until something is deleted or trimmed"},
        {"READONLY", "is a read-only replica: name its master as well"},
        {"LOADING", "is still loading its data"},
        {"MISCONF", "can't save to its disk and so takes no writes"},
        {"NOREPLICAS", "has fewer replicas than its min-replicas-to-write and so takes no writes"},
        {"MASTERDOWN", "is a replica that has lost its master"},
        {"CLUSTERDOWN", "is part of a cluster that is down"},
        {"BUSY ", "is held up by somebody's script"},
        {"NOAUTH", "wants a password"},
        {"WRONGPASS", "refuses the user or the password"},
        {"ERR invalid password", "refuses the password"},
        {"ERR AUTH", "has no password, but one was given"},
        {"ERR Client sent AUTH", "has no password, but one was given"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strncmp(error, known[i].code, strlen(known[i].code)) != 0)
            continue;
        snprintf(l->why, sizeof l->why, "Redis at %.100s port %d %s", n->host, n->port, known[i].sentence);
        return;
    }
    if (strncmp(error, "NOPERM", 6) == 0)
        snprintf(l->why, sizeof l->why, "Redis at %.100s port %d does not let this user work:%.100s", n->host,
                 n->port, error + 6);
    else
        snprintf(l->why, sizeof l->why, "Redis at %.100s port %d says: %.100s", n->host, n->port, error);
}

void link_explain(struct link *l, const struct call *c, const char *error)
{
    static const char aborted[] = "EXECABORT Transaction discarded because of: ";
    if (strncmp(error, aborted, sizeof aborted - 1) == 0)
        error += sizeof aborted - 1;
    node_explain(l, &l->nodes[c->node < l->node_count ? c->node : 0], error);
}

/* ---- connections ---- */

void node_drop(struct link *l, struct node *n)
{
    if (n->c)
        redisFree(n->c);
    n->c = NULL;
    n->pause_ns = n->pause_ns ? 2 * n->pause_ns : PAUSE_FIRST_NS;
    if (n->pause_ns > PAUSE_MOST_NS)
        n->pause_ns = PAUSE_MOST_NS;
    l->jitter = l->jitter * 1664525u + 1013904223u;
    n->again_ns = sl_monotonic_ns() + n->pause_ns / 2 + (int64_t)(l->jitter >> 8) % (n->pause_ns / 2 + 1);
    l->map_stale = true;
}

static redisContext *context_new(struct link *l, const struct node *n)
{
    struct timeval connect = {.tv_sec = CONNECT_MS / 1000, .tv_usec = CONNECT_MS % 1000 * 1000};
    struct timeval answer = {.tv_sec = l->timeout_ms / 1000, .tv_usec = l->timeout_ms % 1000 * 1000};
    redisContext *c = redisConnectWithTimeout(n->host, n->port, connect);
    if (!c || c->err || redisSetTimeout(c, answer) != REDIS_OK) {
        snprintf(l->why, sizeof l->why, "no connection to Redis at %.100s port %d: %.100s", n->host, n->port,
                 c ? c->errstr : "out of memory");
        if (c)
            redisFree(c);
        return NULL;
    }
    redisEnableKeepAlive(c);
    if (!*l->location.password)
        return c;
    redisReply *reply = *l->location.user
                            ? redisCommand(c, "AUTH %s %s", l->location.user, l->location.password)
                            : redisCommand(c, "AUTH %s", l->location.password);
    bool good = reply && !reply_error(reply);
    if (!good)
        node_explain(l, n, reply ? reply->str : "no answer to AUTH");
    freeReplyObject(reply);
    if (!good) {
        redisFree(c);
        return NULL;
    }
    return c;
}

bool node_up(struct link *l, struct node *n)
{
    if (n->c)
        return true;
    if (sl_monotonic_ns() < n->again_ns)
        return false;
    n->c = context_new(l, n);
    if (!n->c) {
        node_drop(l, n);
        return false;
    }
    return true;
}

redisContext *link_extra(struct link *l)
{
    for (unsigned i = 0; i < l->node_count; i++) {
        unsigned at = l->cluster || !l->mapped ? i : (l->single + i) % l->node_count;
        if (!node_up(l, &l->nodes[at]))
            continue;
        redisContext *c = context_new(l, &l->nodes[at]);
        if (c)
            return c;
    }
    return NULL;
}

unsigned node_get(struct link *l, const char *host, size_t host_bytes, int port)
{
    for (unsigned i = 0; i < l->node_count; i++)
        if (strlen(l->nodes[i].host) == host_bytes && memcmp(l->nodes[i].host, host, host_bytes) == 0 &&
            l->nodes[i].port == port)
            return i;
    if (l->node_count == LINK_NODES_MAX || host_bytes >= LINK_HOST_BYTES || host_bytes == 0)
        return NOWHERE;
    struct node *n = &l->nodes[l->node_count];
    *n = (struct node){.port = port};
    memcpy(n->host, host, host_bytes);
    return l->node_count++;
}

/* ---- where the slots are ---- */

static bool map_take(struct link *l, const struct node *asked, const redisReply *reply)
{
    char asked_host[LINK_HOST_BYTES];
    memcpy(asked_host, asked->host, sizeof asked_host);
    memset(l->slots, 0xff, sizeof l->slots);
    bool any = false;
    for (size_t i = 0; i < reply->elements; i++) {
        const redisReply *range = reply->element[i];
        if (range->type != REDIS_REPLY_ARRAY || range->elements < 3 ||
            range->element[0]->type != REDIS_REPLY_INTEGER ||
            range->element[1]->type != REDIS_REPLY_INTEGER || range->element[2]->type != REDIS_REPLY_ARRAY ||
            range->element[2]->elements < 2)
            continue;
        const redisReply *host = range->element[2]->element[0], *port = range->element[2]->element[1];
        if (port->type != REDIS_REPLY_INTEGER || port->integer < 1 || port->integer > 65535)
            continue;
        /* No name: the server that was asked. */
        bool named = host->type == REDIS_REPLY_STRING && host->len > 0;
        unsigned node = node_get(l, named ? host->str : asked_host, named ? host->len : strlen(asked_host),
                                 (int)port->integer);
        long long last = range->element[1]->integer;
        for (long long slot = range->element[0]->integer; slot >= 0 && slot <= last && slot < LINK_SLOTS;
             slot++)
            l->slots[slot] = (uint16_t)node;
        any = true;
    }
    return any;
}

/* > 0: a master; 0: a replica or loading; -ENOTCONN. */
static int is_master(struct link *l, struct node *n)
{
    redisReply *reply = redisCommand(n->c, "ROLE");
    if (!reply) {
        node_drop(l, n);
        return -ENOTCONN;
    }
    bool master = reply->type == REDIS_REPLY_ARRAY && reply->elements > 0 &&
                  reply->element[0]->type == REDIS_REPLY_STRING &&
                  strcmp(reply->element[0]->str, "master") == 0;
    if (!master)
        node_explain(l, n, reply_error(reply) ? reply->str : "READONLY");
    freeReplyObject(reply);
    return master;
}

static bool map_ask(struct link *l, unsigned index)
{
    struct node *n = &l->nodes[index];
    if (!node_up(l, n))
        return false;
    redisReply *reply = redisCommand(n->c, "CLUSTER SLOTS");
    if (!reply) {
        snprintf(l->why, sizeof l->why, "Redis at %.100s port %d does not answer", n->host, n->port);
        node_drop(l, n);
        return false;
    }
    const char *error = reply_error(reply);
    if (error && (strncmp(error, "NOAUTH", 6) == 0 || strncmp(error, "LOADING", 7) == 0)) {
        node_explain(l, n, error);
        freeReplyObject(reply);
        return false;
    }
    bool cluster = reply->type == REDIS_REPLY_ARRAY;
    bool good = cluster && map_take(l, n, reply);
    freeReplyObject(reply);
    if (cluster && !good)
        snprintf(l->why, sizeof l->why, "the cluster of Redis at %.100s port %d has no slots", n->host,
                 n->port);
    if (!cluster) {
        good = is_master(l, n) > 0;
        if (good)
            l->single = index;
    }
    if (!good)
        return false;
    n->pause_ns = 0;
    l->cluster = cluster;
    l->mapped = true;
    l->map_stale = false;
    return true;
}

int link_connect(struct link *l)
{
    int64_t now_ns = sl_monotonic_ns();
    unsigned topology = atomic_load(l->topology);
    if (topology != l->topology_seen) {
        /* The servers have changed roles: what was known of them is worth nothing. */
        l->topology_seen = topology;
        l->mapped = false;
    }
    if (l->mapped && (!l->map_stale || now_ns < l->map_ns + MAP_PAUSE_NS))
        return 0;
    l->map_ns = now_ns;
    for (unsigned i = 0; i < l->node_count; i++)
        if (map_ask(l, i))
            return 0;
    return l->mapped ? 0 : -ENOTCONN;
}
