// SPDX-License-Identifier: Apache-2.0
#include "wire/sandbox_id.h"
#include <setjmp.h>
#include <stdarg.h>
/* cmocka.h needs the two above */
#include <cmocka.h>

static void exactly_the_documented_bytes_are_allowed(void **state)
{
    (void)state;
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-";
    for (unsigned c = 0; c < 256; c++) {
        uint8_t id[2] = {'x', (uint8_t)c};
        bool wanted = memchr(allowed, (int)c, sizeof allowed - 1) != NULL;
        assert_int_equal(sl_sandbox_id_valid(sl_slice(id, 2)), wanted);
        assert_int_equal(sl_container_valid(sl_slice(id, 2)), wanted);
    }
}

static void length_and_dots_are_bounded(void **state)
{
    (void)state;
    char id[SL_ID_MAX_BYTES + 1];
    memset(id, 'a', sizeof id);
    assert_true(sl_sandbox_id_valid(sl_slice(id, SL_ID_MAX_BYTES)));
    assert_false(sl_sandbox_id_valid(sl_slice(id, SL_ID_MAX_BYTES + 1)));
    assert_false(sl_container_valid(sl_slice(id, SL_ID_MAX_BYTES + 1)));
    assert_false(sl_sandbox_id_valid(sl_slice(id, 0)));
    assert_true(sl_container_valid(sl_slice(NULL, 0)));
    assert_false(sl_sandbox_id_valid(sl_slice_of(".")));
    assert_false(sl_sandbox_id_valid(sl_slice_of("..")));
    assert_false(sl_container_valid(sl_slice_of("..")));
    assert_true(sl_sandbox_id_valid(sl_slice_of("...")));
    assert_true(sl_sandbox_id_valid(sl_slice_of(".a")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exactly_the_documented_bytes_are_allowed),
        cmocka_unit_test(length_and_dots_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
