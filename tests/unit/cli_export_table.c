// SPDX-License-Identifier: Apache-2.0
#include "export_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void an_address_is_taken_apart_and_its_url_holds_no_secret(void **state)
{
    (void)state;
    struct table_address a;
    assert_null(table_address_parse("http://wri%40ter:ge%2fheim@ch.example:9123/logs.lines_2", &a));
    assert_string_equal(a.url, "http://ch.example:9123");
    assert_string_equal(a.user, "wri@ter");
    assert_string_equal(a.password, "ge/heim");
    assert_string_equal(a.database, "logs");
    assert_string_equal(a.table, "lines_2");
    table_address_fini(&a);
    assert_null(table_address_parse("HTTPS://[::1]/a.b", &a));
    assert_string_equal(a.url, "https://[::1]:8443");
    assert_null(a.user);
    table_address_fini(&a);
    assert_null(table_address_parse("http://h/a.b", &a));
    assert_string_equal(a.url, "http://h:8123");
    table_address_fini(&a);
}

static void what_names_no_table_is_refused_without_being_repeated(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "http://u:geheim@h:8123/",    "http://u:geheim@h:8123",    "http://u:geheim@h:8123/a",
        "http://u:geheim@h:8123/a.",  "http://u:geheim@h:8123/.b", "http://u:geheim@h:8123/a.b.c",
        "http://u:geheim@h/a.b?x=1",  "http://u:geheim@h/a.b%20c", "http://u:geheim@h/a.1b",
        "http://u:geheim@h/a.b;DROP", "http://u:geheim@h/a.b/",    "http://u:geheim@h:999999/a.b",
        "http://u:geheim@h/a.b`",     "http://u:geheim@/a.b",
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct table_address a;
        const char *wrong = table_address_parse(cases[i], &a);
        if (!wrong)
            fail_msg("%s was taken", cases[i]);
        assert_null(strstr(wrong, "geheim"));
    }
}

static const struct table_address address = {.database = "d", .table = "t"};

static void statements_order_by_what_a_line_is_known_by(void **state)
{
    (void)state;
    char *text = table_create_statement(&address, ROW_NEW);
    assert_string_equal(
        text,
        "CREATE TABLE IF NOT EXISTS d.t (`Timestamp` DateTime64(9, 'UTC'), `ServiceName` "
        "LowCardinality(String), "
        "`Life` LowCardinality(String), `Body` String, `ResourceAttributes` Map(LowCardinality(String), "
        "String), "
        "`Seq` UInt64, `Stream` LowCardinality(String), `Container` LowCardinality(String), `Partial` UInt8) "
        "ENGINE = ReplacingMergeTree() PARTITION BY toYYYYMM(Timestamp) ORDER BY (ServiceName, Life, Seq)");
    free(text);
    text = table_insert_statement(&address, ROW_OLD);
    assert_string_equal(text,
                        "INSERT INTO d.t (`Timestamp`, `TimestampNs`, `ServiceName`, `Life`, `Body`, "
                        "`ResourceAttributes.Key`, `ResourceAttributes.Value`, `Seq`, `Stream`, `Container`, "
                        "`Partial`) FORMAT JSONEachRow");
    free(text);
}

static void a_table_that_is_there_must_have_the_columns(void **state)
{
    (void)state;
    enum row_form form;
    char fault[300];
    static const char old[] =
        "Timestamp\tDateTime(\\'UTC\\')"
        "\nTimestampNs\tInt64\nServiceName\tString\nLife\tString\nBody\tString\n"
        "ResourceAttributes.Key\tArray(String)\nResourceAttributes.Value\tArray(String)\nSeq\tUInt64\n"
        "Stream\tString\nContainer\tString\nPartial\tUInt8\nMine\tDate\n";
    static const char new[] =
        "Timestamp\tDateTime64(9, \\'Europe/Paris\\')\nServiceName\tString\nLife\tLowCardinality(String)\n"
        "Body\tString\nResourceAttributes\tMap(String, String)\nSeq\tUInt64\nStream\tString\n"
        "Container\tString\nPartial\tBool\n";
    assert_int_equal(table_columns_check(sl_slice_of(old), &form, fault, sizeof fault), 0);
    assert_int_equal(form, ROW_OLD);
    assert_int_equal(table_columns_check(sl_slice_of(new), &form, fault, sizeof fault), 0);
    assert_int_equal(form, ROW_NEW);
    static const char other[] =
        "Timestamp\tDateTime64(9)\nServiceName\tString\nLife\tString\nBody\tFixedString(4)\n"
        "ResourceAttributes\tMap(String, String)\nSeq\tUInt64\nContainer\tString\nPartial\tUInt8\n";
    assert_int_equal(table_columns_check(sl_slice_of(other), &form, fault, sizeof fault), 1);
    assert_string_equal(fault, "Body is FixedString(4), not String; Stream is missing");
    char small[10];
    assert_int_equal(table_columns_check(sl_slice_of("x\ty\n"), &form, small, sizeof small), 1);
    assert_int_equal(strlen(small), 9);
}

static void an_engine_that_keeps_repeated_rows_is_refused(void **state)
{
    (void)state;
    struct sl_slice key = sl_slice_of("ServiceName, Life, Seq\n");
    assert_null(table_engine_check(sl_slice_of("ReplacingMergeTree"), key));
    assert_null(table_engine_check(sl_slice_of("ReplicatedReplacingMergeTree"), key));
    assert_null(table_engine_check(sl_slice_of("Distributed"), sl_slice(NULL, 0)));
    assert_non_null(table_engine_check(sl_slice_of("MergeTree"), key));
    assert_non_null(table_engine_check(sl_slice_of("ReplacingMergeTree"), sl_slice_of("ServiceName, Seq\n")));
    assert_non_null(table_engine_check(sl_slice(NULL, 0), sl_slice(NULL, 0)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_is_taken_apart_and_its_url_holds_no_secret),
        cmocka_unit_test(what_names_no_table_is_refused_without_being_repeated),
        cmocka_unit_test(statements_order_by_what_a_line_is_known_by),
        cmocka_unit_test(a_table_that_is_there_must_have_the_columns),
        cmocka_unit_test(an_engine_that_keeps_repeated_rows_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
