// SPDX-License-Identifier: Apache-2.0
/*
 * The canary's book: which lines were written when, which came back when, how often and in what order. One
 * thread, no I/O.
 */
#pragma once
#include "wire/slice.h"

enum { CANARY_LINE_BYTES = 64 };

struct canary_count {
    size_t written, read;                  /* read: lines of ours, doubled ones too */
    size_t doubled, out_of_order, foreign; /* foreign: lines that nobody wrote */
    size_t next;                           /* the line that is expected */
    int64_t *sent_ns, *took_ns;            /* per line; took -1: has not come */
    size_t capacity;
};

struct canary_result {
    size_t missing, late;
    int64_t p50_ns, p99_ns, max_ns; /* 0 when nothing came */
};

/* The next line, with its newline, into text; its length, 0 without memory. */
size_t canary_count_write(struct canary_count *count, int64_t now_ns, char text[CANARY_LINE_BYTES]);
void canary_count_read(struct canary_count *count, struct sl_slice text, int64_t now_ns);
/* Sorts what the lines took: to be called once, at the end. */
void canary_count_result(struct canary_count *count, int64_t late_ns, struct canary_result *ret);
/* Everything came, once, in order and in time. */
bool canary_count_well(const struct canary_count *count, const struct canary_result *result);
void canary_count_fini(struct canary_count *count);
