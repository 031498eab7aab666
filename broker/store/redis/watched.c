// SPDX-License-Identifier: Apache-2.0
/* Sandboxes that were asked for a short while ago: somebody may be waiting for their next line. */
#include "read.h"
#include "wire/timestamp.h"
#include <stdlib.h>

#define WATCHED_NS (90 * SL_NS_PER_S) /* longer than a read waits */

struct watched {
    struct watched *next;
    struct seen seen;
    int64_t asked_ns;
    uint8_t bytes;
    char id[];
};

static struct watched **bucket_of(struct redis *r, struct sl_slice id)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < id.bytes; i++)
        hash = (hash ^ id.data[i]) * 16777619u;
    return &r->watched[(hash ^ hash >> 15) % (sizeof r->watched / sizeof *r->watched)];
}

void watched_see(struct redis *r, const struct life *l)
{
    struct sl_slice id = life_id(l);
    struct watched **bucket = bucket_of(r, id), *w = *bucket;
    while (w && !sl_slice_equal(sl_slice(w->id, w->bytes), id))
        w = w->next;
    if (!w && (!l->alive || r->watched_count == WATCHED_MAX))
        return;
    if (!w) {
        w = malloc(sizeof *w + id.bytes);
        if (!w)
            return;
        *w = (struct watched){.next = *bucket, .bytes = (uint8_t)id.bytes};
        memcpy(w->id, id.data, id.bytes);
        *bucket = w;
        r->watched_count++;
    }
    w->asked_ns = sl_monotonic_ns();
    if (seen_was_lost(&w->seen, l)) {
        pthread_mutex_lock(&r->mutex);
        ids_push(&r->fallen, id);
        pthread_cond_signal(&r->work);
        pthread_mutex_unlock(&r->mutex);
    }
    seen_set(&w->seen, l);
}

static bool has_news(const struct watched *w, const struct call *c)
{
    if (c->fault || reply_error(c->reply))
        return false;
    const redisReply *v = c->reply;
    return v->type != REDIS_REPLY_STRING || v->len != TOKEN_BYTES ||
           memcmp(v->str, w->seen.token, TOKEN_BYTES) != 0;
}

static void poll_some(struct redis *r, struct watched **some, size_t count)
{
    size_t ready = 0;
    for (; ready < count; ready++) {
        struct call *c = &r->calls[ready];
        size_t bytes = key_of(r->keys[ready], sl_slice(some[ready]->id, some[ready]->bytes), 'h');
        *c = (struct call){.slot = link_slot(sl_slice(r->keys[ready], bytes))};
        if (call_add_text(c, "HGET") || call_add(c, r->keys[ready], bytes) || call_add_text(c, "v"))
            break;
    }
    if (ready == count)
        link_round(r->link, r->calls, count);
    for (size_t i = 0; i < count && i <= ready; i++) {
        bool news = ready == count && has_news(some[i], &r->calls[i]);
        call_end(&r->calls[i]);
        if (news)
            r->options.grown(r->options.arg, sl_slice(some[i]->id, some[i]->bytes));
    }
}

void watched_tick(struct redis *r)
{
    struct watched *some[MANY];
    size_t count = 0;
    int64_t now_ns = sl_monotonic_ns();
    for (size_t i = 0; i < sizeof r->watched / sizeof *r->watched; i++) {
        struct watched **at = &r->watched[i];
        while (*at) {
            struct watched *w = *at;
            if (now_ns - w->asked_ns > WATCHED_NS) {
                *at = w->next;
                free(w);
                r->watched_count--;
                continue;
            }
            at = &w->next;
            if (atomic_load(&r->down))
                continue;
            some[count++] = w;
            if (count == MANY) {
                poll_some(r, some, count);
                count = 0;
            }
        }
    }
    if (count)
        poll_some(r, some, count);
}

void watched_free(struct redis *r)
{
    for (size_t i = 0; i < sizeof r->watched / sizeof *r->watched; i++) {
        while (r->watched[i]) {
            struct watched *next = r->watched[i]->next;
            free(r->watched[i]);
            r->watched[i] = next;
        }
    }
}
