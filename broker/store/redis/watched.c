// SPDX-License-Identifier: Apache-2.0
/* Sandboxes that were asked for a short while ago: somebody may be waiting for their next line. */
#include "read.h"
#include "wire/timestamp.h"
#include <errno.h>
#include <stdlib.h>

#define WATCHED_NS    (90 * SL_NS_PER_S)   /* longer than a read waits */
#define REMEMBERED_NS (3600 * SL_NS_PER_S) /* what its readers were shown must not be taken back */

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

static struct watched *find(struct redis *r, struct sl_slice id)
{
    struct watched *w = *bucket_of(r, id);
    while (w && !sl_slice_equal(sl_slice(w->id, w->bytes), id))
        w = w->next;
    return w;
}

static struct watched *add(struct redis *r, struct sl_slice id)
{
    struct watched **bucket = bucket_of(r, id);
    struct watched *w = r->watched_count < WATCHED_MAX ? malloc(sizeof *w + id.bytes) : NULL;
    if (!w)
        return NULL;
    *w = (struct watched){.next = *bucket, .bytes = (uint8_t)id.bytes};
    memcpy(w->id, id.data, id.bytes);
    *bucket = w;
    r->watched_count++;
    return w;
}

/* The writer gives that life another birth. */
static void tell_fallen(struct redis *r, const struct life *l)
{
    uint8_t note[sizeof(uint64_t) + SL_ID_MAX_BYTES];
    sl_store64(note, l->birth);
    memcpy(note + sizeof(uint64_t), l->id, l->id_bytes);
    pthread_mutex_lock(&r->mutex);
    ids_push(&r->fallen, sl_slice(note, sizeof(uint64_t) + l->id_bytes));
    pthread_cond_signal(&r->work);
    pthread_mutex_unlock(&r->mutex);
}

int watched_see(struct redis *r, const struct life *l)
{
    struct watched *w = find(r, life_id(l));
    if (!w && (!l->alive || !(w = add(r, life_id(l)))))
        return 0;
    w->asked_ns = sl_monotonic_ns();
    enum seen_verdict verdict = seen_judge(&w->seen, l);
    if (verdict == SEEN_OPEN) {
        char key[KEY_BYTES], from[ENTRY_ID_BYTES];
        struct call c;
        int fault = seen_ask(&w->seen, life_id(l), &c, key, from);
        if (fault == 0) {
            link_round(r->link, &c, 1);
            fault = c.fault ? c.fault : c.reply->type == REDIS_REPLY_ARRAY ? 0 : -EIO;
        }
        if (fault == 0)
            verdict = seen_hear(&w->seen, c.reply);
        call_end(&c);
        if (fault)
            return fault;
    }
    if (verdict == SEEN_LOST) {
        tell_fallen(r, l);
        return -EAGAIN;
    }
    seen_set(&w->seen, l);
    return 0;
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
            if (now_ns - w->asked_ns > REMEMBERED_NS) {
                *at = w->next;
                free(w);
                r->watched_count--;
                continue;
            }
            at = &w->next;
            if (atomic_load(&r->down) || now_ns - w->asked_ns > WATCHED_NS)
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
