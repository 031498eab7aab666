// SPDX-License-Identifier: Apache-2.0
/*
 * The parameter `label=KEY=VALUE`, repeated: all of them are to match. Pure.
 */
#pragma once
#include "query.h"
#include "wire/message.h"

enum { LABEL_PAIRS_BYTES = SL_LABELS_MAX * (1 + SL_LABEL_KEY_MAX_BYTES + 2 + SL_LABEL_VALUE_MAX_BYTES) };

/* Writes the pairs as sl_label_write() does; `pairs` has LABEL_PAIRS_BYTES. > 0 with *ret_problem. */
int label_parse(const struct query_pair *given, size_t count, struct sl_writer *pairs, uint16_t *ret_count,
                struct problem *ret_problem);
