// SPDX-License-Identifier: Apache-2.0
#include "term.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static const char *clean_of(const char *text, size_t bytes, enum term_mode mode)
{
    static uint8_t out[4096];
    assert_true(TERM_CLEAN_FACTOR * bytes + TERM_CLEAN_EXTRA < sizeof out);
    size_t n = term_clean(sl_slice(text, bytes), mode, out);
    assert_true(n <= TERM_CLEAN_FACTOR * bytes + TERM_CLEAN_EXTRA);
    out[n] = 0;
    return (const char *)out;
}

#define CLEAN(text) clean_of((text), sizeof(text) - 1, TERM_COLOURS)

static void text_and_tabs_stay(void **state)
{
    (void)state;
    assert_string_equal(CLEAN("plain\ttext ~ äöü 日本語 🙂"), "plain\ttext ~ äöü 日本語 🙂");
    assert_string_equal(CLEAN(""), "");
}

static void colours_stay_and_are_reset_at_the_end(void **state)
{
    (void)state;
    assert_string_equal(CLEAN("\033[31mred\033[0m"), "\033[31mred\033[0m");
    assert_string_equal(CLEAN("\033[1;38;5;8mgrey"), "\033[1;38;5;8mgrey\033[0m");
    assert_string_equal(CLEAN("\033[38;2;8;8;8mrgb\033[m"), "\033[38;2;8;8;8mrgb\033[m");
    assert_string_equal(CLEAN("\033[4:3mcurly"), "\033[4:3mcurly\033[0m");
}

static void other_escape_sequences_become_text(void **state)
{
    (void)state;
    assert_string_equal(CLEAN("\033]52;c;cm0gLXJm\007"), "^[]52;c;cm0gLXJm^G"); /* clipboard */
    assert_string_equal(CLEAN("\033]0;title\033\\"), "^[]0;title^[\\");
    assert_string_equal(CLEAN("\033[2J\033[H"), "^[[2J^[[H"); /* clears the screen */
    assert_string_equal(CLEAN("\033[6n\033c"), "^[[6n^[c");   /* makes the terminal type */
    assert_string_equal(CLEAN("\033[?31m"), "^[[?31m");
    assert_string_equal(CLEAN("\033[31"), "^[[31");
    assert_string_equal(CLEAN("\033"), "^[");
    assert_string_equal(CLEAN("\033[\033[31mx"), "^[[\033[31mx\033[0m");
}

static void text_cannot_be_hidden(void **state)
{
    (void)state;
    assert_string_equal(CLEAN("\033[8mhidden\033[0m"), "^[[8mhidden\033[0m");
    assert_string_equal(CLEAN("\033[1;8mhidden"), "^[[1;8mhidden");
    assert_string_equal(CLEAN("\033[38;5;3;8mhidden"), "^[[38;5;3;8mhidden");
}

static void an_endless_colour_sequence_is_text(void **state)
{
    (void)state;
    char text[200] = "\033[";
    memset(text + 2, '1', 100);
    memcpy(text + 102, "m", 2);
    const char *got = clean_of(text, strlen(text), TERM_COLOURS);
    assert_int_equal(got[0], '^');
}

static void controls_become_text(void **state)
{
    (void)state;
    assert_string_equal(CLEAN("a\rb"), "a\\rb");
    assert_string_equal(CLEAN("a\bb\x7f"
                              "\0c"),
                        "a^Hb^?^@c");
    assert_string_equal(CLEAN("line\nforged"), "line^Jforged");
}

static void c1_controls_become_text_in_both_forms(void **state)
{
    (void)state;
    assert_string_equal(CLEAN("\xc2\x9b"
                              "31m"),
                        "\\x9b31m"); /* CSI in UTF-8 */
    assert_string_equal(CLEAN("\x9b"
                              "31m"),
                        "\\x9b31m"); /* and as a byte */
    assert_string_equal(CLEAN("\xc2\xa0"), "\xc2\xa0");
}

static void what_is_not_utf8_becomes_text(void **state)
{
    (void)state;
    assert_string_equal(CLEAN("\xff\xc3(\xe2\x82"), "\\xff\\xc3(\\xe2\\x82");
    assert_string_equal(CLEAN("\xed\xa0\x80"), "\\xed\\xa0\\x80"); /* surrogate */
    assert_string_equal(CLEAN("\xc0\x9b"), "\\xc0\\x9b");          /* overlong */
    assert_string_equal(CLEAN("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");
}

static void the_direction_of_writing_cannot_be_turned(void **state)
{
    (void)state;
    assert_string_equal(CLEAN("a\xe2\x80\xae\xe2\x80\xac"), "a\\u202e\\u202c");
    assert_string_equal(CLEAN("a\xe2\x81\xa6\xe2\x81\xa9"), "a\\u2066\\u2069");
}

static void plain_mode_knows_no_colours(void **state)
{
    (void)state;
    assert_string_equal(clean_of("\033[31mx", 6, TERM_PLAIN), "^[[31mx");
}

static void json_stays_json(void **state)
{
    (void)state;
    static const char text[] = "{\"line\":\"\\u001b[31m \xc2\x9b \x7f \xe2\x80\xae\xe2\x80\xac é\"}";
    assert_string_equal(clean_of(text, sizeof text - 1, TERM_JSON),
                        "{\"line\":\"\\u001b[31m \\u009b \\u007f \\u202e\\u202c é\"}");
}

static void no_control_byte_survives_whatever_comes(void **state)
{
    (void)state;
    uint32_t seed = 1;
    for (int round = 0; round < 20000; round++) {
        char text[64];
        for (size_t i = 0; i < sizeof text; i++) {
            seed = seed * 1664525u + 1013904223u;
            static const char likely[] = "\033[]m;8\x9b\xc2\r\n\0\a";
            text[i] = seed >> 31 ? likely[(seed >> 16) % (sizeof likely)] : (char)(seed >> 16);
        }
        const char *got = clean_of(text, sizeof text, TERM_PLAIN);
        for (const char *c = got; *c; c++)
            assert_false(((unsigned char)*c < 0x20 && *c != '\t') || *c == 0x7f);
        assert_null(strstr(got, "\xc2\x9b"));
    }
}

static void a_name_keeps_its_colour(void **state)
{
    (void)state;
    assert_string_equal(term_colour(sl_slice_of("web-1")), term_colour(sl_slice_of("web-1")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_and_tabs_stay),
        cmocka_unit_test(colours_stay_and_are_reset_at_the_end),
        cmocka_unit_test(other_escape_sequences_become_text),
        cmocka_unit_test(text_cannot_be_hidden),
        cmocka_unit_test(an_endless_colour_sequence_is_text),
        cmocka_unit_test(controls_become_text),
        cmocka_unit_test(c1_controls_become_text_in_both_forms),
        cmocka_unit_test(what_is_not_utf8_becomes_text),
        cmocka_unit_test(the_direction_of_writing_cannot_be_turned),
        cmocka_unit_test(plain_mode_knows_no_colours),
        cmocka_unit_test(json_stays_json),
        cmocka_unit_test(no_control_byte_survives_whatever_comes),
        cmocka_unit_test(a_name_keeps_its_colour),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
