// SPDX-License-Identifier: Apache-2.0
/*
 * The writer: takes all that waits, judges it per sandbox against what it remembers, and sends one script per
 * sandbox, all in one pipelined round. A script that finds another token than the one judged against gives
 * back what is there; the sandbox is judged anew and sent again.
 */
#include "export.h"
#include "wire/timestamp.h"
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum {
    ROUND_BYTES = 8 << 20,
    ROUND_ITEMS = 8192,
    TRIES = 64, /* of a sandbox that other brokers write to at the same time */
    ANSWER_MS = 2000,
};

/* ---- judging ---- */

static int take(struct writer *w, struct box *b, struct store_item *item, struct writing *g)
{
    struct life *l = &b->life;
    int64_t now_ns = w->now_ns;
    bool was_alive = l->alive;
    uint64_t birth = was_alive ? 0 : writer_next_birth(w, now_ns);
    int answer;
    if (item->kind == STORE_BLOCK) {
        struct sl_record record;
        bool stored;
        uint32_t sub;
        answer = life_take_block(l, item, now_ns, birth, &record, &stored, &sub);
        if (answer == 0 && stored)
            answer = writing_add(w, g, item, &record, sub);
        return answer;
    }
    if (item->kind == STORE_CHANGE)
        answer = life_take_change(l, &item->change, now_ns, birth);
    else
        answer = life_take_delete(l);
    item->verdict = (struct sl_append_verdict){.verdict = SL_TAKEN};
    if (answer == 0 && item->kind == STORE_DELETE) {
        g->fresh = g->begins = true;
        g->entries.argc = 0;
    }
    return answer;
}

/* Judges all of the box's items. 0: b->call is to be sent; LIFE_NOTHING; a fault. */
static int box_judge(struct writer *w, struct box *b)
{
    struct writing g;
    writing_begin(&g, &b->life);
    bool changed = false, already = false;
    int fault = 0;
    if (b->fallen && b->life.alive && b->life.birth == b->fallen) {
        b->life.birth = writer_next_birth(w, w->now_ns);
        b->life.version++;
        changed = true;
    }
    if (b->trim_to && b->life.alive && b->life.kept_from == b->trim_from) {
        b->life.kept_from = b->trim_to;
        b->life.kept_bytes -= b->trim_bytes < b->life.kept_bytes ? b->trim_bytes : b->life.kept_bytes;
        b->life.version++;
        memcpy(g.keep, b->trim_keep, sizeof g.keep);
        changed = true;
    }
    for (size_t i = 0; i < b->item_count && fault >= 0; i++) {
        fault = take(w, b, b->items[i], &g);
        changed = changed || fault == 0;
        already = already || b->items[i]->verdict.verdict == SL_ALREADY;
    }
    /* What is there already may not have reached the replicas: only a write after it can tell. */
    if (already && w->redis->location.replicas)
        changed = true;
    if (fault >= 0)
        fault = changed ? writing_call(w, b, &g) : LIFE_NOTHING;
    g.entries.script = NULL;
    call_end(&g.entries);
    return fault;
}

/* ---- rounds ---- */

static void trouble(struct writer *w, const char *sentence)
{
    struct redis *r = w->redis;
    pthread_mutex_lock(&r->mutex);
    snprintf(r->write_trouble, sizeof r->write_trouble, "%s", sentence);
    r->write_trouble_ns = sl_monotonic_ns();
    pthread_mutex_unlock(&r->mutex);
}

static void box_fail(struct writer *w, struct box *b, int fault)
{
    const char *error = reply_error(b->call.reply);
    if (error)
        link_explain(w->link, &b->call, error);
    if (error || fault != -ENOMEM)
        trouble(w, *link_why(w->link) ? link_why(w->link) : "Redis can't be reached");
    b->settled = true;
    b->fault = fault;
    b->loaded = false;
}

/* Takes over what Redis says is there. */
static void box_load(struct writer *w, struct box *b, const redisReply *fields)
{
    life_clear(&b->life);
    int fault = life_from_fields(&b->life, fields);
    if (fault == LIFE_MALFORMED)
        trouble(w, "Redis holds something of a sandbox that is not ours, or a newer version's");
    if (fault) {
        life_clear(&b->life);
        b->settled = true;
        b->fault = fault < 0 ? fault : -EPROTO;
        return;
    }
    b->loaded = b->fresh = true;
    enum seen_verdict verdict = seen_judge(&b->seen, &b->life);
    if (verdict == SEEN_LOST)
        b->fallen = b->life.birth;
    b->open = verdict == SEEN_OPEN;
    if (b->listed_birth != b->life.birth)
        b->listed_birth = 0;
}

static size_t gather(struct writer *w, bool (*wanted)(const struct box *b))
{
    size_t count = 0;
    for (size_t i = 0; i < w->box_count; i++)
        if (wanted(w->boxes[i]))
            w->sent[count++] = w->boxes[i];
    for (size_t i = 0; i < count; i++)
        w->calls[i] = w->sent[i]->call;
    return count;
}

/* Sends the calls of the boxes gathered, and gives them back with their replies. */
static void run(struct writer *w, size_t count)
{
    link_round(w->link, w->calls, count);
    for (size_t i = 0; i < count; i++)
        w->sent[i]->call = w->calls[i];
}

static bool not_loaded(const struct box *b)
{
    return !b->settled && !b->loaded && b->call.argc;
}

static void load(struct writer *w)
{
    for (size_t i = 0; i < w->box_count; i++) {
        struct box *b = w->boxes[i];
        if (b->settled || b->loaded)
            continue;
        call_end(&b->call);
        if (call_add_text(&b->call, "HGETALL") || writer_key(w, &b->call, life_id(&b->life), 'h'))
            box_fail(w, b, -ENOMEM);
    }
    size_t count = gather(w, not_loaded);
    if (count == 0)
        return;
    run(w, count);
    for (size_t i = 0; i < count; i++) {
        struct box *b = w->sent[i];
        if (b->call.fault || reply_error(b->call.reply))
            box_fail(w, b, b->call.fault ? b->call.fault : -EIO);
        else
            box_load(w, b, b->call.reply);
        call_end(&b->call);
    }
}

static bool is_open(const struct box *b)
{
    return !b->settled && b->loaded && b->open;
}

/* Whether what is there now follows what was seen. */
static void prove(struct writer *w)
{
    for (size_t i = 0; i < w->box_count; i++) {
        struct box *b = w->boxes[i];
        if (!is_open(b))
            continue;
        call_end(&b->call);
        char *key = arena_get(&w->arena, KEY_BYTES), *from = arena_get(&w->arena, ENTRY_ID_BYTES);
        if (!key || !from || seen_ask(&b->seen, life_id(&b->life), &b->call, key, from))
            box_fail(w, b, -ENOMEM);
    }
    size_t count = gather(w, is_open);
    if (count == 0)
        return;
    run(w, count);
    for (size_t i = 0; i < count; i++) {
        struct box *b = w->sent[i];
        if (b->call.fault || reply_error(b->call.reply))
            box_fail(w, b, b->call.fault ? b->call.fault : -EIO);
        else if (seen_hear(&b->seen, b->call.reply) == SEEN_LOST)
            b->fallen = b->life.birth;
        b->open = false;
        call_end(&b->call);
    }
}

static bool to_be_sent(const struct box *b)
{
    return !b->settled && b->loaded;
}

static void took_effect(struct box *b)
{
    life_settle(&b->life);
    seen_set(&b->seen, &b->life);
    b->fallen = 0;
    b->settled = b->written = true;
}

static bool is_moving(const char *error)
{
    return error && (strncmp(error, "MOVED ", 6) == 0 || strncmp(error, "ASK ", 4) == 0 ||
                     strncmp(error, "TRYAGAIN", 8) == 0);
}

/* What EXEC says: of the guard, of each XADD, of the end. */
static void transacted(struct writer *w, struct box *b, const redisReply *all)
{
    size_t count = all->type == REDIS_REPLY_ARRAY ? all->elements : 0;
    const redisReply *last = count >= 2 ? all->element[count - 1] : NULL;
    const redisReply *bad = NULL;
    for (size_t i = 0; i < count && !bad; i++)
        bad = reply_error(all->element[i]) ? all->element[i] : NULL;
    if (last && last->type == REDIS_REPLY_INTEGER && last->integer == 0 &&
        all->element[0]->type == REDIS_REPLY_ARRAY) {
        box_load(w, b, all->element[0]); /* another token: the XADDs were made to fail */
    } else if (last && last->type == REDIS_REPLY_INTEGER && last->integer == 1 && !bad) {
        took_effect(b);
    } else {
        char text[TROUBLE_BYTES];
        snprintf(text, sizeof text, "Redis did a write by halves: %.200s",
                 bad ? bad->str : "no answer to EXEC");
        box_fail(w, b, -EIO);
        trouble(w, text);
    }
}

/* One try of all that is not settled. */
static void attempt(struct writer *w)
{
    load(w);
    prove(w);
    for (size_t i = 0; i < w->box_count; i++) {
        struct box *b = w->boxes[i];
        if (b->settled)
            continue;
        int answer = box_judge(w, b);
        /* "It is there already" is no write that Redis would refuse: from memory alone it may be wrong. */
        if (answer == LIFE_NOTHING && !b->fresh)
            b->loaded = false;
        else if (answer == LIFE_NOTHING)
            b->settled = true;
        else if (answer)
            box_fail(w, b, answer);
    }
    size_t count = gather(w, to_be_sent);
    if (count == 0)
        return;
    run(w, count);
    for (size_t i = 0; i < count; i++) {
        struct box *b = w->sent[i];
        const redisReply *reply = b->call.reply;
        if (b->call.ends && b->call.fault == 0 && is_moving(reply_error(reply))) {
            b->plain = true; /* once more, by a script, which can follow its slot */
            b->loaded = false;
        } else if (b->call.fault || reply_error(reply)) {
            box_fail(w, b, b->call.fault ? b->call.fault : -EIO);
        } else if (b->call.ends) {
            transacted(w, b, reply);
        } else if (reply->type == REDIS_REPLY_INTEGER) {
            took_effect(b);
        } else {
            box_load(w, b, reply);
        }
        call_end(&b->call);
    }
}

static bool unlisted(const struct box *b)
{
    return b->call.argc > 0;
}

/* The list of sandboxes lies in a slot of its own: told behind the write, again with a later one if it fails.
 */
static void list(struct writer *w)
{
    for (size_t i = 0; i < w->box_count; i++) {
        struct box *b = w->boxes[i];
        const struct life *l = &b->life;
        call_end(&b->call);
        if (b->fault || !b->loaded || !l->known || b->listed_birth == (l->alive ? l->birth : 1))
            continue;
        int fault = call_add_text(&b->call, l->alive ? "ZADD" : "ZREM") ||
                    call_add_text(&b->call, list_key) ||
                    (l->alive && writer_number(w, &b->call, l->birth / 1000)) ||
                    writer_copy(w, &b->call, l->id, l->id_bytes);
        if (fault)
            call_end(&b->call);
        b->call.slot = link_slot(sl_slice_of(list_key));
    }
    size_t count = gather(w, unlisted);
    if (count == 0)
        return;
    run(w, count);
    for (size_t i = 0; i < count; i++) {
        struct box *b = w->sent[i];
        if (b->call.fault == 0 && !reply_error(b->call.reply))
            b->listed_birth = b->life.alive ? b->life.birth : 1;
        call_end(&b->call);
    }
}

/* ---- what waits ---- */

int writer_join(struct writer *w, struct sl_slice id, struct box **ret)
{
    struct box *b = boxes_get(&w->all, id);
    if (!b)
        return -ENOMEM;
    *ret = b;
    if (b->in_round)
        return 0;
    if (w->box_count == w->box_capacity) {
        size_t capacity = w->box_capacity ? 2 * w->box_capacity : 64;
        struct box **boxes = realloc(w->boxes, capacity * sizeof *boxes);
        if (boxes)
            w->boxes = boxes;
        struct box **sent = boxes ? realloc(w->sent, capacity * sizeof *sent) : NULL;
        if (sent)
            w->sent = sent;
        struct call *calls = sent ? realloc(w->calls, capacity * sizeof *calls) : NULL;
        if (!calls)
            return -ENOMEM;
        w->calls = calls;
        w->box_capacity = capacity;
    }
    w->boxes[w->box_count++] = b;
    b->in_round = true;
    b->settled = b->written = b->fresh = b->plain = false;
    b->fault = 0;
    b->item_count = 0;
    b->trim_to = 0;
    return 0;
}

static struct sl_slice item_id(const struct store_item *item)
{
    switch (item->kind) {
    case STORE_BLOCK:
        return item->header.sandbox;
    case STORE_CHANGE:
        return item->change.sandbox;
    default:
        return item->sandbox;
    }
}

static void refuse(struct store_batch *batch, size_t index)
{
    batch->items[index].verdict = (struct sl_append_verdict){.verdict = SL_REFUSED};
    batch->items[index].first_seq = 0;
}

void writer_round(struct writer *w)
{
    w->now_ns = sl_now_ns();
    bool open = true;
    for (int try = 0; open && try < TRIES; try++) {
        if (try > 1) {
            /* Others write as well: step aside for a moment, each for another one. */
            w->jitter = w->jitter * 1664525u + 1013904223u;
            nanosleep(&(struct timespec){.tv_nsec = (long)(w->jitter >> 12) % (try * 100000L)}, NULL);
        }
        attempt(w);
        arena_free(&w->arena);
        open = false;
        for (size_t i = 0; i < w->box_count; i++)
            open = open || !w->boxes[i]->settled;
    }
    for (size_t i = 0; i < w->box_count; i++)
        if (!w->boxes[i]->settled)
            box_fail(w, w->boxes[i], -EAGAIN);
    list(w);
    arena_free(&w->arena);
}

/* Tells home: what has grown, and the batches. */
void writer_tell(struct writer *w, struct store_batch *batches, int64_t began_ns)
{
    struct redis *r = w->redis;
    bool any = false, failed = false;
    struct ids *grown = NULL;
    for (size_t i = 0; i < w->box_count; i++) {
        struct box *b = w->boxes[i];
        any = any || b->written;
        failed = failed || b->fault;
        for (size_t k = 0; b->fault && k < b->item_count; k++)
            life_refuse(&b->life, b->items[k]);
        if (b->written)
            ids_push(&grown, life_id(&b->life));
    }
    pthread_mutex_lock(&r->mutex);
    while (grown) {
        struct ids *next = grown->next;
        grown->next = r->grown;
        r->grown = grown;
        grown = next;
    }
    while (batches) {
        struct store_batch *next = batches->next;
        bool all = batches->count > 0;
        for (size_t i = 0; i < batches->count; i++)
            all = all && batches->items[i].verdict.verdict == SL_REFUSED;
        struct store_batch ***end = all && failed ? &r->bad_end : &r->good_end;
        batches->next = NULL;
        **end = batches;
        *end = &batches->next;
        batches = next;
    }
    r->commits += any;
    r->commit_faults += failed;
    if (any) {
        sl_observe(&r->latency, sl_monotonic_ns() - began_ns);
        if (!failed)
            *r->write_trouble = 0;
    }
    pthread_mutex_unlock(&r->mutex);
    r->options.wake(r->options.arg);
}

void writer_leave(struct writer *w)
{
    for (size_t i = 0; i < w->box_count; i++) {
        w->boxes[i]->in_round = false;
        w->boxes[i]->item_count = 0;
    }
    w->box_count = 0;
    boxes_trim(&w->all);
}

static void commit(struct writer *w, struct store_batch *batches)
{
    int64_t began_ns = sl_monotonic_ns();
    for (struct store_batch *batch = batches; batch; batch = batch->next) {
        for (size_t i = 0; i < batch->count; i++) {
            struct box *b;
            refuse(batch, i);
            if (writer_join(w, item_id(&batch->items[i]), &b) == 0)
                box_add(b, &batch->items[i]);
        }
    }
    writer_round(w);
    /* Before it is told: who was told that a line is stored finds it in an export. */
    export_note(w);
    writer_tell(w, batches, began_ns);
    for (size_t i = 0; i < w->box_count; i++)
        if (w->boxes[i]->written)
            upkeep_look(w, w->boxes[i]);
    writer_leave(w);
    upkeep_trim(w);
}

/* Redis has fallen behind what readers were shown: they have to be told. */
static void commit_fallen(struct writer *w, struct ids *fallen)
{
    for (struct ids *i = fallen; i; i = i->next) {
        struct box *b;
        uint64_t birth = sl_load64(i->id);
        if (writer_join(w, sl_slice(i->id + sizeof birth, i->bytes - sizeof birth), &b))
            continue;
        b->loaded = false;
        b->fallen = birth;
    }
    writer_round(w);
    writer_tell(w, NULL, sl_monotonic_ns());
    writer_leave(w);
    ids_free(fallen);
}

/* Some batches from the queue's head, within the bounds of a round. */
static struct store_batch *dequeue(struct redis *r)
{
    struct store_batch *first = r->queue, *last = NULL;
    size_t bytes = 0, items = 0;
    for (struct store_batch *batch = first; batch; batch = batch->next) {
        for (size_t i = 0; i < batch->count; i++)
            bytes += batch->items[i].payload.bytes;
        items += batch->count;
        if (last && (bytes > ROUND_BYTES || items > ROUND_ITEMS))
            break;
        last = batch;
    }
    if (last) {
        r->queue = last->next;
        last->next = NULL;
        if (!r->queue)
            r->queue_end = &r->queue;
    }
    return first;
}

void *writer_main(void *arg)
{
    struct redis *r = arg;
    struct writer *w = calloc(1, sizeof *w);
    int fault = w ? link_new(&r->location, ANSWER_MS + r->location.wait_ms, &r->topology, &w->link) : -ENOMEM;
    assert(fault == 0);
    w->redis = r;
    w->jitter = sl_load32(r->instance);
    w->sweep_ns = sl_monotonic_ns();
    pthread_mutex_lock(&r->mutex);
    for (;;) {
        struct compaction *compactions = NULL;
        if (r->queue) {
            struct store_batch *batches = dequeue(r);
            pthread_mutex_unlock(&r->mutex);
            commit(w, batches);
        } else if (r->changes) {
            struct changing *changes = NULL;
            while (r->changes) {
                struct changing *next = r->changes->next;
                r->changes->next = changes;
                changes = r->changes;
                r->changes = next;
            }
            pthread_mutex_unlock(&r->mutex);
            export_changes(w, changes);
        } else if (r->fallen) {
            struct ids *fallen = r->fallen;
            r->fallen = NULL;
            pthread_mutex_unlock(&r->mutex);
            commit_fallen(w, fallen);
        } else if (atomic_load(&r->closing)) {
            break;
        } else if (r->compactions) {
            compactions = r->compactions;
            r->compactions = NULL;
            pthread_mutex_unlock(&r->mutex);
            upkeep_all(w, compactions);
        } else if (export_due(w)) {
            pthread_mutex_unlock(&r->mutex);
            export_step(w);
        } else if (export_thin_due(w)) {
            pthread_mutex_unlock(&r->mutex);
            export_thin_step(w);
        } else if (upkeep_due(w)) {
            pthread_mutex_unlock(&r->mutex);
            upkeep_step(w);
        } else {
            struct timespec until;
            clock_gettime(CLOCK_MONOTONIC, &until);
            until.tv_sec++;
            pthread_cond_clockwait(&r->work, &r->mutex, CLOCK_MONOTONIC, &until);
            continue;
        }
        pthread_mutex_lock(&r->mutex);
    }
    pthread_mutex_unlock(&r->mutex);
    boxes_free(&w->all);
    link_free(w->link);
    free(w->boxes);
    free(w->sent);
    free(w->calls);
    free(w);
    return NULL;
}
