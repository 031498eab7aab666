// SPDX-License-Identifier: Apache-2.0
/*
 * Checkpoints of the Redis engine, as clients send them back and as Redis keeps them: any bytes end well, and
 * what was read is written as a text that reads the same.
 */
#include "store/redis/export.h"
#include "wire/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool same(const struct export_place *a, const struct export_place *b)
{
    return a->ms == b->ms && a->number == b->number && a->spot.seq == b->spot.seq &&
           a->spot.sub == b->spot.sub;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint64_t epoch = UINT64_C(0x0123456700000000); /* checkpoints begin with 01234567- */
    struct export_place place, again;
    if (export_place_parse(sl_slice(data, size), &place)) {
        char text[PLACE_BYTES];
        size_t bytes = export_place_text(&place, text);
        assert(bytes < sizeof text);
        assert(export_place_parse(sl_slice(text, bytes), &again) && same(&place, &again));
    }
    if (!sl_checkpoint_valid(sl_slice(data, size))) /* refused where it comes in */
        return 0;
    int answer = export_place_read(sl_slice(data, size), epoch, &place);
    assert(answer == 0 || answer == STORE_BAD || answer == STORE_FOREIGN);
    if (answer == 0) {
        struct sl_checkpoint checkpoint;
        export_place_write(&place, epoch, &checkpoint);
        assert(sl_checkpoint_valid(sl_checkpoint_slice(&checkpoint)));
        assert(export_place_read(sl_checkpoint_slice(&checkpoint), epoch, &again) == 0);
        assert(same(&place, &again));
    }
    return 0;
}
