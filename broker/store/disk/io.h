// SPDX-License-Identifier: Apache-2.0
/*
 * The only door to the disk: one directory, flat, its files by name. io_posix.c is the real one; tests/fault/
 * has one that keeps what was synced apart from what was not and can crash or fail at any call.
 *
 * Calls may come from several threads at once for different files; of one file, reads may run beside one
 * write. Faults are -errno. Handles are >= 0.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct io;
enum { IO_NAME_MAX_BYTES = 63 };
enum io_open_flags { IO_WRITE = 1, IO_NEW = 2 /* must not be there yet; implies write */ };

struct io_calls {
    int (*open)(struct io *io, const char *name, int flags);
    void (*close)(struct io *io, int file);
    /* All of it at `at`, or a fault with any part of it written. May change the vectors. */
    int (*write)(struct io *io, int file, uint64_t at, struct iovec *vectors, int count);
    /* Bytes read: fewer than asked only at the end of the file. */
    int64_t (*read)(struct io *io, int file, uint64_t at, void *into, size_t bytes);
    int (*sync)(struct io *io, int file);
    /* What was created, renamed or unlinked in the directory is durable. */
    int (*sync_names)(struct io *io);
    int64_t (*size)(struct io *io, int file);
    int (*truncate)(struct io *io, int file, uint64_t bytes);
    /* Room behind the end without changing the size; a hint, may fail without harm. */
    int (*reserve)(struct io *io, int file, uint64_t from, uint64_t bytes);
    /* Nobody will read these soon; a hint. */
    void (*forget)(struct io *io, int file);
    int (*rename)(struct io *io, const char *from, const char *to);
    int (*unlink)(struct io *io, const char *name);
    /* Every file's name, no order. */
    int (*list)(struct io *io, void (*each)(void *arg, const char *name), void *arg);
    /* Free bytes of the file system. */
    int (*room)(struct io *io, uint64_t *ret_bytes);
    void (*free)(struct io *io);
};

struct io {
    const struct io_calls *calls;
};

/*
 * Opens (with `create`, makes) the directory and locks it for this process. Faults: -EBUSY: another process
 * has it; -ENOTDIR, -EACCES, -ENOENT, -ENOSPC, -ENOMEM.
 */
int io_posix_new(const char *directory, bool create, struct io **ret);

static inline int io_open(struct io *io, const char *name, int flags)
{
    return io->calls->open(io, name, flags);
}
static inline void io_close(struct io *io, int file)
{
    if (file >= 0)
        io->calls->close(io, file);
}
static inline int io_write(struct io *io, int file, uint64_t at, struct iovec *vectors, int count)
{
    return io->calls->write(io, file, at, vectors, count);
}
static inline int64_t io_read(struct io *io, int file, uint64_t at, void *into, size_t bytes)
{
    return io->calls->read(io, file, at, into, bytes);
}
static inline int io_sync(struct io *io, int file)
{
    return io->calls->sync(io, file);
}
static inline int io_sync_names(struct io *io)
{
    return io->calls->sync_names(io);
}
static inline int64_t io_size(struct io *io, int file)
{
    return io->calls->size(io, file);
}
static inline int io_truncate(struct io *io, int file, uint64_t bytes)
{
    return io->calls->truncate(io, file, bytes);
}
static inline int io_reserve(struct io *io, int file, uint64_t from, uint64_t bytes)
{
    return io->calls->reserve(io, file, from, bytes);
}
static inline void io_forget(struct io *io, int file)
{
    io->calls->forget(io, file);
}
static inline int io_rename(struct io *io, const char *from, const char *to)
{
    return io->calls->rename(io, from, to);
}
static inline int io_unlink(struct io *io, const char *name)
{
    return io->calls->unlink(io, name);
}
static inline int io_list(struct io *io, void (*each)(void *arg, const char *name), void *arg)
{
    return io->calls->list(io, each, arg);
}
static inline int io_room(struct io *io, uint64_t *ret_bytes)
{
    return io->calls->room(io, ret_bytes);
}
static inline void io_free(struct io *io)
{
    if (io)
        io->calls->free(io);
}
