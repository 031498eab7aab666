// SPDX-License-Identifier: Apache-2.0
/*
 * Watching: the folders that the patterns reach, with inotify on every level below a pattern's root and a
 * sweep that finds what inotify missed (queue overflow, no watch left, file systems without events).
 *
 * Folders may not exist yet, come and go at every level. A folder is watched first and listed at once after,
 * so that nothing falls between. Nothing is followed out of the root: folders are opened with openat2(2),
 * beneath it, without symlinks. Home thread; events come from watch_run() and watch_tick() as calls.
 */
#pragma once
#include "pattern.h"
#include "table.h"
#include <sys/types.h>

struct watch;
struct log;

/* A folder on the way to files; `depth` components of the pattern are matched by it and those above. */
struct folder {
    struct table_node by_name;
    struct table_node by_wd;
    struct folder *parent; /* NULL: the root */
    struct root *root;
    struct folder *listing_next;
    void *listing;       /* a DIR that is not at its end */
    struct folder *next; /* in its sweep queue */
    struct folder *previous;
    struct log *logs; /* of a last folder; the fleet's */
    uint32_t log_count;
    int64_t due_ns; /* next sweep */
    int64_t changed_ns;
    int64_t watched_ns; /* realtime, as the file system has it: what was born earlier came before the watch */
    uint64_t listed_at; /* finder.c: every name was met when events were drained as often; 0: not yet */
    uint64_t ino;
    uint32_t children;
    int wd; /* -1: not watched, the sweep looks after it alone */
    uint8_t depth;
    uint8_t sweeps;     /* counted, to look at it itself now and then */
    bool here;          /* false: vanished; kept while something below is still read */
    bool listed;        /* once at least */
    bool tells;         /* its file system tells inotify of every name that comes and goes */
    bool holds_sandbox; /* {sandbox} is captured by it or above: the folder belongs to one sandbox */
    uint8_t name_bytes;
    char name[];
};

struct root {
    const struct pattern *pattern;
    struct folder *folder;
    int fd;     /* -1: not there yet */
    bool tells; /* its file system, `device`, tells inotify of every name that comes and goes */
    dev_t device;
};

enum news {
    NEWS_THERE, /* met in a listing */
    NEWS_CREATED,
    NEWS_RENAMED, /* to this name */
    NEWS_WENT,    /* deleted, or renamed from this name */
    NEWS_WRITTEN,
};

struct watch_events {
    /* Something happened to a name in a last folder. `name` is NUL-terminated. `cookie`: of a name that was
     * taken from a file and of the one it was given for it; else 0. */
    void (*name)(void *arg, struct folder *folder, const char *name, enum news news, uint32_t cookie);
    /* A last folder was listed (every name was reported) or swept: look whether what is known is still there.
     */
    void (*look)(void *arg, struct folder *folder, bool listed);
    /* A last folder is swept: what is known in it is there, under its names, as it was last seen. Where
     * events can be trusted this is all that is asked; elsewhere, and once a minute, the folder is looked at,
     * too. */
    bool (*unchanged)(void *arg, const struct folder *folder);
    /* A folder was made and gone before it could be listed. */
    void (*missed)(void *arg, struct folder *folder);
    /* Something was not told: the queue was full. */
    void (*lost)(void *arg);
    /* After the events of a watch_run(). `drained`: the queue was empty, so all that had happened is told.
     * True: what has happened since is to be told, too. */
    bool (*told)(void *arg, bool drained);
    void *arg;
};

struct watch_counts {
    uint64_t folders;
    uint64_t unwatched; /* of them without inotify */
    uint64_t overflows;
    uint64_t sweeps; /* folders swept */
};

/* `patterns` outlive the watch. Faults: -errno. */
int watch_new(const struct pattern *patterns, size_t count, const struct watch_events *events,
              struct watch **ret);
void watch_free(struct watch *w);
int watch_fd(const struct watch *w);
/* How far the stream of events was told, the one that is being told included; and how far it reaches by now,
 * in bytes since the start: what has happened to a name up to there is told when the former is there. */
uint64_t watch_handled(const struct watch *w);
uint64_t watch_happened(const struct watch *w);
/* When watch_fd() is readable: a bounded number of events; true when there may be more. */
bool watch_run(struct watch *w);
/* Roots that were not there, and due sweeps, a bounded number; returns when to call again (monotonic). */
int64_t watch_tick(struct watch *w, int64_t now_ns);
/* Every root is there, and everything below was listed. */
bool watch_complete(const struct watch *w);
/* Everything below the roots that are there was listed. */
bool watch_listed(const struct watch *w);
void watch_counts(const struct watch *w, struct watch_counts *ret);

/* Captures along the folder's way. */
void folder_captures(const struct folder *f, struct captures *ret);
/*
 * Opens a name of the folder, or the folder itself (name NULL), beneath the root and without any symlink.
 * -errno.
 */
int folder_open(const struct folder *f, const char *name, int flags);
/* What a name of the folder is now (statx(2), symlinks not followed); -errno. */
struct statx;
int folder_statx(const struct folder *f, const char *name, struct statx *ret);
/* The fleet let go of something in the folder: it may be freed when it is gone. Not from within an event. */
void watch_release(struct watch *w, struct folder *f);
/* Path of a name, for messages. */
void folder_path(const struct folder *f, const char *name, char *out, size_t capacity);
