// SPDX-License-Identifier: Apache-2.0
/*
 * A segment: one file of records. Born when the first record that goes into it is submitted, written by the
 * commit thread, closed when it is full or had a fault.
 *
 * Home thread, but for the fields that the commit thread owns while the segment is being written: the home
 * thread reads `file` only once a job of the segment has come back.
 */
#pragma once
#include "format.h"
#include "io.h"

struct sandbox;

enum { SEGMENT_RESERVE_BYTES = 16 << 20 };

struct segment {
    struct segment_name name;
    uint64_t tail;       /* where the next record goes: what is in flight counted in */
    uint64_t durable;    /* what has come back as durable */
    uint32_t in_flight;  /* jobs */
    bool closed;         /* takes no more records */
    bool sealed;         /* has its index, is never written again */
    bool sealing;        /* the background thread writes its index */
    bool suspect;        /* had a fault: its file is never written or synced again, but replaced */
    bool unsealable;     /* stays without its index until the next start, for want of memory */
    uint64_t file_bytes; /* of a sealed one: with the index */
    bool busy;           /* being compacted or dropped */
    bool uncompactable;  /* an attempt met what can't be read */
    bool salvaged;       /* came without its index: nothing says what else was in it */
    uint64_t lines;      /* of its blocks; see text_bytes */
    uint64_t text_bytes, live_text_bytes, dead_text_bytes; /* text of its blocks; of deleted, trimmed ones */
    uint64_t last_birth;      /* greatest birth given before it, as its header says */
    uint32_t before, dropped; /* as its header and its trailer say: format.h */
    bool lost_before;         /* the segment before it was lost */
    int64_t oldest_commit_ns;
    int64_t newest_commit_ns;
    struct sandbox **touched; /* who has a record in it, until it is sealed */
    size_t touched_count, touched_capacity;
    /* the commit thread's: */
    int file;
    uint64_t written; /* durable for the commit thread */
    uint64_t reserved;
    bool named; /* its directory entry is durable */
};

int segment_new(const struct segment_name *name, struct segment **ret);
/* Closes the file. */
void segment_free(struct segment *s, struct io *io);
/* A record with this commit time is in it. */
void segment_commit_time(struct segment *s, int64_t commit_ns);
