// SPDX-License-Identifier: Apache-2.0
/*
 * What a broker can be told: one table for its command line, environment, configuration file, --help and
 * /status. Home thread, at start. Every program that reads options ends by itself on a bad one (exit 2).
 */
#pragma once
#include "wire/link_keys.h"
#include "wire/options.h"

struct broker_options {
    const char *data;           /* directory of the store */
    const char *store;          /* url of a store that is no directory, or NULL */
    const char *ingest;         /* url collectors dial */
    const char *query;          /* url gateways dial */
    const char *http;           /* HOST:PORT of the operations pages */
    struct sl_link_files files; /* what peers prove themselves with */
    const char *log_level;
    const char *export_hold; /* hold.h */
    int64_t memory_bytes;
    int64_t segment_bytes;
    int64_t retention_age_ns; /* 0: none */
    int64_t retention_bytes;  /* 0: none */
    int64_t sandbox_bytes;    /* 0: none */
    int64_t compact_cpu;      /* percent of one core */
    int64_t compact_io;       /* bytes a second; 0: no limit */
};

/* The daemon's table; its values point into one static struct, which is returned filled. */
const struct broker_options *broker_options_read(int argc, char **argv);
/* The values in use as a JSON object, malloc'd; NULL without memory. */
char *broker_options_json(void);
/* Reads what the links prove themselves with, as sl_link_keys_read(). */
int broker_keys_read(struct sl_link_keys **ret, char why[SL_LINK_WHY_BYTES]);

struct check_options {
    const char *directory;
    bool repair;
};
/* Of `sandlog-broker check`; argv[0] is "check". */
const struct check_options *check_options_read(int argc, char **argv);
