// SPDX-License-Identifier: Apache-2.0
/*
 * The catalog: what gateways ask and say about sandboxes: INFO, LIST, PUT, DELETE. Changes are durable before
 * they are answered. A PUT of "stopped" starts the stop protocol (stops.h); the host of a sandbox is the
 * collectors' word and can't be PUT.
 *
 * Home thread. Each call takes the request and answers it, PUT and DELETE from store_run().
 */
#pragma once
#include "stops.h"

struct catalog;

/* Faults: -ENOMEM. */
int catalog_new(struct store *store, struct stops *stops, struct counts *counts, struct catalog **ret);
void catalog_free(struct catalog *c);
void catalog_info(struct catalog *c, struct sl_request *request);
void catalog_list(struct catalog *c, struct sl_request *request);
void catalog_put(struct catalog *c, struct sl_request *request);
void catalog_delete(struct catalog *c, struct sl_request *request);
/* Changes on their way to the disk. */
size_t catalog_pending(const struct catalog *c);
