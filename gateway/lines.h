// SPDX-License-Identifier: Apache-2.0
/*
 * Places in a sandbox's log, and blocks that were decoded once for all their readers: checked, decompressed,
 * refcounted, immutable. Home thread.
 */
#pragma once
#include "wire/record.h"

/*
 * Where a reader stands: the number of the line it wants next. Gaps take no number (they stand before the
 * line that comes next), so it also remembers up to which commit time it has seen those at its number.
 */
struct position {
    uint64_t seq;
    int64_t gap_ns;
};
static inline bool position_before(struct position a, struct position b)
{
    return a.seq < b.seq || (a.seq == b.seq && a.gap_ns < b.gap_ns);
}
/* The reader's place behind a record, whatever it saw of it before. */
static inline struct position position_behind(struct position at, const struct sl_record *record,
                                              const struct sl_block_header *header)
{
    struct position behind = {.seq = record->first_seq + header->lines};
    if (header->lines == 0)
        behind.gap_ns = record->commit_ns;
    return position_before(at, behind) ? behind : at;
}
/* Whether the record holds anything for a reader at `at`. */
static inline bool position_wants(struct position at, const struct sl_record *record,
                                  const struct sl_block_header *header)
{
    return position_before(at, position_behind((struct position){0}, record, header));
}

struct lines {
    unsigned refs;
    size_t memory_bytes;
    struct sl_record record;
    struct sl_block_header header; /* its slices point into `block` */
    struct sl_slice block;
    struct sl_block_lines first; /* where a walk begins; points into `bytes` */
    uint8_t bytes[];
};
/* Of a record that sl_record_check() took. Faults: -ENOMEM, -EBADMSG (columns that do not add up). */
int lines_new(const struct sl_record *record, struct sl_slice block, struct lines **ret);
struct lines *lines_ref(struct lines *l);
void lines_unref(struct lines *l); /* NULL is fine */

/* Iterates a block that is in memory in one piece; `scratch` as in sl_block_lines_open(). */
struct lines_walk {
    struct sl_block_lines it;
    uint64_t seq;     /* of the line that lines_next() gives */
    int64_t query_ns; /* its query time */
    int64_t commit_ns;
};
int lines_walk(struct lines_walk *w, const struct sl_record *record, struct sl_slice block,
               const struct sl_block_header *header, void *scratch, size_t capacity);
/* Of decoded lines: can't fail, decompresses nothing. */
void lines_walk_again(struct lines_walk *w, const struct lines *l);
static inline bool lines_next(struct lines_walk *w, struct sl_line *ret)
{
    if (!sl_block_lines_next(&w->it, ret))
        return false;
    w->seq++;
    w->query_ns = sl_query_time(w->query_ns, ret->time_ns, w->commit_ns);
    return true;
}

/*
 * Which streams stand inside a partial line: the next piece of such a stream continues it. By stream and
 * container; more than PARTIALS_MAX at once are not told apart (a timestamp too much in text, nothing else).
 */
enum { PARTIALS_MAX = 8 };
struct partials {
    uint64_t open[PARTIALS_MAX];
    unsigned count;
};
/* Whether `line` continues one; then remembers whether it is left open. */
bool partials_step(struct partials *p, const struct sl_line *line, struct sl_slice container);
