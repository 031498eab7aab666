// SPDX-License-Identifier: Apache-2.0
/* What a WebSocket's client sends: the same code however it is cut, and never more good than there was. */
#include "frame.h"
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct frame whole, cut;
    size_t good;
    int one = 0;
    frame_begin(&whole);
    frame_begin(&cut);
    int code = frame_scan(&whole, sl_slice(data, bytes), &good);
    assert(good <= bytes && (code != 0 || good == bytes));
    assert(code == 0 || code == FRAME_PROTOCOL || code == FRAME_TOO_BIG);
    for (size_t i = 0; i < bytes && !one; i++)
        one = frame_scan(&cut, sl_slice(data + i, 1), &good);
    assert(one == code);
    return 0;
}
