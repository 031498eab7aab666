// SPDX-License-Identifier: Apache-2.0
/*
 * Where an exported line is filed: `date=YYYY-MM-DD/hour=HH/<checkpoint>.ndjson.lz4`, by the line's time
 * (UTC) and the place at which its batch began. A file that is being written has the temporary name
 * `.<checkpoint>.ndjson.lz4.tmp` beside it. Pure, any thread.
 */
#pragma once
#include "export_item.h"

enum {
    EXPORT_FOLDER_BYTES = 24,                             /* date=2026-02-20/hour=14 and NUL */
    EXPORT_NAME_BYTES = EXPORT_CHECKPOINT_MAX_BYTES + 20, /* either name, and NUL */
};
enum { EXPORT_DATE_CHARS = 15 }; /* of the folder: date=2026-02-20 */

void export_folder_render(int64_t time_ns, char out[EXPORT_FOLDER_BYTES]);
void export_name_render(struct sl_slice checkpoint, char out[EXPORT_NAME_BYTES]);
void export_temporary_render(struct sl_slice checkpoint, char out[EXPORT_NAME_BYTES]);
/* Names that an exporter gives; what else lies in the folders is somebody else's, and left alone. */
bool export_is_temporary(const char *name);
/* What an exporter's own file of the folder says, but for newlines at its end: a name; empty: none. */
struct sl_slice export_word_decode(struct sl_slice file);
bool export_is_date(const char *name);
bool export_is_hour(const char *name);
