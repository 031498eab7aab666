// SPDX-License-Identifier: Apache-2.0
/*
 * What the files of /v1/logs share: many.c (who is a member, and what is answered), many_merge.c (their
 * lines, in one order). Nobody else's business.
 */
#pragma once
#include "connection.h"
#include "cursor.h"
#include "lag.h"
#include "raw.h"
#include "reader.h"

enum { MANY_FILL_BYTES = 64 << 10 };

struct member {
    struct reader *reader;
    struct render render;
    struct lag lag;
    bool ready;  /* its place is known, `render` is made */
    bool ended;  /* its end was told */
    bool named;  /* by sandbox=, not by a label */
    unsigned at; /* in many->cursor */
    size_t id_bytes;
    uint8_t id[SL_ID_MAX_BYTES];
};

struct many {
    struct connection *c;
    struct query query;   /* what was asked */
    struct query of_each; /* without limits, which count over all */
    struct query of_new;  /* likewise; of a sandbox that came while others were followed: no tail cuts it */
    int64_t began_ns;
    struct render_style style;
    struct filter *filter;
    struct member **members;
    size_t count, capacity;
    struct cursor *cursor; /* `capacity`, one per member, in the order of members */
    struct cursor *sorted; /* the same, for rendering */
    struct cursor *resume; /* CURSOR_SET_MAX: what `after` names; NULL: nothing is to be remembered */
    size_t resume_count;
    char *cursor_text;       /* CURSOR_SET_TEXT_BYTES */
    struct sl_writer labels; /* pairs that members match; empty: only named ones */
    uint16_t label_count;
    struct upstream_call *listing;
    bool listed; /* the first list has come */
    uint64_t page;
    int64_t poll_ns;
    int64_t waits_ns; /* since when lines at hand wait for others */
    uint64_t given_lines, given_bytes;
    struct buffer out;
    size_t out_at;
    bool limit_reached;
    bool over;
};

/* Its first answer has come, so it has a place and a cursor; false: it has not. */
bool many_get_ready(struct many *l, struct member *m);
/* The cursor that covers all members, as it is now. Borrowed until the next call. */
struct sl_slice many_cursor(struct many *l);
/* Fills `out` with what is at hand, up to MANY_FILL_BYTES. */
void many_merge(struct many *l);
