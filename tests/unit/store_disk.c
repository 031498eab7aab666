// SPDX-License-Identifier: Apache-2.0
/* The conformance suite on the disk engine. */
#include "store_export.h"
#include "store_folder.h"
#include <dirent.h>

static void engine_make(struct world *w)
{
    folder_make(w, "store");
}

int main(void)
{
    int failed = cmocka_run_group_tests(conformance_tests, NULL, NULL);
    return failed + cmocka_run_group_tests(export_tests, NULL, NULL);
}
