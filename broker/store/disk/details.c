// SPDX-License-Identifier: Apache-2.0
#include "details.h"
#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

int details_init(struct details_set *set)
{
    *set = (struct details_set){.mask = 63};
    set->buckets = calloc(set->mask + 1, sizeof(struct details *));
    return set->buckets ? 0 : -ENOMEM;
}

void details_fini(struct details_set *set)
{
    assert(set->count == 0);
    free(set->buckets);
    *set = (struct details_set){0};
}

static uint32_t hash_of(struct sl_slice host, struct sl_slice pairs, struct sl_slice names)
{
    XXH64_hash_t hash = XXH3_64bits_withSeed(host.data, host.bytes, names.bytes);
    hash = XXH3_64bits_withSeed(pairs.data, pairs.bytes, hash);
    return (uint32_t)XXH3_64bits_withSeed(names.data, names.bytes, hash);
}

static bool same(const struct details *d, struct sl_slice host, struct sl_slice pairs, struct sl_slice names)
{
    return sl_slice_equal(sl_slice(d->data, d->host_bytes), host) &&
           sl_slice_equal(sl_slice(d->data + d->host_bytes, d->pairs_bytes), pairs) &&
           sl_slice_equal(sl_slice(d->data + d->host_bytes + d->pairs_bytes, d->names_bytes), names);
}

/* Without memory for it the chains grow longer, nothing else. */
static void widen(struct details_set *set)
{
    size_t mask = set->mask * 2 + 1;
    struct details **wider = calloc(mask + 1, sizeof(struct details *));
    if (!wider)
        return;
    for (size_t i = 0; i <= set->mask; i++) {
        struct details *next;
        for (struct details *d = set->buckets[i]; d; d = next) {
            next = d->next;
            d->next = wider[d->hash & mask];
            wider[d->hash & mask] = d;
        }
    }
    free(set->buckets);
    set->buckets = wider;
    set->mask = mask;
}

int details_get(struct details_set *set, struct sl_slice host, struct sl_slice pairs, uint16_t labels,
                struct sl_slice names, uint8_t name_count, struct details **ret)
{
    uint32_t hash = hash_of(host, pairs, names);
    for (struct details *d = set->buckets[hash & set->mask]; d; d = d->next) {
        if (d->hash == hash && d->labels == labels && d->names == name_count && same(d, host, pairs, names)) {
            d->holders++;
            *ret = d;
            return 0;
        }
    }
    size_t bytes = host.bytes + pairs.bytes + names.bytes;
    /* calloc and not less than the struct: what stands behind `data` is padding. */
    size_t whole = offsetof(struct details, data) + bytes;
    struct details *d = calloc(1, whole < sizeof *d ? sizeof *d : whole);
    if (!d)
        return -ENOMEM;
    d->hash = hash;
    d->holders = 1;
    d->labels = labels;
    d->host_bytes = (uint16_t)host.bytes;
    d->pairs_bytes = (uint32_t)pairs.bytes;
    d->names_bytes = (uint32_t)names.bytes;
    d->names = name_count;
    struct sl_writer w = sl_writer(d->data, bytes);
    sl_write_slice(&w, host);
    sl_write_slice(&w, pairs);
    sl_write_slice(&w, names);
    assert(!w.failed);
    if (set->count > set->mask)
        widen(set);
    d->next = set->buckets[hash & set->mask];
    set->buckets[hash & set->mask] = d;
    set->count++;
    *ret = d;
    return 0;
}

void details_put(struct details_set *set, struct details *d)
{
    if (!d || --d->holders)
        return;
    struct details **at = &set->buckets[d->hash & set->mask];
    while (*at != d)
        at = &(*at)->next;
    *at = d->next;
    set->count--;
    free(d);
}
