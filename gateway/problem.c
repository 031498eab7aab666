// SPDX-License-Identifier: Apache-2.0
#include "problem.h"
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

static const struct kind {
    const char *name;
    const char *title;
    unsigned status;
} kinds[PROBLEM_CODES] = {
    [PROBLEM_NONE] = {"none", "No problem", 0},
    [PROBLEM_INVALID_PARAMETER] = {"invalid-parameter", "Invalid parameter", 400},
    [PROBLEM_BAD_REQUEST] = {"bad-request", "Bad request", 400},
    [PROBLEM_UNAUTHENTICATED] = {"unauthenticated", "Not authenticated", 401},
    [PROBLEM_FORBIDDEN] = {"forbidden", "Forbidden", 403},
    [PROBLEM_NOT_FOUND] = {"not-found", "Not found", 404},
    [PROBLEM_SANDBOX_NOT_FOUND] = {"sandbox-not-found", "Sandbox not found", 404},
    [PROBLEM_METHOD_NOT_ALLOWED] = {"method-not-allowed", "Method not allowed", 405},
    [PROBLEM_SANDBOX_NOT_RUNNING] = {"sandbox-not-running", "Sandbox not running", 409},
    [PROBLEM_CONSUMER_NOT_FOUND] = {"consumer-not-found", "Consumer not found", 404},
    [PROBLEM_CONSUMER_BUSY] = {"consumer-busy", "Consumer busy", 409},
    [PROBLEM_TOO_MANY_CONSUMERS] = {"too-many-consumers", "Too many consumers", 409},
    [PROBLEM_CURSOR_EXPIRED] = {"cursor-expired", "Cursor expired", 410},
    [PROBLEM_BODY_TOO_LARGE] = {"body-too-large", "Body too large", 413},
    [PROBLEM_URI_TOO_LONG] = {"uri-too-long", "URI too long", 414},
    [PROBLEM_TOO_MANY_FOLLOWERS] = {"too-many-followers", "Too many followers", 429},
    [PROBLEM_HEADERS_TOO_LARGE] = {"headers-too-large", "Request headers too large", 431},
    [PROBLEM_INTERNAL] = {"internal", "Internal error", 500},
    [PROBLEM_NOT_IMPLEMENTED] = {"not-implemented", "Not implemented", 501},
    [PROBLEM_VERSION_NOT_SUPPORTED] = {"version-not-supported", "HTTP version not supported", 505},
    [PROBLEM_BROKER_UNAVAILABLE] = {"broker-unavailable", "Broker unavailable", 503},
};

static const struct kind *kind_of(enum problem_code code)
{
    assert((unsigned)code < PROBLEM_CODES);
    return &kinds[code];
}

void problem_set(struct problem *p, enum problem_code code, const char *parameter, const char *format, ...)
{
    *p = (struct problem){.code = code};
    snprintf(p->parameter, sizeof p->parameter, "%s", parameter ? parameter : "");
    va_list list;
    va_start(list, format);
    vsnprintf(p->detail, sizeof p->detail, format, list);
    va_end(list);
}

const char *problem_name(enum problem_code code)
{
    return kind_of(code)->name;
}

const char *problem_title(enum problem_code code)
{
    return kind_of(code)->title;
}

unsigned problem_status(enum problem_code code)
{
    return kind_of(code)->status;
}

unsigned problem_close_code(enum problem_code code)
{
    switch (problem_status(code)) {
    case 0:
        return 1000;
    case 500:
        return 1011;
    case 503:
        return 1013;
    default:
        return 4000 + problem_status(code);
    }
}

void problem_members(const struct problem *p, struct json *j)
{
    char type[64];
    snprintf(type, sizeof type, "urn:sandlog:problem:%s", problem_name(p->code));
    json_key(j, "type");
    json_text(j, type);
    json_key(j, "title");
    json_text(j, problem_title(p->code));
    json_key(j, "status");
    json_u64(j, problem_status(p->code));
    json_key(j, "detail");
    json_text(j, p->detail);
    if (p->parameter[0]) {
        json_key(j, "parameter");
        json_text(j, p->parameter);
    }
    if (p->oldest[0]) {
        json_key(j, "oldest");
        json_text(j, p->oldest);
    }
}

void problem_render(const struct problem *p, struct buffer *out)
{
    struct json j;
    json_init(&j, out);
    json_object_open(&j);
    problem_members(p, &j);
    json_object_close(&j);
}
