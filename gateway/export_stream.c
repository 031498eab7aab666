// SPDX-License-Identifier: Apache-2.0
/*
 * GET /v1/export/{consumer}: pages of records from the broker, each block decoded once, rendered into one
 * buffer when the socket takes more. It holds two pages, one block's columns and STREAM_FILL_BYTES of
 * rendered text (one line or a few sandboxes' labels, if that is longer), however slow its reader is.
 */
#include "access.h"
#include "export.h"
#include "export_known.h"
#include "options.h"
#include "render.h"
#include "server.h"
#include "wire/timestamp.h"
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <xxhash.h>

#define KEEP_ALIVE_NS (INT64_C(15) * SL_NS_PER_S)
#define PATIENCE_NS   (INT64_C(30) * SL_NS_PER_S) /* how long one that does not follow waits for a broker */
#define RENEW_NS      (INT64_C(1) * SL_NS_PER_S)

enum {
    STREAM_FILL_BYTES = 128 << 10,
    STREAM_MOST_BYTES = 64 << 20,
    STREAM_KEEP_BYTES = 512 << 10,
    WAIT_MS = 5000,
    ANSWER_MS = 10000, /* within a stream */
    LEASE_MS = 4000,   /* renewed each second */
    KNOWN_MOST = 1 << 16,
    INFOS_MAX = 32,  /* asked at once */
    AHEAD_MAX = 256, /* items that are looked at for them */
};

struct page {
    size_t at, bytes;
    bool more;
    struct sl_checkpoint next;
    uint8_t items[];
};

struct stream;
struct info_ask {
    struct stream *stream;
    struct upstream_call *call;
    struct sl_slice sandbox; /* in the page */
    uint64_t birth;
    uint32_t version;
};

struct stream {
    struct connection *c;
    uint64_t holder;
    bool follow;
    uint64_t max_bytes; /* 0: none */
    struct upstream_call *call, *lease_call;
    struct sl_checkpoint next; /* where the next scan begins; empty: at the consumer's place */
    struct sl_checkpoint done; /* behind what is rendered */
    struct sl_checkpoint told; /* the last checkpoint given */
    struct page *page[2];      /* [0] is being rendered, [1] waits */
    struct buffer out;
    size_t out_at;
    uint64_t given_bytes;
    struct export_known *known;
    struct info_ask infos[INFOS_MAX];
    unsigned infos_open;
    uint8_t *scratch;
    bool walking; /* inside a block: */
    struct sl_block_lines it;
    struct sl_block_header header;
    struct render render;
    uint64_t seq;
    bool begun;  /* headers are out */
    bool last;   /* the last page is here */
    bool ending; /* with the page that is being rendered */
    bool over;   /* everything is rendered */
    bool retry;
    int64_t away_ns, leased_ns;
};

static void advance(struct stream *s);

static size_t pending(const struct stream *s)
{
    return s->out.bytes - s->out_at;
}

/* ---- the broker is away ---- */

static void retry_later(struct stream *s, int fault)
{
    int64_t now_ns = sl_monotonic_ns();
    if (!s->away_ns)
        s->away_ns = now_ns;
    int64_t patience_ns = s->begun ? PATIENCE_NS : options.broker_grace_ns;
    bool impatient = (!s->follow || !s->begun) && now_ns - s->away_ns >= patience_ns;
    if (fault == -ETIMEDOUT && !s->begun)
        impatient = true; /* it was given its time */
    if (fault != -EPROTO && fault != -EACCES && !impatient)
        s->retry = true;
    else if (s->begun)
        connection_abort(s->c);
    else
        export_refuse(s->c, fault, 0);
}

/* ---- pages ---- */

static int page_new(const struct sl_scan_answer *a, struct sl_slice items, struct page **ret)
{
    struct page *p = malloc(sizeof *p + items.bytes);
    if (!p)
        return -ENOMEM;
    *p = (struct page){.bytes = items.bytes, .more = a->more, .next.bytes = (uint8_t)a->next.bytes};
    memcpy(p->next.text, a->next.data, a->next.bytes);
    if (items.bytes)
        memcpy(p->items, items.data, items.bytes);
    *ret = p;
    return 0;
}

static void tell_checkpoint(struct stream *s, const struct sl_checkpoint *checkpoint)
{
    s->told = *checkpoint;
    export_render_checkpoint(&s->out, sl_checkpoint_slice(checkpoint));
}

static void begin_stream(struct stream *s, struct sl_slice from)
{
    struct problem p;
    unsigned retry_s;
    if (s->follow && access_follow(s->c, &p, &retry_s) != 0) {
        access_refuse(s->c, &p, retry_s);
        return;
    }
    char headers[160];
    snprintf(headers, sizeof headers, "Sandlog-Checkpoint: %.*s\r\nX-Accel-Buffering: no\r\n",
             (int)from.bytes, (const char *)from.data);
    s->done = (struct sl_checkpoint){.bytes = (uint8_t)from.bytes};
    memcpy(s->done.text, from.data, from.bytes);
    s->begun = true;
    tell_checkpoint(s, &s->done);
    connection_stream(s->c, "application/x-ndjson", false, headers);
}

static void scanned(void *arg, int fault, uint8_t status, struct sl_reader *body)
{
    struct stream *s = arg;
    struct sl_scan_answer a;
    struct page *p;
    s->call = NULL;
    if (!fault && status == SL_STATUS_OK && sl_scan_answer_open(body, &a) != 0)
        fault = -EPROTO;
    if (fault) {
        retry_later(s, fault);
        return;
    }
    if (status != SL_STATUS_OK) {
        if (s->begun)
            connection_abort(s->c);
        else
            export_refuse(s->c, 0, status);
        return;
    }
    s->away_ns = 0;
    s->leased_ns = sl_monotonic_ns();
    if (page_new(&a, sl_slice(body->at, sl_reader_left(body)), &p) < 0) {
        connection_abort(s->c);
        return;
    }
    if (!s->begun)
        begin_stream(s, a.from);
    if (!s->begun) {
        free(p);
        return;
    }
    s->page[s->page[0] ? 1 : 0] = p;
    s->next = p->next;
    s->last = !p->more && !s->follow;
    sl_count(&s->c->server->counts.page_bytes, p->bytes);
    advance(s);
}

/* The next page, unless there are two, or no more. */
static void ask_page(struct stream *s)
{
    if (s->call || s->page[1] || s->last || s->ending || s->retry)
        return;
    const struct page *newest = s->page[0];
    bool waits = s->begun && s->follow && !(newest && newest->more);
    struct sl_scan scan = {
        .consumer = s->c->match.id,
        .checkpoint = sl_checkpoint_slice(&s->next),
        .holder = s->holder,
        .ttl_ms = LEASE_MS,
        .max_bytes = UPSTREAM_PAGE_BYTES,
        .wait_ms = waits ? WAIT_MS : 0,
    };
    nng_msg *request;
    struct sl_writer w;
    if (sl_client_message_new(SL_SCAN, 256, &request, &w) < 0) {
        connection_abort(s->c);
        return;
    }
    sl_scan_encode(&w, &scan);
    struct upstream *u = s->c->server->upstream;
    if (!s->begun && !s->away_ns) /* a link that is given up meanwhile does not begin the wait anew */
        s->away_ns = sl_monotonic_ns();
    int64_t patience_ms =
        s->begun ? (int64_t)scan.wait_ms + ANSWER_MS : upstream_patience_ms(u, options.broker_grace_ns);
    s->call = upstream_ask(u, request, &w, patience_ms, scanned, s);
    if (!s->call)
        connection_abort(s->c);
}

/* ---- sandboxes ---- */

static void tell_sandbox(struct stream *s, const struct sl_info *info)
{
    struct json j;
    char life[20];
    struct sl_reader pairs = sl_reader(info->label_pairs);
    struct sl_slice key, value;
    snprintf(life, sizeof life, "%016" PRIx64, info->place.birth);
    json_init(&j, &s->out);
    json_object_open(&j);
    json_key(&j, "event");
    json_text(&j, "sandbox");
    json_key(&j, "sandbox");
    json_slice(&j, info->sandbox);
    json_key(&j, "life");
    json_text(&j, life);
    if (info->host.bytes) {
        json_key(&j, "host");
        json_slice(&j, info->host);
    }
    json_key(&j, "labels");
    json_object_open(&j);
    while (sl_label_next(&pairs, &key, &value)) {
        json_key_slice(&j, key);
        json_slice(&j, value);
    }
    json_object_close(&j);
    json_object_close(&j);
    buffer_append(&s->out, "\n", 1);
}

static uint64_t content_of(const struct sl_info *info)
{
    uint64_t hash = XXH3_64bits_withSeed(info->host.data, info->host.bytes, info->place.birth);
    return XXH3_64bits_withSeed(info->label_pairs.data, info->label_pairs.bytes, hash);
}

static void informed(void *arg, int fault, uint8_t status, struct sl_reader *body)
{
    struct info_ask *i = arg;
    struct stream *s = i->stream;
    uint64_t epoch, ignored;
    struct sl_info info;
    i->call = NULL;
    s->infos_open--;
    if (!fault && status == SL_STATUS_OK &&
        (sl_list_answer_open(body, &epoch, &ignored) != 0 || !sl_info_next(body, &info)))
        fault = -EPROTO;
    if (fault) {
        retry_later(s, fault);
        return;
    }
    const struct export_told *before = export_known_find(s->known, i->sandbox);
    struct export_told told = {.birth = i->birth, .version = i->version, .gone = status != SL_STATUS_OK};
    if (before && before->birth == told.birth)
        told.last_seq = before->last_seq;
    if (!told.gone) {
        told.content = content_of(&info);
        if (info.place.birth > told.birth) /* deleted and there anew: what is asked about is not given */
            told = (struct export_told){.birth = info.place.birth, .content = told.content};
        if (info.place.version > told.version)
            told.version = info.place.version;
        if (!before || before->gone || before->content != told.content)
            tell_sandbox(s, &info);
    }
    export_known_put(s->known, i->sandbox, &told);
    if (s->infos_open == 0)
        advance(s);
}

static bool is_news(struct stream *s, struct sl_slice sandbox, const struct sl_scan_item *item)
{
    const struct export_told *told = export_known_find(s->known, sandbox);
    return !told || item->birth > told->birth ||
           (item->birth == told->birth && item->version > told->version);
}

static bool is_asked(const struct stream *s, struct sl_slice sandbox)
{
    for (unsigned i = 0; i < s->infos_open; i++) {
        if (sl_slice_equal(s->infos[i].sandbox, sandbox))
            return true;
    }
    return false;
}

static int ask_info(struct stream *s, struct sl_slice sandbox, const struct sl_scan_item *item)
{
    nng_msg *request;
    struct sl_writer w;
    struct info_ask *i = &s->infos[s->infos_open];
    if (sl_client_message_new(SL_INFO, 64 + SL_ID_MAX_BYTES, &request, &w) < 0)
        return -ENOMEM;
    sl_id_write(&w, sandbox);
    *i = (struct info_ask){.stream = s, .sandbox = sandbox, .birth = item->birth, .version = item->version};
    i->call = upstream_ask(s->c->server->upstream, request, &w, ANSWER_MS, informed, i);
    if (!i->call)
        return -ENOMEM;
    s->infos_open++;
    return 0;
}

/* Asks about the sandboxes of the next items that are not known, or not as they are now. */
static int ask_infos(struct stream *s)
{
    const struct page *p = s->page[0];
    struct sl_reader r = sl_reader(sl_slice(p->items + p->at, p->bytes - p->at));
    struct sl_scan_item item;
    assert(s->infos_open == 0);
    for (unsigned i = 0; i < AHEAD_MAX && s->infos_open < INFOS_MAX && sl_scan_item_next(&r, &item); i++) {
        struct sl_record record;
        struct sl_slice payload;
        struct sl_block_header header;
        if (sl_record_check(item.record, &record, &payload, &header) != SL_RECORD_OK)
            return s->infos_open ? 0 : -EBADMSG;
        if (!is_news(s, header.sandbox, &item) || is_asked(s, header.sandbox))
            continue;
        int fault = ask_info(s, header.sandbox, &item);
        if (fault)
            return fault;
    }
    return 0;
}

/* ---- records ---- */

static void render_hole(struct stream *s, const struct sl_record *record,
                        const struct sl_block_header *header, const struct export_told *told)
{
    bool numbered = header->gap_reason == SL_GAP_RETENTION || header->gap_reason == SL_GAP_DAMAGED;
    bool known = header->gap_lines != SL_GAP_LINES_UNKNOWN;
    uint64_t to = record->first_seq, from = to - 1;
    if (numbered)
        from = known && header->gap_lines < to ? to - 1 - header->gap_lines : told->last_seq;
    if (numbered && !known && told->last_seq + 1 >= to)
        return; /* all of it was given in this answer */
    struct json j;
    json_init(&j, &s->out);
    json_object_open(&j);
    json_key(&j, "event");
    json_text(&j, "gap");
    json_key(&j, "sandbox");
    json_slice(&j, header->sandbox);
    json_key(&j, "from_seq");
    if (from)
        json_u64(&j, from);
    else
        json_none(&j);
    json_key(&j, "to_seq");
    json_u64(&j, to);
    json_key(&j, "lines");
    if (known)
        json_u64(&j, header->gap_lines);
    else
        json_none(&j);
    json_key(&j, "reason");
    json_text(&j, sl_gap_reason_name(header->gap_reason));
    json_object_close(&j);
    buffer_append(&s->out, "\n", 1);
}

/* Begins the next item of the page, or asks what is to be known before. */
static int take_item(struct stream *s)
{
    static const struct render_style style = {.format = QUERY_NDJSON, .with_sandbox = true, .bare = true};
    struct page *p = s->page[0];
    struct sl_reader r = sl_reader(sl_slice(p->items + p->at, p->bytes - p->at));
    struct sl_scan_item item;
    struct sl_record record;
    struct sl_slice payload;
    if (!sl_scan_item_next(&r, &item) ||
        sl_record_check(item.record, &record, &payload, &s->header) != SL_RECORD_OK ||
        record.kind != SL_RECORD_BLOCK)
        return -EBADMSG;
    if (is_news(s, s->header.sandbox, &item))
        return ask_infos(s);
    p->at = p->bytes - sl_reader_left(&r);
    struct export_told *told = export_known_find(s->known, s->header.sandbox);
    if (told->gone || item.birth < told->birth)
        return 0;
    if (s->header.lines == 0) {
        if (s->header.flags & SL_BLOCK_GAP)
            render_hole(s, &record, &s->header, told);
        return 0;
    }
    if (sl_block_lines_open(&s->it, payload, &s->header, s->scratch, SL_BLOCK_RAW_MAX_BYTES) != 0)
        return -EBADMSG;
    if (record.first_seq + s->header.lines - 1 > told->last_seq)
        told->last_seq = record.first_seq + s->header.lines - 1;
    render_begin(&s->render, &style, s->header.sandbox, 0, item.birth);
    s->seq = record.first_seq;
    s->walking = true;
    return 0;
}

static void render_lines(struct stream *s)
{
    struct sl_line line;
    while (pending(s) < STREAM_FILL_BYTES && !s->out.fault) {
        if (!sl_block_lines_next(&s->it, &line)) {
            s->walking = false;
            return;
        }
        struct render_line view = {.seq = s->seq++,
                                   .time_ns = line.time_ns,
                                   .text = line.text,
                                   .container = sl_block_container(&s->header, line.container),
                                   .stream = line.stream,
                                   .partial = line.partial};
        render_line(&s->render, &s->out, &view);
    }
}

static void end_page(struct stream *s)
{
    struct page *p = s->page[0];
    s->done = p->next;
    if (p->bytes)
        tell_checkpoint(s, &s->done);
    s->page[0] = s->page[1];
    s->page[1] = NULL;
    free(p);
    if (s->max_bytes && s->given_bytes + pending(s) >= s->max_bytes)
        s->ending = true;
}

/* Renders until there is enough for now, asks for more where there is more. */
static void fill(struct stream *s)
{
    int fault = 0;
    while (!fault && !s->out.fault && !s->over && pending(s) < STREAM_FILL_BYTES && s->infos_open == 0 &&
           !s->retry) {
        if (s->walking) {
            render_lines(s);
        } else if (s->page[0] && s->page[0]->at < s->page[0]->bytes) {
            fault = take_item(s);
        } else if (s->page[0]) {
            end_page(s);
        } else {
            break;
        }
        /* An end that was asked for comes with the page that is begun, not with one that only waits. */
        bool idle = !s->walking && (!s->page[0] || (s->ending && s->page[0]->at == 0));
        if (idle && (s->ending || (s->last && !s->page[0])))
            s->over = true;
    }
    bool idle = !s->walking && !s->page[0];
    if (!s->over && s->infos_open == 0 && idle && (s->ending || s->last))
        s->over = true;
    if (s->over && (s->told.bytes != s->done.bytes || memcmp(s->told.text, s->done.text, s->done.bytes) != 0))
        tell_checkpoint(s, &s->done);
    if (fault || s->out.fault)
        connection_abort(s->c);
    else if (!s->over)
        ask_page(s);
}

static void advance(struct stream *s)
{
    if (!s->begun) {
        ask_page(s);
        return;
    }
    fill(s);
    connection_more(s->c);
}

/* ---- the lease ---- */

static void renewed(void *arg, int fault, uint8_t status, struct sl_reader *body)
{
    struct stream *s = arg;
    (void)body;
    s->lease_call = NULL;
    if (fault)
        return; /* the next scan tells */
    if (status != SL_STATUS_OK)
        connection_abort(s->c);
    s->leased_ns = sl_monotonic_ns();
}

static struct upstream_call *ask_lease(const struct stream *s, uint32_t ttl_ms, upstream_done *done,
                                       void *arg)
{
    nng_msg *request;
    struct sl_writer w;
    if (sl_client_message_new(SL_LEASE, 128, &request, &w) < 0)
        return NULL;
    sl_lease_encode(&w, s->c->match.id, s->holder, ttl_ms);
    return upstream_ask(s->c->server->upstream, request, &w, ANSWER_MS, done, arg);
}

/* ---- the handler ---- */

static void next(void *user, struct piece *ret)
{
    struct stream *s = user;
    *ret = (struct piece){0};
    if (pending(s) == 0 && !s->over)
        fill(s);
    if (s->out.fault || s->c->aborted)
        return;
    if (pending(s)) {
        if (!buffer_room(&s->out, CONNECTION_BACK_BYTES))
            return;
        ret->data = buffer_data(&s->out) + s->out_at;
        ret->bytes = pending(s) < CONNECTION_PIECE_BYTES ? pending(s) : CONNECTION_PIECE_BYTES;
    }
    ret->last = s->over && ret->bytes == pending(s);
}

static void sent(void *user, size_t bytes)
{
    struct stream *s = user;
    s->out_at += bytes;
    s->given_bytes += bytes;
    if (s->out_at < s->out.bytes)
        return;
    s->out_at = 0;
    buffer_cut(&s->out, 0);
    buffer_shrink(&s->out, STREAM_KEEP_BYTES);
}

static void tick(void *user, int64_t now_ns)
{
    struct stream *s = user;
    if (s->retry) {
        s->retry = false;
        advance(s);
    }
    if (!s->c->stream || s->c->aborted)
        return;
    if (s->c->grant.expires_ns <= sl_now_ns() && !s->ending) {
        s->ending = true;
        advance(s);
    }
    if (!s->call && !s->lease_call && now_ns - s->leased_ns >= RENEW_NS)
        s->lease_call = ask_lease(s, LEASE_MS, renewed, s);
    if (s->follow && !s->over && pending(s) == 0 && !s->page[0] &&
        now_ns - s->c->last_sent_ns >= KEEP_ALIVE_NS) {
        buffer_append(&s->out, "\n", 1);
        connection_more(s->c);
    }
}

static void stop(void *user)
{
    struct stream *s = user;
    if (!s->follow)
        return;
    if (!s->begun) {
        export_refuse(s->c, -EAGAIN, 0);
        return;
    }
    s->ending = true;
    advance(s);
}

static bool hung_up(void *user)
{
    const struct stream *s = user;
    return s->follow;
}

static void gone(void *user)
{
    struct stream *s = user;
    upstream_cancel(s->call);
    upstream_cancel(s->lease_call);
    for (unsigned i = 0; i < INFOS_MAX; i++)
        upstream_cancel(s->infos[i].call);
    if (s->holder)
        ask_lease(s, 0, NULL, NULL);
    free(s->page[0]);
    free(s->page[1]);
    buffer_fini(&s->out);
    export_known_free(s->known);
    free(s->scratch);
    free(s);
}

static int read_query(const struct request *r, struct stream *s, struct problem *p)
{
    const struct query_pair *most = query_find(r->pairs, r->pair_count, "max_bytes");
    const struct query_pair *follow = query_find(r->pairs, r->pair_count, "follow");
    if (!follow)
        follow = query_find(r->pairs, r->pair_count, "f");
    if (most && most->value.bytes && (query_u64(most->value, &s->max_bytes) != 0 || s->max_bytes == 0)) {
        problem_set(p, PROBLEM_INVALID_PARAMETER, "max_bytes", "max_bytes must be a whole number from 1");
        return 1;
    }
    if (follow && query_bool(follow, &s->follow) != 0) {
        problem_set(p, PROBLEM_INVALID_PARAMETER, "follow", "follow must be 1, true, 0 or false");
        return 1;
    }
    return 0;
}

static void start(struct connection *c)
{
    struct problem p;
    struct stream *s = calloc(1, sizeof *s);
    if (!s) {
        connection_abort(c);
        return;
    }
    s->c = c;
    c->user = s;
    buffer_init(&s->out, CONNECTION_FRONT_BYTES, STREAM_MOST_BYTES);
    if (read_query(c->request, s, &p) != 0) {
        connection_problem(c, &p, NULL);
        return;
    }
    s->scratch = malloc(SL_BLOCK_RAW_MAX_BYTES);
    if (!s->scratch || export_known_new(KNOWN_MOST, &s->known) < 0 ||
        getrandom(&s->holder, sizeof s->holder, 0) != (ssize_t)sizeof s->holder) {
        connection_abort(c);
        return;
    }
    s->holder |= 1; /* not 0 */
    ask_page(s);
}

const struct handler export_stream_handler = {
    .start = start, .next = next, .sent = sent, .gone = gone, .tick = tick, .stop = stop, .hung_up = hung_up};
