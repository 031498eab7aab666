// SPDX-License-Identifier: Apache-2.0
/*
 * Export over Redis. One stream, `sandlog:{export}:log`, says in the order of their commits which entries of
 * which sandbox have come: notes, each a range of a sandbox's stream. They are written behind the append by
 * the broker that made it (writer's thread), and for what a broker could not note any more by a sweep over
 * all sandboxes; a mark per sandbox beside the log, moved by the same script, lets no range be noted twice or
 * be left out. A consumer's place is a place in the log and in the range noted there.
 *
 * While there is no consumer nothing is noted.
 */
#pragma once
#include "writer.h"
#include <assert.h>

/* A place between two entries of a sandbox's stream: behind everything that is smaller. */
struct spot {
    uint64_t seq;
    uint32_t sub;
};

/* Behind this note of the log; or, with a spot, within it. */
struct export_place {
    uint64_t ms, number; /* its id */
    struct spot spot;
};

#define EXPORT_KEY(name) "sandlog:{export}:" name
enum { PLACE_BYTES = 80, LEASE_KEY_BYTES = 32 + SL_CONSUMER_MAX_BYTES };
/* The slot of all its keys. */
unsigned export_slot(void);
/* "MS-NUMBER-SEQ-SUB"; false: it is none. */
bool export_place_parse(struct sl_slice text, struct export_place *ret);
size_t export_place_text(const struct export_place *p, char out[PLACE_BYTES]);
/* The same behind eight digits of the store's epoch. > 0: STORE_FOREIGN, STORE_BAD. */
int export_place_read(struct sl_slice text, uint64_t epoch, struct export_place *ret);
void export_place_write(const struct export_place *p, uint64_t epoch, struct sl_checkpoint *ret);
size_t lease_key(char out[LEASE_KEY_BYTES], struct sl_slice consumer);

extern struct script note_script, consumer_script, lease_script, thin_script;

/* An entry of the log. */
struct note {
    uint64_t ms, number; /* its id */
    struct sl_slice sandbox, only;
    uint64_t birth;
    struct spot from, to;
    uint64_t lines, bytes;         /* of it */
    uint64_t all_lines, all_bytes; /* of all to its end */
    int64_t commit_ns;
};
/* False: not a note of ours. Its slices are the entry's. */
bool note_parse(const redisReply *entry, struct note *ret);
/* Asks for notes, as XRANGE does. -ENOMEM. */
int want_notes(struct call *c, const char *from, const char *to, const char *count);

/* ---- writer's thread ---- */

/* Notes what the boxes of this round have written; what fails is left to the sweep. */
void export_note(struct writer *w);
bool export_due(const struct writer *w);
/* Looks at some sandboxes more for what was not noted. */
void export_step(struct writer *w);
/* Removes some notes more that are of no use (export_thin.c), or, at once, all of them. */
bool export_thin_due(const struct writer *w);
void export_thin_step(struct writer *w);
void export_thin_all(struct writer *w);
/* Does what home has asked for, and gives them back with their answers. */
void export_changes(struct writer *w, struct changing *changes);

/* ---- watcher's thread: who owes what, once a second ---- */

void export_look(struct redis *r, struct link *l);

/* ---- home ---- */

void redis_consumer_change(struct store *s, struct store_consumer_change *change);
int redis_lease(struct store *s, struct sl_slice consumer, uint64_t holder, uint32_t ttl_ms);
int redis_scan(struct store *s, struct sl_slice consumer, struct sl_slice checkpoint, size_t max_bytes,
               store_scan_each *each, void *arg, struct sl_checkpoint *ret_from,
               struct sl_checkpoint *ret_next, bool *ret_more);
int redis_consumers(struct store *s, void (*each)(void *arg, const struct sl_consumer *consumer), void *arg);
