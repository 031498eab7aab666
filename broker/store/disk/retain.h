// SPDX-License-Identifier: Apache-2.0
/*
 * Retention: by age and by bytes whole segments are dropped, the oldest first; of one sandbox with more text
 * than it may keep, the oldest blocks are given up at once (unreadable) and leave the disk with the next
 * compaction. At least what the options say is kept, at most twice.
 *
 * A segment is dropped in two steps: first the states that stand nowhere else are written anew into the
 * active segment; once that is durable, the file is unlinked. Home thread.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct disk;
struct sandbox;
struct segment;

/* Drops what is due; called when something was sealed, and now and then. */
void retain_run(struct disk *d, int64_t now_ns);
/* The sandbox has grown. */
void retain_sandbox(struct disk *d, struct sandbox *b);
/* The states that a drop needs are durable, or could not be written. */
void retain_stated(struct disk *d, int fault);
/* True when the active segment has become too old to wait until it is full. */
bool retain_rolls(const struct disk *d, const struct segment *s, int64_t now_ns);
