// SPDX-License-Identifier: Apache-2.0
/* When a file is read, passed on and let go. */
#include "collector_world.h"

static struct log *the_log(void)
{
    return fleet_find(&w.c.fleet, sl_slice_of("box"))->logs;
}

static struct file *named(const char *suffix)
{
    char name[64];
    snprintf(name, sizeof name, "main.log%s", suffix);
    return fleet_file_named(&w.c.fleet, the_log(), name);
}

static void begin(enum kind kind)
{
    world_begin(1, kind);
    collector_start();
    writer_write(10);
    world_turn(1);
    world_turn(1);
    assert_int_equal(w.line_count, 10);
}

static void what_is_written_late_to_a_rotated_file_comes_too(void **state)
{
    (void)state;
    begin(STAMPED);
    int old = dup(w.fd);
    writer_rotate();
    world_turn(10);
    assert_int_equal(write(old, "00000010 late\n", 14), 14);
    w.written++;
    close(old);
    world_turn(10);
    world_turn(10);
    all_lines_came("late");
    world_end();
}

static void a_rotated_file_is_closed_after_a_while(void **state)
{
    (void)state;
    begin(STAMPED);
    writer_rotate();
    writer_write(1);
    for (int i = 0; i < 10; i++)
        world_turn(10);
    struct file *old = named(".20261120-000001");
    assert_int_equal(old->state, FILE_DONE);
    assert_true(old->fd >= 0);
    for (int i = 0; i < 80; i++)
        world_turn(100);
    assert_int_equal(old->fd, -1);
    world_end();
}

static void a_deleted_file_is_closed_for_good_when_all_is_acknowledged(void **state)
{
    (void)state;
    begin(STAMPED);
    writer_write(5);
    broker_goes(0);
    assert_int_equal(unlink(path_of("")), 0);
    writer_write(5); /* still written to */
    for (int i = 0; i < 50; i++)
        world_turn(100);
    assert_non_null(the_log()->files);
    assert_true(the_log()->files->fd >= 0);
    broker_connects();
    for (int i = 0; i < 100; i++)
        world_turn(100);
    all_lines_came("deleted");
    assert_int_equal(w.places[0].flags, SL_SOURCE_CLOSED);
    assert_true(w.ended);
    assert_null(fleet_find(&w.c.fleet, sl_slice_of("box")));
    world_end();
}

static void nothing_is_read_ahead_of_the_window(void **state)
{
    (void)state;
    begin(STAMPED);
    broker_goes(0);
    writer_write(1000);
    memset(&w.calls, 0, sizeof w.calls);
    for (int i = 0; i < 50; i++)
        world_turn(100);
    assert_int_equal(w.calls.reads, 0);
    world_rest();
    all_lines_came("after the broker was away");
    world_end();
}

static void what_was_not_acknowledged_is_read_again(void **state)
{
    (void)state;
    for (unsigned done = 0; done < 2; done++) {
        world_begin(1, STAMPED);
        w.connected = false;
        collector_start();
        broker_connects();
        writer_write(10);
        /* asked for places and answered; the block is asked and not answered */
        world_turn(1);
        if (w.asked_count == 0)
            world_turn(1);
        uint32_t before = w.line_count;
        broker_goes(done);
        assert_true(w.line_count >= before);
        world_rest();
        all_lines_came("resent");
        world_end();
    }
}

static void a_truncated_file_begins_again_behind_a_gap(void **state)
{
    (void)state;
    begin(STAMPED);
    broker_goes(0);
    writer_write(10); /* nobody reads them */
    assert_int_equal(ftruncate(w.fd, 0), 0);
    writer_write(3);
    world_rest();
    assert_int_equal(w.line_count, 13);
    assert_int_equal(w.lines[10], 20);
    assert_int_equal(w.gaps, 1);
    assert_int_equal(w.places[0].source.incarnation, 2);
    world_end();
}

static void a_rotated_file_that_is_packed_while_the_broker_is_away_holds_nothing_up(void **state)
{
    (void)state;
    begin(PACKED);
    writer_rotate();
    writer_write(5);
    for (int i = 0; i < 80; i++)
        world_turn(100); /* it is done and closed */
    broker_goes(0);
    writer_rotate(); /* the closed one is packed: it can't be opened any more */
    writer_write(5);
    writer_rotate();
    writer_write(5);
    world_rest();
    all_lines_came("packed meanwhile");
    world_end();
}

/* A copy was let go of a second after its name was gone, while its truncated original waited for an answer:
 * what had not been read by then was lost, and no gap told it. */
static void a_copy_is_held_until_what_it_holds_is_stored(void **state)
{
    (void)state;
    begin(COPIED);
    writer_write(5);
    w.stalled = true;
    world_turn(10);
    writer_write(5); /* not read */
    writer_rotate();
    writer_write(5);
    world_turn(10);
    world_turn(10);
    writer_remove();
    for (int i = 0; i < 50; i++)
        world_turn(100);
    world_rest();
    all_lines_came("removed");
    world_end();
}

/* A gap told of the place that main.log.2.gz was to take, which had not been looked at yet. */
static void what_another_log_of_the_sandbox_has_packed_is_not_missed(void **state)
{
    (void)state;
    char side[PATH_ROOM];
    begin(PACKED);
    snprintf(side, sizeof side, "%s/box/side.log", w.root);
    int fd = open(side, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0); /* listed last, so that its turn is the first */
    born(fd);
    writer_rotate();
    writer_write(1);
    world_turn(10);
    world_turn(10);
    collector_dies(0);
    writer_rotate();
    writer_rotate();
    assert_int_equal(write(fd, "00000099 side\n", 14), 14);
    close(fd);
    world_rest();
    assert_int_equal(w.line_count, 12);
    assert_int_equal(w.gaps, 0);
    world_end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_late_to_a_rotated_file_comes_too),
        cmocka_unit_test(a_rotated_file_is_closed_after_a_while),
        cmocka_unit_test(a_deleted_file_is_closed_for_good_when_all_is_acknowledged),
        cmocka_unit_test(nothing_is_read_ahead_of_the_window),
        cmocka_unit_test(what_was_not_acknowledged_is_read_again),
        cmocka_unit_test(a_truncated_file_begins_again_behind_a_gap),
        cmocka_unit_test(a_rotated_file_that_is_packed_while_the_broker_is_away_holds_nothing_up),
        cmocka_unit_test(a_copy_is_held_until_what_it_holds_is_stored),
        cmocka_unit_test(what_another_log_of_the_sandbox_has_packed_is_not_missed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
