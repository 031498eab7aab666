// SPDX-License-Identifier: Apache-2.0
#include "json.h"
#include "sse_reader.h"
#include "utf8.h"
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static uint64_t seed = 1;
static unsigned any(unsigned below)
{
    seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (unsigned)(seed >> 33) % below;
}

/* Unicode 15, 3.9, table 3-8 and its neighbours: one U+FFFD for each maximal subpart. */
static void ill_formed_sequences_become_one_replacement_for_each_maximal_subpart(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"\xc0\xaf\xe0\x80\xbf\xf0\x81\x82\x41", "????????A"}, /* overlong: each byte */
        {"\xed\xa0\x80\xed\xbf\xbf\xed\xaf\x41", "????????A"}, /* surrogates */
        {"\xf4\x91\x92\x93\xff\x41\x80\xbf\x42", "?????A??B"}, /* above U+10FFFF */
        {"\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41", "????A"},     /* cut short: each subpart */
        {"\xf0\x9f\x98", "?"},
        {"a\xe2\x82", "a?"},
        {"\xe2\x82\xac\xe2", "\xe2\x82\xac?"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct buffer out, want;
        buffer_init(&out, 0, 1000);
        buffer_init(&want, 0, 1000);
        utf8_append(&out, sl_slice_of(rows[i][0]));
        for (const char *c = rows[i][1]; *c; c++)
            buffer_append(&want, *c == '?' ? "\xef\xbf\xbd" : c, *c == '?' ? 3 : 1);
        assert_true(sl_slice_equal(buffer_slice(&out), buffer_slice(&want)));
        buffer_fini(&out);
        buffer_fini(&want);
    }
}

static void every_sequence_of_up_to_four_bytes_is_judged_as_the_standard_does(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 2000000; round++) {
        static const uint8_t edges[] = {0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf,
                                        0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee,
                                        0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xff};
        uint8_t bytes[4];
        unsigned count = 1 + any(4);
        for (unsigned i = 0; i < count; i++)
            bytes[i] = any(3) ? edges[any(sizeof edges)] : (uint8_t)any(256);
        assert_int_equal(utf8_valid(sl_slice(bytes, count)), sse_is_utf8(bytes, count));
    }
}

static void an_object_has_its_commas_and_nesting_right(void **state)
{
    (void)state;
    struct buffer out;
    struct json j;
    buffer_init(&out, 0, 1000);
    json_init(&j, &out);
    json_object_open(&j);
    json_key(&j, "a");
    json_array_open(&j);
    json_u64(&j, 1);
    json_object_open(&j);
    json_object_close(&j);
    json_none(&j);
    json_array_close(&j);
    json_key_slice(&j, sl_slice_of("b\"c"));
    json_text(&j, NULL);
    json_key(&j, "d");
    json_bool(&j, false);
    json_key(&j, "e");
    json_i64(&j, -5);
    json_key(&j, "t");
    json_time(&j, 1);
    json_object_close(&j);
    assert_true(
        sl_slice_equal(buffer_slice(&out), sl_slice_of("{\"a\":[1,{},null],\"b\\\"c\":null,\"d\":false,\"e\":"
                                                       "-5,\"t\":\"1970-01-01T00:00:00.000000001Z\"}")));
    buffer_fini(&out);
}

/* jansson, which refuses what is not JSON or not UTF-8, gives back what went in. */
static void any_bytes_as_a_string_are_read_back_by_another_parser(void **state)
{
    (void)state;
    uint8_t text[100];
    struct buffer out, plain;
    buffer_init(&out, 0, 10000);
    buffer_init(&plain, 0, 10000);
    for (unsigned round = 0; round < 100000; round++) {
        unsigned bytes = any(sizeof text), kind = any(4);
        for (unsigned i = 0; i < bytes; i++)
            text[i] = (uint8_t)(kind == 0   ? any(256)
                                : kind == 1 ? 0x20 + any(0x60)
                                : kind == 2 ? any(0x80)
                                : any(20)   ? 'x'
                                            : any(256));
        buffer_cut(&out, 0);
        buffer_cut(&plain, 0);
        struct json j;
        json_init(&j, &out);
        json_slice(&j, sl_slice(text, bytes));
        utf8_append(&plain, sl_slice(text, bytes));
        json_t *read = json_loadb((const char *)buffer_slice(&out).data, buffer_slice(&out).bytes,
                                  JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        assert_non_null(read);
        assert_true(sl_slice_equal(sl_slice(json_string_value(read), json_string_length(read)),
                                   buffer_slice(&plain)));
        json_decref(read);
        buffer_cut(&out, 0);
        assert_int_equal(json_escape(&out, sl_slice(text, bytes)), sse_is_utf8(text, bytes));
    }
    buffer_fini(&out);
    buffer_fini(&plain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ill_formed_sequences_become_one_replacement_for_each_maximal_subpart),
        cmocka_unit_test(every_sequence_of_up_to_four_bytes_is_judged_as_the_standard_does),
        cmocka_unit_test(an_object_has_its_commas_and_nesting_right),
        cmocka_unit_test(any_bytes_as_a_string_are_read_back_by_another_parser),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
