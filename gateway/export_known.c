// SPDX-License-Identifier: Apache-2.0
#include "export_known.h"
#include <errno.h>
#include <stdlib.h>
#include <xxhash.h>

enum { SLOTS_FIRST = 256 };

/* Open addressing, at most half full; a hash of 0 is a free slot. */
struct export_known {
    struct export_told *slots;
    size_t mask;
    size_t count;
    size_t most;
};

int export_known_new(size_t most, struct export_known **ret)
{
    struct export_known *k = calloc(1, sizeof *k);
    if (!k)
        return -ENOMEM;
    k->most = most;
    k->mask = SLOTS_FIRST - 1;
    k->slots = calloc(SLOTS_FIRST, sizeof *k->slots);
    if (!k->slots) {
        free(k);
        return -ENOMEM;
    }
    *ret = k;
    return 0;
}

void export_known_free(struct export_known *k)
{
    if (!k)
        return;
    free(k->slots);
    free(k);
}

static uint64_t hash_of(struct sl_slice sandbox)
{
    uint64_t hash = XXH3_64bits(sandbox.data, sandbox.bytes);
    return hash ? hash : 1;
}

static struct export_told *slot_of(struct export_told *slots, size_t mask, uint64_t hash)
{
    size_t i = hash & mask;
    while (slots[i].hash && slots[i].hash != hash)
        i = (i + 1) & mask;
    return &slots[i];
}

struct export_told *export_known_find(struct export_known *k, struct sl_slice sandbox)
{
    struct export_told *slot = slot_of(k->slots, k->mask, hash_of(sandbox));
    return slot->hash ? slot : NULL;
}

static void forget_all(struct export_known *k)
{
    memset(k->slots, 0, (k->mask + 1) * sizeof *k->slots);
    k->count = 0;
}

static void widen(struct export_known *k)
{
    size_t mask = 2 * k->mask + 1;
    struct export_told *wider = calloc(mask + 1, sizeof *wider);
    if (!wider) {
        forget_all(k);
        return;
    }
    for (size_t i = 0; i <= k->mask; i++) {
        if (k->slots[i].hash)
            *slot_of(wider, mask, k->slots[i].hash) = k->slots[i];
    }
    free(k->slots);
    k->slots = wider;
    k->mask = mask;
}

void export_known_put(struct export_known *k, struct sl_slice sandbox, const struct export_told *told)
{
    uint64_t hash = hash_of(sandbox);
    struct export_told *slot = slot_of(k->slots, k->mask, hash);
    if (!slot->hash) {
        if (k->count == k->most)
            forget_all(k);
        if (2 * (k->count + 1) > k->mask)
            widen(k);
        slot = slot_of(k->slots, k->mask, hash);
        k->count++;
    }
    *slot = *told;
    slot->hash = hash;
}
