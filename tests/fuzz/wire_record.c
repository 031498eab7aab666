// SPDX-License-Identifier: Apache-2.0
/* Records as a torn or damaged segment may hold them; the prefix's checksum is made right. */
#include "wire/crc32c.h"
#include "wire/record.h"
#include <assert.h>
#include <stdlib.h>

enum { AT_PREFIX_CRC = 44 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    uint8_t *copy = malloc(bytes > 0 ? bytes : 1);
    assert(copy != NULL);
    memcpy(copy, data, bytes);
    if (bytes >= SL_RECORD_PREFIX_BYTES)
        sl_store32(copy + AT_PREFIX_CRC, sl_crc32c(0, sl_slice(copy, AT_PREFIX_CRC)));
    struct sl_record record;
    struct sl_slice payload;
    struct sl_block_header header;
    if (sl_record_check(sl_slice(copy, bytes), &record, &payload, &header) == SL_RECORD_OK) {
        assert(payload.bytes == record.payload_bytes && payload.data == copy + SL_RECORD_PREFIX_BYTES);
        uint8_t again[SL_RECORD_PREFIX_BYTES];
        sl_record_encode_prefix(&record, again);
        assert(memcmp(again, copy, sizeof again) == 0);
        if (record.kind == SL_RECORD_BLOCK)
            assert(sl_query_ceiling(&record, &header) >= record.floor_ns);
    }
    free(copy);
    return 0;
}
