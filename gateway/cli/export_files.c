// SPDX-License-Identifier: Apache-2.0
#include "export_files.h"
#include "export_part.h"
#include "say.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define uthash_nonfatal_oom(elt) ((elt)->hashed = false)
#define HASH_NONFATAL_OOM        1
#include <uthash.h>

enum { OPEN_PARTS = 8 }; /* some 0.5 MiB of buffers each */

static const char owner_name[] = ".sandlog-export";
/* The place where the files end: an acknowledgement that a server has forgotten. */
static const char noted_name[] = ".sandlog-export-place", noted_temporary[] = ".sandlog-export-place.tmp";

/* That a file has told of a sandbox, and which word. */
struct told {
    uint64_t number;
    bool hashed;
    UT_hash_handle hh;
    uint8_t sandbox[];
};

struct hour {
    struct export_part *part;
    struct told *told;
    uint64_t used; /* when: the least is put aside first */
};

struct files {
    struct sink sink;
    char *dir;
    int root_fd, owner_fd;
    struct {
        char text[EXPORT_CHECKPOINT_MAX_BYTES];
        size_t bytes;
    } place, noted;
    struct hour *hours;
    size_t hour_count, open_count;
    uint64_t uses;
    bool look_for_stale;
    char last_folder[EXPORT_FOLDER_BYTES];
};

static struct files *files_of(struct sink *sink)
{
    return (struct files *)sink;
}

/* ---- what earlier attempts left ---- */

/* NULL: errno says why. */
static DIR *open_folder(int at, const char *name)
{
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);
    if (!folder && fd >= 0)
        close(fd);
    return folder;
}

/* Calls `each` for all that lies in the hours' folders. -errno. */
static int for_each_file(struct files *f,
                         int (*each)(struct files *f, int hour_fd, const char *folder, const char *name))
{
    int r = 0;
    DIR *root = open_folder(f->root_fd, ".");
    if (!root)
        return -errno;
    for (const struct dirent *d; r == 0 && (d = readdir(root));) {
        if (!export_is_date(d->d_name))
            continue;
        DIR *date = open_folder(dirfd(root), d->d_name);
        if (!date)
            continue; /* not a folder */
        for (const struct dirent *h; r == 0 && (h = readdir(date));) {
            if (!export_is_hour(h->d_name))
                continue;
            DIR *hour = open_folder(dirfd(date), h->d_name);
            if (!hour)
                continue;
            char folder[EXPORT_FOLDER_BYTES];
            snprintf(folder, sizeof folder, "%.15s/%.7s", d->d_name, h->d_name);
            for (const struct dirent *file; r == 0 && (file = readdir(hour));)
                r = each(f, dirfd(hour), folder, file->d_name);
            closedir(hour);
        }
        closedir(date);
    }
    closedir(root);
    return r;
}

static int remove_temporary(struct files *f, int hour_fd, const char *folder, const char *name)
{
    (void)f, (void)folder;
    return export_is_temporary(name) && unlinkat(hour_fd, name, 0) < 0 && errno != ENOENT ? -errno : 0;
}

/* A file of this place in an hour that this attempt has no line of. */
static int remove_stale(struct files *f, int hour_fd, const char *folder, const char *name)
{
    char wanted[EXPORT_NAME_BYTES];
    export_name_render(sl_slice(f->place.text, f->place.bytes), wanted);
    if (strcmp(name, wanted) != 0)
        return 0;
    for (size_t i = 0; i < f->hour_count; i++)
        if (strcmp(export_part_folder(f->hours[i].part), folder) == 0)
            return 0;
    if (unlinkat(hour_fd, name, 0) < 0 && errno != ENOENT)
        return -errno;
    return fsync(hour_fd) < 0 ? -errno : 0;
}

/* ---- batches ---- */

static void hour_fini(struct hour *hour)
{
    struct told *told, *next;
    HASH_ITER(hh, hour->told, told, next)
    {
        HASH_DEL(hour->told, told);
        free(told);
    }
    export_part_free(hour->part);
}

static void forget_hours(struct files *f)
{
    for (size_t i = 0; i < f->hour_count; i++)
        hour_fini(&f->hours[i]);
    f->hour_count = f->open_count = 0;
}

static int fault(struct files *f, int error)
{
    f->look_for_stale = true;
    retry_say(f->sink.retry, "cannot write to %s: %s; what is not written is not acknowledged", f->dir,
              say_errno(-error));
    return SINK_AGAIN;
}

static int files_begin(struct sink *sink, struct sl_slice place, bool again)
{
    struct files *f = files_of(sink);
    memcpy(f->place.text, place.data, place.bytes);
    f->place.bytes = place.bytes;
    f->look_for_stale = f->look_for_stale || again;
    return SINK_OK;
}

static int put_aside_one(struct files *f)
{
    struct hour *oldest = NULL;
    for (size_t i = 0; i < f->hour_count; i++) {
        struct hour *h = &f->hours[i];
        if (export_part_open(h->part) && (!oldest || h->used < oldest->used))
            oldest = h;
    }
    f->open_count--;
    return export_part_settle(oldest->part);
}

/* The hour's file, open, or soon. -errno. */
static int hour_of(struct files *f, const char *folder, struct hour **ret)
{
    struct hour *hour = NULL;
    for (size_t i = f->hour_count; i-- > 0 && !hour;) /* the last one most times */
        if (strcmp(export_part_folder(f->hours[i].part), folder) == 0)
            hour = &f->hours[i];
    if (!hour || !export_part_open(hour->part)) {
        int r = f->open_count == OPEN_PARTS ? put_aside_one(f) : 0;
        if (r < 0)
            return r;
    }
    if (!hour) {
        struct hour *grown = realloc(f->hours, (f->hour_count + 1) * sizeof *grown);
        if (!grown)
            return -ENOMEM;
        f->hours = grown;
        hour = &grown[f->hour_count];
        *hour = (struct hour){0};
        int r = export_part_new(f->root_fd, folder, sl_slice(f->place.text, f->place.bytes), &hour->part);
        if (r < 0)
            return r;
        f->hour_count++;
        f->open_count++;
    } else if (!export_part_open(hour->part)) {
        f->open_count++; /* add opens it */
    }
    hour->used = ++f->uses;
    *ret = hour;
    return 0;
}

static int add_object(struct hour *hour, struct sl_slice json)
{
    int r = export_part_add(hour->part, json);
    return r == 0 ? export_part_add(hour->part, sl_slice_of("\n")) : r;
}

/* The file tells of the sandbox, if it has not yet. -errno. */
static int tell(struct hour *hour, const struct export_life *life)
{
    struct told *told;
    HASH_FIND(hh, hour->told, life->sandbox.data, life->sandbox.bytes, told);
    if (told && told->number == life->number)
        return 0;
    if (!told) {
        told = malloc(sizeof *told + life->sandbox.bytes);
        if (!told)
            return -ENOMEM;
        told->hashed = true;
        memcpy(told->sandbox, life->sandbox.data, life->sandbox.bytes);
        HASH_ADD(hh, hour->told, sandbox, life->sandbox.bytes, told);
        if (!told->hashed) {
            free(told);
            return -ENOMEM;
        }
    }
    told->number = life->number;
    return add_object(hour, life->json);
}

static int files_add(struct sink *sink, const struct export_item *item, const struct export_life *life)
{
    struct files *f = files_of(sink);
    /* a gap has no time: it goes where the line before it went */
    if (item->kind == EXPORT_LINE)
        export_folder_render(item->time_ns, f->last_folder);
    else if (!f->last_folder[0])
        export_folder_render(sl_now_ns(), f->last_folder);
    struct hour *hour;
    int r = hour_of(f, f->last_folder, &hour);
    if (r == 0 && life)
        r = tell(hour, life);
    if (r == 0)
        r = add_object(hour, item->json);
    return r < 0 ? fault(f, r) : SINK_OK;
}

static int files_commit(struct sink *sink)
{
    struct files *f = files_of(sink);
    int r = 0;
    for (size_t i = 0; r == 0 && i < f->hour_count; i++)
        r = export_part_settle(f->hours[i].part);
    f->open_count = 0;
    if (r == 0 && f->look_for_stale)
        r = for_each_file(f, remove_stale);
    for (size_t i = 0; r == 0 && i < f->hour_count; i++)
        r = export_part_publish(f->hours[i].part);
    if (r < 0)
        return fault(f, r);
    forget_hours(f);
    f->look_for_stale = false;
    return SINK_OK;
}

static int write_noted(struct files *f, struct sl_slice place)
{
    int fd = openat(f->root_fd, noted_temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (fd < 0)
        return -errno;
    char text[EXPORT_CHECKPOINT_MAX_BYTES + 1];
    memcpy(text, place.data, place.bytes);
    text[place.bytes] = '\n';
    errno = ENOSPC; /* of a write that was cut short */
    int r = write(fd, text, place.bytes + 1) != (ssize_t)(place.bytes + 1) || fsync(fd) < 0 ? -errno : 0;
    close(fd);
    if (r == 0 &&
        (renameat(f->root_fd, noted_temporary, f->root_fd, noted_name) < 0 || fsync(f->root_fd) < 0))
        r = -errno;
    return r;
}

static int files_note(struct sink *sink, struct sl_slice place)
{
    struct files *f = files_of(sink);
    int r = write_noted(f, place);
    if (r < 0)
        return fault(f, r);
    memcpy(f->noted.text, place.data, place.bytes);
    f->noted.bytes = place.bytes;
    return SINK_OK;
}

static struct sl_slice files_noted(struct sink *sink)
{
    const struct files *f = files_of(sink);
    return sl_slice(f->noted.text, f->noted.bytes);
}

static void files_drop(struct sink *sink)
{
    struct files *f = files_of(sink);
    for (size_t i = 0; i < f->hour_count; i++)
        export_part_remove(f->hours[i].part);
    forget_hours(f);
    f->last_folder[0] = '\0';
}

static void files_free(struct sink *sink)
{
    struct files *f = files_of(sink);
    files_drop(sink);
    free(f->hours);
    if (f->owner_fd >= 0)
        close(f->owner_fd);
    if (f->root_fd >= 0)
        close(f->root_fd);
    free(f->dir);
    free(f);
}

static const struct sink_kind kind = {
    .limits = {.batch_bytes = 64 << 20, .batch_ns = 60 * SL_NS_PER_S},
    .begin = files_begin,
    .add = files_add,
    .commit = files_commit,
    .note = files_note,
    .noted = files_noted,
    .drop = files_drop,
    .free = files_free,
};

/* ---- whose folder it is ---- */

/* SINK_NEVER: why was said. */
static int own(struct files *f, const char *consumer)
{
    char text[EXPORT_CHECKPOINT_MAX_BYTES + 2];
    f->owner_fd = openat(f->root_fd, owner_name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    ssize_t n = -1;
    if (f->owner_fd >= 0 && flock(f->owner_fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno == EWOULDBLOCK)
            say("%s: another sandlog export writes there", f->dir);
        else
            say("%s/%s: %s", f->dir, owner_name, say_errno(errno));
        return SINK_NEVER;
    }
    if (f->owner_fd >= 0)
        n = read(f->owner_fd, text, sizeof text);
    if (n < 0) {
        say("%s/%s: %s", f->dir, owner_name, say_errno(errno));
        return SINK_NEVER;
    }
    size_t bytes = (size_t)n;
    while (bytes > 0 && text[bytes - 1] == '\n')
        bytes--;
    if (bytes > 0 && !sl_slice_equal(sl_slice(text, bytes), sl_slice_of(consumer))) {
        say("%s is the folder of the consumer %.*s: two in one would double every line", f->dir, (int)bytes,
            text);
        return SINK_NEVER;
    }
    if (bytes == 0) {
        n = snprintf(text, sizeof text, "%s\n", consumer);
        if (pwrite(f->owner_fd, text, (size_t)n, 0) != n || fsync(f->owner_fd) < 0) {
            say("cannot write to %s: %s", f->dir, say_errno(errno));
            return SINK_NEVER;
        }
    }
    return SINK_OK;
}

/* What is no place is as good as none. */
static void read_noted(struct files *f)
{
    char text[EXPORT_CHECKPOINT_MAX_BYTES + 2];
    int fd = openat(f->root_fd, noted_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text);
    if (fd >= 0)
        close(fd);
    struct sl_slice place = export_word_decode(sl_slice(text, n > 0 ? (size_t)n : 0));
    if (place.bytes > 0)
        memcpy(f->noted.text, place.data, place.bytes);
    f->noted.bytes = place.bytes;
}

int export_files_new(const char *dir, const char *consumer, struct retry *retry, struct sink **ret)
{
    struct files *f = calloc(1, sizeof *f);
    if (!f || !(f->dir = strdup(dir))) {
        free(f);
        say("%s", say_errno(ENOMEM));
        return SINK_NEVER;
    }
    f->sink = (struct sink){.kind = &kind, .retry = retry};
    f->owner_fd = -1;
    f->root_fd = mkdir(dir, 0777) < 0 && errno != EEXIST ? -1 : open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (f->root_fd < 0) {
        say("%s: %s", dir, say_errno(errno));
        files_free(&f->sink);
        return SINK_NEVER;
    }
    int r = own(f, consumer);
    read_noted(f);
    /* its own name too has to be on the disk before anything in it is acknowledged */
    int parent_fd = openat(f->root_fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (parent_fd >= 0) {
        fsync(parent_fd);
        close(parent_fd);
    }
    if (r == SINK_OK && (r = for_each_file(f, remove_temporary)) < 0) {
        say("%s: %s", dir, say_errno(-r));
        r = SINK_NEVER;
    }
    if (r != SINK_OK) {
        files_free(&f->sink);
        return SINK_NEVER;
    }
    *ret = &f->sink;
    return SINK_OK;
}
