// SPDX-License-Identifier: Apache-2.0
/* The folder of a world (store_world.h) on the disk engine: made for the test, removed with its files. */
#pragma once
#include "store_world.h"
#include <dirent.h>

static inline void folder_make(struct world *w, const char *name)
{
    const char *base = getenv("TMPDIR");
    snprintf(w->location, sizeof w->location, "%s/sandlog-%s-XXXXXX", base ? base : "/tmp", name);
    assert_non_null(mkdtemp(w->location));
}

static void engine_destroy(struct world *w)
{
    DIR *folder = opendir(w->location);
    assert_non_null(folder);
    struct dirent *entry;
    while ((entry = readdir(folder))) {
        char path[600];
        snprintf(path, sizeof path, "%s/%s", w->location, entry->d_name);
        if (entry->d_name[0] != '.')
            unlink(path);
    }
    closedir(folder);
    assert_int_equal(rmdir(w->location), 0);
}
