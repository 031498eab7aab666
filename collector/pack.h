// SPDX-License-Identifier: Apache-2.0
/*
 * Packing: the bytes of a file become lines, the lines of one turn become blocks. One pass over the bytes,
 * one read buffer and one block builder for all files: what is not finished at the end of a turn is either a
 * joined line's held pieces or simply read again.
 *
 * What is exact over any crash, and how: a block moves its source from `sent` to `at`. Records that only open
 * a line (P, a piece without newline) move `at` but are not sent alone; the next block carries open_from, the
 * place where the oldest open line begins. After a restart reading starts there and every record whose
 * newline stands at or before `drop_until` is parsed again but not sent again. A record that lies across
 * `drop_until` was sent in part: its pieces before that place are dropped, and so is what was held of its
 * stream before it.
 *
 * Pure of decisions about files: the caller opens, orders, and says when a file is over. Home thread.
 */
#pragma once
#include "entry.h"
#include "fleet.h"

enum {
    PACK_GOAL_BYTES = 64 << 10,             /* text of a block, usually */
    PACK_DOCKER_RECORD_MAX_BYTES = 8 << 20, /* a longer one is kept in pieces as malformed */
};

struct pack_sink {
    /*
     * A block of the builder's lines (maybe none). facts->range etc. are set; also: the file that facts->also
     * is about, or NULL. Faults: -ENOMEM.
     */
    int (*block)(void *arg, struct file *f, struct file *also, struct sl_block_builder *lines,
                 const struct sl_block_header *facts);
    /* The first `attrs` object met in a log. */
    void (*attrs)(void *arg, struct log *log, struct sl_slice attrs);
    void *arg;
};

struct pack {
    struct fleet *fleet;
    struct pack_sink sink;
    struct sl_block_builder *builder;
    uint8_t *buffer;
    uint8_t *scratch;
    size_t capacity;
    size_t max_line_bytes;
    size_t held_max_bytes; /* of all open lines of the fleet; beyond, they are sent as pieces */
    size_t slice_bytes;    /* what about one block's lines took of the file */
    uint64_t lines;        /* since start */
    uint64_t bytes;
    uint64_t blocks;
    uint64_t malformed;
    /* of the turn under way */
    size_t gathered;
    uint64_t safe_to; /* where a block may end now, and the open_from it would have */
    uint64_t safe_open_from;
    int64_t now_ns;
    bool also;
};

enum pack_answer {
    PACK_MORE = 0,      /* there may be more to read */
    PACK_END = 1,       /* read to where it ends now */
    PACK_TRUNCATED = 2, /* it is shorter than what was read, or begins with something else now */
    PACK_UNREADY = 3,   /* a .gz that is not whole yet */
};

/* -ENOMEM. `max_line_bytes` 1 to SL_LINE_MAX_BYTES. */
int pack_init(struct pack *p, struct fleet *fleet, const struct pack_sink *sink, size_t max_line_bytes,
              size_t held_max_bytes);
void pack_fini(struct pack *p);

/*
 * One turn: reads on from f->at and hands over about one block. f is open and its source known. A fault
 * leaves the file to be placed anew.
 */
int pack_turn(struct pack *p, struct file *f);
/*
 * The file's end, a newer one follows: its torn last record becomes an open line (plain) or a line
 * (otherwise); open lines stay to be carried into the next file if `carry`, else they are sent as pieces.
 */
int pack_wrap(struct pack *p, struct file *f, bool carry);
/* Sends what is open as pieces, without reading: the file is not what it was any more. */
int pack_release(struct pack *p, struct file *f);
/* Moves what is open into the next file, whose first line that needs it will name `from` in its block. */
void pack_carry(struct pack *p, struct file *from, struct file *to);
/* A block without lines: what has been read is consumed; with flags and gap facts of `facts`. */
int pack_mark(struct pack *p, struct file *f, const struct sl_block_header *facts);
/* Where the oldest open line begins, f->at when none is open. */
uint64_t pack_open_from(const struct file *f);
