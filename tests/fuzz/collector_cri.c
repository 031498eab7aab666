// SPDX-License-Identifier: Apache-2.0
/* Any record: taken with its text inside of it, or refused. */
#include "entry.h"
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct entry e;
    if (cri_parse(sl_slice(data, bytes), &e) != 0)
        return 0;
    assert(e.stream <= SL_STDERR);
    assert(e.text.data >= data && e.text.data + e.text.bytes == data + bytes);
    return 0;
}
