// SPDX-License-Identifier: Apache-2.0
/*
 * One line of what the server exports (openapi.yaml, readExport), decoded: a log line, a gap, what is known
 * of a sandbox, or a checkpoint. Foreign bytes: any input is safe. Any thread.
 */
#pragma once
#include "line.h"

enum { EXPORT_CHECKPOINT_MAX_BYTES = 64 };

enum export_kind {
    EXPORT_NOTHING, /* an empty line, or a kind from the future */
    EXPORT_LINE,
    EXPORT_GAP,
    EXPORT_SANDBOX,    /* stands before its lines */
    EXPORT_CHECKPOINT, /* all that came before it is covered by it */
};

struct export_item {
    enum export_kind kind;
    struct sl_slice json;        /* as it came, borrowed, without newline */
    struct sl_slice sandbox;     /* of all but checkpoints */
    struct line line;            /* of a line */
    int64_t time_ns;             /* of a line */
    int64_t missing;             /* of a gap: lines, -1: not known */
    struct sl_slice life, host;  /* of a sandbox; host may be empty */
    const struct json_t *labels; /* of a sandbox: an object, or NULL */
    struct sl_slice checkpoint;  /* 1 to EXPORT_CHECKPOINT_MAX_BYTES, fit for a file's name */
    struct json_t *object;
};

/* LINE_MALFORMED, -ENOMEM. After 0 export_item_fini() is due, before `json` goes. */
int export_item_decode(struct sl_slice json, struct export_item *ret);
void export_item_fini(struct export_item *item);

/* 1 to EXPORT_CHECKPOINT_MAX_BYTES of A-Z a-z 0-9 . _ - and not . or ..: a consumer, or a checkpoint. */
bool export_name_valid(struct sl_slice text);
/* Is this whole line a checkpoint? Without parsing; only a checkpoint's object begins so. */
bool export_is_checkpoint(struct sl_slice json);
