// SPDX-License-Identifier: Apache-2.0
#include "dialect.h"
#include "connection.h"
#include "docker.h"
#include "kube.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { PARTS_MAX = 8 };

static bool is(struct sl_slice s, const char *text)
{
    return sl_slice_equal(s, sl_slice_of(text));
}

/* The components between slashes; a path of more than PARTS_MAX is nobody's. */
static size_t split(struct sl_slice path, struct sl_slice parts[PARTS_MAX])
{
    size_t count = 0;
    if (path.bytes == 0 || *path.data != '/')
        return 0;
    const uint8_t *at = path.data, *end = path.data + path.bytes;
    while (at < end && count < PARTS_MAX) {
        const uint8_t *from = ++at;
        while (at < end && *at != '/')
            at++;
        parts[count++] = sl_slice(from, (size_t)(at - from));
    }
    return at < end ? 0 : count;
}

/* "v1.43": Docker's; "v1" is ours. */
static bool docker_version(struct sl_slice part, unsigned *ret_minor)
{
    uint64_t minor;
    if (part.bytes < 4 || part.bytes > 6 || memcmp(part.data, "v1.", 3) != 0 ||
        query_u64(sl_slice(part.data + 3, part.bytes - 3), &minor) != 0)
        return false;
    *ret_minor = (unsigned)minor;
    return true;
}

static enum dialect_call docker_call(const struct sl_slice *parts, size_t count, struct dialect *d)
{
    if (count == 1 && is(parts[0], "_ping"))
        return DOCKER_PING;
    if (count == 1 && is(parts[0], "version"))
        return DOCKER_VERSION;
    if (count == 1 && is(parts[0], "info"))
        return DOCKER_INFO;
    if (count == 2 && is(parts[0], "containers") && is(parts[1], "json"))
        return DOCKER_LIST;
    if (count != 3 || !is(parts[0], "containers") || parts[1].bytes == 0)
        return DIALECT_UNKNOWN;
    d->name = parts[1];
    return is(parts[2], "json") ? DOCKER_INSPECT : is(parts[2], "logs") ? DOCKER_LOGS : DIALECT_UNKNOWN;
}

/* Behind /api/v1. */
static enum dialect_call kube_core(const struct sl_slice *parts, size_t count, struct dialect *d)
{
    if (count == 0)
        return KUBE_RESOURCES;
    if (count == 1 && is(parts[0], "pods"))
        return KUBE_PODS;
    if (!is(parts[0], "namespaces"))
        return DIALECT_UNKNOWN;
    if (count == 1)
        return KUBE_NAMESPACES;
    d->space = parts[1];
    if (parts[1].bytes == 0)
        return DIALECT_UNKNOWN;
    if (count == 2)
        return KUBE_NAMESPACE;
    if (!is(parts[2], "pods") || count > 5)
        return DIALECT_UNKNOWN;
    if (count == 3)
        return KUBE_PODS;
    d->name = parts[3];
    if (parts[3].bytes == 0)
        return DIALECT_UNKNOWN;
    return count == 4 ? KUBE_POD : is(parts[4], "log") ? KUBE_LOG : DIALECT_UNKNOWN;
}

enum dialect_tongue dialect_find(struct sl_slice path, struct dialect *ret)
{
    struct sl_slice parts[PARTS_MAX];
    size_t count = split(path, parts);
    *ret = (struct dialect){.minor = DOCKER_API_MINOR};
    if (count && parts[count - 1].bytes == 0) /* a slash at the end */
        count--;
    if (count == 0)
        return DIALECT_NONE;
    if (count == 1 && is(parts[0], "version")) {
        ret->call = KUBE_VERSION;
        ret->tongue = DIALECT_KUBE;
    } else if (docker_version(parts[0], &ret->minor)) {
        ret->call = docker_call(parts + 1, count - 1, ret);
        ret->tongue = DIALECT_DOCKER;
    } else if (is(parts[0], "_ping") || is(parts[0], "info") || is(parts[0], "containers")) {
        ret->call = docker_call(parts, count, ret);
        ret->tongue = DIALECT_DOCKER;
    } else if (is(parts[0], "api")) {
        ret->call = count == 1           ? KUBE_API
                    : is(parts[1], "v1") ? kube_core(parts + 2, count - 2, ret)
                                         : DIALECT_UNKNOWN;
        ret->tongue = DIALECT_KUBE;
    } else if (is(parts[0], "apis") || is(parts[0], "openapi")) {
        ret->call = count == 1 && is(parts[0], "apis") ? KUBE_APIS : DIALECT_UNKNOWN;
        ret->tongue = DIALECT_KUBE;
    }
    return ret->tongue;
}

int dialect_new(const struct request *r, struct dialect **ret)
{
    struct dialect d;
    *ret = NULL;
    if (dialect_find(r->path, &d) == DIALECT_NONE)
        return 0;
    *ret = malloc(sizeof d);
    if (!*ret)
        return -ENOMEM;
    **ret = d;
    return 0;
}

void dialect_free(struct dialect *d)
{
    free(d);
}

void dialect_problem(struct connection *c, const struct problem *p, const char *headers)
{
    if (c->dialect->tongue == DIALECT_DOCKER)
        docker_problem(c, p, headers);
    else
        kube_problem(c, p, headers);
}

void dialect_warning(const struct dialect *d, uint64_t oldest_seq, char *out, size_t capacity)
{
    bool whole = !d->query.has_tail && !d->query.has_since;
    *out = 0;
    if (d->tongue == DIALECT_KUBE && whole && oldest_seq > 1)
        snprintf(out, capacity,
                 "Warning: 299 - \"this log has lost its first %" PRIu64 " lines to retention\"\r\n",
                 oldest_seq - 1);
}

const char *dialect_content_type(const struct dialect *d)
{
    if (d->tongue == DIALECT_KUBE)
        return "text/plain";
    return d->minor >= 42 ? "application/vnd.docker.multiplexed-stream" : "application/vnd.docker.raw-stream";
}
