// SPDX-License-Identifier: Apache-2.0
#include "options.h"
#include <string.h>

struct options options;

static const char *check_level(const char *text)
{
    static const char *const levels[] = {"error", "warning", "info", "debug"};
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
        if (strcmp(text, levels[i]) == 0)
            return NULL;
    return "must be error, warning, info or debug";
}

/* As a browser writes it. */
static const char *check_origin(const char *text)
{
    static const char scheme[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+.-";
    const char *host = text + strspn(text, scheme);
    bool any = strcmp(text, "*") == 0;
    bool named = host > text && strncmp(host, "://", 3) == 0 && host[3] && !strpbrk(host + 3, "/?#@*\\ \t\"");
    return any || named ? NULL : "is not an origin (try https://logs.example, http://localhost:3000 or *)";
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
     .sentence = "Query address of a broker; of several, any that answers is used."},
    {.name = "secret",
     .type = SL_OPTION_TEXT,
     .value = &options.files.secret,
     .unit = "FILE",
     .sentence = "File with the secret that the broker asks for."},
    {.name = "link-ca",
     .type = SL_OPTION_TEXT,
     .value = &options.files.ca,
     .unit = "FILE",
     .sentence = "Over tls+tcp://, the broker's certificate must be of this authority (PEM)."},
    {.name = "link-cert",
     .type = SL_OPTION_TEXT,
     .value = &options.files.cert,
     .unit = "FILE",
     .sentence = "Certificate chain (PEM) that this gateway proves itself to brokers with, over tls+tcp://."},
    {.name = "link-key",
     .type = SL_OPTION_TEXT,
     .value = &options.files.key,
     .unit = "FILE",
     .sentence = "Private key of --link-cert (PEM)."},
    {.name = "insecure-no-auth",
     .type = SL_OPTION_FLAG,
     .value = &options.insecure_no_auth,
     .fallback = "false",
     .sentence = "Serve every reader that can connect, on any address, without tokens."},
    {.name = "token-key",
     .type = SL_OPTION_TEXT,
     .value = &options.token_key_file,
     .unit = "FILE",
     .sentence =
         "Ask readers for tokens (JWT) of this key: an HS256 secret, or an ES256 or RS256 public key."},
    {.name = "tls-cert",
     .type = SL_OPTION_TEXT,
     .value = &options.tls_cert_file,
     .unit = "FILE",
     .sentence = "Serve HTTPS with this certificate chain (PEM)."},
    {.name = "tls-key",
     .type = SL_OPTION_TEXT,
     .value = &options.tls_key_file,
     .unit = "FILE",
     .sentence = "Private key of --tls-cert (PEM)."},
    {.name = "allow-origin",
     .type = SL_OPTION_LIST,
     .value = &options.allow_origins,
     .unit = "ORIGIN",
     .sentence = "Let pages of this origin read (https://host[:port], or *).",
     .check = check_origin},
    {.name = "max-followers",
     .type = SL_OPTION_NUMBER,
     .value = &options.max_followers,
     .unit = "COUNT",
     .fallback = "50000",
     .sentence = "Readers that may follow at once; 0: no limit."},
    {.name = "max-followers-per-token",
     .type = SL_OPTION_NUMBER,
     .value = &options.max_followers_per_token,
     .unit = "COUNT",
     .fallback = "10000",
     .sentence = "The same of one token, or of one address where there are no tokens."},
    {.name = "max-requests-per-token",
     .type = SL_OPTION_NUMBER,
     .value = &options.max_requests_per_token,
     .unit = "COUNT",
     .fallback = "0",
     .sentence = "Requests a second of one token or address; 0: no limit."},
    {.name = "max-bytes-per-token",
     .type = SL_OPTION_BYTES,
     .value = &options.max_bytes_per_token,
     .unit = "BYTES",
     .max = INT64_C(1) << 40,
     .fallback = "0",
     .sentence = "Bytes a second sent to one token or address, shared by its connections; 0: no limit."},
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
     .fallback = "info",
     .sentence = "error, warning, info or debug.",
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
