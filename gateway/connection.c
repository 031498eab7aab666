// SPDX-License-Identifier: Apache-2.0
#include "connection.h"
#include "access.h"
#include "dialects/dialect.h"
#include "door.h"
#include "guard.h"
#include "gzip.h"
#include "handlers.h"
#include "linger.h"
#include "outlet.h"
#include "server.h"
#include "watch.h"
#include "wire/timestamp.h"
#include <assert.h>
#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

enum {
    HEAD_MAX_BYTES = 4096,
    NOTSENT_BYTES = 128 << 10, /* what may wait in the kernel for a reader that does not read */
    DISCARD_MAX_BYTES = 1 << 20,
    LOST_MS = 18000,
    GZIP_MIN_BYTES = 1024, /* of a whole answer */
};

/* 405 where no route has a say. */
#define ALL_METHODS "GET, HEAD, PUT, DELETE, POST, OPTIONS"
static const char all_methods[] = ALL_METHODS, allow_all[] = "Allow: " ALL_METHODS "\r\n";

static const char *reason_of(unsigned status)
{
    switch (status) {
    case 200:
        return "OK";
    case 204:
        return "No Content";
    case 400:
        return "Bad Request";
    case 401:
        return "Unauthorized";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 409:
        return "Conflict";
    case 410:
        return "Gone";
    case 413:
        return "Content Too Large";
    case 414:
        return "URI Too Long";
    case 429:
        return "Too Many Requests";
    case 431:
        return "Request Header Fields Too Large";
    case 501:
        return "Not Implemented";
    case 503:
        return "Service Unavailable";
    case 505:
        return "HTTP Version Not Supported";
    default:
        return status >= 500 ? "Internal Server Error" : "-";
    }
}

/* ---- life ---- */

static struct connection *connection_new(struct server *s, struct lws *wsi, bool websocket)
{
    struct connection *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->server = s;
    c->wsi = wsi;
    c->fd = lws_get_socket_fd(wsi);
    c->tls = lws_is_ssl(wsi);
    c->websocket = websocket;
    c->until_close = s->stop_ns != 0;
    c->started_ns = c->last_sent_ns = sl_monotonic_ns();
    buffer_init(&c->body, 0, CONNECTION_BODY_MAX_BYTES);
    buffer_init(&c->out, CONNECTION_FRONT_BYTES, 64 << 20);
    buffer_init(&c->packed, CONNECTION_FRONT_BYTES, 64 << 20);
    if (request_read(wsi, websocket, &c->request) < 0 || dialect_new(c->request, &c->dialect) < 0) {
        request_free(c->request);
        free(c);
        return NULL;
    }
    LIST_INSERT_HEAD(&s->connections, c, all);
    sl_gauge_set(&s->counts.connections, (int64_t)++s->connection_count);
    return c;
}

static void connection_free(struct connection *c)
{
    access_leave(c);
    outlet_forget(c);
    watch_end(c->server->watch_fd, c);
    if (c->handler && c->handler->gone && c->user)
        c->handler->gone(c->user);
    LIST_REMOVE(c, all);
    sl_gauge_set(&c->server->counts.connections, (int64_t)--c->server->connection_count);
    buffer_fini(&c->body);
    buffer_fini(&c->out);
    buffer_fini(&c->packed);
    gzip_free(c->gzip);
    dialect_free(c->dialect);
    grant_fini(&c->grant);
    request_free(c->request);
    free(c);
}

/* The bytes in the kernel are held for a reader too: bound those that it has not been sent. */
static void tune_socket(struct lws *wsi)
{
    int fd = lws_get_socket_fd(wsi), on = 1, bytes = NOTSENT_BYTES, none = 0;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bytes, sizeof bytes);
    /* lws sets it with ka_time; it ends readers that are alive and do not read, after 25 s (see lost()) */
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &none, sizeof none);
}

/* ---- answers ---- */

void connection_wake(struct connection *c)
{
    if (c->wakes)
        return;
    c->wakes = true;
    if (!c->writing) /* else who writes sees to it */
        watch_writeable(c->server->watch_fd, c, c->full);
}

static void count_answer(struct connection *c, unsigned status)
{
    assert(!c->answered);
    c->answered = true;
    c->status = status;
    sl_count(&c->server->counts.requests[c->websocket ? 0 : status / 100 % 6], 1);
}

/* Everything but the lines that say how long the body is. */
static void begin_head(struct connection *c, unsigned status, const char *content_type, const char *headers)
{
    char line[64];
    snprintf(line, sizeof line, "HTTP/1.1 %u %s\r\n", status, reason_of(status));
    buffer_append_text(&c->out, line);
    if (content_type) {
        buffer_append_text(&c->out, "Content-Type: ");
        buffer_append_text(&c->out, content_type);
        buffer_append_text(&c->out, "\r\n");
    }
    buffer_append_text(&c->out, "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n");
    if (!headers || !strstr(headers, "Content-Security-Policy"))
        buffer_append_text(&c->out, "Content-Security-Policy: default-src 'none'; frame-ancestors 'none'\r\n"
                                    "Referrer-Policy: no-referrer\r\n");
    if (c->gzip)
        buffer_append_text(&c->out, "Content-Encoding: gzip\r\nVary: Accept-Encoding\r\n");
    guard_cors(c->request, &c->out);
    if (headers)
        buffer_append_text(&c->out, headers);
}

/*
 * From here on what is given is compressed, if the client takes it. Docker's Python library says that it does
 * and reads frames from what came over the wire (5.0.3), so dialects are never compressed, as dockerd does
 * not.
 */
static void begin_gzip(struct connection *c)
{
    if (!c->websocket && !c->dialect && c->request->method != METHOD_HEAD &&
        gzip_accepted(c->request->accept_encoding) && gzip_new(&c->gzip) < 0)
        c->gzip = NULL;
}

void connection_answer(struct connection *c, unsigned status, const char *content_type, struct sl_slice body,
                       const char *headers)
{
    if (c->answered)
        return;
    count_answer(c, status);
    if (body.bytes >= GZIP_MIN_BYTES)
        begin_gzip(c);
    if (c->gzip) {
        gzip_append(c->gzip, body, true, &c->packed);
        body = buffer_slice(&c->packed);
    }
    if (c->websocket) { /* there is no body on it */
        c->finished = true;
        connection_close_with(c, status == 200 ? 1000 : 1011, sl_slice(NULL, 0));
        connection_wake(c);
        return;
    }
    c->until_close = c->until_close || c->request->close || c->request->http10;
    begin_head(c, status, content_type, headers);
    outlet_end_head(c, status == 204 ? -1 : (int64_t)body.bytes);
    if (c->request->method != METHOD_HEAD)
        buffer_append_slice(&c->out, body);
    if (c->out.fault || c->packed.fault)
        c->aborted = true;
    connection_wake(c);
}

void connection_problem(struct connection *c, const struct problem *p, const char *headers)
{
    if (c->answered)
        return;
    if (c->websocket) {
        count_answer(c, problem_status(p->code));
        char reason[124];
        if (p->oldest[0])
            snprintf(reason, sizeof reason, "%s", p->oldest);
        else
            snprintf(reason, sizeof reason, "%s: %.80s", problem_name(p->code), p->detail);
        connection_close_with(c, problem_close_code(p->code), sl_slice_of(reason));
        c->finished = true;
        connection_wake(c);
        return;
    }
    if (c->dialect) {
        dialect_problem(c, p, headers);
        return;
    }
    struct buffer body;
    buffer_init(&body, 0, 16 << 10);
    problem_render(p, &body);
    connection_answer(c, problem_status(p->code), "application/problem+json", buffer_slice(&body), headers);
    buffer_fini(&body);
}

void connection_stream(struct connection *c, const char *content_type, bool until_close, const char *headers)
{
    assert(c->handler->next && c->handler->sent);
    count_answer(c, 200);
    c->stream = true;
    begin_gzip(c);
    if (!c->websocket) {
        c->until_close = c->until_close || until_close || c->request->close || c->request->http10;
        c->chunked = !until_close && !c->request->http10;
        c->head_pending = true;
        begin_head(c, 200, content_type, headers);
    }
    connection_wake(c);
}

void connection_more(struct connection *c)
{
    if (c->stream && !outlet_ready(c))
        connection_wake(c);
}

void connection_close_with(struct connection *c, unsigned code, struct sl_slice reason)
{
    size_t bytes = reason.bytes < sizeof c->close_reason ? reason.bytes : sizeof c->close_reason - 1;
    c->close_code = code;
    memcpy(c->close_reason, reason.data, bytes);
    c->close_reason[bytes] = 0;
}

void connection_abort(struct connection *c)
{
    c->aborted = true;
    connection_wake(c);
}

void connection_hung_up(struct connection *c)
{
    if (c->handler->hung_up && c->user && c->handler->hung_up(c->user))
        connection_abort(c);
}

/* ---- writing ---- */

/* The answer is with the kernel: close, or get ready for the next request. -1: close. */
static int finish(struct connection **slot)
{
    struct connection *c = *slot;
    struct lws *wsi = c->wsi;
    if (!c->follows)
        sl_observe(&c->server->counts.duration, sl_monotonic_ns() - c->started_ns);
    if (c->websocket) {
        lws_close_reason(wsi, (enum lws_close_status)c->close_code, (unsigned char *)c->close_reason,
                         strlen(c->close_reason));
        return -1;
    }
    if (c->until_close) {
        if (c->lingers)
            linger_begin(c->fd);
        return -1;
    }
    *slot = NULL;
    connection_free(c);
    return lws_http_transaction_completed(wsi) ? -1 : 0;
}

/* One write per callback. */
static int writeable(struct connection **slot)
{
    struct connection *c = *slot;
    if (!c)
        return 0;
    unsigned code = c->websocket ? door_close_code(c->wsi) : 0;
    if (code) {
        lws_close_reason(c->wsi, (enum lws_close_status)code, NULL, 0);
        return -1;
    }
    c->wakes = false;
    c->full = lws_partial_buffered(c->wsi);
    c->writing = true;
    int fault = c->aborted ? -1 : !c->answered || c->finished || c->full ? 0 : outlet_write(c);
    c->writing = false;
    if (fault || c->aborted)
        return -1;
    if (c->finished && !c->full)
        return finish(slot);
    if (c->wakes || c->full)
        watch_writeable(c->server->watch_fd, c, c->full);
    else
        watch_wrote(c);
    c->wakes = c->wakes || c->full;
    return 0;
}

/* ---- requests ---- */

static void stop(struct connection *c)
{
    if (c->handler && c->handler->stop && c->user && !c->aborted)
        c->handler->stop(c->user);
}

static void start(struct connection *c)
{
    if (c->answered)
        return;
    if (!c->websocket)
        watch_begin(c->server->watch_fd, c);
    if (access_check(c) < 0)
        connection_abort(c);
    if (!c->answered && !c->aborted)
        c->handler->start(c);
    if (c->server->stop_ns && !c->answered) /* it came while the others were told */
        stop(c);
}

/* What the path takes. A browser that asks first is let on to a path that is none, to read what is wrong. */
static void answer_options(struct connection *c)
{
    struct problem problem;
    const char *allow = NULL;
    if (route_find(METHOD_OPTIONS, c->request->path, &c->match, &problem, &allow) != 0 && !allow) {
        if (c->request->origin.bytes == 0) {
            connection_problem(c, &problem, NULL);
            return;
        }
        allow = all_methods;
    }
    struct buffer headers;
    buffer_init(&headers, 0, 1024);
    guard_preflight(c->request, allow, &headers);
    buffer_append(&headers, "", 1);
    if (headers.fault)
        connection_abort(c);
    else
        connection_answer(c, 204, NULL, sl_slice(NULL, 0), (const char *)headers.memory);
    buffer_fini(&headers);
}

static int ask_for_body(struct lws *wsi)
{
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
    uint8_t out[LWS_PRE + sizeof go_on];
    memcpy(out + LWS_PRE, go_on, sizeof go_on - 1);
    return lws_write(wsi, out + LWS_PRE, sizeof go_on - 1, LWS_WRITE_HTTP_HEADERS) < 0 ? -1 : 0;
}

static int http_request(struct server *s, struct lws *wsi, struct connection **slot)
{
    *slot = NULL; /* user space is lws's and may hold an earlier request's */
    struct connection *c = connection_new(s, wsi, false);
    if (!c)
        return -1;
    *slot = c;
    struct request *r = c->request;
    struct problem problem;
    const char *allow = NULL;
    bool body = r->content_length > 0;
    bool takes_body = r->method & (METHOD_PUT | METHOD_POST);
    int verdict = door_verdict(wsi, &problem);
    if (verdict == DOOR_UNKNOWN)
        return -1;
    c->until_close = c->until_close || door_behind(wsi);
    c->lingers = true; /* of what is closed below, a body or more may be on the way */
    if (verdict == DOOR_REFUSED || guard_request(s, r, &problem) != 0) {
        c->until_close = true;
        connection_problem(c, &problem, problem.code == PROBLEM_METHOD_NOT_ALLOWED ? allow_all : NULL);
    } else if (r->method == METHOD_OPTIONS) {
        c->until_close = c->until_close || body;
        answer_options(c);
    } else if (route_find(r->method, r->path, &c->match, &problem, &allow) != 0) {
        char header[96];
        snprintf(header, sizeof header, "Allow: %s\r\n", allow ? allow : "");
        c->until_close = c->until_close || body || takes_body; /* lws waits for bodies, we don't */
        connection_problem(c, &problem, allow ? header : NULL);
    } else if (takes_body && r->content_length < 0) {
        problem_set(&problem, PROBLEM_BAD_REQUEST, "Content-Length", "a body needs its Content-Length");
        c->until_close = true;
        connection_problem(c, &problem, NULL);
    } else if (r->content_length > CONNECTION_BODY_MAX_BYTES) {
        problem_set(&problem, PROBLEM_BODY_TOO_LARGE, NULL, "a body may have 64 KiB");
        c->until_close = c->until_close || r->content_length > DISCARD_MAX_BYTES;
        connection_problem(c, &problem, NULL);
    } else {
        c->handler = handler_of(c->match.route);
        /* lws lets the body follow; the clock on it stays */
        if (body)
            return door_expects(wsi) ? ask_for_body(wsi) : 0;
        lws_set_timeout(wsi, NO_PENDING_TIMEOUT, 0);
        start(c);
    }
    return 0;
}

static int http_body(struct connection *c, const void *data, size_t bytes)
{
    if (!c)
        return -1;
    if (!c->answered)
        buffer_append(&c->body, data, bytes);
    return c->body.fault ? -1 : 0;
}

static int websocket_opened(struct server *s, struct lws *wsi, struct connection **slot)
{
    *slot = NULL;
    struct connection *c = connection_new(s, wsi, true);
    if (!c)
        return -1;
    *slot = c;
    door_frames(wsi);
    struct problem problem;
    const char *allow;
    const struct lws_protocols *protocol = lws_get_protocol(wsi);
    c->binary = protocol && strcmp(protocol->name, "sandlog.text.v1") == 0;
    if (guard_request(s, c->request, &problem) != 0 ||
        route_find(c->request->method, c->request->path, &c->match, &problem, &allow) != 0) {
        connection_problem(c, &problem, NULL);
        return 0;
    }
    if (!route_entry(c->match.route)->stream) {
        problem_set(&problem, PROBLEM_NOT_FOUND, NULL, "no WebSocket is served at this path");
        connection_problem(c, &problem, NULL);
        return 0;
    }
    c->handler = handler_of(c->match.route);
    start(c);
    return 0;
}

/* Before the upgrade: > 0 when it was refused with an answer of ours, < 0 to hang up. */
static int confirm_upgrade(struct server *s, struct lws *wsi)
{
    struct problem problem;
    struct request *r = NULL;
    /* Not the callback's `in`: after an odd Upgrade lws 4.1.6 passes what it has freed (CVE-2025-11677). */
    if (door_verdict(wsi, &problem) != 0 || lws_hdr_total_length(wsi, WSI_TOKEN_UPGRADE) <= 0 ||
        request_read(wsi, true, &r) < 0)
        return -1;
    int refused = guard_upgrade(s, wsi, r, &problem);
    request_free(r);
    if (!refused)
        return 0;
    struct buffer out;
    buffer_init(&out, CONNECTION_FRONT_BYTES, 8 << 10);
    struct buffer body;
    buffer_init(&body, 0, 4 << 10);
    problem_render(&problem, &body);
    char head[256];
    unsigned status = problem_status(problem.code);
    snprintf(head, sizeof head,
             "HTTP/1.1 %u %s\r\nContent-Type: application/problem+json\r\nCache-Control: no-store\r\n"
             "Sec-WebSocket-Version: 13\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n",
             status, reason_of(status), body.bytes);
    buffer_append_text(&out, head);
    buffer_append_slice(&out, buffer_slice(&body));
    if (!out.fault && !body.fault)
        lws_write(wsi, buffer_data(&out), out.bytes, LWS_WRITE_HTTP_HEADERS);
    buffer_fini(&body);
    buffer_fini(&out);
    sl_count(&s->counts.requests[status / 100 % 6], 1);
    return -1;
}

int connection_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t bytes)
{
    struct connection **slot = user;
    struct server *s = lws_context_user(lws_get_context(wsi));
    switch (reason) {
    case LWS_CALLBACK_SERVER_NEW_CLIENT_INSTANTIATED:
        tune_socket(wsi);
        return door_enter(wsi) < 0;
    case LWS_CALLBACK_WSI_DESTROY:
        door_leave(wsi);
        return 0;
    case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE:
        return confirm_upgrade(s, wsi);
    case LWS_CALLBACK_HTTP:
        return http_request(s, wsi, slot);
    case LWS_CALLBACK_HTTP_BODY:
        return http_body(*slot, in, bytes);
    case LWS_CALLBACK_HTTP_BODY_COMPLETION:
        if (*slot)
            start(*slot);
        return 0;
    case LWS_CALLBACK_ESTABLISHED:
        return websocket_opened(s, wsi, slot);
    case LWS_CALLBACK_HTTP_WRITEABLE:
    case LWS_CALLBACK_SERVER_WRITEABLE:
        return slot ? writeable(slot) : 0;
    case LWS_CALLBACK_CLOSED_HTTP:
    case LWS_CALLBACK_CLOSED:
        if (slot && *slot) {
            struct connection *c = *slot;
            *slot = NULL;
            connection_free(c);
        }
        return 0;
    default:
        return 0;
    }
}

/* ---- all of them ---- */

/*
 * A peer that is gone without a word while bytes are on the way to it: retransmitted twice and more, and
 * nothing came back for 18 s. (Nothing on the way: TCP's keep-alive sees it, server.c.) TCP_USER_TIMEOUT
 * would do, but since Linux 5.11 it also ends readers that are alive and just do not read. Who has been sent
 * nothing since all was acknowledged is not asked about, unless it is a WebSocket: pings are sent by lws.
 */
static bool lost(struct connection *c)
{
    struct tcp_info info;
    socklen_t bytes = sizeof info;
    int unacked;
    if (c->bytes_sent == c->bytes_settled && !c->full && !c->websocket)
        return false;
    if (getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &bytes) < 0)
        return false;
    if (info.tcpi_unacked == 0 && ioctl(c->fd, SIOCOUTQ, &unacked) == 0 && unacked == 0)
        c->bytes_settled = c->bytes_sent;
    return info.tcpi_unacked > 0 && info.tcpi_retransmits >= 2 && info.tcpi_last_ack_recv > LOST_MS;
}

void connections_tick(struct server *s, int64_t now_ns)
{
    struct connection *c, *next;
    for (c = LIST_FIRST(&s->connections); c; c = next) {
        next = LIST_NEXT(c, all);
        if (c->handler && c->handler->tick && c->user)
            c->handler->tick(c->user, now_ns);
        if (c->answered && lost(c))
            lws_set_timeout(c->wsi, PENDING_TIMEOUT_HTTP_CONTENT, LWS_TO_KILL_ASYNC);
    }
}

void connections_stop(struct server *s)
{
    struct connection *c, *next;
    for (c = LIST_FIRST(&s->connections); c; c = next) {
        next = LIST_NEXT(c, all);
        c->until_close = true;
        stop(c);
    }
}
