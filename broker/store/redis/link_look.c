// SPDX-License-Identifier: Apache-2.0
/* What a server says of itself, once a second: whether it is still the same, and whether it would take a
 * write. */
#include "link_inner.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { FIELD_BYTES = 128, PROBE_TAGS_MAX = 1 << 16 };

/* The value of a line `name:value` of INFO; "" when there is none. */
static void info_field(const char *info, const char *name, char out[FIELD_BYTES])
{
    size_t bytes = strlen(name);
    out[0] = 0;
    for (const char *at = info; at; at = strchr(at, '\n'), at = at ? at + 1 : NULL) {
        if (strncmp(at, name, bytes) != 0 || at[bytes] != ':')
            continue;
        at += bytes + 1;
        size_t length = strcspn(at, "\r\n");
        length = length < FIELD_BYTES ? length : FIELD_BYTES - 1;
        memcpy(out, at, length);
        out[length] = 0;
        return;
    }
}

static uint64_t mix(uint64_t hash, const char *text)
{
    for (; *text; text++)
        hash = (hash ^ (uint8_t)*text) * UINT64_C(1099511628211);
    return (hash ^ ':') * UINT64_C(1099511628211);
}

static redisReply *ask(struct link *l, struct node *n, int argc, const char **argv)
{
    redisReply *reply = redisCommandArgv(n->c, argc, argv, NULL);
    if (!reply) {
        snprintf(l->why, sizeof l->why, "Redis at %.100s port %d does not answer", n->host, n->port);
        node_drop(l, n);
    }
    return reply;
}

static int look_info(struct link *l, struct node *n, uint64_t *identity)
{
    redisReply *reply = ask(l, n, 1, (const char *[]){"INFO"});
    if (!reply)
        return -ENOTCONN;
    const char *error = reply_error(reply);
    if (error || !reply->str) {
        node_explain(l, n, error ? error : "no INFO");
        freeReplyObject(reply);
        return -EAGAIN;
    }
    char run[FIELD_BYTES], history[FIELD_BYTES], policy[FIELD_BYTES], memory[FIELD_BYTES], port[16];
    info_field(reply->str, "run_id", run);
    info_field(reply->str, "master_replid", history);
    info_field(reply->str, "maxmemory_policy", policy);
    info_field(reply->str, "maxmemory", memory);
    freeReplyObject(reply);
    snprintf(port, sizeof port, "%d", n->port);
    /* Added, so that the order of servers does not matter. */
    *identity += mix(mix(mix(mix(UINT64_C(14695981039346656037), n->host), port), run), history);
    if (strncmp(policy, "allkeys", 7) != 0 || strtoull(memory, NULL, 10) == 0)
        return 0;
    snprintf(
        l->why, sizeof l->why,
        "Redis at %.100s port %d throws lines away when it is full (maxmemory-policy %.40s): set noeviction",
        n->host, n->port, policy);
    return -EAGAIN;
}

/* A write that is judged as every other, and changes nothing: no list has this name. */
static int look_write(struct link *l, unsigned index)
{
    struct node *n = &l->nodes[index];
    char key[40] = "sandlog:{0}:probe";
    for (unsigned tag = 0; l->cluster && tag < PROBE_TAGS_MAX; tag++) {
        snprintf(key, sizeof key, "sandlog:{%u}:probe", tag);
        if (l->slots[link_slot(sl_slice_of(key))] == index)
            break;
    }
    redisReply *reply = ask(l, n, 3, (const char *[]){"LPUSHX", key, "x"});
    if (!reply)
        return -ENOTCONN;
    const char *error = reply_error(reply);
    /* A slot that is moving, or has moved, is not the server's trouble. */
    bool moving = error && (strncmp(error, "MOVED ", 6) == 0 || strncmp(error, "ASK ", 4) == 0 ||
                            strncmp(error, "TRYAGAIN", 8) == 0);
    l->map_stale = l->map_stale || moving || (error && strncmp(error, "READONLY", 8) == 0);
    if (error && !moving)
        node_explain(l, n, error);
    freeReplyObject(reply);
    return error && !moving ? -EAGAIN : 0;
}

static bool serves(const struct link *l, unsigned index)
{
    if (!l->cluster)
        return index == l->single;
    for (unsigned slot = 0; slot < LINK_SLOTS; slot++)
        if (l->slots[slot] == index)
            return true;
    return false;
}

int link_look(struct link *l, uint64_t *ret_identity)
{
    uint64_t identity = 0;
    int fault = link_connect(l), bad = 0;
    for (unsigned i = 0; fault == 0 && i < l->node_count; i++) {
        if (!serves(l, i))
            continue;
        struct node *n = &l->nodes[i];
        fault = node_up(l, n) ? look_info(l, n, &identity) : -ENOTCONN;
        if (fault == 0)
            fault = look_write(l, i);
        if (fault == -EAGAIN) {
            bad = fault;
            fault = 0;
        }
    }
    if (fault)
        return fault;
    *ret_identity = identity;
    return bad;
}
