// SPDX-License-Identifier: Apache-2.0
#include "table.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

enum { FIRST_BUCKETS = 64 };

int table_init(struct table *t)
{
    struct table_node **buckets = calloc(FIRST_BUCKETS, sizeof *buckets);
    if (!buckets)
        return -ENOMEM;
    *t = (struct table){.buckets = buckets, .mask = FIRST_BUCKETS - 1};
    return 0;
}

void table_fini(struct table *t)
{
    free(t->buckets);
    *t = (struct table){0};
}

static void grow(struct table *t)
{
    size_t mask = t->mask * 2 + 1;
    struct table_node **buckets = calloc(mask + 1, sizeof *buckets);
    if (!buckets)
        return;
    for (size_t i = 0; i <= t->mask; i++) {
        struct table_node *node = t->buckets[i];
        while (node) {
            struct table_node *next = node->next;
            node->next = buckets[node->hash & mask];
            buckets[node->hash & mask] = node;
            node = next;
        }
    }
    free(t->buckets);
    t->buckets = buckets;
    t->mask = mask;
}

void table_add(struct table *t, struct table_node *node, uint64_t hash)
{
    if (t->count > t->mask)
        grow(t);
    node->hash = hash;
    node->next = t->buckets[hash & t->mask];
    t->buckets[hash & t->mask] = node;
    t->count++;
}

void table_remove(struct table *t, struct table_node *node)
{
    struct table_node **at = &t->buckets[node->hash & t->mask];
    while (*at != node) {
        assert(*at);
        at = &(*at)->next;
    }
    *at = node->next;
    node->next = NULL;
    t->count--;
}

struct table_node *table_find(const struct table *t, uint64_t hash)
{
    struct table_node *node = t->buckets[hash & t->mask];
    while (node && node->hash != hash)
        node = node->next;
    return node;
}

struct table_node *table_again(const struct table_node *node)
{
    struct table_node *next = node->next;
    while (next && next->hash != node->hash)
        next = next->next;
    return next;
}
