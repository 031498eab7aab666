// SPDX-License-Identifier: Apache-2.0
#include "diagnostics.h"
#include "timestamp.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { LOG_LINE_BYTES = 2048 }; /* below PIPE_BUF: lines of several processes do not mix on one pipe */

static const char *log_daemon = "sandlog";
static enum sl_level log_most = SL_INFORM;

void sl_log_init(const char *daemon, enum sl_level most)
{
    log_daemon = daemon;
    log_most = most;
}

static const char *level_name(enum sl_level level)
{
    switch (level) {
    case SL_ERROR:
        return "error";
    case SL_WARNING:
        return "warning";
    case SL_INFORM:
        return "info";
    case SL_DEBUG:
        return "debug";
    }
    return "unknown";
}

void sl_log(enum sl_level level, const char *event, const char *format, ...)
{
    if (level > log_most)
        return;
    int saved = errno; /* callers log between a failed call and the use of its errno */
    char line[LOG_LINE_BYTES];
    char time[SL_TIME_TEXT_BYTES];
    sl_time_render(sl_now_ns(), time);
    int n = snprintf(line, sizeof line, "time=%.*s level=%s daemon=%s event=%s", SL_TIME_TEXT_BYTES, time,
                     level_name(level), log_daemon, event);
    size_t used = n < 0 ? 0 : (size_t)n;
    if (used > sizeof line - 2)
        used = sizeof line - 2;
    if (format && *format) {
        line[used++] = ' ';
        va_list args;
        va_start(args, format);
        n = vsnprintf(line + used, sizeof line - used, format, args);
        va_end(args);
        if (n > 0)
            used += (size_t)n;
    }
    if (used > sizeof line - 1)
        used = sizeof line - 1;
    /* One event is one line, whatever was put into it. */
    for (size_t i = 0; i < used; i++)
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
            line[i] = ' ';
    line[used++] = '\n';
    while (write(STDERR_FILENO, line, used) < 0 && errno == EINTR)
        ;
    errno = saved;
}

const char *sl_log_value(struct sl_slice value, char *out, size_t capacity)
{
    static const char hex[] = "0123456789abcdef";
    if (capacity < 3) {
        if (capacity > 0)
            out[0] = 0;
        return out;
    }
    size_t used = 0;
    out[used++] = '"';
    for (size_t i = 0; i < value.bytes; i++) {
        uint8_t b = value.data[i];
        char piece[4];
        size_t bytes = 0;
        if (b == '"' || b == '\\') {
            piece[bytes++] = '\\';
            piece[bytes++] = (char)b;
        } else if (b >= 0x20 && b < 0x7f) {
            piece[bytes++] = (char)b;
        } else {
            piece[bytes++] = '\\';
            piece[bytes++] = 'x';
            piece[bytes++] = hex[b >> 4];
            piece[bytes++] = hex[b & 15];
        }
        if (used + bytes + 2 > capacity)
            break;
        memcpy(out + used, piece, bytes);
        used += bytes;
    }
    out[used++] = '"';
    out[used] = 0;
    return out;
}

void sl_notify(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (!path || (path[0] != '/' && path[0] != '@') || strlen(path) >= sizeof address.sun_path)
        return;
    size_t bytes = strlen(path);
    memcpy(address.sun_path, path, bytes);
    if (path[0] == '@')
        address.sun_path[0] = 0; /* the abstract name space */
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    sendto(fd, state, strlen(state), MSG_NOSIGNAL, (const struct sockaddr *)&address,
           (socklen_t)(offsetof(struct sockaddr_un, sun_path) + bytes));
    close(fd);
}

int sl_signals_open(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    int r = pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (r != 0)
        return -r;
    signal(SIGPIPE, SIG_IGN);
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return fd < 0 ? -errno : fd;
}

static void end_now(int signal_number)
{
    (void)signal_number;
    _exit(0);
}

void sl_end_within(unsigned seconds)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGALRM);
    signal(SIGALRM, end_now);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL); /* who started us may have blocked it */
    alarm(seconds);
}

int sl_signals_next(int fd)
{
    struct signalfd_siginfo info;
    ssize_t n = read(fd, &info, sizeof info);
    return n == (ssize_t)sizeof info ? (int)info.ssi_signo : 0;
}

size_t sl_raise_open_files(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 0;
    if (limit.rlim_cur < limit.rlim_max) {
        struct rlimit wanted = {.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};
        if (setrlimit(RLIMIT_NOFILE, &wanted) == 0)
            return (size_t)wanted.rlim_cur;
    }
    return (size_t)limit.rlim_cur;
}
