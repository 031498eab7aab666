// SPDX-License-Identifier: Apache-2.0
#include "export_lives.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>

#define uthash_nonfatal_oom(elt) ((elt)->hashed = false)
#define HASH_NONFATAL_OOM        1
#include <uthash.h>

struct entry {
    struct export_life life;
    json_t *object; /* the slices and labels are parts of it, `json` aside */
    uint8_t *json;
    bool hashed;
    UT_hash_handle hh;
};

struct export_lives {
    struct entry *all;
    uint64_t last_number;
};

struct export_lives *export_lives_new(void)
{
    return calloc(1, sizeof(struct export_lives));
}

static void entry_free(struct entry *entry)
{
    json_decref(entry->object);
    free(entry->json);
    free(entry);
}

static struct entry *find(const struct export_lives *lives, struct sl_slice sandbox)
{
    struct entry *entry;
    HASH_FIND(hh, lives->all, sandbox.data, sandbox.bytes, entry);
    return entry;
}

int export_lives_learn(struct export_lives *lives, const struct export_item *item)
{
    struct entry *entry = calloc(1, sizeof *entry);
    uint8_t *json = malloc(item->json.bytes + 1);
    if (!entry || !json) {
        free(entry);
        free(json);
        return -ENOMEM;
    }
    memcpy(json, item->json.data, item->json.bytes);
    *entry = (struct entry){
        .life = {.number = ++lives->last_number,
                 .sandbox = item->sandbox,
                 .life = item->life,
                 .host = item->host,
                 .labels = item->labels,
                 .json = sl_slice(json, item->json.bytes)},
        .object = json_incref(item->object),
        .json = json,
        .hashed = true,
    };
    struct entry *old = find(lives, item->sandbox);
    if (old) {
        HASH_DEL(lives->all, old);
        entry_free(old);
    }
    HASH_ADD_KEYPTR(hh, lives->all, entry->life.sandbox.data, entry->life.sandbox.bytes, entry);
    if (entry->hashed)
        return 0;
    entry_free(entry);
    return -ENOMEM;
}

const struct export_life *export_lives_find(const struct export_lives *lives, struct sl_slice sandbox)
{
    const struct entry *entry = find(lives, sandbox);
    return entry ? &entry->life : NULL;
}

void export_lives_forget(struct export_lives *lives)
{
    struct entry *entry, *next;
    HASH_ITER(hh, lives->all, entry, next)
    {
        HASH_DEL(lives->all, entry);
        entry_free(entry);
    }
}

void export_lives_free(struct export_lives *lives)
{
    if (!lives)
        return;
    export_lives_forget(lives);
    free(lives);
}
