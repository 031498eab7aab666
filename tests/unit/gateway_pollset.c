// SPDX-License-Identifier: Apache-2.0
/* poll() here is pollset.c's: what it says is compared with the kernel's own. */
#include "pollset.h"
#include "wire/timestamp.h"
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

enum { PIPES = 40 };

static int end[PIPES][2];

static void open_pipe(int which)
{
    assert_int_equal(pipe2(end[which], O_CLOEXEC | O_NONBLOCK), 0);
}

static void open_pipes(void)
{
    for (int i = 0; i < PIPES; i++)
        open_pipe(i);
}

static void close_pipes(void)
{
    for (int i = 0; i < PIPES; i++) {
        close(end[i][0]);
        close(end[i][1]);
    }
}

static void put(int which)
{
    assert_int_equal(write(end[which][1], "x", 1), 1);
}

static void take(int which)
{
    char byte;
    assert_int_equal(read(end[which][0], &byte, 1), 1);
}

static struct pollfd reads(int which)
{
    return (struct pollfd){.fd = end[which][0], .events = POLLIN};
}

/* The same answer twice, from epoll and from the kernel's poll. */
static int check(struct pollfd *table, size_t count)
{
    struct pollfd plain[2 * PIPES];
    memcpy(plain, table, count * sizeof *table);
    for (size_t i = 0; i < count; i++)
        table[i].revents = POLLIN | POLLOUT; /* what stood there does not stay */
    struct timespec now = {0};
    long ready = syscall(SYS_ppoll, plain, count, &now, NULL, 0);
    assert_int_equal(poll(table, count, 0), ready);
    assert_memory_equal(table, plain, count * sizeof *table);
    return (int)ready;
}

/* Nothing wakes it: what epoll still knew would make lws' loop turn without pause. */
static void check_it_waits(struct pollfd *table, size_t count)
{
    int64_t before_ns = sl_monotonic_ns();
    assert_int_equal(poll(table, count, 50), 0);
    assert_true(sl_monotonic_ns() - before_ns >= 45 * SL_NS_PER_MS);
}

static void what_is_ready_is_what_poll_says(void **state)
{
    (void)state;
    struct pollfd table[2 * PIPES];
    open_pipes();
    for (int i = 0; i < PIPES; i++) {
        table[2 * i] = reads(i);
        table[2 * i + 1] = (struct pollfd){.fd = end[i][1], .events = i % 2 ? POLLOUT : 0};
    }
    assert_int_equal(check(table, 2 * PIPES), PIPES / 2);
    put(3);
    put(38);
    assert_int_equal(check(table, 2 * PIPES), PIPES / 2 + 2);
    take(3);
    close(end[5][1]); /* its table entry stays: no such descriptor, and the other end hung up */
    assert_int_equal(check(table, 2 * PIPES), PIPES / 2 + 2);
    open_pipe(5);
    close_pipes();
}

static void changed_interest_counts_from_the_next_call(void **state)
{
    (void)state;
    struct pollfd table[PIPES];
    open_pipes();
    for (int i = 0; i < PIPES; i++) {
        table[i] = reads(i);
        put(i);
    }
    assert_int_equal(check(table, PIPES), PIPES);
    for (int i = 0; i < PIPES; i += 2)
        table[i].events = 0;
    assert_int_equal(check(table, PIPES), PIPES / 2);
    table[0].events = POLLIN;
    assert_int_equal(check(table, PIPES), PIPES / 2 + 1);
    close_pipes();
}

/* lws fills a hole in its table with the last entry. */
static void entries_that_leave_and_move_are_followed(void **state)
{
    (void)state;
    struct pollfd table[PIPES];
    size_t count = PIPES;
    unsigned seed = 7;
    open_pipes();
    for (int i = 0; i < PIPES; i++)
        table[i] = reads(i);
    for (int round = 0; round < 2000; round++) {
        int which = rand_r(&seed) % PIPES;
        size_t at = 0;
        while (at < count && table[at].fd != end[which][0])
            at++;
        switch (rand_r(&seed) % 4) {
        case 0: /* out of the table, still open; or in again */
            if (at < count && count > 2)
                table[at] = table[--count];
            else if (at == count)
                table[count++] = reads(which);
            break;
        case 1:
            if (at < count && count > 2) { /* closed, and its number given again */
                table[at] = table[--count];
                close(end[which][0]);
                close(end[which][1]);
                open_pipe(which);
                table[count++] = reads(which);
            }
            break;
        case 2:
            put(which);
            break;
        default:
            if (at < count)
                table[at].events ^= POLLIN;
        }
        check(table, count);
    }
    close_pipes();
}

/* A number that is closed and given again makes no difference in the table. */
static void a_number_given_again_is_another_descriptor(void **state)
{
    (void)state;
    struct pollfd table[2];
    open_pipes();
    table[0] = reads(0);
    table[1] = reads(1);
    assert_int_equal(check(table, 2), 0);
    int number = end[1][0];
    close(end[1][0]);
    close(end[1][1]);
    open_pipe(1);
    assert_int_equal(end[1][0], number);
    put(1);
    assert_int_equal(check(table, 2), 1);
    close_pipes();
}

/* linger.c keeps a copy of what lws closes; epoll would go on about it. */
static void what_is_closed_but_copied_is_not_awaited(void **state)
{
    (void)state;
    struct pollfd table[2];
    open_pipes();
    table[0] = reads(0);
    table[1] = reads(1);
    put(1);
    assert_int_equal(check(table, 2), 1);
    int copy = dup(end[1][0]);
    close(end[1][0]);
    table[1] = reads(2);
    check_it_waits(table, 2);
    put(2);
    assert_int_equal(check(table, 2), 1);
    close(copy);
    close(end[1][1]);
    open_pipe(1);
    close_pipes();
}

static void what_left_the_table_wakes_nobody(void **state)
{
    (void)state;
    struct pollfd table[3];
    open_pipes();
    for (int i = 0; i < 3; i++)
        table[i] = reads(i);
    assert_int_equal(check(table, 3), 0);
    put(2);
    assert_int_equal(check(table, 2), 0);
    check_it_waits(table, 2);
    table[2] = reads(2);
    assert_int_equal(check(table, 3), 1);
    close_pipes();
}

/* /dev/null can't be in an epoll: EPERM. */
static void what_epoll_refuses_is_polled(void **state)
{
    (void)state;
    struct pollfd table[3];
    open_pipes();
    table[0] = reads(0);
    table[1] = (struct pollfd){.fd = open("/dev/null", O_RDONLY | O_CLOEXEC), .events = POLLIN};
    table[2] = reads(1);
    assert_int_equal(check(table, 3), 1);
    put(1);
    assert_int_equal(check(table, 3), 2);
    close(table[1].fd);
    table[1] = reads(2);
    assert_int_equal(check(table, 3), 1);
    close_pipes();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_ready_is_what_poll_says),
        cmocka_unit_test(changed_interest_counts_from_the_next_call),
        cmocka_unit_test(entries_that_leave_and_move_are_followed),
        cmocka_unit_test(a_number_given_again_is_another_descriptor),
        cmocka_unit_test(what_is_closed_but_copied_is_not_awaited),
        cmocka_unit_test(what_left_the_table_wakes_nobody),
        cmocka_unit_test(what_epoll_refuses_is_polled),
    };
    pollset_open();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
