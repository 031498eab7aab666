// SPDX-License-Identifier: Apache-2.0
#include "ingest.h"

#include "wire/timestamp.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

enum {
    VERDICT_BYTES = 1 + 4 + 8,
    TROUBLE_RETRY_MS = 1000, /* the disk is full, or the like */
    FAULT_RETRY_MS = 100,
    UNSOUND_RETRY_MS = 1000, /* the same bytes would be refused again */
    POOL_MAX = 32,
    POOL_ITEMS_MAX = 512, /* larger ones go back to the heap */
    SOURCES_ANSWER_MAX_BYTES = 1 << 20,
    SOURCES_FIRST_BYTES = 4096,
};

/* One APPEND request on its way. */
struct append {
    struct store_batch batch; /* the sound items */
    struct ingest *ingest;
    struct sl_request *request;
    int64_t began_ns;
    size_t capacity;
    size_t count; /* items of the request */
    struct verdict {
        bool refused; /* unsound: not in the batch */
        struct sl_append_verdict verdict;
    } * verdicts; /* allocated behind the items */
    struct append *next;
};

struct ingest {
    struct store *store;
    struct counts *counts;
    struct append *pool;
    size_t pooled;
    size_t pending;
    size_t pending_items;
};

int ingest_new(struct store *store, struct counts *counts, struct ingest **ret)
{
    struct ingest *in = calloc(1, sizeof *in);
    if (!in)
        return -ENOMEM;
    in->store = store;
    in->counts = counts;
    *ret = in;
    return 0;
}

static void append_free(struct append *a)
{
    free(a->batch.items);
    free(a->verdicts);
    free(a);
}

void ingest_free(struct ingest *in)
{
    if (!in)
        return;
    assert(in->pending == 0);
    while (in->pool) {
        struct append *a = in->pool;
        in->pool = a->next;
        append_free(a);
    }
    free(in);
}

bool ingest_has_room(const struct ingest *in)
{
    return in->pending_items < INGEST_ITEMS_MAX;
}

size_t ingest_pending(const struct ingest *in)
{
    return in->pending;
}

static void refuse(struct ingest *in, struct sl_request *request, uint8_t status, const char *sentence)
{
    sl_count(&in->counts->refused, 1);
    sl_request_refuse(request, status, sentence);
}

/* ---- APPEND ---- */

static struct append *append_get(struct ingest *in, size_t count)
{
    struct append *a = in->pool;
    if (a) {
        in->pool = a->next;
        in->pooled--;
    } else {
        a = calloc(1, sizeof *a);
        if (!a)
            return NULL;
        a->ingest = in;
    }
    if (a->capacity < count) {
        free(a->batch.items);
        free(a->verdicts);
        a->batch.items = calloc(count, sizeof *a->batch.items);
        a->verdicts = calloc(count, sizeof *a->verdicts);
        a->capacity = count;
        if (!a->batch.items || !a->verdicts) {
            append_free(a);
            return NULL;
        }
    }
    a->batch.count = 0;
    a->count = 0;
    return a;
}

static void append_put(struct ingest *in, struct append *a)
{
    if (in->pooled >= POOL_MAX || a->capacity > POOL_ITEMS_MAX) {
        append_free(a);
        return;
    }
    a->next = in->pool;
    in->pool = a;
    in->pooled++;
}

struct search {
    const uint8_t *key;
    struct sl_append_verdict *verdict;
};

static void search_each(void *arg, const struct sl_source_place *place)
{
    const struct search *search = arg;
    if (memcmp(place->source.key, search->key, sizeof place->source.key) == 0) {
        search->verdict->incarnation = place->source.incarnation;
        search->verdict->offset = place->offset;
    }
}

/* A block whose header can be read is told where its source stands. */
static struct sl_append_verdict unsound(struct ingest *in, uint8_t kind, struct sl_slice payload)
{
    struct sl_append_verdict verdict = {.verdict = SL_REFUSED};
    struct sl_block_header header;
    if (kind == SL_RECORD_BLOCK && sl_block_decode_header(payload, &header) == SL_BLOCK_OK) {
        struct search search = {header.range.source.key, &verdict};
        store_sources(in->store, header.sandbox, search_each, &search);
    }
    return verdict;
}

/* Whether the payload is a sound one of its kind, and nothing but that. */
static bool decode(uint8_t kind, struct sl_slice payload, struct store_item *ret)
{
    ret->kind = kind;
    ret->payload = payload;
    ret->verdict = (struct sl_append_verdict){.verdict = SL_REFUSED};
    ret->first_seq = 0;
    if (kind == SL_RECORD_BLOCK)
        return sl_block_check(payload, &ret->header) == SL_BLOCK_OK &&
               sl_block_bytes(&ret->header) == payload.bytes;
    struct sl_reader r = sl_reader(payload);
    if (sl_change_decode(&r, &ret->change) != SL_STATUS_OK)
        return false;
    /* Only the control plane starts the stop protocol. */
    return !(ret->change.fields & SL_CHANGE_STATE) || ret->change.state != SL_STOPPING;
}

static void count_item(struct counts *c, const struct store_item *item)
{
    if (item->kind != STORE_BLOCK || item->verdict.verdict != SL_TAKEN)
        return;
    sl_count(&c->blocks, 1);
    sl_count(&c->block_bytes, item->payload.bytes);
    sl_count(&c->lines, item->header.lines);
    sl_count(&c->text_bytes, item->header.text_bytes);
}

static void answer(struct append *a, uint32_t retry_ms)
{
    struct ingest *in = a->ingest;
    const struct store_item *item = a->batch.items;
    nng_msg *msg;
    struct sl_writer w;
    if (sl_answer_new(a->request, SL_STATUS_OK, sizeof(uint32_t) + a->count * VERDICT_BYTES, &msg, &w) != 0) {
        refuse(in, a->request, SL_STATUS_UNAVAILABLE, "out of memory");
        return;
    }
    sl_append_answer_begin(&w, retry_ms);
    for (size_t i = 0; i < a->count; i++) {
        const struct sl_append_verdict *verdict = &a->verdicts[i].verdict;
        if (!a->verdicts[i].refused) {
            count_item(in->counts, item);
            verdict = &item++->verdict;
        }
        sl_count(&in->counts->items[verdict->verdict], 1);
        sl_append_verdict_write(&w, verdict);
    }
    sl_request_answer(a->request, msg, &w);
}

static void on_done(struct store_batch *batch, int fault)
{
    struct append *a = batch->owner;
    struct ingest *in = a->ingest;
    uint32_t retry_ms = batch->count < a->count ? UNSOUND_RETRY_MS : 0;
    if (store_trouble(in->store))
        retry_ms = TROUBLE_RETRY_MS;
    else if (fault != 0 && retry_ms == 0)
        retry_ms = FAULT_RETRY_MS;
    sl_count(&in->counts->appends, 1);
    sl_observe(&in->counts->append_latency, sl_monotonic_ns() - a->began_ns);
    in->pending--;
    in->pending_items -= a->count;
    answer(a, retry_ms);
    append_put(in, a);
}

/* Number of items, or more than are allowed. > 0: SL_STATUS_MALFORMED. */
static int count_items(struct sl_reader r, size_t *ret_count)
{
    uint8_t kind;
    struct sl_slice payload;
    size_t count = 0;
    while (sl_append_item_next(&r, &kind, &payload))
        if (++count > INGEST_REQUEST_ITEMS_MAX)
            return SL_STATUS_MALFORMED;
    if (r.failed)
        return SL_STATUS_MALFORMED;
    *ret_count = count;
    return 0;
}

void ingest_append(struct ingest *in, struct sl_request *request)
{
    size_t count;
    if (count_items(request->body, &count) != 0) {
        refuse(in, request, SL_STATUS_MALFORMED, "not a list of blocks and changes");
        return;
    }
    struct append *a = append_get(in, count);
    if (!a) {
        refuse(in, request, SL_STATUS_UNAVAILABLE, "out of memory");
        return;
    }
    a->request = request;
    a->began_ns = sl_monotonic_ns();
    a->batch.done = on_done;
    a->batch.owner = a;
    uint8_t kind;
    struct sl_slice payload;
    while (sl_append_item_next(&request->body, &kind, &payload)) {
        assert(a->verdicts && a->batch.items && a->count < count);
        struct verdict *verdict = &a->verdicts[a->count++];
        verdict->refused = !decode(kind, payload, &a->batch.items[a->batch.count]);
        if (verdict->refused)
            verdict->verdict = unsound(in, kind, payload);
        else
            a->batch.count++;
    }
    in->pending++;
    in->pending_items += a->count;
    if (a->batch.count > 0)
        store_append(in->store, &a->batch);
    else
        on_done(&a->batch, 0);
}

/* ---- SOURCES ---- */

struct listing {
    uint8_t *bytes;
    size_t used;
    size_t capacity;
    uint32_t count; /* of the current sandbox */
    bool failed;
};

static bool make_room(struct listing *l, size_t more)
{
    if (l->used + more > l->capacity) {
        size_t wanted = l->capacity ? l->capacity * 2 : SOURCES_FIRST_BYTES;
        uint8_t *bytes = l->failed ? NULL : realloc(l->bytes, wanted);
        if (!bytes) {
            l->failed = true;
            return false;
        }
        l->bytes = bytes;
        l->capacity = wanted;
    }
    return true;
}

static void sources_each(void *arg, const struct sl_source_place *place)
{
    struct listing *l = arg;
    /* What does not fit is left out; its collector is told the place by the verdict on its first block. */
    if (l->used + SL_SOURCE_PLACE_BYTES > SOURCES_ANSWER_MAX_BYTES || !make_room(l, SL_SOURCE_PLACE_BYTES))
        return;
    struct sl_writer w = sl_writer(l->bytes + l->used, SL_SOURCE_PLACE_BYTES);
    sl_source_place_write(&w, place);
    assert(!w.failed);
    l->used += w.bytes;
    l->count++;
}

/*
 * A sandbox without sources, known or not, has a list of none. A store that can't say now must not be taken
 * for one without: all that is read of a copy would be new. One that can't be understood is all the same.
 */
static void list_sources(struct ingest *in, struct listing *l, struct sl_slice sandbox)
{
    const size_t head = 1 + sandbox.bytes + sizeof(uint32_t);
    if (!make_room(l, head))
        return;
    size_t at = l->used;
    l->used += head;
    l->count = 0;
    int fault = store_sources(in->store, sandbox, sources_each, l);
    l->failed = l->failed || (fault < 0 && fault != -EPROTO);
    struct sl_writer w = sl_writer(l->bytes + at, head);
    sl_sources_write(&w, sandbox, l->count);
    assert(!w.failed && w.bytes == head);
}

void ingest_sources(struct ingest *in, struct sl_request *request)
{
    struct listing l = {0};
    struct sl_slice sandbox;
    while (!l.failed && l.used < SOURCES_ANSWER_MAX_BYTES && sl_id_next(&request->body, &sandbox))
        list_sources(in, &l, sandbox);
    nng_msg *msg;
    struct sl_writer w;
    if (request->body.failed) {
        refuse(in, request, SL_STATUS_MALFORMED, "not a list of sandbox ids");
    } else if (l.failed || sl_answer_new(request, SL_STATUS_OK, l.used, &msg, &w) != 0) {
        refuse(in, request, SL_STATUS_UNAVAILABLE, "the store can't say now, or out of memory");
    } else {
        sl_write_slice(&w, sl_slice(l.bytes, l.used));
        sl_request_answer(request, msg, &w);
    }
    free(l.bytes);
}

/* ---- MINE ---- */

struct mine {
    struct sl_slice host;
    struct sl_writer w;
};

static bool mine_each(void *arg, const struct sl_info *info)
{
    struct mine *m = arg;
    if (sl_slice_equal(info->host, m->host) && info->place.state == SL_RUNNING)
        sl_id_write(&m->w, info->sandbox);
    return true;
}

void ingest_mine(struct ingest *in, struct sl_request *request, size_t collectors)
{
    struct sl_list list = {.state = SL_RUNNING, .limit = SL_LIST_MAX};
    struct mine m = {.host = sl_slice_of(request->host)};
    uint64_t next_page = 0;
    size_t bytes = (size_t)SL_LIST_MAX * (1 + SL_ID_MAX_BYTES);
    uint8_t *ids = malloc(bytes);
    nng_msg *msg;
    struct sl_writer w;
    if (m.host.bytes == 0 || sl_mine_decode(&request->body, &list.page) != SL_STATUS_OK) {
        refuse(in, request, SL_STATUS_MALFORMED, "not the question of a collector that named its host");
    } else if (!ids) {
        refuse(in, request, SL_STATUS_UNAVAILABLE, "out of memory");
    } else if (collectors != 1) {
        refuse(in, request, SL_STATUS_UNAVAILABLE, "not one collector of this host is connected");
    } else {
        m.w = sl_writer(ids, bytes);
        int r = store_list(in->store, &list, mine_each, &m, &next_page);
        if (r != 0 || sl_answer_new(request, SL_STATUS_OK, sizeof next_page + m.w.bytes, &msg, &w) != 0) {
            refuse(in, request, SL_STATUS_UNAVAILABLE, "the store can't list its sandboxes now");
        } else {
            sl_mine_answer_begin(&w, next_page);
            sl_write_slice(&w, sl_slice(ids, m.w.bytes));
            sl_request_answer(request, msg, &w);
        }
    }
    free(ids);
}
