// SPDX-License-Identifier: Apache-2.0
/* The body of a PUT. What is taken can be encoded as a change and is read back as sound. */
#include "change.h"
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static uint8_t memory[CHANGE_PAIRS_BYTES], message[CHANGE_PAIRS_BYTES + 1024];
    struct sl_writer pairs = sl_writer(memory, sizeof memory), w = sl_writer(message, sizeof message);
    struct sl_change change = {.sandbox = sl_slice_of("box")}, read;
    const char *member, *why = NULL;
    if (change_parse(sl_slice(data, bytes), &pairs, &change, &member, &why) != 0) {
        assert(why);
        return 0;
    }
    assert(!pairs.failed);
    sl_change_encode(&w, &change);
    assert(!w.failed);
    struct sl_reader r = sl_reader(sl_slice(message, w.bytes));
    assert(sl_change_decode(&r, &read) == 0 && read.labels == change.labels && read.fields == change.fields);
    return 0;
}
