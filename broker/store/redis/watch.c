// SPDX-License-Identifier: Apache-2.0
/*
 * The watcher hears what other brokers wrote (pub/sub), and asks once a second whether Redis is there and
 * still the same store. Home then looks after the sandboxes that somebody waits for, since a message may get
 * lost.
 */
#include "export.h"
#include "wire/timestamp.h"
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { ANSWER_MS = 1000, TICK_MS = 1000 };

/* ---- the watcher's thread ---- */

static void subscribe(struct link *l, redisContext **c)
{
    if (*c)
        return;
    *c = link_extra(l);
    if (!*c)
        return;
    void *second = NULL;
    redisReply *reply = redisCommand(*c, "SUBSCRIBE %s %s", channel, notes_channel);
    if (!reply || reply_error(reply) || redisGetReply(*c, &second) != REDIS_OK) {
        redisFree(*c);
        *c = NULL;
    }
    freeReplyObject(reply);
    freeReplyObject(second);
}

static void note(struct redis *r, const redisReply *message, bool *any)
{
    if (message->type != REDIS_REPLY_ARRAY || message->elements != 3 ||
        message->element[1]->type != REDIS_REPLY_STRING || message->element[2]->type != REDIS_REPLY_STRING ||
        message->element[2]->len < INSTANCE_BYTES ||
        memcmp(message->element[2]->str, r->instance, INSTANCE_BYTES) == 0)
        return;
    struct sl_slice id =
        sl_slice(message->element[2]->str + INSTANCE_BYTES, message->element[2]->len - INSTANCE_BYTES);
    bool told = strcmp(message->element[1]->str, notes_channel) == 0;
    if (told ? id.bytes == 0 || id.bytes > STORE_NOTE_MAX_BYTES : !sl_sandbox_id_valid(id))
        return;
    pthread_mutex_lock(&r->mutex);
    if (told && ids_push(&r->notes_in, id) == 0)
        *any = true;
    /* Several of one sandbox in a row are one. */
    bool same = told || (r->grown && sl_slice_equal(sl_slice(r->grown->id, r->grown->bytes), id));
    if (!same && ids_push(&r->grown, id) == 0)
        *any = true;
    pthread_mutex_unlock(&r->mutex);
}

/* All messages that are there; false: the connection is gone. */
static bool listen_to(struct redis *r, redisContext *c)
{
    bool any = false, good = redisBufferRead(c) == REDIS_OK;
    void *reply = NULL;
    while (good && (good = redisGetReplyFromReader(c, &reply) == REDIS_OK) && reply) {
        note(r, reply, &any);
        freeReplyObject(reply);
    }
    if (any)
        r->options.wake(r->options.arg);
    return good;
}

/* What home has to tell the other brokers. */
static void publish(struct redis *r, struct link *l)
{
    pthread_mutex_lock(&r->mutex);
    struct ids *notes = r->notes_out;
    r->notes_out = NULL;
    pthread_mutex_unlock(&r->mutex);
    for (struct ids *i = notes; i && !atomic_load(&r->down); i = i->next) {
        uint8_t message[INSTANCE_BYTES + STORE_NOTE_MAX_BYTES];
        memcpy(message, r->instance, INSTANCE_BYTES);
        memcpy(message + INSTANCE_BYTES, i->id, i->bytes);
        struct call c = {.slot = link_slot(sl_slice_of(epoch_key))};
        if (!call_add_text(&c, "PUBLISH") && !call_add_text(&c, notes_channel) &&
            !call_add(&c, message, INSTANCE_BYTES + (size_t)i->bytes))
            link_round(l, &c, 1);
        call_end(&c);
    }
    ids_free(notes);
}

static void look(struct redis *r, struct link *l)
{
    char why[TROUBLE_BYTES] = "";
    uint64_t epoch = 0, sandboxes = 0, now = r->identity;
    int looked = link_look(l, &now);
    bool setback = r->identity && now != r->identity;
    if (setback)
        atomic_fetch_add(&r->topology, 1);
    r->identity = now;
    int fault = epoch_get(l, &epoch, why);
    bool refuses = fault == 0 && looked != 0;
    if (refuses)
        snprintf(why, sizeof why, "%s", link_why(l));
    struct call c = {.slot = link_slot(sl_slice_of(list_key))};
    if (fault == 0 && !call_add_text(&c, "ZCARD") && !call_add_text(&c, list_key)) {
        link_round(l, &c, 1);
        if (c.fault == 0 && c.reply->type == REDIS_REPLY_INTEGER)
            sandboxes = (uint64_t)c.reply->integer;
    }
    call_end(&c);
    if (fault == 0)
        export_look(r, l);
    pthread_mutex_lock(&r->mutex);
    memcpy(r->watch_trouble, fault || refuses ? why : "", fault || refuses ? sizeof why : 1);
    r->setbacks_found += setback;
    if (fault == 0) {
        r->epoch_found = epoch;
        r->sandboxes = sandboxes;
    }
    r->tick = true;
    pthread_mutex_unlock(&r->mutex);
    atomic_store(&r->down, fault != 0);
    r->options.wake(r->options.arg);
}

void *watch_main(void *arg)
{
    struct redis *r = arg;
    struct link *l;
    int fault = link_new(&r->location, ANSWER_MS, &r->topology, &l);
    assert(fault == 0);
    redisContext *c = NULL;
    int64_t look_ns = sl_monotonic_ns() + TICK_MS * SL_NS_PER_MS;
    while (!atomic_load(&r->closing)) {
        int64_t now_ns = sl_monotonic_ns();
        if (now_ns >= look_ns) {
            look(r, l);
            look_ns = sl_monotonic_ns() + TICK_MS * SL_NS_PER_MS;
        }
        if (!atomic_load(&r->down))
            subscribe(l, &c);
        publish(r, l);
        struct pollfd fds[2] = {{.fd = r->watcher_pipe[0], .events = POLLIN},
                                {.fd = c ? c->fd : -1, .events = POLLIN}};
        int64_t left_ms = (look_ns - sl_monotonic_ns()) / SL_NS_PER_MS + 1;
        poll(fds, 2, left_ms > 0 ? (int)left_ms : 0);
        char woken[64];
        if (fds[0].revents)
            while (read(r->watcher_pipe[0], woken, sizeof woken) > 0)
                ;
        if (c && fds[1].revents && !listen_to(r, c)) {
            redisFree(c);
            c = NULL;
        }
    }
    if (c)
        redisFree(c);
    link_free(l);
    return NULL;
}
