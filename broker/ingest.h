// SPDX-License-Identifier: Apache-2.0
/*
 * Ingest: what collectors bring. APPEND: every block's checksum is checked before the store sees it; one
 * request is one batch of the store, answered with a verdict per item when it is durable. An item that is not
 * sound is refused alone. SOURCES: where sources stand. MINE: which sandboxes run on a host.
 *
 * Memory is bounded: while INGEST_ITEMS_MAX items are on their way to the disk, ingest_has_room() is false
 * and no further request may be taken (the link then holds the collectors back).
 *
 * Home thread. Each call takes the request and answers it, APPEND from store_run().
 */
#pragma once
#include "counts.h"

enum {
    INGEST_REQUEST_ITEMS_MAX = 16384, /* in one request; more is not a collector of ours */
    INGEST_ITEMS_MAX = 32768,
};

struct ingest;

/* Faults: -ENOMEM. */
int ingest_new(struct store *store, struct counts *counts, struct ingest **ret);
void ingest_free(struct ingest *in);
bool ingest_has_room(const struct ingest *in);
void ingest_append(struct ingest *in, struct sl_request *request);
void ingest_sources(struct ingest *in, struct sl_request *request);
/*
 * MINE: the sandboxes that the store has as running on the asker's host, so that a collector that was away
 * when their files were removed can say that they are over. While other than one collector of the host is
 * connected, nobody knows whose they are: it is told to ask again.
 */
void ingest_mine(struct ingest *in, struct sl_request *request, size_t collectors);
/* Append requests on their way to the disk. */
size_t ingest_pending(const struct ingest *in);
