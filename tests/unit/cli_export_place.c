// SPDX-License-Identifier: Apache-2.0
#include "export_place.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void a_line_is_filed_by_its_hour_in_utc(void **state)
{
    (void)state;
    static const struct {
        const char *time, *folder;
    } cases[] = {
        {"2026-02-20T14:30:00.123456789Z", "date=2026-02-20/hour=14"},
        {"2026-02-20T23:59:59.999999999Z", "date=2026-02-20/hour=23"},
        {"2026-02-20T23:59:59+02:00", "date=2026-02-20/hour=21"},
        {"1969-12-31T23:00:00Z", "date=1969-12-31/hour=23"},
        {"2262-04-11T23:47:16Z", "date=2262-04-11/hour=23"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t ns;
        size_t used;
        char folder[EXPORT_FOLDER_BYTES];
        assert_int_equal(sl_time_parse_rfc3339(sl_slice_of(cases[i].time), &ns, &used), 0);
        export_folder_render(ns, folder);
        assert_string_equal(folder, cases[i].folder);
    }
}

static void a_file_has_the_name_of_the_place_and_the_longest_fits(void **state)
{
    (void)state;
    char name[EXPORT_NAME_BYTES], longest[EXPORT_CHECKPOINT_MAX_BYTES];
    export_name_render(sl_slice_of("d-1_2.3"), name);
    assert_string_equal(name, "d-1_2.3.ndjson.lz4");
    assert_false(export_is_temporary(name));
    memset(longest, 'x', sizeof longest);
    export_temporary_render(sl_slice(longest, sizeof longest), name);
    assert_int_equal(strlen(name), 1 + sizeof longest + strlen(".ndjson.lz4.tmp"));
    assert_true(export_is_temporary(name));
}

static void only_our_own_names_are_touched(void **state)
{
    (void)state;
    static const char *const others[] = {
        ".ndjson.lz4.tmp", "a.ndjson.lz4.tmp", ".a.tmp", ".a.ndjson.lz4", "", "."};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_false(export_is_temporary(others[i]));
    assert_true(export_is_date("date=2026-02-20"));
    assert_false(export_is_date("date=2026-02-2x"));
    assert_false(export_is_date("date=2026-02-200"));
    assert_false(export_is_date("date=2026-02"));
    assert_true(export_is_hour("hour=00"));
    assert_false(export_is_hour("hour=0"));
    assert_false(export_is_hour(".."));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_is_filed_by_its_hour_in_utc),
        cmocka_unit_test(a_file_has_the_name_of_the_place_and_the_longest_fits),
        cmocka_unit_test(only_our_own_names_are_touched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
