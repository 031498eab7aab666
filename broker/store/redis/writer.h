// SPDX-License-Identifier: Apache-2.0
/*
 * Rounds (writer.c) and what the writer does when it has time: retention (upkeep.c). Writer's thread.
 *
 * A round: writer_join() the sandboxes, add what is wanted of them, writer_round(), writer_tell(),
 * writer_leave().
 */
#pragma once
#include "box.h"

struct writer {
    struct redis *redis;
    struct link *link;
    struct arena arena;
    struct boxes all;
    struct box **boxes, **sent; /* of the round; those that are in `calls` */
    struct call *calls;
    size_t box_count, box_capacity;
    int64_t now_ns;
    uint64_t tokens, last_birth_us;
    unsigned jitter;
    struct ids *overfull;    /* sandboxes to be looked at by upkeep_trim() */
    int64_t sweep_ns;        /* when the next sweep begins */
    uint64_t sweep_at;       /* how far in the list the present one is */
    int64_t export_sweep_ns; /* the same, for what was not noted for export */
    uint64_t export_at;      /* by birth */
    int64_t thin_ns;         /* when the log of notes is looked at next */
    bool thinning;           /* it is being looked at, up to here: */
    struct {
        uint64_t ms, number;
    } thin_at;
};

int writer_join(struct writer *w, struct sl_slice id, struct box **ret);
void writer_round(struct writer *w);
/* What has grown, and the batches, to home. */
void writer_tell(struct writer *w, struct store_batch *batches, int64_t began_ns);
void writer_leave(struct writer *w);

/* ---- commands (writing.c); -ENOMEM. What they point to lives in the round's arena. ---- */

int writer_copy(struct writer *w, struct call *c, const void *data, size_t bytes);
int writer_number(struct writer *w, struct call *c, uint64_t n);
int writer_key(struct writer *w, struct call *c, struct sl_slice id, char kind);
uint64_t writer_next_birth(struct writer *w, int64_t now_ns);

/* What a write of a sandbox is made of beside its state. */
struct writing {
    uint8_t had[TOKEN_BYTES];
    bool had_any;
    bool fresh; /* the stream begins anew */
    bool begins;
    char keep[ENTRY_ID_BYTES]; /* first entry kept; empty: all */
    struct call entries;       /* arguments only: id, prefix, block */
};
void writing_begin(struct writing *g, const struct life *l);
int writing_add(struct writer *w, struct writing *g, const struct store_item *item,
                const struct sl_record *record, uint32_t sub);
/* The call of box `b`; its life is as it shall be. */
int writing_call(struct writer *w, struct box *b, const struct writing *g);

/* Notes that the sandbox holds more than it should. */
void upkeep_look(struct writer *w, const struct box *b);
/* Trims those noted. */
void upkeep_trim(struct writer *w);
bool upkeep_due(const struct writer *w);
/* Looks at some sandboxes more. */
void upkeep_step(struct writer *w);
/* At all of them, then says so. */
void upkeep_all(struct writer *w, struct compaction *compactions);
