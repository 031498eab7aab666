// SPDX-License-Identifier: Apache-2.0
/*
 * The order of a log's files.
 *
 * What came while its folder was watched stands where events put it (arrivals.c): its order is a number. What
 * was there before has none and stands before all that, but for the file that has the log's name, of which
 * copies may come. It is put in order by names, and a name says where a file stands only beside the names
 * that the others had at the same moment. Events do not give that: what a name is, is looked up after the
 * event, when others have moved on. So before a file is begun beside others, or while one is known to have
 * come and was not met, the folder is listed until two listings agree; what they show was there together.
 */
#include "collector.h"
#include "rotated.h"
#include "wire/timestamp.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/stat.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    TRIES = 4,
    RESTLESS_LOOKS = 50,
    NAMES_MAX = 16 << 10,
    CROWD = 1000, /* logs in one folder: listing it for one of them at every rotation would cost too much */
};
static const int64_t RESTLESS_NS = INT64_C(5) * SL_NS_PER_S;

struct named {
    char *name;
    struct statx st;
};

struct view {
    struct named *items;
    size_t count;
};

static void view_fini(struct view *v)
{
    for (size_t i = 0; i < v->count; i++)
        free(v->items[i].name);
    free(v->items);
    *v = (struct view){0};
}

bool order_belongs(const struct collector *c, const struct log *log, const char *name)
{
    size_t bytes = strlen(name);
    struct sl_slice base;
    if (bytes < log->base_bytes || memcmp(name, log->base, log->base_bytes) != 0)
        return false;
    if (bytes == log->base_bytes)
        return true;
    return rotated_name(sl_slice(name, bytes), &base) && base.bytes == log->base_bytes &&
           !fleet_find_log(&c->fleet, log->folder, name, bytes);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct named *)a)->name, ((const struct named *)b)->name);
}

static bool add(struct view *v, const struct collector *c, const struct log *log, const char *name)
{
    struct statx st;
    if (folder_statx(log->folder, name, &st) < 0 || !S_ISREG(st.stx_mode))
        return true;
    /* one that gets a second link goes on under the name that it has */
    const struct file *f = st.stx_nlink == 1 ? NULL : finder_find(c, log, &st);
    if (st.stx_nlink != 1 && !(f && f->name && strcmp(f->name, name) == 0))
        return true;
    if ((v->count & (v->count - 1)) == 0) {
        struct named *items = realloc(v->items, (v->count ? v->count * 2 : 1) * sizeof *items);
        if (!items)
            return false;
        v->items = items;
    }
    char *copy = strdup(name);
    if (!copy)
        return false;
    v->items[v->count++] = (struct named){copy, st};
    return true;
}

static bool view_take(struct view *v, const struct collector *c, const struct log *log)
{
    int fd = folder_open(log->folder, NULL, O_RDONLY | O_DIRECTORY | O_NONBLOCK);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    bool ok = dir || fd == -ENOENT || fd == -ENOTDIR; /* in a folder that is gone there is nothing */
    struct dirent *e;
    while (ok && dir && (e = readdir(dir)))
        if (order_belongs(c, log, e->d_name))
            ok = v->count < NAMES_MAX && add(v, c, log, e->d_name);
    if (dir)
        closedir(dir);
    else if (fd >= 0)
        close(fd);
    if (v->count > 0)
        qsort(v->items, v->count, sizeof *v->items, by_name);
    return ok;
}

static bool same_file(const struct statx *a, const struct statx *b)
{
    return a->stx_ino == b->stx_ino && a->stx_dev_major == b->stx_dev_major &&
           a->stx_dev_minor == b->stx_dev_minor && a->stx_btime.tv_sec == b->stx_btime.tv_sec &&
           a->stx_btime.tv_nsec == b->stx_btime.tv_nsec;
}

static bool views_agree(const struct view *a, const struct view *b)
{
    bool agree = a->count == b->count;
    for (size_t i = 0; agree && i < a->count; i++)
        agree =
            strcmp(a->items[i].name, b->items[i].name) == 0 && same_file(&a->items[i].st, &b->items[i].st);
    return agree;
}

/*
 * Makes the log know what the view shows. True when it knew. Known files get their names first: a new one is
 * put in its place by names.
 */
static bool known(struct collector *c, struct log *log, const struct view *v)
{
    size_t met = 0;
    bool knew = true;
    for (struct file *f = log->files; f; f = f->next)
        f->seen = false;
    for (size_t i = 0; i < v->count; i++) {
        struct file *f = finder_find(c, log, &v->items[i].st);
        if (!f)
            continue;
        met++;
        f->seen = true;
        knew = knew && f->name && strcmp(f->name, v->items[i].name) == 0;
        finder_rename(c, f, v->items[i].name);
    }
    for (struct file *f = log->files; f; f = f->next) {
        if (f->seen || !f->name)
            continue;
        knew = false;
        finder_nameless(c, f);
    }
    for (size_t i = 0; met < v->count && i < v->count; i++)
        if (!finder_find(c, log, &v->items[i].st))
            finder_reconcile(c, log, v->items[i].name, NEWS_THERE);
    return knew && met == v->count;
}

static bool names_are_true(struct collector *c, struct log *log)
{
    bool settled = false;
    for (int i = 0; i < TRIES && !settled; i++) {
        struct view a = {0}, b = {0};
        settled = view_take(&a, c, log) && view_take(&b, c, log) && views_agree(&a, &b) && known(c, log, &b);
        view_fini(&a);
        view_fini(&b);
    }
    log->unlisted = log->unlisted && !settled;
    return settled;
}

static bool unbegun(const struct file *f)
{
    return !f->phantom && (f->name || f->fd >= 0) &&
           (f->state == FILE_UNPLACED || (f->state == FILE_READING && f->sent == 0 && f->at == 0 &&
                                          !f->known && f->in_flight == 0 && !f->joins));
}

static void insert(struct file **list, struct file *f, const struct file *before)
{
    while (*list && *list != before)
        list = &(*list)->next;
    f->next = *list;
    *list = f;
}

/* ---- by events ---- */

/* Behind each file that has the log's name there is room for what comes later, before it for copies of it. */
static const uint64_t ORDER_STEP = UINT64_C(1) << 32;

uint64_t order_next(struct log *log, bool copied)
{
    if (log->base_order == 0) /* of the one that was there before */
        log->base_order = ORDER_STEP;
    if (copied)
        return log->base_order - ORDER_STEP + ++log->copies;
    return log->base_order += ORDER_STEP;
}

static struct file *behind(const struct log *log, uint64_t order)
{
    struct file *f = log->files;
    while (f && f->order <= order)
        f = f->next;
    return f;
}

static void take_out(struct file *f)
{
    struct file **at = &f->log->files;
    while (*at != f)
        at = &(*at)->next;
    *at = f->next;
}

void order_place(struct file *f)
{
    take_out(f);
    insert(&f->log->files, f, behind(f->log, f->order));
}

void order_unknown(struct file *f, bool base)
{
    struct log *log = f->log;
    if (base && !log->ordered && log->base_order <= ORDER_STEP)
        f->order = log->base_order = ORDER_STEP;
    else if (base)
        f->order = order_next(log, false);
    else if (log->ordered && log->base_order + log->copies > ORDER_STEP) /* as its name has it */
        for (const struct file *next = f->next; next && f->order == 0; next = next->next)
            f->order = next->order;
}

void order_missed(struct collector *c, struct log *log, uint64_t order)
{
    struct file *f = finder_phantom(c, log, behind(log, order));
    if (f && f->order == 0)
        f->order = order;
}

/* ---- by names ---- */

static bool is_younger(const struct file *f, const struct file *than)
{
    return !f->gz && !than->gz && f->identity.birth_ns > than->identity.birth_ns;
}

/*
 * What was there before: named files stand as their names say. One whose name is gone stands where its .gz
 * does, else before the first one that is known to be younger, or the plain file that it stood before.
 */
static void put_by_names(struct log *log)
{
    struct sl_slice base = sl_slice(log->base, log->base_bytes);
    struct file *named = NULL, *nameless = NULL, *next;
    for (struct file *f = log->files; f; f = f->next) {
        f->plain_behind = f->next;
        while (f->plain_behind && (f->plain_behind->gz || f->plain_behind->state == FILE_COPY))
            f->plain_behind = f->plain_behind->next;
    }
    for (struct file *f = log->files; f; f = next) {
        struct file *before;
        next = f->next;
        if (!f->name) { /* the last one first */
            insert(&nameless, f, nameless);
            continue;
        }
        for (before = named; before; before = before->next)
            if (rotated_compare(base, sl_slice_of(f->name), sl_slice_of(before->name)) < 0)
                break;
        insert(&named, f, before);
    }
    for (struct file *f = nameless; f; f = next) {
        struct file *before = named, *younger = named;
        next = f->next;
        while (before && !(before->state == FILE_COPY && before->copy_of == f))
            before = before->next;
        while (younger && !is_younger(younger, f))
            younger = younger->next;
        while (f->plain_behind && is_younger(f, f->plain_behind))
            f->plain_behind = f->plain_behind->plain_behind;
        struct file *stood = f->gz ? named : f->plain_behind;
        insert(&named, f, before ? before : younger ? younger : stood);
    }
    log->files = named;
}

static void put_in_order(struct log *log)
{
    struct file *known = NULL, **end = &log->files, *next;
    for (struct file *f = log->files; f; f = next) {
        next = f->next;
        if (f->order == 0) {
            *end = f;
            end = &f->next;
            continue;
        }
        struct file *before = known;
        while (before && before->order <= f->order)
            before = before->next;
        insert(&known, f, before);
    }
    *end = NULL;
    put_by_names(log);
    for (end = &log->files; *end; end = &(*end)->next)
        ;
    *end = known;
}

bool order_settled(struct collector *c, struct log *log)
{
    size_t count = 0;
    bool unknown = false; /* events on the way tell where one stands */
    for (struct file *f = log->files; f; f = f->next) {
        unknown = unknown || (f->met_as && unbegun(f));
        count += f->phantom ? 2 : unbegun(f);
    }
    /* a chain that turned while it was listed for the first time may have hidden one from the listing */
    bool first = !log->ordered && log->files && log->files->next && log->folder->log_count <= CROWD;
    if (!first && (!log->stirred || (count < 2 && !arrivals_unmet(log)))) {
        log->stirred = false;
        log->ordered = true;
        return true;
    }
    int64_t now_ns = sl_monotonic_ns();
    if ((count > 1 && unknown) || !names_are_true(c, log)) {
        if (log->unsettled == 0)
            log->unsettled_ns = now_ns;
        if (log->unsettled < UINT8_MAX)
            log->unsettled++;
        /* names that never rest must not keep lines back for good; time alone may have passed without a look
         */
        return log->unsettled > RESTLESS_LOOKS && now_ns - log->unsettled_ns > RESTLESS_NS;
    }
    log->unsettled = 0;
    /* what they are tells which of them are copies */
    for (struct file *f = log->files; f; f = f->next)
        if (f->state == FILE_UNPLACED && f->name && strcmp(f->name, log->base) != 0 &&
            tail_open(&c->fleet, f) == 0)
            places_place(c, f);
    put_in_order(log);
    if (arrivals_unmet(log))
        return false; /* until it is, or given up (arrivals.c) */
    log->stirred = false;
    log->ordered = true;
    return true;
}

bool order_known(struct collector *c, struct log *log)
{
    return !log->unlisted || log->folder->log_count > CROWD || names_are_true(c, log);
}
