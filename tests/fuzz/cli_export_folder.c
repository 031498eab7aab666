// SPDX-License-Identifier: Apache-2.0
/*
 * What an exporter finds in its folder: the files that say whose it is and where it ends, and names that
 * anybody may have put there. What is taken for our own is what an exporter writes.
 */
#include "export_place.h"

#include <assert.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct sl_slice word = export_word_decode(sl_slice(data, bytes));
    assert(word.bytes == 0 || export_name_valid(word));
    if (word.bytes > 0) {
        char name[EXPORT_NAME_BYTES];
        export_temporary_render(word, name);
        assert(export_is_temporary(name) && !strchr(name, '/'));
        export_name_render(word, name);
        assert(!export_is_temporary(name) && !export_is_date(name) && !export_is_hour(name));
    }
    char *name = malloc(bytes + 1);
    assert(name);
    memcpy(name, data, bytes);
    name[bytes] = 0;
    assert(export_is_date(name) + export_is_hour(name) + export_is_temporary(name) <= 1);
    assert(!export_is_date(name) || strlen(name) == EXPORT_DATE_CHARS);
    assert(!export_is_hour(name) || strlen(name) == strlen("hour=00"));
    free(name);
    return 0;
}
