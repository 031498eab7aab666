// SPDX-License-Identifier: Apache-2.0
#include "link.h"
#include "wire/timestamp.h"
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

#define PAUSE_FIRST_NS (50 * SL_NS_PER_MS)
#define PAUSE_MOST_NS  (2 * SL_NS_PER_S)
#define MAP_PAUSE_NS   (200 * SL_NS_PER_MS)

enum { CONNECT_MS = 1000, TRIES = 6, NOWHERE = 0xffff, SEND_BYTES = 64 << 10 };

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
    struct node nodes[LINK_NODES_MAX];
    unsigned node_count;
    unsigned single; /* the node that serves all slots when there is no cluster */
    bool mapped;
    bool cluster;
    bool map_stale;
    int64_t map_ns; /* when it was last asked for */
    unsigned generation;
    unsigned jitter;
    char why[256];
    uint16_t slots[LINK_SLOTS];
};

int link_new(const struct location *location, int timeout_ms, struct link **ret)
{
    struct link *l = calloc(1, sizeof *l);
    if (!l)
        return -ENOMEM;
    l->location = *location;
    l->timeout_ms = timeout_ms;
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

unsigned link_generation(const struct link *l)
{
    return l->generation;
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

/* ---- connections ---- */

static void node_drop(struct link *l, struct node *n)
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
        snprintf(l->why, sizeof l->why, "Redis at %.100s port %d refuses the password", n->host, n->port);
    freeReplyObject(reply);
    if (!good) {
        redisFree(c);
        return NULL;
    }
    return c;
}

static bool node_up(struct link *l, struct node *n)
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
    l->generation++;
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

static unsigned node_get(struct link *l, const char *host, size_t host_bytes, int port)
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
        snprintf(l->why, sizeof l->why, "Redis at %.100s port %d is no master: %.100s", n->host, n->port,
                 reply_error(reply) ? reply->str : "a replica");
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
    if (l->mapped && (!l->map_stale || now_ns < l->map_ns + MAP_PAUSE_NS))
        return 0;
    l->map_ns = now_ns;
    for (unsigned i = 0; i < l->node_count; i++)
        if (map_ask(l, i))
            return 0;
    return l->mapped ? 0 : -ENOTCONN;
}

/* ---- rounds ---- */

int call_add(struct call *c, const void *data, size_t bytes)
{
    if (c->argc == c->capacity) {
        int capacity = c->capacity ? 2 * c->capacity : 16;
        const char **argv = realloc(c->argv, (size_t)capacity * sizeof *argv);
        if (!argv)
            return -ENOMEM;
        c->argv = argv;
        size_t *lengths = realloc(c->bytes, (size_t)capacity * sizeof *lengths);
        if (!lengths)
            return -ENOMEM;
        c->bytes = lengths;
        c->capacity = capacity;
    }
    c->argv[c->argc] = data;
    c->bytes[c->argc++] = bytes;
    return 0;
}

int call_add_text(struct call *c, const char *text)
{
    return call_add(c, text, strlen(text));
}

void call_begin_script(struct call *c, const struct script *script)
{
    c->script = script;
}

void call_end(struct call *c)
{
    if (c->reply)
        freeReplyObject(c->reply);
    free(c->argv);
    free(c->bytes);
    *c = (struct call){0};
}

static unsigned where(const struct link *l, const struct call *c)
{
    return l->cluster ? l->slots[c->slot] : l->single;
}

/* "MOVED 3999 127.0.0.1:6381" */
static unsigned redirection(struct link *l, const char *text, unsigned *ret_slot)
{
    char *end;
    const char *at = strchr(text, ' ');
    unsigned long slot = at ? strtoul(at + 1, &end, 10) : LINK_SLOTS;
    const char *colon = at ? strrchr(end, ':') : NULL;
    if (!colon || *end != ' ' || slot >= LINK_SLOTS)
        return NOWHERE;
    long port = strtol(colon + 1, NULL, 10);
    if (port < 1 || port > 65535)
        return NOWHERE;
    *ret_slot = (unsigned)slot;
    return node_get(l, end + 1, (size_t)(colon - end - 1), (int)port);
}

static void send_call(struct link *l, struct call *c)
{
    unsigned at = c->asking ? c->node : where(l, c);
    struct node *n = at < l->node_count ? &l->nodes[at] : NULL;
    c->node = at;
    c->fault = -ENOTCONN;
    if (!n || !node_up(l, n))
        return;
    if (c->asking && redisAppendCommand(n->c, "ASKING") != REDIS_OK) {
        c->fault = -ENOMEM;
        return;
    }
    c->fault = redisAppendCommandArgv(n->c, c->argc, c->argv, c->bytes) == REDIS_OK ? 0 : -ENOMEM;
    n->waits = n->waits || (c->fault == 0 && c->waits);
    /* The server works on the first while the next ones are written. A failure is met when the answer is
     * read. */
    int all;
    if (c->fault == 0 && sdslen(n->c->obuf) >= SEND_BYTES)
        redisBufferWrite(n->c, &all);
}

/* An answer that says to ask again: true, and the call is due once more. */
static bool again(struct link *l, struct call *c)
{
    const char *error = reply_error(c->reply);
    c->asking = false;
    if (!error)
        return false;
    unsigned slot, node;
    if (c->script && strncmp(error, "NOSCRIPT", 8) == 0) {
        c->argv[0] = "EVAL";
        c->bytes[0] = 4;
        c->argv[1] = c->script->text;
        c->bytes[1] = strlen(c->script->text);
        return true;
    }
    if (strncmp(error, "MOVED ", 6) == 0) {
        node = redirection(l, error, &slot);
        if (node == NOWHERE)
            return false;
        l->slots[slot] = (uint16_t)node;
        l->cluster = l->mapped = l->map_stale = true;
        return true;
    }
    if (strncmp(error, "ASK ", 4) == 0) {
        c->node = redirection(l, error, &slot);
        c->asking = c->node != NOWHERE;
        return c->asking;
    }
    if (strncmp(error, "READONLY", 8) == 0)
        l->map_stale = true;
    return strncmp(error, "TRYAGAIN", 8) == 0;
}

static redisReply *receive(struct link *l, struct node *n)
{
    void *reply = NULL;
    if (!n->c || redisGetReply(n->c, &reply) != REDIS_OK) {
        if (n->c) {
            snprintf(l->why, sizeof l->why, "Redis at %.100s port %d does not answer: %.60s", n->host,
                     n->port, n->c->err == REDIS_ERR_IO ? "timed out or closed" : n->c->errstr);
            node_drop(l, n);
        }
        return NULL;
    }
    n->pause_ns = 0;
    return reply;
}

static void receive_call(struct link *l, struct call *c)
{
    struct node *n = &l->nodes[c->node];
    if (c->asking)
        freeReplyObject(receive(l, n));
    c->reply = receive(l, n);
    if (!c->reply)
        c->fault = -EIO;
}

/* One pass over the calls that are due. */
static void pass(struct link *l, struct call *calls, size_t count)
{
    const struct location *o = &l->location;
    for (unsigned i = 0; i < l->node_count; i++)
        l->nodes[i].waits = false;
    for (size_t i = 0; i < count; i++)
        if (calls[i].due)
            send_call(l, &calls[i]);
    for (unsigned i = 0; o->replicas && i < l->node_count; i++)
        if (l->nodes[i].waits && l->nodes[i].c)
            redisAppendCommand(l->nodes[i].c, "WAIT %d %d", o->replicas, o->wait_ms);
    for (size_t i = 0; i < count; i++)
        if (calls[i].due && calls[i].fault == 0)
            receive_call(l, &calls[i]);
    for (unsigned i = 0; o->replicas && i < l->node_count; i++) {
        if (!l->nodes[i].waits)
            continue;
        redisReply *have = receive(l, &l->nodes[i]);
        bool enough = have && have->type == REDIS_REPLY_INTEGER && have->integer >= o->replicas;
        if (have && !enough)
            snprintf(l->why, sizeof l->why, "fewer than %d replicas of Redis at %.100s port %d answer",
                     o->replicas, l->nodes[i].host, l->nodes[i].port);
        freeReplyObject(have);
        for (size_t k = 0; k < count && !enough; k++)
            if (calls[k].due && calls[k].waits && calls[k].node == i && calls[k].fault == 0 &&
                !reply_error(calls[k].reply))
                calls[k].fault = have ? -ETIMEDOUT : -EIO;
    }
}

void link_round(struct link *l, struct call *calls, size_t count)
{
    int connected = link_connect(l);
    for (size_t i = 0; i < count; i++) {
        calls[i].due = connected == 0;
        calls[i].fault = connected;
        calls[i].asking = false;
    }
    for (int try = 0; connected == 0 && try < TRIES; try++) {
        pass(l, calls, count);
        bool any = false;
        for (size_t i = 0; i < count; i++) {
            struct call *c = &calls[i];
            bool repeat = c->due && c->fault == 0 && again(l, c);
            c->due = repeat;
            if (!repeat)
                continue;
            any = true;
            freeReplyObject(c->reply);
            c->reply = NULL;
            c->fault = -EAGAIN;
        }
        if (!any)
            break;
        link_connect(l);
        if (try > 1)
            nanosleep(&(struct timespec){.tv_nsec = 20 * SL_NS_PER_MS}, NULL);
    }
}

/* ---- SHA-1, the name Redis gives to a script ---- */

static uint32_t rotate(uint32_t v, int n)
{
    return v << n | v >> (32 - n);
}

static void sha1_chunk(uint32_t h[5], const uint8_t in[64])
{
    uint32_t w[80];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)in[4 * i] << 24 | (uint32_t)in[4 * i + 1] << 16 | (uint32_t)in[4 * i + 2] << 8 |
               in[4 * i + 3];
    for (int i = 16; i < 80; i++)
        w[i] = rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    uint32_t a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
    for (int i = 0; i < 80; i++) {
        uint32_t f = i < 20   ? (b & c) | (~b & d)
                     : i < 40 ? b ^ c ^ d
                     : i < 60 ? (b & c) | (b & d) | (c & d)
                              : b ^ c ^ d;
        static const uint32_t k[4] = {0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6};
        uint32_t t = rotate(a, 5) + f + e + k[i / 20] + w[i];
        e = d;
        d = c;
        c = rotate(b, 30);
        b = a;
        a = t;
    }
    h[0] += a;
    h[1] += b;
    h[2] += c;
    h[3] += d;
    h[4] += e;
}

void script_init(struct script *s)
{
    uint32_t h[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    size_t bytes = strlen(s->text), at = 0;
    for (; bytes - at >= 64; at += 64)
        sha1_chunk(h, (const uint8_t *)s->text + at);
    uint8_t last[128] = {0};
    size_t left = bytes - at;
    memcpy(last, s->text + at, left);
    last[left] = 0x80;
    size_t end = left < 56 ? 64 : 128;
    for (int i = 0; i < 8; i++)
        last[end - 1 - (size_t)i] = (uint8_t)((uint64_t)bytes * 8 >> (8 * i));
    for (size_t i = 0; i < end; i += 64)
        sha1_chunk(h, last + i);
    for (int i = 0; i < 5; i++)
        snprintf(s->sha + 8 * i, 9, "%08x", (unsigned)h[i]);
}
