// SPDX-License-Identifier: Apache-2.0
/* Rounds: commands sent to where their slots are, their answers, redirections. */
#include "link_inner.h"
#include "wire/timestamp.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { TRIES = 6, SEND_BYTES = 64 << 10 };

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

int call_cut(struct call *c)
{
    int *ends = realloc(c->ends, (size_t)(c->commands + 1) * sizeof *ends);
    if (!ends)
        return -ENOMEM;
    c->ends = ends;
    c->ends[c->commands++] = c->argc;
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
    free(c->ends);
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
    c->fault = 0;
    for (int i = 0, from = 0; c->fault == 0 && i < (c->ends ? c->commands : 1); i++) {
        int to = c->ends ? c->ends[i] : c->argc, all;
        if (redisAppendCommandArgv(n->c, to - from, c->argv + from, c->bytes + from) != REDIS_OK) {
            c->fault = -ENOMEM;
            if (i > 0)
                node_drop(l, n); /* half of it is on its way */
        }
        from = to;
        /* The server works on the first while the next ones are written. A failure is met when the answer is
         * read. */
        if (c->fault == 0 && sdslen(n->c->obuf) >= SEND_BYTES)
            redisBufferWrite(n->c, &all);
    }
    n->waits = n->waits || (c->fault == 0 && c->waits);
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
        return !c->ends;
    }
    if (c->ends)
        return false;
    if (strncmp(error, "ASK ", 4) == 0) {
        c->node = redirection(l, error, &slot);
        c->asking = c->node != NOWHERE;
        return c->asking;
    }
    if (strncmp(error, "READONLY", 8) == 0)
        l->map_stale = true; /* a demoted master keeps its connections */
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
    redisReply *first_error = NULL;
    for (int i = 1; c->ends && i < c->commands; i++) {
        redisReply *queued = receive(l, n);
        if (!first_error && reply_error(queued))
            first_error = queued;
        else
            freeReplyObject(queued);
    }
    c->reply = receive(l, n);
    if (c->reply && first_error) {
        freeReplyObject(c->reply); /* "EXECABORT" */
        c->reply = first_error;
    } else {
        freeReplyObject(first_error);
    }
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
