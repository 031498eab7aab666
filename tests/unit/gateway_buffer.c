// SPDX-License-Identifier: Apache-2.0
#include "buffer.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void what_is_appended_is_there_behind_the_room_in_front(void **state)
{
    (void)state;
    struct buffer b;
    buffer_init(&b, 16, 1 << 20);
    assert_int_equal(buffer_slice(&b).bytes, 0);
    for (unsigned i = 0; i < 5000; i++)
        buffer_append_u64(&b, i % 10);
    memset(buffer_data(&b) - 16, 0xee, 16);
    assert_int_equal(buffer_slice(&b).bytes, 5000);
    for (unsigned i = 0; i < 5000; i++)
        assert_int_equal(buffer_slice(&b).data[i], '0' + i % 10);
    buffer_fini(&b);
}

static void an_append_over_the_limit_writes_nothing_and_is_remembered(void **state)
{
    (void)state;
    struct buffer b;
    buffer_init(&b, 0, 10);
    buffer_append(&b, "12345678", 8);
    buffer_append(&b, "abc", 3);
    assert_int_equal(b.fault, -EMSGSIZE);
    buffer_append(&b, "x", 1);
    assert_int_equal(b.bytes, 8);
    buffer_cut(&b, 8);
    buffer_append(&b, "xy", 2);
    assert_int_equal(b.fault, 0);
    assert_memory_equal(buffer_slice(&b).data, "12345678xy", 10);
    buffer_append(&b, "z", 1);
    assert_int_equal(b.fault, -EMSGSIZE);
    buffer_shrink(&b, 4);
    assert_int_equal(b.capacity, 0);
    assert_int_equal(b.fault, 0);
    buffer_fini(&b);
}

static void numbers_and_base64_are_exact_at_their_edges(void **state)
{
    (void)state;
    struct buffer b;
    buffer_init(&b, 0, 1000);
    buffer_append_u64(&b, 0);
    buffer_append_u64(&b, UINT64_MAX);
    buffer_append_i64(&b, INT64_MIN);
    buffer_append_i64(&b, -7);
    const char *numbers = "018446744073709551615-9223372036854775808-7";
    assert_true(sl_slice_equal(buffer_slice(&b), sl_slice_of(numbers)));
    /* RFC 4648, 10 */
    static const char *const pairs[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"}};
    for (size_t i = 0; i < 7; i++) {
        buffer_cut(&b, 0);
        buffer_append_base64(&b, sl_slice_of(pairs[i][0]));
        assert_true(sl_slice_equal(buffer_slice(&b), sl_slice_of(pairs[i][1])));
    }
    buffer_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_appended_is_there_behind_the_room_in_front),
        cmocka_unit_test(an_append_over_the_limit_writes_nothing_and_is_remembered),
        cmocka_unit_test(numbers_and_base64_are_exact_at_their_edges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
