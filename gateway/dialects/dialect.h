// SPDX-License-Identifier: Apache-2.0
/*
 * Which requests are spoken in Docker's or Kubernetes' way, and what each of them asks (API.md 7). Made from
 * the path alone when the request comes, so that also what goes wrong before a handler runs is said in the
 * client's own words. dialect_find() is pure; the rest is the home thread's.
 */
#pragma once
#include "query.h"
#include "wire/sandbox_id.h"

struct connection;
struct request;

enum dialect_tongue { DIALECT_NONE = 0, DIALECT_DOCKER = 1, DIALECT_KUBE = 2 };

enum dialect_call {
    DIALECT_UNKNOWN = 0, /* a path of theirs that is not served */
    DOCKER_PING,
    DOCKER_VERSION,
    DOCKER_INFO,
    DOCKER_LIST,
    DOCKER_INSPECT,
    DOCKER_LOGS,
    KUBE_VERSION, /* /version, which Docker's clients ask as well: one answer for both */
    KUBE_API,
    KUBE_APIS,
    KUBE_RESOURCES,
    KUBE_NAMESPACES,
    KUBE_NAMESPACE,
    KUBE_PODS,
    KUBE_POD,
    KUBE_LOG,
};

enum { DOCKER_API_MINOR = 50, DOCKER_API_MINOR_MIN = 24 };

struct dialect {
    enum dialect_tongue tongue;
    enum dialect_call call;
    unsigned minor;              /* Docker: of API 1.minor; DOCKER_API_MINOR when the path names none */
    struct sl_slice name;        /* the container or pod as it was asked for; borrowed from the path */
    struct sl_slice space;       /* Kubernetes: the namespace; empty: all of them. Likewise borrowed */
    struct query query;          /* of the logs, checked; borrows from the request */
    uint8_t id[SL_ID_MAX_BYTES]; /* the sandbox that `name` turned out to be */
};

/* DIALECT_NONE: the path is the gateway's own. Fills tongue, call, minor, name and space otherwise. */
enum dialect_tongue dialect_find(struct sl_slice path, struct dialect *ret);

/* *ret is NULL for a request in the gateway's own way. Fault: -ENOMEM. */
int dialect_new(const struct request *r, struct dialect **ret);
void dialect_free(struct dialect *d); /* NULL is fine */

/* Answers with the problem as the client's own server would say it; `headers` as in connection_answer(). */
void dialect_problem(struct connection *c, const struct problem *p, const char *headers);
/* A further header of a stream of lines, when its client shows such to people; else "". */
void dialect_warning(const struct dialect *d, uint64_t oldest_seq, char *out, size_t capacity);
/* Of a stream of lines. */
const char *dialect_content_type(const struct dialect *d);
