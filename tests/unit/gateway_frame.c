// SPDX-License-Identifier: Apache-2.0
#include "frame.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define BYTES(...) sl_slice(((const uint8_t[]){__VA_ARGS__}), sizeof((const uint8_t[]){__VA_ARGS__}))
#define MASK       1, 2, 3, 4

/* The same code whether the bytes come at once or one by one. */
static int scan(struct sl_slice bytes)
{
    struct frame f;
    size_t good, good_of_one;
    frame_begin(&f);
    int whole = frame_scan(&f, bytes, &good), one = 0;
    assert_true(good <= bytes.bytes);
    assert_true(whole != 0 || good == bytes.bytes);
    frame_begin(&f);
    for (size_t i = 0; i < bytes.bytes && !one; i++)
        one = frame_scan(&f, sl_slice(bytes.data + i, 1), &good_of_one);
    assert_int_equal(whole, one);
    return whole;
}

static void frames_as_clients_send_them_pass(void **state)
{
    (void)state;
    assert_int_equal(scan(BYTES(0x81, 0x82, MASK, 'h', 'i', 0x8a, 0x80, MASK, 0x88, 0x82, MASK, 3, 0xe8)), 0);
    assert_int_equal(scan(BYTES(0x01, 0x81, MASK, 'a', 0x89, 0x80, MASK, 0x00, 0x80, MASK, 0x80, 0x81, MASK,
                                'b', 0x82, 0x80, MASK)),
                     0);
    assert_int_equal(scan(BYTES(0x82, 0xfe, 0, 126, MASK)), 0);
    assert_int_equal(scan(BYTES(0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, MASK)), 0);
    assert_int_equal(scan(BYTES(0x81)), 0);
}

static void each_fault_has_its_code(void **state)
{
    (void)state;
    assert_int_equal(scan(BYTES(0x81, 0x02, 'h', 'i')), FRAME_PROTOCOL); /* no mask */
    assert_int_equal(scan(BYTES(0xc1, 0x80, MASK)), FRAME_PROTOCOL);     /* reserved bits */
    assert_int_equal(scan(BYTES(0xa1, 0x80, MASK)), FRAME_PROTOCOL);
    assert_int_equal(scan(BYTES(0x91, 0x80, MASK)), FRAME_PROTOCOL);
    for (uint8_t opcode = 3; opcode < 16; opcode++)
        assert_int_equal(scan(BYTES((uint8_t)(0x80 | opcode), 0x80, MASK)),
                         opcode < 8 || opcode > 10 ? FRAME_PROTOCOL : 0);
    assert_int_equal(scan(BYTES(0x09, 0x80, MASK)), FRAME_PROTOCOL);         /* control in fragments */
    assert_int_equal(scan(BYTES(0x89, 0xfe, 0, 126, MASK)), FRAME_PROTOCOL); /* control too long */
    assert_int_equal(scan(BYTES(0x88, 0x81, MASK, 3)), FRAME_PROTOCOL);      /* half a code */
    assert_int_equal(scan(BYTES(0x80, 0x80, MASK)), FRAME_PROTOCOL);         /* continues nothing */
    assert_int_equal(scan(BYTES(0x01, 0x80, MASK, 0x81, 0x80, MASK)), FRAME_PROTOCOL);
    assert_int_equal(scan(BYTES(0x82, 0xfe, 0, 125)), FRAME_PROTOCOL); /* not the shortest length */
    assert_int_equal(scan(BYTES(0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff)), FRAME_PROTOCOL);
    assert_int_equal(scan(BYTES(0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 1)), FRAME_TOO_BIG);
    assert_int_equal(scan(BYTES(0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0)), FRAME_TOO_BIG);
}

static void what_stands_before_a_fault_is_known(void **state)
{
    (void)state;
    struct frame f;
    size_t good;
    frame_begin(&f);
    assert_int_equal(frame_scan(&f, BYTES(0x8a, 0x80, MASK, 0x81, 0x02, 'h'), &good), FRAME_PROTOCOL);
    assert_int_equal(good, 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_as_clients_send_them_pass),
        cmocka_unit_test(each_fault_has_its_code),
        cmocka_unit_test(what_stands_before_a_fault_is_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
