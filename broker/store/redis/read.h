// SPDX-License-Identifier: Apache-2.0
/* What reading and watching share. Home thread. */
#pragma once
#include "redis.h"

enum { GAP_BYTES = 1024 };

/*
 * Notes how a sandbox was found by a read: it is looked after for a while, and must not fall behind. -EAGAIN:
 * it has; it will have another birth soon, until then nothing of it is shown.
 */
int watched_see(struct redis *r, const struct life *l);
