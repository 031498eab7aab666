// SPDX-License-Identifier: Apache-2.0
#include "export_item.h"
#include "export_lives.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static int decode(const char *json, struct export_item *item)
{
    return export_item_decode(sl_slice_of(json), item);
}

static enum export_kind kind_of(const char *json)
{
    struct export_item item;
    assert_int_equal(decode(json, &item), LINE_OK);
    enum export_kind kind = item.kind;
    export_item_fini(&item);
    return kind;
}

static void every_kind_is_told_apart(void **state)
{
    (void)state;
    assert_int_equal(kind_of(""), EXPORT_NOTHING);
    assert_int_equal(kind_of("{\"event\":\"news\",\"from\":\"the future\"}"), EXPORT_NOTHING);
    assert_int_equal(kind_of("{\"checkpoint\":\"d-1.2_3\"}"), EXPORT_CHECKPOINT);
    assert_int_equal(kind_of("{\"event\":\"sandbox\",\"sandbox\":\"a\",\"life\":\"1\",\"labels\":{}}"),
                     EXPORT_SANDBOX);
    struct export_item item;
    assert_int_equal(
        decode("{\"event\":\"gap\",\"sandbox\":\"a\",\"from_seq\":null,\"to_seq\":5,\"lines\":4}", &item), 0);
    assert_int_equal(item.kind, EXPORT_GAP);
    assert_int_equal(item.missing, 4);
    export_item_fini(&item);
    assert_int_equal(
        decode("{\"sandbox\":\"a\",\"seq\":7,\"time\":\"1970-01-01T00:00:01Z\",\"stream\":\"stdout\","
               "\"container\":\"c\",\"line\":\"{\\\"checkpoint\\\":\\\"x\\\"}\"}",
               &item),
        0);
    assert_int_equal(item.kind, EXPORT_LINE);
    assert_int_equal(item.time_ns, SL_NS_PER_S);
    assert_true(sl_slice_equal(item.line.container, sl_slice_of("c")));
    export_item_fini(&item);
}

static void what_makes_no_sense_is_refused(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "x",
        "[]",
        "{",
        "{\"checkpoint\":\"\"}",
        "{\"checkpoint\":\"..\"}",
        "{\"checkpoint\":\"a/b\"}",
        "{\"checkpoint\":7}",
        "{\"checkpoint\":\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"}",
        "{\"event\":\"gap\"}",
        "{\"event\":\"sandbox\",\"sandbox\":\"a\"}",
        "{\"line\":\"a\",\"seq\":1,\"time\":\"1970-01-01T00:00:01Z\"}",
        "{\"sandbox\":\"a\",\"line\":\"a\",\"seq\":1,\"time\":\"yesterday\"}",
        "{\"sandbox\":\"a\",\"line\":\"a\",\"seq\":0,\"time\":\"1970-01-01T00:00:01Z\"}",
        "{\"sandbox\":\"a\",\"line\":7,\"seq\":1,\"time\":\"1970-01-01T00:00:01Z\"}",
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct export_item item;
        if (decode(cases[i], &item) != LINE_MALFORMED)
            fail_msg("%s was taken", cases[i]);
    }
}

static void the_newest_word_of_a_sandbox_counts(void **state)
{
    (void)state;
    struct export_lives *lives = export_lives_new();
    struct export_item item;
    assert_int_equal(decode("{\"event\":\"sandbox\",\"sandbox\":\"a\",\"life\":\"1\",\"host\":\"h\"}", &item),
                     0);
    assert_int_equal(export_lives_learn(lives, &item), 0);
    export_item_fini(&item);
    uint64_t number = export_lives_find(lives, sl_slice_of("a"))->number;
    assert_int_equal(
        decode("{\"event\":\"sandbox\",\"sandbox\":\"a\",\"life\":\"2\",\"labels\":{\"k\":\"v\"}}", &item),
        0);
    assert_int_equal(export_lives_learn(lives, &item), 0);
    export_item_fini(&item);
    const struct export_life *life = export_lives_find(lives, sl_slice_of("a"));
    assert_true(sl_slice_equal(life->life, sl_slice_of("2")));
    assert_true(life->number > number);
    assert_int_equal(life->host.bytes, 0);
    assert_int_equal(json_object_size(life->labels), 1);
    assert_null(export_lives_find(lives, sl_slice_of("b")));
    export_lives_forget(lives);
    assert_null(export_lives_find(lives, sl_slice_of("a")));
    export_lives_free(lives);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_is_told_apart),
        cmocka_unit_test(what_makes_no_sense_is_refused),
        cmocka_unit_test(the_newest_word_of_a_sandbox_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
