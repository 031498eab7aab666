// SPDX-License-Identifier: Apache-2.0
#include "gzip.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>
#include <zlib.h>

static void gzip_is_taken_when_it_is_asked_for(void **state)
{
    (void)state;
    static const char *const yes[] = {"gzip",       "GZIP",  "br, gzip",      "gzip;q=0.5",
                                      "gzip ; q=1", " gzip", "a,gzip;q=0.001"};
    static const char *const no[] = {"",  "br",  "gzip;q=0", "gzip;q=0.000", "gzipped", "x-gzip",
                                     "*", "gzi", ",,"};
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
        assert_true(gzip_accepted(sl_slice_of(yes[i])));
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        assert_false(gzip_accepted(sl_slice_of(no[i])));
}

static void each_piece_can_be_read_at_once(void **state)
{
    (void)state;
    struct gzip *g;
    struct buffer out;
    z_stream z = {0};
    char text[20000], read[20000];
    size_t got = 0, sent = 0;
    assert_int_equal(gzip_new(&g), 0);
    assert_int_equal(inflateInit2(&z, 31), Z_OK);
    buffer_init(&out, 16, 1 << 20);
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)(i * i >> 3);
    int answer = Z_OK;
    for (size_t bytes = 1; sent < sizeof text; bytes *= 3) {
        size_t some = bytes < sizeof text - sent ? bytes : sizeof text - sent;
        buffer_cut(&out, 0);
        gzip_append(g, sl_slice(text + sent, some), sent + some == sizeof text, &out);
        sent += some;
        z.next_in = buffer_data(&out);
        z.avail_in = (uInt)out.bytes;
        z.next_out = (Bytef *)read + got;
        z.avail_out = (uInt)(sizeof read - got);
        answer = inflate(&z, Z_SYNC_FLUSH);
        got = sizeof read - z.avail_out;
        assert_int_equal(got, sent);
    }
    assert_int_equal(answer, Z_STREAM_END);
    assert_memory_equal(text, read, sizeof text);
    inflateEnd(&z);
    buffer_fini(&out);
    gzip_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gzip_is_taken_when_it_is_asked_for),
        cmocka_unit_test(each_piece_can_be_read_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
