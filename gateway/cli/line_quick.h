// SPDX-License-Identifier: Apache-2.0
/*
 * A log line's object in the form in which a gateway writes it (members in its order, no blanks), taken apart
 * in one pass. Parsing each line into a tree of jansson's took 2.5 to 4 us, most of what reading a log cost.
 * Whatever looks otherwise, or is not sound JSON, is not judged here: the caller gives it to jansson, which
 * decides. So what is recognised has to come out as jansson has it, and fuzz/cli_export_item holds them
 * against each other. Foreign bytes: any input is safe. Any thread.
 */
#pragma once
#include "line.h"

/* LINE_QUICK_NOT: not in this form. -ENOMEM. After 0 line_fini() is due; *ret borrows from `json`. */
enum { LINE_QUICK_NOT = 1 };
int line_quick(struct sl_slice json, struct line *ret);
