// SPDX-License-Identifier: Apache-2.0
#include "cri_log.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define T0    INT64_C(1771597800123456789)
#define STAMP "2026-02-20T14:30:00.123456789Z"

static char folder[64];

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st, (void)kind, (void)ftw;
    return remove(path);
}

static int set_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/sandlog-cri-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    return nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static const char *content(const char *name)
{
    static char text[200000];
    char path[200];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "r");
    if (!file)
        return NULL;
    text[fread(text, 1, sizeof text - 1, file)] = 0;
    fclose(file);
    return text;
}

static void add(struct cri_log *log, const char *text)
{
    cri_log_add(log, CRI_STDOUT, sl_slice_of(text), T0);
}

static void lines_become_full_records(void **state)
{
    (void)state;
    struct cri_log log;
    assert_int_equal(cri_log_open(&log, folder, "box"), 0);
    add(&log, "one\n\ntwo\n");
    cri_log_add(&log, CRI_STDERR, sl_slice("e\0\r\n", 4), T0);
    cri_log_close(&log);
    const char *got = content("box/main.log");
    static const char want[] =
        STAMP " stdout F one\n" STAMP " stdout F \n" STAMP " stdout F two\n" STAMP " stderr F e\0\r\n";
    assert_memory_equal(got, want, sizeof want);
}

static void text_without_a_newline_is_in_the_file_at_once(void **state)
{
    (void)state;
    struct cri_log log;
    assert_int_equal(cri_log_open(&log, folder, "box"), 0);
    add(&log, "pass");
    assert_string_equal(content("box/main.log"), STAMP " stdout P pass\n");
    add(&log, "word: ok\nnext");
    add(&log, "\n");
    cri_log_close(&log);
    assert_string_equal(content("box/main.log"), STAMP " stdout P pass\n" STAMP " stdout F word: ok\n" STAMP
                                                       " stdout P next\n" STAMP " stdout F \n");
}

static void long_lines_are_cut_as_containerd_cuts_them(void **state)
{
    (void)state;
    struct cri_log log;
    assert_int_equal(cri_log_open(&log, folder, "box"), 0);
    size_t bytes = 2 * CRI_TEXT_MAX_BYTES;
    char *text = malloc(bytes + 3);
    memset(text, 'x', bytes);
    memcpy(text + bytes, "y\n", 3);
    add(&log, text);                      /* two full pieces and one byte */
    add(&log, text + CRI_TEXT_MAX_BYTES); /* one full piece and one byte */
    memcpy(text + bytes, "\n", 2);
    add(&log, text + CRI_TEXT_MAX_BYTES); /* exactly one: a full record, no empty one behind it */
    cri_log_close(&log);
    const char *at = content("box/main.log");
    static const struct {
        char kind;
        size_t bytes;
    } want[] = {
        {'P', CRI_TEXT_MAX_BYTES}, {'P', CRI_TEXT_MAX_BYTES}, {'F', 1}, {'P', CRI_TEXT_MAX_BYTES}, {'F', 1},
        {'F', CRI_TEXT_MAX_BYTES}};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        const char *end = strchr(at, '\n');
        assert_non_null(end);
        assert_int_equal(at[38], want[i].kind);
        assert_int_equal(end - at - 40, want[i].bytes);
        at = end + 1;
    }
    assert_int_equal(*at, 0);
    free(text);
}

static void an_earlier_runs_log_stays_under_another_name(void **state)
{
    (void)state;
    struct cri_log log;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(cri_log_open(&log, folder, "box"), 0);
        assert_null(content("box/exit_code"));
        assert_string_equal(content("box/main.log"), "");
        add(&log, "run\n");
        assert_int_equal(cri_log_exit(&log, i), 0);
        cri_log_close(&log);
    }
    char command[200];
    snprintf(command, sizeof command, "ls %s/box | wc -l", folder);
    FILE *files = popen(command, "r");
    int count = 0;
    assert_int_equal(fscanf(files, "%d", &count), 1);
    pclose(files);
    assert_int_equal(count, 4); /* three logs, one exit_code, nothing aside */
}

static void two_runs_of_one_id_do_not_mix(void **state)
{
    (void)state;
    struct cri_log log, other;
    assert_int_equal(cri_log_open(&log, folder, "box"), 0);
    assert_int_equal(cri_log_open(&other, folder, "box"), CRI_LOG_BUSY);
    add(&log, "x\n");
    cri_log_close(&log);
    assert_int_equal(cri_log_open(&other, folder, "box"), 0);
    cri_log_close(&other);
}

static void the_exit_code_is_a_number_and_a_newline(void **state)
{
    (void)state;
    struct cri_log log;
    assert_int_equal(cri_log_open(&log, folder, "a/b/c"), 0);
    assert_int_equal(cri_log_exit(&log, 137), 0);
    cri_log_close(&log);
    assert_string_equal(content("a/b/c/exit_code"), "137\n");
}

/*
 * The limit on a file's size stands for a full disk: it too cuts a write in the middle, and when there is
 * room again the file must still be one of whole records.
 */
static void a_record_torn_by_a_full_disk_is_completed_later(void **state)
{
    (void)state;
    static const char first[] = STAMP " stdout F before\n", torn[] = STAMP " stdout F torn\n";
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit before, tight;
    getrlimit(RLIMIT_FSIZE, &before);
    for (size_t cut = 0; cut < sizeof torn - 1; cut++) {
        struct cri_log log;
        char id[16];
        snprintf(id, sizeof id, "box%zu", cut);
        assert_int_equal(cri_log_open(&log, folder, id), 0);
        tight = before;
        tight.rlim_cur = sizeof first - 1 + cut;
        add(&log, "before\n");
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
        add(&log, "torn\nlost\n");
        assert_int_equal(log.fault, -EFBIG);
        add(&log, "lost too\n");
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
        add(&log, "after\n");
        cri_log_close(&log);
        char name[40], want[400];
        snprintf(name, sizeof name, "%s/main.log", id);
        snprintf(want, sizeof want, "%s%s" STAMP " stdout F after\n", first, cut > 0 ? torn : "");
        assert_string_equal(content(name), want);
    }
}

static void a_folder_that_cannot_be_written_is_told(void **state)
{
    (void)state;
    struct cri_log log;
    char path[100];
    snprintf(path, sizeof path, "%s/file", folder);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    assert_int_equal(cri_log_open(&log, path, "box"), -ENOTDIR);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(lines_become_full_records, set_up, tear_down),
        cmocka_unit_test_setup_teardown(text_without_a_newline_is_in_the_file_at_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(long_lines_are_cut_as_containerd_cuts_them, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_earlier_runs_log_stays_under_another_name, set_up, tear_down),
        cmocka_unit_test_setup_teardown(two_runs_of_one_id_do_not_mix, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_exit_code_is_a_number_and_a_newline, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_record_torn_by_a_full_disk_is_completed_later, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_folder_that_cannot_be_written_is_told, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
