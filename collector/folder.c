// SPDX-License-Identifier: Apache-2.0
/* Ways from a root to a folder's names: as paths, opened, looked at, and what the pattern captures on them.
 */
#include "watch.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PATH_BYTES = PATTERN_PATH_MAX_BYTES + (PATTERN_DEPTH_MAX + 1) * 256 };

static size_t relative_path(const struct folder *f, const char *name, char out[PATH_BYTES])
{
    const struct folder *way[PATTERN_DEPTH_MAX + 1];
    unsigned count = 0;
    size_t used = 0;
    for (; f->parent; f = f->parent)
        way[count++] = f;
    while (count > 0) {
        f = way[--count];
        memcpy(out + used, f->name, f->name_bytes);
        used += f->name_bytes;
        out[used++] = '/';
    }
    if (name) {
        size_t bytes = strlen(name);
        if (bytes > 255)
            bytes = 255;
        memcpy(out + used, name, bytes);
        used += bytes;
    } else if (used > 0) {
        used--;
    } else {
        out[used++] = '.';
    }
    out[used] = 0;
    return used;
}

void folder_path(const struct folder *f, const char *name, char *out, size_t capacity)
{
    char path[PATH_BYTES];
    relative_path(f, name, path);
    snprintf(out, capacity, "%s/%s", f->root->pattern->root, path);
}

int folder_open(const struct folder *f, const char *name, int flags)
{
    char path[PATH_BYTES];
    struct open_how how = {.flags = (uint64_t)(unsigned)(flags | O_CLOEXEC | O_NOFOLLOW),
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
    if (f->root->fd < 0)
        return -ENOENT;
    relative_path(f, name, path);
    long fd;
    do /* EAGAIN: something was renamed meanwhile, the kernel could not prove that the path stays beneath */
        fd = syscall(SYS_openat2, f->root->fd, path, &how, sizeof how);
    while (fd < 0 && (errno == EAGAIN || errno == EINTR));
    return fd < 0 ? -errno : (int)fd;
}

int folder_statx(const struct folder *f, const char *name, struct statx *ret)
{
    char path[PATH_BYTES];
    if (f->root->fd < 0)
        return -ENOENT;
    relative_path(f, name, path);
    return statx(f->root->fd, path, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_BASIC_STATS | STATX_BTIME,
                 ret) < 0
               ? -errno
               : 0;
}

void folder_captures(const struct folder *f, struct captures *ret)
{
    const struct folder *way[PATTERN_DEPTH_MAX + 1];
    unsigned count = 0;
    const struct pattern *pattern = f->root->pattern;
    ret->count = 0;
    for (; f->parent; f = f->parent)
        way[count++] = f;
    while (count > 0) {
        f = way[--count];
        bool match = pattern_match(pattern->components[f->depth - 1], sl_slice(f->name, f->name_bytes), ret);
        assert(match);
    }
}
