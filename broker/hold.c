// SPDX-License-Identifier: Apache-2.0
#include "hold.h"

#include "wire/timestamp.h"

#include <string.h>

static int bytes_parse(struct sl_slice text, uint64_t *ret)
{
    static const struct {
        const char *name;
        unsigned shift;
    } units[] = {{"", 0}, {"KiB", 10}, {"MiB", 20}, {"GiB", 30}, {"TiB", 40}};
    uint64_t value = 0;
    size_t at = 0;
    for (; at < text.bytes && text.data[at] >= '0' && text.data[at] <= '9'; at++) {
        if (value > UINT32_MAX)
            return HOLD_BAD;
        value = value * 10 + (uint64_t)(text.data[at] - '0');
    }
    struct sl_slice unit = sl_slice(text.data + at, text.bytes - at);
    for (size_t i = 0; at > 0 && value > 0 && i < sizeof units / sizeof *units; i++) {
        if (!sl_slice_equal(unit, sl_slice_of(units[i].name)))
            continue;
        *ret = value << units[i].shift;
        return value > UINT64_MAX >> 1 >> units[i].shift ? HOLD_BAD : 0;
    }
    return HOLD_BAD;
}

int hold_parse(const char *text, struct hold *ret)
{
    struct hold hold = {.holds = true};
    if (strcmp(text, "none") == 0) {
        *ret = (struct hold){0};
        return 0;
    }
    for (const char *at = text; at;) {
        const char *comma = strchr(at, ',');
        struct sl_slice part = sl_slice(at, comma ? (size_t)(comma - at) : strlen(at));
        uint64_t bytes;
        int64_t age_ns;
        if (!hold.bytes && bytes_parse(part, &bytes) == 0)
            hold.bytes = bytes;
        else if (!hold.age_ns && sl_duration_parse(part, &age_ns) == 0 && age_ns > 0)
            hold.age_ns = age_ns;
        else
            return HOLD_BAD;
        at = comma ? comma + 1 : NULL;
    }
    *ret = hold;
    return 0;
}
