// SPDX-License-Identifier: Apache-2.0
/* Any record: its text is never longer than it, and places map to and fro. */
#include "entry.h"
#include <assert.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    uint8_t *scratch = malloc(bytes + 1);
    struct sl_slice record = sl_slice(data, bytes), attrs = {0}, key, value;
    struct entry e;
    size_t at = 0;
    if (!scratch)
        return 0;
    if (docker_parse(record, scratch, &e, &attrs) == 0) {
        assert(e.stream <= SL_STDERR && e.text.bytes <= bytes);
        for (size_t n = 0; n <= e.text.bytes; n += 1 + e.text.bytes / 16) {
            size_t place = docker_record_before(record, n);
            assert(place <= bytes && docker_text_before(record, place) <= n);
        }
        while (docker_attrs_next(attrs, &at, scratch, &key, &value))
            assert(key.bytes + value.bytes <= attrs.bytes);
    }
    free(scratch);
    return 0;
}
