// SPDX-License-Identifier: Apache-2.0
#include "sandbox.h"
#include "segment.h"
#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

enum { REHASH_AHEAD = 16 };
static_assert(sizeof(struct entry) == 32, "an entry is the same in memory and on disk");

int table_init(struct table *t)
{
    *t = (struct table){.mask = 255};
    t->buckets = calloc(t->mask + 1, sizeof(struct sandbox *));
    return t->buckets ? details_init(&t->details) : -ENOMEM;
}

static void sandbox_free(struct table *t, struct sandbox *b)
{
    sandbox_drop_extents(b);
    if (b->sources != &b->one_source)
        free(b->sources);
    details_put(&t->details, b->details);
    free(b);
}

void table_fini(struct table *t)
{
    for (size_t i = 0; t->buckets && i <= t->mask; i++) {
        while (t->buckets[i]) {
            struct sandbox *b = t->buckets[i];
            t->buckets[i] = b->next;
            sandbox_free(t, b);
        }
    }
    free(t->buckets);
    free(t->by_birth);
    details_fini(&t->details);
    *t = (struct table){0};
}

static uint32_t hash_of(struct sl_slice id)
{
    return (uint32_t)XXH3_64bits(id.data, id.bytes);
}

struct sl_slice sandbox_id(const struct sandbox *b)
{
    return sl_slice(b->id, b->id_bytes);
}

struct sandbox *table_find(const struct table *t, struct sl_slice id)
{
    uint32_t hash = hash_of(id);
    struct sandbox *b = t->buckets[hash & t->mask];
    while (b && (b->hash != hash || !sl_slice_equal(sandbox_id(b), id)))
        b = b->next;
    return b;
}

/* Without memory for it the chains grow longer, nothing else. */
static void table_rehash(struct table *t, size_t mask)
{
    struct sandbox **wider = calloc(mask + 1, sizeof(struct sandbox *));
    if (!wider)
        return;
    for (size_t i = 0; i <= t->mask; i++) {
        if (i + REHASH_AHEAD <= t->mask)
            __builtin_prefetch(t->buckets[i + REHASH_AHEAD]);
        while (t->buckets[i]) {
            struct sandbox *b = t->buckets[i];
            t->buckets[i] = b->next;
            b->next = wider[b->hash & mask];
            wider[b->hash & mask] = b;
        }
    }
    free(t->buckets);
    t->buckets = wider;
    t->mask = mask;
}

void table_expect(struct table *t, size_t count)
{
    size_t mask = t->mask;
    while (count > mask + 1)
        mask = mask * 2 + 1;
    if (mask > t->mask)
        table_rehash(t, mask);
}

void table_fetch(const struct table *t, const struct sl_slice ids[], size_t count)
{
    uint32_t hash[TABLE_FETCH_MOST];
    assert(count <= TABLE_FETCH_MOST);
    for (size_t i = 0; i < count; i++) {
        hash[i] = hash_of(ids[i]);
        __builtin_prefetch(&t->buckets[hash[i] & t->mask]);
    }
    for (size_t i = 0; i < count; i++)
        __builtin_prefetch(t->buckets[hash[i] & t->mask]);
    for (size_t i = 0; i < count; i++) {
        const struct sandbox *b = t->buckets[hash[i] & t->mask];
        for (size_t line = 64; b && b->hash == hash[i] && line < sizeof *b; line += 64)
            __builtin_prefetch((const char *)b + line);
    }
}

/* ---- loading ---- */

/* The birth beside the pointer: a million look-ups in the sandboxes themselves, times the depth of the sort,
 * took two seconds. */
struct born {
    uint64_t birth;
    struct sandbox *sandbox;
};

static int compare_births(const void *left, const void *right)
{
    const struct born *a = left, *b = right;
    return (a->birth > b->birth) - (a->birth < b->birth);
}

static int sort_by_birth(struct table *t)
{
    struct born *all = malloc((t->alive + 1) * sizeof *all);
    if (!all)
        return -ENOMEM;
    for (size_t i = 0; i < t->alive; i++)
        all[i] = (struct born){t->by_birth[i]->birth, t->by_birth[i]};
    qsort(all, t->alive, sizeof *all, compare_births);
    for (size_t i = 0; i < t->alive; i++)
        t->by_birth[i] = all[i].sandbox;
    free(all);
    return 0;
}

void table_load(struct table *t)
{
    assert(t->count == 0);
    t->loading = true;
}

int table_loaded(struct table *t)
{
    bool ordered = true;
    uint64_t last = 0;
    /* Most were born in the order they came. */
    for (size_t i = 0; i < t->count; i++) {
        struct sandbox *b = t->by_birth[i];
        if (!b->alive)
            continue;
        ordered = ordered && b->birth > last;
        last = b->birth;
        t->by_birth[t->alive++] = b;
    }
    int fault = ordered ? 0 : sort_by_birth(t);
    if (fault)
        return fault;
    struct sandbox **fitting = realloc(t->by_birth, (t->count + 1) * sizeof(struct sandbox *));
    if (!fitting)
        return -ENOMEM;
    t->by_birth = fitting;
    t->alive_capacity = t->count + 1;
    t->loading = false;
    size_t mask = t->mask;
    while (mask > 255 && mask / 2 >= t->count)
        mask /= 2;
    if (mask < t->mask)
        table_rehash(t, mask);
    return 0;
}

static int grow_by_birth(struct table *t)
{
    size_t capacity = t->alive_capacity ? t->alive_capacity * 2 : 64;
    struct sandbox **wider = realloc(t->by_birth, capacity * sizeof(struct sandbox *));
    if (!wider)
        return -ENOMEM;
    t->by_birth = wider;
    t->alive_capacity = capacity;
    return 0;
}

int table_get(struct table *t, struct sl_slice id, struct sandbox **ret)
{
    struct sandbox *b = table_find(t, id);
    if (b) {
        *ret = b;
        return 0;
    }
    assert(id.bytes <= SL_ID_MAX_BYTES);
    if (t->loading && t->count == t->alive_capacity) {
        int fault = grow_by_birth(t);
        if (fault)
            return fault;
    }
    size_t bytes = offsetof(struct sandbox, id) + id.bytes;
    b = calloc(1, bytes < sizeof *b ? sizeof *b : bytes);
    if (!b)
        return -ENOMEM;
    b->hash = hash_of(id);
    b->floor_ns = INT64_MIN;
    b->kept_from = 1;
    b->state = SL_RUNNING;
    b->id_bytes = (uint8_t)id.bytes;
    b->sources = &b->one_source;
    b->extents = &b->one_extent;
    memcpy(b->id, id.data, id.bytes);
    if (t->count > t->mask)
        table_rehash(t, t->mask * 2 + 1);
    b->next = t->buckets[b->hash & t->mask];
    t->buckets[b->hash & t->mask] = b;
    if (t->loading)
        t->by_birth[t->count] = b;
    t->count++;
    *ret = b;
    return 0;
}

static size_t birth_slot(const struct table *t, uint64_t birth)
{
    size_t low = 0, high = t->alive;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (t->by_birth[middle]->birth < birth)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void birth_remove(struct table *t, const struct sandbox *b)
{
    if (t->loading)
        return;
    size_t at = birth_slot(t, b->birth);
    assert(at < t->alive && t->by_birth[at] == b);
    memmove(&t->by_birth[at], &t->by_birth[at + 1], (t->alive - at - 1) * sizeof(struct sandbox *));
    t->alive--;
}

int table_reserve_birth(struct table *t)
{
    return t->loading || t->alive < t->alive_capacity ? 0 : grow_by_birth(t);
}

void table_insert_birth(struct table *t, struct sandbox *b)
{
    if (!t->loading) {
        size_t at = birth_slot(t, b->birth);
        memmove(&t->by_birth[at + 1], &t->by_birth[at], (t->alive - at) * sizeof(struct sandbox *));
        t->by_birth[at] = b;
        t->alive++;
    }
    b->alive = true;
    if (b->birth > t->last_birth)
        t->last_birth = b->birth;
}

void table_remove_birth(struct table *t, struct sandbox *b)
{
    birth_remove(t, b);
    b->alive = false;
}

void table_remove(struct table *t, struct sandbox *b)
{
    if (b->alive)
        birth_remove(t, b);
    struct sandbox **at = &t->buckets[b->hash & t->mask];
    while (*at != b)
        at = &(*at)->next;
    *at = b->next;
    t->count--;
    /* While it is loading, one goes that has just come and is nothing after all. */
    assert(!t->loading || t->by_birth[t->count] == b);
    sandbox_free(t, b);
}

struct source *sandbox_source(const struct sandbox *b, const uint8_t key[16])
{
    for (uint16_t i = 0; i < b->source_count; i++) {
        if (memcmp(b->sources[i].key, key, 16) == 0)
            return &b->sources[i];
    }
    return NULL;
}

/* `elements` of `size` at *all, of which `count` are in use, become room for `wanted`; `one` is the sandbox's
 * own. */
static int array_reserve(void **all, void *one, size_t count, size_t wanted, size_t size)
{
    if (wanted <= 1)
        return 0;
    void *wider = realloc(*all == one ? NULL : *all, wanted * size);
    if (!wider)
        return -ENOMEM;
    if (*all == one)
        memcpy(wider, one, count * size);
    *all = wider;
    return 0;
}

int sandbox_sources_reserve(struct sandbox *b, uint16_t count)
{
    void *all = b->sources;
    int fault = array_reserve(&all, &b->one_source, b->source_count, count, sizeof *b->sources);
    b->sources = all;
    return fault;
}

int sandbox_extents_reserve(struct sandbox *b, uint32_t count)
{
    void *all = b->extents;
    int fault = array_reserve(&all, &b->one_extent, b->extent_count, count, sizeof *b->extents);
    b->extents = all;
    return fault;
}

int sandbox_source_get(struct sandbox *b, const uint8_t key[16], struct source **ret)
{
    struct source *s = sandbox_source(b, key);
    if (!s) {
        if (b->source_count == UINT16_MAX)
            return -ENOMEM;
        int fault = sandbox_sources_reserve(b, (uint16_t)(b->source_count + 1));
        if (fault)
            return fault;
        s = &b->sources[b->source_count++];
        *s = (struct source){0};
        memcpy(s->key, key, 16);
    }
    *ret = s;
    return 0;
}

void sandbox_drop_extents(struct sandbox *b)
{
    for (uint32_t i = 0; i < b->extent_count; i++) {
        b->extents[i].segment->dead_text_bytes += b->extents[i].text_bytes;
        if (b->extents[i].capacity)
            free(b->extents[i].entries);
    }
    b->kept_text_bytes = 0;
    if (b->extents != &b->one_extent)
        free(b->extents);
    b->extents = &b->one_extent;
    b->extent_count = 0;
}

uint64_t sandbox_oldest(const struct sandbox *b)
{
    for (uint32_t i = 0; i < b->extent_count; i++) {
        uint64_t first = b->extents[i].first_seq;
        if (b->extents[i].count && first <= b->last_seq)
            return first > b->kept_from ? first : b->kept_from;
    }
    return b->last_seq + 1;
}

void sandbox_place(const struct sandbox *b, struct sl_place *ret)
{
    *ret = (struct sl_place){
        .birth = b->birth,
        .oldest_seq = sandbox_oldest(b),
        .last_seq = b->last_seq,
        .lost = b->lost,
        .version = b->version,
        .state = b->state,
        .has_exit = b->has_exit,
        .exit_code = b->exit_code,
    };
}

void sandbox_info(const struct sandbox *b, struct sl_info *ret)
{
    *ret = (struct sl_info){
        .sandbox = sandbox_id(b),
        .first_time_ns = b->first_time_ns,
        .last_time_ns = b->last_time_ns,
        .created_ns = b->created_ns,
        .lines = b->last_seq,
        .bytes = b->text_bytes,
    };
    sandbox_place(b, &ret->place);
    const struct details *d = b->details;
    if (d) {
        ret->host = sl_slice(d->data, d->host_bytes);
        ret->labels = d->labels;
        ret->label_pairs = sl_slice(d->data + d->host_bytes, d->pairs_bytes);
        ret->containers = d->names;
        ret->container_names = sl_slice(d->data + d->host_bytes + d->pairs_bytes, d->names_bytes);
    }
}
