// SPDX-License-Identifier: Apache-2.0
#include "io.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

struct posix {
    struct io io;
    int directory;
    int lock;
};

static struct posix *posix_of(struct io *io)
{
    return (struct posix *)io;
}

static int posix_open(struct io *io, const char *name, int flags)
{
    int how = O_CLOEXEC | O_NOFOLLOW;
    how |= flags & (IO_WRITE | IO_NEW) ? O_RDWR : O_RDONLY;
    if (flags & IO_NEW)
        how |= O_CREAT | O_EXCL;
    int file = openat(posix_of(io)->directory, name, how, 0640);
    return file < 0 ? -errno : file;
}

static void posix_close(struct io *io, int file)
{
    (void)io;
    close(file);
}

static int posix_write(struct io *io, int file, uint64_t at, struct iovec *vectors, int count)
{
    (void)io;
    while (count > 0) {
        ssize_t done = pwritev(file, vectors, count < IOV_MAX ? count : IOV_MAX, (off_t)at);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return done < 0 ? -errno : -EIO;
        at += (uint64_t)done;
        size_t left = (size_t)done;
        while (count > 0 && left >= vectors->iov_len) {
            left -= vectors->iov_len;
            vectors++;
            count--;
        }
        if (count > 0) {
            vectors->iov_base = (char *)vectors->iov_base + left;
            vectors->iov_len -= left;
        }
    }
    return 0;
}

static int64_t posix_read(struct io *io, int file, uint64_t at, void *into, size_t bytes)
{
    (void)io;
    size_t got = 0;
    while (got < bytes) {
        ssize_t n = pread(file, (char *)into + got, bytes - got, (off_t)(at + got));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        got += (size_t)n;
    }
    return (int64_t)got;
}

static int posix_sync(struct io *io, int file)
{
    (void)io;
    return fdatasync(file) == 0 ? 0 : -errno;
}

static int posix_sync_names(struct io *io)
{
    return fsync(posix_of(io)->directory) == 0 ? 0 : -errno;
}

static int64_t posix_size(struct io *io, int file)
{
    (void)io;
    struct stat st;
    return fstat(file, &st) == 0 ? (int64_t)st.st_size : -errno;
}

static int posix_truncate(struct io *io, int file, uint64_t bytes)
{
    (void)io;
    return ftruncate(file, (off_t)bytes) == 0 ? 0 : -errno;
}

static int posix_reserve(struct io *io, int file, uint64_t from, uint64_t bytes)
{
    (void)io;
    return fallocate(file, FALLOC_FL_KEEP_SIZE, (off_t)from, (off_t)bytes) == 0 ? 0 : -errno;
}

static void posix_forget(struct io *io, int file)
{
    (void)io;
    posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
}

static int posix_rename(struct io *io, const char *from, const char *to)
{
    int directory = posix_of(io)->directory;
    return renameat(directory, from, directory, to) == 0 ? 0 : -errno;
}

static int posix_unlink(struct io *io, const char *name)
{
    return unlinkat(posix_of(io)->directory, name, 0) == 0 ? 0 : -errno;
}

static int posix_list(struct io *io, void (*each)(void *arg, const char *name), void *arg)
{
    int copy = openat(posix_of(io)->directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (copy < 0)
        return -errno;
    DIR *folder = fdopendir(copy);
    if (!folder) {
        int fault = -errno;
        close(copy);
        return fault;
    }
    struct dirent *entry;
    for (errno = 0; (entry = readdir(folder)); errno = 0) {
        if (entry->d_name[0] != '.')
            each(arg, entry->d_name);
    }
    int fault = -errno;
    closedir(folder);
    return fault;
}

static int posix_room(struct io *io, uint64_t *ret_bytes)
{
    struct statvfs st;
    if (fstatvfs(posix_of(io)->directory, &st) != 0)
        return -errno;
    *ret_bytes = (uint64_t)st.f_bavail * st.f_frsize;
    return 0;
}

static void posix_free(struct io *io)
{
    struct posix *p = posix_of(io);
    if (p->lock >= 0)
        close(p->lock);
    if (p->directory >= 0)
        close(p->directory);
    free(p);
}

static const struct io_calls posix_calls = {
    .open = posix_open,
    .close = posix_close,
    .write = posix_write,
    .read = posix_read,
    .sync = posix_sync,
    .sync_names = posix_sync_names,
    .size = posix_size,
    .truncate = posix_truncate,
    .reserve = posix_reserve,
    .forget = posix_forget,
    .rename = posix_rename,
    .unlink = posix_unlink,
    .list = posix_list,
    .room = posix_room,
    .free = posix_free,
};

/* Makes the directory and its missing parents, and the names of all that it made durable. */
static int make_directory(const char *path)
{
    char part[PATH_MAX];
    size_t bytes = strlen(path);
    if (bytes == 0 || bytes >= sizeof part)
        return -ENAMETOOLONG;
    memcpy(part, path, bytes + 1);
    for (size_t i = 1; i <= bytes; i++) {
        if (part[i] != '/' && part[i] != 0)
            continue;
        char kept = part[i];
        part[i] = 0;
        if (mkdir(part, 0750) == 0) {
            char *slash = strrchr(part, '/');
            size_t cut = slash ? (size_t)(slash - part) : 0;
            char parent[PATH_MAX];
            memcpy(parent, part, cut);
            parent[cut] = 0;
            int fd = open(cut ? parent : (part[0] == '/' ? "/" : "."), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
            if (fd < 0)
                return -errno;
            int fault = fsync(fd) == 0 ? 0 : -errno;
            close(fd);
            if (fault)
                return fault;
        } else if (errno != EEXIST) {
            return -errno;
        }
        part[i] = kept;
    }
    return 0;
}

int io_posix_new(const char *directory, bool create, struct io **ret)
{
    struct posix *p = calloc(1, sizeof *p);
    if (!p)
        return -ENOMEM;
    p->io.calls = &posix_calls;
    p->lock = -1;
    p->directory = -1;
    int fault = create ? make_directory(directory) : 0;
    if (fault)
        goto out;
    p->directory = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (p->directory < 0) {
        fault = -errno;
        goto out;
    }
    /* The lock is the kernel's and ends with the process, however it ends; the file itself says nothing. */
    p->lock = openat(p->directory, "lock", O_RDWR | O_CLOEXEC | O_NOFOLLOW | (create ? O_CREAT : 0), 0640);
    if (p->lock < 0) {
        fault = -errno;
        goto out;
    }
    /* All may be there and writable but the directory: the next segment could not be made. */
    if (create && faccessat(p->directory, ".", W_OK | X_OK, AT_EACCESS) != 0) {
        fault = -errno;
        goto out;
    }
    if (flock(p->lock, LOCK_EX | LOCK_NB) != 0) {
        fault = errno == EWOULDBLOCK ? -EBUSY : -errno;
        goto out;
    }
    *ret = &p->io;
    return 0;
out:
    posix_free(&p->io);
    return fault;
}
