// SPDX-License-Identifier: Apache-2.0
/*
 * Sealing: a closed segment gets its index behind its records and is never written again. The index is made
 * on the home thread at the moment when the state of every sandbox is as of the segment's last record
 * (README, invariant 6), and written in the background. A segment that had a fault is not written again: what
 * of it is durable goes with the index into a new file, which takes its name; that is tried until it
 * succeeds. Sealing is never necessary: until then the index is in memory, and a start scans the segment.
 */
#pragma once
#include "background.h"
#include "segment.h"
#include "state.h"

struct consumers;
struct disk;

/* Notes that the segment has a record of the sandbox; once per sandbox and segment. */
void seal_touch(struct segment *s, struct sandbox *b);

/* The bytes of an index, and whose they are. */
struct seal {
    struct segment *segment;
    uint8_t *bytes; /* table of consumers, states, parts, trailer */
    size_t size;
    size_t count;
    struct seal_part {
        struct sandbox *sandbox;
        uint64_t birth;
        struct part part;
    } * parts;
    int fault;
};
/* Faults: -ENOMEM; -EFBIG: a state that fits no record. */
int seal_make(struct segment *s, const struct consumers *consumers, struct seal *ret);
void seal_fini(struct seal *seal);
/* Writes and syncs it. Any thread, no other one writing the file. */
int seal_write(struct io *io, const struct seal *seal);
/* The same into a new file that takes the segment's name; *ret_file is open. */
int seal_replace(struct io *io, const struct seal *seal, int *ret_file);
#define SEAL_FILE "seal.new"
/* The entries in memory give way to the parts on disk. */
void seal_finish(struct seal *seal);

struct seal_job {
    struct background_job job;
    struct seal_job *next; /* of d->unsealed */
    struct io *io;
    struct seal seal;
    bool replace;
    int file;
};
/* Home thread: seals the segment in the background if it is closed and nothing of it is in flight. */
void seal_start(struct disk *d, struct segment *s);
/* Tries again what could not be sealed. */
void seal_retry(struct disk *d);
/* The segment goes. */
void seal_forget(struct disk *d, const struct segment *s);
