// SPDX-License-Identifier: Apache-2.0
/*
 * A container's log file as containerd writes it: `TIME stdout|stderr F|P TEXT`, in the folder of its
 * sandbox, DIR/ID/main.log. A record holds at most CRI_TEXT_MAX_BYTES of text. Text without a newline is
 * written at once, as a piece (P), so that it is in the file when its writer dies.
 *
 * The writer goes on after a fault (a full disk): what could not be written is counted and left out, and a
 * record that was torn is completed first when there is room again. One thread.
 */
#pragma once
#include "wire/slice.h"

enum { CRI_TEXT_MAX_BYTES = 16 << 10 };

enum cri_stream { CRI_STDOUT, CRI_STDERR };

struct cri_log {
    int fd, folder_fd; /* the folder is locked while the log is open */
    uint8_t *records;  /* ready to be written */
    size_t bytes, capacity;
    size_t torn; /* bytes of records[] that complete the one cut short by a fault */
    uint64_t lost_bytes;
    int fault; /* -errno of the first failed write, 0: none */
};

/*
 * Creates DIR/ID (and what is missing above) and a new main.log. One that an earlier run of this id left is
 * renamed, as log rotation does, and its exit_code removed. 0, CRI_LOG_BUSY (another program writes there)
 * or -errno.
 */
enum { CRI_LOG_BUSY = 1 };
int cri_log_open(struct cri_log *log, const char *dir, const char *id);
void cri_log_close(struct cri_log *log);
/* What one read(2) brought, with its time. Writes it; a fault is kept in log->fault. */
void cri_log_add(struct cri_log *log, enum cri_stream stream, struct sl_slice text, int64_t now_ns);
/* The sandbox is over: DIR/ID/exit_code, whole or not at all. 0 or -errno. */
int cri_log_exit(struct cri_log *log, int exit_code);
/* Removes the folder and all that this log put into it. Best effort. */
void cri_log_remove(struct cri_log *log, const char *dir, const char *id);
