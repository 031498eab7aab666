// SPDX-License-Identifier: Apache-2.0
/*
 * The daemons that `sandlog up` keeps running. Each is a process group of its own, so that Ctrl-C reaches the
 * supervisor alone and they can be ended in order; the kernel kills them when the supervisor dies. One that
 * ends by itself is started again, 100 ms to 5 s later. One thread, the same that started them.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { CHILD_ARGUMENTS_MAX = 64 };

struct child {
    const char *name;                      /* "broker" */
    const char *argv[CHILD_ARGUMENTS_MAX]; /* [0] is the path of the program; borrowed */
    int argc;
    pid_t pid; /* 0: not running */
    int64_t started_ns, due_ns, backoff_ns;
    int status; /* of its last end, as waitpid(2) gives it */
};

void child_argument(struct child *child, const char *text);
/* 0 or -errno (of fork; a program that cannot be executed ends with 127). */
int child_start(struct child *child);
/* waitpid(2) said that it ended: says why and when it is started again. Plans the restart when `restart`. */
void child_ended(struct child *child, int status, bool restart);
/* "exited with 3", "was killed by signal 9" into out. */
void child_status_text(int status, char *out, size_t capacity);
