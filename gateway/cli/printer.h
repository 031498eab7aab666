// SPDX-License-Identifier: Apache-2.0
/*
 * Log lines on stdout. Of one sandbox, text comes out as the bytes that the process wrote, partial lines
 * included. Of several, each line begins with `[ID] `, and no line is broken into by another's: where a
 * sandbox's unfinished line has to give way, it ends there and goes on in a line of its own. Gaps are told on
 * stderr, in JSON on stdout. One thread.
 */
#pragma once
#include "line.h"
#include "output.h"

struct printer {
    bool json, timestamps;
    bool prefix;  /* several sandboxes */
    bool clean;   /* for a terminal: nothing but text and colours */
    bool colours; /* of our own */
    struct output out;
    uint64_t lines, bytes;
    bool open;         /* the last thing printed has no newline */
    char open_id[129]; /* whose it is */
};

void printer_line(struct printer *printer, const char *id, const struct line *line, struct sl_slice json);
void printer_gap(struct printer *printer, const char *id, const struct gap *gap, struct sl_slice json);
void printer_flush(struct printer *printer);
/* At the end: ends a prefixed line that is still open, and flushes. */
void printer_finish(struct printer *printer);
void printer_fini(struct printer *printer);
