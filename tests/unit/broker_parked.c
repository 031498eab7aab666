// SPDX-License-Identifier: Apache-2.0
#include "parked.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

/* A read of connection `peer` for sandboxes of one letter each. */
static struct parked_read *read_of(struct sl_request *request, const char *letters)
{
    struct parked_read *read = parked_read_new((uint16_t)strlen(letters));
    assert_non_null(read);
    read->request = request;
    for (uint16_t i = 0; i < read->count; i++)
        read->entries[i].sandbox = sl_slice(letters + i, 1);
    return read;
}

static void grow(struct parked *p, const char *letter, int64_t now_ns)
{
    parked_grown(p, sl_slice(letter, 1), now_ns);
}

static void only_who_waits_for_a_sandbox_is_woken_and_once(void **state)
{
    (void)state;
    struct sl_request one = {.peer = 1}, two = {.peer = 2};
    struct parked *p;
    assert_int_equal(parked_new(&p), 0);
    struct parked_read *ab = read_of(&one, "ab"), *bc = read_of(&two, "bc");
    assert_int_equal(parked_add(p, ab), 0);
    assert_int_equal(parked_add(p, bc), 0);
    int64_t when;
    grow(p, "x", 1);
    assert_null(parked_woken(p, &when));
    grow(p, "a", 2);
    grow(p, "b", 3);
    grow(p, "b", 4);
    assert_ptr_equal(parked_woken(p, &when), ab);
    assert_int_equal(when, 2);
    assert_true(ab->entries[0].news && ab->entries[1].news);
    assert_ptr_equal(parked_woken(p, &when), bc);
    assert_int_equal(when, 3);
    assert_true(bc->entries[0].news && !bc->entries[1].news);
    assert_null(parked_woken(p, &when));
    /* It stays parked until it is removed. */
    grow(p, "c", 5);
    assert_ptr_equal(parked_woken(p, &when), bc);
    assert_int_equal(when, 5);
    parked_free(p);
}

static void a_removed_read_is_not_woken(void **state)
{
    (void)state;
    struct sl_request one = {.peer = 1};
    struct parked *p;
    assert_int_equal(parked_new(&p), 0);
    /* The same sandbox twice in one read is legal. */
    struct parked_read *gone = read_of(&one, "aab"), *stays = read_of(&one, "a");
    assert_int_equal(parked_add(p, gone), 0);
    assert_int_equal(parked_add(p, stays), 0);
    grow(p, "a", 1);
    parked_remove(p, gone);
    free(gone);
    int64_t when;
    assert_ptr_equal(parked_woken(p, &when), stays);
    assert_null(parked_woken(p, &when));
    grow(p, "b", 2);
    assert_null(parked_woken(p, &when));
    assert_int_equal(parked_count(p), 1);
    parked_free(p);
}

static void a_connection_may_park_only_so_many_reads(void **state)
{
    (void)state;
    struct sl_request one = {.peer = 1}, two = {.peer = 2};
    struct parked *p;
    assert_int_equal(parked_new(&p), 0);
    for (unsigned i = 0; i < PARKED_OF_PEER_MAX; i++)
        assert_int_equal(parked_add(p, read_of(&one, "a")), 0);
    struct parked_read *more = read_of(&one, "a"), *other = read_of(&two, "a");
    assert_int_equal(parked_add(p, more), PARKED_FULL);
    assert_int_equal(parked_add(p, other), 0);
    struct parked_read *first = parked_next(p, NULL);
    parked_remove(p, first);
    free(first);
    assert_int_equal(parked_add(p, more), 0);
    parked_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_who_waits_for_a_sandbox_is_woken_and_once),
        cmocka_unit_test(a_removed_read_is_not_woken),
        cmocka_unit_test(a_connection_may_park_only_so_many_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
