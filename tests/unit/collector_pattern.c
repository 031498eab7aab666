// SPDX-License-Identifier: Apache-2.0
#include "pattern.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static bool match(const char *component, const char *name, struct captures *c)
{
    *c = (struct captures){0};
    return pattern_match(sl_slice_of(component), sl_slice_of(name), c);
}

static void captured(const struct captures *c, const char *name, const char *value)
{
    assert_true(sl_slice_equal(captures_get(c, name), sl_slice_of(value)));
}

static void a_path_is_split_into_root_and_components(void **state)
{
    (void)state;
    struct pattern p;
    const char *why;
    assert_int_equal(pattern_parse("cri:/var/log//pods/{n}_{sandbox}_{uid}/{container}/*.log", &p, &why), 0);
    assert_int_equal(p.format, FORMAT_CRI);
    assert_string_equal(p.root, "/var/log/pods");
    assert_int_equal(p.depth, 3);
    assert_true(sl_slice_equal(p.components[2], sl_slice_of("*.log")));
    pattern_fini(&p);
    assert_int_equal(pattern_parse("plain:{sandbox}", &p, &why), 0);
    assert_string_equal(p.root, ".");
    pattern_fini(&p);
    assert_int_equal(pattern_parse("docker:/{sandbox}/x.log", &p, &why), 0);
    assert_string_equal(p.root, "/");
    assert_int_equal(p.depth, 2);
    pattern_fini(&p);
}

static void bad_patterns_are_refused_with_a_reason(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "/x/{sandbox}",
                                      "xml:/x/{sandbox}",
                                      "cri:/x/y",
                                      "cri:/x/{a}",
                                      "cri:/x/{sandbox",
                                      "cri:/x/sandbox}*",
                                      "cri:/x/{sandbox}/",
                                      "cri:",
                                      "cri:/{sandbox}/[a",
                                      "cri:/{sandbox}/{}",
                                      "cri:/{sandbox}/../x",
                                      "cri:/x/{a b}{sandbox}"};
    struct pattern p;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const char *why = NULL;
        assert_int_equal(pattern_parse(bad[i], &p, &why), PATTERN_MALFORMED);
        assert_non_null(why);
    }
}

static void captures_take_as_little_as_they_can_and_the_last_takes_the_rest(void **state)
{
    (void)state;
    struct captures c;
    assert_true(match("{namespace}_{sandbox}_{uid}", "kube-system_web-1_a_b", &c));
    captured(&c, "namespace", "kube-system");
    captured(&c, "sandbox", "web-1");
    captured(&c, "uid", "a_b");
    assert_true(match("{sandbox}-json.log", "a-json.log-json.log", &c));
    captured(&c, "sandbox", "a-json.log");
    assert_false(match("{sandbox}-json.log", "-json.log", &c));
    assert_false(match("{a}_{b}", "x_", &c));
    assert_true(match("pre{a}post", "prexpost", &c));
    captured(&c, "a", "x");
}

static void wildcards_match_as_in_a_shell(void **state)
{
    (void)state;
    struct captures c;
    assert_true(match("*.log", "a.b.log", &c));
    assert_false(match("*.log", ".log", &c));
    assert_false(match("*", ".hidden", &c));
    assert_true(match("*", "", &c));
    assert_true(match("?[a-c][!x]", "zbq", &c));
    assert_false(match("?[a-c][!x]", "zbx", &c));
    assert_false(match("?[a-c][!x]", "zb", &c));
    assert_true(match("*a*b*c", "xxaxxbxxbcc", &c));
    assert_false(match("*a*b*c", "xxaxxcxxc", &c));
    assert_true(match("{x}", ".hidden", &c));
    assert_true(match("[]]", "]", &c));
}

static void a_name_captured_before_stands_for_its_text(void **state)
{
    (void)state;
    struct captures c;
    assert_true(match("{sandbox}", "abc", &c));
    struct captures again = c;
    assert_true(pattern_match(sl_slice_of("{sandbox}-json.log"), sl_slice_of("abc-json.log"), &again));
    assert_int_equal(again.count, 1);
    again = c;
    assert_false(pattern_match(sl_slice_of("{sandbox}-json.log"), sl_slice_of("abd-json.log"), &again));
}

static void many_stars_take_no_exponential_time(void **state)
{
    (void)state;
    struct captures c;
    char name[256];
    memset(name, 'a', 255);
    name[255] = 0;
    assert_false(match("*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b", name, &c));
    assert_true(match("{a}a{b}a{c}a{d}a{e}a{f}a{g}a{h}", name, &c));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_path_is_split_into_root_and_components),
        cmocka_unit_test(bad_patterns_are_refused_with_a_reason),
        cmocka_unit_test(captures_take_as_little_as_they_can_and_the_last_takes_the_rest),
        cmocka_unit_test(wildcards_match_as_in_a_shell),
        cmocka_unit_test(a_name_captured_before_stands_for_its_text),
        cmocka_unit_test(many_stars_take_no_exponential_time)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
