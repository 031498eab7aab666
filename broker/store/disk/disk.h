// SPDX-License-Identifier: Apache-2.0
/*
 * The disk engine's state, shared by its modules: disk.c (open, close), append.c (submit, publish),
 * recover.c (start), read.c (reads, lookups). README.md has the format and the invariants. All of it is the
 * home thread's unless a module's header says otherwise.
 */
#pragma once
#include "../engine.h"
#include "commit.h"
#include "compact.h"
#include "consumers.h"
#include "hot.h"
#include "judge.h"
#include "retain.h"
#include "seal.h"

/* A made-up gap: prefix, and a block of no lines and no names that count. */
enum { GAP_RECORD_BYTES = SL_RECORD_PREFIX_BYTES + 1024 };

enum { DISK_WINDOW_BYTES = (256 << 10) + SL_RECORD_MAX_BYTES };

/* Parts of sealed segments that were read lately. */
enum { PARTS_KEPT = 16 };
struct kept_part {
    const struct segment *segment;
    uint64_t offset;
    uint64_t used; /* when, by a counter */
    struct entry *entries;
};

struct compact_waiter {
    struct compact_waiter *next;
    void (*done)(void *arg, int fault);
    void *arg;
};

struct disk {
    struct store store;
    struct store_options options;
    struct io *io;
    uint64_t epoch;
    struct table table;
    struct judge judge;
    struct consumers consumers;
    uint64_t export_overruns;
    struct hot_cache hot;
    struct commit commit;
    struct background background; /* compaction */
    struct background sealer;     /* may not wait for a compaction: a start would have to scan more */
    struct seal_job *unsealed;    /* could not be written; tried again */
    struct compact *compacting;   /* the one that runs */
    struct segment *dropping;     /* its states are on their way to the active segment */
    struct compact_waiter *waiting, *round; /* for the next round; of the one that runs */
    bool closing;
    int64_t looked_ns; /* when retention last looked, and what could not be sealed was tried */
    uint64_t compactions;
    int compact_fault;         /* of the last that failed */
    struct segment **segments; /* ascending numbers; the active one last */
    size_t segment_count;
    size_t segment_capacity;
    struct segment *active; /* where the next record goes; NULL: a new one is begun then */
    uint32_t next_number;
    uint64_t generation;          /* of jobs: one more after each fault */
    const char *trouble;          /* NULL: appends can succeed */
    struct store_batch *refused;  /* batches that failed before they became a job */
    struct sl_block_builder *gap; /* of gaps that are made up */
    uint8_t *scratch;             /* SL_RECORD_MAX_BYTES, for reads */
    uint8_t *window;              /* DISK_WINDOW_BYTES, for scans; NULL until the first */
    uint8_t gap_record[GAP_RECORD_BYTES];
    struct kept_part parts[PARTS_KEPT];
    uint64_t parts_used;
    uint32_t dropped;       /* by retention, up to this number */
    uint64_t lost_segments; /* places where at least one is missing that nobody dropped */
    uint64_t cut_records;
    uint64_t cut_bytes;
    uint64_t damaged_blocks;
};

/* For the tests: any io, which it takes, and the commit thread left out (see commit.h). Faults as
 * store_open(). */
int disk_open_io(const struct store_options *options, struct io *io, bool threaded, struct store **ret,
                 const char **ret_why);
/* Likewise store_check(). */
int disk_check_io(struct io *io, bool repair, store_report *report, void *arg,
                  struct store_check_result *ret);
/* A sentence for a fault of the disk. */
const char *disk_fault_text(int fault);
int disk_add_segment(struct disk *d, const struct segment_name *name, struct segment **ret);
void disk_remove_segment(struct disk *d, struct segment *s);

/* A segment was sealed, or can't be: what waits for that may go on. */
void disk_sealed(struct disk *d);
/* A compaction has ended. */
void disk_compacted(struct disk *d, int fault);
/* Unlinks the segment's file and forgets it. No extent refers to it any more. */
void disk_drop_file(struct disk *d, struct segment *s);
/* The active segment takes no more. */
void disk_roll(struct disk *d);

/* append.c */
void disk_append(struct store *s, struct store_batch *batch);
void disk_run(struct store *s);
/* Appends the states of these sandboxes and that d->dropping goes; then retain_stated(). Faults: nothing was
 * submitted. */
int disk_append_states(struct disk *d, struct sandbox **sandboxes, size_t count);
/* Appends the table of consumers, which it takes (also when it fails); then consumers_changed(). Faults:
 * nothing was submitted. */
int disk_append_table(struct disk *d, struct consumer_table *table, struct store_consumer_change *change);

/* upkeep.c: retention, compaction, who waits for it; after each disk_run(). */
void disk_upkeep(struct disk *d);
void disk_compact(struct store *s, void (*done)(void *arg, int fault), void *arg);
/* Whoever still waits is told. */
void disk_end_waiting(struct disk *d, int fault);

/* recover.c: reads everything that is there. */
int disk_recover(struct disk *d, const char **ret_why);

/* part.c: the entries of an extent, borrowed until the next call; NULL when they can't be had. */
const struct entry *part_entries(struct disk *d, const struct sandbox *b, const struct extent *x);
/* Forgets what was kept of a segment, or with NULL of all. */
void part_forget(struct disk *d, const struct segment *s);

/* read.c */
/* A gap made up for `lines` lines before `next`; borrowed until the next call. */
struct sl_slice disk_gap_record(struct disk *d, const struct sandbox *b, uint64_t next, uint64_t lines,
                                uint8_t reason, struct sl_record *ret);
int disk_read(struct store *s, struct sl_slice sandbox, uint64_t from_seq, size_t max_bytes, store_each *each,
              void *arg, bool *ret_more);
int disk_seek_time(struct store *s, struct sl_slice sandbox, int64_t time_ns, uint64_t *ret_seq);
int disk_seek_back(struct store *s, struct sl_slice sandbox, uint64_t before_seq, size_t max_bytes,
                   uint64_t *ret_seq);
int disk_place(struct store *s, struct sl_slice sandbox, struct sl_place *ret);
int disk_info(struct store *s, struct sl_slice sandbox, struct sl_info *ret);
int disk_list(struct store *s, const struct sl_list *list,
              bool (*each)(void *arg, const struct sl_info *info), void *arg, uint64_t *ret_next_page);
int disk_sources(struct store *s, struct sl_slice sandbox,
                 void (*each)(void *arg, const struct sl_source_place *place), void *arg);
