// SPDX-License-Identifier: Apache-2.0
/*
 * Of a start: what the index of a sealed segment says is taken into the table. recover.c says when. Home
 * thread. Faults: as of io.h; -ENOMEM.
 */
#pragma once
#include "wire/slice.h"

struct disk;
struct segment;

/*
 * Takes the states of a sealed segment of `size` bytes. > 0 (FORMAT_MALFORMED): it has no index that can be
 * read; whatever was taken of it is repeated by the scan that follows.
 */
int load_index(struct disk *d, struct segment *s, uint64_t size);
/*
 * A compacted segment without a readable trailer. Its blocks say nothing of lives and sources, so its states
 * are looked for behind them, and each that is whole is taken.
 */
int load_salvage(struct disk *d, struct segment *s, uint64_t size);
/* A CONSUMER record's payload. > 0: malformed. */
int load_consumers(struct disk *d, struct sl_slice payload);
