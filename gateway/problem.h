// SPDX-License-Identifier: Apache-2.0
/*
 * What went wrong, as a reader is told: RFC 9457 bodies, HTTP statuses and WebSocket close codes of one list
 * (API.md 5). A struct problem is a value; whoever finds the fault fills it, the connection answers with it.
 * Pure, any thread.
 */
#pragma once
#include "json.h"

enum problem_code {
    PROBLEM_NONE = 0,
    PROBLEM_INVALID_PARAMETER,
    PROBLEM_BAD_REQUEST,
    PROBLEM_UNAUTHENTICATED,
    PROBLEM_FORBIDDEN,
    PROBLEM_NOT_FOUND, /* no such route */
    PROBLEM_SANDBOX_NOT_FOUND,
    PROBLEM_METHOD_NOT_ALLOWED,
    PROBLEM_SANDBOX_NOT_RUNNING,
    PROBLEM_CONSUMER_NOT_FOUND,
    PROBLEM_CONSUMER_BUSY,
    PROBLEM_TOO_MANY_CONSUMERS,
    PROBLEM_CURSOR_EXPIRED,
    PROBLEM_BODY_TOO_LARGE,
    PROBLEM_URI_TOO_LONG,
    PROBLEM_TOO_MANY_FOLLOWERS,
    PROBLEM_HEADERS_TOO_LARGE,
    PROBLEM_INTERNAL,
    PROBLEM_NOT_IMPLEMENTED,
    PROBLEM_VERSION_NOT_SUPPORTED,
    PROBLEM_BROKER_UNAVAILABLE,
    PROBLEM_CODES
};

enum { PROBLEM_DETAIL_BYTES = 320, PROBLEM_CURSOR_BYTES = 48 };

struct problem {
    enum problem_code code;
    char parameter[32];                /* "" when no parameter is at fault */
    char detail[PROBLEM_DETAIL_BYTES]; /* NUL-terminated, one sentence in plain words */
    char oldest[PROBLEM_CURSOR_BYTES]; /* CURSOR_EXPIRED: the oldest cursor that still is; else "" */
};

/* Fills *p; parameter may be NULL. `format` makes the detail, cut to fit. */
void problem_set(struct problem *p, enum problem_code code, const char *parameter, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

const char *problem_name(enum problem_code code);  /* "invalid-parameter" */
const char *problem_title(enum problem_code code); /* "Invalid parameter" */
unsigned problem_status(enum problem_code code);   /* HTTP; 0 for PROBLEM_NONE */
/* 4000 + status where API.md says so; 1013 for 503, 1011 for 500, 1000 for PROBLEM_NONE. */
unsigned problem_close_code(enum problem_code code);
/* {"type":"urn:sandlog:problem:<name>","title":…,"status":…,"detail":…,"parameter":…,"oldest":…}, no newline.
 */
void problem_render(const struct problem *p, struct buffer *out);
/* The same members into an object that is open. */
void problem_members(const struct problem *p, struct json *j);
