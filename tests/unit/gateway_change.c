// SPDX-License-Identifier: Apache-2.0
#include "change.h"
#include "label.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static uint8_t memory[CHANGE_PAIRS_BYTES];

static int parse(const char *body, struct sl_change *ret, const char **ret_member)
{
    struct sl_writer pairs = sl_writer(memory, sizeof memory);
    const char *why = NULL;
    *ret = (struct sl_change){.sandbox = sl_slice_of("box")};
    int answer = change_parse(sl_slice_of(body), &pairs, ret, ret_member, &why);
    assert_true(answer == 0 || (answer == CHANGE_INVALID && why));
    assert_true(sl_slice_equal(ret->sandbox, sl_slice_of("box")));
    return answer;
}

static void members_become_fields(void **state)
{
    (void)state;
    struct sl_change c;
    const char *member;
    assert_int_equal(parse("{}", &c, &member), 0);
    assert_int_equal(c.fields, 0);
    assert_int_equal(
        parse("{\"state\":\"stopped\",\"exit_code\":137,\"labels\":{\"a\":\"b\",\"c\":\"\"},\"later\":1}", &c,
              &member),
        0);
    assert_int_equal(c.fields, SL_CHANGE_STATE | SL_CHANGE_EXIT | SL_CHANGE_LABELS);
    assert_true(c.state == SL_STOPPED && c.exit_code == 137 && c.labels == 2);
    struct sl_reader pairs = sl_reader(c.label_pairs);
    struct sl_slice key, value;
    assert_true(sl_label_next(&pairs, &key, &value) && sl_label_next(&pairs, &key, &value) &&
                !sl_label_next(&pairs, &key, &value));
    assert_int_equal(parse("{\"state\":\"running\",\"exit_code\":-1}", &c, &member), 0);
    assert_true(c.state == SL_RUNNING && c.exit_code == -1);
    assert_int_equal(parse("{\"state\":\"stopped\",\"exit_code\":null}", &c, &member), 0);
    assert_int_equal(c.fields, SL_CHANGE_STATE); /* not known, as GET says it */
}

static void what_is_wrong_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        const char *member;
    } bad[] = {{"", NULL},
               {"{", NULL},
               {"[]", NULL},
               {"null", NULL},
               {"{} x", NULL},
               {"{\"a\":1,\"a\":2}", NULL},
               {"{\"state\":\"flying\"}", "state"},
               {"{\"state\":null}", "state"},
               {"{\"exit_code\":1.5}", "exit_code"},
               {"{\"exit_code\":2147483648}", "exit_code"},
               {"{\"labels\":[]}", "labels"},
               {"{\"labels\":{\"a\":1}}", "labels"},
               {"{\"labels\":{\"\":\"x\"}}", "labels"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct sl_change c;
        const char *member;
        assert_int_equal(parse(bad[i].body, &c, &member), CHANGE_INVALID);
        if (bad[i].member)
            assert_string_equal(member, bad[i].member);
        else
            assert_null(member);
    }
}

static void labels_of_a_query_are_pairs_with_a_key(void **state)
{
    (void)state;
    struct query_pair given[] = {{sl_slice_of("label"), sl_slice_of("a=b=c"), false},
                                 {sl_slice_of("other"), sl_slice_of("x"), false},
                                 {sl_slice_of("label"), sl_slice_of("k="), false},
                                 {sl_slice_of("label"), sl_slice_of(""), true}};
    struct sl_writer pairs = sl_writer(memory, sizeof memory);
    struct sl_slice key, value;
    struct problem p;
    uint16_t count;
    assert_int_equal(label_parse(given, 4, &pairs, &count, &p), 0);
    assert_int_equal(count, 2);
    struct sl_reader r = sl_reader(sl_slice(memory, pairs.bytes));
    assert_true(sl_label_next(&r, &key, &value) && sl_slice_equal(key, sl_slice_of("a")) &&
                sl_slice_equal(value, sl_slice_of("b=c")));
    assert_true(sl_label_next(&r, &key, &value) && sl_slice_equal(key, sl_slice_of("k")) && value.bytes == 0);
    given[0].value = sl_slice_of("=b");
    assert_int_equal(label_parse(given, 1, &pairs, &count, &p), 1);
    given[0].value = sl_slice_of("b");
    assert_int_equal(label_parse(given, 1, &pairs, &count, &p), 1);
    assert_string_equal(p.parameter, "label");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(members_become_fields),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(labels_of_a_query_are_pairs_with_a_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
