// SPDX-License-Identifier: Apache-2.0
/* Whatever a log holds, a terminal gets text, TAB and colours. */
#include "term.h"

#include <assert.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void check(const uint8_t *out, size_t bytes, bool colours)
{
    for (size_t i = 0; i < bytes; i++) {
        if (out[i] == 0x1b && colours) {
            assert(i + 2 < bytes && out[i + 1] == '[');
            i += 2;
            while (i < bytes && ((out[i] >= '0' && out[i] <= '9') || out[i] == ';' || out[i] == ':'))
                i++;
            assert(i < bytes && out[i] == 'm');
            continue;
        }
        assert(out[i] == '\t' || (out[i] >= 0x20 && out[i] != 0x7f));
        assert(!(out[i] == 0xc2 && i + 1 < bytes && out[i + 1] < 0xa0)); /* C1 */
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    uint8_t *out = malloc(TERM_CLEAN_FACTOR * bytes + TERM_CLEAN_EXTRA);
    if (!out)
        return 0;
    for (int mode = TERM_COLOURS; mode <= TERM_JSON; mode++) {
        size_t n = term_clean(sl_slice(data, bytes), (enum term_mode)mode, out);
        assert(n <= TERM_CLEAN_FACTOR * bytes + TERM_CLEAN_EXTRA);
        check(out, n, mode == TERM_COLOURS);
    }
    (void)term_colour(sl_slice(data, bytes));
    free(out);
    return 0;
}
