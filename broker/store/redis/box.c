// SPDX-License-Identifier: Apache-2.0
#include "box.h"
#include <errno.h>
#include <stdalign.h>
#include <stddef.h>
#include <stdlib.h>

static struct box **bucket_of(struct boxes *all, struct sl_slice id)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < id.bytes; i++)
        hash = (hash ^ id.data[i]) * 16777619u;
    return &all->buckets[(hash ^ hash >> 15) % BOX_BUCKETS];
}

struct box *boxes_get(struct boxes *all, struct sl_slice id)
{
    struct box **bucket = bucket_of(all, id);
    for (struct box *b = *bucket; b; b = b->next)
        if (sl_slice_equal(life_id(&b->life), id))
            return b;
    struct box *b = calloc(1, sizeof *b);
    if (!b)
        return NULL;
    life_init(&b->life, id);
    b->next = *bucket;
    *bucket = b;
    all->count++;
    return b;
}

static void box_free(struct box *b)
{
    life_clear(&b->life);
    call_end(&b->call);
    free(b->items);
    free(b);
}

static void drop(struct boxes *all, bool every)
{
    for (size_t i = 0; i < BOX_BUCKETS; i++) {
        struct box **at = &all->buckets[i];
        while (*at) {
            struct box *b = *at;
            if (!every && b->in_round) {
                at = &b->next;
                continue;
            }
            *at = b->next;
            box_free(b);
            all->count--;
        }
    }
}

void boxes_trim(struct boxes *all)
{
    if (all->count > BOXES_MAX)
        drop(all, false);
}

void boxes_free(struct boxes *all)
{
    drop(all, true);
}

int box_add(struct box *b, struct store_item *item)
{
    if (b->item_count == b->item_capacity) {
        size_t capacity = b->item_capacity ? 2 * b->item_capacity : 4;
        struct store_item **items = realloc(b->items, capacity * sizeof *items);
        if (!items)
            return -ENOMEM;
        b->items = items;
        b->item_capacity = capacity;
    }
    b->items[b->item_count++] = item;
    return 0;
}

/* ---- arena ---- */

enum { CHUNK_BYTES = 64 << 10 };

struct arena_chunk {
    struct arena_chunk *next;
    size_t used, capacity;
    alignas(max_align_t) uint8_t data[];
};

void *arena_get(struct arena *a, size_t bytes)
{
    bytes = (bytes + 15) & ~(size_t)15;
    struct arena_chunk *c = a->chunks;
    if (!c || c->capacity - c->used < bytes) {
        size_t capacity = bytes > CHUNK_BYTES ? bytes : CHUNK_BYTES;
        c = malloc(sizeof *c + capacity);
        if (!c)
            return NULL;
        c->next = a->chunks;
        c->used = 0;
        c->capacity = capacity;
        a->chunks = c;
    }
    void *at = c->data + c->used;
    c->used += bytes;
    return at;
}

void arena_free(struct arena *a)
{
    while (a->chunks) {
        struct arena_chunk *next = a->chunks->next;
        free(a->chunks);
        a->chunks = next;
    }
}
