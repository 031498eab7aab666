// SPDX-License-Identifier: Apache-2.0
/*
 * The collector: what ties watching, reading, packing and shipping together. finder.c turns names into files,
 * places.c decides where reading begins, turns.c whose turn it is, passing.c what becomes of a file at its
 * end, ends.c knows when a sandbox is over, home.c is the loop and what the outside sees. One home thread;
 * nothing in here blocks but reading files.
 */
#pragma once
#include "options.h"
#include "pack.h"
#include "ship.h"
#include "tail.h"
#include "wire/ops.h"

struct collector {
    const struct collector_options *options;
    struct pattern *patterns;
    size_t pattern_count;
    struct fleet fleet;
    struct watch *watch;
    struct pack pack;
    struct ship *ship;
    struct sandbox *timers;        /* those with something to look at later */
    struct log *arriving;          /* arrivals.c */
    struct stirred *stirred_first; /* finder.c: names to look at, in the order of their events */
    struct stirred *stirred_last;
    uint64_t drains; /* how often inotify's queue was seen empty */
    uint64_t epoch;
    uint64_t left_page; /* of the question for sandboxes that were left without files; see ends_left() */
    int64_t left_ns;    /* monotonic: not to be asked before */
    bool left_asked, left_done;
    bool deep;                 /* the last round of turns left files with more to read */
    bool turned;               /* turns were taken since the lag was measured */
    unsigned unwatched_rounds; /* how often in a row publish() saw folders that inotify gives no news of */
    struct counts {
        struct sl_counter lines, bytes, blocks, malformed, rotations, truncations, requests, sent_bytes,
            resends, refused, files_refused, ids_invalid, overflows, swept;
        struct sl_counter gaps[SL_GAP_DAMAGED + 1];
        struct sl_gauge open_files, files, sandboxes, folders, folders_unwatched, lag_bytes, lag_seconds,
            held_bytes, in_flight, connected;
    } counts;
};

/* ---- finder.c: events of the watch */
void finder_name(void *arg, struct folder *folder, const char *name, enum news news, uint32_t cookie);
void finder_look(void *arg, struct folder *folder, bool listed);
void finder_missed(void *arg, struct folder *folder);
bool finder_told(void *arg, bool drained);
/* A gap for a file that was never met: before this one, NULL: behind all. NULL without memory. */
struct file *finder_phantom(struct collector *c, struct log *log, struct file *before);
/* Looks at one name again. */
void finder_reconcile(struct collector *c, struct log *log, const char *name, enum news news);

struct statx;
/* The log's file that this is; NULL: none that is known. */
struct file *finder_find(const struct collector *c, const struct log *log, const struct statx *st);

/* It has this name now; it has none any more. */
void finder_rename(struct collector *c, struct file *f, const char *name);
void finder_nameless(struct collector *c, struct file *f);

/* ---- arrivals.c */
/* An event: a file came by its log's name, or was made under a rotated one. */
void arrivals_add(struct collector *c, struct log *log, const char *name);
/* An event: a name came or went. True when an arrival has it now, which had another one before. */
bool arrivals_move(struct collector *c, const struct folder *folder, const char *name, enum news news,
                   uint32_t cookie);
/*
 * A file was met by its name. `from`: where inotify's queue ended before that was looked at
 * (watch_happened()). `newcomer`: it came while its folder was watched, so that an event tells of it, maybe a
 * moment later.
 */
void arrivals_met(struct collector *c, struct file *f, uint64_t from, bool newcomer);
/* An event tells of a name of the log; before that is taken. */
void arrivals_stirred(struct collector *c, struct log *log);
/* One of them is neither gone nor met. */
bool arrivals_unmet(const struct log *log);
/* At the log's timer. */
void arrivals_look(struct collector *c, struct log *log, int64_t now_ns);
/* inotify's queue was seen empty, and the names that it told of were looked at. */
void arrivals_drained(struct collector *c);
/* Events were lost. */
void arrivals_lost(void *arg);
/*
 * Every name of the log was looked at. If events were lost before, and the youngest file of then is gone,
 * what came after it may have gone, too: rotated files go oldest first.
 */
void arrivals_listed(struct collector *c, struct log *log);

/* ---- alike.c */
/* The first bytes of a file, read once for all comparisons. */
struct first {
    uint8_t data[SL_FINGERPRINT_MAX_BYTES];
    size_t bytes;
    bool unready; /* it can't be read yet: a .gz in the making */
};
int alike_read(struct collector *c, struct file *f, struct first *ret);
/* XXH3-64 of so many of them; there are as many. */
uint64_t alike_fingerprint(const struct first *first, size_t bytes);
/*
 * Whether `f` begins as `other` does, or as it did when it was read. < 0: fault; 0: yes; 1: no; 2: there is
 * too little of f to tell: it may be growing into a copy.
 */
int alike(struct collector *c, struct file *f, const struct first *first, struct file *other);
/* What was read of it is still there. */
bool alike_itself(struct collector *c, struct file *f);
/* What is older is no copy. Births are not known everywhere. */
bool alike_born_before(const struct file *f, const struct file *other);
/* It was written to. */
void alike_forget(struct file *f);

/* ---- order.c */
/*
 * Whether the next file of the log may be begun: which files there are, and in which order, is known. Moves
 * files that are not begun. False: look again a little later.
 */
bool order_settled(struct collector *c, struct log *log);

/* The place of a file that comes now: behind all, or a copy of the one that has the log's name, before that.
 */
uint64_t order_next(struct log *log, bool copied);
/* Its place is known. */
void order_place(struct file *f);
/* No event has told of the file that was met. */
void order_unknown(struct file *f, bool base);
/* A file of this place was never met. */
void order_missed(struct collector *c, struct log *log, uint64_t order);

/* Whether a name of the log's folder is one of the log's. */
bool order_belongs(const struct collector *c, const struct log *log, const char *name);

/* Whether every name of the log was met, as far as that can be told at a price that its folder allows. */
bool order_known(struct collector *c, struct log *log);

/* ---- places.c */
/* A connection to the broker of this epoch: all places are asked for. */
void places_wanted(struct collector *c, uint64_t epoch);
/* The broker's places of a sandbox: all its files are placed anew. */
void places_known(void *arg, struct sandbox *s, const struct sl_source_place *places, uint32_t count);
/* Tries to place one file; it stays FILE_UNPLACED when that can't be told yet. Faults: of reading. */
int places_place(struct collector *c, struct file *f);
/* The file is the first one that is begun of a log from before: what vanished of that is its to tell. 0: it
 * knows; 1: not yet. */
int places_lost(struct collector *c, struct file *f);
/* What was read of the file is not in it any more, nor in a copy. */
bool places_cut(struct collector *c, struct file *f);
/* `copy` goes on for `f`, whose content it has. Nothing of f is in flight. */
void places_adopt(struct collector *c, struct file *copy, struct file *f);
/* The file starts again at 0 as its next incarnation. */
void places_new_life(struct file *f, uint8_t gap_reason);

/* ---- turns.c */
/* Work of one sandbox: about one block. True when it should get another turn. */
bool turns_take(struct collector *c, struct sandbox *s);
/* There may be something to read in the file. */
void turns_touch(struct collector *c, struct file *f);
/* Looks at the sandbox again in this time at the latest. */
void turns_later(struct collector *c, struct sandbox *s, int64_t delay_ns);
/* Sandboxes whose time has come. */
void turns_timers(struct collector *c, int64_t now_ns);
void turns_answered(void *arg, struct sandbox *s);
void turns_buried(void *arg, struct file *f);

/* ---- ends.c */
/* A file beside logs: exit_code, config.v2.json. True if the name is one of them. */
bool ends_beside(struct collector *c, struct folder *folder, const char *name, enum news news);
void ends_stop(void *arg, struct sl_slice sandbox);
void ends_said(void *arg, struct sandbox *s, bool ok);
/*
 * Once after the start, when everything is listed: asks for sandboxes that the broker has as running here and
 * that have no file, and ends them.
 */
void ends_left(struct collector *c, int64_t now_ns);
void ends_mine(void *arg, struct sl_reader *ids, uint64_t next_page);
/* Host, labels (and that it runs again) before the first block of a connection; -ENOMEM. */
int ends_announce(struct collector *c, struct sandbox *s);
void ends_attrs(void *arg, struct log *log, struct sl_slice attrs);
/* If its end is known and everything is read and acknowledged, says so; forgets what is over. */
void ends_check(struct collector *c, struct sandbox *s);

/* ---- home.c */
int collector_run(const struct collector_options *options);
