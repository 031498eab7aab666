// SPDX-License-Identifier: Apache-2.0
/*
 * Export: SCAN, LEASE, ACK, CONSUMERS and FORGET. A scan that waits is parked and looked at again when the
 * store has grown, and every 250 ms (store.h). The broker keeps nothing of a consumer but who waits: places
 * are the store's. Home thread. Faults: -ENOMEM. Whatever can't be given is answered with a status.
 */
#pragma once
#include "counts.h"

struct exports;

int exports_new(struct store *store, struct counts *counts, struct exports **ret);
/* Requests that wait here are left to their server. */
void exports_free(struct exports *e);
void exports_scan(struct exports *e, struct sl_request *request, int64_t now_ns);
void exports_lease(struct exports *e, struct sl_request *request);
void exports_ack(struct exports *e, struct sl_request *request);
void exports_list(struct exports *e, struct sl_request *request);
void exports_forget(struct exports *e, struct sl_request *request);
/* From the store's `grown`. */
void exports_grown(struct exports *e);
/* After store_run(): who waited for news gets them. */
void exports_wake(struct exports *e, int64_t now_ns);
/* Deadlines; returns when to call again at the latest. */
int64_t exports_run(struct exports *e, int64_t now_ns);
/* Ends all that wait. */
void exports_end(struct exports *e);
/* Requests whose change is not durable yet. */
size_t exports_pending(const struct exports *e);

/*
 * What each consumer is behind, as Prometheus text for sl_ops_set_more(), malloc'd; NULL without memory. Logs
 * consumers that held more than they may and lost by it, once each time.
 */
char *exports_metrics(struct exports *e);
