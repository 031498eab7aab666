// SPDX-License-Identifier: Apache-2.0
/*
 * What many sandboxes have alike: host, labels, names of containers. Changed rarely, replaced whole, kept
 * once for all sandboxes that have the same, counted. Home thread.
 */
#pragma once
#include "wire/slice.h"

struct details {
    struct details *next; /* of the same bucket */
    uint32_t hash;
    uint32_t holders;
    uint32_t pairs_bytes;
    uint32_t names_bytes;
    uint16_t labels;
    uint16_t host_bytes;
    uint8_t names;
    uint8_t data[]; /* host, pairs, names */
};

struct details_set {
    struct details **buckets;
    size_t mask, count;
};

/* Fault: -ENOMEM. */
int details_init(struct details_set *set);
void details_fini(struct details_set *set);
/* Those, held once more. Fault: -ENOMEM. */
int details_get(struct details_set *set, struct sl_slice host, struct sl_slice pairs, uint16_t labels,
                struct sl_slice names, uint8_t name_count, struct details **ret);
/* Takes NULL. */
void details_put(struct details_set *set, struct details *d);
