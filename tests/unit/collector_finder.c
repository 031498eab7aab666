// SPDX-License-Identifier: Apache-2.0
/* Names become files: which log a name belongs to, which file it is, what is refused, what was missed. */
#include "collector_world.h"

static struct log *the_log(void)
{
    return fleet_find(&w.c.fleet, sl_slice_of("box"))->logs;
}

static unsigned files(void)
{
    unsigned count = 0;
    for (const struct file *f = the_log()->files; f; f = f->next)
        count++;
    return count;
}

static struct file *named(const char *suffix)
{
    char name[64];
    snprintf(name, sizeof name, "main.log%s", suffix);
    return fleet_file_named(&w.c.fleet, the_log(), name);
}

static void begin(void)
{
    world_begin(1, NUMBERED);
    collector_start();
    writer_write(3);
    world_turn(1);
}

static void a_renamed_file_is_the_same_file(void **state)
{
    (void)state;
    begin();
    struct file *f = named("");
    writer_rotate();
    world_turn(1);
    assert_ptr_equal(named(".1"), f);
    assert_non_null(named(""));
    assert_ptr_not_equal(named(""), f);
    assert_int_equal(files(), 2);
    assert_int_equal(atomic_load(&w.c.counts.rotations.value), 1);
    world_rest();
    all_lines_came("renamed");
    world_end();
}

static void names_that_are_exchanged_are_followed(void **state)
{
    (void)state;
    begin();
    writer_rotate();
    writer_write(3);
    world_turn(1);
    struct file *a = named(""), *b = named(".1");
    assert_int_equal(renameat2(AT_FDCWD, path_of(""), AT_FDCWD, path_of(".1"), RENAME_EXCHANGE), 0);
    world_turn(1);
    assert_ptr_equal(named(""), b);
    assert_ptr_equal(named(".1"), a);
    assert_int_equal(files(), 2);
    world_end();
}

static void another_file_of_the_name_is_another_file(void **state)
{
    (void)state;
    begin();
    struct file *f = named("");
    assert_int_equal(unlink(path_of("")), 0);
    writer_reopen();
    world_turn(1);
    assert_ptr_not_equal(named(""), f);
    assert_null(f->name);
    assert_true(f->fd >= 0);
    world_end();
}

static void what_is_no_plain_file_is_refused_and_counted_once(void **state)
{
    (void)state;
    begin();
    assert_int_equal(symlink("/etc/passwd", path_of(".1")), 0);
    assert_int_equal(mkfifo(path_of(".2"), 0600), 0);
    assert_int_equal(link(path_of(""), path_of(".3")), 0);
    for (int i = 0; i < 20; i++)
        world_turn(100);
    assert_null(named(".1"));
    assert_null(named(".2"));
    assert_null(named(".3"));
    assert_int_equal(atomic_load(&w.c.counts.files_refused.value), 1);
    world_end();
}

static void a_name_that_came_and_was_never_met_is_a_gap(void **state)
{
    (void)state;
    begin();
    for (int i = 0; i < 5; i++)
        world_turn(100); /* the one that was there before the watch is no longer taken for one that comes */
    /* all of it before the collector looks */
    assert_int_equal(unlink(path_of("")), 0);
    writer_reopen();
    writer_write(2);
    assert_int_equal(unlink(path_of("")), 0);
    writer_reopen();
    for (int i = 0; i < 50; i++)
        world_turn(100);
    assert_int_equal(w.gaps, 1);
    assert_int_equal(w.line_count, 3);
    world_end();
}

/* Its folder is still there, and nothing of the sandbox was ever stored. */
static void a_file_of_a_moment_is_a_gap_and_an_end(void **state)
{
    (void)state;
    world_begin(1, DELETED);
    assert_int_equal(unlink(path_of("")), 0);
    collector_start();
    for (int i = 0; i < 50; i++)
        world_turn(100);
    assert_null(fleet_find(&w.c.fleet, sl_slice_of("box")));
    writer_reopen();
    writer_write(3);
    assert_int_equal(unlink(path_of("")), 0);
    for (int i = 0; i < 50; i++)
        world_turn(100);
    assert_int_equal(w.gaps, 1);
    assert_true(w.ended);
    world_end();
}

static void what_moved_on_before_it_was_looked_at_is_no_gap(void **state)
{
    (void)state;
    begin();
    for (int i = 0; i < 5; i++) {
        writer_rotate();
        writer_write(2);
    }
    world_rest();
    all_lines_came("moved on");
    world_end();
}

static void a_name_of_no_log_is_nothing(void **state)
{
    (void)state;
    begin();
    int fd = open(path_of(".tmp"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
    world_turn(1);
    assert_int_equal(files(), 1);
    assert_null(the_log()->sandbox_next);
    world_end();
}

/* A sweep's price is its statx(2): one for the file; the folder is asked once a minute only. */
static void a_sweep_looks_once_at_a_quiet_file(void **state)
{
    (void)state;
    enum { SWEEPS = 60 };
    if (access("/dev/shm", W_OK) < 0)
        skip(); /* the world is on a file system that may not tell all */
    begin();
    world_rest();
    w.calls.stats = 0;
    for (int i = 0; i < SWEEPS; i++)
        world_turn(10100);
    printf("   %d sweeps of one sandbox: %u statx\n", SWEEPS, w.calls.stats);
    assert_in_range(w.calls.stats, 2 * SWEEPS, 2 * SWEEPS + SWEEPS / 6 + 1); /* the root each time, too */
    world_end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_renamed_file_is_the_same_file),
                                       cmocka_unit_test(names_that_are_exchanged_are_followed),
                                       cmocka_unit_test(another_file_of_the_name_is_another_file),
                                       cmocka_unit_test(what_is_no_plain_file_is_refused_and_counted_once),
                                       cmocka_unit_test(a_name_that_came_and_was_never_met_is_a_gap),
                                       cmocka_unit_test(a_file_of_a_moment_is_a_gap_and_an_end),
                                       cmocka_unit_test(what_moved_on_before_it_was_looked_at_is_no_gap),
                                       cmocka_unit_test(a_name_of_no_log_is_nothing),
                                       cmocka_unit_test(a_sweep_looks_once_at_a_quiet_file)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
