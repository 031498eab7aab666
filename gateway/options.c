// SPDX-License-Identifier: Apache-2.0
#include "options.h"
#include <string.h>

struct options options;

static const char *check_level(const char *text)
{
    static const char *const levels[] = {"error", "warning", "inform", "debug"};
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
        if (strcmp(text, levels[i]) == 0)
            return NULL;
    return "must be error, warning, inform or debug";
}

static const struct sl_option table[] = {
    {.name = "listen",
     .type = SL_OPTION_ADDRESS,
     .value = &options.listen,
     .unit = "HOST:PORT",
     .fallback = "127.0.0.1:8470",
     .sentence = "Where readers connect, over HTTP and WebSocket."},
    {.name = "broker",
     .type = SL_OPTION_URLS,
     .value = &options.brokers,
     .unit = "URL",
     .fallback = "tcp://127.0.0.1:8472",
     .sentence = "Query address of a broker; repeated, any that answers is used."},
    {.name = "secret",
     .type = SL_OPTION_TEXT,
     .value = &options.secret_file,
     .unit = "FILE",
     .sentence = "File with the secret that the broker asks for."},
    {.name = "insecure-no-auth",
     .type = SL_OPTION_FLAG,
     .value = &options.insecure_no_auth,
     .fallback = "false",
     .sentence = "Serve every reader that can connect, on any address, without tokens."},
    {.name = "memory",
     .type = SL_OPTION_BYTES,
     .value = &options.memory_bytes,
     .unit = "BYTES",
     .min = 1 << 20,
     .max = INT64_C(1) << 40,
     .fallback = "64MiB",
     .sentence = "Memory for the newest lines of followed sandboxes."},
    {.name = "broker-grace",
     .type = SL_OPTION_DURATION,
     .value = &options.broker_grace_ns,
     .unit = "TIME",
     .min = 0,
     .max = INT64_C(60) * 1000000000,
     .fallback = "2s",
     .sentence = "How long a new request waits for a broker that is away, before 503."},
    {.name = "shutdown-grace",
     .type = SL_OPTION_DURATION,
     .value = &options.shutdown_grace_ns,
     .unit = "TIME",
     .min = 0,
     .max = INT64_C(600) * 1000000000,
     .fallback = "5s",
     .sentence = "How long readers have to take what is theirs, after SIGTERM."},
    {.name = "log-level",
     .type = SL_OPTION_TEXT,
     .value = &options.log_level,
     .unit = "LEVEL",
     .fallback = "inform",
     .sentence = "error, warning, inform or debug.",
     .check = check_level},
};

const struct sl_program options_program = {
    .name = "sandlog-gateway",
    .usage = "[OPTION]...",
    .sentence = "Serves the logs of sandboxes over HTTP, SSE and WebSocket.",
    .epilogue = "Examples:\n"
                "  sandlog-gateway --broker ipc:///run/sandlog/query.sock\n"
                "  curl 'http://127.0.0.1:8470/v1/sandboxes/ID/logs?tail=100'\n"
                "  curl -N 'http://127.0.0.1:8470/v1/sandboxes/ID/logs?follow=1'\n",
    .options = table,
    .option_count = sizeof table / sizeof *table,
};
