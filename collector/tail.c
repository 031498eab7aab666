// SPDX-License-Identifier: Apache-2.0
#include "tail.h"
#include "gunzip.h"
#include "wire/timestamp.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

/* ---- opening ---- */

/* But for the generation, which has to be asked for. */
static struct identity identity_of(const struct statx *st)
{
    struct identity i = {.device = (uint64_t)st->stx_dev_major << 32 | st->stx_dev_minor,
                         .inode = st->stx_ino};
    if (st->stx_mask & STATX_BTIME)
        i.birth_ns = (int64_t)st->stx_btime.tv_sec * SL_NS_PER_S + st->stx_btime.tv_nsec;
    return i;
}

static bool is_same(const struct identity *a, const struct identity *b)
{
    return a->inode == b->inode && a->device == b->device && a->birth_ns == b->birth_ns;
}

static int identify(int fd, struct identity *ret, uint64_t *ret_size, uint32_t *ret_links, bool *ret_regular)
{
    struct statx st;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &st) < 0)
        return -errno;
    *ret = identity_of(&st);
    *ret_size = st.stx_size;
    *ret_links = st.stx_nlink;
    *ret_regular = S_ISREG(st.stx_mode);
    return 0;
}

/* A regular file with one link (or none any more), opened for reading; > 0 TAIL_*, or a fault. */
static int open_safely(const struct folder *folder, const char *name, int *ret_fd,
                       struct identity *ret_identity, uint64_t *ret_size)
{
    /* O_PATH opens nothing: what a device does when it is opened does not happen */
    int path = folder_open(folder, name, O_PATH);
    if (path < 0)
        return path == -ENOENT || path == -ENOTDIR ? TAIL_GONE
               : path == -ELOOP || path == -EXDEV  ? TAIL_REFUSED
                                                   : path;
    uint32_t links = 0;
    bool regular = false;
    int r = identify(path, ret_identity, ret_size, &links, &regular);
    if (r == 0 && (!regular || links > 1))
        r = TAIL_REFUSED;
    int fd = -1;
    if (r == 0) {
        char proc[40];
        snprintf(proc, sizeof proc, "/proc/self/fd/%d", path);
        fd = open(proc, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        if (fd < 0)
            r = errno == ENOENT ? TAIL_GONE : -errno;
    }
    close(path);
    if (r != 0)
        return r;
    int generation = 0;
    if (ioctl(fd, FS_IOC_GETVERSION, &generation) == 0)
        ret_identity->generation = (uint32_t)generation;
    *ret_fd = fd;
    return 0;
}

static void lru_remove(struct fleet *fleet, struct file *f)
{
    *(f->lru_previous ? &f->lru_previous->lru_next : &fleet->lru_first) = f->lru_next;
    *(f->lru_next ? &f->lru_next->lru_previous : &fleet->lru_last) = f->lru_previous;
    f->lru_next = f->lru_previous = NULL;
}

static void lru_add(struct fleet *fleet, struct file *f)
{
    f->lru_previous = fleet->lru_last;
    f->lru_next = NULL;
    *(fleet->lru_last ? &fleet->lru_last->lru_next : &fleet->lru_first) = f;
    fleet->lru_last = f;
}

/* Makes room for one more: the first that can be had again by its name, and best one that is read to its end.
 */
static void close_oldest(struct fleet *fleet)
{
    struct file *victim = NULL;
    int looked = 0;
    for (struct file *f = fleet->lru_first; f && looked < 64; f = f->lru_next, looked++) {
        if (!f->name)
            continue;
        if (!victim)
            victim = f;
        if (!f->dirty) {
            victim = f;
            break;
        }
    }
    if (victim)
        tail_close(fleet, victim);
}

int tail_open(struct fleet *fleet, struct file *f)
{
    if (f->fd >= 0)
        return 0;
    if (!f->name)
        return TAIL_GONE;
    if (fleet->open_files >= fleet->open_files_max)
        close_oldest(fleet);
    int fd;
    struct identity identity;
    uint64_t size;
    int r = open_safely(f->log->folder, f->name, &fd, &identity, &size);
    if (r != 0)
        return r;
    const struct identity *had = &f->identity;
    if (had->inode &&
        (!is_same(had, &identity) || (had->generation && had->generation != identity.generation))) {
        close(fd);
        return TAIL_GONE;
    }
    fleet_file_identify(fleet, f, &identity);
    f->fd = fd;
    if (!f->gz)
        f->size = size;
    fleet->open_files++;
    lru_add(fleet, f);
    return 0;
}

void tail_close(struct fleet *fleet, struct file *f)
{
    gunzip_free(f->gunzip);
    f->gunzip = NULL;
    if (f->fd < 0)
        return;
    close(f->fd);
    f->fd = -1;
    lru_remove(fleet, f);
    fleet->open_files--;
}

void tail_key(struct sl_slice host, const struct identity *identity, uint8_t ret_key[16])
{
    uint8_t bytes[SL_HOST_MAX_BYTES + 28];
    struct sl_writer w = sl_writer(bytes, sizeof bytes);
    sl_write_u64(&w, identity->device);
    sl_write_u64(&w, identity->inode);
    sl_write_i64(&w, identity->birth_ns);
    sl_write_u32(&w, identity->generation);
    sl_write_slice(&w, host);
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(w.data, w.bytes));
    memcpy(ret_key, canonical.digest, 16);
}

bool tail_unchanged(void *arg, const struct folder *folder)
{
    (void)arg;
    const struct log *log = folder->logs;
    const struct file *f = log && !log->folder_next ? log->files : NULL;
    struct statx st;
    if (!f || f->next || f->phantom || f->gz || !f->name || strcmp(f->name, log->base) != 0 ||
        folder_statx(log->folder, f->name, &st) < 0)
        return false;
    struct identity now = identity_of(&st);
    return S_ISREG(st.stx_mode) && st.stx_nlink == 1 && st.stx_size == f->size && is_same(&f->identity, &now);
}

/* ---- reading ---- */

int tail_stat(const struct file *f, uint64_t *ret_size, bool *ret_linked)
{
    struct stat st;
    if (fstat(f->fd, &st) < 0)
        return -errno;
    *ret_size = (uint64_t)st.st_size;
    *ret_linked = st.st_nlink > 0;
    return 0;
}

ssize_t tail_read(struct fleet *fleet, struct file *f, uint64_t at, void *out, size_t bytes)
{
    if (f != fleet->lru_last) {
        lru_remove(fleet, f);
        lru_add(fleet, f);
    }
    if (f->gz) {
        if (!f->gunzip) {
            int r = gunzip_new(&f->gunzip);
            if (r < 0)
                return r;
        }
        return gunzip_read(f->gunzip, f->fd, at, out, bytes);
    }
    size_t done = 0;
    while (done < bytes) {
        ssize_t n = pread(f->fd, (uint8_t *)out + done, bytes - done, (off_t)(at + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

int tail_fingerprint(struct fleet *fleet, struct file *f, size_t bytes, uint64_t *ret)
{
    uint8_t first[SL_FINGERPRINT_MAX_BYTES];
    ssize_t n = tail_read(fleet, f, 0, first, bytes);
    if (n < 0)
        return n == -EBADMSG ? TAIL_GONE : (int)n;
    if ((size_t)n < bytes)
        return TAIL_GONE;
    *ret = XXH3_64bits(first, bytes);
    return 0;
}

ssize_t tail_read_beside(const struct folder *folder, const char *name, void *out, size_t capacity,
                         struct identity *ret_identity)
{
    int fd;
    uint64_t size;
    int r = open_safely(folder, name, &fd, ret_identity, &size);
    if (r != 0)
        return r > 0 ? -ENOENT : r;
    size_t done = 0;
    ssize_t n = 0;
    while (done < capacity && (n = read(fd, (uint8_t *)out + done, capacity - done)) > 0)
        done += (size_t)n;
    close(fd);
    if (n < 0)
        return -EIO;
    return done == capacity ? -EFBIG : (ssize_t)done;
}
