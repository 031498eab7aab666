// SPDX-License-Identifier: Apache-2.0
/* Blocks from nobody knows where. The checksum is made right, since an attacker can do that too. */
#include "wire/block.h"
#include "wire/crc32c.h"
#include <assert.h>
#include <stdlib.h>

enum { AT_CRC = 24 };

static volatile uint8_t touched;

static void walk(struct sl_slice block, const struct sl_block_header *h)
{
    uint8_t *scratch = malloc(h->raw_bytes > 0 ? h->raw_bytes : 1);
    assert(scratch != NULL);
    struct sl_block_lines it;
    if (sl_block_lines_open(&it, block, h, scratch, h->raw_bytes) == 0) {
        struct sl_line line;
        uint64_t text_bytes = 0;
        uint32_t lines = 0;
        for (; sl_block_lines_next(&it, &line); lines++) {
            assert(line.time_ns >= h->time_min_ns && line.time_ns <= h->time_max_ns);
            assert(line.container < h->containers && line.stream <= SL_STDERR);
            for (size_t i = 0; i < line.text.bytes; i++)
                touched = line.text.data[i];
            text_bytes += line.text.bytes + !line.partial;
        }
        assert(lines == h->lines && text_bytes == h->text_bytes);
    }
    free(scratch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    uint8_t *copy = malloc(bytes > 0 ? bytes : 1);
    assert(copy != NULL);
    memcpy(copy, data, bytes);
    struct sl_slice block = sl_slice(copy, bytes);
    struct sl_block_header h;
    int answer = sl_block_decode_header(block, &h);
    if (answer == SL_BLOCK_OK && sl_block_bytes(&h) > bytes) {
        answer = sl_block_check(block, &h);
        assert(answer == SL_BLOCK_TRUNCATED);
    } else if (answer == SL_BLOCK_OK) {
        block.bytes = sl_block_bytes(&h);
        sl_store32(copy + AT_CRC, 0);
        sl_store32(copy + AT_CRC, sl_crc32c(0, block));
        answer = sl_block_check(block, &h);
        assert(answer == SL_BLOCK_OK);
        assert(sl_sandbox_id_valid(h.sandbox));
        for (unsigned i = 0; i < h.containers; i++)
            assert(sl_container_valid(sl_block_container(&h, i)));
        walk(block, &h);
    }
    free(copy);
    return 0;
}
