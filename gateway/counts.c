// SPDX-License-Identifier: Apache-2.0
#include "counts.h"
#include <errno.h>

int counts_init(struct counts *c)
{
    static const char *const class[] = {"code=\"101\"", "code=\"1xx\"", "code=\"2xx\"",
                                        "code=\"3xx\"", "code=\"4xx\"", "code=\"5xx\""};
    if (sl_metrics_new("sandlog_gateway", &c->metrics) < 0)
        return -ENOMEM;
    struct sl_metrics *m = c->metrics;
    for (size_t i = 0; i < sizeof class / sizeof *class; i++)
        sl_metrics_counter(m, "requests_total", class[i], "Answers by class of status.", &c->requests[i]);
    sl_metrics_counter(m, "lines_total", NULL, "Lines rendered; once for all followers that share them.",
                       &c->lines);
    sl_metrics_counter(m, "sent_bytes_total", NULL, "Bytes handed to readers' sockets.", &c->bytes);
    sl_metrics_counter(m, "writes_total", NULL, "Times that a reader's socket was written to.", &c->writes);
    sl_metrics_counter(m, "pages_total", NULL, "Pages of history asked of the broker.", &c->pages);
    sl_metrics_counter(m, "page_bytes_total", NULL, "Bytes of those pages.", &c->page_bytes);
    sl_metrics_counter(m, "asks_total", NULL, "Standing reads asked of the broker.", &c->asks);
    sl_metrics_counter(m, "blocks_total", NULL, "Blocks that came by standing reads.", &c->blocks);
    sl_metrics_counter(m, "fell_behind_total", NULL,
                       "Followers that were too slow for the lines in memory and went on from storage.",
                       &c->fell_behind);
    sl_metrics_counter(m, "paced_total", NULL, "Writes that waited for --max-bytes-per-token.", &c->paced);
    sl_metrics_gauge(m, "connections_count", NULL, "Requests and WebSockets open now.", &c->connections);
    sl_metrics_gauge(m, "followers_count", NULL, "Readers that follow now.", &c->followers);
    sl_metrics_gauge(m, "feeds_count", NULL, "Sandboxes followed now.", &c->feeds);
    sl_metrics_gauge(m, "feed_memory_bytes", NULL, "Memory of the newest lines of followed sandboxes.",
                     &c->feed_bytes);
    sl_metrics_histogram(m, "first_byte_seconds", NULL, "Request to the first byte of its answer.",
                         &c->first_byte);
    sl_metrics_histogram(m, "first_line_seconds", NULL, "Request to the first lines of its answer.",
                         &c->first_line);
    sl_metrics_histogram(m, "request_duration_seconds", NULL,
                         "Request to the end of its answer, but of streams that follow.", &c->duration);
    sl_metrics_histogram(m, "follow_lag_seconds", NULL,
                         "The broker's commit of a block to the gateway's hand-out of it.", &c->follow_lag);
    return 0;
}

void counts_fini(struct counts *c)
{
    sl_metrics_free(c->metrics);
    c->metrics = NULL;
}
