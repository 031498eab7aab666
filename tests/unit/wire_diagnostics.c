// SPDX-License-Identifier: Apache-2.0
#include "wire/diagnostics.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
/* cmocka.h needs setjmp, stdarg and stdlib */
#include <cmocka.h>

/* What `sl_log` wrote on stderr; the pipe takes its place meanwhile. */
static int log_pipe[2];
static int real_stderr;

static void catch_stderr(void)
{
    assert_int_equal(pipe2(log_pipe, 0), 0);
    real_stderr = dup(STDERR_FILENO);
    dup2(log_pipe[1], STDERR_FILENO);
    close(log_pipe[1]);
}

static size_t caught(char *out, size_t capacity)
{
    dup2(real_stderr, STDERR_FILENO);
    close(real_stderr);
    size_t used = 0;
    ssize_t n;
    while ((n = read(log_pipe[0], out + used, capacity - 1 - used)) > 0)
        used += (size_t)n;
    close(log_pipe[0]);
    out[used] = 0;
    return used;
}

static void an_event_is_one_line_whatever_is_in_it(void **state)
{
    (void)state;
    char text[8192], value[40];
    sl_log_init("sandlog-test", SL_INFORM);
    catch_stderr();
    errno = 7;
    sl_log(SL_WARNING, "peer.gone", "host=%s n=%d",
           sl_log_value(sl_slice("a\nb\"\x1b", 5), value, sizeof value), 4);
    assert_int_equal(errno, 7);
    sl_log(SL_DEBUG, "unseen", "n=%d", 1);
    sl_log(SL_ERROR, "raw", "x=%s", "1\n2");
    size_t bytes = caught(text, sizeof text);
    assert_memory_equal(text, "time=20", 7);
    assert_non_null(
        strstr(text, "Z level=warning daemon=sandlog-test event=peer.gone host=\"a\\x0ab\\\"\\x1b\" n=4\n"));
    assert_non_null(strstr(text, "event=raw x=1 2\n"));
    assert_null(strstr(text, "unseen"));
    size_t lines = 0;
    for (size_t i = 0; i < bytes; i++)
        lines += text[i] == '\n';
    assert_int_equal(lines, 2);
}

static void an_endless_event_is_cut(void **state)
{
    (void)state;
    char text[8192];
    static char endless[6000];
    memset(endless, 'e', sizeof endless - 1);
    sl_log_init("sandlog-test", SL_INFORM);
    catch_stderr();
    sl_log(SL_INFORM, "long", "x=%s", endless);
    sl_log(SL_INFORM, endless, "x=%s", "y");
    size_t bytes = caught(text, sizeof text);
    assert_true(bytes <= 4096);
    assert_int_equal(text[bytes - 1], '\n');
}

static void a_value_is_cut_between_escapes(void **state)
{
    (void)state;
    char out[8];
    assert_string_equal(sl_log_value(sl_slice_of("\n\n\n"), out, sizeof out), "\"\\x0a\"");
    assert_string_equal(sl_log_value(sl_slice_of("abcdefgh"), out, sizeof out), "\"abcde\"");
    assert_string_equal(sl_log_value(sl_slice_of(""), out, sizeof out), "\"\"");
    assert_string_equal(sl_log_value(sl_slice_of("a"), out, 2), "");
}

static void the_supervisor_gets_the_state(void **state)
{
    (void)state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char folder[] = "/tmp/sandlog-notify-XXXXXX", got[32] = {0};
    assert_non_null(mkdtemp(folder));
    snprintf(address.sun_path, sizeof address.sun_path, "%s/s", folder);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    unsetenv("NOTIFY_SOCKET");
    sl_notify("READY=1");
    assert_int_equal(recv(fd, got, sizeof got - 1, 0), -1);
    setenv("NOTIFY_SOCKET", address.sun_path, 1);
    sl_notify("READY=1");
    assert_int_equal(recv(fd, got, sizeof got - 1, 0), 7);
    assert_string_equal(got, "READY=1");
    unsetenv("NOTIFY_SOCKET");
    close(fd);
    unlink(address.sun_path);
    rmdir(folder);
}

static void signals_come_by_descriptor_and_one_by_one(void **state)
{
    (void)state;
    int fd = sl_signals_open();
    assert_true(fd >= 0);
    assert_int_equal(sl_signals_next(fd), 0);
    raise(SIGHUP);
    raise(SIGTERM);
    raise(SIGPIPE); /* ignored, or we would be gone */
    struct pollfd p = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&p, 1, 10000), 1);
    int one = sl_signals_next(fd), two = sl_signals_next(fd);
    assert_true((one == SIGHUP && two == SIGTERM) || (one == SIGTERM && two == SIGHUP));
    assert_int_equal(sl_signals_next(fd), 0);
    close(fd);
}

static void what_hangs_at_the_end_is_ended(void **state)
{
    (void)state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        sl_end_within(1);
        for (;;)
            pause();
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void open_files_go_up_to_the_hard_limit(void **state)
{
    (void)state;
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max > 256 ? 256 : limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(sl_raise_open_files(), limit.rlim_max);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(limit.rlim_cur, limit.rlim_max);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_event_is_one_line_whatever_is_in_it),
        cmocka_unit_test(an_endless_event_is_cut),
        cmocka_unit_test(a_value_is_cut_between_escapes),
        cmocka_unit_test(the_supervisor_gets_the_state),
        cmocka_unit_test(signals_come_by_descriptor_and_one_by_one),
        cmocka_unit_test(what_hangs_at_the_end_is_ended),
        cmocka_unit_test(open_files_go_up_to_the_hard_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
