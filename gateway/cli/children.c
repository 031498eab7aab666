// SPDX-License-Identifier: Apache-2.0
#include "children.h"
#include "say.h"
#include "wire/timestamp.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define BACKOFF_FIRST_NS (100 * SL_NS_PER_MS)
#define BACKOFF_MOST_NS  (5 * SL_NS_PER_S)
/* One that ran this long did its work: the next fault is a new one. */
#define STEADY_NS (10 * SL_NS_PER_S)

void child_argument(struct child *child, const char *text)
{
    assert(child->argc + 1 < CHILD_ARGUMENTS_MAX);
    child->argv[child->argc++] = text;
}

int child_start(struct child *child)
{
    pid_t parent = getpid();
    pid_t pid = fork(); /* not posix_spawn: it cannot ask for the signal at the parent's death */
    if (pid < 0)
        return -errno;
    if (pid == 0) {
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        signal(SIGPIPE, SIG_DFL);
        setpgid(0, 0);
        /* SIGKILL, because it leaves nobody behind; being killed at any moment is what the daemons are made
         * for */
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
        char *const *argv = (char *const *)(uintptr_t)child->argv;
        execv(argv[0], argv);
        _exit(127);
    }
    setpgid(pid, pid); /* here too: whoever is first */
    child->pid = pid;
    child->started_ns = sl_monotonic_ns();
    return 0;
}

void child_status_text(int status, char *out, size_t capacity)
{
    if (WIFSIGNALED(status))
        snprintf(out, capacity, "was killed by signal %d", WTERMSIG(status));
    else if (WEXITSTATUS(status) == 127)
        snprintf(out, capacity, "cannot be executed");
    else
        snprintf(out, capacity, "exited with %d", WEXITSTATUS(status));
}

void child_ended(struct child *child, int status, bool restart)
{
    int64_t now = sl_monotonic_ns();
    child->pid = 0;
    child->status = status;
    if (!restart)
        return;
    bool steady = now - child->started_ns >= STEADY_NS;
    if (child->backoff_ns == 0 || steady)
        child->backoff_ns = BACKOFF_FIRST_NS;
    else if (child->backoff_ns < BACKOFF_MOST_NS)
        child->backoff_ns = child->backoff_ns * 2 < BACKOFF_MOST_NS ? child->backoff_ns * 2 : BACKOFF_MOST_NS;
    child->due_ns = now + child->backoff_ns;
    char text[64];
    child_status_text(status, text, sizeof text);
    say("the %s %s; starting it again in %lld ms", child->name, text,
        (long long)(child->backoff_ns / SL_NS_PER_MS));
}
