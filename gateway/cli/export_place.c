// SPDX-License-Identifier: Apache-2.0
#include "export_place.h"

#include <stdio.h>

static const char suffix[] = ".ndjson.lz4", temporary[] = ".tmp";

void export_folder_render(int64_t time_ns, char out[EXPORT_FOLDER_BYTES])
{
    char time[SL_TIME_TEXT_BYTES]; /* 2026-02-20T14:... */
    sl_time_render(time_ns, time);
    snprintf(out, EXPORT_FOLDER_BYTES, "date=%.10s/hour=%.2s", time, time + 11);
}

void export_name_render(struct sl_slice checkpoint, char out[EXPORT_NAME_BYTES])
{
    snprintf(out, EXPORT_NAME_BYTES, "%.*s%s", (int)checkpoint.bytes, (const char *)checkpoint.data, suffix);
}

void export_temporary_render(struct sl_slice checkpoint, char out[EXPORT_NAME_BYTES])
{
    snprintf(out, EXPORT_NAME_BYTES, ".%.*s%s%s", (int)checkpoint.bytes, (const char *)checkpoint.data,
             suffix, temporary);
}

struct sl_slice export_word_decode(struct sl_slice file)
{
    while (file.bytes > 0 && file.data[file.bytes - 1] == '\n')
        file.bytes--;
    return export_name_valid(file) ? file : sl_slice(NULL, 0);
}

bool export_is_temporary(const char *name)
{
    static const char end[] = ".ndjson.lz4.tmp";
    size_t bytes = strlen(name);
    return name[0] == '.' && bytes > sizeof end && strcmp(name + bytes - (sizeof end - 1), end) == 0;
}

/* Each d of the form stands for a digit, D for the letter. */
static bool has_form(const char *name, const char *form)
{
    for (; *form; name++, form++)
        if (*form == 'd' ? *name < '0' || *name > '9' : *name != (*form == 'D' ? 'd' : *form))
            return false;
    return *name == '\0';
}

bool export_is_date(const char *name)
{
    return has_form(name, "Date=dddd-dd-dd");
}

bool export_is_hour(const char *name)
{
    return has_form(name, "hour=dd");
}
