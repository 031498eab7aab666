// SPDX-License-Identifier: Apache-2.0
#include "wire/mailbox.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
/* cmocka.h needs setjmp, stdarg and stdlib */
#include <cmocka.h>

enum { THREADS = 4, LETTERS = 20000 };

struct numbered {
    struct sl_letter letter;
    int thread;
    int number;
};

struct poster {
    struct sl_mailbox *mailbox;
    struct numbered *letters;
};

static void *post_all(void *arg)
{
    const struct poster *p = arg;
    for (int i = 0; i < LETTERS; i++)
        sl_mailbox_post(p->mailbox, &p->letters[i].letter);
    return NULL;
}

static void letters_of_four_threads_all_arrive_in_each_ones_order(void **state)
{
    (void)state;
    struct sl_mailbox m;
    assert_int_equal(sl_mailbox_init(&m, NULL, NULL), 0);
    struct numbered *letters = calloc((size_t)THREADS * LETTERS, sizeof *letters);
    assert_non_null(letters);
    pthread_t threads[THREADS];
    struct poster posters[THREADS];
    for (int t = 0; t < THREADS; t++) {
        posters[t] = (struct poster){.mailbox = &m, .letters = letters + t * LETTERS};
        for (int i = 0; i < LETTERS; i++)
            posters[t].letters[i] = (struct numbered){.thread = t, .number = i};
        assert_int_equal(pthread_create(&threads[t], NULL, post_all, &posters[t]), 0);
    }
    int next[THREADS] = {0};
    for (int got = 0; got < THREADS * LETTERS;) {
        struct pollfd p = {.fd = m.fd, .events = POLLIN};
        assert_int_equal(poll(&p, 1, 20000), 1); /* a lost wake-up shows here */
        for (struct sl_letter *l = sl_mailbox_take(&m); l; got++) {
            struct numbered *n = (struct numbered *)l;
            l = l->next;
            assert_int_equal(n->number, next[n->thread]++);
        }
    }
    for (int t = 0; t < THREADS; t++)
        pthread_join(threads[t], NULL);
    assert_null(sl_mailbox_take(&m));
    sl_mailbox_fini(&m);
    free(letters);
}

static void an_emptied_mailbox_is_not_readable(void **state)
{
    (void)state;
    struct sl_mailbox m;
    struct sl_letter a, b;
    assert_int_equal(sl_mailbox_init(&m, NULL, NULL), 0);
    struct pollfd p = {.fd = m.fd, .events = POLLIN};
    assert_int_equal(poll(&p, 1, 0), 0);
    sl_mailbox_post(&m, &a);
    sl_mailbox_post(&m, &b);
    assert_int_equal(poll(&p, 1, 0), 1);
    assert_ptr_equal(sl_mailbox_take(&m), &a);
    assert_ptr_equal(a.next, &b);
    assert_null(b.next);
    assert_int_equal(poll(&p, 1, 0), 0);
    sl_mailbox_fini(&m);
}

static void count_wake(void *arg)
{
    ++*(int *)arg;
}

static void a_wake_function_is_called_once_per_batch(void **state)
{
    (void)state;
    struct sl_mailbox m;
    struct sl_letter a, b, c;
    int wakes = 0;
    assert_int_equal(sl_mailbox_init(&m, count_wake, &wakes), 0);
    assert_int_equal(m.fd, -1);
    sl_mailbox_post(&m, &a);
    sl_mailbox_post(&m, &b);
    assert_int_equal(wakes, 1);
    assert_non_null(sl_mailbox_take(&m));
    sl_mailbox_post(&m, &c);
    assert_int_equal(wakes, 2);
    sl_mailbox_fini(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(letters_of_four_threads_all_arrive_in_each_ones_order),
        cmocka_unit_test(an_emptied_mailbox_is_not_readable),
        cmocka_unit_test(a_wake_function_is_called_once_per_batch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
