// SPDX-License-Identifier: Apache-2.0
/*
 * GET /v1/sandboxes/{id}/logs: from parameters to a reader, from what the reader finds to a status, headers
 * and an end, over HTTP and WebSocket (API.md 2).
 */
#include "access.h"
#include "dialects/dialect.h"
#include "handlers.h"
#include "lag.h"
#include "options.h"
#include "reader.h"
#include "server.h"
#include "wire/timestamp.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define KEEP_ALIVE_NS (INT64_C(15) * 1000000000)
/* How long a cursor may name a line that is not there: another broker of the same store may be that far ahead
 * of this one, and collectors bring again what a store has lost. */
#define AHEAD_NS (INT64_C(3) * 1000000000)

struct logs {
    struct connection *c;
    struct query query;
    struct render_style style;
    struct filter *filter;
    struct reader *reader;
    struct reader_options reader_options; /* to ask again with */
    struct cursor after, before;
    int64_t ahead_ns; /* since when a cursor is ahead of the log; 0: it is not */
    struct lag lag;
    bool told_line;     /* counted */
    bool told_end;      /* the end stands in `tail` */
    struct buffer tail; /* what comes around the reader's bytes: retry, comments, the end */
    size_t tail_at;
    bool head_done;
};

/* ---- what went wrong ---- */

static void broker_problem(struct problem *p, const struct server *s, int fault)
{
    const char *missing = upstream_missing(s->upstream);
    if (fault == -EBADMSG || fault == -EPROTO || fault == -ENOMEM || fault == -EMSGSIZE)
        problem_set(p, PROBLEM_INTERNAL, NULL, "the log could not be read");
    else
        problem_set(p, PROBLEM_BROKER_UNAVAILABLE, NULL, "%s",
                    missing ? missing : "the broker does not answer");
}

static void refuse(struct logs *l, const struct problem *p)
{
    access_refuse(l->c, p, p->code == PROBLEM_BROKER_UNAVAILABLE ? 1 : 0);
}

static void cursor_text(const struct logs *l, uint64_t seq, char out[CURSOR_TEXT_BYTES + 1])
{
    struct cursor cursor =
        cursor_of(l->c->match.id, reader_epoch(l->reader), reader_place(l->reader)->birth, seq);
    out[cursor_render(&cursor, out)] = 0;
}

/* ---- the first answer ---- */

static bool expired(struct logs *l, const struct cursor *cursor, const char *name, struct problem *p)
{
    const struct sl_place *place = reader_place(l->reader);
    if (cursor_check(cursor, l->c->match.id, reader_epoch(l->reader), place->birth) != CURSOR_EXPIRED)
        return false;
    problem_set(p, PROBLEM_CURSOR_EXPIRED, name, "this cursor belongs to a log that is no more; start anew");
    if (place->oldest_seq <= place->last_seq)
        cursor_text(l, place->oldest_seq, p->oldest);
    return true;
}

/* A cursor that names a line behind the newest: one that this store has lost, or that never was. */
static bool ahead(struct logs *l)
{
    uint64_t last = reader_place(l->reader)->last_seq;
    const char *name = l->after.seq > last ? l->query.after_name : l->before.seq > last ? "before" : NULL;
    int64_t now_ns = sl_monotonic_ns();
    struct problem p;
    if (!name)
        return false;
    if (!l->ahead_ns)
        l->ahead_ns = now_ns;
    if (now_ns - l->ahead_ns < AHEAD_NS)
        return true; /* the next tick asks again */
    problem_set(&p, PROBLEM_CURSOR_EXPIRED, name,
                "this cursor is ahead of the log, which has lost what stood there; start anew");
    if (reader_place(l->reader)->oldest_seq <= last)
        cursor_text(l, reader_place(l->reader)->oldest_seq, p.oldest);
    refuse(l, &p);
    return true;
}

/* What there is to say instead of a stream; false: nothing, go on. */
static bool no_stream(struct logs *l)
{
    struct connection *c = l->c;
    const struct sl_place *place = reader_place(l->reader);
    struct problem p;
    if ((l->query.after.bytes && expired(l, &l->after, l->query.after_name, &p)) ||
        (l->query.before.bytes && expired(l, &l->before, "before", &p))) {
        refuse(l, &p);
        return true;
    }
    if (ahead(l))
        return true;
    /* Other people's clients know no 409: what there is, and the end. So it is for who waited for the sandbox
     * and was there when it stopped. */
    if (!l->query.follow || place->state != SL_STOPPED || c->dialect || reader_waited(l->reader))
        return false;
    if (!l->query.after.bytes) {
        problem_set(&p, PROBLEM_SANDBOX_NOT_RUNNING, NULL,
                    "this sandbox has stopped; read it without follow");
        refuse(l, &p);
        return true;
    }
    if (reader_exhausted(l->reader) && l->after.seq >= place->last_seq && !c->websocket) {
        connection_answer(c, 204, NULL, sl_slice(NULL, 0), NULL);
        return true;
    }
    return false;
}

static void begin_stream(struct logs *l)
{
    const struct sl_place *place = reader_place(l->reader);
    char headers[512], oldest[CURSOR_TEXT_BYTES + 1] = "", newest[CURSOR_TEXT_BYTES + 1] = "";
    size_t at = 0;
    if (place->oldest_seq <= place->last_seq) {
        cursor_text(l, place->oldest_seq, oldest);
        cursor_text(l, place->last_seq, newest);
        at = (size_t)snprintf(headers, sizeof headers, "Sandlog-Oldest: %s\r\nSandlog-Newest: %s\r\n", oldest,
                              newest);
    }
    at +=
        (size_t)snprintf(headers + at, sizeof headers - at, "Sandlog-State: %s\r\nX-Accel-Buffering: no\r\n",
                         place->state == SL_STOPPED ? "stopped" : "running");
    if (l->c->dialect)
        dialect_warning(l->c->dialect, place->oldest_seq, headers + at, sizeof headers - at);
    struct problem p;
    unsigned retry_s;
    if (l->query.follow && access_follow(l->c, &p, &retry_s) != 0) {
        access_refuse(l->c, &p, retry_s);
        return;
    }
    if (!l->c->websocket)
        render_head(&l->style, &l->tail);
    connection_stream(l->c,
                      l->c->dialect ? dialect_content_type(l->c->dialect) : render_content_type(&l->style),
                      l->style.format == QUERY_SSE, headers);
}

static void changed(void *arg)
{
    struct logs *l = arg;
    struct problem p;
    if (l->c->answered) {
        connection_more(l->c);
        return;
    }
    switch (reader_state(l->reader)) {
    case READER_FINDS:
        return;
    case READER_UNKNOWN:
        problem_set(&p, PROBLEM_SANDBOX_NOT_FOUND, NULL, "there is no sandbox of this id");
        refuse(l, &p);
        return;
    case READER_FAILED:
        if (reader_fault(l->reader) == -ESTALE)
            problem_set(&p, PROBLEM_CURSOR_EXPIRED, NULL, "the store behind this log was replaced");
        else
            broker_problem(&p, l->c->server, reader_fault(l->reader));
        refuse(l, &p);
        return;
    default:
        if (!no_stream(l))
            begin_stream(l);
    }
}

/* ---- streaming ---- */

/* The words behind the last line; once. */
static void tell_end(struct logs *l)
{
    struct connection *c = l->c;
    const struct sl_place *place = reader_place(l->reader);
    char cursor[CURSOR_TEXT_BYTES + 1];
    l->told_end = true;
    cursor_text(l, reader_last_given(l->reader), cursor);
    if (reader_state(l->reader) == READER_FAILED) {
        struct problem p;
        int fault = reader_fault(l->reader);
        if (fault == -ESTALE)
            problem_set(&p, PROBLEM_CURSOR_EXPIRED, NULL, "the store behind this log was replaced");
        else
            broker_problem(&p, c->server, fault);
        render_error(&l->style, &l->tail, &p);
        connection_close_with(c, problem_close_code(p.code), sl_slice_of(cursor));
        return;
    }
    struct render r;
    enum render_end_reason reason = reader_end(l->reader);
    render_begin(&r, &l->style, c->match.id, reader_epoch(l->reader), place->birth);
    /* NDJSON over HTTP ends like a file when it is one. */
    if (c->websocket || l->query.follow || l->style.format != QUERY_NDJSON)
        render_end(&r, &l->tail,
                   &(struct render_end){.reason = reason,
                                        .has_exit = place->has_exit,
                                        .exit_code = place->exit_code,
                                        .last_seq = place->last_seq,
                                        .lost = place->lost});
    connection_close_with(c, reason == RENDER_SHUTDOWN ? 1012 : 1000, sl_slice_of(cursor));
}

static void piece_of_tail(struct logs *l, struct piece *ret)
{
    if (!buffer_room(&l->tail, CONNECTION_BACK_BYTES))
        return;
    ret->data = buffer_data(&l->tail) + l->tail_at;
    ret->bytes = l->tail.bytes - l->tail_at;
}

/* What lws sends, what is compressed and what is counted against an allowance goes in smaller ones. */
static size_t piece_bytes(const struct connection *c)
{
    return c->tls || c->gzip || options.max_bytes_per_token ? CONNECTION_PIECE_BYTES
                                                            : READER_BULK_PIECE_BYTES;
}

static void next(void *user, struct piece *ret)
{
    struct logs *l = user;
    struct connection *c = l->c;
    *ret = (struct piece){0};
    if (l->tail.bytes > l->tail_at && !l->told_end) { /* retry, a comment: only ever between lines */
        piece_of_tail(l, ret);
        return;
    }
    reader_piece(l->reader, c->websocket ? 0 : piece_bytes(c), &ret->data, &ret->bytes);
    enum reader_state state = reader_state(l->reader);
    bool over = state == READER_ENDED || state == READER_FAILED;
    if (ret->bytes && !l->told_line) {
        l->told_line = true;
        sl_observe(&c->server->counts.first_line, sl_monotonic_ns() - c->started_ns);
    }
    if (ret->bytes) {
        /* Nothing comes behind it: say so with it, so that a short answer is one send. */
        ret->last = over && reader_ends_with(l->reader, ret->bytes) && !c->websocket && !l->query.follow &&
                    l->style.format != QUERY_SSE && state == READER_ENDED;
        return;
    }
    if (!over)
        return;
    if (!l->told_end)
        tell_end(l);
    piece_of_tail(l, ret);
    ret->last = true;
    /* A download that can't be completed has to look like one; so has a text that is left by a gateway that
     * shuts down, which has no words to say so. */
    bool left =
        state == READER_ENDED && reader_end(l->reader) == RENDER_SHUTDOWN && l->style.format != QUERY_NDJSON;
    if ((state == READER_FAILED || left) && !c->websocket && l->style.format != QUERY_SSE) {
        ret->last = false;
        ret->bytes = 0;
        connection_abort(c);
    }
}

static void sent(void *user, size_t bytes)
{
    struct logs *l = user;
    if (l->tail.bytes > l->tail_at) {
        l->tail_at += bytes;
        if (l->tail_at == l->tail.bytes) {
            buffer_cut(&l->tail, 0);
            l->tail_at = 0;
        }
    } else {
        reader_took(l->reader, bytes);
    }
}

static void ask(struct logs *l)
{
    if (reader_new(&l->reader_options, &l->reader) < 0)
        connection_abort(l->c);
    else if (reader_state(l->reader) == READER_FAILED)
        changed(l);
}

static void report(void *user, struct follower_report *ret)
{
    struct logs *l = user;
    static const char *const formats[] = {
        [QUERY_TEXT] = "text", [QUERY_NDJSON] = "ndjson", [QUERY_SSE] = "sse"};
    ret->format = l->c->websocket ? "websocket" : l->c->dialect ? "dialect" : formats[l->style.format];
    ret->lag_lines = lag_lines(reader_newest(l->reader), reader_last_given(l->reader));
    ret->lag_ns = lag_lasts_ns(&l->lag, reader_last_given(l->reader), sl_monotonic_ns());
}

static void tick(void *user, int64_t now_ns)
{
    struct logs *l = user;
    if (l->ahead_ns && !l->c->answered && reader_state(l->reader) != READER_FINDS) {
        reader_free(l->reader);
        l->reader = NULL;
        ask(l);
        return;
    }
    if (reader_tick(l->reader, now_ns))
        changed(l);
    if (l->c->stream)
        lag_note(&l->lag, reader_newest(l->reader), reader_last_given(l->reader), now_ns);
    if (l->c->grant.expires_ns <= sl_now_ns() && l->c->stream) {
        reader_stop(l->reader, RENDER_EXPIRED);
        connection_more(l->c);
    }
    if (l->c->stream && !l->told_end && l->style.format == QUERY_SSE && !l->c->websocket &&
        l->tail.bytes == 0 && now_ns - l->c->last_sent_ns >= KEEP_ALIVE_NS && reader_at_line(l->reader)) {
        render_keep_alive(&l->style, &l->tail);
        connection_more(l->c);
    }
}

static void stop(void *user)
{
    struct logs *l = user;
    if (!l->query.follow)
        return;
    if (!l->c->answered) { /* it waits for its sandbox, or for the broker's first answer */
        struct problem p;
        problem_set(&p, PROBLEM_BROKER_UNAVAILABLE, NULL, "the gateway is shutting down");
        refuse(l, &p);
        return;
    }
    reader_stop(l->reader, RENDER_SHUTDOWN);
    connection_more(l->c);
}

static bool hung_up(void *user)
{
    const struct logs *l = user;
    return l->query.follow;
}

static void gone(void *user)
{
    struct logs *l = user;
    reader_free(l->reader);
    filter_free(l->filter);
    buffer_fini(&l->tail);
    free(l);
}

/* ---- start ---- */

/* Syntax and sandbox of a cursor; whether it is of this store is known with the first answer. */
static int parse_cursor(const struct connection *c, struct sl_slice text, const char *name,
                        struct cursor *ret, struct problem *p)
{
    if (text.bytes == 0)
        return 0;
    if (cursor_parse(text, ret) != CURSOR_OK) {
        problem_set(p, PROBLEM_INVALID_PARAMETER, name, "%s is not a cursor", name);
        return 1;
    }
    if (cursor_check(ret, c->match.id, 0, 0) == CURSOR_FOREIGN) {
        problem_set(p, PROBLEM_INVALID_PARAMETER, name, "%s is a cursor of another sandbox", name);
        return 1;
    }
    return 0;
}

static void start(struct connection *c)
{
    const struct request *r = c->request;
    struct problem p;
    struct logs *l = calloc(1, sizeof *l);
    if (!l) {
        connection_abort(c);
        return;
    }
    l->c = c;
    buffer_init(&l->tail, CONNECTION_FRONT_BYTES, 64 << 10);
    struct query_input input = {.pairs = r->pairs,
                                .count = r->pair_count,
                                .accept = r->accept,
                                .last_event_id = r->last_event_id,
                                .now_ns = sl_now_ns(),
                                .websocket = c->websocket};
    if (c->dialect)
        l->query = c->dialect->query;
    if (!grant_covers(&c->grant, c->match.id)) { /* dialects come here with an id of their own finding */
        problem_set(&p, PROBLEM_SANDBOX_NOT_FOUND, NULL, "there is no sandbox of this id");
        connection_problem(c, &p, NULL);
        buffer_fini(&l->tail);
        free(l);
        return;
    }
    if ((!c->dialect && query_parse(&input, &l->query, &p) != 0) ||
        parse_cursor(c, l->query.after, l->query.after_name, &l->after, &p) != 0 ||
        parse_cursor(c, l->query.before, "before", &l->before, &p) != 0 ||
        filter_new(&l->query, &l->filter, &p) != 0) {
        connection_problem(c, &p, NULL);
        buffer_fini(&l->tail);
        free(l);
        return;
    }
    if (c->websocket && c->binary)
        l->query.format = QUERY_TEXT;
    l->style = render_style_of(&l->query, false);
    c->user = l;
    l->reader_options = (struct reader_options){
        .server = c->server,
        .sandbox = c->match.id,
        .query = &l->query,
        .filter = l->filter,
        .style = l->style,
        .has_after = l->query.after.bytes > 0,
        .after_seq = l->after.seq,
        .has_before = l->query.before.bytes > 0,
        .before_seq = l->before.seq,
        .fill_bytes = l->query.follow || c->websocket ? READER_FILL_BYTES : READER_BULK_BYTES,
        .grace_ns = options.broker_grace_ns,
        .changed = changed,
        .arg = l};
    ask(l);
}

const struct handler logs_handler = {.start = start,
                                     .next = next,
                                     .sent = sent,
                                     .gone = gone,
                                     .tick = tick,
                                     .stop = stop,
                                     .hung_up = hung_up,
                                     .report = report};
