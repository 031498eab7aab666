// SPDX-License-Identifier: Apache-2.0
/*
 * The text of --export-hold: how much a consumer of the export may hold back from retention. Pure.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct hold {
    bool holds;
    uint64_t bytes; /* 0: no limit by bytes */
    int64_t age_ns; /* 0: no limit by age */
};
/* `10GiB`, `3d`, both with a comma between, or `none`. > 0 (HOLD_BAD): something else. */
enum { HOLD_BAD = 1 };
int hold_parse(const char *text, struct hold *ret);
