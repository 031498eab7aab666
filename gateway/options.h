// SPDX-License-Identifier: Apache-2.0
/*
 * The options of sandlog-gateway: one table, read once by main(). Values live as long as the process.
 */
#pragma once
#include "wire/link_keys.h"
#include "wire/options.h"

struct options {
    const char *listen; /* HOST:PORT */
    struct sl_option_list brokers;
    struct sl_link_files files; /* what it proves itself to brokers with */
    bool insecure_no_auth;
    const char *token_key_file; /* NULL: no tokens are asked for */
    const char *tls_cert_file;  /* NULL: no TLS */
    const char *tls_key_file;
    struct sl_option_list allow_origins;
    int64_t max_followers;
    int64_t max_followers_per_token;
    int64_t max_requests_per_token; /* a second */
    int64_t max_bytes_per_token;    /* a second */
    int64_t memory_bytes;           /* of recent blocks kept for followers, all sandboxes together */
    int64_t broker_grace_ns;        /* how long a request waits for a broker that is away */
    int64_t shutdown_grace_ns;      /* how long readers have to take what is theirs after SIGTERM */
    const char *log_level;
};

extern struct options options;
extern const struct sl_program options_program;
