// SPDX-License-Identifier: Apache-2.0
#include "pattern.h"
#include <regex.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static uint64_t seed = 1;
static unsigned any(unsigned below)
{
    seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (unsigned)(seed >> 33) % below;
}

static struct pattern *made(const char *source, bool ignore_case)
{
    struct pattern *p = NULL;
    const char *why = "no memory";
    if (pattern_new(sl_slice_of(source), ignore_case, &p, &why) != 0)
        fail_msg("%s: %s", source, why);
    return p;
}

static void patterns_match_what_they_say(void **state)
{
    (void)state;
    static const struct {
        const char *source, *text;
        bool match;
    } rows[] = {
        {"", "", true},
        {"", "x", true},
        {"b", "abc", true},
        {"^b", "abc", false},
        {"c$", "abc", true},
        {"b$", "abc", false},
        {"^$", "", true},
        {"^$", "x", false},
        {"\\Aabc\\z", "abc", true},
        {"a.c",
         "a\xc3\xa9"
         "c",
         true},
        {"^a.c$",
         "a\xf0\x9f\x98\x80"
         "c",
         true},
        {"^a..c$",
         "a\xc3\xa9"
         "c",
         false},
        {"^..$", "\xc3\xa9\xff", true},
        {"^.$", "\xff", true},
        {"^.$", "\xe2\x82", false}, /* two bytes that are not UTF-8 */
        {"^..$", "\xe2\x82", true},
        {"[\xc3\xa0-\xc3\xbf]", "caf\xc3\xa9", true},
        {"[\xc3\xa0-\xc3\xbf]", "cafe", false},
        {"^[^a]$", "\xe2\x82\xac", true},
        {"^[^\xe2\x82\xac]$", "\xe2\x82\xac", false},
        {"^[^\xe2\x82\xac]$", "\xe2\x82\xad", true},
        {"^[^a]$", "\xff", true},
        {"[\xd0\x80-\xf0\x90\x80\x80]", "\xef\xbf\xbf", true},
        {"[\xd0\x80-\xf0\x90\x80\x80]", "\xf0\x90\x80\x81", false},
        {"[\xd0\x80-\xf0\x90\x80\x80]", "\xcf\xbf", false},
        {"\\d+\\.\\d{2}", "price 12.50", true},
        {"\\d+\\.\\d{3}", "price 12.50", false},
        {"\\bfoo\\b", "a foo b", true},
        {"\\bfoo\\b", "afoo", false},
        {"\\Bfoo", "afoo", true},
        {"\\bfoo\\b", "foo", true},
        {"(?i)error", "ERROR", true},
        {"(?:a|b)+c", "xabac", true},
        {"[[:alpha:]]+[[:digit:]]", "ab1", true},
        {"^[[:^alpha:]]+$", "12", true},
        {"^[[:cntrl:]]$", "\x01", true},
        {"[]a]", "]", true},
        {"[a-]", "-", true},
        {"[\\]\\-]", "]", true},
        {"x{2}", "axxb", true},
        {"x{,5}", "x{,5}", true},
        {"a{2,3}?b", "aab", true},
        {"\\x41\\x{20ac}", "A\xe2\x82\xac", true},
        {"\\.\\*\\[\\/", ".*[/", true},
        {"a||b", "", true},
        {"()*", "", true},
        {"(a*)*b", "aaab", true},
        {"{\"k\"", "{\"k\":1}", true},
        {"\\t", "a\tb", true},
        {"^(a|\xc3\xa9|[^x])$", "\xc3\xa9", true},
        {"^(?:a|b|x)$", "c", false},
        {"\\S\\s\\W\\w\\D", "a .bc", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct pattern *p = made(rows[i].source, false);
        for (int twice = 0; twice < 2; twice++) /* met for the first time, and remembered */
            if (pattern_match(p, sl_slice_of(rows[i].text)) != rows[i].match)
                fail_msg("/%s/ on \"%s\"", rows[i].source, rows[i].text);
        pattern_free(p);
    }
    struct pattern *p = made("a\\x00.b", false);
    assert_true(pattern_match(p, sl_slice("xa\0\0b", 5)));
    pattern_free(p);
    p = made("gr[a-f]y stra\xc3\x9f"
             "e",
             true);
    assert_true(pattern_match(p, sl_slice_of("GREY STRA\xc3\x9f"
                                             "E")));
    assert_false(pattern_match(p, sl_slice_of("GRUY")));
    pattern_free(p);
}

static void what_cannot_be_linear_or_is_malformed_is_refused_with_a_sentence(void **state)
{
    (void)state;
    static const char *const sources[] = {
        "(a)\\1",
        "(?=a)",
        "(?!a)",
        "(?<=a)",
        "(?<!a)",
        "(?>a)",
        "a++",
        "a**",
        "(",
        ")",
        "a)",
        "[",
        "[a",
        "[z-a]",
        "*a",
        "+",
        "?",
        "a|*",
        "\\",
        "\\p{L}",
        "a{1001}",
        "a{3,2}",
        "[[:no:]]",
        "\\x4",
        "\\x{}",
        "\\x{110000}",
        "\xff",
        "\\Qa",
        "\\0",
        "(?P<n>a)",
        "((a{100}){100}){100}",
        "(((){1000}){1000}){1000}",
        ".{1000}",
        "a{2}{3}",
        "[\\q]",
    };
    for (size_t i = 0; i < sizeof sources / sizeof sources[0]; i++) {
        struct pattern *p = NULL;
        const char *why = NULL;
        if (pattern_new(sl_slice_of(sources[i]), false, &p, &why) != PATTERN_INVALID)
            fail_msg("/%s/ was taken", sources[i]);
        assert_non_null(why);
        assert_memory_equal(why, "the pattern ", 12);
    }
}

/* ---- against another engine ---- */

static size_t random_pattern(char *out, unsigned depth)
{
    static const char *const atoms[] = {"a", "b", "c", ".", "[ab]", "[^a]", "[b-c]"};
    static const char *const repeats[] = {"", "", "", "*", "+", "?", "{2}", "{1,3}", "{2,}", "{0,2}"};
    size_t bytes = 0;
    for (unsigned pieces = 1 + any(3); pieces; pieces--) {
        if (depth && any(3) == 0) {
            out[bytes++] = '(';
            bytes += random_pattern(out + bytes, depth - 1);
            if (any(2)) {
                out[bytes++] = '|';
                bytes += random_pattern(out + bytes, depth - 1);
            }
            out[bytes++] = ')';
        } else {
            bytes += (size_t)sprintf(out + bytes, "%s", atoms[any(7)]);
        }
        bytes += (size_t)sprintf(out + bytes, "%s", repeats[any(10)]);
    }
    out[bytes] = '\0';
    return bytes;
}

/* POSIX extended expressions of the C library, whose notion of "is there a match" is the same. */
static void random_patterns_agree_with_the_c_library(void **state)
{
    (void)state;
    unsigned matches = 0, texts = 0;
    for (unsigned round = 0; round < 4000; round++) {
        char inner[1000], source[1010];
        random_pattern(inner, 2);
        snprintf(source, sizeof source, "%s%s%s", any(3) ? "" : "^", inner, any(3) ? "" : "$");
        regex_t other;
        if (strlen(source) > 60 || regcomp(&other, source, REG_EXTENDED | REG_NOSUB) != 0)
            continue;
        struct pattern *p = made(source, false);
        for (unsigned i = 0; i < 30; i++) {
            char text[16];
            unsigned bytes = any(12);
            for (unsigned k = 0; k < bytes; k++)
                text[k] = (char)('a' + any(4));
            text[bytes] = '\0';
            bool want = regexec(&other, text, 0, NULL, 0) == 0;
            if (pattern_match(p, sl_slice_of(text)) != want)
                fail_msg("/%s/ on \"%s\" is %d there", source, text, want);
            matches += want;
            texts++;
        }
        regfree(&other);
        pattern_free(p);
    }
    assert_true(texts > 50000 && matches > texts / 20 && matches < texts - texts / 20);
}

/* The bound that the header promises: one step per byte and, where a state is made, per instruction. */
static void no_pattern_takes_more_than_its_bound_on_any_text(void **state)
{
    (void)state;
    static const char *const evil[] = {
        "(a*)*b$",
        "(a|aa)+$",
        "(a|a)*c",
        "((a+)+)+$",
        "(a|b)*a(a|b){100}$",
        "a{0,240}b",
        "(.*)(.*)(.*)(.*)c$",
        "(a?){150}a{150}c",
        "([ab]{1,15}){1,14}c",
        "\\b(a|b)+\\b.*\\Bc",
        "[^c]*[^b]*[^a]*c",
        "(x+x+)+y",
    };
    enum { BYTES = 100000 };
    char *text = malloc(BYTES);
    assert_non_null(text);
    for (unsigned kind = 0; kind < 3; kind++) {
        for (unsigned i = 0; i < BYTES; i++)
            text[i] = kind == 0 ? 'a' : kind == 1 ? (char)('a' + any(2)) : "ab \xc3\xa9"[any(5)];
        for (size_t i = 0; i < sizeof evil / sizeof evil[0]; i++) {
            struct pattern *p = made(evil[i], false);
            pattern_match(p, sl_slice(text, BYTES));
            assert_true(pattern_work(p) <= (uint64_t)(BYTES + 1) * (PATTERN_INSTRUCTIONS_MAX + 100));
            pattern_free(p);
        }
    }
    free(text);
}

/* More states than there is room for: they are forgotten on the way, and the answer is right all the same. */
static void a_cache_that_overflows_changes_no_answer(void **state)
{
    (void)state;
    struct pattern *p = made("a[ab]{60}c", false);
    char text[4000];
    for (unsigned round = 0; round < 30; round++) {
        unsigned bytes = sizeof text;
        for (unsigned i = 0; i < bytes; i++)
            text[i] = any(300) ? (char)('a' + any(2)) : 'c';
        bool want = false;
        for (unsigned i = 61; i < bytes && !want; i++) {
            if (text[i] != 'c' || text[i - 61] != 'a')
                continue;
            unsigned k = i - 60;
            while (k < i && text[k] != 'c')
                k++;
            want = k == i;
        }
        assert_int_equal(pattern_match(p, sl_slice(text, bytes)), want);
    }
    pattern_free(p);
}

static void a_literal_is_bytes_and_folds_only_letters(void **state)
{
    (void)state;
    struct pattern *p = NULL;
    const char *why;
    assert_int_equal(pattern_new_literal(sl_slice_of("a.[\xff"
                                                     "Z@"),
                                         true, &p, &why),
                     0);
    assert_true(pattern_match(p, sl_slice_of("..A.[\xffz@")));
    assert_false(pattern_match(p, sl_slice_of("axx\xffz@ A.[\xffz`")));
    pattern_free(p);
    char text[PATTERN_PROGRAM_MAX];
    memset(text, 'a', sizeof text);
    assert_int_equal(pattern_new_literal(sl_slice(text, sizeof text), true, &p, &why), PATTERN_INVALID);
    assert_int_equal(pattern_new_literal(sl_slice(text, sizeof text - 1), true, &p, &why), 0);
    assert_true(pattern_match(p, sl_slice(text, sizeof text)));
    assert_false(pattern_match(p, sl_slice(text, sizeof text - 2)));
    pattern_free(p);
}

static void a_text_in_steps_matches_as_the_whole_does(void **state)
{
    (void)state;
    static const char *const patterns[] = {"(a|b)*c[ab]{300}d", "\xc3\xa4+x$", "^.{20}.*z", "\\bend\\b",
                                           "[^q]*q"};
    static uint8_t text[40000];
    for (size_t n = 0; n < sizeof patterns / sizeof *patterns; n++) {
        struct pattern *p, *other;
        const char *why;
        assert_int_equal(pattern_new(sl_slice_of(patterns[n]), false, &p, &why), 0);
        assert_int_equal(pattern_new(sl_slice_of(patterns[n]), false, &other, &why), 0);
        for (unsigned round = 0; round < 20; round++) {
            /* letters, characters of two bytes that portions may cut, bytes that are none */
            unsigned dice = round * 977 + (unsigned)n;
            size_t bytes = 3000 + round * 1800;
            for (size_t i = 0; i < bytes; i++) {
                dice = dice * 1103515245 + 12345;
                text[i] = (uint8_t) "ab\xc3\xa4xcd\xff"[dice >> 16 & 7];
            }
            if (round % 3 == 0)
                memcpy(text + bytes - 5, " endz", 5);
            struct sl_slice all = sl_slice(text, bytes);
            bool whole = pattern_match(other, all);
            struct pattern_pause pause = {0};
            int answer;
            unsigned pauses = 0;
            while ((answer = pattern_match_some(p, all, 1, &pause)) == PATTERN_LATER) {
                pauses++;
                if (round & 1 && pauses % 32 == 1) /* others come between, and make it forget */
                    pattern_match(p, sl_slice(text + pauses, bytes / 2));
            }
            assert_int_equal(answer, whole);
            assert_true(whole || pauses + 1 >= bytes / 4096);
        }
        pattern_free(p);
        pattern_free(other);
    }
}

static size_t resident_kib(void)
{
    size_t pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%*s %zu", &pages), 1);
    fclose(f);
    return pages * 4;
}

/* A thousand followers with a regex took 332 MB: what calloc() had from the heap it wrote over, all of it. */
static void a_pattern_takes_the_memory_that_it_uses(void **state)
{
    (void)state;
    enum { COUNT = 200, MOST_KIB = 80 };
    struct pattern *held[COUNT];
    for (unsigned round = 0; round < 2; round++) { /* what is freed is asked for again */
        size_t before = resident_kib();
        for (unsigned i = 0; i < COUNT; i++) {
            held[i] = made("(a*)*b|timeout [0-9]+", false);
            assert_true(pattern_match(held[i], sl_slice_of("aaaaaaac: timeout 12")));
        }
        assert_in_range(resident_kib() - before, 0, COUNT * MOST_KIB);
        for (unsigned i = 0; i < COUNT; i++)
            pattern_free(held[i]);
    }
}

/* Texts that meet a new state at every byte: a thousand followers of them are to stay within what a slow one
 * may cost. */
static void no_text_makes_a_pattern_grow_beyond_what_a_reader_may_cost(void **state)
{
    (void)state;
    enum { COUNT = 40, MOST_KIB = 224, BYTES = 20000 };
    struct pattern *held[COUNT];
    static char text[BYTES];
    size_t before = resident_kib();
    for (unsigned i = 0; i < COUNT; i++) {
        for (unsigned at = 0; at < BYTES; at++)
            text[at] = (char)('a' + any(2));
        held[i] = made("[ab]*a[ab]{200}c", i % 2 == 0);
        assert_false(pattern_match(held[i], sl_slice(text, BYTES)));
    }
    assert_in_range(resident_kib() - before, 0, COUNT * MOST_KIB);
    for (unsigned i = 0; i < COUNT; i++)
        pattern_free(held[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pattern_takes_the_memory_that_it_uses),
        cmocka_unit_test(no_text_makes_a_pattern_grow_beyond_what_a_reader_may_cost),
        cmocka_unit_test(a_text_in_steps_matches_as_the_whole_does),
        cmocka_unit_test(patterns_match_what_they_say),
        cmocka_unit_test(what_cannot_be_linear_or_is_malformed_is_refused_with_a_sentence),
        cmocka_unit_test(random_patterns_agree_with_the_c_library),
        cmocka_unit_test(no_pattern_takes_more_than_its_bound_on_any_text),
        cmocka_unit_test(a_cache_that_overflows_changes_no_answer),
        cmocka_unit_test(a_literal_is_bytes_and_folds_only_letters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
