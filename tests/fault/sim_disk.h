// SPDX-License-Identifier: Apache-2.0
/*
 * What a simulated disk is made of: files whose content as seen stands apart from what is durable of it, and
 * the deeds between the two; names likewise. sim_io.c makes an io of them. Without memory they abort.
 */
#pragma once
#include "sim_io.h"

enum { SIM_FILES = 256 };

struct bytes {
    uint8_t *data;
    size_t size, capacity;
};

/* Something done to a file since its last sync. */
struct deed {
    struct deed *next;
    bool truncate;
    uint64_t at; /* or the size */
    size_t size;
    uint8_t data[];
};

struct node {
    struct bytes seen; /* what reads give */
    struct bytes durable;
    struct deed *deeds, **deeds_end;
    unsigned refs;               /* names, durable names, handles */
    uint64_t hurt_from, hurt_to; /* reads of these bytes fail */
};

struct name {
    char text[IO_NAME_MAX_BYTES + 1]; /* empty: none */
    struct node *node;
};

/* Something done to the directory since its last sync. */
struct rename {
    struct rename *next;
    char from[IO_NAME_MAX_BYTES + 1]; /* empty: created */
    char to[IO_NAME_MAX_BYTES + 1];   /* empty: unlinked */
    struct node *node;
};

/* The disk's own memory: never failed by a test that fails the store's. Zeroed. */
void *must(size_t bytes);
void bytes_resize(struct bytes *b, size_t size);
void bytes_write(struct bytes *b, uint64_t at, const uint8_t *data, size_t size);
void bytes_copy(struct bytes *to, const struct bytes *from);
struct node *node_new(void);
void deeds_free(struct node *n);
void node_unref(struct node *n);
void node_deed(struct node *n, bool truncate, uint64_t at, const void *data, size_t size);
void deed_apply(const struct deed *d, struct bytes *to);
struct name *name_find(struct name *names, const char *text);
void name_set(struct name *names, const char *text, struct node *n);
void name_remove(struct name *names, const char *text);
void rename_apply(const struct rename *r, struct name *names);
