// SPDX-License-Identifier: Apache-2.0
/*
 * Counts what a program asks of the C library and of LZ4: an LD_PRELOAD library. With COUNT_CALLS=PREFIX it
 * keeps its counters in the file PREFIX.PID, mapped and shared, so that they can be read at any moment, also
 * after a kill: records of 32 bytes, name (16, zero-padded), calls (u64), bytes (u64: asked for by the
 * allocations, moved by reads and writes, made by LZ4). count_calls.py reads them. Without the variable it
 * only passes on.
 *
 * Seen are calls across libraries, so nng's and lws' as well as ours, not those of libc among themselves.
 * Sanitizers bring allocators of their own: not together with them. All threads; one relaxed addition a call.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

/* clang-format off */
#define COUNTED(X)                                                                                             \
    X(malloc) X(calloc) X(realloc) X(free)                                                                     \
    X(read) X(pread) X(readv) X(recv) X(recvmsg)                                                               \
    X(write) X(pwrite) X(writev) X(pwritev) X(send) X(sendto) X(sendmsg)                                       \
    X(fsync) X(fdatasync) X(sync_file_range) X(fallocate)                                                      \
    X(open) X(epoll_wait) X(epoll_ctl) X(poll) X(mmap)                                                         \
    X(decompress) X(compress)
/* clang-format on */
#define AS_INDEX(name) AT_##name,
#define AS_TEXT(name)  #name,
enum { COUNTED(AS_INDEX) COUNTERS };
static const char *const names[COUNTERS] = {COUNTED(AS_TEXT)};

struct counter {
    char name[16];
    uint64_t calls;
    uint64_t bytes;
};
static struct counter idle[COUNTERS];
static struct counter *counters = idle;

static void count(int at, uint64_t bytes)
{
    __atomic_fetch_add(&counters[at].calls, 1, __ATOMIC_RELAXED);
    if (bytes)
        __atomic_fetch_add(&counters[at].bytes, bytes, __ATOMIC_RELAXED);
}

/* The next one in line; looked up once. dlsym() may allocate: malloc and the like go another way. */
#define NEXT(type, symbol)                                                                                   \
    static __typeof__(type) next;                                                                            \
    if (!next) {                                                                                             \
        void *found = dlsym(RTLD_NEXT, symbol);                                                              \
        memcpy(&next, &found, sizeof next);                                                                  \
    }

static ssize_t counted(int at, ssize_t moved)
{
    count(at, moved > 0 ? (uint64_t)moved : 0);
    return moved;
}

__attribute__((constructor)) static void begin(void)
{
    const char *prefix = getenv("COUNT_CALLS");
    char path[4096];
    if (!prefix)
        return;
    snprintf(path, sizeof path, "%s.%ld", prefix, (long)getpid());
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, sizeof idle) < 0)
        abort();
    struct counter *shared = mmap(NULL, sizeof idle, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (shared == MAP_FAILED)
        abort();
    close(fd);
    for (int i = 0; i < COUNTERS; i++)
        snprintf(shared[i].name, sizeof shared[i].name, "%s", names[i]);
    counters = shared;
}

/* ---- memory ---- */

void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *at, size_t bytes);
void __libc_free(void *at);

EXPORT void *malloc(size_t bytes)
{
    count(AT_malloc, bytes);
    return __libc_malloc(bytes);
}

EXPORT void *calloc(size_t n, size_t bytes)
{
    count(AT_calloc, n * bytes);
    return __libc_calloc(n, bytes);
}

EXPORT void *realloc(void *at, size_t bytes)
{
    count(AT_realloc, bytes);
    return __libc_realloc(at, bytes);
}

EXPORT void free(void *at)
{
    if (at)
        count(AT_free, 0);
    __libc_free(at);
}

/* ---- files and sockets ---- */

#define PASS(type, name, counter, parameters, ...)                                                           \
    EXPORT type name parameters;                                                                             \
    EXPORT type name parameters                                                                              \
    {                                                                                                        \
        NEXT(type(*) parameters, #name)                                                                      \
        return (type)counted(AT_##counter, next(__VA_ARGS__));                                               \
    }

PASS(ssize_t, read, read, (int fd, void *data, size_t bytes), fd, data, bytes)
PASS(ssize_t, pread, pread, (int fd, void *data, size_t bytes, off_t at), fd, data, bytes, at)
PASS(ssize_t, pread64, pread, (int fd, void *data, size_t bytes, off64_t at), fd, data, bytes, at)
PASS(ssize_t, readv, readv, (int fd, const struct iovec *parts, int n), fd, parts, n)
PASS(ssize_t, recv, recv, (int fd, void *data, size_t bytes, int flags), fd, data, bytes, flags)
PASS(ssize_t, recvmsg, recvmsg, (int fd, struct msghdr *message, int flags), fd, message, flags)
PASS(ssize_t, write, write, (int fd, const void *data, size_t bytes), fd, data, bytes)
PASS(ssize_t, pwrite, pwrite, (int fd, const void *data, size_t bytes, off_t at), fd, data, bytes, at)
PASS(ssize_t, pwrite64, pwrite, (int fd, const void *data, size_t bytes, off64_t at), fd, data, bytes, at)
PASS(ssize_t, writev, writev, (int fd, const struct iovec *parts, int n), fd, parts, n)
PASS(ssize_t, pwritev, pwritev, (int fd, const struct iovec *parts, int n, off_t at), fd, parts, n, at)
PASS(ssize_t, pwritev64, pwritev, (int fd, const struct iovec *parts, int n, off64_t at), fd, parts, n, at)
PASS(ssize_t, send, send, (int fd, const void *data, size_t bytes, int flags), fd, data, bytes, flags)
PASS(ssize_t, sendto, sendto,
     (int fd, const void *data, size_t bytes, int flags, const struct sockaddr *to, socklen_t to_bytes), fd,
     data, bytes, flags, to, to_bytes)
PASS(ssize_t, sendmsg, sendmsg, (int fd, const struct msghdr *message, int flags), fd, message, flags)

#undef PASS
#define PASS(name, counter, parameters, ...)                                                                 \
    EXPORT int name parameters;                                                                              \
    EXPORT int name parameters                                                                               \
    {                                                                                                        \
        NEXT(int(*) parameters, #name)                                                                       \
        count(AT_##counter, 0);                                                                              \
        return next(__VA_ARGS__);                                                                            \
    }

PASS(fsync, fsync, (int fd), fd)
PASS(fdatasync, fdatasync, (int fd), fd)
PASS(sync_file_range, sync_file_range, (int fd, off64_t at, off64_t bytes, unsigned flags), fd, at, bytes,
     flags)
PASS(fallocate, fallocate, (int fd, int mode, off_t at, off_t bytes), fd, mode, at, bytes)
PASS(fallocate64, fallocate, (int fd, int mode, off64_t at, off64_t bytes), fd, mode, at, bytes)
PASS(epoll_wait, epoll_wait, (int fd, struct epoll_event *events, int n, int wait_ms), fd, events, n, wait_ms)
PASS(epoll_ctl, epoll_ctl, (int fd, int how, int other, struct epoll_event *event), fd, how, other, event)
PASS(poll, poll, (struct pollfd * fds, nfds_t n, int wait_ms), fds, n, wait_ms)

#undef PASS
#define PASS(name, parameters, last, ...)                                                                    \
    EXPORT int name parameters;                                                                              \
    EXPORT int name parameters                                                                               \
    {                                                                                                        \
        NEXT(int(*) parameters, #name)                                                                       \
        va_list more;                                                                                        \
        va_start(more, last);                                                                                \
        mode_t mode = last & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;                               \
        va_end(more);                                                                                        \
        count(AT_open, 0);                                                                                   \
        return next(__VA_ARGS__, mode);                                                                      \
    }

PASS(open, (const char *path, int flags, ...), flags, path, flags)
PASS(open64, (const char *path, int flags, ...), flags, path, flags)
PASS(openat, (int folder, const char *path, int flags, ...), flags, folder, path, flags)
PASS(openat64, (int folder, const char *path, int flags, ...), flags, folder, path, flags)

EXPORT void *mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    NEXT(void *(*)(void *, size_t, int, int, int, off_t), "mmap")
    count(AT_mmap, bytes);
    return next(at, bytes, protection, flags, fd, offset);
}

/* ---- LZ4; bytes are those of the text side ---- */

EXPORT int LZ4_decompress_safe(const char *from, char *to, int bytes, int room);
EXPORT int LZ4_decompress_safe(const char *from, char *to, int bytes, int room)
{
    NEXT(int (*)(const char *, char *, int, int), "LZ4_decompress_safe")
    return (int)counted(AT_decompress, next(from, to, bytes, room));
}

#undef PASS
#define PASS(name)                                                                                           \
    EXPORT int name(void *state, const char *from, char *to, int bytes, int room, int level);                \
    EXPORT int name(void *state, const char *from, char *to, int bytes, int room, int level)                 \
    {                                                                                                        \
        NEXT(int (*)(void *, const char *, char *, int, int, int), #name)                                    \
        count(AT_compress, (uint64_t)bytes);                                                                 \
        return next(state, from, to, bytes, room, level);                                                    \
    }

PASS(LZ4_compress_fast_extState)
PASS(LZ4_compress_HC_extStateHC)
