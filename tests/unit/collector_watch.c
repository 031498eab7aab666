// SPDX-License-Identifier: Apache-2.0
/* What the watch says of folders that come and go; events wait in inotify's queue until they are asked for.
 */
#include "watch.h"
#include "wire/timestamp.h"
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static struct {
    char root[64];
    struct pattern pattern;
    struct watch *watch;
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
    (void)arg, (void)folder, (void)listed;
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

static void take(const char *relative)
{
    char p[128];
    path(relative, p);
    assert_int_equal(remove(p), 0);
}

static int set_up(void **state)
{
    (void)state;
    char spec[160];
    const char *why;
    const struct watch_events events = {
        .name = name, .look = look, .missed = missed, .lost = lost, .told = told};
    snprintf(me.root, sizeof me.root, "/tmp/sandlog-watch-XXXXXX");
    assert_non_null(mkdtemp(me.root));
    snprintf(spec, sizeof spec, "plain:%s/{sandbox}/*.log", me.root);
    assert_int_equal(pattern_parse(spec, &me.pattern, &why), 0);
    me.said[0] = 0;
    assert_int_equal(watch_new(&me.pattern, 1, &events, &me.watch), 0);
    watch_tick(me.watch, sl_monotonic_ns());
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    watch_free(me.watch);
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
    char p[128];
    make("box");
    touch("box/a.log");
    take("box/a.log");
    path("box", p);
    /* as if it had been at another tick of the kernel's clock than the folder's birth */
    const struct timespec times[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
    assert_int_equal(utimensat(AT_FDCWD, p, times, 0), 0);
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
    assert_true(watch_tick(me.watch, now_ns) >= now_ns + 20 * SL_NS_PER_MS);
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
                                        tear_down)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
