// SPDX-License-Identifier: Apache-2.0
/* The collector's options: one table (wire/options.h); the man page is checked against it. */
#pragma once
#include "wire/link_keys.h"
#include "wire/options.h"

struct collector_options {
    struct sl_option_list watch;
    struct sl_option_list brokers;
    const char *http;
    const char *host;           /* NULL: this machine's name */
    struct sl_link_files files; /* what it proves itself with */
    const char *log_level;
    int64_t memory_bytes;
    int64_t max_line_bytes;
    int64_t open_files; /* 0: as many as the process may have */
};

extern const struct sl_program collector_program;
/* Reads command line, environment and file; exits on errors. */
const struct collector_options *collector_options_read(int argc, char **argv);
