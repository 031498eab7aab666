// SPDX-License-Identifier: Apache-2.0
#include "status.h"

#include "options.h"
#include "wire/timestamp.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

static json_t *options_object(void)
{
    char *text = broker_options_json();
    json_t *object = text ? json_loads(text, 0, NULL) : NULL;
    free(text);
    return object;
}

static void consumer_each(void *arg, const struct sl_consumer *c)
{
    json_t *one =
        json_pack("{s:s%, s:s%, s:I, s:I, s:I, s:b}", "consumer", (const char *)c->name.data, c->name.bytes,
                  "checkpoint", (const char *)c->checkpoint.data, c->checkpoint.bytes, "lag_lines",
                  (json_int_t)c->lag_lines, "lag_bytes", (json_int_t)c->lag_bytes, "overruns",
                  (json_int_t)c->overruns, "reading", (int)c->leased);
    json_array_append_new(arg, one);
}

char *status_render(struct home *h, int64_t now_ns)
{
    json_t *consumers = json_array();
    (void)store_consumers(h->store, consumer_each, consumers);
    struct store_stats stats;
    store_stats(h->store, &stats);
    char epoch[17];
    snprintf(epoch, sizeof epoch, "%016" PRIx64, store_epoch(h->store));
    json_t *peers =
        json_pack("{s:I, s:I, s:I}", "collectors", (json_int_t)h->counts.peers[SL_ROLE_COLLECTOR].value,
                  "gateways", (json_int_t)h->counts.peers[SL_ROLE_GATEWAY].value, "tools",
                  (json_int_t)h->counts.peers[SL_ROLE_TOOL].value);
    json_t *store = json_pack("{s:s, s:s?, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "epoch", epoch,
                              "trouble", store_trouble(h->store), "segments", (json_int_t)stats.segments,
                              "bytes", (json_int_t)stats.bytes, "sandboxes", (json_int_t)stats.sandboxes,
                              "hot_bytes", (json_int_t)stats.hot_bytes, "cut_records",
                              (json_int_t)stats.cut_records, "cut_bytes", (json_int_t)stats.cut_bytes,
                              "damaged_blocks", (json_int_t)stats.damaged_blocks, "lost_segments",
                              (json_int_t)stats.lost_segments, "compactions", (json_int_t)stats.compactions);
    json_t *all =
        json_pack("{s:s, s:s, s:I, s:o*, s:I, s:I, s:I, s:o*, s:o*, s:o*}", "daemon", "broker", "version",
                  SL_VERSION, "uptime_seconds", (json_int_t)((now_ns - h->started_ns) / SL_NS_PER_S), "peers",
                  peers, "lines_stored", (json_int_t)h->counts.lines.value, "parked_reads",
                  (json_int_t)h->counts.parked_reads.value, "stopping", (json_int_t)h->counts.stopping.value,
                  "store", store, "consumers", consumers, "configuration", options_object());
    char *text = all ? json_dumps(all, JSON_INDENT(2)) : NULL;
    json_decref(all);
    return text;
}
