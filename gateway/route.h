// SPDX-License-Identifier: Apache-2.0
/*
 * Paths and methods: which answer a request gets. One table, from which come the decision, the Allow header
 * of a 405, and the list that a test compares with openapi.yaml. Pure, any thread.
 */
#pragma once
#include "problem.h"

enum route_method {
    METHOD_GET = 1 << 0,
    METHOD_HEAD = 1 << 1,
    METHOD_PUT = 1 << 2,
    METHOD_DELETE = 1 << 3,
    METHOD_POST = 1 << 4,
    METHOD_OPTIONS = 1 << 5,
    METHOD_OTHER = 1 << 6,
};

enum route {
    ROUTE_MANY,      /* /v1/logs */
    ROUTE_LOGS,      /* /v1/sandboxes/{id}/logs */
    ROUTE_SANDBOX,   /* /v1/sandboxes/{id} */
    ROUTE_SANDBOXES, /* /v1/sandboxes */
    ROUTE_EXPORTS,   /* /v1/export */
    ROUTE_EXPORT,    /* /v1/export/{consumer} */
    ROUTE_ACK,       /* /v1/export/{consumer}/ack */
    ROUTE_HEALTHZ,
    ROUTE_READYZ,
    ROUTE_METRICS,
    ROUTE_STATUS,
    ROUTE_OPENAPI,
    ROUTE_PAGE,   /* / and the files under /page/ */
    ROUTE_DOCKER, /* dialects/: what Docker's clients ask */
    ROUTE_KUBE,   /* dialects/: what Kubernetes' clients ask */
    ROUTES
};

struct route_entry {
    const char *path; /* as openapi.yaml writes it */
    unsigned methods; /* enum route_method; GET brings HEAD */
    bool stream;      /* a WebSocket may be opened there */
    bool open;        /* needs no token */
};
/* `route` < ROUTES. */
const struct route_entry *route_entry(enum route route);

struct route_match {
    enum route route;
    struct sl_slice
        id; /* of the sandbox or consumer, valid, borrowed from the path; empty when there is none */
};
/*
 * `path` is decoded, without the query. > 0 (ROUTE_PROBLEM) with *ret_problem: no such path, an id that is
 * none, or a method that the path does not have; then *ret_allow is the Allow header's value (static), else
 * NULL.
 */
enum { ROUTE_PROBLEM = 1 };
int route_find(unsigned method, struct sl_slice path, struct route_match *ret, struct problem *ret_problem,
               const char **ret_allow);
