// SPDX-License-Identifier: Apache-2.0
/*
 * The body of PUT /v1/sandboxes/{id}: foreign JSON in, a struct sl_change out (API.md 3). Members it does not
 * know are ignored. Reading is jansson's, which takes nothing but RFC 8259, no duplicate keys and at most
 * 2,048 levels.
 */
#pragma once
#include "wire/message.h"

enum { CHANGE_PAIRS_BYTES = SL_LABELS_MAX * (1 + SL_LABEL_KEY_MAX_BYTES + 2 + SL_LABEL_VALUE_MAX_BYTES) };

/*
 * Fills fields, state, exit code and labels; the label pairs go into *pairs (of CHANGE_PAIRS_BYTES) and are
 * borrowed. > 0 (CHANGE_INVALID): *ret_why is a static sentence, *ret_member what it is about, or NULL.
 */
enum { CHANGE_INVALID = 1 };
int change_parse(struct sl_slice body, struct sl_writer *pairs, struct sl_change *ret,
                 const char **ret_member, const char **ret_why);
