// SPDX-License-Identifier: Apache-2.0
/*
 * Compaction: adjacent sealed segments become one, ordered by sandbox, its blocks merged into large ones and
 * compressed harder; what deletion and retention gave up is left out. One at a time, in the background
 * thread, in three steps: read the states of the inputs (background), say what is kept of whom (home), write
 * and rename the output (background), exchange the extents (home). Readers see the one or the other; the
 * rename is the commit.
 */
#pragma once
#include "background.h"
#include "pace.h"
#include "state.h"
#include <stdatomic.h>

struct disk;

/* Home thread: begins one if there is something worth it, and none runs. `all`: whatever is not compact yet.
 */
void compact_start(struct disk *d, bool all);
/* The running one gives up at the next block. */
void compact_cancel(struct disk *d);

/* compact_write.c, background thread: the output of one compaction. */
struct compact_life {
    struct sl_slice record; /* its state record in the newest input that has one */
    struct state state;
    uint32_t input;
    bool keep_records, keep_state;
    uint64_t kept_from;
    struct part part; /* in the output */
};
struct compact_input {
    struct segment *segment;
    uint8_t *states;
    size_t states_bytes;
};
struct compact {
    struct io *io;
    struct compact_input *inputs;
    size_t input_count;
    struct compact_life *lives; /* by id, birth, input */
    size_t life_count;
    struct segment_name name; /* of the output */
    uint64_t epoch, last_birth;
    uint32_t before, dropped; /* of the output */
    uint8_t *limits; /* of segments before it that are not sealed: the inputs' headers may have set them */
    uint32_t limit_count;
    int file;                  /* the output, open */
    struct sl_slice consumers; /* the table of the newest input that has one */
    uint64_t states_offset, file_bytes, text_bytes, lines;
    uint64_t damaged_blocks;
    int64_t oldest_commit_ns, newest_commit_ns;
    atomic_bool cancelled;
    unsigned cpu_percent; /* its shares: pace.h */
    uint64_t bytes_per_s;
    struct pace pace;
    int fault;
};
int compact_read_states(struct compact *c);
int compact_write(struct compact *c);
/* Files that an interrupted one leaves. */
#define COMPACT_FILE "compact.new"
