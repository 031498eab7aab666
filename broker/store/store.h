// SPDX-License-Identifier: Apache-2.0
/*
 * The store: what a storage engine does for the broker (DESIGN 5). Engines: disk/ and redis/; one conformance
 * suite (tests/unit/store_conformance.h) passes on every one. Which one is chosen by store_open()'s location.
 *
 * Promises of every engine:
 *  - append is all-or-nothing per item, in order per sandbox; an item is accepted only if its source stands
 * at range.from; `done` comes after the data is durable, or with a fault when nothing of the batch is
 * promised;
 *  - lines of a sandbox are numbered 1, 2, 3 ... without a hole, over restarts and crashes;
 *  - what was accepted is readable from the moment `done` ran, and `grown` is called then;
 *  - a damaged or retained-away record is never an error of a read: it becomes a gap record.
 *
 * Threads: all calls and callbacks on the home thread. An engine may have threads of its own, which wake the
 * home thread; it then calls store_run(). Errors: < 0 is -errno; > 0 as documented. Records passed to
 * callbacks are borrowed until the callback returns.
 */
#pragma once
#include "wire/message.h"

struct store;

struct store_options {
    const char *location;         /* a directory, or redis://HOST:PORT[,HOST:PORT...] */
    uint64_t memory_bytes;        /* budget of hot blocks */
    uint64_t segment_bytes;       /* size at which a segment is sealed */
    int64_t retention_age_ns;     /* 0: none */
    uint64_t retention_bytes;     /* on disk, all sandboxes; 0: none */
    uint64_t sandbox_bytes;       /* text of one sandbox; 0: none */
    unsigned compact_cpu_percent; /* of one core, for compaction; 0: all of it */
    uint64_t compact_bytes_per_s; /* read and written by compaction; 0: no limit */
    uint64_t
        export_hold_bytes;   /* what a consumer may hold back from retention, on disk; 0: no limit by bytes */
    int64_t export_hold_ns;  /* and by age; 0: no limit by age */
    bool export_holds;       /* false: consumers hold nothing back */
    void (*wake)(void *arg); /* any thread: call store_run() soon */
    /* Home thread: the sandbox has new records, or its place's version changed. `sandbox` is borrowed. */
    void (*grown)(void *arg, struct sl_slice sandbox);
    /* Home thread: another broker on the same store said this by store_tell(). NULL: not wanted. */
    void (*told)(void *arg, struct sl_slice note);
    void *arg;
};

/*
 * Opens, creating what is missing, recovering what a crash left. Faults: -EBUSY (another process owns it),
 * -EACCES, -ENOSPC, -EPROTONOSUPPORT (written by a newer version), -errno; *ret_why (static or owned by the
 * engine until the next call) says it in a sentence fit for a user.
 */
int store_open(const struct store_options *options, struct store **ret, const char **ret_why);
/* Commits what is pending, calls its `done`, closes. */
void store_close(struct store *s);
/* Names the store for ever; another one after it was emptied. */
uint64_t store_epoch(const struct store *s);
/*
 * Grows when what was durable may have been taken back behind our back: a server of the store failed over,
 * was restarted or emptied. Who remembers where a source stands has to ask again.
 */
uint64_t store_setbacks(const struct store *s);
/*
 * A word to the other brokers on the same store, where there can be others: now, to those that are there, at
 * most once; it may get lost.
 */
enum { STORE_NOTE_MAX_BYTES = 200 };
void store_tell(struct store *s, struct sl_slice note);
/* NULL while appends can succeed, else a sentence ("disk full"): for /readyz. */
const char *store_trouble(const struct store *s);
/* Home thread, when woken: `done` and `grown` callbacks. */
void store_run(struct store *s);

enum store_item_kind {
    STORE_BLOCK = SL_RECORD_BLOCK,
    STORE_CHANGE = SL_RECORD_CHANGE,
    STORE_DELETE = SL_RECORD_DELETE
};

struct store_item {
    uint8_t kind;
    struct sl_slice payload;       /* checked by the caller; borrowed until `done` */
    struct sl_block_header header; /* BLOCK: decoded */
    struct sl_change change;       /* CHANGE: decoded */
    struct sl_slice sandbox;       /* DELETE */
    /* filled before `done`: */
    struct sl_append_verdict verdict; /* BLOCK: as in message.h. CHANGE, DELETE: SL_TAKEN or SL_REFUSED */
    uint64_t first_seq;               /* BLOCK taken */
};

struct store_batch {
    struct store_item *items;
    size_t count;
    /*
     * Exactly once, from store_run() or store_close(). fault 0: every verdict stands and is durable. fault <
     * 0: nothing of the batch is promised; verdicts are SL_REFUSED with the durable place.
     */
    void (*done)(struct store_batch *batch, int fault);
    void *owner;
    struct store_batch *next; /* the engine's while it has the batch */
};
void store_append(struct store *s, struct store_batch *batch);

/* > 0 (STORE_UNKNOWN): no such sandbox. */
enum { STORE_UNKNOWN = 1 };
int store_place(struct store *s, struct sl_slice sandbox, struct sl_place *ret);
/* All about it; slices borrowed until the next call of the store. */
int store_info(struct store *s, struct sl_slice sandbox, struct sl_info *ret);
/*
 * Infos newest first as `list` asks (list->page 0: start); `each` returns false to stop early. *ret_next_page
 * 0: no more.
 */
int store_list(struct store *s, const struct sl_list *list,
               bool (*each)(void *arg, const struct sl_info *info), void *arg, uint64_t *ret_next_page);
/* Every source known of the sandbox; `each` may be called 0 times. */
int store_sources(struct store *s, struct sl_slice sandbox,
                  void (*each)(void *arg, const struct sl_source_place *place), void *arg);

/*
 * Gives whole BLOCK records (prefix + block), ascending, to `each`, which returns false to stop; at least one
 * if there is any, then as long as the sum stays within max_bytes. A record may begin before the number asked
 * for. A hole made by damage or retention is given as a gap record made up for it (a block without lines).
 * *ret_more: there are more. > 0: STORE_UNKNOWN.
 *
 * A gap takes no number: its first_seq is that of the line that comes next, so a gap behind the last line is
 * given by every read from last_seq + 1. An accepted gap raises place.version: who waits at the end has news
 * when last_seq >= its number or the version is newer, and remembers by commit_ns which gaps at its number it
 * has seen. Blocks that neither hold lines nor are a gap (they move or close a source) are never given.
 */
typedef bool store_each(void *arg, struct sl_slice record, const struct sl_record *prefix);
int store_read(struct store *s, struct sl_slice sandbox, uint64_t from_seq, size_t max_bytes,
               store_each *each, void *arg, bool *ret_more);
/* The first number of the earliest record whose last query time is >= time_ns; last_seq + 1 when there is
 * none. */
int store_seek_time(struct store *s, struct sl_slice sandbox, int64_t time_ns, uint64_t *ret_seq);
/*
 * For paging up: the number to read from so that the records up to (not including) `before_seq` fill at most
 * max_bytes, at least one record. Returns 1-based first number in *ret_seq (= before_seq when nothing lies
 * below it).
 */
int store_seek_back(struct store *s, struct sl_slice sandbox, uint64_t before_seq, size_t max_bytes,
                    uint64_t *ret_seq);

/* ---- export: everything stored, in commit order, to named consumers that keep their place (API.md 4) ----
 *
 * A checkpoint is a text of the engine's: 1 to SL_CHECKPOINT_MAX_BYTES of A-Z a-z 0-9 . _ -, a place between
 * two records of the store. A consumer's place is durable before its change's `done`. Places and scans:
 *  - within a sandbox's life lines are given in ascending order, and nothing behind a place is left out but
 * what was deleted, and what retention took beyond the hold (then gap records tell it, see store_scan());
 *  - a record may be given again behind a place that the store could not keep (rewritten segments); who
 *    reads knows it by sandbox and number;
 *  - the store keeps what a consumer still owes from retention and rewriting, up to the hold of the options.
 */
enum store_export_answer {
    /* STORE_UNKNOWN = 1: no such consumer */
    STORE_BUSY = 2,     /* another holder has the lease */
    STORE_FOREIGN = 3,  /* a checkpoint of another store */
    STORE_BAD = 4,      /* not a checkpoint */
    STORE_TOO_MANY = 5, /* SL_CONSUMERS_MAX are there */
};
enum store_consumer_what {
    STORE_CONSUMER_OPEN = 1, /* makes it if it is not there, its place before the oldest record kept */
    STORE_CONSUMER_ACK = 2,  /* to `checkpoint`; one before its place changes nothing */
    STORE_CONSUMER_DROP = 3, /* forgets it, and its lease */
};
struct store_consumer_change {
    uint8_t what;
    struct sl_slice consumer;   /* valid; borrowed until `done`, as is the next */
    struct sl_slice checkpoint; /* ACK */
    struct sl_checkpoint place; /* filled before `done` with 0 of OPEN and ACK: where it stands, durably */
    /*
     * Exactly once, from store_run() or store_close() or within the call. 0, STORE_UNKNOWN (ACK, DROP),
     * STORE_FOREIGN, STORE_BAD (ACK), STORE_TOO_MANY (OPEN), < 0: a fault, nothing is promised.
     */
    void (*done)(struct store_consumer_change *change, int answer);
    void *owner;
    struct store_consumer_change *next; /* the engine's */
};
void store_consumer_change(struct store *s, struct store_consumer_change *change);
/*
 * The lease: only one holder (a number, not 0) reads a consumer at a time. Takes it, or keeps it, for ttl_ms
 * from now; ttl_ms 0 gives it back. > 0: STORE_UNKNOWN, STORE_BUSY.
 */
int store_lease(struct store *s, struct sl_slice consumer, uint64_t holder, uint32_t ttl_ms);

struct store_scanned {
    struct sl_slice record; /* whole, BLOCK, with lines or a gap; borrowed until the callback returns */
    const struct sl_record *prefix;
    uint64_t birth;   /* of its sandbox, which is there now */
    uint32_t version; /* of its place now; another one: labels or host may have changed */
};
/* False: this record and those behind it are not taken. */
typedef bool store_scan_each(void *arg, const struct store_scanned *scanned);
/*
 * Gives records behind `checkpoint` (empty: the consumer's place) in commit order to `each`, at least one if
 * there is any, then as long as their sum stays within max_bytes. *ret_from: where it began; *ret_next:
 * behind what was taken (the same as *ret_from when there was nothing). *ret_more: there may be more right
 * now. A hole made by retention, deletion of segments by hand or damage is given as a gap record made up for
 * it; one with SL_GAP_LINES_UNKNOWN and reason retention, first_seq n, says: lines before n that were not
 * given before are gone. > 0: STORE_UNKNOWN, STORE_FOREIGN, STORE_BAD.
 *
 * Who waits for more is woken by `grown` (of any sandbox; an engine may call it with an empty one), and looks
 * again every 250 ms besides, for engines that hear of other brokers' appends only then.
 */
int store_scan(struct store *s, struct sl_slice consumer, struct sl_slice checkpoint, size_t max_bytes,
               store_scan_each *each, void *arg, struct sl_checkpoint *ret_from,
               struct sl_checkpoint *ret_next, bool *ret_more);
/* Every consumer, by name; cheap: nothing is scanned for it. */
int store_consumers(struct store *s, void (*each)(void *arg, const struct sl_consumer *consumer), void *arg);

/* ---- operations ---- */
struct sl_histogram;
/* What the engine counts; for /metrics and /status. Home thread. */
struct store_stats {
    uint64_t segments;
    uint64_t bytes;         /* on disk */
    uint64_t sandboxes;     /* known, deleted ones aside */
    uint64_t hot_bytes;     /* of memory_bytes in use */
    uint64_t lost_segments; /* places where whole files are missing that retention did not take, at the last
                               start */
    uint64_t cut_records;   /* torn or bad ones cut off at the last start */
    uint64_t cut_bytes;
    uint64_t damaged_blocks; /* met by reads and compactions since start */
    uint64_t commits;        /* group commits since start */
    uint64_t commit_faults;
    uint64_t compactions;
    uint64_t export_overruns; /* owed records dropped because a consumer held more than it may */
    const struct sl_histogram *sync_latency; /* the engine's; of write + sync of a group */
};
void store_stats(struct store *s, struct store_stats *ret);
/*
 * Compacts now: rewrites what is worth it and removes from disk what deletion and retention took. `done`
 * once, from store_run() or store_close() (-ECANCELED); calls while one runs wait for a round of their own.
 */
void store_compact(struct store *s, void (*done)(void *arg, int fault), void *arg);

/*
 * Verifies a store that no process has open (-EBUSY otherwise), every checksum of it. `report` gets one
 * sentence per finding and per file. With `repair`, torn tails are cut and damaged indexes rebuilt; damaged
 * blocks stay (they are read as gaps). Faults: -ENOENT, -EACCES, -EBUSY, -EPROTONOSUPPORT, -ENOTSUP (not a
 * directory's store), -errno.
 */
typedef void store_report(void *arg, const char *sentence);
struct store_check_result {
    uint64_t segments;
    uint64_t records;
    uint64_t lines;
    uint64_t torn_bytes; /* behind the last good record of unsealed segments */
    uint64_t damaged_blocks;
    uint64_t damaged_indexes;
    uint64_t lost_segments; /* places where one or more are missing */
    uint64_t repaired;
};
int store_check(const char *location, bool repair, store_report *report, void *arg,
                struct store_check_result *ret);
