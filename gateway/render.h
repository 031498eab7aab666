// SPDX-License-Identifier: Apache-2.0
/*
 * Lines, gaps and ends as readers get them (API.md 2): text, NDJSON, SSE; WebSocket frames carry the first
 * two. Appends to a buffer, once per block and class of readers, so this is the fan-out's inner loop: what is
 * the same for all lines of a sandbox is prepared once by render_begin().
 *
 * Promises: text is the bytes of the process; NDJSON is one valid JSON object a line, from which the bytes
 * can be had exactly; SSE frames can't be broken or forged by any text. What one call appends is one whole
 * frame or line, never to be split between two WebSocket frames. Errors: the buffer's, sticky; after one the
 * buffer holds part of a frame: cut it back to where it stood. No allocation but the buffer's. A struct
 * render is used by one thread at a time (it remembers the last second it printed).
 */
#pragma once
#include "cursor.h"
#include "problem.h"
#include "wire/timestamp.h"

struct render_style {
    uint8_t format;    /* enum query_format */
    bool timestamps;   /* text, and SSE's data=text: time and a space first */
    bool data_json;    /* SSE: data is the NDJSON object */
    bool with_sandbox; /* /v1/logs: objects name their sandbox */
    bool gaps;         /* text: a gap is a line on the stream */
    bool bare;         /* objects have no cursor */
    bool framed;       /* text: each line behind Docker's head: stream, three zeros, length (big-endian) */
};

struct query;
struct render_style render_style_of(const struct query *q, bool with_sandbox);

struct render {
    struct render_style style;
    struct sl_slice sandbox;          /* borrowed */
    char cursor[CURSOR_PREFIX_BYTES]; /* of this sandbox */
    uint8_t lead[192];                /* what every line begins with, up to its number */
    uint8_t lead_bytes;
    int64_t second; /* that `time` was made for */
    char time[SL_TIME_TEXT_BYTES];
};

/* `sandbox` is valid and lives as long as *r is used. */
void render_begin(struct render *r, const struct render_style *style, struct sl_slice sandbox, uint64_t epoch,
                  uint64_t birth);

struct render_line {
    uint64_t seq;
    int64_t time_ns;
    struct sl_slice text;
    struct sl_slice container; /* left out of the object when empty */
    struct sl_slice cursor;    /* /v1/logs: text of the cursor set behind this line; empty: made from seq */
    uint8_t stream;            /* enum sl_stream */
    bool partial;              /* no newline behind it (yet) */
    bool continues; /* the line before it of this stream and container was partial: no timestamp in text */
};
void render_line(struct render *r, struct buffer *out, const struct render_line *line);

/* Bytes of the line in text/plain without timestamp: what limit_bytes counts. */
static inline size_t render_text_bytes(const struct render_line *line)
{
    return line->text.bytes + !line->partial;
}

struct render_gap {
    bool has_from; /* false: `from` is null, the gap is at the start */
    bool has_to;   /* false: `to` is null, nothing came after it yet */
    uint64_t from_seq;
    uint64_t to_seq;
    uint64_t lines;         /* SL_GAP_LINES_UNKNOWN: null */
    uint8_t reason;         /* enum sl_gap_reason, not NONE */
    bool mid_line;          /* text: the last line written was partial, so that a newline comes first */
    struct sl_slice cursor; /* /v1/logs: text of the cursor set, SSE's id; empty: `from` */
};
void render_gap(struct render *r, struct buffer *out, const struct render_gap *gap);

enum render_end_reason {
    RENDER_STOPPED,
    RENDER_DELETED,
    RENDER_UNTIL,
    RENDER_LIMIT,
    RENDER_EXPIRED,
    RENDER_SHUTDOWN,
    RENDER_COMPLETE,
    RENDER_REASONS
};
const char *render_reason_name(enum render_end_reason reason);

struct render_end {
    enum render_end_reason reason;
    bool has_exit; /* false: exit_code is null */
    int32_t exit_code;
    uint64_t last_seq;
    uint64_t lost;
};
/* Nothing in text. */
void render_end(struct render *r, struct buffer *out, const struct render_end *end);

/* The rest needs no sandbox. Each is nothing in a format that has no such thing. */
void render_head(const struct render_style *style, struct buffer *out);       /* SSE: retry */
void render_keep_alive(const struct render_style *style, struct buffer *out); /* SSE: a comment */
/* SSE: `event: error` with the problem as data. NDJSON: {"event":"error",…}. Nothing in text. */
void render_error(const struct render_style *style, struct buffer *out, const struct problem *p);
/* application/x-ndjson, ... with charset where it has one: for the header Content-Type. */
const char *render_content_type(const struct render_style *style);
