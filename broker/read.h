// SPDX-License-Identifier: Apache-2.0
/*
 * Reading: the one read loop's broker end. A READ request is answered at once, or parked until one of its
 * sandboxes has news, or its time is up (then with no part). History and live are the same code: an answer is
 * put together from what the store has when it is sent.
 *
 * News of an entry: there are records at or behind its number; its sandbox has another version than the asker
 * knows (state, labels, retention, a gap); it is gone and the asker knew it; it is there and the asker did
 * not.
 *
 * Limits: an answer holds at most max_bytes of records, shared evenly by the entries that have some (what one
 * leaves goes to the next), but at least one record; an entry that found no room says `more`. Of a request
 * that waits, the entry served first moves on with each answer, so that a busy sandbox starves nobody.
 *
 * Home thread. Faults: -ENOMEM.
 */
#pragma once
#include "counts.h"

struct reads;

int reads_new(struct store *store, struct counts *counts, struct reads **ret);
/* Parked requests are left to their server. */
void reads_free(struct reads *r);
/* Takes a READ request. `now_ns` here and below is monotonic. */
void reads_take(struct reads *r, struct sl_request *request, int64_t now_ns);
/* From the store's `grown`: remembers. */
void reads_grown(struct reads *r, struct sl_slice sandbox, int64_t now_ns);
/* After the store ran: answers those with news. */
void reads_wake(struct reads *r);
/* Deadlines; returns when to call again at the latest. */
int64_t reads_run(struct reads *r, int64_t now_ns);
/* Answers all that wait, as if their time was up. */
void reads_end(struct reads *r);
