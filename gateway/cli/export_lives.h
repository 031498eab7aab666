// SPDX-License-Identifier: Apache-2.0
/*
 * What the export has said of the sandboxes whose lines it gives: life, host and labels, the newest word of
 * each. One thread.
 */
#pragma once
#include "export_item.h"

struct export_life {
    uint64_t number; /* of this word: another one when it was said anew */
    struct sl_slice sandbox, life, host;
    const struct json_t *labels; /* may be NULL */
    struct sl_slice json;        /* the object as it came */
};

struct export_lives;

/* NULL without memory. */
struct export_lives *export_lives_new(void);
void export_lives_free(struct export_lives *lives);
/* Keeps what a sandbox item says. -ENOMEM. */
int export_lives_learn(struct export_lives *lives, const struct export_item *item);
/* NULL: nothing was said of it. Valid until it is learnt anew or forgotten. */
const struct export_life *export_lives_find(const struct export_lives *lives, struct sl_slice sandbox);
/* All of it: a new answer says everything again. */
void export_lives_forget(struct export_lives *lives);
