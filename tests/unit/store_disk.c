// SPDX-License-Identifier: Apache-2.0
/* The conformance suite on the disk engine. */
#include "store_export.h"
#include <dirent.h>

static void engine_make(struct world *w)
{
    const char *base = getenv("TMPDIR");
    snprintf(w->location, sizeof w->location, "%s/sandlog-store-XXXXXX", base ? base : "/tmp");
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

int main(void)
{
    int failed = cmocka_run_group_tests(conformance_tests, NULL, NULL);
    return failed + cmocka_run_group_tests(export_tests, NULL, NULL);
}
