// SPDX-License-Identifier: Apache-2.0
/*
 * Whether a request may have what it asks for: its token against route and sandbox, its reader against the
 * limits. And how it is refused, so that browsers understand. Home thread.
 */
#pragma once
#include "connection.h"

/* > 0 (ACCESS_REFUSED): it was answered. Faults: -ENOMEM. Fills c->grant and c->visitor. */
enum { ACCESS_REFUSED = 1 };
int access_check(struct connection *c);
/* Before a stream that follows begins. > 0 with *ret_problem and after how many seconds to come again. */
int access_follow(struct connection *c, struct problem *ret_problem, unsigned *ret_retry_s);
/*
 * Whether it has to wait with what it would send: its reader has had its bytes. Then connection_wake() comes
 * when it is its turn. Else access_sent() says what was sent.
 */
bool access_waits(struct connection *c);
void access_sent(struct connection *c, size_t bytes);
/* Every 100 ms: lets those on whose turn it is. */
void access_turn(struct server *s, int64_t now_ns);
/* The connection ends. */
void access_leave(struct connection *c);

/*
 * connection_problem(), but an EventSource, which gives up for ever on an error status, is told of 429 and
 * 503 inside a 200. retry_s 0: no Retry-After.
 */
void access_refuse(struct connection *c, const struct problem *p, unsigned retry_s);
