// SPDX-License-Identifier: Apache-2.0
/*
 * Which sandboxes an export's answer has told about, so that host and labels are told once and again when
 * they have changed. Bounded: when it is full it forgets all, and they are told anew. Pure, one thread at a
 * time.
 */
#pragma once
#include "wire/slice.h"

struct export_known;
struct export_told {
    uint64_t hash; /* of the id */
    uint64_t birth;
    uint64_t content;  /* hash of what was told */
    uint64_t last_seq; /* highest number given; 0: none */
    uint32_t version;
    bool gone; /* deleted: its lines are not given */
};

/* Fault: -ENOMEM. */
int export_known_new(size_t most, struct export_known **ret);
void export_known_free(struct export_known *k);
/* NULL when nothing is known; borrowed until the next put. */
struct export_told *export_known_find(struct export_known *k, struct sl_slice sandbox);
/* In place of what was known of it. Without memory it is forgotten. */
void export_known_put(struct export_known *k, struct sl_slice sandbox, const struct export_told *told);
