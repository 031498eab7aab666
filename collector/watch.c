// SPDX-License-Identifier: Apache-2.0
#include "watch.h"
#include "wire/timestamp.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>
#include <xxhash.h>

enum {
    READS_A_RUN = 256, /* more than a full queue of 16,384 events, so that it is empty after */
    SWEEPS_A_TICK = 512,
    NAMES_A_TICK = 256, /* of a listing: about 20 ms when each is a sandbox's folder that is new */
};
/* A folder that inotify watches is swept only against what inotify may lose; one that it does not watch is
   seen by the sweep alone. */
static const int64_t WATCHED_SWEEP_NS = INT64_C(10) * SL_NS_PER_S;
static const int64_t UNWATCHED_SWEEP_NS = INT64_C(500) * SL_NS_PER_MS;
/* Of so many sweeps of a watched folder one looks at itself, and not only at what is known in it. */
enum { FOLDER_EVERY = 6 };
/* Folders whose time comes one by one are swept together: waking for each costs as much as looking at it, and
   others on the machine have the caches meanwhile. */
static const int64_t WATCHED_TOGETHER_NS = INT64_C(50) * SL_NS_PER_MS;
static const int64_t UNWATCHED_TOGETHER_NS = INT64_C(20) * SL_NS_PER_MS;
static const int64_t ROOT_RETRY_NS = INT64_C(50) * SL_NS_PER_MS;
/* Two changes within one tick of the kernel's coarse clock have one mtime: within this time it proves
 * nothing. */
static const int64_t MTIME_TRUST_NS = INT64_C(2) * SL_NS_PER_S;

struct queue {
    struct folder *first;
    struct folder *last;
};

struct watch {
    struct watch_events events;
    struct root *roots;
    size_t root_count;
    struct table by_name;
    struct table by_wd;
    struct queue watched;
    struct queue unwatched;
    struct folder *listings; /* that are not at their end */
    struct watch_counts counts;
    int64_t roots_due_ns;
    uint64_t taken_bytes;   /* of events, from inotify */
    uint64_t handled_bytes; /* ... told */
    int fd;
};

/* `fresh`: it was met as just made. */
static void list_folder(struct watch *w, struct folder *f, bool fresh);
static void listing_end(struct watch *w, struct folder *f);

/* ---- queues: ordered by due_ns because each has one interval ---- */

static struct queue *queue_of(struct watch *w, const struct folder *f)
{
    return f->wd >= 0 ? &w->watched : &w->unwatched;
}

static void queue_remove(struct queue *q, struct folder *f)
{
    *(f->previous ? &f->previous->next : &q->first) = f->next;
    *(f->next ? &f->next->previous : &q->last) = f->previous;
    f->next = f->previous = NULL;
}

static void queue_add(struct watch *w, struct folder *f, int64_t now_ns)
{
    struct queue *q = queue_of(w, f);
    f->due_ns = now_ns + (f->wd >= 0 ? WATCHED_SWEEP_NS : UNWATCHED_SWEEP_NS);
    f->previous = q->last;
    f->next = NULL;
    *(q->last ? &q->last->next : &q->first) = f;
    q->last = f;
}

/* ---- folders ---- */

static uint64_t name_hash(const struct folder *parent, const void *name, size_t bytes)
{
    return XXH3_64bits_withSeed(name, bytes, (uint64_t)(uintptr_t)parent);
}

static bool is_last(const struct folder *f)
{
    return f->depth + 1u == f->root->pattern->depth;
}

static struct folder *find_child(struct watch *w, const struct folder *parent, const char *name, size_t bytes)
{
    struct table_node *n = table_find(&w->by_name, name_hash(parent, name, bytes));
    for (; n; n = table_again(n)) {
        struct folder *f = table_owner(n, struct folder, by_name);
        if (f->parent == parent && f->name_bytes == bytes && memcmp(f->name, name, bytes) == 0)
            return f;
    }
    return NULL;
}

static struct folder *folder_new(struct watch *w, struct root *root, struct folder *parent, const char *name,
                                 size_t bytes)
{
    struct folder *f = calloc(1, sizeof *f + bytes + 1);
    if (!f)
        return NULL;
    f->root = root;
    f->parent = parent;
    f->wd = -1;
    f->depth = parent ? (uint8_t)(parent->depth + 1) : 0;
    f->name_bytes = (uint8_t)bytes;
    memcpy(f->name, name, bytes);
    struct captures captures;
    f->sweeps = (uint8_t)w->counts.folders; /* not all in the same sweep */
    folder_captures(f, &captures);
    f->holds_sandbox = captures_get(&captures, "sandbox").data != NULL;
    if (parent) {
        parent->children++;
        table_add(&w->by_name, &f->by_name, name_hash(parent, name, bytes));
    }
    queue_add(w, f, sl_monotonic_ns());
    w->counts.folders++;
    return f;
}

static void set_wd(struct watch *w, struct folder *f, int wd)
{
    if (f->wd == wd)
        return;
    queue_remove(queue_of(w, f), f);
    if (f->wd >= 0) {
        table_remove(&w->by_wd, &f->by_wd);
        /* two patterns may watch one folder through one descriptor */
        bool shared = false;
        for (struct table_node *n = table_find(&w->by_wd, (uint64_t)f->wd); n; n = table_again(n))
            shared = true;
        if (!shared)
            inotify_rm_watch(w->fd, f->wd);
    }
    f->wd = wd;
    if (wd >= 0)
        table_add(&w->by_wd, &f->by_wd, (uint64_t)wd);
    queue_add(w, f, sl_monotonic_ns());
}

static void folder_free(struct watch *w, struct folder *f)
{
    listing_end(w, f);
    set_wd(w, f, -1);
    queue_remove(queue_of(w, f), f);
    if (f->parent) {
        table_remove(&w->by_name, &f->by_name);
        f->parent->children--;
    }
    w->counts.folders--;
    free(f);
}

void watch_release(struct watch *w, struct folder *f)
{
    while (f->parent && !f->here && f->children == 0 && !f->logs) {
        struct folder *parent = f->parent;
        folder_free(w, f);
        f = parent;
    }
}

/* The folder is not there any more, and so is nothing below it. May free it. */
static void folder_gone(struct watch *w, struct folder *f)
{
    if (!f->here)
        return;
    f->here = false;
    f->listed = false;
    listing_end(w, f);
    set_wd(w, f, -1);
    if (!f->parent) {
        if (f->root->fd >= 0)
            close(f->root->fd);
        f->root->fd = -1;
        w->roots_due_ns = 0;
    }
    if (is_last(f))
        w->events.look(w->events.arg, f, true);
    watch_release(w, f);
}

/* Something was made or removed in it since it was made itself. (Within one tick of the kernel's clock, 4 ms,
   that leaves no trace.) Asked after an empty listing: what was there before the watch and went before the
   listing has no event but that it went. */
static bool was_used(int fd)
{
    struct statx st;
    return statx(fd, "", AT_EMPTY_PATH, STATX_NLINK | STATX_MTIME | STATX_BTIME, &st) == 0 &&
           st.stx_mask & STATX_BTIME &&
           (st.stx_nlink == 0 || st.stx_mtime.tv_sec != st.stx_btime.tv_sec ||
            st.stx_mtime.tv_nsec != st.stx_btime.tv_nsec);
}

/* Whatever was made in it before was made at this time or before it, whatever clocks do: nobody sets a ctime.
 */
static int64_t changed_last_ns(int fd)
{
    struct statx st;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_TYPE | STATX_CTIME, &st) < 0)
        return INT64_MAX;
    return (int64_t)st.stx_ctime.tv_sec * SL_NS_PER_S + st.stx_ctime.tv_nsec;
}

/* Opens, watches and lists it. `fresh`: it was reported as just made. */
static void folder_enter(struct watch *w, struct folder *f, bool fresh)
{
    int fd = folder_open(f, NULL, O_RDONLY | O_DIRECTORY | O_NONBLOCK);
    if (fd < 0) {
        if (fd == -ENOENT && fresh && !f->listed && f->holds_sandbox)
            w->events.missed(w->events.arg, f);
        f->here = true;
        if (fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP)
            folder_gone(w, f);
        return;
    }
    f->here = true;
    char proc[40];
    snprintf(proc, sizeof proc, "/proc/self/fd/%d", fd);
    uint32_t mask =
        IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;
    int wd = inotify_add_watch(w->fd, proc, is_last(f) ? mask | IN_MODIFY : mask);
    if (wd != f->wd)
        f->watched_ns = changed_last_ns(fd);
    set_wd(w, f, wd);
    close(fd);
    list_folder(w, f, fresh);
}

static void child_seen(struct watch *w, struct folder *f, const char *name, bool fresh)
{
    struct captures captures;
    size_t bytes = strlen(name);
    folder_captures(f, &captures);
    if (!pattern_match(f->root->pattern->components[f->depth], sl_slice(name, bytes), &captures))
        return;
    struct folder *child = find_child(w, f, name, bytes);
    if (child && child->here && child->listed && !fresh)
        return;
    if (child && child->here && fresh)
        folder_gone(w, child); /* another one of the same name */
    child = find_child(w, f, name, bytes);
    if (!child)
        child = folder_new(w, f->root, f, name, bytes);
    if (child)
        folder_enter(w, child, fresh);
}

static void listing_end(struct watch *w, struct folder *f)
{
    struct folder **at = &w->listings;
    if (!f->listing)
        return;
    while (*at != f)
        at = &(*at)->listing_next;
    *at = f->listing_next;
    closedir(f->listing);
    f->listing = NULL;
}

/* Still: what has come since the listing has its event. */
static bool is_empty(DIR *dir)
{
    const struct dirent *e;
    rewinddir(dir);
    while ((e = readdir(dir)))
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            return false;
    return true;
}

/* The next names. What is left is for watch_tick(): a large folder must not keep the others waiting. */
static void list_some(struct watch *w, struct folder *f, DIR *dir, bool fresh)
{
    bool last = is_last(f), empty = true;
    struct dirent *e = NULL;
    for (int i = 0; i < NAMES_A_TICK && (e = readdir(dir)); i++) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        empty = false;
        if (last && e->d_type != DT_DIR)
            w->events.name(w->events.arg, f, e->d_name, NEWS_THERE, 0);
        else if (!last && (e->d_type == DT_DIR || e->d_type == DT_UNKNOWN))
            child_seen(w, f, e->d_name, false);
    }
    if (e && !f->listing) {
        f->listing = dir;
        f->listing_next = w->listings;
        w->listings = f;
    }
    if (e)
        return;
    bool missed =
        fresh && empty && last && f->holds_sandbox && !f->logs && was_used(dirfd(dir)) && is_empty(dir);
    if (f->listing)
        listing_end(w, f);
    else
        closedir(dir);
    if (missed)
        w->events.missed(w->events.arg, f);
    if (last)
        w->events.look(w->events.arg, f, true);
}

static void list_folder(struct watch *w, struct folder *f, bool fresh)
{
    listing_end(w, f);
    int fd = folder_open(f, NULL, O_RDONLY | O_DIRECTORY | O_NONBLOCK);
    struct stat st;
    DIR *dir = NULL;
    if (fd < 0 || fstat(fd, &st) < 0 || !(dir = fdopendir(fd))) {
        if (fd >= 0)
            close(fd);
        /* with it go the events that its watch has had since */
        if (fd == -ENOENT && fresh && f->holds_sandbox)
            w->events.missed(w->events.arg, f);
        if (fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP)
            folder_gone(w, f);
        return;
    }
    int64_t mtime_ns = (int64_t)st.st_mtim.tv_sec * SL_NS_PER_S + st.st_mtim.tv_nsec;
    f->ino = st.st_ino;
    f->tells = f->root->tells && st.st_dev == f->root->device;
    f->changed_ns = sl_now_ns() - mtime_ns > MTIME_TRUST_NS ? mtime_ns : 0;
    f->listed = true;
    list_some(w, f, dir, fresh);
}

/* ---- inotify ---- */

static void event_in(struct watch *w, struct folder *f, const struct inotify_event *e)
{
    if (e->mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT | IN_IGNORED)) {
        folder_gone(w, f);
        return;
    }
    if (e->len == 0)
        return;
    if (is_last(f)) {
        if (!(e->mask & IN_ISDIR))
            w->events.name(w->events.arg, f, e->name,
                           e->mask & IN_MODIFY     ? NEWS_WRITTEN
                           : e->mask & IN_CREATE   ? NEWS_CREATED
                           : e->mask & IN_MOVED_TO ? NEWS_RENAMED
                                                   : NEWS_WENT,
                           e->cookie);
        return;
    }
    if (!(e->mask & IN_ISDIR))
        return;
    if (e->mask & (IN_CREATE | IN_MOVED_TO)) {
        child_seen(w, f, e->name, true);
    } else {
        struct folder *child = find_child(w, f, e->name, strlen(e->name));
        if (child)
            folder_gone(w, child);
    }
}

static void overflow(struct watch *w)
{
    w->counts.overflows++;
    for (struct folder *f = w->watched.first; f; f = f->next) {
        f->due_ns = 0;
        f->changed_ns = 0;
        f->watched_ns = INT64_MAX;
        f->listed_at = 0;
    }
    w->events.lost(w->events.arg);
}

bool watch_run(struct watch *w)
{
    _Alignas(struct inotify_event) char buffer[16 << 10];
    bool again = false;
    for (int i = 0; i < READS_A_RUN; i++) {
        ssize_t bytes = read(w->fd, buffer, sizeof buffer);
        if (bytes <= 0) {
            if (!w->events.told(w->events.arg, true) || again)
                return false;
            again = true;
            continue;
        }
        const struct inotify_event *e;
        w->taken_bytes += (uint64_t)bytes;
        for (const char *at = buffer; at < buffer + bytes; at += sizeof *e + e->len) {
            e = (const struct inotify_event *)(const void *)at;
            w->handled_bytes += sizeof *e + e->len;
            if (e->mask & IN_Q_OVERFLOW) {
                overflow(w);
                continue;
            }
            /* Handling may free folders and so change the chain: collect first. At most one per pattern. */
            struct folder *found[16];
            size_t count = 0;
            for (struct table_node *n = table_find(&w->by_wd, (uint64_t)e->wd); n && count < 16;
                 n = table_again(n))
                found[count++] = table_owner(n, struct folder, by_wd);
            for (size_t k = 0; k < count; k++)
                event_in(w, found[k], e);
        }
    }
    w->events.told(w->events.arg, false);
    return true;
}

/* ---- sweep ---- */

/*
 * The price of a sweep is its statx(2), most of it cache misses in the kernel: one for the file by its path,
 * which leads through the folder, and one for the folder. The latter shows names that came or went, and so
 * what inotify has told where it tells of all of them. Not if it was changed just before it was listed.
 */
static bool folder_told(struct folder *f)
{
    f->sweeps++;
    return f->tells && f->wd >= 0 && f->changed_ns != 0 && f->sweeps % FOLDER_EVERY != 0;
}

static void sweep_folder(struct watch *w, struct folder *f)
{
    struct statx st;
    w->counts.sweeps++;
    if (!f->here)
        return;
    bool unchanged = is_last(f) && f->listed && w->events.unchanged(w->events.arg, f);
    if (folder_told(f) && unchanged)
        return;
    int fault = folder_statx(f, NULL, &st);
    if (fault == -ENOENT || fault == -ENOTDIR)
        folder_gone(w, f);
    if (fault < 0)
        return;
    int64_t mtime_ns = (int64_t)st.stx_mtime.tv_sec * SL_NS_PER_S + st.stx_mtime.tv_nsec;
    if (f->listing)
        return; /* under way */
    if (!f->listed || st.stx_ino != f->ino || (f->wd < 0 && mtime_ns != f->changed_ns))
        folder_enter(w, f, false);
    else if (mtime_ns != f->changed_ns)
        list_folder(w, f, false);
    else if (is_last(f) && !unchanged)
        w->events.look(w->events.arg, f, false);
}

/*
 * Names change on this machine alone, through this mount or another one of the same file system, and each
 * change is told. On network file systems, FUSE and overlays they may also change from elsewhere.
 */
static bool tells_all(int fd, dev_t *ret_device)
{
    static const unsigned local[] = {EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC, TMPFS_MAGIC};
    struct statfs fs;
    struct stat st;
    if (fstatfs(fd, &fs) < 0 || fstat(fd, &st) < 0)
        return false;
    *ret_device = st.st_dev;
    for (size_t i = 0; i < sizeof local / sizeof local[0]; i++)
        if ((unsigned)fs.f_type == local[i])
            return true;
    return false;
}

/* A root that appears, or that was replaced by another of the same path. */
static void look_for_roots(struct watch *w)
{
    for (size_t i = 0; i < w->root_count; i++) {
        struct root *root = &w->roots[i];
        struct stat now, held;
        if (root->fd >= 0) {
            if (stat(root->pattern->root, &now) == 0 && fstat(root->fd, &held) == 0 &&
                now.st_ino == held.st_ino && now.st_dev == held.st_dev)
                continue;
            folder_gone(w, root->folder);
        }
        root->fd = open(root->pattern->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK);
        root->tells = root->fd >= 0 && tells_all(root->fd, &root->device);
        if (root->fd >= 0)
            folder_enter(w, root->folder, false);
    }
}

/* Returns when to go on. */
static int64_t sweep_queue(struct watch *w, struct queue *q, int64_t now_ns)
{
    for (int i = 0; i < SWEEPS_A_TICK && q->first && q->first->due_ns <= now_ns; i++) {
        struct folder *f = q->first;
        queue_remove(q, f);
        queue_add(w, f, now_ns);
        sweep_folder(w, f);
    }
    if (!q->first)
        return INT64_MAX;
    int64_t together_ns = now_ns + (q == &w->watched ? WATCHED_TOGETHER_NS : UNWATCHED_TOGETHER_NS);
    if (q->first->due_ns <= now_ns)
        return now_ns;
    return q->first->due_ns > together_ns ? q->first->due_ns : together_ns;
}

int64_t watch_tick(struct watch *w, int64_t now_ns)
{
    if (w->roots_due_ns <= now_ns) {
        w->roots_due_ns = now_ns + ROOT_RETRY_NS;
        look_for_roots(w);
    }
    if (w->listings)
        list_some(w, w->listings, w->listings->listing, false);
    int64_t watched_ns = sweep_queue(w, &w->watched, now_ns);
    int64_t unwatched_ns = sweep_queue(w, &w->unwatched, now_ns);
    int64_t due_ns = watched_ns < unwatched_ns ? watched_ns : unwatched_ns;
    if (w->listings)
        return now_ns;
    return w->roots_due_ns < due_ns ? w->roots_due_ns : due_ns;
}

bool watch_listed(const struct watch *w)
{
    for (size_t i = 0; i < w->root_count; i++)
        if (w->roots[i].folder && !w->roots[i].folder->listed)
            return false;
    return !w->listings;
}

bool watch_complete(const struct watch *w)
{
    for (size_t i = 0; i < w->root_count; i++)
        if (w->roots[i].fd < 0 || !w->roots[i].folder)
            return false;
    return watch_listed(w);
}

void watch_counts(const struct watch *w, struct watch_counts *ret)
{
    *ret = w->counts;
    ret->unwatched = 0;
    for (const struct folder *f = w->unwatched.first; f; f = f->next)
        ret->unwatched += f->here;
}

int watch_fd(const struct watch *w)
{
    return w->fd;
}

uint64_t watch_handled(const struct watch *w)
{
    return w->handled_bytes;
}

uint64_t watch_happened(const struct watch *w)
{
    int waiting = 0;
    return ioctl(w->fd, FIONREAD, &waiting) < 0 ? UINT64_MAX : w->taken_bytes + (uint64_t)waiting;
}

int watch_new(const struct pattern *patterns, size_t count, const struct watch_events *events,
              struct watch **ret)
{
    struct watch *w = calloc(1, sizeof *w);
    if (!w)
        return -ENOMEM;
    w->events = *events;
    w->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    int fault = w->fd < 0 ? -errno : 0;
    w->roots = calloc(count + 1, sizeof *w->roots);
    if (!fault && (!w->roots || table_init(&w->by_name) < 0 || table_init(&w->by_wd) < 0))
        fault = -ENOMEM;
    for (size_t i = 0; !fault && i < count; i++) {
        struct root *root = &w->roots[w->root_count++];
        root->pattern = &patterns[i];
        root->fd = -1;
        root->folder = folder_new(w, root, NULL, "", 0);
        if (!root->folder)
            fault = -ENOMEM;
    }
    if (fault) {
        watch_free(w);
        return fault;
    }
    *ret = w;
    return 0;
}

void watch_free(struct watch *w)
{
    if (!w)
        return;
    struct queue *queues[] = {&w->watched, &w->unwatched};
    for (size_t i = 0; i < 2; i++) {
        for (struct folder *f = queues[i]->first, *next; f; f = next) {
            next = f->next;
            if (f->listing)
                closedir(f->listing);
            free(f);
        }
    }
    for (size_t i = 0; w->roots && i < w->root_count; i++)
        if (w->roots[i].fd >= 0)
            close(w->roots[i].fd);
    free(w->roots);
    table_fini(&w->by_name);
    table_fini(&w->by_wd);
    if (w->fd >= 0)
        close(w->fd);
    free(w);
}
