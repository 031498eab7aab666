// SPDX-License-Identifier: Apache-2.0
#include "label.h"

int label_parse(const struct query_pair *given, size_t count, struct sl_writer *pairs, uint16_t *ret_count,
                struct problem *ret_problem)
{
    uint16_t labels = 0;
    for (size_t i = 0; i < count; i++) {
        const struct query_pair *pair = &given[i];
        if (!sl_slice_equal(pair->name, sl_slice_of("label")) || pair->value.bytes == 0)
            continue;
        const uint8_t *equals = memchr(pair->value.data, '=', pair->value.bytes);
        size_t key = equals ? (size_t)(equals - pair->value.data) : 0;
        size_t value = equals ? pair->value.bytes - key - 1 : 0;
        if (key == 0 || key > SL_LABEL_KEY_MAX_BYTES || value > SL_LABEL_VALUE_MAX_BYTES) {
            problem_set(ret_problem, PROBLEM_INVALID_PARAMETER, "label",
                        "label must be KEY=VALUE (with %%3D for the =)");
            return 1;
        }
        if (++labels > SL_LABELS_MAX) {
            problem_set(ret_problem, PROBLEM_INVALID_PARAMETER, "label", "at most %d labels", SL_LABELS_MAX);
            return 1;
        }
        sl_label_write(pairs, sl_slice(pair->value.data, key), sl_slice(equals + 1, value));
    }
    *ret_count = labels;
    return 0;
}
