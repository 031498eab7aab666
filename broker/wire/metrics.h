// SPDX-License-Identifier: Apache-2.0
/*
 * Metrics: counters, gauges and latency histograms, rendered as Prometheus text (exposition format 0.0.4).
 * Names are `sandlog_<daemon>_<what>_<unit>[_total]` (API.md 5). Values are atomics: any thread adds, any
 * thread renders; registration is for start-up, on one thread. Histograms have fixed bounds, doubling from 1
 * ms/16 to 64 s.
 */
#pragma once
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct sl_metrics;

struct sl_counter {
    _Atomic uint64_t value;
};
struct sl_gauge {
    _Atomic int64_t value;
};
enum { SL_HISTOGRAM_BUCKETS = 21 }; /* le 62.5 us, 125 us ... 65.536 s, +Inf is the count */
struct sl_histogram {
    _Atomic uint64_t bucket[SL_HISTOGRAM_BUCKETS];
    _Atomic uint64_t count;
    _Atomic uint64_t sum_ns;
};

/* `prefix`: "sandlog_broker". Faults: -ENOMEM. */
int sl_metrics_new(const char *prefix, struct sl_metrics **ret);
void sl_metrics_free(struct sl_metrics *m);
/*
 * Registers a value that the caller embeds and that outlives `m`. `name` without prefix, with unit
 * ("lines_total"); `labels` is NULL or ready text such as `reason="retention"`. Series of one name are
 * registered one after another.
 */
void sl_metrics_counter(struct sl_metrics *m, const char *name, const char *labels, const char *help,
                        struct sl_counter *c);
void sl_metrics_gauge(struct sl_metrics *m, const char *name, const char *labels, const char *help,
                      struct sl_gauge *g);
void sl_metrics_histogram(struct sl_metrics *m, const char *name, const char *labels, const char *help,
                          struct sl_histogram *h);
/* The whole text, malloc'd, NUL-terminated; process_* (CPU, RSS, fds, start) included. NULL without memory.
 */
char *sl_metrics_render(const struct sl_metrics *m);

static inline void sl_count(struct sl_counter *c, uint64_t n)
{
    atomic_fetch_add_explicit(&c->value, n, memory_order_relaxed);
}
static inline void sl_gauge_set(struct sl_gauge *g, int64_t v)
{
    atomic_store_explicit(&g->value, v, memory_order_relaxed);
}
void sl_observe(struct sl_histogram *h, int64_t ns);
