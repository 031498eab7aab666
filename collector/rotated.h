// SPDX-License-Identifier: Apache-2.0
/*
 * Names of rotated files: `BASE.1`, `BASE.2.gz`, `BASE.20261120-204500`, `BASE-20261120.gz` ... belong to the
 * log BASE and are older than it. Pure.
 */
#pragma once
#include "wire/slice.h"

/* Whether `name` is a rotated sibling of some base; *ret_base is its beginning. */
bool rotated_name(struct sl_slice name, struct sl_slice *ret_base);
bool rotated_is_gz(struct sl_slice name);
/*
 * Age by name: < 0 when `a` is older than `b`, both names of one log. Numbers count up with age, stamps down;
 * a base is the newest. 0: the names do not tell.
 */
int rotated_compare(struct sl_slice base, struct sl_slice a, struct sl_slice b);
