// SPDX-License-Identifier: Apache-2.0
#include "wire/crc32c.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
/* cmocka.h needs the three above */
#include <cmocka.h>

/* The table serves CPUs without the instruction; compiled a second time, the module gives it away here. */
static uint32_t crc32c_again(uint32_t crc, struct sl_slice bytes);
#define sl_crc32c crc32c_again
#include "wire/crc32c.c"
#undef sl_crc32c

static uint32_t bit_by_bit(uint32_t crc, struct sl_slice bytes)
{
    crc = ~crc;
    for (size_t i = 0; i < bytes.bytes; i++) {
        crc ^= bytes.data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (0x82f63b78 & (0 - (crc & 1)));
    }
    return ~crc;
}

static void the_vectors_of_rfc_3720_hold(void **state)
{
    (void)state;
    uint8_t bytes[32] = {0};
    assert_int_equal(sl_crc32c(0, sl_slice_of("123456789")), 0xe3069283);
    assert_int_equal(sl_crc32c(0, sl_slice(bytes, 32)), 0x8a9136aa);
    memset(bytes, 0xff, 32);
    assert_int_equal(sl_crc32c(0, sl_slice(bytes, 32)), 0x62a8ab43);
    for (uint8_t i = 0; i < 32; i++)
        bytes[i] = i;
    assert_int_equal(sl_crc32c(0, sl_slice(bytes, 32)), 0x46dd794e);
    assert_int_equal(sl_crc32c(0, sl_slice(bytes, 0)), 0);
}

static void every_length_and_alignment_agrees_with_the_definition(void **state)
{
    (void)state;
    enum { BYTES = 5000 };
    static uint8_t bytes[BYTES];
    srandom(1);
    for (size_t i = 0; i < BYTES; i++)
        bytes[i] = (uint8_t)random();
    for (size_t length = 0; length < BYTES - 8; length += length < 70 ? 1 : 61) {
        for (size_t from = 0; from < 8; from++) {
            struct sl_slice part = sl_slice(bytes + from, length);
            uint32_t start = (uint32_t)random();
            assert_int_equal(sl_crc32c(start, part), bit_by_bit(start, part));
            assert_int_equal(~by_table(~start, part.data, part.bytes), bit_by_bit(start, part));
            assert_int_equal(crc32c_again(start, part), bit_by_bit(start, part));
        }
    }
}

static void pieces_continue_one_another(void **state)
{
    (void)state;
    static uint8_t bytes[4096];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 7);
    uint32_t whole = sl_crc32c(0, sl_slice(bytes, sizeof bytes));
    for (size_t cut = 0; cut <= sizeof bytes; cut += 17) {
        uint32_t crc = sl_crc32c(0, sl_slice(bytes, cut));
        assert_int_equal(sl_crc32c(crc, sl_slice(bytes + cut, sizeof bytes - cut)), whole);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_vectors_of_rfc_3720_hold),
        cmocka_unit_test(every_length_and_alignment_agrees_with_the_definition),
        cmocka_unit_test(pieces_continue_one_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
