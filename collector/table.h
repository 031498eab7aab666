// SPDX-License-Identifier: Apache-2.0
/*
 * A hash table of things that embed its node: by id, by name, by watch descriptor. The table owns nothing and
 * compares nothing: table_find() gives every node of a hash, the caller looks which one is meant. It grows by
 * doubling; when there is no memory for that, chains get longer instead. Home thread.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

struct table_node {
    struct table_node *next;
    uint64_t hash;
};

struct table {
    struct table_node **buckets;
    size_t mask;
    size_t count;
};

/* -ENOMEM. */
int table_init(struct table *t);
void table_fini(struct table *t);
void table_add(struct table *t, struct table_node *node, uint64_t hash);
void table_remove(struct table *t, struct table_node *node);
/* First node with this hash, and the next one with the same; NULL at the end. */
struct table_node *table_find(const struct table *t, uint64_t hash);
struct table_node *table_again(const struct table_node *node);

#define table_owner(node, type, member) ((type *)(void *)((char *)(node)-offsetof(type, member)))
