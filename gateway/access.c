// SPDX-License-Identifier: Apache-2.0
#include "access.h"
#include "render.h"
#include "server.h"
#include "wire/timestamp.h"
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

void access_refuse(struct connection *c, const struct problem *p, unsigned retry_s)
{
    static const char sse_type[] = "text/event-stream";
    bool later = p->code == PROBLEM_BROKER_UNAVAILABLE || p->code == PROBLEM_TOO_MANY_FOLLOWERS;
    bool sse = c->request->accept.bytes &&
               memmem(c->request->accept.data, c->request->accept.bytes, sse_type, sizeof sse_type - 1);
    char header[64] = "";
    if (retry_s)
        snprintf(header, sizeof header, "Retry-After: %u\r\n", retry_s);
    if (p->code == PROBLEM_UNAUTHENTICATED)
        snprintf(header, sizeof header, "WWW-Authenticate: Bearer\r\n");
    if (!later || !sse || c->websocket) {
        connection_problem(c, p, header);
        return;
    }
    struct buffer body;
    struct render_style style = {.format = QUERY_SSE};
    char retry[32];
    buffer_init(&body, 0, 16 << 10);
    snprintf(retry, sizeof retry, "retry: %u\n\n", retry_s ? retry_s * 1000 : 1000);
    buffer_append_text(&body, retry);
    render_error(&style, &body, p);
    c->until_close = true;
    connection_answer(c, 200, render_content_type(&style), buffer_slice(&body), header);
    buffer_fini(&body);
}

/* Of an address: all of IPv4, the network part of IPv6, where one host has as many addresses as it likes. */
static uint64_t address_key(struct lws *wsi)
{
    struct sockaddr_storage peer;
    socklen_t bytes = sizeof peer;
    if (getpeername(lws_get_socket_fd(wsi), (struct sockaddr *)&peer, &bytes) < 0)
        return 1;
    if (peer.ss_family == AF_INET6)
        return XXH3_64bits(&((struct sockaddr_in6 *)&peer)->sin6_addr, 8);
    if (peer.ss_family == AF_INET)
        return XXH3_64bits(&((struct sockaddr_in *)&peer)->sin_addr, 4);
    return 1;
}

static unsigned scope_needed(const struct connection *c)
{
    if (c->request->method == METHOD_PUT)
        return SCOPE_WRITE;
    if (c->request->method == METHOD_DELETE || c->match.route == ROUTE_STATUS ||
        c->match.route == ROUTE_EXPORTS || c->match.route == ROUTE_EXPORT || c->match.route == ROUTE_ACK)
        return SCOPE_ADMIN;
    return SCOPE_READ;
}

static int check(struct connection *c, struct problem *p)
{
    if (auth_check(c->server->auth, c->request, sl_now_ns(), &c->grant, p) != 0)
        return ACCESS_REFUSED;
    if (!(c->grant.scopes & scope_needed(c))) {
        problem_set(p, PROBLEM_FORBIDDEN, NULL, "the token's scope does not allow this");
        return ACCESS_REFUSED;
    }
    if (c->match.id.bytes && !grant_covers(&c->grant, c->match.id)) {
        problem_set(p, PROBLEM_SANDBOX_NOT_FOUND, NULL, "there is no sandbox of this id");
        return ACCESS_REFUSED;
    }
    return 0;
}

int access_check(struct connection *c)
{
    struct problem p;
    unsigned retry_s = 0;
    c->grant.expires_ns = INT64_MAX;
    if (route_entry(c->match.route)->open)
        return 0;
    if (check(c, &p) != 0) {
        access_refuse(c, &p, 0);
        return ACCESS_REFUSED;
    }
    uint64_t key = c->grant.subject ? c->grant.subject : address_key(c->wsi);
    int answer = admission_enter(c->server->admission, key, sl_monotonic_ns(), &c->visitor, &retry_s);
    if (answer <= 0)
        return answer;
    problem_set(&p, PROBLEM_TOO_MANY_FOLLOWERS, NULL, "too many requests in a second; come again later");
    access_refuse(c, &p, retry_s);
    return ACCESS_REFUSED;
}

int access_follow(struct connection *c, struct problem *ret_problem, unsigned *ret_retry_s)
{
    if (admission_follow(c->server->admission, c->visitor, ret_retry_s) != 0) {
        problem_set(ret_problem, PROBLEM_TOO_MANY_FOLLOWERS, NULL,
                    "too many readers follow; come again later");
        return ACCESS_REFUSED;
    }
    c->follows = true;
    c->server->follower_count++;
    sl_gauge_set(&c->server->counts.followers, (int64_t)c->server->follower_count);
    return 0;
}

bool access_waits(struct connection *c)
{
    struct server *s = c->server;
    if (!c->visitor || c->allowed_bytes)
        return false;
    if (c->in_line)
        return true;
    if (admission_may_send(s->admission, c->visitor, false, sl_monotonic_ns()))
        return false;
    TAILQ_INSERT_TAIL(&s->line, c, line);
    admission_line(c->visitor, true);
    c->in_line = true;
    sl_count(&s->counts.paced, 1);
    return true;
}

void access_sent(struct connection *c, size_t bytes)
{
    if (c->visitor)
        admission_sent(c->server->admission, c->visitor, (int64_t)bytes - c->allowed_bytes,
                       sl_monotonic_ns());
    c->allowed_bytes = 0;
}

static void leave_line(struct connection *c)
{
    if (!c->in_line)
        return;
    TAILQ_REMOVE(&c->server->line, c, line);
    admission_line(c->visitor, false);
    c->in_line = false;
}

void access_turn(struct server *s, int64_t now_ns)
{
    struct connection *c, *next;
    for (c = TAILQ_FIRST(&s->line); c; c = next) {
        next = TAILQ_NEXT(c, line);
        if (!admission_may_send(s->admission, c->visitor, true, now_ns))
            continue;
        leave_line(c);
        /* a piece is taken off at once, so that the next in line does not get the same allowance */
        c->allowed_bytes = CONNECTION_PIECE_BYTES;
        admission_sent(s->admission, c->visitor, c->allowed_bytes, now_ns);
        connection_wake(c);
    }
}

void access_leave(struct connection *c)
{
    leave_line(c);
    access_sent(c, 0);
    if (c->follows) {
        c->server->follower_count--;
        sl_gauge_set(&c->server->counts.followers, (int64_t)c->server->follower_count);
    }
    admission_leave(c->server->admission, c->visitor, c->follows, sl_monotonic_ns());
    c->visitor = NULL;
    c->follows = false;
}
