// SPDX-License-Identifier: Apache-2.0
/*
 * Tokens (API.md 5): JWT, whose algorithm is fixed by the key, never by the token. A key file holds an HS256
 * secret (a newline at its end is not part of it), or a PEM public key: ES256 (P-256) or RS256. Without a key
 * everyone may do everything. Nothing here is ever logged. Home thread.
 */
#pragma once
#include "problem.h"
#include "request.h"

struct auth;

/* > 0 (AUTH_REFUSED): *ret_why, a sentence about the file (static). Fault: -errno. */
enum { AUTH_REFUSED = 1 };
int auth_open(const char *key_file, struct auth **ret, const char **ret_why);
void auth_close(struct auth *a);

enum auth_scope { SCOPE_READ = 1 << 0, SCOPE_WRITE = 1 << 1, SCOPE_ADMIN = 1 << 2 };
enum { AUTH_GLOBS_MAX = 64, AUTH_GLOBS_BYTES = 4096 };

/* What a request may do. With `patterns` it is to be given back with grant_fini(). */
struct grant {
    unsigned scopes;    /* enum auth_scope */
    int64_t expires_ns; /* CLOCK_REALTIME; INT64_MAX: never */
    uint64_t subject;   /* for limits: a hash of the token; 0 without one */
    bool all;           /* every sandbox */
    uint16_t globs;
    char *patterns; /* `globs` texts, each NUL-terminated; NULL: none. Not in the struct: most have few or
                       none */
};

/* `a` NULL: everything is granted. > 0 (AUTH_DENIED) with *ret_problem: 401, nothing to give back. */
enum { AUTH_DENIED = 1 };
int auth_check(const struct auth *a, const struct request *r, int64_t now_ns, struct grant *ret,
               struct problem *ret_problem);
void grant_fini(struct grant *g);
/* May see this sandbox: else it does not exist for who asks. */
bool grant_covers(const struct grant *g, struct sl_slice sandbox);
