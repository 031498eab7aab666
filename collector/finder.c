// SPDX-License-Identifier: Apache-2.0
/* Names become files: which log a name belongs to, which file it is, and which files have lost theirs. */
#include "collector.h"
#include "rotated.h"
#include "wire/diagnostics.h"
#include "wire/timestamp.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/stat.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <xxhash.h>

enum { PATH_SHOWN_BYTES = 1024 };
static const int64_t NAMELESS_GRACE_NS = SL_NS_PER_S;

static void say(enum sl_level level, const char *event, const struct folder *folder, const char *name,
                const char *why)
{
    char path[PATH_SHOWN_BYTES], shown[PATH_SHOWN_BYTES];
    folder_path(folder, name, path, sizeof path);
    sl_log(level, event, "path=%s why=\"%s\"", sl_log_value(sl_slice_of(path), shown, sizeof shown), why);
}

/* ---- logs ---- */

/* A container's name is shown and asked for, not trusted: what it may not hold becomes `_`. */
static struct sl_slice container_name(struct sl_slice captured, char out[SL_ID_MAX_BYTES])
{
    size_t bytes = captured.bytes < SL_ID_MAX_BYTES ? captured.bytes : SL_ID_MAX_BYTES;
    for (size_t i = 0; i < bytes; i++)
        out[i] = sl_container_valid(sl_slice(captured.data + i, 1)) || captured.data[i] == '.'
                     ? (char)captured.data[i]
                     : '_';
    if (!sl_container_valid(sl_slice(out, bytes)))
        bytes = 0;
    return sl_slice(out, bytes);
}

static bool match_base(const struct folder *folder, const char *base, size_t bytes, struct captures *ret)
{
    const struct pattern *p = folder->root->pattern;
    folder_captures(folder, ret);
    return bytes <= UINT8_MAX && pattern_match(p->components[folder->depth], sl_slice(base, bytes), ret);
}

static struct log *new_log(struct collector *c, struct folder *folder, const char *base, size_t bytes,
                           const struct captures *captures)
{
    struct sl_slice id = captures_get(captures, "sandbox");
    if (!sl_sandbox_id_valid(id)) {
        /* said once for a name: it is met again only in another listing */
        sl_count(&c->counts.ids_invalid, 1);
        say(SL_WARNING, "file.skipped", folder, base, "what {sandbox} captures is not a valid sandbox id");
        return NULL;
    }
    char name[SL_ID_MAX_BYTES];
    struct sandbox *s = fleet_sandbox(&c->fleet, id);
    struct log *log = s ? fleet_log_new(&c->fleet, s, folder, base, bytes,
                                        container_name(captures_get(captures, "container"), name))
                        : NULL;
    if (log)
        log->chain_lost = !s->synced_once || !watch_listed(c->watch);
    return log;
}

/* The log a name belongs to, by its base: made when there is none. NULL: none of ours. */
static struct log *log_of(struct collector *c, struct folder *folder, const char *name, enum news news)
{
    size_t bytes = strlen(name);
    struct log *log = fleet_find_log(&c->fleet, folder, name, bytes);
    struct sl_slice base;
    struct captures captures;
    if (log)
        return log;
    if (rotated_name(sl_slice(name, bytes), &base)) {
        log = fleet_find_log(&c->fleet, folder, (const char *)base.data, base.bytes);
        if (log)
            return log;
    } else {
        base.bytes = 0;
    }
    if (news == NEWS_WENT || news == NEWS_WRITTEN)
        return NULL;
    if (match_base(folder, name, bytes, &captures)) {
        /* `{sandbox}` matches `web` and `web.1`: the latter belongs to the former if that is there */
        struct statx st;
        char other[256];
        if (base.bytes > 0 && base.bytes < sizeof other) {
            struct captures of_base;
            memcpy(other, name, base.bytes);
            other[base.bytes] = 0;
            if (match_base(folder, other, base.bytes, &of_base) && folder_statx(folder, other, &st) == 0)
                return new_log(c, folder, other, base.bytes, &of_base);
        }
        return new_log(c, folder, name, bytes, &captures);
    }
    if (base.bytes > 0 && match_base(folder, name, base.bytes, &captures))
        return new_log(c, folder, name, base.bytes, &captures);
    return NULL;
}

/* ---- files ---- */

void finder_nameless(struct collector *c, struct file *f)
{
    fleet_file_rename(&c->fleet, f, NULL);
    f->nameless_ns = sl_monotonic_ns();
    turns_touch(c, f);
    turns_later(c, f->log->sandbox, NAMELESS_GRACE_NS);
}

/* Once each time that it had the log's name, under whatever name or none it is met after. */
static void rotated(struct collector *c, struct file *f)
{
    sl_count(&c->counts.rotations, f->had_base);
    f->had_base = false;
}

static void rename_file(struct collector *c, struct file *f, const char *name)
{
    if (!fleet_file_rename(&c->fleet, f, name))
        return;
    if (strcmp(name, f->log->base) == 0)
        f->had_base = true;
    else
        rotated(c, f);
    f->nameless_ns = 0;
    f->sure = watch_handled(c->watch) == watch_happened(c->watch);
}

/*
 * Where a new file stands: before the first one that is newer, by name. One that has lost its name for the
 * moment, in the middle of a chain of renames, is compared by birth.
 */
static struct file *successor(const struct log *log, const char *name, bool gz, int64_t birth_ns)
{
    struct sl_slice base = sl_slice(log->base, log->base_bytes);
    for (struct file *f = log->files; f; f = f->next)
        if (f->name ? rotated_compare(base, sl_slice_of(name), sl_slice_of(f->name)) < 0
                    : !f->phantom && !f->gz && !gz && birth_ns != 0 && birth_ns < f->identity.birth_ns)
            return f;
    return NULL;
}

/* Stands before `before`; NULL: behind all. */
static struct file *phantom(struct collector *c, struct log *log, struct file *before, const char *name)
{
    struct file *f = fleet_file_new(&c->fleet, log, before, name);
    static uint64_t count;
    if (!f)
        return NULL;
    char path[PATH_SHOWN_BYTES];
    uint64_t salt[2] = {(uint64_t)sl_now_ns(), ++count};
    folder_path(log->folder, name, path, sizeof path);
    XXH128_canonical_t key;
    XXH128_canonicalFromHash(&key, XXH3_128bits_withSeed(path, strlen(path), XXH3_64bits(salt, sizeof salt)));
    memcpy(f->source.key, key.digest, 16);
    f->source.incarnation = 1;
    fleet_file_rename(&c->fleet, f, NULL);
    f->phantom = true;
    f->state = FILE_READING;
    say(SL_WARNING, "file.missed", log->folder, name, "it was gone before it could be opened");
    fleet_ready(&c->fleet, log->sandbox);
    return f;
}

struct file *finder_phantom(struct collector *c, struct log *log, struct file *before)
{
    struct file *last = NULL;
    for (struct file *f = log->files; f != before; f = f->next)
        last = f;
    return last && last->phantom && !last->closing ? last : phantom(c, log, before, log->base);
}

static void refuse(struct collector *c, struct log *log, const char *name)
{
    if (log->refused_said)
        return;
    log->refused_said = true;
    sl_count(&c->counts.files_refused, 1);
    say(SL_WARNING, "file.refused", log->folder, name,
        "it is not a regular file with one link below the watched root");
}

static int64_t birth_of(const struct statx *st)
{
    return st->stx_mask & STATX_BTIME ? (int64_t)st->stx_btime.tv_sec * SL_NS_PER_S + st->stx_btime.tv_nsec
                                      : 0;
}

/* But for the generation, which only an open file tells. */
static struct identity identity_of(const struct statx *st)
{
    return (struct identity){.device = (uint64_t)st->stx_dev_major << 32 | st->stx_dev_minor,
                             .inode = st->stx_ino,
                             .birth_ns = birth_of(st)};
}

/* It came after its folder was watched. While the first listing was under way, births tell; later clocks may
 * have been set, but then all that was there before is met. */
static bool is_newcomer(const struct collector *c, const struct folder *folder, int64_t birth_ns)
{
    return folder->wd >= 0 && ((folder->listed_at > 0 && c->drains >= folder->listed_at) || birth_ns == 0 ||
                               birth_ns > folder->watched_ns);
}

/* False: it is gone by now. */
static bool new_file(struct collector *c, struct log *log, const char *name, const struct statx *st)
{
    int64_t birth_ns = birth_of(st);
    bool gz = strcmp(name, log->base) != 0 && rotated_is_gz(sl_slice_of(name));
    uint64_t from = watch_happened(c->watch);
    struct file *f = fleet_file_new(&c->fleet, log, successor(log, name, gz, birth_ns), name);
    if (!f)
        return true;
    f->gz = gz;
    f->grown_ns = sl_monotonic_ns();
    int r = tail_open(&c->fleet, f);
    if (r == TAIL_GONE || r == TAIL_REFUSED) {
        fleet_file_free(&c->fleet, f);
        if (r == TAIL_REFUSED)
            refuse(c, log, name);
        return r == TAIL_REFUSED;
    }
    if (r < 0) {
        /* so that it is known when it is met again */
        const struct identity identity = identity_of(st);
        fleet_file_identify(&c->fleet, f, &identity);
        say(SL_WARNING, "file.unreadable", log->folder, name, strerror(-r));
    }
    f->had_base = strcmp(name, log->base) == 0;
    arrivals_met(c, f, from, is_newcomer(c, log->folder, birth_ns));
    struct sandbox *s = log->sandbox;
    if (s->end == END_SAID)
        s->end = END_NONE;
    log->wait_until_ns = 0; /* what was waited for without it */
    log->unclaimed = true;
    turns_touch(c, f);
    return true;
}

/* A name of a listing that has gone. */
static void listed_and_gone(struct collector *c, struct log *log, const char *name)
{
    if (!log->files && !log->arrivals && strcmp(name, log->base) == 0)
        arrivals_add(c, log, name); /* it came before the watch, and no event tells of that */
}

static bool same(const struct file *f, const struct statx *st)
{
    const struct identity *i = &f->identity;
    return !f->phantom && i->inode == st->stx_ino &&
           i->device == ((uint64_t)st->stx_dev_major << 32 | st->stx_dev_minor) &&
           (!(st->stx_mask & STATX_BTIME) ||
            i->birth_ns == (int64_t)st->stx_btime.tv_sec * SL_NS_PER_S + st->stx_btime.tv_nsec);
}

struct file *finder_find(const struct collector *c, const struct log *log, const struct statx *st)
{
    struct file *f = fleet_file_of(&c->fleet, log, st->stx_ino);
    while (f && !same(f, st))
        f = fleet_file_again(f);
    return f;
}

void finder_rename(struct collector *c, struct file *f, const char *name)
{
    if (f->name && strcmp(f->name, name) == 0)
        return;
    rename_file(c, f, name);
    /* of one that is done only its size tells of more: a chain of a thousand moves a thousand at once */
    if (f->state == FILE_DONE)
        fleet_ready(&c->fleet, f->log->sandbox);
    else
        turns_touch(c, f);
}

void finder_reconcile(struct collector *c, struct log *log, const char *name, enum news news)
{
    struct statx st;
    struct file *named = fleet_file_named(&c->fleet, log, name);
    int r = folder_statx(log->folder, name, &st);
    if (r < 0) {
        if (r != -ENOENT && r != -ENOTDIR)
            return;
        if (named)
            finder_nameless(c, named);
        else if (news == NEWS_THERE)
            listed_and_gone(c, log, name);
        return;
    }
    if (!S_ISREG(st.stx_mode) || st.stx_nlink > 1) {
        if (named && !same(named, &st))
            finder_nameless(c, named);
        if (!named)
            refuse(c, log, name);
        return;
    }
    struct file *f = finder_find(c, log, &st);
    if (named && named != f) {
        finder_nameless(c, named);
        rotated(c, named); /* another one has it */
    }
    if (!f) {
        if (!new_file(c, log, name, &st) && news == NEWS_THERE)
            listed_and_gone(c, log, name);
        return;
    }
    if (!f->name || strcmp(f->name, name) != 0)
        finder_rename(c, f, name);
    if (st.stx_size != f->size && !f->gz) {
        alike_forget(f);
        turns_touch(c, f);
    }
}

/* ---- events ---- */

struct stirred {
    struct stirred *next;
    struct log *log;
    char name[];
};

static void look_later(struct collector *c, struct log *log, const char *name)
{
    size_t bytes = strlen(name) + 1;
    struct stirred *s = malloc(sizeof *s + bytes);
    if (!s) {
        finder_reconcile(c, log, name, NEWS_WENT);
        return;
    }
    s->next = NULL;
    s->log = log;
    memcpy(s->name, name, bytes);
    *(c->stirred_first ? &c->stirred_last->next : &c->stirred_first) = s;
    c->stirred_last = s;
}

void finder_name(void *arg, struct folder *folder, const char *name, enum news news, uint32_t cookie)
{
    struct collector *c = arg;
    if (ends_beside(c, folder, name, news))
        return;
    bool moves = news != NEWS_WRITTEN && news != NEWS_THERE;
    struct log *log = log_of(c, folder, name, news);
    if (moves && log)
        arrivals_stirred(c, log);
    bool moved = moves && arrivals_move(c, folder, name, news, cookie);
    if (!log)
        return;
    if (news == NEWS_WRITTEN) {
        struct file *f = fleet_file_named(&c->fleet, log, name);
        if (f) {
            alike_forget(f);
            f->grown_ns = sl_monotonic_ns();
            turns_touch(c, f);
            return;
        }
        /* a file whose name was taken from it may still be written under the name inotify knows */
        for (f = log->files; f; f = f->next)
            if (!f->name && f->fd >= 0)
                turns_touch(c, f);
    }
    if (moves) {
        log->stirred = log->unlisted = true;
        bool base = strcmp(name, log->base) == 0;
        if (!moved && ((base && news == NEWS_RENAMED) ||
                       (news == NEWS_CREATED && (base || !rotated_is_gz(sl_slice_of(name))))))
            arrivals_add(c, log, name);
    }
    if (moves)
        look_later(c, log, name);
    else
        finder_reconcile(c, log, name, news);
}

/*
 * Names are looked at when all events that wait are told: then the file that has a name is, but for what
 * happens in that moment, the one that the events told of last, and each file is looked at once less.
 */
bool finder_told(void *arg, bool drained)
{
    struct collector *c = arg;
    bool looks = c->stirred_first;
    struct stirred *s;
    while ((s = c->stirred_first)) {
        c->stirred_first = s->next;
        finder_reconcile(c, s->log, s->name, NEWS_WENT);
        if (!s->log->files)
            fleet_ready(&c->fleet, s->log->sandbox); /* it may be one to forget (ends.c) */
        free(s);
    }
    if (drained && !looks)
        arrivals_drained(c);
    return drained && looks;
}

void finder_look(void *arg, struct folder *folder, bool listed)
{
    struct collector *c = arg;
    if (listed && folder->listed_at == 0)
        folder->listed_at = c->drains + 1;
    for (struct log *log = folder->logs; log; log = log->folder_next) {
        char names[64][256];
        size_t count = 0;
        if (log->base_bytes == 0) /* it stands for what the folder held before it was met */
            continue;
        for (struct file *f = log->files; listed && f && count < 64; f = f->next)
            if (f->name && strlen(f->name) < sizeof names[0] && strcmp(f->name, log->base) != 0)
                strcpy(names[count++], f->name);
        for (size_t i = 0; i < count; i++)
            finder_reconcile(c, log, names[i], NEWS_WENT);
        finder_reconcile(c, log, log->base, NEWS_WENT);
        if (listed)
            arrivals_listed(c, log);
    }
}

void finder_missed(void *arg, struct folder *folder)
{
    struct collector *c = arg;
    struct captures captures;
    folder_captures(folder, &captures);
    struct log *log = fleet_find_log(&c->fleet, folder, "", 0);
    if (!log)
        log = new_log(c, folder, "", 0, &captures);
    if (log)
        phantom(c, log, NULL, "");
}
