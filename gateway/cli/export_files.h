// SPDX-License-Identifier: Apache-2.0
/*
 * An export into a folder (export_place.h says under which names). A batch is written aside, one file an hour
 * of its lines' times, synced and renamed; just before, files of earlier attempts are removed that have the
 * same name in hours which this one has no line of: what they held comes again with later batches. Each file
 * tells of a sandbox before its first line. The folder is one consumer's (`.sandlog-export` names it) and one
 * process's at a time.
 */
#pragma once
#include "export_sink.h"

/* Opens the folder, made if need be, and removes what a killed process left unfinished. SINK_NEVER: why was
 * said. */
int export_files_new(const char *dir, const char *consumer, struct retry *retry, struct sink **ret);
