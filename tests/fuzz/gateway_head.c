// SPDX-License-Identifier: Apache-2.0
/*
 * What a client sends first, the first byte saying how it is cut: the answer does not depend on the cuts,
 * what is taken keeps its laws, and the copy for lws is taken again.
 */
#include "head.h"
#include <assert.h>

static int scan(struct head *h, struct sl_slice all, size_t step, size_t *ret_bytes)
{
    int answer = HEAD_MORE;
    head_begin(h);
    for (size_t have = 0; answer == HEAD_MORE && have < all.bytes;) {
        have = all.bytes - have > step ? have + step : all.bytes;
        answer = head_scan(h, sl_slice(all.data, have), ret_bytes);
    }
    return answer;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static uint8_t copy[HEAD_MAX_BYTES];
    struct head whole, cut;
    size_t whole_bytes = 0, cut_bytes = 0;
    if (bytes < 2)
        return 0;
    struct sl_slice all = sl_slice(data + 1, bytes - 1);
    int answer = scan(&whole, all, SIZE_MAX, &whole_bytes);
    assert(answer == scan(&cut, all, 1u + data[0], &cut_bytes) && whole_bytes == cut_bytes);
    if (answer == HEAD_REFUSED)
        assert(problem_status(whole.problem.code) >= 400 &&
               problem_status(whole.problem.code) == problem_status(cut.problem.code));
    if (answer != 0)
        return 0;
    assert(whole_bytes <= all.bytes && whole_bytes - whole.skip <= sizeof copy && whole.body_bytes >= 0);
    assert(memcmp(all.data + whole_bytes - 4, "\r\n\r\n", 4) == 0);
    size_t copied = head_copy(sl_slice(all.data + whole.skip, whole_bytes - whole.skip), copy);
    assert(copied <= whole_bytes - whole.skip);
    assert(scan(&cut, sl_slice(copy, copied), SIZE_MAX, &cut_bytes) == 0 && cut_bytes == copied &&
           cut.body_bytes == whole.body_bytes);
    return 0;
}
