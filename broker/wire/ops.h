// SPDX-License-Identifier: Apache-2.0
/*
 * Operations pages of collector and broker over HTTP (API.md 5): GET /healthz, /readyz, /metrics, /status,
 * and POST paths the daemon adds. Built on nng's HTTP server; its threads read only what the home thread
 * published (under ops' own lock).
 */
#pragma once
#include "wire/mailbox.h"
#include "wire/metrics.h"

struct sl_ops;

/* `address` is HOST:PORT; port 0 takes a free one. Faults: -EADDRINUSE, -EACCES, -EINVAL, -ENOMEM, -EMFILE,
 * or the system's. */
int sl_ops_new(const char *address, struct sl_metrics *metrics, struct sl_ops **ret);
/* POSTs that wait are answered 503; their calls stay valid until sl_ops_answer(), which then only frees them.
 */
void sl_ops_free(struct sl_ops *o);
/* The port it listens on. */
uint16_t sl_ops_port(const struct sl_ops *o);
/* NULL: ready. Else /readyz answers 503 with this sentence. Copied. Any thread. */
void sl_ops_set_missing(struct sl_ops *o, const char *missing);
/* Prometheus text that goes behind the metrics', for series that come and go. Copied. Any thread. */
void sl_ops_set_more(struct sl_ops *o, const char *text);
/* Body of GET /status (JSON). Copied. Any thread. */
void sl_ops_set_status(struct sl_ops *o, const char *json);

/* POST `path` posts a letter to the home thread, which answers it later, from there. */
struct sl_ops_call {
    struct sl_letter letter;
    const char *path;
    void *handle;
};
/* Faults: -ENOMEM, -ENOSPC (more than 8 paths). */
int sl_ops_post(struct sl_ops *o, const char *path, struct sl_mailbox *home);
/* Ends the call: text/plain body. */
void sl_ops_answer(struct sl_ops_call *call, int http_status, const char *text);
