// SPDX-License-Identifier: Apache-2.0
/*
 * text/event-stream, read after the WHATWG rules (HTML Living Standard 9.2.6): bytes go in as they arrive,
 * cut anywhere; events come out when their blank line was read. An event that was cut off by the end of the
 * connection never comes out. Foreign bytes: any input is safe; an event is at most SSE_EVENT_MAX_BYTES long.
 * One thread.
 */
#pragma once
#include "wire/slice.h"

/* A line of 1 MiB is some 5 MiB at worst (escaped, and once more in base64); collectors may allow longer. */
enum { SSE_EVENT_MAX_BYTES = 64 << 20 };

struct sse_event {
    struct sl_slice kind; /* "message" when the stream named none */
    struct sl_slice id;   /* the last one named, also by an earlier event; empty: none */
    struct sl_slice data; /* its lines, joined by LF */
};

struct sse_text {
    uint8_t *data;
    size_t bytes, capacity;
};

struct sse {
    /* Slices are valid during the call. Not 0: parsing stops and sse_push returns it. */
    int (*event)(void *arg, const struct sse_event *event);
    void *arg;
    struct sse_text line, kind, id, data;
    int64_t retry_ms; /* the server's last word, -1: none */
    bool begun;       /* a leading byte order mark was looked for */
    bool after_cr;
};

void sse_init(struct sse *sse, int (*event)(void *arg, const struct sse_event *event), void *arg);
void sse_fini(struct sse *sse);
/* Another connection: forgets what was not complete, and the last id. */
void sse_reset(struct sse *sse);
/* 0, what the callback returned, -EMSGSIZE (an event is too long) or -ENOMEM; after a fault only reset/fini.
 */
int sse_push(struct sse *sse, struct sl_slice bytes);
