// SPDX-License-Identifier: Apache-2.0
#include "export_part.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <lz4frame.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { GATHER_BYTES = 64 << 10 };

struct export_part {
    int root_fd, fd; /* fd -1: put aside, or not yet */
    char folder[EXPORT_FOLDER_BYTES], name[EXPORT_NAME_BYTES], temporary[EXPORT_NAME_BYTES];
    LZ4F_cctx *lz4; /* NULL: no frame is open */
    uint8_t *gathered, *packed;
    size_t gathered_bytes, packed_capacity;
};

static const LZ4F_preferences_t preferences = {
    .frameInfo = {.blockSizeID = LZ4F_max256KB,
                  .blockMode = LZ4F_blockLinked,
                  .contentChecksumFlag = LZ4F_contentChecksumEnabled},
};

static void path_of(const struct export_part *p, const char *name, char *out, size_t capacity)
{
    int n = snprintf(out, capacity, "%s/%s", p->folder, name);
    assert(n > 0 && (size_t)n < capacity);
}

enum { PATH_BYTES = EXPORT_FOLDER_BYTES + EXPORT_NAME_BYTES };

static int make_folders(int root_fd, const char *folder)
{
    char date[EXPORT_DATE_CHARS + 1];
    snprintf(date, sizeof date, "%.15s", folder);
    if (mkdirat(root_fd, date, 0777) < 0 && errno != EEXIST)
        return -errno;
    return mkdirat(root_fd, folder, 0777) < 0 && errno != EEXIST ? -errno : 0;
}

static void close_all(struct export_part *p)
{
    if (p->fd >= 0)
        close(p->fd);
    p->fd = -1;
    LZ4F_freeCompressionContext(p->lz4);
    p->lz4 = NULL;
    free(p->gathered);
    free(p->packed);
    p->gathered = p->packed = NULL;
    p->gathered_bytes = 0;
}

static int write_all(int fd, const uint8_t *data, size_t bytes)
{
    while (bytes > 0) {
        ssize_t n = write(fd, data, bytes);
        if (n < 0 && errno != EINTR)
            return -errno;
        data += n > 0 ? n : 0;
        bytes -= n > 0 ? (size_t)n : 0;
    }
    return 0;
}

/* Opens the file, and a frame in it. */
static int open_frame(struct export_part *p, int flags)
{
    char path[PATH_BYTES];
    path_of(p, p->temporary, path, sizeof path);
    p->fd = openat(p->root_fd, path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | flags, 0666);
    if (p->fd < 0)
        return -errno;
    p->packed_capacity = LZ4F_compressBound(GATHER_BYTES, &preferences) + LZ4F_HEADER_SIZE_MAX;
    p->packed = malloc(p->packed_capacity);
    p->gathered = malloc(GATHER_BYTES);
    if (!p->packed || !p->gathered || LZ4F_isError(LZ4F_createCompressionContext(&p->lz4, LZ4F_VERSION)))
        return -ENOMEM;
    size_t n = LZ4F_compressBegin(p->lz4, p->packed, p->packed_capacity, &preferences);
    return LZ4F_isError(n) ? -ENOMEM : write_all(p->fd, p->packed, n);
}

int export_part_new(int root_fd, const char *folder, struct sl_slice checkpoint, struct export_part **ret)
{
    struct export_part *p = calloc(1, sizeof *p);
    if (!p)
        return -ENOMEM;
    p->root_fd = root_fd;
    p->fd = -1;
    snprintf(p->folder, sizeof p->folder, "%s", folder);
    export_name_render(checkpoint, p->name);
    export_temporary_render(checkpoint, p->temporary);
    int r = make_folders(root_fd, folder);
    if (r == 0)
        r = open_frame(p, O_TRUNC);
    if (r < 0) {
        export_part_remove(p);
        export_part_free(p);
        return r;
    }
    *ret = p;
    return 0;
}

void export_part_free(struct export_part *p)
{
    if (!p)
        return;
    close_all(p);
    free(p);
}

const char *export_part_folder(const struct export_part *p)
{
    return p->folder;
}

bool export_part_open(const struct export_part *p)
{
    return p->fd >= 0;
}

static int pack(struct export_part *p)
{
    size_t n =
        LZ4F_compressUpdate(p->lz4, p->packed, p->packed_capacity, p->gathered, p->gathered_bytes, NULL);
    p->gathered_bytes = 0;
    return LZ4F_isError(n) ? -EIO : write_all(p->fd, p->packed, n);
}

int export_part_add(struct export_part *p, struct sl_slice bytes)
{
    int r = p->fd < 0 ? open_frame(p, O_APPEND) : 0;
    while (r == 0 && bytes.bytes > 0) {
        size_t room = GATHER_BYTES - p->gathered_bytes, n = bytes.bytes < room ? bytes.bytes : room;
        memcpy(p->gathered + p->gathered_bytes, bytes.data, n);
        p->gathered_bytes += n;
        bytes = sl_slice(bytes.data + n, bytes.bytes - n);
        if (p->gathered_bytes == GATHER_BYTES)
            r = pack(p);
    }
    return r;
}

int export_part_settle(struct export_part *p)
{
    if (p->fd < 0)
        return 0;
    int r = pack(p);
    if (r == 0) {
        size_t n = LZ4F_compressEnd(p->lz4, p->packed, p->packed_capacity, NULL);
        r = LZ4F_isError(n) ? -EIO : write_all(p->fd, p->packed, n);
    }
    if (r == 0 && fsync(p->fd) < 0)
        r = -errno;
    close_all(p);
    return r;
}

static int sync_folder(int root_fd, const char *path)
{
    int fd = openat(root_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int r = fsync(fd) < 0 ? -errno : 0;
    close(fd);
    return r;
}

int export_part_publish(struct export_part *p)
{
    assert(p->fd < 0);
    char from[PATH_BYTES], to[PATH_BYTES], date[EXPORT_DATE_CHARS + 1];
    path_of(p, p->temporary, from, sizeof from);
    path_of(p, p->name, to, sizeof to);
    snprintf(date, sizeof date, "%.15s", p->folder);
    if (renameat(p->root_fd, from, p->root_fd, to) < 0)
        return -errno;
    /* all three: that a folder was there already does not say that its name is on the disk */
    int r = sync_folder(p->root_fd, p->folder);
    if (r == 0)
        r = sync_folder(p->root_fd, date);
    return r == 0 ? sync_folder(p->root_fd, ".") : r;
}

void export_part_remove(struct export_part *p)
{
    char path[PATH_BYTES];
    path_of(p, p->temporary, path, sizeof path);
    unlinkat(p->root_fd, path, 0);
}
