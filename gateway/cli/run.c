// SPDX-License-Identifier: Apache-2.0
/* sandlog run: a command as a sandbox. Its stdout and stderr pass through and are its log. */
#include "commands.h"
#include "cri_log.h"
#include "run_id.h"
#include "say.h"
#include "wire/options.h"
#include "wire/sandbox_id.h"
#include "wire/timestamp.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

/*
 * After the command's end its pipes are read until they close: what it wrote is all there. Somebody it left
 * behind may hold them open: they are given up after a second of silence, or five seconds in all.
 */
#define DRAIN_IDLE_NS SL_NS_PER_S
#define DRAIN_MOST_NS (5 * SL_NS_PER_S)

enum { READ_BYTES = 64 << 10, NOT_FOUND = 127, NOT_EXECUTABLE = 126 };

static struct {
    const char *id, *log_dir;
} options;

static const char *id_check(const char *text)
{
    return sl_sandbox_id_valid(sl_slice_of(text))
               ? NULL
               : "is not a sandbox id (letters, digits and . _ : -, at most 128)";
}

static const struct sl_option table[] = {
    {.name = "id",
     .type = SL_OPTION_TEXT,
     .value = &options.id,
     .unit = "ID",
     .check = id_check,
     .sentence = "the sandbox's id (default run-DATE-TIME-XXXX)"},
    {.name = "log-dir",
     .type = SL_OPTION_TEXT,
     .value = &options.log_dir,
     .unit = "DIR",
     .fallback = "./sandlog-data/sandboxes",
     .sentence = "where a collector looks: DIR/ID/main.log is written"},
};

static const struct sl_program program = {
    .name = "sandlog run",
    .usage = "[--id ID] [--log-dir DIR] -- CMD [ARGUMENT]...",
    .sentence = "Run a command as a sandbox: what it writes passes through and is its log.",
    .epilogue =
        "Examples:\n"
        "  sandlog run -- make test\n"
        "  sandlog run --id build-42 -- sh -c 'make && make install'\n"
        "\n"
        "Exit status: the command's; 128 + N when signal N killed it, 127 not found, 126 not executable.\n",
    .options = table,
    .option_count = sizeof table / sizeof *table,
};

struct running {
    struct cri_log log;
    struct pollfd fd[3]; /* its stdout, its stderr, our signals */
    bool passes[2];      /* our stdout and stderr still take what it writes */
    pid_t pid;
    bool over, warned;
    int status; /* exit status of the command */
};

/* 0 or the errno of what failed. */
static int start(struct running *run, char **argv, const sigset_t *mask)
{
    int out[2] = {-1, -1}, err[2] = {-1, -1};
    if (pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0)
        return errno;
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t normal;
    sigemptyset(&normal);
    sigaddset(&normal, SIGPIPE); /* which this program ignores */
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, err[1], STDERR_FILENO);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, mask);
    posix_spawnattr_setsigdefault(&attributes, &normal);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    int e = posix_spawnp(&run->pid, argv[0], &actions, &attributes, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    close(out[1]);
    close(err[1]);
    run->fd[0] = (struct pollfd){.fd = out[0], .events = POLLIN};
    run->fd[1] = (struct pollfd){.fd = err[0], .events = POLLIN};
    return e;
}

static void pass_through(struct running *run, int which, const uint8_t *data, size_t bytes)
{
    int fd = which == 0 ? STDOUT_FILENO : STDERR_FILENO;
    while (bytes > 0 && run->passes[which]) {
        ssize_t n = write(fd, data, bytes);
        if (n >= 0) {
            data += n;
            bytes -= (size_t)n;
        } else if (errno == EAGAIN) {
            poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, -1);
        } else if (errno != EINTR) {
            /* Nobody reads any more, or no room: the command and its log go on. */
            run->passes[which] = false;
            if (errno != EPIPE && which == 0)
                say("cannot write to stdout: %s; the log goes on", say_errno(errno));
        }
    }
}

/* What the pipe holds. Closes it at its end. */
static void take_output(struct running *run, int which)
{
    static uint8_t data[READ_BYTES];
    ssize_t n = read(run->fd[which].fd, data, sizeof data);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (n <= 0) {
        close(run->fd[which].fd);
        run->fd[which].fd = -1;
        return;
    }
    cri_log_add(&run->log, which == 0 ? CRI_STDOUT : CRI_STDERR, sl_slice(data, (size_t)n), sl_now_ns());
    if (run->log.fault != 0 && !run->warned) {
        run->warned = true;
        say("cannot write the log: %s; the command goes on", say_errno(-run->log.fault));
    }
    pass_through(run, which, data, (size_t)n);
}

static void take_signals(struct running *run)
{
    struct signalfd_siginfo info;
    while (read(run->fd[2].fd, &info, sizeof info) == sizeof info) {
        if (info.ssi_signo != SIGCHLD) {
            /* Ctrl-C reaches the whole foreground group by itself; a kill(2) reaches us alone. */
            if (info.ssi_code != SI_KERNEL && !run->over)
                kill(run->pid, (int)info.ssi_signo);
            continue;
        }
        int status;
        if (!run->over && waitpid(run->pid, &status, WNOHANG) == run->pid) {
            run->over = true;
            run->status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
        }
    }
}

static void watch(struct running *run)
{
    int64_t over_ns = 0, heard_ns = 0;
    while (!run->over || run->fd[0].fd >= 0 || run->fd[1].fd >= 0) {
        int timeout_ms = -1;
        if (run->over) {
            int64_t now = sl_monotonic_ns();
            over_ns = over_ns ? over_ns : now;
            heard_ns = heard_ns ? heard_ns : now;
            int64_t idle = heard_ns + DRAIN_IDLE_NS - now, most = over_ns + DRAIN_MOST_NS - now;
            int64_t left = idle < most ? idle : most;
            if (left <= 0) {
                if (say_to_terminal())
                    say("a process that the command left behind still writes; its output is no longer read");
                return;
            }
            timeout_ms = (int)(left / SL_NS_PER_MS) + 1;
        }
        if (poll(run->fd, 3, timeout_ms) < 0)
            continue;
        for (int i = 0; i < 2; i++)
            if (run->fd[i].revents) {
                take_output(run, i);
                heard_ns = sl_monotonic_ns();
            }
        if (run->fd[2].revents)
            take_signals(run);
    }
}

/* 126 or 127, as a shell says it; the reason is in the log too, it may be all that the log holds. */
static int cannot_run(struct running *run, const char *name, int error)
{
    char text[400];
    int n = snprintf(text, sizeof text, "sandlog: %s: %s\n", name,
                     error == ENOENT ? "command not found" : say_errno(error));
    size_t bytes = (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    text[bytes - 1] = '\n';
    cri_log_add(&run->log, CRI_STDERR, sl_slice(text, bytes), sl_now_ns());
    say("%s: %s", name, error == ENOENT ? "command not found" : say_errno(error));
    return error == ENOENT ? NOT_FOUND : NOT_EXECUTABLE;
}

int command_run(int argc, char **argv)
{
    int first;
    sl_options_read(&program, argc, argv, true, &first);
    if (first == argc)
        sl_usage_error(&program, "name a command: sandlog run -- CMD [ARGUMENT]...");
    char *made = options.id ? NULL : run_id("run");
    const char *id = options.id ? options.id : made;
    if (!id) {
        say("%s", say_errno(ENOMEM));
        return 1;
    }
    struct running run = {.passes = {true, true}};
    int e = cri_log_open(&run.log, options.log_dir, id);
    if (e != 0) {
        if (e == CRI_LOG_BUSY)
            say("sandbox \"%s\" is running already", id);
        else
            say("cannot write to %s/%s: %s", options.log_dir, id, say_errno(-e));
        free(made);
        return 1;
    }
    if (say_to_terminal())
        say("sandbox %s; follow it with: sandlog logs -f %s", id, id);

    sigset_t ours, before;
    sigemptyset(&ours);
    static const int numbers[] = {SIGCHLD, SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        sigaddset(&ours, numbers[i]);
    sigprocmask(SIG_BLOCK, &ours, &before);
    run.fd[2] = (struct pollfd){.fd = signalfd(-1, &ours, SFD_CLOEXEC | SFD_NONBLOCK), .events = POLLIN};
    e = run.fd[2].fd < 0 ? errno : start(&run, argv + first, &before);
    if (e == 0)
        watch(&run);
    else
        run.status = cannot_run(&run, argv[first], e);
    e = cri_log_exit(&run.log, run.status);
    if (run.log.lost_bytes > 0)
        say("%llu bytes of the log could not be written", (unsigned long long)run.log.lost_bytes);
    if (e < 0)
        say("cannot write the exit code of %s: %s", id, say_errno(-e));
    for (int i = 0; i < 3; i++)
        if (run.fd[i].fd > 0)
            close(run.fd[i].fd);
    cri_log_close(&run.log);
    free(made);
    return run.status;
}
