// SPDX-License-Identifier: Apache-2.0
/*
 * Where an export goes. A batch is begun at a place, gets items in their order, and is committed: after that
 * it is durable, or accepted by who keeps it, and may be acknowledged. A batch that was dropped, or died with
 * the process, is begun again at the same place, perhaps with another end, and leaves nothing twice. One
 * thread.
 */
#pragma once
#include "export_lives.h"
#include "retry.h"

enum sink_answer {
    SINK_OK = 0,
    SINK_AGAIN = 1, /* not now; why was said by retry_say(). The batch has to be dropped. */
    SINK_NEVER = 2, /* why was said */
};

struct sink_limits {
    int64_t batch_bytes; /* of text: a batch that has so much is committed */
    int64_t batch_ns;    /* as is one that was begun so long ago */
};

struct sink {
    const struct sink_kind *kind;
    struct retry *retry; /* says what is in the way */
    /* True: stop what takes long. May be NULL. */
    bool (*cancelled)(void);
};

struct sink_kind {
    struct sink_limits limits;
    /* Is it there, and does it fit? Before the first batch. NULL: that is known. */
    int (*open)(struct sink *sink);
    /* `again`: batches at this place may have been begun before, by whom ever. */
    int (*begin)(struct sink *sink, struct sl_slice place, bool again);
    /* A line, with what is known of its sandbox (or NULL), or a gap. */
    int (*add)(struct sink *sink, const struct export_item *item, const struct export_life *life);
    int (*commit)(struct sink *sink);
    /*
     * Behind a commit, before its acknowledgement: notes beside what it has that all before `place` is there,
     * and gives what was noted last (empty: nothing). For sinks where a repeat with other boundaries would be
     * seen, if a server forgot acknowledgements. Both NULL: not needed.
     */
    int (*note)(struct sink *sink, struct sl_slice place);
    struct sl_slice (*noted)(struct sink *sink);
    void (*drop)(struct sink *sink);
    void (*free)(struct sink *sink);
};
