// SPDX-License-Identifier: Apache-2.0
/*
 * The parameters of a read (API.md 2, the table): decoded name and value pairs and two headers in, a checked
 * struct query out, or the parameter at fault and a sentence about it. Of a repeated parameter, aliases
 * counting as one name, the last counts; unknown ones are ignored; an empty value is as if it were not there,
 * but for booleans, where `name=` is false and the bare `name` true. Pure, no allocation: slices of the
 * result borrow from the pairs and headers. Any thread.
 */
#pragma once
#include "problem.h"

enum { QUERY_PAIRS_MAX = 600, QUERY_RAW_MAX_BYTES = 32 << 10, QUERY_PATTERN_MAX_BYTES = 1024 };

struct query_pair {
    struct sl_slice name;
    struct sl_slice value;
    bool bare; /* no `=` */
};

/*
 * Splits and decodes a raw query string (what stands behind `?`), as application/x-www-form-urlencoded: `&`,
 * `=`, `+` for a space, %XX. Decoded bytes go into scratch, which must hold raw.bytes and live as long as the
 * pairs. > 0 (QUERY_INVALID) with *ret_problem: a malformed %, a NUL byte, too many pairs, too long.
 */
enum { QUERY_INVALID = 1 };
int query_split(struct sl_slice raw, uint8_t *scratch, struct query_pair pairs[QUERY_PAIRS_MAX],
                size_t *ret_count, struct problem *ret_problem);
/* %XX of a path's component (`+` stays). Writes at most raw.bytes; > 0: malformed. */
int query_unescape(struct sl_slice raw, uint8_t *scratch, struct sl_slice *ret);

enum query_format { QUERY_TEXT = 0, QUERY_NDJSON = 1, QUERY_SSE = 2 };
enum query_streams { QUERY_STDOUT = 1 << 0, QUERY_STDERR = 1 << 1, QUERY_BOTH = 3 }; /* 1 << enum sl_stream */

struct query {
    bool has_tail; /* false: all */
    bool has_since;
    bool has_until;
    bool has_container;
    bool has_limit;
    bool has_limit_bytes;
    bool follow;
    bool
        resumes; /* `after` is the header Last-Event-ID; then there is no tail, and no since that is an age */
    bool data_json;
    bool timestamps;
    bool ignore_case;
    bool gaps;
    bool framed;      /* text in Docker's frames; no parameter of ours */
    bool limit_cuts;  /* limit_bytes counts what is sent and cuts within a line; likewise */
    bool accepts_sse; /* Accept names text/event-stream: 429 and 503 are then told inside a 200 */
    uint8_t streams;  /* enum query_streams, not 0 */
    uint8_t format;   /* enum query_format */
    uint64_t tail;
    int64_t since_ns;
    int64_t until_ns;
    int64_t wait_ns; /* 0 unless follow */
    uint64_t limit;
    uint64_t limit_bytes;
    struct sl_slice after;        /* cursor text, not parsed; empty: none */
    const char *after_name;       /* as what it was given */
    struct sl_slice before;       /* likewise */
    struct sl_slice container;    /* valid, not empty when has_container */
    struct sl_slice grep;         /* empty: none */
    struct sl_slice regex;        /* empty: none */
    struct sl_slice access_token; /* empty: none. Never to be rendered or logged */
};

/*
 * accept and last_event_id: header values, empty when absent. `websocket`: the connection is one, always
 * live: follow is on whatever the parameters say, and the format NDJSON (the subprotocol may change it). > 0
 * (QUERY_INVALID) with *ret_problem.
 */
struct query_input {
    const struct query_pair *pairs;
    size_t count;
    struct sl_slice accept;
    struct sl_slice last_event_id;
    int64_t now_ns;
    bool websocket;
};
int query_parse(const struct query_input *input, struct query *ret, struct problem *ret_problem);

/*
 * What Accept asks for (enum query_format): the highest quality wins, a type that is named goes before a
 * wildcard, wildcards and nothing leave it at text, or with `follow` at SSE; what has `q=0` is not taken
 * while there is another. ret_accepts_sse: text/event-stream is named.
 */
uint8_t query_accept(struct sl_slice accept, bool follow, bool *ret_accepts_sse);

/* For other routes' parameters, the same rules. > 0: not one. */
int query_bool(const struct query_pair *pair, bool *ret);
int query_u64(struct sl_slice text, uint64_t *ret);
/* sl_time_parse_user(), and dates that 64 bits don't hold: before or after everything. */
int query_time(struct sl_slice text, int64_t now_ns, int64_t *ret);
/* The last pair of this name, NULL when there is none. */
const struct query_pair *query_find(const struct query_pair *pairs, size_t count, const char *name);
