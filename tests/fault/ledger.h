// SPDX-License-Identifier: Apache-2.0
/*
 * A made-up world of writers over a store, and the ledger of what was sent and what was acknowledged. Every
 * line names its sandbox, life, source and number within the source, so whatever a store gives back can be
 * checked: acknowledged means there, once, in order, byte for byte; and nothing is there that was not sent.
 *
 * A byte of a source is a line: offset and number of lines are the same.
 */
#pragma once
#include "sim_io.h"
#include "store/disk/disk.h"

enum { LEDGER_SANDBOXES = 3, LEDGER_SOURCES = 2, LEDGER_LIVES = 16 };

struct ledger_source {
    uint64_t acked;
    uint64_t sent;
};
struct ledger_sandbox {
    unsigned life;       /* being written, from 0 */
    unsigned acked_life; /* some of it was acknowledged, or all before it is deleted */
    bool gone;           /* the deletion of acked_life was acknowledged, nothing newer was */
    /* A deletion failed and nothing was acknowledged since: a crash may show it done. */
    bool unsure;
    struct ledger_source sources[LEDGER_LIVES][LEDGER_SOURCES];
};

/* What an export consumer was given: of each sandbox the newest life, and its lines without a hole. */
struct ledger_covered {
    unsigned life;
    uint64_t lines[LEDGER_SOURCES];
};
struct ledger_cover {
    struct ledger_covered of[LEDGER_SANDBOXES];
};
/* A checkpoint, and what is before it. */
struct ledger_mark {
    struct sl_checkpoint at;
    struct ledger_cover cover;
};
enum { LEDGER_CONSUMERS = 2, LEDGER_UNSURE = 16 };
struct ledger_consumer {
    bool opened, busy;       /* busy: a change is under way */
    struct ledger_mark read; /* where it reads */
    struct ledger_mark sent; /* what is being acknowledged */
    struct ledger_mark acked;
    struct ledger_mark maybe[LEDGER_UNSURE]; /* acknowledgements that failed: a crash may show them done */
    unsigned unsure;
};

struct ledger {
    struct ledger_consumer consumers[LEDGER_CONSUMERS];
    struct sim_random random;
    struct ledger_sandbox sandboxes[LEDGER_SANDBOXES];
    struct sl_block_builder *builder;
    unsigned in_flight;
    unsigned acknowledged, failed; /* batches */
    size_t most_line_bytes;
    bool no_deletions; /* where a failed batch may be done in part, and its outcome is not told */
    bool went_on;      /* lines were added that the ledger does not know: ledger_go_on() */
};

/* What the text of a line begins with: sandbox, life, source, number within it. False: nobody wrote it.
 * (sscanf was a third of a run's time.) */
bool ledger_line_parse(struct sl_slice text, uint64_t ret_numbers[4]);

/* Called around each call of the store in ledger_send(), when set. */
extern void (*ledger_around)(bool inside);

void ledger_init(struct ledger *l, uint64_t seed);
void ledger_fini(struct ledger *l);
/* Submits a random batch. */
void ledger_send(struct ledger *l, struct store *s);
/* A block of each source at the place that the store names is taken, or it aborts. Not noted in the ledger.
 */
void ledger_go_on(struct ledger *l, struct store *s);
/* After a restart: what failed before it, and is there all the same, counts from now on. */
void ledger_reopened(struct ledger *l, struct store *s);
/* One of the export consumers is made, reads a page, or acknowledges what it has read. */
void ledger_consume(struct ledger *l, struct store *s);
/* From the place that the store names, nothing is left out that was not covered there. ledger_check() calls
 * it. */
void ledger_check_consumers(const struct ledger *l, struct store *s);
/* Reads all there is and compares; prints and aborts at the first lie. */
void ledger_check(const struct ledger *l, struct store *s);
