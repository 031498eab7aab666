// SPDX-License-Identifier: Apache-2.0
/* Times as a log file or a user gives them; a time that is read is rendered and read again. */
#include "wire/timestamp.h"
#include <assert.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    uint8_t *copy = malloc(bytes > 0 ? bytes : 1);
    assert(copy != NULL);
    memcpy(copy, data, bytes);
    struct sl_slice text = sl_slice(copy, bytes);
    int64_t ns;
    size_t used;
    if (sl_time_parse_rfc3339(text, &ns, &used) == SL_TIME_OK) {
        assert(used <= bytes);
        char out[SL_TIME_TEXT_BYTES];
        int64_t again;
        size_t all;
        sl_time_render(ns, out);
        int answer = sl_time_parse_rfc3339(sl_slice(out, sizeof out), &again, &all);
        assert(answer == SL_TIME_OK && again == ns && all == sizeof out);
    }
    if (sl_duration_parse(text, &ns) == SL_TIME_OK)
        assert(ns >= 0);
    (void)sl_time_parse_user(text, INT64_C(1795207324000000000), &ns);
    free(copy);
    return 0;
}
