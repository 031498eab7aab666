// SPDX-License-Identifier: Apache-2.0
/*
 * A single change or deletion, appended as a batch of its own: what PUT, DELETE and the stop protocol need.
 * The payload is copied. Home thread. `done` comes exactly once, from store_run() or store_close(), and not
 * at all when the call itself failed. Faults: -ENOMEM.
 */
#pragma once
#include "store/store.h"

/* `taken`: it is durable. Otherwise nothing of it is promised. */
typedef void single_done(void *arg, bool taken);

int single_change(struct store *store, const struct sl_change *change, single_done *done, void *arg);
int single_delete(struct store *store, struct sl_slice sandbox, single_done *done, void *arg);
