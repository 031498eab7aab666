// SPDX-License-Identifier: Apache-2.0
/* Bodies of acknowledgements, any bytes: what is taken is a checkpoint, what is not is told in a sentence. */
#include "export.h"
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sl_checkpoint checkpoint = {0};
    const char *why = NULL;
    int answer = export_ack_parse(sl_slice(data, size), &checkpoint, &why);
    assert(answer == 0 || (answer == EXPORT_INVALID && why && checkpoint.bytes == 0));
    assert(answer != 0 || sl_checkpoint_valid(sl_checkpoint_slice(&checkpoint)));
    return 0;
}
