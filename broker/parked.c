// SPDX-License-Identifier: Apache-2.0
#include "parked.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define HASH_NONFATAL_OOM        1
#define uthash_nonfatal_oom(elt) ((elt)->hashed = false)
#include <uthash.h>
#include <utlist.h>

/* A sandbox that somebody waits for. */
struct parked_name {
    struct parked_entry *entries;
    UT_hash_handle hh;
    bool hashed;
    uint8_t bytes;
    uint8_t id[SL_ID_MAX_BYTES];
};

struct peer {
    uint32_t id;
    uint32_t reads;
    bool hashed;
    UT_hash_handle hh;
};

struct parked {
    struct parked_name *names;
    struct peer *peers;
    struct parked_read *reads;
    struct parked_read *woken;
    size_t count;
};

int parked_new(struct parked **ret)
{
    struct parked *p = calloc(1, sizeof *p);
    if (!p)
        return -ENOMEM;
    *ret = p;
    return 0;
}

void parked_free(struct parked *p)
{
    if (!p)
        return;
    while (p->reads) {
        struct parked_read *read = p->reads;
        parked_remove(p, read);
        free(read);
    }
    assert(!p->names && !p->peers);
    free(p);
}

struct parked_read *parked_read_new(uint16_t count)
{
    struct parked_read *read = calloc(1, sizeof *read + count * sizeof read->entries[0]);
    if (!read)
        return NULL;
    read->count = count;
    for (uint16_t i = 0; i < count; i++)
        read->entries[i].read = read;
    return read;
}

static struct parked_name *name_get(struct parked *p, struct sl_slice id)
{
    struct parked_name *name;
    HASH_FIND(hh, p->names, id.data, id.bytes, name);
    if (name)
        return name;
    assert(id.bytes <= SL_ID_MAX_BYTES);
    name = calloc(1, sizeof *name);
    if (!name)
        return NULL;
    memcpy(name->id, id.data, id.bytes);
    name->bytes = (uint8_t)id.bytes;
    name->hashed = true;
    HASH_ADD_KEYPTR(hh, p->names, name->id, name->bytes, name);
    if (!name->hashed) {
        free(name);
        return NULL;
    }
    return name;
}

static struct peer *peer_get(struct parked *p, uint32_t id)
{
    struct peer *peer;
    HASH_FIND(hh, p->peers, &id, sizeof id, peer);
    if (peer)
        return peer;
    peer = calloc(1, sizeof *peer);
    if (!peer)
        return NULL;
    peer->id = id;
    peer->hashed = true;
    HASH_ADD(hh, p->peers, id, sizeof peer->id, peer);
    if (!peer->hashed) {
        free(peer);
        return NULL;
    }
    return peer;
}

static void peer_put(struct parked *p, struct peer *peer)
{
    if (peer->reads > 0)
        return;
    HASH_DEL(p->peers, peer);
    free(peer);
}

static void unindex(struct parked *p, struct parked_read *read)
{
    for (uint16_t i = 0; i < read->count; i++) {
        struct parked_entry *entry = &read->entries[i];
        struct parked_name *name = entry->name;
        if (!name)
            continue;
        // NOLINTBEGIN(clang-analyzer-core.NullDereference): the analyzer does not know what lists and tables
        // keep
        DL_DELETE(name->entries, entry);
        entry->name = NULL;
        if (!name->entries) {
            HASH_DEL(p->names, name);
            // NOLINTEND(clang-analyzer-core.NullDereference)
            free(name);
        }
    }
}

int parked_add(struct parked *p, struct parked_read *read)
{
    struct peer *peer = peer_get(p, read->request->peer);
    if (!peer)
        return -ENOMEM;
    if (peer->reads >= PARKED_OF_PEER_MAX)
        return PARKED_FULL;
    for (uint16_t i = 0; i < read->count; i++) {
        struct parked_entry *entry = &read->entries[i];
        struct parked_name *name = name_get(p, entry->sandbox);
        if (!name) {
            unindex(p, read);
            peer_put(p, peer);
            return -ENOMEM;
        }
        entry->name = name;
        DL_APPEND(name->entries, entry);
    }
    peer->reads++;
    DL_APPEND(p->reads, read);
    p->count++;
    return 0;
}

static void sleep_again(struct parked *p, struct parked_read *read)
{
    if (read->news_ns != 0)
        DL_DELETE2(p->woken, read, woken_prev, woken_next);
    read->news_ns = 0;
}

void parked_remove(struct parked *p, struct parked_read *read)
{
    sleep_again(p, read);
    unindex(p, read);
    DL_DELETE(p->reads, read);
    p->count--;
    struct peer *peer = peer_get(p, read->request->peer);
    assert(peer && peer->reads > 0);
    peer->reads--;
    peer_put(p, peer);
}

void parked_grown(struct parked *p, struct sl_slice sandbox, int64_t now_ns)
{
    struct parked_name *name;
    HASH_FIND(hh, p->names, sandbox.data, sandbox.bytes, name);
    if (!name)
        return;
    struct parked_entry *entry;
    DL_FOREACH(name->entries, entry)
    {
        entry->news = true;
        struct parked_read *read = entry->read;
        if (read->news_ns != 0)
            continue;
        read->news_ns = now_ns;
        DL_APPEND2(p->woken, read, woken_prev, woken_next);
    }
}

struct parked_read *parked_woken(struct parked *p, int64_t *ret_news_ns)
{
    struct parked_read *read = p->woken;
    if (!read)
        return NULL;
    *ret_news_ns = read->news_ns;
    sleep_again(p, read);
    return read;
}

struct parked_read *parked_next(struct parked *p, struct parked_read *read)
{
    return read ? read->next : p->reads;
}

size_t parked_count(const struct parked *p)
{
    return p->count;
}
