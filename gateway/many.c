// SPDX-License-Identifier: Apache-2.0
/*
 * GET /v1/logs: many sandboxes as one stream (API.md 2). A reader per member gives raw lines; here they are
 * merged by time, as far as they are at hand, and rendered with a cursor that covers all members. Lines of
 * one sandbox keep their order whatever their times say.
 */
#include "access.h"
#include "handlers.h"
#include "label.h"
#include "many_inner.h"
#include "options.h"
#include "server.h"
#include "wire/timestamp.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define KEEP_ALIVE_NS (INT64_C(15) * 1000000000)
#define POLL_NS       (INT64_C(2) * 1000000000) /* how soon a sandbox that comes to match joins */

enum { MEMBER_FILL_BYTES = 16 << 10, OUT_MAX_BYTES = 64 << 20 };

static void changed(void *arg);

/* ---- members ---- */

static struct sl_slice id_of(const struct member *m)
{
    return sl_slice(m->id, m->id_bytes);
}

static struct member *find(struct many *l, struct sl_slice id)
{
    for (size_t i = 0; i < l->count; i++)
        if (sl_slice_equal(id_of(l->members[i]), id))
            return l->members[i];
    return NULL;
}

static int grow(struct many *l)
{
    size_t capacity = l->capacity ? 2 * l->capacity : 8;
    struct member **members = realloc(l->members, capacity * sizeof *members);
    if (members)
        l->members = members;
    struct cursor *cursor = realloc(l->cursor, capacity * sizeof *cursor);
    if (cursor)
        l->cursor = cursor;
    struct cursor *sorted = realloc(l->sorted, capacity * sizeof *sorted);
    if (sorted)
        l->sorted = sorted;
    if (!members || !cursor || !sorted)
        return -ENOMEM;
    l->capacity = capacity;
    return 0;
}

/* > 0: there is no room for more members. */
static int add(struct many *l, struct sl_slice id, bool named, bool is_new)
{
    if (find(l, id))
        return 0;
    if (l->count == CURSOR_SET_MAX)
        return 1;
    if (l->count == l->capacity && grow(l) < 0)
        return -ENOMEM;
    struct member *m = calloc(1, sizeof *m);
    if (!m)
        return -ENOMEM;
    m->named = named;
    m->at = (unsigned)l->count;
    m->id_bytes = id.bytes;
    memcpy(m->id, id.data, id.bytes);
    const struct cursor *after = cursor_set_find(l->resume, l->resume_count, id);
    struct reader_options of = {.server = l->c->server,
                                .sandbox = id_of(m),
                                .query = is_new ? &l->of_new : &l->of_each,
                                .filter = l->filter,
                                .has_after = after != NULL,
                                .after_seq = after ? after->seq : 0,
                                .raw = true,
                                .fill_bytes = MEMBER_FILL_BYTES,
                                .grace_ns = options.broker_grace_ns,
                                .changed = changed,
                                .arg = l};
    int fault = reader_new(&of, &m->reader);
    if (fault < 0) {
        free(m);
        return fault;
    }
    l->cursor[l->count] = after ? *after : (struct cursor){0};
    l->members[l->count++] = m;
    return 0;
}

static int by_sandbox(const void *a, const void *b)
{
    const struct cursor *x = a, *y = b;
    return (x->sandbox > y->sandbox) - (x->sandbox < y->sandbox);
}

/* Where to go on, should it run and match again. Of too many, those are forgotten that come first. */
static void remember(struct many *l, const struct cursor *c)
{
    size_t at = 0;
    while (at < l->resume_count && l->resume[at].sandbox != c->sandbox)
        at++;
    if (at == CURSOR_SET_MAX)
        at = 0;
    l->resume[at] = *c;
    if (at == l->resume_count)
        l->resume_count++;
    qsort(l->resume, l->resume_count, sizeof *l->resume, by_sandbox);
}

/* Members of a label that have ended make room for others. */
static void drop_ended(struct many *l)
{
    size_t kept = 0;
    for (size_t i = 0; i < l->count; i++) {
        struct member *m = l->members[i];
        if (m->ended && !m->named) {
            if (m->ready)
                remember(l, &l->cursor[i]);
            reader_free(m->reader);
            free(m);
            continue;
        }
        l->cursor[kept] = l->cursor[i];
        l->members[kept] = m;
        m->at = (unsigned)kept++;
    }
    l->count = kept;
}

/* ---- sandboxes of a label ---- */

static void ask_list(struct many *l);

static void listed(void *arg, int fault, uint8_t status, struct sl_reader *body)
{
    struct many *l = arg;
    uint64_t epoch;
    struct sl_info info;
    l->listing = NULL;
    if (!fault && (status != SL_STATUS_OK || sl_list_answer_open(body, &epoch, &l->page) != 0))
        fault = -EPROTO;
    while (!fault && sl_info_next(body, &info)) {
        bool live = info.place.state != SL_STOPPED;
        /* one that ended while its reader was away still owes its last lines */
        bool known = !l->listed && cursor_set_find(l->resume, l->resume_count, info.sandbox) != NULL;
        if (!grant_covers(&l->c->grant, info.sandbox) || (l->query.follow && !live && !known))
            continue;
        /* `tail` was about what there was when the stream began; what began, or went on, after that is new */
        bool is_new = l->listed && (info.created_ns >= l->began_ns ||
                                    cursor_set_find(l->resume, l->resume_count, info.sandbox) != NULL);
        if (add(l, info.sandbox, false, is_new) != 0)
            break; /* full: those that are there go on */
    }
    if (fault && !l->listed) {
        struct problem p;
        problem_set(&p, PROBLEM_BROKER_UNAVAILABLE, NULL, "the broker does not answer");
        access_refuse(l->c, &p, 1);
        return;
    }
    if (!fault && l->page) {
        ask_list(l);
        return;
    }
    l->listed = true;
    l->page = 0;
    l->poll_ns = sl_monotonic_ns() + POLL_NS;
    changed(l);
}

static void ask_list(struct many *l)
{
    nng_msg *request;
    struct sl_writer w;
    struct sl_list list = {.limit = SL_LIST_MAX,
                           .page = l->page,
                           .labels = l->label_count,
                           .label_pairs = sl_slice(l->labels.data, l->labels.bytes)};
    if (sl_client_message_new(SL_LIST, 512 + l->labels.bytes, &request, &w) < 0)
        return; /* the next poll tries again */
    sl_list_encode(&w, &list);
    struct upstream *u = l->c->server->upstream;
    l->listing = upstream_ask(u, request, &w, upstream_patience_ms(u, options.broker_grace_ns), listed, l);
}

/* ---- the first answers ---- */

static bool expired(struct many *l, const struct member *m, struct problem *p)
{
    const struct cursor *after = cursor_set_find(l->resume, l->resume_count, id_of(m));
    if (!after || cursor_check(after, id_of(m), reader_epoch(m->reader), reader_place(m->reader)->birth) !=
                      CURSOR_EXPIRED)
        return false;
    problem_set(p, PROBLEM_CURSOR_EXPIRED, l->query.after_name,
                "this cursor belongs to a log that is no more; start anew");
    return true;
}

/* Whether all members are known; a problem is answered. */
static bool all_found(struct many *l)
{
    struct problem p;
    if (l->label_count && !l->listed)
        return false;
    for (size_t i = 0; i < l->count; i++) {
        struct member *m = l->members[i];
        switch (reader_state(m->reader)) {
        case READER_FINDS:
            return false;
        case READER_UNKNOWN:
            problem_set(&p, PROBLEM_SANDBOX_NOT_FOUND, "sandbox", "there is no sandbox %.*s",
                        (int)m->id_bytes, (const char *)m->id);
            access_refuse(l->c, &p, 0);
            return false;
        case READER_FAILED:
            problem_set(&p, PROBLEM_BROKER_UNAVAILABLE, NULL, "the broker does not answer");
            access_refuse(l->c, &p, 1);
            return false;
        default:
            if (expired(l, m, &p)) {
                access_refuse(l->c, &p, 0);
                return false;
            }
            many_get_ready(l, m);
        }
    }
    return true;
}

static bool exhausted(const struct many *l)
{
    if (!l->query.follow || !l->resume_count || l->label_count || l->c->websocket)
        return false;
    for (size_t i = 0; i < l->count; i++)
        if (!reader_exhausted(l->members[i]->reader))
            return false;
    return true;
}

static void changed(void *arg)
{
    struct many *l = arg;
    struct problem p;
    unsigned retry_s;
    if (l->c->answered) {
        connection_more(l->c);
        return;
    }
    if (!all_found(l))
        return;
    if (exhausted(l)) {
        connection_answer(l->c, 204, NULL, sl_slice(NULL, 0), NULL);
    } else if (l->query.follow && access_follow(l->c, &p, &retry_s) != 0) {
        access_refuse(l->c, &p, retry_s);
    } else {
        if (!l->c->websocket)
            render_head(&l->style, &l->out);
        connection_stream(l->c, render_content_type(&l->style), l->style.format == QUERY_SSE,
                          "X-Accel-Buffering: no\r\n");
    }
}

static bool all_ended(const struct many *l)
{
    if (l->label_count && l->query.follow)
        return false; /* others may come to match */
    for (size_t i = 0; i < l->count; i++)
        if (!l->members[i]->ended)
            return false;
    return true;
}

static void next(void *user, struct piece *ret)
{
    struct many *l = user;
    *ret = (struct piece){0};
    if (l->out_at == l->out.bytes) {
        buffer_shrink(&l->out, 4 * MANY_FILL_BYTES);
        buffer_cut(&l->out, 0);
        l->out_at = 0;
    }
    many_merge(l);
    if (!buffer_room(&l->out, CONNECTION_BACK_BYTES)) {
        connection_abort(l->c);
        return;
    }
    bool over = l->over || all_ended(l);
    size_t left = l->out.bytes - l->out_at;
    size_t most = l->c->websocket ? left : CONNECTION_PIECE_BYTES;
    ret->data = buffer_data(&l->out) + l->out_at;
    ret->bytes = left < most ? left : most;
    ret->last = over && ret->bytes == left;
    if (ret->last)
        connection_close_with(l->c, l->c->server->stop_ns ? 1012 : 1000,
                              l->count <= 4 ? many_cursor(l) : sl_slice(NULL, 0));
}

static void sent(void *user, size_t bytes)
{
    struct many *l = user;
    l->out_at += bytes;
}

static void tick(void *user, int64_t now_ns)
{
    struct many *l = user;
    bool news = false;
    for (size_t i = 0; i < l->count; i++) {
        struct member *m = l->members[i];
        news = reader_tick(m->reader, now_ns) || news;
        if (m->ready)
            lag_note(&m->lag, reader_newest(m->reader), reader_last_given(m->reader), now_ns);
    }
    if (l->label_count && l->query.follow && l->c->stream)
        drop_ended(l);
    if (l->label_count && !l->listing && now_ns >= l->poll_ns && (l->query.follow || !l->listed))
        ask_list(l);
    if (l->c->stream && l->c->grant.expires_ns <= sl_now_ns())
        for (size_t i = 0; i < l->count; i++) {
            reader_stop(l->members[i]->reader, RENDER_EXPIRED);
            l->label_count = 0;
            news = true;
        }
    if (l->c->stream && l->style.format == QUERY_SSE && l->out_at == l->out.bytes &&
        now_ns - l->c->last_sent_ns >= KEEP_ALIVE_NS) {
        render_keep_alive(&l->style, &l->out);
        news = true;
    }
    if (news || l->waits_ns)
        changed(l);
}

static void report(void *user, struct follower_report *ret)
{
    const struct many *l = user;
    int64_t now_ns = sl_monotonic_ns();
    ret->format = l->c->websocket ? "websocket" : l->style.format == QUERY_SSE ? "sse" : "ndjson";
    for (size_t i = 0; i < l->count; i++) {
        const struct member *m = l->members[i];
        if (!m->ready)
            continue;
        int64_t lag_ns = lag_lasts_ns(&m->lag, reader_last_given(m->reader), now_ns);
        ret->lag_lines += lag_lines(reader_newest(m->reader), reader_last_given(m->reader));
        ret->lag_ns = lag_ns > ret->lag_ns ? lag_ns : ret->lag_ns;
    }
}

static void stop(void *user)
{
    struct many *l = user;
    if (!l->query.follow)
        return;
    if (!l->c->answered) {
        struct problem p;
        problem_set(&p, PROBLEM_BROKER_UNAVAILABLE, NULL, "the gateway is shutting down");
        access_refuse(l->c, &p, 1);
        return;
    }
    l->label_count = 0;
    for (size_t i = 0; i < l->count; i++)
        reader_stop(l->members[i]->reader, RENDER_SHUTDOWN);
    connection_more(l->c);
}

static bool hung_up(void *user)
{
    const struct many *l = user;
    return l->query.follow;
}

static void gone(void *user)
{
    struct many *l = user;
    upstream_cancel(l->listing);
    for (size_t i = 0; i < l->count; i++) {
        reader_free(l->members[i]->reader);
        free(l->members[i]);
    }
    free(l->members);
    filter_free(l->filter);
    buffer_fini(&l->out);
    free(l->cursor);
    free(l->sorted);
    free(l->resume);
    free(l->cursor_text);
    free(l->labels.data);
    free(l);
}

/* ---- start ---- */

static struct many *many_new(struct connection *c)
{
    struct many *l = calloc(1, sizeof *l);
    if (!l)
        return NULL;
    l->c = c;
    buffer_init(&l->out, CONNECTION_FRONT_BYTES, OUT_MAX_BYTES);
    l->cursor_text = malloc(CURSOR_SET_TEXT_BYTES);
    l->resume = calloc(CURSOR_SET_MAX, sizeof *l->resume);
    uint8_t *labels = malloc(LABEL_PAIRS_BYTES);
    l->labels = sl_writer(labels, LABEL_PAIRS_BYTES);
    if (!l->cursor_text || !l->resume || !labels || grow(l) < 0) {
        gone(l);
        return NULL;
    }
    return l;
}

/* Parameters that are this route's own. */
static int check_query(struct many *l, struct problem *p)
{
    const struct request *r = l->c->request;
    const struct query_pair *format = query_find(r->pairs, r->pair_count, "format");
    if (format && sl_slice_equal(format->value, sl_slice_of("text"))) {
        problem_set(p, PROBLEM_INVALID_PARAMETER, "format",
                    "text does not say whose a line is; format must be ndjson or sse");
        return 1;
    }
    if (l->query.before.bytes) {
        problem_set(p, PROBLEM_INVALID_PARAMETER, "before", "before is of one sandbox: read its own log");
        return 1;
    }
    if (l->query.after.bytes && cursor_set_parse(l->query.after, l->resume, &l->resume_count) != CURSOR_OK) {
        problem_set(p, PROBLEM_INVALID_PARAMETER, l->query.after_name, "not a cursor of this stream");
        return 1;
    }
    if (l->query.format == QUERY_TEXT)
        l->query.format = QUERY_NDJSON;
    l->query.data_json = true;
    l->style = render_style_of(&l->query, true);
    l->of_each = l->query;
    l->of_each.has_limit = l->of_each.has_limit_bytes = false;
    l->of_new = l->of_each;
    l->of_new.has_tail = false;
    l->began_ns = sl_now_ns();
    return label_parse(r->pairs, r->pair_count, &l->labels, &l->label_count, p);
}

/* The room for the largest request is not held by each: there may be 10,000 of them. */
static void shrink(struct many *l)
{
    uint8_t *labels = realloc(l->labels.data, l->labels.bytes ? l->labels.bytes : 1);
    if (labels)
        l->labels.data = labels;
    if (l->resume_count || l->label_count)
        return;
    free(l->resume); /* who ends is remembered for its label only */
    l->resume = NULL;
}

/* > 0 with the problem. */
static int add_named(struct many *l, struct problem *p)
{
    const struct request *r = l->c->request;
    for (size_t i = 0; i < r->pair_count; i++) {
        struct sl_slice id = r->pairs[i].value;
        if (!sl_slice_equal(r->pairs[i].name, sl_slice_of("sandbox")))
            continue;
        if (!sl_sandbox_id_valid(id)) {
            problem_set(p, PROBLEM_INVALID_PARAMETER, "sandbox",
                        "a sandbox id is 1 to 128 of A-Z a-z 0-9 . _ : - and not . or ..");
            return 1;
        }
        if (!grant_covers(&l->c->grant, id)) {
            problem_set(p, PROBLEM_SANDBOX_NOT_FOUND, "sandbox", "there is no sandbox %.*s", (int)id.bytes,
                        (const char *)id.data);
            return 1;
        }
        if (add(l, id, true, false) != 0) {
            problem_set(p, PROBLEM_INVALID_PARAMETER, "sandbox", "at most %d sandboxes at once",
                        CURSOR_SET_MAX);
            return 1;
        }
    }
    if (l->count == 0 && l->label_count == 0) {
        problem_set(p, PROBLEM_INVALID_PARAMETER, "sandbox",
                    "name sandboxes: sandbox=ID, or label=KEY%%3DVALUE");
        return 1;
    }
    return 0;
}

static void start(struct connection *c)
{
    const struct request *r = c->request;
    struct problem p;
    struct many *l = many_new(c);
    if (!l) {
        connection_abort(c);
        return;
    }
    struct query_input input = {.pairs = r->pairs,
                                .count = r->pair_count,
                                .accept = r->accept,
                                .last_event_id = r->last_event_id,
                                .now_ns = sl_now_ns(),
                                .websocket = c->websocket};
    c->user = l;
    if (query_parse(&input, &l->query, &p) != 0 || check_query(l, &p) != 0 ||
        filter_new(&l->of_each, &l->filter, &p) != 0 || add_named(l, &p) != 0) {
        access_refuse(c, &p, 0);
        return;
    }
    c->binary = false;
    shrink(l);
    if (l->label_count)
        ask_list(l);
}

const struct handler many_handler = {.start = start,
                                     .next = next,
                                     .sent = sent,
                                     .gone = gone,
                                     .tick = tick,
                                     .stop = stop,
                                     .hung_up = hung_up,
                                     .report = report};
