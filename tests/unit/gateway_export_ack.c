// SPDX-License-Identifier: Apache-2.0
/* The body of an acknowledgement: {"checkpoint":"..."} and nothing that only looks like it. */
#include "export.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
/* behind setjmp.h, stdarg.h */
#include <cmocka.h>

static int parse(struct sl_slice body, struct sl_checkpoint *ret, const char **ret_why)
{
    *ret_why = NULL;
    memset(ret, 'x', sizeof *ret);
    return export_ack_parse(body, ret, ret_why);
}

static void a_checkpoint_is_taken_as_it_is(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "{\"checkpoint\":\"0a-B._9\"}",
        " { \"more\" : [1,{}], \"checkpoint\" : \"0a-B._9\" } \n",
        "{\"checkpoint\":\"\\u0030a-B._9\"}",
    };
    struct sl_checkpoint got;
    const char *why;
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        assert_int_equal(parse(sl_slice_of(bodies[i]), &got, &why), 0);
        assert_true(sl_slice_equal(sl_checkpoint_slice(&got), sl_slice_of("0a-B._9")));
        assert_null(why);
    }
}

static void the_longest_is_taken_and_one_more_is_not(void **state)
{
    (void)state;
    char body[SL_CHECKPOINT_MAX_BYTES + 64];
    struct sl_checkpoint got;
    const char *why;
    for (int more = 0; more < 2; more++) {
        char text[SL_CHECKPOINT_MAX_BYTES + 2];
        memset(text, '7', sizeof text);
        text[SL_CHECKPOINT_MAX_BYTES + more] = 0;
        snprintf(body, sizeof body, "{\"checkpoint\":\"%s\"}", text);
        assert_int_equal(parse(sl_slice_of(body), &got, &why), more ? EXPORT_INVALID : 0);
        if (!more)
            assert_int_equal(got.bytes, SL_CHECKPOINT_MAX_BYTES);
    }
}

static void what_is_none_is_refused_in_a_sentence(void **state)
{
    (void)state;
    static const struct {
        const char *body, *why;
    } cases[] = {
        {"", "JSON object"},
        {"null", "JSON object"},
        {"[\"1\"]", "JSON object"},
        {"\"1\"", "JSON object"},
        {"{\"checkpoint\":\"1\"", "JSON object"},
        {"{\"checkpoint\":\"1\"} x", "JSON object"},
        {"{\"checkpoint\":\"1\",\"checkpoint\":\"2\"}", "JSON object"},
        {"{\"checkpoint\":\"\xff\"}", "JSON object"},
        {"{}", "one that the export gave"},
        {"{\"Checkpoint\":\"1\"}", "one that the export gave"},
        {"{\"checkpoint\":null}", "one that the export gave"},
        {"{\"checkpoint\":1}", "one that the export gave"},
        {"{\"checkpoint\":[\"1\"]}", "one that the export gave"},
        {"{\"checkpoint\":\"\"}", "one that the export gave"},
        {"{\"checkpoint\":\"a b\"}", "one that the export gave"},
        {"{\"checkpoint\":\"../x\"}", "one that the export gave"},
        {"{\"checkpoint\":\"\xc3\xa9\"}", "one that the export gave"},
    };
    struct sl_checkpoint got, untouched;
    memset(&untouched, 'x', sizeof untouched);
    const char *why;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (parse(sl_slice_of(cases[i].body), &got, &why) != EXPORT_INVALID)
            fail_msg("%s is taken", cases[i].body);
        assert_non_null(strstr(why, cases[i].why));
        assert_memory_equal(&got, &untouched, sizeof got);
    }
    /* A zero ends no text. */
    assert_int_equal(parse(sl_slice("{\"checkpoint\":\"1\"}\0", 19), &got, &why), EXPORT_INVALID);
    assert_int_equal(parse(sl_slice("{\"checkpoint\":\"1\\u0000\"}", 24), &got, &why), EXPORT_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_checkpoint_is_taken_as_it_is),
        cmocka_unit_test(the_longest_is_taken_and_one_more_is_not),
        cmocka_unit_test(what_is_none_is_refused_in_a_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
