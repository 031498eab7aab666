// SPDX-License-Identifier: Apache-2.0
/*
 * The home thread: everything the broker has, and the one loop that runs it. Requests, news of the store,
 * signals and calls of operators come in here; whoever they are for is called from here.
 */
#pragma once
#include "catalog.h"
#include "export.h"
#include "ingest.h"
#include "read.h"
#include "wire/ops.h"

struct home {
    struct store *store;
    struct counts counts;
    struct stops *stops;
    struct ingest *ingest;
    struct catalog *catalog;
    struct reads *reads;
    struct exports *exports;
    struct sl_server *ingest_link;
    struct sl_server *query_link;
    struct sl_metrics *metrics;
    struct sl_ops *ops;
    struct sl_mailbox mailbox; /* calls of operators */
    int wake_fd;               /* eventfd: the store wants to run */
    int signals_fd;
    int64_t started_ns;       /* monotonic */
    uint64_t epoch, setbacks; /* the store's, as collectors were last told */
    int64_t published_ns;     /* when counts and status were published last */
    uint64_t refused_told;    /* peers not let in, as logged last */
    int64_t refused_told_ns;
    char trouble[320]; /* the store's, as published: its own sentence may be written over */
};

/* The store's callbacks; `arg` is the home. */
void home_wake(void *arg);
void home_grown(void *arg, struct sl_slice sandbox);
void home_told(void *arg, struct sl_slice note);
/* Runs until SIGTERM or SIGINT; then everything that was taken is durable and answered. */
void home_run(struct home *h);
/* After the operations pages were freed: ends calls that nobody has taken. */
void home_end_calls(struct home *h);
