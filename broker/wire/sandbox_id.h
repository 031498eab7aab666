// SPDX-License-Identifier: Apache-2.0
/*
 * Sandbox ids: 1 to 128 bytes of `A-Z a-z 0-9 . _ : -`, not `.` or `..` (API.md). Checked at every edge,
 * trusted after. Container names follow the same rule but may be empty (0 to 128 bytes). Pure, any thread.
 */
#pragma once
#include "wire/slice.h"

enum { SL_ID_MAX_BYTES = 128 };

bool sl_sandbox_id_valid(struct sl_slice id);
bool sl_container_valid(struct sl_slice name);
