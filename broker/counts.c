// SPDX-License-Identifier: Apache-2.0
#include "counts.h"

void counts_register(struct counts *c, struct sl_metrics *m)
{
    static const char *const verdicts[] = {
        [SL_TAKEN] = "verdict=\"taken\"",         [SL_ALREADY] = "verdict=\"already\"",
        [SL_ELSEWHERE] = "verdict=\"elsewhere\"", [SL_BURIED] = "verdict=\"buried\"",
        [SL_REFUSED] = "verdict=\"refused\"",
    };
    static const char *const roles[] = {
        [SL_ROLE_COLLECTOR] = "role=\"collector\"",
        [SL_ROLE_GATEWAY] = "role=\"gateway\"",
        [SL_ROLE_TOOL] = "role=\"tool\"",
    };
    sl_metrics_counter(m, "ingest_lines_total", NULL, "Lines stored.", &c->lines);
    sl_metrics_counter(m, "ingest_text_bytes_total", NULL, "Text stored, with newlines.", &c->text_bytes);
    sl_metrics_counter(m, "ingest_blocks_total", NULL, "Blocks stored.", &c->blocks);
    sl_metrics_counter(m, "ingest_block_bytes_total", NULL, "Size of blocks stored, compressed.",
                       &c->block_bytes);
    sl_metrics_counter(m, "ingest_batches_total", NULL, "Append requests answered.", &c->appends);
    for (unsigned i = SL_TAKEN; i <= SL_REFUSED; i++)
        sl_metrics_counter(m, "ingest_items_total", verdicts[i],
                           "Blocks and changes offered by collectors, by verdict.", &c->items[i]);
    sl_metrics_histogram(m, "ingest_commit_seconds", NULL,
                         "From the arrival of an append request to its durable answer.", &c->append_latency);
    sl_metrics_counter(m, "read_requests_total", NULL, "Reads answered.", &c->reads);
    sl_metrics_counter(m, "read_bytes_total", NULL, "Records given to readers.", &c->read_bytes);
    sl_metrics_histogram(m, "read_seconds", NULL,
                         "From a read's arrival, or the news it waited for, to its answer.",
                         &c->read_latency);
    sl_metrics_counter(m, "export_pages_total", NULL, "Pages given to export consumers.", &c->export_pages);
    sl_metrics_counter(m, "export_bytes_total", NULL, "Records given to export consumers.", &c->export_bytes);
    sl_metrics_counter(m, "export_acks_total", NULL, "Places of export consumers moved durably.",
                       &c->export_acks);
    sl_metrics_counter(m, "export_overrun_total", NULL,
                       "Times that a consumer held more than it may and owed lines were dropped.",
                       &c->export_overruns);
    sl_metrics_counter(m, "refused_requests_total", NULL, "Requests answered with an error.", &c->refused);
    sl_metrics_counter(m, "link_refused_total", NULL,
                       "Connections not let in, for their secret or their certificate.", &c->refused_peers);
    sl_metrics_gauge(m, "parked_reads", NULL, "Reads waiting for news.", &c->parked_reads);
    sl_metrics_gauge(m, "parked_notices", NULL, "Collectors waiting for stops.", &c->parked_notices);
    sl_metrics_gauge(m, "stopping_sandboxes", NULL, "Sandboxes being read to their end.", &c->stopping);
    for (unsigned i = SL_ROLE_COLLECTOR; i <= SL_ROLE_TOOL; i++)
        sl_metrics_gauge(m, "peers", roles[i], "Connected peers, by role.", &c->peers[i]);
    sl_metrics_gauge(m, "store_segments", NULL, "Segment files.", &c->store_segments);
    sl_metrics_gauge(m, "store_bytes", NULL, "Size on disk.", &c->store_bytes);
    sl_metrics_gauge(m, "store_sandboxes", NULL, "Sandboxes known.", &c->store_sandboxes);
    sl_metrics_gauge(m, "store_hot_bytes", NULL, "Newest blocks kept in memory.", &c->store_hot_bytes);
    sl_metrics_gauge(m, "store_trouble", NULL, "1 while nothing can be appended.", &c->store_trouble);
    sl_metrics_counter(m, "store_cut_records_total", NULL, "Torn records cut off at the last start.",
                       &c->store_cut_records);
    sl_metrics_counter(m, "store_cut_bytes_total", NULL, "Bytes cut off at the last start.",
                       &c->store_cut_bytes);
    sl_metrics_counter(m, "store_damaged_blocks_total", NULL, "Damaged blocks met.",
                       &c->store_damaged_blocks);
    sl_metrics_gauge(m, "store_lost_segments", NULL,
                     "Places where segment files are missing, as of the last start.",
                     &c->store_lost_segments);
    sl_metrics_counter(m, "store_commits_total", NULL, "Group commits.", &c->store_commits);
    sl_metrics_counter(m, "store_commit_faults_total", NULL, "Group commits that failed.",
                       &c->store_commit_faults);
    sl_metrics_counter(m, "store_compactions_total", NULL, "Compactions done.", &c->store_compactions);
    sl_metrics_histogram(m, "store_sync_seconds", NULL, "Write and sync of a group of appends.",
                         &c->store_sync);
}

static void set(struct sl_counter *c, uint64_t value)
{
    atomic_store_explicit(&c->value, value, memory_order_relaxed);
}

static void copy(struct sl_histogram *to, const struct sl_histogram *from)
{
    for (unsigned i = 0; i < SL_HISTOGRAM_BUCKETS; i++)
        to->bucket[i] = from->bucket[i];
    to->sum_ns = from->sum_ns;
    to->count = from->count;
}

void counts_refresh(struct counts *c, struct store *store, const struct sl_server *ingest,
                    const struct sl_server *query)
{
    struct store_stats stats;
    store_stats(store, &stats);
    sl_gauge_set(&c->store_segments, (int64_t)stats.segments);
    sl_gauge_set(&c->store_bytes, (int64_t)stats.bytes);
    sl_gauge_set(&c->store_sandboxes, (int64_t)stats.sandboxes);
    sl_gauge_set(&c->store_hot_bytes, (int64_t)stats.hot_bytes);
    sl_gauge_set(&c->store_trouble, store_trouble(store) != NULL);
    sl_gauge_set(&c->store_lost_segments, (int64_t)stats.lost_segments);
    set(&c->store_cut_records, stats.cut_records);
    set(&c->store_cut_bytes, stats.cut_bytes);
    set(&c->store_damaged_blocks, stats.damaged_blocks);
    set(&c->store_commits, stats.commits);
    set(&c->store_commit_faults, stats.commit_faults);
    set(&c->store_compactions, stats.compactions);
    set(&c->export_overruns, stats.export_overruns);
    copy(&c->store_sync, stats.sync_latency);
    for (unsigned role = SL_ROLE_COLLECTOR; role <= SL_ROLE_TOOL; role++)
        sl_gauge_set(&c->peers[role], (int64_t)(sl_server_peers(ingest, (uint8_t)role) +
                                                sl_server_peers(query, (uint8_t)role)));
}
