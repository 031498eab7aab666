// SPDX-License-Identifier: Apache-2.0
/*
 * Which lines a reader wants: stream, container, query time, text, pattern (API.md 2). Made once per request;
 * filter_block() says for a whole block what can be said without looking inside it, filter_line() decides a
 * line. tail, limit and cursors are not here: they count lines, a filter knows only one at a time.
 *
 * Time: linear in the text. `grep` is memmem, `regex` is pattern.h, whose bound does not depend on the
 * pattern. A piece of an over-long line is matched alone. A filter remembers (pattern.h's cache): one thread
 * at a time.
 */
#pragma once
#include "pattern.h"
#include "query.h"
#include "wire/record.h"

struct filter;

/* Copies what it needs of the query. > 0 (FILTER_INVALID) with *ret_problem: the pattern. Fault: -ENOMEM. */
enum { FILTER_INVALID = 1 };
int filter_new(const struct query *q, struct filter **ret, struct problem *ret_problem);
void filter_free(struct filter *f);

/*
 * Steps that lines have cost so far, 1 to 4 ns each: a loop that serves others too goes on with them
 * when this has grown by more than it can spare. A filter holds at most 450 KiB
 * (`grep` with `ignore_case` and `regex`, half each).
 */
uint64_t filter_work(const struct filter *f);

enum filter_verdict {
    FILTER_NONE = 0, /* no line of it is wanted: need not be decompressed */
    FILTER_SOME = 1, /* ask for each line */
    FILTER_ALL = 2,  /* every line is wanted */
};
/* Of a checked block record. A block without lines is FILTER_NONE. */
enum filter_verdict filter_block(const struct filter *f, const struct sl_record *record,
                                 const struct sl_block_header *header);
/* Whether this line is wanted. query_ns: its query time (sl_query_time along the block, from
 * record.floor_ns). */
bool filter_line(struct filter *f, int64_t query_ns, uint8_t stream, struct sl_slice container,
                 struct sl_slice text);
/* The same in steps, as pattern_match_some(): 0, 1 or FILTER_LATER. *pause is zeroed for a new line. */
struct filter_pause {
    bool grepped; /* grep has said yes */
    struct pattern_pause pattern;
};
enum { FILTER_LATER = 2 };
int filter_line_some(struct filter *f, int64_t query_ns, uint8_t stream, struct sl_slice container,
                     struct sl_slice text, uint64_t work_max, struct filter_pause *pause);
/* Whether a line of this query time lies at or past `until`: query time never falls, so no later one counts.
 */
bool filter_past(const struct filter *f, int64_t query_ns);
