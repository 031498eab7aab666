// SPDX-License-Identifier: Apache-2.0
#include "route.h"
#include "dialects/dialect.h"
#include "page/page.h"
#include "wire/message.h"
#include <assert.h>

static const struct route_entry table[ROUTES] = {
    [ROUTE_MANY] = {"/v1/logs", METHOD_GET | METHOD_HEAD, true, false},
    [ROUTE_LOGS] = {"/v1/sandboxes/{id}/logs", METHOD_GET | METHOD_HEAD, true, false},
    [ROUTE_SANDBOX] = {"/v1/sandboxes/{id}", METHOD_GET | METHOD_HEAD | METHOD_PUT | METHOD_DELETE, false,
                       false},
    [ROUTE_SANDBOXES] = {"/v1/sandboxes", METHOD_GET | METHOD_HEAD, false, false},
    [ROUTE_EXPORTS] = {"/v1/export", METHOD_GET | METHOD_HEAD, false, false},
    [ROUTE_EXPORT] = {"/v1/export/{consumer}", METHOD_GET | METHOD_DELETE, false, false},
    [ROUTE_ACK] = {"/v1/export/{consumer}/ack", METHOD_POST, false, false},
    [ROUTE_HEALTHZ] = {"/healthz", METHOD_GET | METHOD_HEAD, false, true},
    [ROUTE_READYZ] = {"/readyz", METHOD_GET | METHOD_HEAD, false, true},
    [ROUTE_METRICS] = {"/metrics", METHOD_GET | METHOD_HEAD, false, true},
    [ROUTE_STATUS] = {"/status", METHOD_GET | METHOD_HEAD, false, false},
    [ROUTE_OPENAPI] = {"/openapi.yaml", METHOD_GET | METHOD_HEAD, false, true},
    [ROUTE_PAGE] = {"/", METHOD_GET | METHOD_HEAD, false, true},
    [ROUTE_DOCKER] = {"/containers/json", METHOD_GET | METHOD_HEAD, false, false},
    [ROUTE_KUBE] = {"/api/v1/pods", METHOD_GET | METHOD_HEAD, false, false},
};

const struct route_entry *route_entry(enum route route)
{
    assert(route < ROUTES);
    return &table[route];
}

/* Matches `path` with a pattern whose {…} takes one component; true also with a bad id. */
static bool matches(const char *pattern, struct sl_slice path, struct sl_slice *ret_id)
{
    const uint8_t *at = path.data, *end = path.data + path.bytes;
    struct sl_slice id = {0};
    for (const char *p = pattern; *p;) {
        if (*p == '{') {
            const uint8_t *from = at;
            while (at < end && *at != '/')
                at++;
            id = sl_slice(from, (size_t)(at - from));
            p = strchr(p, '}') + 1;
        } else if (at < end && *at == (uint8_t)*p) {
            at++;
            p++;
        } else {
            return false;
        }
    }
    *ret_id = id;
    return at == end;
}

static bool leads_to(enum route route, struct sl_slice path, struct sl_slice *ret_id)
{
    struct dialect dialect;
    switch (route) {
    case ROUTE_PAGE:
        return page_find(path);
    case ROUTE_DOCKER:
        return dialect_find(path, &dialect) == DIALECT_DOCKER;
    case ROUTE_KUBE:
        return dialect_find(path, &dialect) == DIALECT_KUBE;
    default:
        return matches(table[route].path, path, ret_id);
    }
}

/* The component is a consumer's name, not a sandbox's id. */
static bool consumes(enum route route)
{
    return route == ROUTE_EXPORT || route == ROUTE_ACK;
}

static const char *allow_of(unsigned methods)
{
    bool put = methods & METHOD_PUT, post = methods & METHOD_POST, get = methods & METHOD_GET;
    bool erase = methods & METHOD_DELETE;
    if (get && put)
        return "GET, HEAD, PUT, DELETE, OPTIONS";
    if (get && erase)
        return "GET, DELETE, OPTIONS";
    return post ? "POST, OPTIONS" : erase ? "DELETE, OPTIONS" : "GET, HEAD, OPTIONS";
}

int route_find(unsigned method, struct sl_slice path, struct route_match *ret, struct problem *ret_problem,
               const char **ret_allow)
{
    static const char below[] = "/v1/sandboxes/";
    *ret_allow = NULL;
    for (unsigned i = 0; i < ROUTES; i++) {
        struct sl_slice id = {0};
        if (!leads_to((enum route)i, path, &id))
            continue;
        if (consumes((enum route)i) && !sl_consumer_valid(id)) {
            problem_set(ret_problem, PROBLEM_INVALID_PARAMETER, "consumer",
                        "a consumer's name is 1 to 64 of A-Z a-z 0-9 . _ - and not . or ..");
            return ROUTE_PROBLEM;
        }
        if (strchr(table[i].path, '{') && !sl_sandbox_id_valid(id))
            break;
        if (!(table[i].methods & method)) {
            *ret_allow = allow_of(table[i].methods);
            problem_set(ret_problem, PROBLEM_METHOD_NOT_ALLOWED, NULL, "%s takes %s", table[i].path,
                        *ret_allow);
            return ROUTE_PROBLEM;
        }
        ret->route = (enum route)i;
        ret->id = id;
        return 0;
    }
    /* Whatever else stands there, also with a decoded %2F in it, was meant as an id. */
    if (path.bytes >= sizeof below - 1 && memcmp(path.data, below, sizeof below - 1) == 0) {
        problem_set(ret_problem, PROBLEM_INVALID_PARAMETER, "id",
                    "a sandbox id is 1 to 128 of A-Z a-z 0-9 . _ : - and not . or ..");
        return ROUTE_PROBLEM;
    }
    problem_set(ret_problem, PROBLEM_NOT_FOUND, NULL, "there is nothing at this path");
    return ROUTE_PROBLEM;
}
