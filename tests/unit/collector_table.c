// SPDX-License-Identifier: Apache-2.0
#include "table.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>

#include <cmocka.h>

enum { ITEMS = 3000 };

struct item {
    unsigned number;
    struct table_node node;
    bool in;
};

/* Few hashes for many: each is shared, and all of them fall into few buckets while the table is small. */
static uint64_t hash_of(unsigned number)
{
    return (uint64_t)(number % 500) * 64;
}

static struct item *find(const struct table *t, unsigned number)
{
    struct table_node *n = table_find(t, hash_of(number));
    for (; n; n = table_again(n)) {
        struct item *item = table_owner(n, struct item, node);
        assert_int_equal(n->hash, hash_of(number));
        if (item->number == number)
            return item;
    }
    return NULL;
}

static void what_is_in_is_found_and_nothing_else(void **state)
{
    (void)state;
    static struct item items[ITEMS];
    struct table t;
    unsigned seed = 7, in = 0;
    assert_int_equal(table_init(&t), 0);
    for (unsigned step = 0; step < 10 * ITEMS; step++) {
        seed = seed * 1103515245u + 12345u;
        struct item *item = &items[(seed >> 8) % ITEMS];
        item->number = (unsigned)(item - items);
        /* more come than go, then the other way round */
        bool add = (seed >> 20) % 4 < (step < 6 * ITEMS ? 3 : 1);
        if (add && !item->in) {
            table_add(&t, &item->node, hash_of(item->number));
            in++;
        } else if (!add && item->in) {
            table_remove(&t, &item->node);
            in--;
        } else {
            continue;
        }
        item->in = add;
        assert_ptr_equal(find(&t, item->number), add ? item : NULL);
        assert_int_equal(t.count, in);
    }
    for (unsigned i = 0; i < ITEMS; i++)
        assert_ptr_equal(find(&t, i), items[i].in ? &items[i] : NULL);
    assert_true(t.mask >= 64); /* it has grown */
    table_fini(&t);
}

static void an_empty_table_finds_nothing(void **state)
{
    (void)state;
    struct table t;
    assert_int_equal(table_init(&t), 0);
    assert_null(table_find(&t, 0));
    table_fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_is_in_is_found_and_nothing_else),
                                       cmocka_unit_test(an_empty_table_finds_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
