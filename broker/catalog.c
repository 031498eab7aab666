// SPDX-License-Identifier: Apache-2.0
#include "catalog.h"

#include "single.h"
#include "wire/timestamp.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

enum {
    LIST_TARGET_BYTES = 1 << 20, /* a list is cut here */
    /* the largest info: container names, labels, the rest */
    INFO_MAX_BYTES = 256 * 256 + SL_LABELS_MAX * (1 + SL_LABEL_KEY_MAX_BYTES + 2 + SL_LABEL_VALUE_MAX_BYTES) +
                     SL_HOST_MAX_BYTES + SL_ID_MAX_BYTES + 256,
    SCRATCH_BYTES = LIST_TARGET_BYTES + INFO_MAX_BYTES + 64,
};
static_assert(SCRATCH_BYTES + SL_MESSAGE_HEAD_BYTES <= SL_MESSAGE_MAX_BYTES, "a list fits into a message");

struct catalog {
    struct store *store;
    struct stops *stops;
    struct counts *counts;
    size_t pending;
    uint8_t *scratch; /* SCRATCH_BYTES: answers are written here, then copied into a message of their size */
};

struct waiting {
    struct catalog *catalog;
    struct sl_request *request;
    struct sl_slice sandbox; /* in the request's body */
};

int catalog_new(struct store *store, struct stops *stops, struct counts *counts, struct catalog **ret)
{
    struct catalog *c = calloc(1, sizeof *c);
    uint8_t *scratch = malloc(SCRATCH_BYTES);
    if (!c || !scratch) {
        free(c);
        free(scratch);
        return -ENOMEM;
    }
    *c = (struct catalog){.store = store, .stops = stops, .counts = counts, .scratch = scratch};
    *ret = c;
    return 0;
}

void catalog_free(struct catalog *c)
{
    if (!c)
        return;
    assert(c->pending == 0);
    free(c->scratch);
    free(c);
}

size_t catalog_pending(const struct catalog *c)
{
    return c->pending;
}

static void refuse(struct catalog *c, struct sl_request *request, uint8_t status, const char *sentence)
{
    sl_count(&c->counts->refused, 1);
    sl_request_refuse(request, status, sentence);
}

static void unavailable(struct catalog *c, struct sl_request *request)
{
    const char *trouble = store_trouble(c->store);
    refuse(c, request, SL_STATUS_UNAVAILABLE, trouble ? trouble : "the store can't take it now");
}

static void answer(struct catalog *c, struct sl_request *request, const struct sl_writer *body)
{
    nng_msg *msg;
    struct sl_writer w;
    if (sl_answer_new(request, SL_STATUS_OK, body->bytes, &msg, &w) != 0) {
        refuse(c, request, SL_STATUS_UNAVAILABLE, "out of memory");
        return;
    }
    sl_write_slice(&w, sl_slice(body->data, body->bytes));
    sl_request_answer(request, msg, &w);
}

static void answer_info(struct catalog *c, struct sl_request *request, struct sl_slice sandbox)
{
    struct sl_info info;
    int r = store_info(c->store, sandbox, &info);
    if (r != 0) {
        if (r == STORE_UNKNOWN)
            refuse(c, request, SL_STATUS_NOT_FOUND, NULL);
        else
            unavailable(c, request);
        return;
    }
    struct sl_writer w = sl_writer(c->scratch, SCRATCH_BYTES);
    sl_list_answer_begin(&w, store_epoch(c->store), 0);
    sl_info_encode(&w, &info);
    assert(!w.failed);
    answer(c, request, &w);
}

void catalog_info(struct catalog *c, struct sl_request *request)
{
    struct sl_slice sandbox;
    if (!sl_id_next(&request->body, &sandbox) || sl_reader_left(&request->body) != 0)
        refuse(c, request, SL_STATUS_MALFORMED, "not a sandbox id");
    else
        answer_info(c, request, sandbox);
}

/* ---- LIST ---- */

struct listing {
    struct sl_writer w;
    uint16_t count;
    bool cut;
};

static bool list_each(void *arg, const struct sl_info *info)
{
    struct listing *l = arg;
    if (l->w.bytes >= LIST_TARGET_BYTES) {
        l->cut = true;
        return false;
    }
    sl_info_encode(&l->w, info);
    l->count++;
    return true;
}

void catalog_list(struct catalog *c, struct sl_request *request)
{
    struct sl_list list;
    if (sl_list_decode(&request->body, &list) != SL_STATUS_OK) {
        refuse(c, request, SL_STATUS_MALFORMED, "not a list request");
        return;
    }
    struct listing l = {.cut = true};
    uint64_t next_page = 0;
    uint8_t head[16];
    const size_t head_bytes = sizeof head;
    while (l.cut) {
        /* A list cut for its size is asked for again, that long: so the next page begins behind it. */
        l = (struct listing){.w = sl_writer(c->scratch + head_bytes, SCRATCH_BYTES - head_bytes)};
        if (store_list(c->store, &list, list_each, &l, &next_page) != 0) {
            unavailable(c, request);
            return;
        }
        assert(!l.w.failed);
        list.limit = l.count;
    }
    struct sl_writer w = sl_writer(c->scratch, SCRATCH_BYTES);
    sl_list_answer_begin(&w, store_epoch(c->store), next_page);
    assert(w.bytes == head_bytes);
    w.bytes += l.w.bytes;
    answer(c, request, &w);
}

/* ---- PUT, DELETE ---- */

static struct waiting *begin(struct catalog *c, struct sl_request *request, struct sl_slice sandbox)
{
    struct waiting *waiting = malloc(sizeof *waiting);
    if (waiting)
        *waiting = (struct waiting){c, request, sandbox};
    return waiting;
}

static void begun(struct catalog *c, struct waiting *waiting, struct sl_request *request, int fault)
{
    if (fault == 0) {
        c->pending++;
        return;
    }
    free(waiting);
    refuse(c, request, SL_STATUS_UNAVAILABLE, "out of memory");
}

static void put_done(void *arg, bool taken)
{
    struct waiting *waiting = arg;
    struct catalog *c = waiting->catalog;
    c->pending--;
    if (taken) {
        stops_look(c->stops, waiting->sandbox, sl_monotonic_ns());
        answer_info(c, waiting->request, waiting->sandbox);
    } else {
        unavailable(c, waiting->request);
    }
    free(waiting);
}

void catalog_put(struct catalog *c, struct sl_request *request)
{
    struct sl_change change;
    if (sl_change_decode(&request->body, &change) != SL_STATUS_OK) {
        refuse(c, request, SL_STATUS_MALFORMED, "not a change of a sandbox");
        return;
    }
    change.fields &= (uint8_t)~SL_CHANGE_HOST;
    change.host = sl_slice(NULL, 0);
    struct sl_place place;
    bool known = store_place(c->store, change.sandbox, &place) == 0;
    if ((change.fields & SL_CHANGE_STATE) && change.state != SL_RUNNING) {
        /* Stopped it is when its files have been read to their end, unless it is already. */
        if (known && place.state != SL_RUNNING)
            change.fields &= (uint8_t)~SL_CHANGE_STATE;
        else
            change.state = SL_STOPPING;
    }
    if (known && change.fields == 0) {
        answer_info(c, request, change.sandbox);
        return;
    }
    struct waiting *waiting = begin(c, request, change.sandbox);
    begun(c, waiting, request, waiting ? single_change(c->store, &change, put_done, waiting) : -ENOMEM);
}

static void delete_done(void *arg, bool taken)
{
    struct waiting *waiting = arg;
    struct catalog *c = waiting->catalog;
    c->pending--;
    if (taken) {
        stops_look(c->stops, waiting->sandbox, sl_monotonic_ns());
        struct sl_writer w = sl_writer(c->scratch, 0);
        answer(c, waiting->request, &w);
    } else {
        unavailable(c, waiting->request);
    }
    free(waiting);
}

void catalog_delete(struct catalog *c, struct sl_request *request)
{
    struct sl_slice sandbox;
    struct sl_place place;
    if (!sl_id_next(&request->body, &sandbox) || sl_reader_left(&request->body) != 0) {
        refuse(c, request, SL_STATUS_MALFORMED, "not a sandbox id");
        return;
    }
    int known = store_place(c->store, sandbox, &place);
    if (known != 0) {
        if (known < 0)
            unavailable(c, request);
        else
            refuse(c, request, SL_STATUS_NOT_FOUND, NULL);
        return;
    }
    struct waiting *waiting = begin(c, request, sandbox);
    begun(c, waiting, request, waiting ? single_delete(c->store, sandbox, delete_done, waiting) : -ENOMEM);
}
