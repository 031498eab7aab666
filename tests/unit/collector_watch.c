// SPDX-License-Identifier: Apache-2.0
/* What the watch says of folders that come and go; events wait in inotify's queue until they are asked for.
 */
#include "watch.h"
#include "wire/timestamp.h"
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static struct {
    char root[64];
    struct pattern pattern;
    struct watch *watch;
    unsigned asked, looks;
    bool unchanged; /* what is answered when it is asked for */
    char said[1024];
} me;

static void name(void *arg, struct folder *folder, const char *name, enum news news, uint32_t cookie)
{
    (void)arg, (void)cookie;
    static const char *const what[] = {[NEWS_THERE] = "there",
                                       [NEWS_CREATED] = "created",
                                       [NEWS_RENAMED] = "renamed",
                                       [NEWS_WENT] = "went",
                                       [NEWS_WRITTEN] = "written"};
    size_t used = strlen(me.said);
    snprintf(me.said + used, sizeof me.said - used, "%s/%s %s\n", folder->name, name, what[news]);
}

static void look(void *arg, struct folder *folder, bool listed)
{
    (void)arg, (void)folder;
    me.looks += !listed;
}

static bool unchanged(void *arg, const struct folder *folder)
{
    (void)arg, (void)folder;
    me.asked++;
    return me.unchanged;
}

static void missed(void *arg, struct folder *folder)
{
    (void)arg;
    size_t used = strlen(me.said);
    snprintf(me.said + used, sizeof me.said - used, "%s missed\n", folder->name);
}

static void lost(void *arg)
{
    (void)arg;
}

static bool told(void *arg, bool drained)
{
    (void)arg, (void)drained;
    return false;
}

static void says(const char *expected)
{
    while (watch_run(me.watch))
        ;
    watch_tick(me.watch, sl_monotonic_ns());
    assert_string_equal(me.said, expected);
    me.said[0] = 0;
}

static void path(const char *relative, char out[128])
{
    snprintf(out, 128, "%s/%s", me.root, relative);
}

static void make(const char *relative)
{
    char p[128];
    path(relative, p);
    assert_int_equal(mkdir(p, 0700), 0);
}

static void touch(const char *relative)
{
    char p[128];
    path(relative, p);
    int fd = open(p, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
}

/* Its mtime, without an event. */
static void change(const char *relative, time_t to_s)
{
    char p[128];
    path(relative, p);
    const struct timespec times[2] = {{.tv_sec = to_s}, {.tv_sec = to_s}};
    assert_int_equal(utimensat(AT_FDCWD, p, times, 0), 0);
}

static void take(const char *relative)
{
    char p[128];
    path(relative, p);
    assert_int_equal(remove(p), 0);
}

static const struct watch_events events = {
    .name = name, .look = look, .unchanged = unchanged, .missed = missed, .lost = lost, .told = told};

static int set_up(void **state)
{
    (void)state;
    char spec[160];
    const char *why;
    snprintf(me.root, sizeof me.root, "%s/sandlog-watch-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp"); /* the former is no overlay */
    assert_non_null(mkdtemp(me.root));
    snprintf(spec, sizeof spec, "plain:%s/{sandbox}/*.log", me.root);
    assert_int_equal(pattern_parse(spec, &me.pattern, &why), 0);
    me.said[0] = 0;
    me.asked = me.looks = 0;
    me.unchanged = false;
    assert_int_equal(watch_new(&me.pattern, 1, &events, &me.watch), 0);
    watch_tick(me.watch, sl_monotonic_ns());
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    watch_free(me.watch);
    me.watch = NULL;
    pattern_fini(&me.pattern);
    return rmdir(me.root);
}

static void names_are_told_as_they_come_and_go(void **state)
{
    (void)state;
    make("box");
    says("");
    touch("box/a.log");
    says("box/a.log created\n");
    take("box/a.log");
    says("box/a.log went\n");
    take("box");
    says("");
}

static void a_folder_that_came_with_files_is_listed(void **state)
{
    (void)state;
    make("box");
    touch("box/a.log");
    says("box/a.log there\n");
    take("box/a.log");
    take("box");
    says("box/a.log went\n");
}

static void a_folder_that_was_gone_before_it_was_looked_at_is_missed(void **state)
{
    (void)state;
    make("box");
    touch("box/a.log");
    take("box/a.log");
    take("box");
    says("box missed\n");
}

static void a_folder_emptied_before_it_was_looked_at_is_missed(void **state)
{
    (void)state;
    make("box");
    touch("box/a.log");
    take("box/a.log");
    change("box", 1); /* as if it had been at another tick of the kernel's clock than the folder's birth */
    says("box missed\n");
    take("box");
    says("");
}

static void an_empty_folder_is_not_missed(void **state)
{
    (void)state;
    make("box");
    says("");
    take("box");
    says("");
}

/* Of 100,000 folders ten come due each millisecond. To wake for each took as much as to look at it. */
static void folders_that_come_due_one_by_one_are_looked_at_together(void **state)
{
    (void)state;
    int64_t begin_ns = sl_monotonic_ns();
    make("box"); /* due in ten seconds, or a little later */
    says("");
    int64_t now_ns = begin_ns + 10 * SL_NS_PER_S - SL_NS_PER_MS;
    assert_true(watch_tick(me.watch, now_ns) >= now_ns + 50 * SL_NS_PER_MS); /* the roots' look */
    take("box");
}

/* Of so many sweeps, ten seconds apart, those that looked at box itself: each saw another mtime then, which
   no event had told of, and listed it. */
static unsigned looked_at_box(unsigned sweeps, int64_t *now_ns)
{
    static time_t mtime_s;
    unsigned count = 0;
    for (unsigned i = 0; i < sweeps; i++) {
        change("box", ++mtime_s);
        *now_ns += 11 * SL_NS_PER_S;
        watch_tick(me.watch, *now_ns);
        assert_true(!me.said[0] || strcmp(me.said, "box/a.log there\n") == 0);
        count += me.said[0] != 0;
        me.said[0] = 0;
    }
    return count;
}

/* A folder with one file, listed when its mtime said what it held: just after it was made that says nothing.
 */
static void have_box(int64_t *now_ns)
{
    make("box");
    touch("box/a.log");
    says("box/a.log there\n");
    me.unchanged = true;
    looked_at_box(2, now_ns);
}

/* A statx(2) for each of 100,000 folders beside that for its file was 0.1 of the 0.4 CPU-s of a sweep. */
static void where_events_tell_all_a_folder_with_what_was_there_is_looked_at_once_a_minute(void **state)
{
    (void)state;
    if (access("/dev/shm", W_OK) < 0)
        skip();
    int64_t now_ns = sl_monotonic_ns();
    have_box(&now_ns);
    me.asked = me.looks = 0;
    assert_int_equal(looked_at_box(12, &now_ns), 2);
    assert_int_equal(me.asked, 12);
    me.unchanged = false;
    assert_int_equal(looked_at_box(12, &now_ns), 12);
    assert_int_equal(me.looks, 0);
    now_ns += 11 * SL_NS_PER_S;
    watch_tick(me.watch, now_ns);
    assert_int_equal(me.looks, 1); /* names are as they were, files are not */
    take("box/a.log");
    take("box");
}

static void after_a_full_queue_each_folder_is_looked_at(void **state)
{
    (void)state;
    if (access("/dev/shm", W_OK) < 0)
        skip();
    int64_t now_ns = sl_monotonic_ns();
    have_box(&now_ns);
    unsigned sweeps = 0;
    while (looked_at_box(1, &now_ns) == 0) /* so that it would not be looked at itself next time */
        assert_true(++sweeps < 6);
    struct watch_counts counts = {0};
    for (int i = 0; counts.overflows == 0; i++) {
        assert_true(i < 100);
        for (int n = 0; n < 10000; n++) {
            touch("box/b.log");
            take("box/b.log");
        }
        while (watch_run(me.watch))
            ;
        watch_counts(me.watch, &counts);
        me.said[0] = 0;
    }
    assert_int_equal(looked_at_box(1, &now_ns), 1);
    take("box/a.log");
    take("box");
}

/* A file system of which nobody here knows whether names may change without an event. */
static int set_up_elsewhere(void **state)
{
    if (set_up(state) != 0)
        return -1;
    watch_free(me.watch);
    me.watch = NULL;
    *state = unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
                     mount("none", me.root, "ramfs", 0, NULL) == 0
                 ? me.root
                 : NULL;
    return *state ? watch_new(&me.pattern, 1, &events, &me.watch) : 0;
}

static int tear_down_elsewhere(void **state)
{
    if (*state)
        umount2(me.root, MNT_DETACH);
    return tear_down(state);
}

static void elsewhere_each_sweep_looks_at_the_folder(void **state)
{
    if (!*state)
        skip(); /* needs root */
    int64_t now_ns = sl_monotonic_ns();
    watch_tick(me.watch, now_ns);
    make("box");
    touch("box/a.log");
    says("box/a.log there\n");
    me.unchanged = true;
    assert_int_equal(looked_at_box(12, &now_ns), 12);
    take("box/a.log");
    take("box");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(names_are_told_as_they_come_and_go, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_folder_that_came_with_files_is_listed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_folder_that_was_gone_before_it_was_looked_at_is_missed, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_folder_emptied_before_it_was_looked_at_is_missed, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(an_empty_folder_is_not_missed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(folders_that_come_due_one_by_one_are_looked_at_together, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(
            where_events_tell_all_a_folder_with_what_was_there_is_looked_at_once_a_minute, set_up, tear_down),
        cmocka_unit_test_setup_teardown(after_a_full_queue_each_folder_is_looked_at, set_up, tear_down),
        cmocka_unit_test_setup_teardown(elsewhere_each_sweep_looks_at_the_folder, set_up_elsewhere,
                                        tear_down_elsewhere)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
