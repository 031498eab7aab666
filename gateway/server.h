// SPDX-License-Identifier: Apache-2.0
/*
 * The gateway: libwebsockets' context with everything that hangs on it. One home thread, lws_service()'s;
 * nng's threads wake it with lws_cancel_service().
 */
#pragma once
#include "connection.h"
#include "counts.h"
#include "upstream.h"

struct feeds;
struct reader;
struct auth;
struct admission;

struct server {
    struct lws_context *lws;
    struct lws_vhost *vhost;
    struct upstream *upstream;
    struct feeds *feeds;
    struct auth *auth; /* NULL: no tokens are asked for */
    struct admission *admission;
    struct counts counts;
    LIST_HEAD(, connection) connections;
    TAILQ_HEAD(, connection) ready; /* outlet.c's, as is the next */
    int64_t flush_ns;               /* monotonic: since when it writes what is ready; 0: it does not */
    TAILQ_HEAD(, connection) line;  /* access.c's: who waits for a share of bytes */
    unsigned depth;                 /* of lws' callbacks */
    bool asks;                      /* feeds_turn() is due, after the flush */
    TAILQ_HEAD(, reader) resting;   /* reader_take.c's */
    uint64_t turn_work;             /* filter_work() that is left to this turn of the loop */
    size_t freed_bytes; /* of readers that are gone, or do not read: to be given back to the system */
    size_t connection_count;
    size_t follower_count;
    int listen_fd; /* lws'; -1 once nobody is let in any more */
    int tick_fd;   /* every 100 ms */
    int watch_fd;
    int signal_fd; /* lws owns both fds once adopted */
    int64_t started_ns;
    int64_t second_ns;
    int64_t stop_ns; /* monotonic: when it stops waiting for its readers; 0: not stopping */
    bool loopback;   /* serves loopback names only */
};

/* > 0: one clear line was printed; the exit status: SERVER_MISUSED is an option's fault. */
enum { SERVER_REFUSED = 1, SERVER_MISUSED = 2 };
int server_open(struct server *s, int signal_fd);
/* Until SIGTERM, and until who had come by then is answered, or the grace is over. */
void server_run(struct server *s);
void server_close(struct server *s);
