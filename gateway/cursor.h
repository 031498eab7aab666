// SPDX-License-Identifier: Apache-2.0
/*
 * Cursors: the text that names one line of one sandbox, `<epoch>-<sandbox>-<seq>`: eight hex digits that mix
 * the store's epoch and the sandbox's birth, eight of a hash of the sandbox id, the number in decimal. It is
 * the same text on every gateway and broker, and stays valid as long as the store. seq 0: before the first
 * line.
 *
 * A cursor set names a line in each of several sandboxes (/v1/logs): `m.` and base64url of
 *     u8 version (1), then per member: u32 sandbox hash, u32 epoch mix, varint seq, ascending by sandbox
 * hash. At most CURSOR_SET_MAX members, so at most CURSOR_SET_TEXT_BYTES of text; a member not named starts
 * where the other parameters say.
 *
 * Parsing is pure and has two steps: the syntax, for which nothing must be known, then the check against what
 * the broker says about the sandbox. A hash of 32 bits can meet itself: a foreign cursor passes once in 2^32,
 * and then names a number of the sandbox the reader may read anyhow. Any thread.
 */
#pragma once
#include "wire/slice.h"

enum {
    CURSOR_TEXT_BYTES = 8 + 1 + 8 + 1 + 20, /* at most; no NUL */
    CURSOR_PREFIX_BYTES = 18,               /* all but the number: the same for all lines of a sandbox */
    CURSOR_SET_MAX = 512,
    CURSOR_SET_TEXT_BYTES = 2 + (1 + CURSOR_SET_MAX * (4 + 4 + 10)) / 3 * 4 + 4,
};

struct cursor {
    uint32_t epoch;   /* mix of the store's epoch and the sandbox's birth */
    uint32_t sandbox; /* hash of the id */
    uint64_t seq;
};

struct cursor cursor_of(struct sl_slice sandbox, uint64_t epoch, uint64_t birth, uint64_t seq);
/* Returns the bytes written. */
size_t cursor_render(const struct cursor *c, char out[CURSOR_TEXT_BYTES]);

enum cursor_answer {
    CURSOR_OK = 0,
    CURSOR_MALFORMED = 1, /* 400 */
    CURSOR_FOREIGN = 2,   /* another sandbox's: 400 */
    CURSOR_EXPIRED = 3,   /* another store's, or of an earlier, deleted sandbox of this id: 410 */
};
int cursor_parse(struct sl_slice text, struct cursor *ret);
int cursor_check(const struct cursor *c, struct sl_slice sandbox, uint64_t epoch, uint64_t birth);

/* Writes members (sorted here by sandbox hash, in place) and returns the bytes; count <= CURSOR_SET_MAX. */
size_t cursor_set_render(struct cursor *members, size_t count, char out[CURSOR_SET_TEXT_BYTES]);
/*
 * Members ascending by sandbox hash, at most CURSOR_SET_MAX; a plain cursor is a set of one. `ret` must have
 * room for CURSOR_SET_MAX. CURSOR_MALFORMED otherwise.
 */
int cursor_set_parse(struct sl_slice text, struct cursor *ret, size_t *ret_count);
/* The member for this sandbox, NULL when none is named; then cursor_check(). */
const struct cursor *cursor_set_find(const struct cursor *members, size_t count, struct sl_slice sandbox);
