// SPDX-License-Identifier: Apache-2.0
/*
 * One file of a batch while it is written: NDJSON in LZ4 frames (lz4frame, as lz4(1) reads them) under a
 * temporary name. A part may be put aside, which ends its frame and closes the file, and written on later in
 * a frame of its own, so that any number of them costs few descriptors. One thread.
 */
#pragma once
#include "export_place.h"

struct export_part;

/*
 * Makes the folder below `root_fd` and the file; one that is there is overwritten. -errno. The names are
 * copied.
 */
int export_part_new(int root_fd, const char *folder, struct sl_slice checkpoint, struct export_part **ret);
/* Closes it as it is. */
void export_part_free(struct export_part *part);
const char *export_part_folder(const struct export_part *part);
/* -errno; the part is then good for nothing but free. */
int export_part_add(struct export_part *part, struct sl_slice bytes);
/* Ends the frame, syncs and closes; 0 when that was done already. -errno. */
int export_part_settle(struct export_part *part);
bool export_part_open(const struct export_part *part);
/* After settle: gives it its name, in place of what has it, and syncs its folders. -errno. */
int export_part_publish(struct export_part *part);
/* Removes the temporary file. */
void export_part_remove(struct export_part *part);
