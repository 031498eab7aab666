// SPDX-License-Identifier: Apache-2.0
#include "lines.h"
#include "raw.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static struct position behind(struct position at, uint64_t first, uint32_t lines, int64_t commit_ns)
{
    struct sl_record record = {.first_seq = first, .commit_ns = commit_ns};
    struct sl_block_header header = {.lines = lines};
    return position_behind(at, &record, &header);
}

static bool wants(struct position at, uint64_t first, uint32_t lines, int64_t commit_ns)
{
    struct sl_record record = {.first_seq = first, .commit_ns = commit_ns};
    struct sl_block_header header = {.lines = lines};
    return position_wants(at, &record, &header);
}

static void a_gap_is_seen_once_and_takes_no_number(void **state)
{
    (void)state;
    struct position at = {.seq = 1};
    assert_true(wants(at, 1, 10, 100));
    at = behind(at, 1, 10, 100);
    assert_true(at.seq == 11 && !wants(at, 1, 10, 100));
    assert_true(wants(at, 11, 0, 200));
    at = behind(at, 11, 0, 200);
    assert_true(at.seq == 11 && !wants(at, 11, 0, 200));
    assert_true(wants(at, 11, 0, 300));
    at = behind(at, 11, 0, 300);
    assert_true(!wants(at, 11, 0, 200) && wants(at, 11, 5, 400));
    at = behind(at, 11, 5, 400);
    assert_true(at.seq == 16 && !wants(at, 11, 0, 300) && wants(at, 16, 0, 350));
    assert_true(!position_before(at, behind(at, 1, 3, 900)));
}

static void the_next_piece_of_a_stream_continues_it(void **state)
{
    (void)state;
    struct partials p = {0};
    struct sl_line out = {.stream = SL_STDOUT}, open = {.stream = SL_STDOUT, .partial = true},
                   err = {.stream = SL_STDERR};
    struct sl_slice a = sl_slice_of("a"), b = sl_slice_of("b");
    assert_false(partials_step(&p, &out, a));
    assert_false(partials_step(&p, &open, a));
    assert_false(partials_step(&p, &err, a));
    assert_false(partials_step(&p, &open, b));
    assert_true(partials_step(&p, &open, a));
    assert_true(partials_step(&p, &out, a));
    assert_false(partials_step(&p, &out, a));
    assert_true(partials_step(&p, &out, b));
    assert_int_equal(p.count, 0);
}

static void raw_items_come_back_as_they_were(void **state)
{
    (void)state;
    struct buffer out;
    struct raw_item item;
    buffer_init(&out, 0, 1 << 20);
    raw_line(&out, &(struct render_line){.seq = 7,
                                         .time_ns = 5,
                                         .text = sl_slice_of("text"),
                                         .container = sl_slice_of("main"),
                                         .partial = true});
    raw_gap(&out, &(struct render_gap){.to_seq = 8, .reason = SL_GAP_DAMAGED});
    raw_line(&out, &(struct render_line){.seq = 8});
    struct sl_slice rest = buffer_slice(&out);
    raw_read(rest, &item);
    assert_true(!item.is_gap && item.line.seq == 7 && item.line.partial &&
                sl_slice_equal(item.line.text, sl_slice_of("text")) &&
                sl_slice_equal(item.line.container, sl_slice_of("main")));
    rest = sl_slice(rest.data + item.bytes, rest.bytes - item.bytes);
    raw_read(rest, &item);
    assert_true(item.is_gap && item.gap.to_seq == 8 && item.gap.reason == SL_GAP_DAMAGED);
    rest = sl_slice(rest.data + item.bytes, rest.bytes - item.bytes);
    raw_read(rest, &item);
    assert_true(!item.is_gap && item.line.seq == 8 && item.line.text.bytes == 0 && item.bytes == rest.bytes);
    buffer_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_gap_is_seen_once_and_takes_no_number),
        cmocka_unit_test(the_next_piece_of_a_stream_continues_it),
        cmocka_unit_test(raw_items_come_back_as_they_were),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
