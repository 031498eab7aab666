// SPDX-License-Identifier: Apache-2.0
/*
 * The judge: whether an item is accepted, decided when it is submitted, against the state as it will be once
 * everything in flight is durable (struct pending). So several blocks of one source can be in flight, and the
 * answers are right when they leave, because they leave in order, after the commit. If the commit fails, all
 * in flight fails and pending is what is durable again.
 *
 * Home thread.
 */
#pragma once
#include "../store.h"
#include "sandbox.h"

struct judge {
    struct table *table;
    struct pending *first;
};

/*
 * Fills item->verdict, and first_seq. 0: to be recorded, *ret_record is its prefix; the item is in flight
 * until judge_settle(). > 0 (JUDGE_NOTHING): nothing to record. -ENOMEM: refused.
 */
enum { JUDGE_NOTHING = 1 };
int judge_item(struct judge *j, struct store_item *item, int64_t commit_ns, struct sl_record *ret_record);
/* An item in flight of this sandbox is durable and applied. */
void judge_settle(struct judge *j, struct sandbox *b);
/* All in flight has failed. */
void judge_rollback(struct judge *j);
/* The verdict of an item of a failed batch. */
void judge_refuse(struct judge *j, struct store_item *item);
