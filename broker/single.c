// SPDX-License-Identifier: Apache-2.0
#include "single.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

enum { CHANGE_FIXED_BYTES = 64 }; /* more than all of an encoded change but its sandbox, host and labels */

struct single {
    struct store_batch batch;
    struct store_item item;
    single_done *done;
    void *arg;
    uint8_t payload[];
};

static void on_done(struct store_batch *batch, int fault)
{
    struct single *single = batch->owner;
    single->done(single->arg, fault == 0 && single->item.verdict.verdict == SL_TAKEN);
    free(single);
}

static struct single *single_new(size_t payload_bytes, single_done *done, void *arg)
{
    struct single *single = calloc(1, sizeof *single + payload_bytes);
    if (!single)
        return NULL;
    single->batch =
        (struct store_batch){.items = &single->item, .count = 1, .done = on_done, .owner = single};
    single->done = done;
    single->arg = arg;
    return single;
}

int single_change(struct store *store, const struct sl_change *change, single_done *done, void *arg)
{
    size_t room = CHANGE_FIXED_BYTES + change->sandbox.bytes + change->host.bytes + change->label_pairs.bytes;
    struct single *single = single_new(room, done, arg);
    if (!single)
        return -ENOMEM;
    struct sl_writer w = sl_writer(single->payload, room);
    sl_change_encode(&w, change);
    assert(!w.failed);
    single->item.kind = STORE_CHANGE;
    single->item.payload = sl_slice(single->payload, w.bytes);
    /* Decoded again, so that its slices point into our copy. */
    struct sl_reader r = sl_reader(single->item.payload);
    int status = sl_change_decode(&r, &single->item.change);
    assert(status == SL_STATUS_OK);
    (void)status;
    store_append(store, &single->batch);
    return 0;
}

int single_delete(struct store *store, struct sl_slice sandbox, single_done *done, void *arg)
{
    struct single *single = single_new(sandbox.bytes, done, arg);
    if (!single)
        return -ENOMEM;
    memcpy(single->payload, sandbox.data, sandbox.bytes);
    single->item.kind = STORE_DELETE;
    single->item.payload = sl_slice(single->payload, sandbox.bytes);
    single->item.sandbox = single->item.payload;
    store_append(store, &single->batch);
    return 0;
}
