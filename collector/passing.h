// SPDX-License-Identifier: Apache-2.0
/*
 * What becomes of a file when it is not just read on: it is passed on to the next one, begins anew, is lost
 * or damaged, was never met, or is let go. For turns.c, which knows whose turn it is. Nothing is let go that
 * may be needed again: what a copy holds until it is stored, what a .gz is known by until that was met.
 * Faults break the sandbox: its places are asked for again. Home thread.
 */
#pragma once
#include "collector.h"

enum step {
    STEP_IDLE,  /* nothing to do until something happens */
    STEP_AGAIN, /* something was done */
    STEP_DEEP,  /* a block was made and there is more to read */
};

/* The log has no turn for so long. STEP_IDLE. */
enum step passing_wait(struct collector *c, struct log *log, int64_t delay_ns);
void passing_break(struct collector *c, struct sandbox *s);
int passing_gap(struct collector *c, struct file *f, uint8_t reason, uint16_t more_flags);

/* Nothing is in it, and what may come is a copy: nobody waits for it. */
bool passing_is_empty(const struct file *f);
/* The file that comes after it in its log, copies and gaps aside; NULL: none. */
struct file *passing_next(const struct file *f);
/* What a copy holds was not read from what it is a copy of, which may be truncated. `stored`: nor
 * acknowledged. */
bool passing_is_needed(const struct file *copy, bool stored);

/* It was read to its end: waited for, passed on to the next one, or let go. */
enum step passing_at_end(struct collector *c, struct file *f);
/* It can't be opened any more, and was not read to its end. */
enum step passing_lost(struct collector *c, struct file *f);
/* It does not begin any more as it did: a copy goes on for what it was, or a gap. */
enum step passing_truncated(struct collector *c, struct file *f);
/* A .gz can't be read on. */
enum step passing_unready(struct collector *c, struct file *f);
/* It stands for one that was never met. */
enum step passing_missed(struct collector *c, struct file *f);
/* Finished files: closed after a while, let go when they are gone. At the log's timer. */
void passing_look(struct collector *c, struct log *log, int64_t now_ns);
