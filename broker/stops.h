// SPDX-License-Identifier: Apache-2.0
/*
 * The stop protocol: a sandbox said to be stopped is STOPPING until the collector of its host has read its
 * files to the end and says STOPPED, or until nobody can be expected to.
 *
 * Where several brokers share a store, each follows every sandbox that is STOPPING and tells the others once
 * a second (store_tell) whether it has a live collector of its host; who has none waits for who has.
 *
 * Collectors keep a NOTICES request here; it is answered as soon as a sandbox of their host becomes STOPPING.
 * A host is live while such a request is here and for 5 s after. A sandbox whose host is not live for 5 s is
 * set STOPPED from here, and so is one whose live collector has sent nothing of it for 30 s. The list
 * survives a restart: the store knows who is STOPPING.
 *
 * Home thread. Faults: -ENOMEM. Without memory a notice comes late, never not at all: stops_run() finds it.
 */
#pragma once
#include "counts.h"

struct stops;

/* Takes up every sandbox that the store has as STOPPING. `now_ns` here and below is monotonic. */
int stops_new(struct store *store, struct counts *counts, int64_t now_ns, struct stops **ret);
/* Requests that wait here are left to their server. */
void stops_free(struct stops *s);
/* The sandbox may have become STOPPING: looks. */
void stops_look(struct stops *s, struct sl_slice sandbox, int64_t now_ns);
/* From the store's `grown`. */
void stops_grown(struct stops *s, struct sl_slice sandbox, int64_t now_ns);
/* From the store's `told`: another broker's word. */
void stops_told(struct stops *s, struct sl_slice note, int64_t now_ns);
/* A NOTICES request; it is answered sooner or later. */
void stops_notices(struct stops *s, struct sl_request *request, int64_t now_ns);
/* How many collectors of the host are connected here. */
size_t stops_collectors(const struct stops *s, struct sl_slice host);
/* Deadlines; returns when to call again at the latest. */
int64_t stops_run(struct stops *s, int64_t now_ns);
