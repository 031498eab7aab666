// SPDX-License-Identifier: Apache-2.0
#include "cri_log.h"
#include "wire/timestamp.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { RECORD_HEAD_BYTES = SL_TIME_TEXT_BYTES + 10 }; /* " stdout F " */

static int make_folders(const char *path)
{
    char *copy = strdup(path);
    if (!copy)
        return -ENOMEM;
    int r = 0;
    for (char *at = copy + 1; r == 0; at++) {
        if (*at != '/' && *at)
            continue;
        char kept = *at;
        *at = 0;
        if (mkdir(copy, 0777) < 0 && errno != EEXIST)
            r = -errno;
        *at = kept;
        if (!kept)
            break;
    }
    free(copy);
    return r;
}

/* An earlier run's file gets a name with a time, as the kubelet's do; a number follows if that is taken. */
static int move_away(int folder_fd)
{
    struct stat st;
    if (fstatat(folder_fd, "main.log", &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : -errno;
    time_t now = time(NULL);
    struct tm tm;
    char name[80], stamp[32];
    gmtime_r(&now, &tm);
    strftime(stamp, sizeof stamp, "%Y%m%d-%H%M%S", &tm);
    for (int i = 0; i < 1000; i++) {
        if (i == 0)
            snprintf(name, sizeof name, "main.log.%s", stamp);
        else
            snprintf(name, sizeof name, "main.log.%s-%d", stamp, i);
        if (fstatat(folder_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
            continue;
        return renameat(folder_fd, "main.log", folder_fd, name) < 0 ? -errno : 0;
    }
    return -EEXIST;
}

int cri_log_open(struct cri_log *log, const char *dir, const char *id)
{
    *log = (struct cri_log){.fd = -1, .folder_fd = -1};
    char *path = NULL;
    if (asprintf(&path, "%s/%s", dir, id) < 0)
        return -ENOMEM;
    int r = make_folders(path);
    if (r == 0) {
        log->folder_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        r = log->folder_fd < 0 ? -errno : 0;
    }
    free(path);
    if (r == 0 && flock(log->folder_fd, LOCK_EX | LOCK_NB) < 0)
        r = errno == EWOULDBLOCK ? CRI_LOG_BUSY : -errno;
    if (r == 0)
        r = move_away(log->folder_fd);
    if (r == 0 && unlinkat(log->folder_fd, "exit_code", 0) < 0 && errno != ENOENT)
        r = -errno;
    if (r == 0) {
        log->fd =
            openat(log->folder_fd, "main.log", O_WRONLY | O_APPEND | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        r = log->fd < 0 ? -errno : 0;
    }
    if (r != 0)
        cri_log_close(log);
    return r;
}

void cri_log_close(struct cri_log *log)
{
    if (log->fd >= 0)
        close(log->fd);
    if (log->folder_fd >= 0)
        close(log->folder_fd);
    free(log->records);
    *log = (struct cri_log){.fd = -1, .folder_fd = -1};
}

static int reserve(struct cri_log *log, size_t bytes)
{
    if (log->bytes + bytes <= log->capacity)
        return 0;
    size_t capacity = log->capacity ? log->capacity : 64 << 10;
    while (capacity < log->bytes + bytes)
        capacity *= 2;
    uint8_t *grown = realloc(log->records, capacity);
    if (!grown)
        return -ENOMEM;
    log->records = grown;
    log->capacity = capacity;
    return 0;
}

static int add_record(struct cri_log *log, enum cri_stream stream, bool full, struct sl_slice text,
                      int64_t now_ns)
{
    int r = reserve(log, RECORD_HEAD_BYTES + text.bytes + 1);
    if (r < 0)
        return r;
    uint8_t *at = log->records + log->bytes;
    sl_time_render(now_ns, (char *)at);
    at += SL_TIME_TEXT_BYTES;
    static const uint8_t between[][10] = {" stdout P ", " stderr P "};
    memcpy(at, between[stream == CRI_STDERR], sizeof between[0]);
    if (full)
        at[8] = 'F';
    at += sizeof between[0];
    if (text.bytes > 0)
        memcpy(at, text.data, text.bytes);
    at[text.bytes] = '\n';
    log->bytes += RECORD_HEAD_BYTES + text.bytes + 1;
    return 0;
}

/* Writes records[]; after a fault only what completes the torn record stays in it. */
static void write_out(struct cri_log *log)
{
    size_t done = 0;
    while (done < log->bytes) {
        ssize_t n = write(log->fd, log->records + done, log->bytes - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            if (log->fault == 0)
                log->fault = -errno;
            break;
        }
        done += (size_t)n;
    }
    size_t torn = 0;
    if (done < log->bytes) {
        const uint8_t *rest = log->records + done;
        bool at_start = done == 0 ? log->torn == 0 : rest[-1] == '\n';
        if (!at_start)
            torn = (size_t)((const uint8_t *)memchr(rest, '\n', log->bytes - done) - rest) + 1;
        memmove(log->records, rest, torn);
        log->lost_bytes += log->bytes - done - torn;
    }
    log->bytes = log->torn = torn;
}

void cri_log_add(struct cri_log *log, enum cri_stream stream, struct sl_slice text, int64_t now_ns)
{
    int r = 0;
    while (text.bytes > 0 && r == 0) {
        size_t most = text.bytes < CRI_TEXT_MAX_BYTES ? text.bytes : CRI_TEXT_MAX_BYTES;
        /* one byte further: a full piece may be followed by its newline */
        const uint8_t *newline = memchr(text.data, '\n', most < text.bytes ? most + 1 : most);
        size_t n = newline ? (size_t)(newline - text.data) : most;
        r = add_record(log, stream, newline != NULL, sl_slice(text.data, n), now_ns);
        n += newline != NULL;
        text = sl_slice(text.data + n, text.bytes - n);
    }
    if (r < 0 && log->fault == 0)
        log->fault = r;
    write_out(log);
}

int cri_log_exit(struct cri_log *log, int exit_code)
{
    static const char aside[] = ".exit_code.tmp";
    char text[16];
    int bytes = snprintf(text, sizeof text, "%d\n", exit_code);
    if (log->bytes > 0)
        write_out(log);
    int fd = openat(log->folder_fd, aside, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd < 0)
        return -errno;
    ssize_t n = write(fd, text, (size_t)bytes);
    int r = n == bytes ? 0 : n < 0 ? -errno : -ENOSPC;
    if (close(fd) < 0 && r == 0)
        r = -errno;
    if (r == 0 && renameat(log->folder_fd, aside, log->folder_fd, "exit_code") < 0)
        r = -errno;
    if (r < 0)
        unlinkat(log->folder_fd, aside, 0);
    return r;
}

void cri_log_remove(struct cri_log *log, const char *dir, const char *id)
{
    unlinkat(log->folder_fd, "main.log", 0);
    unlinkat(log->folder_fd, "exit_code", 0);
    char *path = NULL;
    if (asprintf(&path, "%s/%s", dir, id) < 0)
        return;
    rmdir(path);
    free(path);
}
