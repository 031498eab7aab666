// SPDX-License-Identifier: Apache-2.0
#include "hot.h"
#include <assert.h>
#include <stdlib.h>

/* What the allocator and the ring take beside the struct. */
enum { HOT_OVERHEAD_BYTES = 32 };

static size_t hot_bytes(const struct hot *h)
{
    return sizeof *h + h->bytes + HOT_OVERHEAD_BYTES;
}

static void queue_push(struct hot_queue *q, struct hot *h)
{
    h->newer = NULL;
    h->older = q->newest;
    if (q->newest)
        q->newest->newer = h;
    else
        q->oldest = h;
    q->newest = h;
}

static void queue_take(struct hot_queue *q, struct hot *h)
{
    if (h->newer)
        h->newer->older = h->older;
    else
        q->newest = h->older;
    if (h->older)
        h->older->newer = h->newer;
    else
        q->oldest = h->newer;
}

void hot_init(struct hot_cache *c, uint64_t budget_bytes)
{
    *c = (struct hot_cache){.budget_bytes = budget_bytes};
}

static void list_free(struct hot_list *l)
{
    l->sandbox->hot = NULL;
    free(l->items);
    free(l);
}

static void list_shift_one(struct hot_cache *c, struct hot_list *l)
{
    struct hot *h = hot_at(l, 0);
    if (l->spare) {
        l->spare--;
        queue_take(&c->spare, h);
    } else {
        l->kept_text_bytes -= h->text_bytes;
        queue_take(&c->kept, h);
    }
    c->bytes -= hot_bytes(h);
    free(h);
    l->first = (l->first + 1) & l->mask;
    l->count--;
}

/* Drops the oldest record, and gaps that then stand first: so a gap before the first hot line is never hot.
 */
static void list_shift(struct hot_cache *c, struct hot_list *l)
{
    do {
        l->bare = hot_at(l, 0)->lines > 0;
        list_shift_one(c, l);
    } while (l->count && hot_at(l, 0)->lines == 0);
    if (l->count == 0)
        list_free(l);
}

void hot_drop(struct hot_cache *c, struct sandbox *b)
{
    while (b->hot)
        list_shift(c, b->hot);
}

void hot_trim(struct hot_cache *c, struct sandbox *b, uint64_t first_seq)
{
    while (b->hot && hot_at(b->hot, 0)->first_seq + hot_at(b->hot, 0)->lines <= first_seq)
        list_shift(c, b->hot);
}

void hot_fini(struct hot_cache *c)
{
    while (c->spare.oldest)
        list_shift(c, c->spare.oldest->list);
    while (c->kept.oldest)
        list_shift(c, c->kept.oldest->list);
}

static struct hot_list *list_get(struct sandbox *b)
{
    struct hot_list *l = b->hot;
    if (!l) {
        l = calloc(1, sizeof *l);
        if (!l)
            return NULL;
        l->sandbox = b;
        l->items = malloc(2 * sizeof(struct hot *));
        if (!l->items) {
            free(l);
            return NULL;
        }
        l->mask = 1;
        /* The record to come is in the index already: is it the only one? */
        l->bare = b->extent_count == 1 && b->extents[0].count == 1;
        b->hot = l;
    }
    if (l->count > l->mask) {
        uint32_t room = 2 * (l->mask + 1);
        struct hot **wider = malloc(room * sizeof(struct hot *));
        if (!wider)
            return NULL;
        for (uint32_t i = 0; i < l->count; i++)
            wider[i] = hot_at(l, i);
        free(l->items);
        l->items = wider;
        l->first = 0;
        l->mask = room - 1;
    }
    return l;
}

void hot_add(struct hot_cache *c, struct sandbox *b, const struct entry *entry, struct sl_slice prefix,
             struct sl_slice payload)
{
    struct hot_list *l = NULL;
    struct hot *h = malloc(sizeof *h + entry->bytes);
    if (h)
        l = list_get(b);
    if (!l) {
        free(h);
        hot_drop(c, b);
        return;
    }
    *h = (struct hot){
        .list = l,
        .first_seq = entry->first_seq,
        .ceiling_ns = entry->ceiling_ns,
        .lines = entry->lines,
        .text_bytes = entry->text_bytes,
        .bytes = entry->bytes,
    };
    assert(prefix.bytes + payload.bytes == entry->bytes);
    memcpy(h->record, prefix.data, prefix.bytes);
    memcpy(h->record + prefix.bytes, payload.data, payload.bytes);
    l->items[(l->first + l->count++) & l->mask] = h;
    l->kept_text_bytes += h->text_bytes;
    queue_push(&c->kept, h);
    c->bytes += hot_bytes(h);

    while (l->spare + 1 < l->count) {
        struct hot *oldest = hot_at(l, l->spare);
        if (l->kept_text_bytes - oldest->text_bytes < HOT_KEEP_TEXT_BYTES)
            break;
        l->kept_text_bytes -= oldest->text_bytes;
        queue_take(&c->kept, oldest);
        queue_push(&c->spare, oldest);
        l->spare++;
    }
    while (c->bytes > c->budget_bytes) {
        struct hot *oldest = c->spare.oldest ? c->spare.oldest : c->kept.oldest;
        list_shift(c, oldest->list);
    }
}

bool hot_find(const struct sandbox *b, uint64_t from_seq, uint32_t *ret_index)
{
    const struct hot_list *l = b->hot;
    if (!l)
        return false;
    /* The first that ends behind from_seq, then back over gaps that stand right before it. */
    uint32_t low = 0, high = l->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct hot *h = hot_at(l, middle);
        if (h->first_seq + h->lines <= from_seq)
            low = middle + 1;
        else
            high = middle;
    }
    while (low > 0 && hot_at(l, low - 1)->lines == 0 && hot_at(l, low - 1)->first_seq == from_seq)
        low--;
    uint64_t first_seq = hot_at(l, 0)->first_seq;
    if (low == 0 && (first_seq > from_seq || (first_seq == from_seq && !l->bare)))
        return false;
    *ret_index = low;
    return true;
}
