// SPDX-License-Identifier: Apache-2.0
#include "export.h"

#include "wire/diagnostics.h"
#include "wire/timestamp.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>

#define LOOK_NS  (250 * SL_NS_PER_MS)
#define RENEW_NS (1 * SL_NS_PER_S)

enum {
    WAITING_MAX = 4 * SL_CONSUMERS_MAX,
    RELEASED_KEPT = 64,
    ORPHAN_MS = 1500,
    HEAD_MOST_BYTES = 8 + 8 + 1 + 2 * (1 + SL_CHECKPOINT_MAX_BYTES),
    ITEMS_BYTES = SL_PAGE_MAX_BYTES + SL_RECORD_MAX_BYTES + (64 << 10),
    METRICS_LINE_BYTES = 160,
};
static_assert(SL_MESSAGE_HEAD_BYTES + HEAD_MOST_BYTES + ITEMS_BYTES <= SL_MESSAGE_MAX_BYTES,
              "a page and its heads fit into a message");

/* A scan that waits. */
struct waiting {
    LIST_ENTRY(waiting) link;
    struct sl_request *request;
    struct sl_scan scan;     /* slices in the request's body */
    struct sl_checkpoint at; /* nothing is between scan.checkpoint and this */
    int64_t deadline_ns;
};

/* A change on its way to the disk. */
struct changing {
    struct store_consumer_change change;
    struct exports *exports;
    struct sl_request *request;
    struct sl_scan scan; /* of an OPEN: goes on then */
};

struct exports {
    struct store *store;
    struct counts *counts;
    uint8_t *items;
    LIST_HEAD(, waiting) waiting;
    size_t waits, pending;
    bool news;
    uint64_t released[RELEASED_KEPT]; /* holders that gave their leases back: what they asked before may come
                                         after */
    unsigned released_at;
    int64_t look_ns, renew_ns;
    struct overrun {
        char name[SL_CONSUMER_MAX_BYTES];
        uint8_t bytes;
        uint64_t count;
    } overruns[SL_CONSUMERS_MAX]; /* as logged last, in the order of names */
    unsigned overrun_count;
};

int exports_new(struct store *store, struct counts *counts, struct exports **ret)
{
    struct exports *e = calloc(1, sizeof *e);
    if (!e)
        return -ENOMEM;
    e->store = store;
    e->counts = counts;
    LIST_INIT(&e->waiting);
    e->items = malloc(ITEMS_BYTES);
    if (!e->items) {
        free(e);
        return -ENOMEM;
    }
    *ret = e;
    return 0;
}

void exports_free(struct exports *e)
{
    if (!e)
        return;
    while (!LIST_EMPTY(&e->waiting)) {
        struct waiting *w = LIST_FIRST(&e->waiting);
        LIST_REMOVE(w, link);
        free(w);
    }
    free(e->items);
    free(e);
}

/* ---- answers ---- */

static void refuse(struct exports *e, struct sl_request *request, uint8_t status, const char *sentence)
{
    sl_count(&e->counts->refused, 1);
    sl_request_refuse(request, status, sentence);
}

static void refuse_for(struct exports *e, struct sl_request *request, int answer)
{
    const char *trouble = store_trouble(e->store);
    switch (answer) {
    case STORE_UNKNOWN:
        refuse(e, request, SL_STATUS_NOT_FOUND, NULL);
        return;
    case STORE_BUSY:
        refuse(e, request, SL_STATUS_BUSY, NULL);
        return;
    case STORE_FOREIGN:
        refuse(e, request, SL_STATUS_FOREIGN, NULL);
        return;
    case STORE_BAD:
        refuse(e, request, SL_STATUS_BAD_CHECKPOINT, NULL);
        return;
    case STORE_TOO_MANY:
        refuse(e, request, SL_STATUS_TOO_MANY, NULL);
        return;
    case -ENOTSUP:
        refuse(e, request, SL_STATUS_UNAVAILABLE, "this store has no export");
        return;
    default:
        refuse(e, request, SL_STATUS_UNAVAILABLE, trouble ? trouble : "the store can't take it now");
    }
}

static void answer(struct exports *e, struct sl_request *request, const struct sl_writer *head,
                   const struct sl_writer *rest)
{
    nng_msg *msg;
    struct sl_writer w;
    size_t bytes = head->bytes + (rest ? rest->bytes : 0);
    if (sl_answer_new(request, SL_STATUS_OK, bytes, &msg, &w) != 0) {
        refuse(e, request, SL_STATUS_UNAVAILABLE, "out of memory");
        return;
    }
    sl_write_slice(&w, sl_slice(head->data, head->bytes));
    if (rest)
        sl_write_slice(&w, sl_slice(rest->data, rest->bytes));
    sl_request_answer(request, msg, &w);
}

/* ---- SCAN ---- */

static bool scan_each(void *arg, const struct store_scanned *scanned)
{
    struct sl_writer *w = arg;
    if (SL_SCAN_ITEM_HEAD_BYTES + scanned->record.bytes > w->capacity - w->bytes)
        return false;
    sl_scan_item_write(w, &(struct sl_scan_item){.birth = scanned->birth,
                                                 .version = scanned->version,
                                                 .record = scanned->record});
    return true;
}

/*
 * True: answered. False: there is nothing yet behind *at, which has moved over what is not to be given.
 * `now`: it is answered in any case.
 */
static bool try_scan(struct exports *e, struct sl_request *request, const struct sl_scan *scan,
                     struct sl_checkpoint *at, bool now)
{
    struct sl_writer items = sl_writer(e->items, ITEMS_BYTES);
    struct sl_checkpoint from, next;
    bool more = false;
    int r = store_scan(e->store, scan->consumer, sl_checkpoint_slice(at), scan->max_bytes, scan_each, &items,
                       &from, &next, &more);
    if (r == 0 && (items.bytes > 0 || now))
        r = store_lease(e->store, scan->consumer, scan->holder, scan->ttl_ms);
    if (r != 0) {
        refuse_for(e, request, r);
        return true;
    }
    *at = next;
    if (items.bytes == 0 && !now && !more)
        return false;
    uint8_t memory[HEAD_MOST_BYTES];
    struct sl_writer head = sl_writer(memory, sizeof memory);
    struct sl_scan_answer a = {.epoch = store_epoch(e->store),
                               .now_ns = sl_now_ns(),
                               .more = more,
                               .from = sl_checkpoint_slice(&from),
                               .next = sl_checkpoint_slice(&next)};
    sl_scan_answer_begin(&head, &a);
    assert(!head.failed);
    answer(e, request, &head, &items);
    sl_count(&e->counts->export_pages, 1);
    sl_count(&e->counts->export_bytes, items.bytes);
    return true;
}

static void begin_scan(struct exports *e, struct sl_request *request, const struct sl_scan *scan,
                       int64_t now_ns)
{
    struct sl_checkpoint at = {.bytes = (uint8_t)scan->checkpoint.bytes};
    if (at.bytes)
        memcpy(at.text, scan->checkpoint.data, at.bytes);
    bool now = scan->wait_ms == 0 || e->waits >= WAITING_MAX;
    if (try_scan(e, request, scan, &at, now))
        return;
    struct waiting *w = malloc(sizeof *w);
    if (!w) {
        refuse(e, request, SL_STATUS_UNAVAILABLE, "out of memory");
        return;
    }
    *w = (struct waiting){.request = request,
                          .scan = *scan,
                          .at = at,
                          .deadline_ns = now_ns + (int64_t)scan->wait_ms * SL_NS_PER_MS};
    LIST_INSERT_HEAD(&e->waiting, w, link);
    e->waits++;
}

static void opened(struct store_consumer_change *change, int r)
{
    struct changing *c = change->owner;
    struct exports *e = c->exports;
    e->pending--;
    if (r == 0)
        r = store_lease(e->store, c->scan.consumer, c->scan.holder, c->scan.ttl_ms);
    if (r == 0)
        begin_scan(e, c->request, &c->scan, sl_monotonic_ns());
    else
        refuse_for(e, c->request, r);
    free(c);
}

static void change(struct exports *e, struct sl_request *request, uint8_t what, struct sl_slice consumer,
                   struct sl_slice checkpoint, const struct sl_scan *scan,
                   void (*done)(struct store_consumer_change *change, int answer))
{
    struct changing *c = calloc(1, sizeof *c);
    if (!c) {
        refuse(e, request, SL_STATUS_UNAVAILABLE, "out of memory");
        return;
    }
    c->exports = e;
    c->request = request;
    if (scan)
        c->scan = *scan;
    c->change = (struct store_consumer_change){
        .what = what, .consumer = consumer, .checkpoint = checkpoint, .done = done, .owner = c};
    e->pending++;
    store_consumer_change(e->store, &c->change);
}

static bool has_released(const struct exports *e, uint64_t holder)
{
    for (unsigned i = 0; i < RELEASED_KEPT; i++) {
        if (e->released[i] == holder)
            return true;
    }
    return false;
}

void exports_scan(struct exports *e, struct sl_request *request, int64_t now_ns)
{
    struct sl_scan scan;
    if (sl_scan_decode(&request->body, &scan) != SL_STATUS_OK) {
        refuse(e, request, SL_STATUS_MALFORMED, "not a scan request");
        return;
    }
    int r = has_released(e, scan.holder) ? STORE_BUSY
                                         : store_lease(e->store, scan.consumer, scan.holder, scan.ttl_ms);
    if (r == STORE_UNKNOWN && scan.checkpoint.bytes == 0)
        change(e, request, STORE_CONSUMER_OPEN, scan.consumer, sl_slice(NULL, 0), &scan, opened);
    else if (r != 0)
        refuse_for(e, request, r);
    else
        begin_scan(e, request, &scan, now_ns);
}

static void leave(struct exports *e, struct waiting *w)
{
    LIST_REMOVE(w, link);
    e->waits--;
    free(w);
}

void exports_grown(struct exports *e)
{
    e->news = true;
}

/* Its gateway is gone, or only the connection: then it has a moment to ask again. */
static bool is_orphan(struct exports *e, struct waiting *w)
{
    if (sl_request_alive(w->request))
        return false;
    (void)store_lease(e->store, w->scan.consumer, w->scan.holder,
                      w->scan.ttl_ms < ORPHAN_MS ? w->scan.ttl_ms : ORPHAN_MS);
    sl_request_refuse(w->request, SL_STATUS_UNAVAILABLE, NULL);
    return true;
}

void exports_wake(struct exports *e, int64_t now_ns)
{
    if (e->waits == 0 || (!e->news && now_ns < e->look_ns))
        return;
    e->news = false;
    e->look_ns = now_ns + LOOK_NS;
    struct waiting *next;
    for (struct waiting *w = LIST_FIRST(&e->waiting); w; w = next) {
        next = LIST_NEXT(w, link);
        if (is_orphan(e, w) || try_scan(e, w->request, &w->scan, &w->at, false))
            leave(e, w);
    }
}

int64_t exports_run(struct exports *e, int64_t now_ns)
{
    if (e->waits == 0)
        return INT64_MAX;
    exports_wake(e, now_ns);
    bool renew = now_ns >= e->renew_ns;
    if (renew)
        e->renew_ns = now_ns + RENEW_NS;
    int64_t until_ns = e->look_ns;
    struct waiting *next;
    for (struct waiting *w = LIST_FIRST(&e->waiting); w; w = next) {
        next = LIST_NEXT(w, link);
        if (is_orphan(e, w)) {
            leave(e, w);
        } else if (w->deadline_ns <= now_ns) {
            try_scan(e, w->request, &w->scan, &w->at, true);
            leave(e, w);
        } else {
            if (renew)
                (void)store_lease(e->store, w->scan.consumer, w->scan.holder, w->scan.ttl_ms);
            until_ns = w->deadline_ns < until_ns ? w->deadline_ns : until_ns;
        }
    }
    return until_ns;
}

void exports_end(struct exports *e)
{
    struct waiting *w;
    while ((w = LIST_FIRST(&e->waiting)) != NULL) {
        try_scan(e, w->request, &w->scan, &w->at, true);
        leave(e, w);
    }
}

size_t exports_pending(const struct exports *e)
{
    return e->pending;
}

/* ---- LEASE, ACK, FORGET ---- */

/* What the holder still waits for here must not take the lease again. */
static void release(struct exports *e, uint64_t holder)
{
    e->released[e->released_at++ % RELEASED_KEPT] = holder;
    struct waiting *next;
    for (struct waiting *w = LIST_FIRST(&e->waiting); w; w = next) {
        next = LIST_NEXT(w, link);
        if (w->scan.holder != holder)
            continue;
        sl_request_refuse(w->request, SL_STATUS_BUSY, NULL);
        leave(e, w);
    }
}

void exports_lease(struct exports *e, struct sl_request *request)
{
    struct sl_slice consumer;
    uint64_t holder;
    uint32_t ttl_ms;
    if (sl_lease_decode(&request->body, &consumer, &holder, &ttl_ms) != SL_STATUS_OK) {
        refuse(e, request, SL_STATUS_MALFORMED, "not a lease");
        return;
    }
    if (ttl_ms == 0)
        release(e, holder);
    int r = store_lease(e->store, consumer, holder, ttl_ms);
    struct sl_writer nothing = sl_writer(e->items, 0);
    if (r != 0)
        refuse_for(e, request, r);
    else
        answer(e, request, &nothing, NULL);
}

static void acked(struct store_consumer_change *done, int r)
{
    struct changing *c = done->owner;
    c->exports->pending--;
    if (r == 0) {
        uint8_t memory[1 + SL_CHECKPOINT_MAX_BYTES];
        struct sl_writer w = sl_writer(memory, sizeof memory);
        sl_ack_answer_encode(&w, sl_checkpoint_slice(&done->place));
        answer(c->exports, c->request, &w, NULL);
        sl_count(&c->exports->counts->export_acks, 1);
    } else {
        refuse_for(c->exports, c->request, r);
    }
    free(c);
}

void exports_ack(struct exports *e, struct sl_request *request)
{
    struct sl_slice consumer, checkpoint;
    if (sl_ack_decode(&request->body, &consumer, &checkpoint) != SL_STATUS_OK)
        refuse(e, request, SL_STATUS_MALFORMED, "not an acknowledgement");
    else
        change(e, request, STORE_CONSUMER_ACK, consumer, checkpoint, NULL, acked);
}

static void forgotten(struct store_consumer_change *done, int r)
{
    struct changing *c = done->owner;
    struct sl_writer nothing = sl_writer(c->exports->items, 0);
    c->exports->pending--;
    if (r == 0)
        answer(c->exports, c->request, &nothing, NULL);
    else
        refuse_for(c->exports, c->request, r);
    free(c);
}

void exports_forget(struct exports *e, struct sl_request *request)
{
    struct sl_slice consumer;
    if (sl_consumer_name_decode(&request->body, &consumer) != SL_STATUS_OK)
        refuse(e, request, SL_STATUS_MALFORMED, "not a consumer's name");
    else
        change(e, request, STORE_CONSUMER_DROP, consumer, sl_slice(NULL, 0), NULL, forgotten);
}

/* ---- CONSUMERS ---- */

static void list_each(void *arg, const struct sl_consumer *consumer)
{
    sl_consumer_write(arg, consumer);
}

void exports_list(struct exports *e, struct sl_request *request)
{
    struct sl_writer w = sl_writer(e->items, ITEMS_BYTES);
    sl_consumers_begin(&w, store_epoch(e->store), sl_now_ns());
    int r = store_consumers(e->store, list_each, &w);
    assert(!w.failed);
    if (r != 0)
        refuse_for(e, request, r);
    else
        answer(e, request, &w, NULL);
}

/* ---- metrics ---- */

struct telling {
    struct exports *exports;
    int64_t now_ns;
    struct sl_consumer all[SL_CONSUMERS_MAX];
    char names[SL_CONSUMERS_MAX][SL_CONSUMER_MAX_BYTES + 1];
    unsigned count;
};

static void tell_each(void *arg, const struct sl_consumer *consumer)
{
    struct telling *t = arg;
    if (t->count == SL_CONSUMERS_MAX)
        return;
    memcpy(t->names[t->count], consumer->name.data, consumer->name.bytes);
    t->all[t->count++] = *consumer;
}

static void log_overruns(struct exports *e, const struct telling *t)
{
    struct overrun now[SL_CONSUMERS_MAX];
    for (unsigned i = 0; i < t->count; i++) {
        const struct sl_consumer *c = &t->all[i];
        uint64_t before = 0;
        for (unsigned k = 0; k < e->overrun_count; k++) {
            const struct overrun *o = &e->overruns[k];
            if (o->bytes == strlen(t->names[i]) && memcmp(o->name, t->names[i], o->bytes) == 0)
                before = o->count;
        }
        if (c->overruns > before)
            sl_log(SL_WARNING, "export.overrun", "consumer=%s lag_lines=%" PRIu64 " lag_bytes=%" PRIu64,
                   t->names[i], c->lag_lines, c->lag_bytes);
        now[i] = (struct overrun){.bytes = (uint8_t)strlen(t->names[i]), .count = c->overruns};
        memcpy(now[i].name, t->names[i], now[i].bytes);
    }
    memcpy(e->overruns, now, t->count * sizeof *now);
    e->overrun_count = t->count;
}

static double lag_seconds(const struct telling *t, const struct sl_consumer *c)
{
    return c->oldest_ns && t->now_ns > c->oldest_ns ? (double)(t->now_ns - c->oldest_ns) / 1e9 : 0;
}

char *exports_metrics(struct exports *e)
{
    static const struct {
        const char *name, *help;
    } families[] = {
        {"lag_lines", "Lines stored behind a consumer's place."},
        {"lag_bytes", "Text of these lines, with newlines."},
        {"lag_seconds", "Age of the oldest of them."},
    };
    struct telling *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->now_ns = sl_now_ns();
    (void)store_consumers(e->store, tell_each, t);
    log_overruns(e, t);
    size_t room = 1 + 3 * (METRICS_LINE_BYTES + t->count * (size_t)METRICS_LINE_BYTES), at = 0;
    char *text = malloc(room);
    for (unsigned f = 0; text && f < 3 && t->count; f++) {
        at += (size_t)snprintf(text + at, room - at,
                               "# HELP sandlog_broker_export_%s %s\n# TYPE sandlog_broker_export_%s gauge\n",
                               families[f].name, families[f].help, families[f].name);
        for (unsigned i = 0; i < t->count; i++) {
            const struct sl_consumer *c = &t->all[i];
            double value = f == 0 ? (double)c->lag_lines : f == 1 ? (double)c->lag_bytes : lag_seconds(t, c);
            at += (size_t)snprintf(text + at, room - at, "sandlog_broker_export_%s{consumer=\"%s\"} %.*f\n",
                                   families[f].name, t->names[i], f == 2 ? 3 : 0, value);
        }
    }
    if (text)
        text[at] = 0;
    free(t);
    return text;
}
