// SPDX-License-Identifier: Apache-2.0
#include "cursor.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static struct sl_slice box(void)
{
    return sl_slice_of("box");
}

/* Stored by readers for as long as the store lives: the text must not change with a version of the program.
 */
static void the_text_of_a_cursor_never_changes(void **state)
{
    (void)state;
    char text[CURSOR_TEXT_BYTES];
    struct cursor c = cursor_of(box(), 0x1122334455667788, 7, 4711);
    size_t bytes = cursor_render(&c, text);
    assert_true(sl_slice_equal(sl_slice(text, bytes), sl_slice_of("5441f9f2-0a4b2b0a-4711")));
}

static void a_cursor_is_read_back_for_any_number(void **state)
{
    (void)state;
    static const uint64_t numbers[] = {0, 1, 9, 10, 4711, UINT32_MAX, INT64_MAX, UINT64_MAX - 1, UINT64_MAX};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        char text[CURSOR_TEXT_BYTES];
        struct cursor c = cursor_of(box(), 1, 2, numbers[i]), read;
        size_t bytes = cursor_render(&c, text);
        assert_int_equal(cursor_parse(sl_slice(text, bytes), &read), CURSOR_OK);
        assert_true(read.seq == numbers[i]);
        assert_int_equal(cursor_check(&read, box(), 1, 2), CURSOR_OK);
    }
}

static void a_cursor_of_another_sandbox_store_or_life_is_told_apart(void **state)
{
    (void)state;
    struct cursor c = cursor_of(box(), 1, 2, 3);
    assert_int_equal(cursor_check(&c, sl_slice_of("bax"), 1, 2), CURSOR_FOREIGN);
    assert_int_equal(cursor_check(&c, box(), 9, 2), CURSOR_EXPIRED);
    assert_int_equal(cursor_check(&c, box(), 1, 3), CURSOR_EXPIRED);
    assert_int_equal(cursor_check(&c, box(), 2, 1), CURSOR_EXPIRED);
}

static void what_is_no_cursor_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "1",
        "00000000-00000000-",
        "00000000-00000000",
        "00000000-00000000-01",
        "00000000-00000000--1",
        "00000000-00000000-1 ",
        "00000000-00000000-18446744073709551616",
        "00000000-00000000-99999999999999999999",
        "00000000-00000000-111111111111111111111",
        "0000000A-00000000-1",
        "0000000g-00000000-1",
        "00000000_00000000-1",
        "m.",
        "m.A",
        "m.Ag",
        "m.AQ=",
        "m.AQAA",
        "m.AR",
        "m.AQ*A",
    };
    struct cursor one, set[CURSOR_SET_MAX];
    size_t count;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        assert_int_equal(cursor_parse(sl_slice_of(texts[i]), &one), CURSOR_MALFORMED);
        assert_int_equal(cursor_set_parse(sl_slice_of(texts[i]), set, &count), CURSOR_MALFORMED);
    }
}

static void a_full_set_is_read_back_and_every_member_found(void **state)
{
    (void)state;
    static struct cursor set[CURSOR_SET_MAX], read[CURSOR_SET_MAX];
    static char text[CURSOR_SET_TEXT_BYTES];
    char name[16];
    for (unsigned i = 0; i < CURSOR_SET_MAX; i++) {
        snprintf(name, sizeof name, "box-%u", i);
        set[i] = cursor_of(sl_slice_of(name), 5, i, UINT64_MAX - i);
    }
    size_t bytes = cursor_set_render(set, CURSOR_SET_MAX, text), count = 0;
    assert_true(bytes <= 16 << 10);
    for (size_t i = 0; i < bytes; i++)
        assert_non_null(strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-", text[i]));
    assert_int_equal(cursor_set_parse(sl_slice(text, bytes), read, &count), CURSOR_OK);
    assert_int_equal(count, CURSOR_SET_MAX);
    for (unsigned i = 0; i < CURSOR_SET_MAX; i++) {
        snprintf(name, sizeof name, "box-%u", i);
        const struct cursor *c = cursor_set_find(read, count, sl_slice_of(name));
        assert_non_null(c);
        assert_true(c->seq == UINT64_MAX - i);
        assert_int_equal(cursor_check(c, sl_slice_of(name), 5, i), CURSOR_OK);
    }
    assert_null(cursor_set_find(read, count, box()));
    assert_int_equal(cursor_set_parse(sl_slice(text, bytes - 1), read, &count), CURSOR_MALFORMED);
}

static void a_set_may_be_empty_or_a_plain_cursor(void **state)
{
    (void)state;
    static struct cursor set[CURSOR_SET_MAX];
    static char text[CURSOR_SET_TEXT_BYTES];
    size_t count = 9, bytes = cursor_set_render(set, 0, text);
    assert_int_equal(cursor_set_parse(sl_slice(text, bytes), set, &count), CURSOR_OK);
    assert_int_equal(count, 0);
    struct cursor c = cursor_of(box(), 1, 2, 3);
    bytes = cursor_render(&c, text);
    assert_int_equal(cursor_set_parse(sl_slice(text, bytes), set, &count), CURSOR_OK);
    assert_int_equal(count, 1);
    assert_non_null(cursor_set_find(set, 1, box()));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_text_of_a_cursor_never_changes),
        cmocka_unit_test(a_cursor_is_read_back_for_any_number),
        cmocka_unit_test(a_cursor_of_another_sandbox_store_or_life_is_told_apart),
        cmocka_unit_test(what_is_no_cursor_is_refused),
        cmocka_unit_test(a_full_set_is_read_back_and_every_member_found),
        cmocka_unit_test(a_set_may_be_empty_or_a_plain_cursor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
