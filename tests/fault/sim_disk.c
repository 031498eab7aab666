// SPDX-License-Identifier: Apache-2.0
#include "sim_disk.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

volatile bool sim_inside;

void *must(size_t bytes)
{
    sim_inside = true;
    void *memory = calloc(1, bytes);
    sim_inside = false;
    if (!memory)
        abort();
    return memory;
}

/* ---- bytes, nodes ---- */

void bytes_resize(struct bytes *b, size_t size)
{
    if (size > b->capacity) {
        b->capacity = size * 2;
        uint8_t *wider = must(b->capacity);
        if (b->size)
            memcpy(wider, b->data, b->size);
        free(b->data);
        b->data = wider;
    }
    if (size > b->size)
        memset(b->data + b->size, 0, size - b->size);
    b->size = size;
}

void bytes_write(struct bytes *b, uint64_t at, const uint8_t *data, size_t size)
{
    if (at + size > b->size)
        bytes_resize(b, at + size);
    memcpy(b->data + at, data, size);
}

void bytes_copy(struct bytes *to, const struct bytes *from)
{
    bytes_resize(to, from->size);
    if (from->size)
        memcpy(to->data, from->data, from->size);
}

struct node *node_new(void)
{
    struct node *n = must(sizeof *n);
    n->deeds_end = &n->deeds;
    return n;
}

void deeds_free(struct node *n)
{
    while (n->deeds) {
        struct deed *d = n->deeds;
        n->deeds = d->next;
        free(d);
    }
    n->deeds_end = &n->deeds;
}

void node_unref(struct node *n)
{
    if (--n->refs > 0)
        return;
    deeds_free(n);
    free(n->seen.data);
    free(n->durable.data);
    free(n);
}

void node_deed(struct node *n, bool truncate, uint64_t at, const void *data, size_t size)
{
    struct deed *d = must(sizeof *d + size);
    *d = (struct deed){.truncate = truncate, .at = at, .size = size};
    if (size)
        memcpy(d->data, data, size);
    *n->deeds_end = d;
    n->deeds_end = &d->next;
}

void deed_apply(const struct deed *d, struct bytes *to)
{
    if (d->truncate)
        bytes_resize(to, d->at);
    else
        bytes_write(to, d->at, d->data, d->size);
}

/* ---- names ---- */

struct name *name_find(struct name *names, const char *text)
{
    for (int i = 0; i < SIM_FILES; i++) {
        if (names[i].text[0] && strcmp(names[i].text, text) == 0)
            return &names[i];
    }
    return NULL;
}

void name_set(struct name *names, const char *text, struct node *n)
{
    struct name *at = name_find(names, text);
    if (at) {
        node_unref(at->node);
    } else {
        for (at = names; at->text[0]; at++)
            assert(at < names + SIM_FILES - 1);
        strcpy(at->text, text);
    }
    at->node = n;
    n->refs++;
}

void name_remove(struct name *names, const char *text)
{
    struct name *at = name_find(names, text);
    if (at) {
        node_unref(at->node);
        *at = (struct name){0};
    }
}

void rename_apply(const struct rename *r, struct name *names)
{
    if (r->to[0])
        name_set(names, r->to, r->node);
    if (r->from[0])
        name_remove(names, r->from);
}
