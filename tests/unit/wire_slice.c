// SPDX-License-Identifier: Apache-2.0
#include "wire/slice.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
/* cmocka.h needs the three above */
#include <cmocka.h>

static void what_is_written_reads_back(void **state)
{
    (void)state;
    static const uint64_t values[] = {0, 1, 127, 128, 16383, 16384, UINT32_MAX, 1ULL << 63, UINT64_MAX};
    uint8_t room[512];
    struct sl_writer w = sl_writer(room, sizeof room);
    sl_write_u8(&w, 0xfe);
    sl_write_u16(&w, 0xfedc);
    sl_write_u32(&w, 0xfedcba98);
    sl_write_u64(&w, 0xfedcba9876543210);
    sl_write_i64(&w, INT64_MIN);
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        sl_write_varint(&w, values[i]);
    sl_write_slice8(&w, sl_slice_of("eight"));
    sl_write_slice32(&w, sl_slice_of("thirty-two"));
    sl_write_slice8(&w, sl_slice(NULL, 0));
    assert_false(w.failed);

    struct sl_reader r = sl_reader(sl_slice(room, w.bytes));
    assert_int_equal(sl_read_u8(&r), 0xfe);
    assert_int_equal(sl_read_u16(&r), 0xfedc);
    assert_int_equal(sl_read_u32(&r), 0xfedcba98);
    assert_true(sl_read_u64(&r) == 0xfedcba9876543210);
    assert_true(sl_read_i64(&r) == INT64_MIN);
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        assert_true(sl_read_varint(&r) == values[i]);
    assert_true(sl_slice_equal(sl_read_slice8(&r), sl_slice_of("eight")));
    assert_true(sl_slice_equal(sl_read_slice32(&r), sl_slice_of("thirty-two")));
    assert_int_equal(sl_read_slice8(&r).bytes, 0);
    assert_false(r.failed);
    assert_int_equal(sl_reader_left(&r), 0);
}

static void a_reader_past_its_end_fails_and_yields_zeros_from_then_on(void **state)
{
    (void)state;
    uint8_t *bytes = malloc(7); /* exact, so that Asan sees a byte too many */
    assert_non_null(bytes);
    memset(bytes, 0xff, 7);
    struct sl_reader r = sl_reader(sl_slice(bytes, 7));
    assert_int_equal(sl_read_u32(&r), 0xffffffff);
    assert_int_equal(sl_read_u32(&r), 0);
    assert_true(r.failed);
    assert_int_equal(sl_read_u8(&r), 0);
    assert_int_equal(sl_read_slice(&r, 1).bytes, 0);
    assert_int_equal(sl_read_slice32(&r).bytes, 0);
    assert_int_equal(sl_reader_left(&r), 0);
    r = sl_reader(sl_slice(bytes, 7));
    assert_int_equal(sl_read_slice32(&r).bytes, 0);
    assert_true(r.failed);
    r = sl_reader(sl_slice(NULL, 0));
    assert_int_equal(sl_reader_left(&r), 0);
    assert_int_equal(sl_read_slice(&r, 0).bytes, 0);
    assert_false(r.failed);
    free(bytes);
}

static void a_varint_that_overflows_or_never_ends_fails(void **state)
{
    (void)state;
    uint8_t bytes[12];
    memset(bytes, 0x80, sizeof bytes);
    struct sl_reader r = sl_reader(sl_slice(bytes, sizeof bytes));
    assert_int_equal(sl_read_varint(&r), 0);
    assert_true(r.failed);
    memset(bytes, 0xff, sizeof bytes);
    bytes[9] = 2;
    r = sl_reader(sl_slice(bytes, 10));
    assert_int_equal(sl_read_varint(&r), 0);
    assert_true(r.failed);
    bytes[9] = 1;
    r = sl_reader(sl_slice(bytes, 10));
    assert_true(sl_read_varint(&r) == UINT64_MAX);
    assert_false(r.failed);
    for (size_t left = 0; left < 10; left++) {
        r = sl_reader(sl_slice(bytes, left));
        assert_int_equal(sl_read_varint(&r), 0);
        assert_true(r.failed);
    }
}

static void a_writer_without_room_writes_nothing_more(void **state)
{
    (void)state;
    uint8_t room[8] = {0};
    struct sl_writer w = sl_writer(room, 6);
    sl_write_u32(&w, 0x01010101);
    sl_write_slice8(&w, sl_slice_of("ab"));
    assert_true(w.failed);
    assert_int_equal(w.bytes, 4);
    sl_write_u8(&w, 1);
    assert_int_equal(w.bytes, 4);
    assert_int_equal(room[4], 0);

    uint8_t long_slice[256] = {0};
    uint8_t big[600];
    w = sl_writer(big, sizeof big);
    sl_write_slice8(&w, sl_slice(long_slice, 255));
    assert_false(w.failed);
    sl_write_slice8(&w, sl_slice(long_slice, 256));
    assert_true(w.failed);
    assert_int_equal(w.bytes, 256);
}

static void zigzag_keeps_every_sign_and_makes_small_numbers_small(void **state)
{
    (void)state;
    static const int64_t values[] = {0, -1, 1, -64, 63, INT64_MIN, INT64_MAX};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        assert_true(sl_unzigzag(sl_zigzag(values[i])) == values[i]);
    assert_int_equal(sl_zigzag(-64), 127);
    assert_int_equal(sl_zigzag(63), 126);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_reads_back),
        cmocka_unit_test(a_reader_past_its_end_fails_and_yields_zeros_from_then_on),
        cmocka_unit_test(a_varint_that_overflows_or_never_ends_fails),
        cmocka_unit_test(a_writer_without_room_writes_nothing_more),
        cmocka_unit_test(zigzag_keeps_every_sign_and_makes_small_numbers_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
