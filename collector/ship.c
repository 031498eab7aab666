// SPDX-License-Identifier: Apache-2.0
#include "ship.h"
#include "wire/timestamp.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <sys/random.h>

enum {
    WINDOW = 8,
    ROOM_BYTES = SL_APPEND_TARGET_BYTES + (96 << 10), /* one more usual block fits behind the target */
    SYNC_IDS = 512,
    SYNC_WINDOW = 4,
    NOTICES_WAIT_MS = 30000,
};
static const int64_t APPEND_TIMEOUT_MS = 60000;
static const int64_t SYNC_TIMEOUT_MS = 20000;
static const int64_t REFUSED_PAUSE_NS = INT64_C(100) * SL_NS_PER_MS;

/* What an answer's verdict is about. */
struct item {
    struct sandbox *sandbox;
    struct file *file; /* NULL: a change */
    struct file *also;
    uint64_t to;
    uint64_t also_to;
    uint32_t life;
    uint32_t also_life;
    bool close;
    bool end;
    bool gone; /* ends a source of a file that is gone */
};

struct request {
    LIST_ENTRY(request) link; /* once it was sent */
    struct ship *ship;
    nng_msg *message;
    struct sl_writer writer;
    struct item *items;
    size_t count;
    size_t capacity;
    int64_t sent_ns;
};

struct question {
    LIST_ENTRY(question) link;
    struct ship *ship;
    struct sandbox *sandboxes[SYNC_IDS];
    uint32_t lives[SYNC_IDS];
    size_t count;
};

struct ship {
    struct sl_client *client;
    struct fleet *fleet;
    struct ship_events events;
    struct request *filling;
    LIST_HEAD(, request) sent; /* and not answered, as are questions */
    LIST_HEAD(, question) asked;
    struct ship_counts counts;
    int64_t pause_until_ns; /* the broker is short of room */
    int64_t sync_after_ns;  /* the broker's store could not say what it has */
    uint64_t notices_seen;
    uint32_t connection; /* counts connections; 0: none yet */
    unsigned in_flight;
    unsigned questions;
    bool connected;
    bool noticing;
    int64_t notice_after_ns;
};

/* ---- answers ---- */

/* The file's lines since `acked` were not stored: they are read again. */
static void rewind_file(struct ship *ship, struct file *f)
{
    ship->counts.resends++;
    f->life++;
    f->log->sandbox->broken = true;
}

static void moved(struct file *f, uint64_t to, bool close)
{
    f->known = true;
    f->heir = false;
    if (to > f->acked)
        f->acked = to;
    if (close)
        f->closed = true;
}

static void verdict(struct ship *ship, const struct item *item, const struct sl_append_verdict *v)
{
    struct file *f = item->file;
    struct sandbox *s = item->sandbox;
    bool stored = v->verdict == SL_TAKEN || v->verdict == SL_ALREADY;
    if (v->verdict == SL_REFUSED)
        ship->counts.refused++;
    if (!f) {
        if (!stored)
            s->announced = 0;
        if (item->gone && stored)
            s->unmet = false;
        if (item->gone && !stored)
            s->left = s->broken = true;
        if (item->end)
            ship->events.ended(ship->events.arg, s, stored);
        return;
    }
    if (item->close)
        f->closing = false;
    if (f->life != item->life)
        return;
    if (v->verdict == SL_BURIED) {
        ship->events.buried(ship->events.arg, f);
    } else if (!stored) {
        rewind_file(ship, f);
        if (v->verdict == SL_REFUSED && ship->pause_until_ns == 0)
            ship->pause_until_ns = sl_monotonic_ns() + REFUSED_PAUSE_NS;
    } else {
        moved(f, item->to, item->close);
        if (item->also && item->also->life == item->also_life)
            moved(item->also, item->also_to, false);
    }
}

static void settle(struct ship *ship, struct request *r, bool answered)
{
    for (size_t i = 0; i < r->count; i++) {
        struct item *item = &r->items[i];
        struct file *f = item->file;
        item->sandbox->in_flight--;
        if (f) {
            f->in_flight--;
            if (item->also)
                item->also->in_flight--;
        }
        if (!answered) {
            if (f) {
                if (item->close)
                    f->closing = false;
                if (f->life == item->life)
                    rewind_file(ship, f);
            } else {
                item->sandbox->announced = 0;
                item->sandbox->left = item->sandbox->left || item->gone;
                if (item->end)
                    ship->events.ended(ship->events.arg, item->sandbox, false);
            }
        }
    }
    for (size_t i = 0; i < r->count; i++)
        ship->events.answered(ship->events.arg, r->items[i].sandbox);
    LIST_REMOVE(r, link);
    free(r->items);
    free(r);
    ship->in_flight--;
}

static void append_answered(void *arg, int fault, const struct sl_message_head *head, struct sl_reader *body)
{
    struct request *r = arg;
    struct ship *ship = r->ship;
    size_t i = 0;
    if (fault == 0 && head->status == SL_STATUS_OK) {
        uint32_t retry_ms = sl_append_answer_open(body);
        struct sl_append_verdict v;
        ship->pause_until_ns = retry_ms > 0 ? sl_monotonic_ns() + (int64_t)retry_ms * SL_NS_PER_MS : 0;
        sl_observe(&ship->counts.latency, sl_monotonic_ns() - r->sent_ns);
        while (i < r->count && sl_append_verdict_next(body, &v))
            verdict(ship, &r->items[i++], &v);
    } else if (fault == 0) {
        ship->pause_until_ns = sl_monotonic_ns() + SL_NS_PER_S;
    }
    settle(ship, r, i == r->count);
}

/* ---- filling and sending ---- */

bool ship_wants(const struct ship *ship, bool deep)
{
    if (!ship->connected || (ship->pause_until_ns && sl_monotonic_ns() < ship->pause_until_ns))
        return false;
    return ship->in_flight == 0 || (deep && ship->in_flight < WINDOW);
}

unsigned ship_in_flight(const struct ship *ship)
{
    return ship->in_flight;
}

static struct request *request_with_room(struct ship *ship, size_t bytes)
{
    struct request *r = ship->filling;
    if (r && r->writer.capacity - r->writer.bytes < bytes) {
        ship_flush(ship);
        r = NULL;
    }
    if (r && r->count < r->capacity)
        return r;
    if (!r) {
        r = calloc(1, sizeof *r);
        if (!r)
            return NULL;
        r->ship = ship;
        if (sl_client_message_new(SL_APPEND, bytes > ROOM_BYTES ? bytes : ROOM_BYTES, &r->message,
                                  &r->writer) < 0) {
            free(r);
            return NULL;
        }
        ship->filling = r;
    }
    size_t capacity = r->capacity ? r->capacity * 2 : 8;
    struct item *items = realloc(r->items, capacity * sizeof *items);
    if (!items)
        return NULL;
    r->items = items;
    r->capacity = capacity;
    return r;
}

/* There is room. */
static void put_block(struct request *r, struct sl_block_builder *lines, const struct sl_block_header *facts)
{
    struct sl_writer *w = &r->writer;
    uint8_t *head = w->data + w->bytes;
    size_t bytes = sl_block_builder_encode(lines, facts, 0, head + SL_APPEND_ITEM_HEAD_BYTES,
                                           w->capacity - w->bytes - SL_APPEND_ITEM_HEAD_BYTES);
    head[0] = SL_RECORD_BLOCK;
    sl_store32(head + 1, (uint32_t)bytes);
    w->bytes += SL_APPEND_ITEM_HEAD_BYTES + bytes;
}

int ship_block(struct ship *ship, struct file *f, struct file *also, struct sl_block_builder *lines,
               const struct sl_block_header *facts)
{
    size_t bound = SL_APPEND_ITEM_HEAD_BYTES + sl_block_builder_bound(lines);
    struct request *r = request_with_room(ship, bound);
    if (!r)
        return -ENOMEM;
    put_block(r, lines, facts);
    bool close = facts->flags & SL_BLOCK_CLOSE;
    r->items[r->count++] = (struct item){.sandbox = f->log->sandbox,
                                         .file = f,
                                         .also = also,
                                         .to = facts->range.to,
                                         .also_to = facts->also.to,
                                         .life = f->life,
                                         .also_life = also ? also->life : 0,
                                         .close = close};
    f->in_flight++;
    struct sandbox *s = f->log->sandbox;
    s->in_flight++;
    s->told = true;
    s->end_quiet = false;
    /* Lines after an end: it may run again by the control plane's word, which is not told here, so that its
     * next end is said. Where it does not, saying so changes nothing. */
    if (s->end == END_SAID && sl_block_builder_lines(lines) > 0)
        s->end = END_NONE;
    if (also)
        also->in_flight++;
    if (r->writer.bytes >= SL_APPEND_TARGET_BYTES)
        ship_flush(ship);
    return 0;
}

int ship_change(struct ship *ship, struct sandbox *s, const struct sl_change *change, bool end)
{
    size_t bound = SL_APPEND_ITEM_HEAD_BYTES + 64 + change->sandbox.bytes + change->host.bytes +
                   change->label_pairs.bytes;
    struct request *r = request_with_room(ship, bound);
    if (!r)
        return -ENOMEM;
    struct sl_writer *w = &r->writer;
    uint8_t *head = w->data + w->bytes;
    w->bytes += SL_APPEND_ITEM_HEAD_BYTES;
    size_t before = w->bytes;
    sl_change_encode(w, change);
    assert(!w->failed);
    head[0] = SL_RECORD_CHANGE;
    sl_store32(head + 1, (uint32_t)(w->bytes - before));
    r->items[r->count++] = (struct item){.sandbox = s, .end = end};
    s->in_flight++;
    s->told = true;
    return 0;
}

int ship_gone(struct ship *ship, struct sandbox *s, const struct sl_source_place *place, bool gap)
{
    struct sl_block_builder *none;
    if (sl_block_builder_new(&none) < 0)
        return -ENOMEM;
    sl_block_builder_reset(none, sl_slice(s->id, s->id_bytes));
    int64_t now_ns = sl_now_ns();
    const struct sl_block_header facts = {
        .codec = SL_CODEC_LZ4,
        .flags = (uint16_t)(SL_BLOCK_CLOSE | (gap ? SL_BLOCK_GAP : 0)),
        .gap_reason = gap ? SL_GAP_SOURCE_VANISHED : SL_GAP_NONE,
        .gap_lines = gap ? SL_GAP_LINES_UNKNOWN : 0,
        .time_min_ns = now_ns,
        .time_max_ns = now_ns,
        .range = {.source = place->source, .from = place->offset, .to = place->offset},
        .open_from = place->offset,
        .fingerprint = place->fingerprint,
        .fingerprint_bytes = place->fingerprint_bytes};
    struct request *r = request_with_room(ship, SL_APPEND_ITEM_HEAD_BYTES + sl_block_builder_bound(none));
    if (r) {
        put_block(r, none, &facts);
        r->items[r->count++] = (struct item){.sandbox = s, .gone = true};
        s->in_flight++;
    }
    sl_block_builder_free(none);
    return r ? 0 : -ENOMEM;
}

void ship_flush(struct ship *ship)
{
    struct request *r = ship->filling;
    ship->filling = NULL;
    if (!r)
        return;
    r->sent_ns = sl_monotonic_ns();
    ship->in_flight++;
    ship->counts.requests++;
    ship->counts.bytes += r->writer.bytes;
    LIST_INSERT_HEAD(&ship->sent, r, link);
    sl_client_ask(ship->client, r->message, &r->writer, APPEND_TIMEOUT_MS, append_answered, r);
}

/* ---- places ---- */

static void sync_answered(void *arg, int fault, const struct sl_message_head *head, struct sl_reader *body)
{
    struct question *q = arg;
    struct ship *ship = q->ship;
    struct sl_source_place *places = NULL;
    size_t i = 0;
    ship->questions--;
    bool ok = fault == 0 && head->status == SL_STATUS_OK;
    if (fault == 0 && !ok)
        ship->sync_after_ns = sl_monotonic_ns() + REFUSED_PAUSE_NS;
    while (ok && i < q->count) {
        struct sl_slice id;
        uint32_t count;
        struct sandbox *s = q->sandboxes[i];
        if (!sl_sources_next(body, &id, &count) || count > sl_reader_left(body) / SL_SOURCE_PLACE_BYTES)
            break;
        free(places);
        places = count ? calloc(count, sizeof *places) : NULL;
        uint32_t k = 0;
        while ((places || count == 0) && k < count && sl_source_place_next(body, &places[k]))
            k++;
        if (k < count)
            break;
        /* forgotten or asked again meanwhile: the answer is not for it */
        if (s->asked_life == q->lives[i] && s->sync == SYNC_ASKED)
            ship->events.places(ship->events.arg, s, places, count);
        s->in_flight--;
        ship->events.answered(ship->events.arg, s);
        i++;
    }
    for (; i < q->count; i++) {
        struct sandbox *s = q->sandboxes[i];
        s->in_flight--;
        if (s->asked_life == q->lives[i] && s->sync == SYNC_ASKED)
            fleet_want_sync(ship->fleet, s);
    }
    free(places);
    LIST_REMOVE(q, link);
    free(q);
}

void ship_sync(struct ship *ship)
{
    if (ship->sync_after_ns && sl_monotonic_ns() < ship->sync_after_ns)
        return;
    while (ship->connected && ship->questions < SYNC_WINDOW && ship->fleet->sync_first) {
        nng_msg *message;
        struct sl_writer w;
        struct question *q = malloc(sizeof *q);
        if (!q)
            return;
        if (sl_client_message_new(SL_SOURCES, SYNC_IDS * (SL_ID_MAX_BYTES + 1), &message, &w) < 0) {
            free(q);
            return;
        }
        q->ship = ship;
        q->count = 0;
        struct sandbox *s;
        while (q->count < SYNC_IDS && (s = fleet_next_sync(ship->fleet))) {
            q->lives[q->count] = ++s->asked_life;
            q->sandboxes[q->count++] = s;
            s->sync = SYNC_ASKED;
            s->in_flight++;
            sl_id_write(&w, sl_slice(s->id, s->id_bytes));
        }
        ship->questions++;
        LIST_INSERT_HEAD(&ship->asked, q, link);
        sl_client_ask(ship->client, message, &w, SYNC_TIMEOUT_MS, sync_answered, q);
    }
}

/* ---- notices ---- */

static void notices_answered(void *arg, int fault, const struct sl_message_head *head, struct sl_reader *body)
{
    struct ship *ship = arg;
    uint64_t version;
    ship->noticing = false;
    if (fault == 0 && head->status == SL_STATUS_OK && sl_notices_answer_open(body, &version) == 0) {
        struct sl_slice id;
        while (sl_id_next(body, &id))
            ship->events.stop(ship->events.arg, id);
        ship->notices_seen = version;
    } else {
        ship->notice_after_ns = sl_monotonic_ns() + (fault ? 0 : SL_NS_PER_S);
    }
}

static void ask_notices(struct ship *ship)
{
    nng_msg *message;
    struct sl_writer w;
    if (!ship->connected || ship->noticing || sl_monotonic_ns() < ship->notice_after_ns ||
        sl_client_message_new(SL_NOTICES, 16, &message, &w) < 0)
        return;
    sl_notices_encode(&w, ship->notices_seen, NOTICES_WAIT_MS);
    ship->noticing = true;
    sl_client_ask(ship->client, message, &w, NOTICES_WAIT_MS + 15000, notices_answered, ship);
}

/* ---- what runs here ---- */

static void mine_answered(void *arg, int fault, const struct sl_message_head *head, struct sl_reader *body)
{
    struct ship *ship = arg;
    uint64_t next_page = 0;
    bool ok = fault == 0 && head->status == SL_STATUS_OK && sl_mine_answer_open(body, &next_page) == 0;
    ship->events.mine(ship->events.arg, ok ? body : NULL, next_page);
}

int ship_mine(struct ship *ship, uint64_t page)
{
    nng_msg *message;
    struct sl_writer w;
    if (sl_client_message_new(SL_MINE, 16, &message, &w) < 0)
        return -ENOMEM;
    sl_mine_encode(&w, page);
    sl_client_ask(ship->client, message, &w, SYNC_TIMEOUT_MS, mine_answered, ship);
    return 0;
}

/* ---- connection ---- */

static void changed(void *arg, bool connected, uint64_t epoch, const char *why)
{
    struct ship *ship = arg;
    ship->connected = connected;
    if (connected) {
        ship->connection++;
        ship->notices_seen = 0;
        ship->notice_after_ns = 0;
        ship->pause_until_ns = 0;
        ship->sync_after_ns = 0;
    }
    ship->events.connected(ship->events.arg, connected, epoch, why);
}

int ship_new(const struct ship_options *options, struct fleet *fleet, const struct ship_events *events,
             struct ship **ret)
{
    struct ship *ship = calloc(1, sizeof *ship);
    if (!ship)
        return -ENOMEM;
    ship->fleet = fleet;
    ship->events = *events;
    uint64_t instance;
    if (getrandom(&instance, sizeof instance, 0) != (ssize_t)sizeof instance) {
        free(ship);
        return -EIO;
    }
    struct sl_client_options client = {.urls = options->urls,
                                       .url_count = options->url_count,
                                       .role = SL_ROLE_COLLECTOR,
                                       .host = options->host,
                                       .instance = instance | 1, /* not 0 */
                                       .keys = options->keys,
                                       .changed = changed,
                                       .arg = ship};
    int r = sl_client_new(&client, &ship->client);
    if (r < 0) {
        free(ship);
        return r;
    }
    *ret = ship;
    return 0;
}

void ship_free(struct ship *ship)
{
    if (!ship)
        return;
    if (ship->filling) {
        nng_msg_free(ship->filling->message);
        free(ship->filling->items);
        free(ship->filling);
    }
    sl_client_free(ship->client);
    for (struct request *r; (r = LIST_FIRST(&ship->sent));) {
        LIST_REMOVE(r, link);
        free(r->items);
        free(r);
    }
    for (struct question *q; (q = LIST_FIRST(&ship->asked));) {
        LIST_REMOVE(q, link);
        free(q);
    }
    free(ship);
}

void ship_set_keys(struct ship *ship, struct sl_link_keys *keys)
{
    sl_client_set_keys(ship->client, keys);
}

int ship_fd(const struct ship *ship)
{
    return sl_client_fd(ship->client);
}

bool ship_connected(const struct ship *ship)
{
    return ship->connected;
}

uint32_t ship_connection(const struct ship *ship)
{
    return ship->connection;
}

struct ship_counts *ship_counts(struct ship *ship)
{
    return &ship->counts;
}

void ship_run(struct ship *ship)
{
    sl_client_run(ship->client);
    ask_notices(ship);
}
