// SPDX-License-Identifier: Apache-2.0
/*
 * The way to Redis: one server, or a cluster of them whose slots move. A round is some commands, sent to
 * where their slots are, all before the first answer is awaited; MOVED, ASK, NOSCRIPT and TRYAGAIN are dealt
 * with here. A connection that failed is made again by a later round, after a pause that grows.
 *
 * One thread per link. Nothing here outlives a call but connections and the map of slots.
 */
#pragma once
#include "wire/slice.h"
#include <hiredis/hiredis.h>
#include <stdatomic.h>

enum {
    LINK_SEEDS_MAX = 16,
    LINK_NODES_MAX = 256,
    LINK_SLOTS = 16384,
    LINK_HOST_BYTES = 254,
    LINK_WHY_BYTES = 320
};

/* What
 * redis://[[USER]:PASSWORD@]HOST[:PORT][,HOST[:PORT]...][?replicas=N&wait_ms=MS&user=NAME&password_file=PATH
 * &transaction_bytes=N] says. */
struct location {
    struct {
        char host[LINK_HOST_BYTES];
        int port;
    } seeds[LINK_SEEDS_MAX];
    unsigned seed_count;
    char user[128], password[256];
    int replicas; /* that must have a write before it is acknowledged; 0: none */
    int wait_ms;
    int transaction_bytes; /* of blocks: a write of more is a transaction, of less a script */
};
/* NULL, or what is wrong with it. */
const char *location_parse(const char *url, struct location *ret);

struct link;
/*
 * `timeout_ms` of one answer. `topology` is shared by all links of a store: when it moves, each asks anew who
 * is master. -ENOMEM. No connection is made yet.
 */
int link_new(const struct location *location, int timeout_ms, const atomic_uint *topology, struct link **ret);
void link_free(struct link *l);
/*
 * Connects to what is known of and learns where the slots are. 0, or -ENOTCONN; link_why() then says it in a
 * sentence. Rounds do this by themselves.
 */
int link_connect(struct link *l);
const char *link_why(const struct link *l);
/* The slot of a key, by its hash tag if it has one. */
unsigned link_slot(struct sl_slice key);

struct script {
    const char *text;
    char sha[41]; /* filled by script_init() */
};
void script_init(struct script *s);

struct call {
    const char **argv; /* argv[0]: "EVALSHA" and argv[1] the sha when `script` is set */
    size_t *bytes;
    int argc;
    int capacity;
    unsigned slot;
    const struct script *script;
    /* A transaction: where its commands end, from MULTI to EXEC; NULL: one command. */
    int *ends;
    int commands;
    bool waits; /* with location.replicas: a WAIT follows */
    /* the round's: */
    redisReply *reply; /* NULL with a fault; freed by calls_end() */
    /* 0; -ENOTCONN: not sent; -EIO: sent, what became of it is not known; -ENOMEM; -EAGAIN: the
     * cluster can't now; -ETIMEDOUT: written, but too few replicas have it */
    int fault;
    unsigned node;
    bool asking, due;
};
/* Arguments are borrowed until the round is over. -ENOMEM leaves it as it was. */
int call_add(struct call *c, const void *data, size_t bytes);
int call_add_text(struct call *c, const char *text);
/* Ends a command of a transaction. The reply is that of EXEC, or the error that kept it from being done; only
 * MOVED is followed, and not sent again. */
int call_cut(struct call *c);
void call_begin_script(struct call *c, const struct script *script);
/* Frees replies and arguments; the memory of the calls is the caller's. */
void call_end(struct call *c);
void link_round(struct link *l, struct call *calls, size_t count);
/* link_why() says then what an error means that a call was answered with. */
void link_explain(struct link *l, const struct call *c, const char *error);
/* The error text of a reply that is one, else NULL. */
const char *reply_error(const redisReply *reply);

/*
 * Looks at every master: *ret_identity changes when one was restarted, failed over, or gave way to another
 * one. 0; -ENOTCONN, or -EAGAIN when one does not take writes or may lose what it was given: link_why() says
 * it. With -EAGAIN the identity is told all the same.
 */
int link_look(struct link *l, uint64_t *ret_identity);
/* A connection of its own to the first server that answers, for pub/sub; NULL. */
redisContext *link_extra(struct link *l);
