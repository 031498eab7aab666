// SPDX-License-Identifier: Apache-2.0
/*
 * What a request has to be before anything of it is believed: one Host that is ours, one length, sizes within
 * the limits, an origin that may. Pure over struct request, but for the server's settings. Home thread.
 */
#pragma once
#include "buffer.h"
#include "problem.h"
#include "request.h"

struct server;

enum { GUARD_TARGET_MAX_BYTES = 8 << 10, GUARD_HEAD_MAX_BYTES = 16 << 10 };

/* > 0 with *ret_problem: to be refused, and the connection closed. */
int guard_request(const struct server *s, const struct request *r, struct problem *ret_problem);
/* The same for what asks to become a WebSocket, before it does: answered over HTTP. */
int guard_upgrade(const struct server *s, struct lws *wsi, const struct request *r,
                  struct problem *ret_problem);
/* Appends what a page of another origin needs to read the answer, when it may. */
void guard_cors(const struct request *r, struct buffer *out);
/* Appends the headers of the answer to OPTIONS of a path that takes `allow`. */
void guard_preflight(const struct request *r, const char *allow, struct buffer *out);
/* Whether this `Host` value (or host part of an origin) names this machine's loopback. */
bool guard_loopback_name(struct sl_slice host);
