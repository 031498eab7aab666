// SPDX-License-Identifier: Apache-2.0
/*
 * Between the two halves of packing: pack.c reads files, pack_lines.c makes lines and blocks of their
 * records. Nobody else's business. Faults of all: -ENOMEM, and what the sink says.
 */
#pragma once
#include "pack.h"

/* A block is begun: nothing is gathered, it may end at f->at. */
void pack_begin(struct pack *p, const struct file *f);
/* Hands over the lines gathered, if there are any, as a block up to `to`. */
int pack_flush(struct pack *p, struct file *f, uint64_t to, uint64_t from_open);
/* Where the oldest open line begins, `otherwise` when that is earlier or none is open. */
uint64_t pack_open_from_or(const struct file *f, uint64_t otherwise);

/* Adds a line to the block. */
int pack_put(struct pack *p, struct file *f, uint8_t stream, int64_t time_ns, struct sl_slice text,
             bool partial);
/* The stream's open line; NULL when it has none. */
struct open_line *pack_open_line(struct file *f, uint8_t stream);
void pack_forget(struct pack *p, struct file *f, struct open_line *line);
/*
 * All that is open goes as pieces, in one block that ends at `at`, which is f->at. Never one stream's alone:
 * a block can say only one place where reading has to begin, and behind a piece that is not before any of
 * what the piece held. What is held of both streams therefore stays below what one block takes.
 */
int pack_put_all_held(struct pack *p, struct file *f, uint64_t at);

/* What a record says; > 0: it is malformed, and *ret its whole text. */
int pack_parse(struct pack *p, struct file *f, struct sl_slice record, struct entry *ret);
/* Takes one record, which stands at start..end in the file, newline included. */
int pack_take(struct pack *p, struct file *f, struct sl_slice record, uint64_t start, uint64_t end);
/* The same for an entry that is not simply one whole line of its own. */
int pack_take_slowly(struct pack *p, struct file *f, struct entry e, struct sl_slice record, uint64_t start,
                     uint64_t end);
