// SPDX-License-Identifier: Apache-2.0
#include "export_row.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const char sandbox_json[] = "{\"event\":\"sandbox\",\"sandbox\":\"a\",\"life\":\"77\",\"host\":"
                                   "\"h\\u0131\",\"labels\":{\"k\\\"\":\"v\\n\",\"z\":\"\"}}";

/* The row of a line's object; free() is due. */
static char *row_of(enum row_form form, const char *line_json, bool with_life)
{
    struct export_item sandbox, line;
    struct export_lives *lives = export_lives_new();
    assert_int_equal(export_item_decode(sl_slice_of(sandbox_json), &sandbox), LINE_OK);
    assert_int_equal(sandbox.kind, EXPORT_SANDBOX);
    if (with_life)
        assert_int_equal(export_lives_learn(lives, &sandbox), 0);
    export_item_fini(&sandbox);
    assert_int_equal(export_item_decode(sl_slice_of(line_json), &line), LINE_OK);
    assert_int_equal(line.kind, EXPORT_LINE);
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    row_render(out, form, &line, export_lives_find(lives, line.sandbox));
    assert_int_equal(fclose(out), 0);
    export_item_fini(&line);
    export_lives_free(lives);
    return text;
}

static void rows_hold_every_column_of_their_form(void **state)
{
    (void)state;
    static const char line[] =
        "{\"sandbox\":\"a\",\"seq\":18446744073709551,\"time\":\"2026-02-20T14:30:00.023456789Z\","
        "\"stream\":\"stderr\",\"container\":\"main\",\"line\":\"x\",\"partial\":true}";
    char *text = row_of(ROW_NEW, line, true);
    assert_string_equal(
        text, "{\"Timestamp\":\"1771597800.023456789\",\"ServiceName\":\"a\",\"Life\":\"77\",\"Body\":\"x\","
              "\"ResourceAttributes\":{\"host.name\":\"h\u0131\",\"k\\\"\":\"v\\u000a\",\"z\":\"\"},"
              "\"Seq\":18446744073709551,\"Stream\":\"stderr\",\"Container\":\"main\",\"Partial\":1}\n");
    free(text);
    text = row_of(ROW_OLD, line, true);
    assert_string_equal(
        text, "{\"Timestamp\":\"1771597800\",\"TimestampNs\":1771597800023456789,\"ServiceName\":\"a\","
              "\"Life\":\"77\",\"Body\":\"x\",\"ResourceAttributes.Key\":[\"host.name\",\"k\\\"\",\"z\"],"
              "\"ResourceAttributes.Value\":[\"h\u0131\",\"v\\u000a\",\"\"],\"Seq\":18446744073709551,"
              "\"Stream\":\"stderr\",\"Container\":\"main\",\"Partial\":1}\n");
    free(text);
}

static void any_byte_goes_into_a_row_and_none_ends_its_text(void **state)
{
    (void)state;
    /* all bytes but those that need \u in JSON: raw wins, so that they come as they are */
    uint8_t raw[256];
    char base64[400], json[600];
    for (size_t i = 0; i < 256; i++)
        raw[i] = (uint8_t)i;
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t n = 0;
    for (size_t i = 0; i < 255; i += 3) {
        uint32_t bits = (uint32_t)raw[i] << 16 | (uint32_t)raw[i + 1] << 8 | raw[i + 2];
        for (int k = 18; k >= 0; k -= 6)
            base64[n++] = alphabet[bits >> k & 63];
    }
    snprintf(base64 + n, sizeof base64 - n, "/w==");
    snprintf(json, sizeof json,
             "{\"sandbox\":\"a\",\"seq\":1,\"time\":\"2026-02-20T14:30:00Z\",\"line\":\"?\",\"raw\":\"%s\"}",
             base64);
    char *text = row_of(ROW_OLD, json, false);
    const uint8_t *at = (const uint8_t *)strstr(text, "\"Body\":\"") + 8;
    for (size_t i = 0; i < 256; i++) {
        char wanted[8] = {(char)raw[i]};
        if (i < 0x20)
            snprintf(wanted, sizeof wanted, "\\u%04zx", i);
        else if (i == '"' || i == '\\')
            snprintf(wanted, sizeof wanted, "\\%c", (int)i);
        size_t bytes = strlen(wanted);
        assert_memory_equal(at, wanted, bytes);
        at += bytes;
    }
    assert_int_equal(*at, '"');
    free(text);
}

static void times_that_a_datetime_cannot_hold_become_the_nearest(void **state)
{
    (void)state;
    static const struct {
        const char *time, *old, *new;
    } cases[] = {
        {"1969-12-31T23:59:59.999999999Z", "{\"Timestamp\":\"0000000000\",\"TimestampNs\":-1,",
         "{\"Timestamp\":\"0000000000.000000000\","},
        {"1970-01-01T00:00:01.000000002Z", "{\"Timestamp\":\"0000000001\",\"TimestampNs\":1000000002,",
         "{\"Timestamp\":\"0000000001.000000002\","},
        {"2200-01-01T00:00:00Z", "{\"Timestamp\":\"4291747199\",\"TimestampNs\":7258118400000000000,",
         "{\"Timestamp\":\"7258118400.000000000\","},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char json[200];
        snprintf(json, sizeof json, "{\"sandbox\":\"a\",\"seq\":1,\"time\":\"%s\",\"line\":\"\"}",
                 cases[i].time);
        char *old = row_of(ROW_OLD, json, false), *new = row_of(ROW_NEW, json, false);
        assert_memory_equal(old, cases[i].old, strlen(cases[i].old));
        assert_memory_equal(new, cases[i].new, strlen(cases[i].new));
        free(old);
        free(new);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_hold_every_column_of_their_form),
        cmocka_unit_test(any_byte_goes_into_a_row_and_none_ends_its_text),
        cmocka_unit_test(times_that_a_datetime_cannot_hold_become_the_nearest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
