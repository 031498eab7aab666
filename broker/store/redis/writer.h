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
    struct ids *overfull; /* sandboxes to be looked at by upkeep_trim() */
    int64_t sweep_ns;     /* when the next sweep begins */
    uint64_t sweep_at;    /* how far in the list the present one is */
};

int writer_join(struct writer *w, struct sl_slice id, struct box **ret);
void writer_round(struct writer *w);
/* What has grown, and the batches, to home. */
void writer_tell(struct writer *w, struct store_batch *batches, int64_t began_ns);
void writer_leave(struct writer *w);

/* Notes that the sandbox holds more than it should. */
void upkeep_look(struct writer *w, const struct box *b);
/* Trims those noted. */
void upkeep_trim(struct writer *w);
bool upkeep_due(const struct writer *w);
/* Looks at some sandboxes more. */
void upkeep_step(struct writer *w);
/* At all of them, then says so. */
void upkeep_all(struct writer *w, struct compaction *compactions);
