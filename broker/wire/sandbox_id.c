// SPDX-License-Identifier: Apache-2.0
#include "sandbox_id.h"

static bool allowed(uint8_t c)
{
    uint8_t lower = c | 0x20;
    return (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= ':') || c == '.' || c == '_' || c == '-';
}

bool sl_sandbox_id_valid(struct sl_slice id)
{
    return id.bytes > 0 && sl_container_valid(id);
}

bool sl_container_valid(struct sl_slice name)
{
    if (name.bytes > SL_ID_MAX_BYTES)
        return false;
    bool only_dots = true;
    for (size_t i = 0; i < name.bytes; i++) {
        if (!allowed(name.data[i]))
            return false;
        only_dots = only_dots && name.data[i] == '.';
    }
    return !(only_dots && (name.bytes == 1 || name.bytes == 2));
}
