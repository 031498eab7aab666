// SPDX-License-Identifier: Apache-2.0
/*
 * What the gateway counts, for /metrics. No sandbox, no reader is named.
 */
#pragma once
#include "wire/metrics.h"

struct counts {
    struct sl_metrics *metrics;
    struct sl_counter requests[6]; /* by first digit of the status; [0] WebSockets */
    struct sl_counter lines;       /* rendered */
    struct sl_counter bytes;       /* handed to sockets */
    struct sl_counter writes;      /* of pieces, to sockets */
    struct sl_counter pages;       /* asked of the broker for readers' history */
    struct sl_counter page_bytes;
    struct sl_counter asks; /* standing reads */
    struct sl_counter blocks;
    struct sl_counter paced;       /* writes that waited for their reader's allowance of bytes */
    struct sl_counter fell_behind; /* followers that left the shared lines for storage */
    struct sl_gauge connections;
    struct sl_gauge followers;
    struct sl_gauge feeds;
    struct sl_gauge feed_bytes;
    struct sl_histogram first_byte; /* request -> first byte of its answer */
    struct sl_histogram first_line; /* request -> first byte of the lines of a stream */
    struct sl_histogram duration;   /* request -> all of its answer; not of streams that follow */
    struct sl_histogram follow_lag; /* broker's commit -> handed to the first followers */
};

/* Fault: -ENOMEM. */
int counts_init(struct counts *c);
void counts_fini(struct counts *c);
