// SPDX-License-Identifier: Apache-2.0
/* What Redis holds of a sandbox and of a source: decoding any bytes ends well, and what was decoded encodes
 * to the same. */
#include "store/redis/life.h"
#include <assert.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t token[TOKEN_BYTES];
    struct life l;
    life_init(&l, sl_slice_of("a"));
    if (size > SOURCE_FIELD_BYTES &&
        life_decode_source(&l, sl_slice(data, SOURCE_FIELD_BYTES),
                           sl_slice(data + SOURCE_FIELD_BYTES, size - SOURCE_FIELD_BYTES)) == 0) {
        uint8_t again[SOURCE_VALUE_BYTES];
        life_source_encode(&l.sources[0], again);
        assert(memcmp(again, data + SOURCE_FIELD_BYTES, sizeof again - 1) == 0);
    }
    life_clear(&l);
    if (life_decode(&l, sl_slice(data, size), sl_slice(token, sizeof token)) == 0) {
        struct sl_info info;
        life_info(&l, &info);
        /* One of the version before, which said less, is written as one of today's. */
        size_t more = data[0] == 1 ? sizeof(int64_t) : 0;
        assert(life_bytes(&l) == size + more);
        uint8_t *again = malloc(size + more);
        assert(again);
        life_encode(&l, again);
        assert(more || memcmp(again + 2, data + 2, size - 2) == 0);
        free(again);
    }
    life_clear(&l);
    return 0;
}
