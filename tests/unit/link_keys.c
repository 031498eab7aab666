// SPDX-License-Identifier: Apache-2.0
#include "wire/link_keys.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static char file[] = "/tmp/sandlog-keys-XXXXXX";

static void write_file(const void *bytes, size_t count)
{
    FILE *f = fopen(file, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, count, f), count);
    fclose(f);
}

static int make_file(void **state)
{
    (void)state;
    int fd = mkstemp(file);
    return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state)
{
    (void)state;
    return unlink(file);
}

static int read_secret(struct sl_link_keys **ret, char *why)
{
    const char *url = "tcp://127.0.0.1:1";
    return sl_link_keys_read(&(struct sl_link_files){.secret = file}, false, &url, 1, ret, why);
}

static void a_secret_is_the_files_bytes_without_one_newline(void **state)
{
    (void)state;
    static const struct {
        const char *content, *secret;
    } rows[] = {{"word", "word"}, {"word\n", "word"}, {"word\n\n", "word\n"}, {" w o r d ", " w o r d "}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct sl_link_keys *read, *made;
        char why[SL_LINK_WHY_BYTES];
        write_file(rows[i].content, strlen(rows[i].content));
        assert_int_equal(read_secret(&read, why), 0);
        assert_int_equal(sl_link_keys_of(sl_slice_of(rows[i].secret), &made), 0);
        assert_true(sl_link_keys_equal(read, made));
        assert_ptr_equal(sl_link_keys_ref(read), read);
        sl_link_keys_unref(read);
        assert_true(sl_link_keys_equal(read, made)); /* one reference is left */
        sl_link_keys_unref(read);
        sl_link_keys_unref(made);
    }
}

static void what_is_no_secret_is_said_with_option_and_file(void **state)
{
    (void)state;
    struct sl_link_keys *k;
    char why[SL_LINK_WHY_BYTES], big[4098];
    memset(big, 'x', sizeof big);
    write_file(big, 4096);
    assert_int_equal(read_secret(&k, why), 0);
    sl_link_keys_unref(k);
    static const struct {
        size_t bytes;
        const char *content, *why;
    } rows[] = {{0, "", "is empty"}, {1, "\n", "is empty"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        write_file(rows[i].content, rows[i].bytes);
        assert_int_equal(read_secret(&k, why), SL_LINK_KEYS_REFUSED);
        assert_non_null(strstr(why, rows[i].why));
        assert_non_null(strstr(why, "--secret"));
        assert_non_null(strstr(why, file));
    }
    write_file(big, 4097);
    assert_int_equal(read_secret(&k, why), SL_LINK_KEYS_REFUSED);
    assert_non_null(strstr(why, "is too long"));
    const char *url = "tcp://127.0.0.1:1";
    assert_int_equal(
        sl_link_keys_read(&(struct sl_link_files){.secret = "/nowhere/at/all"}, false, &url, 1, &k, why),
        SL_LINK_KEYS_REFUSED);
    assert_string_equal(why, "--secret /nowhere/at/all: No such file or directory");
}

static void tls_addresses_name_the_files_they_need(void **state)
{
    (void)state;
    struct sl_link_keys *k;
    char why[SL_LINK_WHY_BYTES];
    const char *const urls[] = {"tcp://127.0.0.1:1", "tls+tcp://localhost:2"};
    struct sl_link_files none = {0}, half = {.ca = file, .cert = file}, text = {.ca = file};
    assert_int_equal(sl_link_keys_read(&none, false, urls, 1, &k, why), 0);
    sl_link_keys_unref(k);
    assert_int_equal(sl_link_keys_read(&none, false, urls, 2, &k, why), SL_LINK_KEYS_REFUSED);
    assert_non_null(strstr(why, "tls+tcp://localhost:2 needs --link-ca"));
    assert_int_equal(sl_link_keys_read(&none, true, urls, 2, &k, why), SL_LINK_KEYS_REFUSED);
    assert_non_null(strstr(why, "needs --link-cert and --link-key"));
    write_file("-----BEGIN NOTHING-----\n", 24);
    assert_int_equal(sl_link_keys_read(&half, false, urls, 2, &k, why), SL_LINK_KEYS_REFUSED);
    assert_non_null(strstr(why, "come together"));
    assert_int_equal(sl_link_keys_read(&text, false, urls, 2, &k, why), SL_LINK_KEYS_REFUSED);
    assert_non_null(strstr(why, "holds no certificates"));
    write_file("word", 4);
    assert_int_equal(sl_link_keys_read(&text, false, urls, 2, &k, why), SL_LINK_KEYS_REFUSED);
    assert_non_null(strstr(why, "is not PEM"));
}

static void keys_that_differ_are_told_apart(void **state)
{
    (void)state;
    struct sl_link_keys *a, *b, *none;
    assert_int_equal(sl_link_keys_of(sl_slice_of("a"), &a), 0);
    assert_int_equal(sl_link_keys_of(sl_slice_of("b"), &b), 0);
    assert_int_equal(sl_link_keys_of(sl_slice(NULL, 0), &none), 0);
    assert_true(sl_link_keys_equal(a, a));
    assert_false(sl_link_keys_equal(a, b));
    assert_false(sl_link_keys_equal(a, none));
    sl_link_keys_unref(a);
    sl_link_keys_unref(b);
    sl_link_keys_unref(none);
    sl_link_keys_unref(NULL);
    assert_null(sl_link_keys_ref(NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_secret_is_the_files_bytes_without_one_newline),
        cmocka_unit_test(what_is_no_secret_is_said_with_option_and_file),
        cmocka_unit_test(tls_addresses_name_the_files_they_need),
        cmocka_unit_test(keys_that_differ_are_told_apart),
    };
    return cmocka_run_group_tests(tests, make_file, remove_file);
}
