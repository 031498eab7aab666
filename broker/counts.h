// SPDX-License-Identifier: Apache-2.0
/*
 * What the broker counts, for /metrics and /status. Added to on the home thread, rendered on any.
 */
#pragma once
#include "wire/link_server.h"
#include "wire/metrics.h"

#include "store/store.h"

struct counts {
    struct sl_counter lines, text_bytes, blocks, block_bytes; /* taken ones */
    struct sl_counter appends;                                /* APPEND requests */
    struct sl_counter items[SL_REFUSED + 1];                  /* by verdict */
    struct sl_histogram append_latency; /* from a request's arrival to its durable answer */
    struct sl_counter reads, read_bytes;
    struct sl_histogram
        read_latency; /* of a read: from its arrival, or from the news it waited for, to its answer */
    struct sl_counter export_pages, export_bytes, export_acks;
    struct sl_counter refused;       /* requests answered with an error status */
    struct sl_counter refused_peers; /* not let in, for secret or certificate */
    struct sl_gauge parked_reads, parked_notices, stopping;
    struct sl_gauge peers[SL_ROLE_TOOL + 1]; /* by role */
    struct sl_gauge store_segments, store_bytes, store_sandboxes, store_hot_bytes, store_trouble,
        store_lost_segments;
    struct sl_counter store_cut_records, store_cut_bytes, store_damaged_blocks, store_commits,
        store_commit_faults, store_compactions, export_overruns;
    struct sl_histogram store_sync; /* the engine's, copied: /metrics may be asked while the store closes */
};

void counts_register(struct counts *c, struct sl_metrics *metrics);
/* Takes over what others count. Home thread, now and then. */
void counts_refresh(struct counts *c, struct store *store, const struct sl_server *ingest,
                    const struct sl_server *query);
