// SPDX-License-Identifier: Apache-2.0
#include "options.h"
#include "hold.h"

#include <string.h>

#define DATA_FALLBACK "./sandlog-data"

static struct broker_options values;

static const char *check_level(const char *text)
{
    static const char *const levels[] = {"error", "warning", "info", "debug"};
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
        if (strcmp(text, levels[i]) == 0)
            return NULL;
    return "must be error, warning, info or debug";
}

static const char *check_hold(const char *text)
{
    struct hold hold;
    return hold_parse(text, &hold) ? "must be a size (10GiB), an age (3d), both (10GiB,3d) or none" : NULL;
}

static const struct sl_option table[] = {
    {.name = "data",
     .type = SL_OPTION_TEXT,
     .value = &values.data,
     .unit = "DIR",
     .fallback = DATA_FALLBACK,
     .sentence = "keep the log in this directory; one broker owns it"},
    {.name = "store",
     .type = SL_OPTION_TEXT,
     .value = &values.store,
     .unit = "URL",
     .sentence =
         "keep the log in Redis instead, redis://HOST:PORT[,HOST:PORT...][?replicas=N]; any number of "
         "brokers may share it"},
    {.name = "ingest",
     .type = SL_OPTION_URL,
     .value = &values.ingest,
     .unit = "URL",
     .fallback = "tcp://127.0.0.1:8471",
     .sentence = "listen here for collectors"},
    {.name = "query",
     .type = SL_OPTION_URL,
     .value = &values.query,
     .unit = "URL",
     .fallback = "tcp://127.0.0.1:8472",
     .sentence = "listen here for gateways"},
    {.name = "http",
     .type = SL_OPTION_ADDRESS,
     .value = &values.http,
     .unit = "HOST:PORT",
     .fallback = "127.0.0.1:8473",
     .sentence = "serve /healthz, /readyz, /metrics, /status and POST /compact here"},
    {.name = "secret",
     .type = SL_OPTION_TEXT,
     .value = &values.files.secret,
     .unit = "FILE",
     .sentence = "collectors and gateways have to prove that they know the content of this file"},
    {.name = "link-cert",
     .type = SL_OPTION_TEXT,
     .value = &values.files.cert,
     .unit = "FILE",
     .sentence = "certificate chain (PEM) of tls+tcp:// addresses"},
    {.name = "link-key",
     .type = SL_OPTION_TEXT,
     .value = &values.files.key,
     .unit = "FILE",
     .sentence = "private key of --link-cert (PEM)"},
    {.name = "link-ca",
     .type = SL_OPTION_TEXT,
     .value = &values.files.ca,
     .unit = "FILE",
     .sentence =
         "let in over tls+tcp:// only collectors and gateways with a certificate of this authority (PEM)"},
    {.name = "memory",
     .type = SL_OPTION_BYTES,
     .value = &values.memory_bytes,
     .unit = "BYTES",
     .min = 1 << 20,
     .max = INT64_C(1) << 40,
     .fallback = "64MiB",
     .sentence = "memory for the newest blocks of every sandbox"},
    {.name = "segment-bytes",
     .type = SL_OPTION_BYTES,
     .value = &values.segment_bytes,
     .unit = "BYTES",
     .min = 4 << 20,
     .max = 1 << 30,
     .fallback = "128MiB",
     .sentence = "begin a new segment file when one has this size"},
    {.name = "retention-age",
     .type = SL_OPTION_DURATION,
     .value = &values.retention_age_ns,
     .unit = "AGE",
     .min = 0,
     .max = INT64_MAX,
     .fallback = "none",
     .sentence = "lines older than this may go"},
    {.name = "retention-bytes",
     .type = SL_OPTION_BYTES,
     .value = &values.retention_bytes,
     .unit = "BYTES",
     .min = 0,
     .max = INT64_MAX,
     .fallback = "0",
     .sentence = "keep at least this much on disk, then the oldest lines may go; 0 for no limit"},
    {.name = "sandbox-bytes",
     .type = SL_OPTION_BYTES,
     .value = &values.sandbox_bytes,
     .unit = "BYTES",
     .min = 0,
     .max = INT64_MAX,
     .fallback = "100MiB",
     .sentence =
         "keep at least this much text of each sandbox, then its oldest lines may go; 0 for no limit"},
    {.name = "export-hold",
     .type = SL_OPTION_TEXT,
     .value = &values.export_hold,
     .unit = "HOLD",
     .fallback = "10GiB",
     .sentence =
         "what a consumer of the export has not acknowledged stays, up to so many bytes on disk, or up "
         "to this age, or both (10GiB,3d); none: retention waits for no consumer",
     .check = check_hold},
    {.name = "compact-cpu",
     .type = SL_OPTION_NUMBER,
     .value = &values.compact_cpu,
     .unit = "PERCENT",
     .min = 1,
     .max = 100,
     .fallback = "50",
     .sentence = "compaction uses at most this share of one core"},
    {.name = "compact-io",
     .type = SL_OPTION_BYTES,
     .value = &values.compact_io,
     .unit = "BYTES",
     .min = 0,
     .max = INT64_MAX,
     .fallback = "64MiB",
     .sentence = "compaction reads and writes at most this much a second; 0 for no limit"},
    {.name = "log-level",
     .type = SL_OPTION_TEXT,
     .value = &values.log_level,
     .unit = "LEVEL",
     .fallback = "info",
     .sentence = "the least important events to log: error, warning, info or debug",
     .check = check_level},
};

static const struct sl_program program = {
    .name = "sandlog-broker",
    .usage = "[OPTION]... | check DIR [--repair]",
    .sentence = "Stores and indexes the lines of sandboxes, durably, and serves them to gateways.",
    .epilogue = "Examples:\n"
                "  sandlog-broker --data /var/lib/sandlog\n"
                "  sandlog-broker --retention-age 7d --sandbox-bytes 1GiB\n"
                "  sandlog-broker --store redis://127.0.0.1:6379\n"
                "  sandlog-broker check /var/lib/sandlog\n",
    .options = table,
    .option_count = sizeof table / sizeof *table,
};

const struct broker_options *broker_options_read(int argc, char **argv)
{
    sl_options_read(&program, argc, argv, false, NULL);
    if (values.store && strcmp(values.data, DATA_FALLBACK) != 0)
        sl_usage_error(&program, "--data and --store exclude each other: the log is in one place");
    /* its text may hold a password */
    if (values.store && strncmp(values.store, "redis://", strlen("redis://")) != 0 &&
        strncmp(values.store, "rediss://", strlen("rediss://")) != 0)
        sl_usage_error(&program, "--store: must begin with redis:// (a directory is for --data)");
    return &values;
}

char *broker_options_json(void)
{
    return sl_options_json(&program);
}

int broker_keys_read(struct sl_link_keys **ret, char why[SL_LINK_WHY_BYTES])
{
    const char *const urls[] = {values.ingest, values.query};
    return sl_link_keys_read(&values.files, true, urls, sizeof urls / sizeof *urls, ret, why);
}

static struct check_options check_values;

static const struct sl_option check_table[] = {
    {.name = "repair",
     .type = SL_OPTION_FLAG,
     .value = &check_values.repair,
     .sentence = "cut torn tails and rebuild damaged indexes"},
};

static const struct sl_program check_program = {
    .name = "sandlog-broker check",
    .usage = "DIR [--repair]",
    .sentence =
        "Verifies every checksum of a store that no broker has open. The exit status is 0 when all is "
        "well or was repaired, 1 when something is damaged.",
    .epilogue = "Example:\n"
                "  sandlog-broker check --repair /var/lib/sandlog\n",
    .options = check_table,
    .option_count = sizeof check_table / sizeof *check_table,
};

const struct check_options *check_options_read(int argc, char **argv)
{
    int first = argc;
    sl_options_read(&check_program, argc, argv, false, &first);
    if (first + 1 != argc)
        sl_usage_error(&check_program, first == argc ? "which directory?" : "only one directory, please");
    check_values.directory = argv[first];
    return &check_values;
}
