// SPDX-License-Identifier: Apache-2.0
#include "outlet.h"
#include "access.h"
#include "gzip.h"
#include "server.h"
#include "watch.h"
#include "wire/timestamp.h"
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>

enum { TURN_BYTES = 256 << 10 /* of one connection, before others have their turn */ };

void outlet_end_head(struct connection *c, int64_t length)
{
    char line[64];
    if (length >= 0)
        snprintf(line, sizeof line, "Content-Length: %lld\r\n", (long long)length);
    else
        snprintf(line, sizeof line, "%s", c->chunked ? "Transfer-Encoding: chunked\r\n" : "");
    buffer_append_text(&c->out, line);
    buffer_append_text(&c->out, c->until_close ? "Connection: close\r\n\r\n" : "\r\n");
}

/* What the socket does not take lws keeps. As HTTP also on a WebSocket: framed it is already. */
static int hand_over(struct connection *c, uint8_t *data, size_t bytes)
{
    size_t sent = 0;
    if (!c->tls && !c->full) {
        ssize_t took = send(c->fd, data, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (took < 0 && errno != EAGAIN && errno != EINTR)
            return -1;
        sent = took > 0 ? (size_t)took : 0;
    }
    if (sent < bytes) {
        if (lws_write(c->wsi, data + sent, bytes - sent, LWS_WRITE_HTTP) < (int)(bytes - sent))
            return -1;
        c->full = lws_partial_buffered(c->wsi);
    }
    access_sent(c, bytes);
    c->last_sent_ns = c->server->flush_ns ? c->server->flush_ns : sl_monotonic_ns();
    if (c->bytes_sent == 0)
        sl_observe(&c->server->counts.first_byte, c->last_sent_ns - c->started_ns);
    c->bytes_sent += bytes;
    sl_count(&c->server->counts.bytes, bytes);
    sl_count(&c->server->counts.writes, 1);
    return 0;
}

/* In place: `front` before the piece, `back` behind it, and what stood there put back. */
static int hand_over_between(struct connection *c, const struct piece *p, const void *front, size_t lead,
                             const char *back, size_t trail)
{
    uint8_t before[CONNECTION_FRONT_BYTES], behind[CONNECTION_BACK_BYTES];
    memcpy(before, p->data - lead, lead);
    memcpy(behind, p->data + p->bytes, trail);
    memcpy(p->data - lead, front, lead);
    memcpy(p->data + p->bytes, back, trail);
    int fault = hand_over(c, p->data - lead, lead + p->bytes + trail);
    memcpy(p->data - lead, before, lead);
    memcpy(p->data + p->bytes, behind, trail);
    return fault;
}

static int write_chunk(struct connection *c, const struct piece *p)
{
    char size[16];
    size_t lead = (size_t)snprintf(size, sizeof size, "%zx\r\n", p->bytes);
    const char *tail = p->last ? "\r\n0\r\n\r\n" : "\r\n";
    return hand_over_between(c, p, size, lead, tail, strlen(tail));
}

/* One whole message (RFC 6455 5.2). */
static int write_frame(struct connection *c, const struct piece *p)
{
    uint8_t head[10] = {0x80 | (c->binary ? 2 : 1)};
    size_t form = p->bytes < 126 ? 0 : p->bytes <= UINT16_MAX ? 2 : 8;
    head[1] = (uint8_t)(form == 0 ? p->bytes : form == 2 ? 126 : 127);
    for (size_t i = 0; i < form; i++)
        head[2 + i] = (uint8_t)((uint64_t)p->bytes >> 8 * (form - 1 - i));
    return hand_over_between(c, p, head, 2 + form, "", 0);
}

/* Head and first piece in one send; an answer that is whole by then says its length. */
static int write_first(struct connection *c, struct piece *p)
{
    bool bodyless = c->request->method == METHOD_HEAD;
    if (p->last && !bodyless && p->bytes <= CONNECTION_PIECE_BYTES && !(c->until_close && !c->chunked)) {
        c->chunked = false;
        outlet_end_head(c, (int64_t)p->bytes);
        buffer_append(&c->out, p->data, p->bytes);
    } else {
        outlet_end_head(c, -1);
        if (bodyless) {
            p->bytes = 0;
            p->last = true;
        } else if (p->bytes) {
            char size[32];
            if (c->chunked) {
                snprintf(size, sizeof size, "%zx\r\n", p->bytes);
                buffer_append_text(&c->out, size);
            }
            buffer_append(&c->out, p->data, p->bytes);
            if (c->chunked)
                buffer_append_text(&c->out, p->last ? "\r\n0\r\n\r\n" : "\r\n");
        } else if (p->last && c->chunked) {
            buffer_append_text(&c->out, "0\r\n\r\n");
        }
    }
    if (c->out.fault)
        return -1;
    c->head_pending = false;
    int fault = hand_over(c, buffer_data(&c->out), c->out.bytes);
    buffer_shrink(&c->out, 0);
    return fault;
}

static int write_piece(struct connection *c, struct piece p)
{
    int fault = 0;
    size_t given = p.bytes;
    if (c->gzip && (p.bytes || p.last)) {
        buffer_cut(&c->packed, 0);
        gzip_append(c->gzip, sl_slice(p.data, p.bytes), p.last, &c->packed);
        if (!buffer_room(&c->packed, CONNECTION_BACK_BYTES))
            return -1;
        p.data = buffer_data(&c->packed);
        p.bytes = c->packed.bytes;
    }
    if (c->head_pending)
        fault = write_first(c, &p);
    else if (p.bytes)
        fault = c->websocket ? write_frame(c, &p)
                : c->chunked ? write_chunk(c, &p)
                             : hand_over(c, p.data, p.bytes);
    else if (p.last && c->chunked) {
        uint8_t end[] = "0\r\n\r\n";
        fault = hand_over(c, end, sizeof end - 1);
    }
    if (fault)
        return -1;
    c->handler->sent(c->user, given);
    c->finished = p.last;
    return 0;
}

static int write_whole(struct connection *c)
{
    size_t left = c->out.bytes - c->out_sent;
    size_t bytes = left < CONNECTION_PIECE_BYTES ? left : CONNECTION_PIECE_BYTES;
    if (hand_over(c, buffer_data(&c->out) + c->out_sent, bytes) < 0)
        return -1;
    c->out_sent += bytes;
    c->finished = c->out_sent == c->out.bytes;
    c->wakes = !c->finished;
    return 0;
}

int outlet_write(struct connection *c)
{
    struct piece p = {0};
    if (access_waits(c))
        return 0;
    if (!c->stream)
        return write_whole(c);
    c->handler->next(c->user, &p);
    if (!p.bytes && !p.last && !c->head_pending)
        return 0;
    c->wakes = true;
    return write_piece(c, p);
}

/* ---- without lws' loop ---- */

bool outlet_ready(struct connection *c)
{
    if (c->listed)
        return true;
    if (c->tls || !c->stream || c->head_pending || c->finished || c->aborted || c->full || c->wakes ||
        c->writing)
        return false;
    c->listed = true;
    TAILQ_INSERT_TAIL(&c->server->ready, c, ready);
    return true;
}

void outlet_forget(struct connection *c)
{
    if (c->listed)
        TAILQ_REMOVE(&c->server->ready, c, ready);
    c->listed = false;
}

/* What there is; the end of a stream is left to the callback, which may close. */
static void push(struct connection *c)
{
    bool more = true, fault = false;
    size_t sent = 0;
    c->writing = true;
    while (sent < TURN_BYTES && more && !fault && !c->aborted && !c->full) {
        struct piece p = {0};
        if (access_waits(c)) {
            more = false;
            break;
        }
        c->handler->next(c->user, &p);
        if (p.last) {
            c->writing = false;
            connection_wake(c);
            return;
        }
        more = p.bytes > 0;
        sent += p.bytes;
        if (more)
            fault = write_piece(c, p) < 0;
    }
    c->writing = false;
    if (fault)
        connection_abort(c);
    else if (more || c->wakes || c->aborted || c->full) {
        c->wakes = false;
        connection_wake(c);
    }
}

void outlet_flush(struct server *s)
{
    struct connection *c;
    if (!TAILQ_EMPTY(&s->ready))
        s->flush_ns = sl_monotonic_ns();
    while ((c = TAILQ_FIRST(&s->ready))) {
        outlet_forget(c);
        if (!c->wakes && !c->full && !c->aborted)
            push(c);
    }
    s->flush_ns = 0;
}
