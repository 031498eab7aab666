// SPDX-License-Identifier: Apache-2.0
/*
 * An exported line as a row for ClickHouse (JSONEachRow). The text goes in byte for byte, also where it is
 * not UTF-8: a String of ClickHouse is bytes, and its JSON parser takes what stands between quotes as it is;
 * only quotes, backslashes and control characters are escaped. Pure, any thread.
 */
#pragma once
#include "export_lives.h"

#include <stdio.h>

enum row_form {
    ROW_NEW, /* DateTime64(9), Map */
    ROW_OLD, /* before ClickHouse 21: DateTime and TimestampNs, two arrays */
};

/* `out` keeps its own error. What a DateTime can't hold (before 1970, after 2105) becomes the nearest it can.
 */
void row_render(FILE *out, enum row_form form, const struct export_item *line,
                const struct export_life *life);
