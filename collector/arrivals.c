// SPDX-License-Identifier: Apache-2.0
/*
 * Arrivals: which files came under a log's name and went without having been met.
 *
 * Each file that comes by a log's name has one event that says so, and each change of its name another one.
 * An arrival is what the events tell of such a file: that it came, what it is called by now, that it is gone.
 * Files are met apart from that, by looking at names, which have moved on by then. What both tell is brought
 * together twice: an arrival that is gone was one of the files that were met since it came and that have no
 * name any more, or it was missed; and one that has a name is the file of that name, when nothing has
 * happened between two looks. Events count as processed when inotify's queue was seen empty. Nothing in here
 * depends on how long something takes, but that what events tell to be there and is not is given up.
 */
#include "collector.h"
#include "wire/timestamp.h"
#include <linux/stat.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

/* An event that follows upon what was seen is in the queue by then. */
static const int64_t LOOK_NS = INT64_C(10) * SL_NS_PER_MS;
/* What events tell to be there and is not: they were lost. */
static const int64_t LOST_NS = INT64_C(5) * SL_NS_PER_S;

enum { FEW = 16 }; /* logs in a folder */

static bool is_gone(const struct arrival *a)
{
    return !a->name && a->cookie == 0;
}

static void leave(struct arrival *a, uint32_t cookie)
{
    free(a->name);
    a->name = NULL;
    a->cookie = cookie;
}

void arrivals_stirred(struct collector *c, struct log *log)
{
    if (!log->arriving)
        return;
    log->looked_at = 0;
    log->unjudged = true;
    log->stirred_ns = log->arriving_ns = sl_monotonic_ns();
    turns_later(c, log->sandbox, LOOK_NS);
}

static void arriving(struct collector *c, struct log *log)
{
    if (!log->arriving) {
        log->arriving = true;
        log->arriving_next = c->arriving;
        c->arriving = log;
    }
    arrivals_stirred(c, log);
}

void arrivals_add(struct collector *c, struct log *log, const char *name)
{
    struct arrival *a = calloc(1, sizeof *a);
    struct arrival **at = &log->arrivals;
    if (!a || !(a->name = strdup(name))) {
        free(a);
        return;
    }
    a->number = ++log->arrival_count;
    a->copied = strcmp(name, log->base) != 0;
    while (*at)
        at = &(*at)->next;
    *at = a;
    arriving(c, log);
}

/* Whether `name` is what `of` is packed into. */
static bool is_pack(const char *name, const char *of)
{
    size_t bytes = strlen(of);
    return strncmp(name, of, bytes) == 0 && strcmp(name + bytes, ".gz") == 0;
}

static bool is_packed(struct arrival *a)
{
    char *name;
    if (!a->packed || asprintf(&name, "%s.gz", a->name) < 0)
        return false;
    free(a->name);
    a->name = name;
    a->packed = false;
    return true;
}

static bool move_in(struct collector *c, struct log *log, const char *name, enum news news, uint32_t cookie)
{
    bool known = false, stirred = false;
    for (struct arrival *a = log->arrivals; a; a = a->next) {
        if (news != NEWS_WENT && cookie != 0 && a->cookie == cookie) {
            a->name = strdup(name);
            a->cookie = 0;
            known = true;
        } else if (a->name && news != NEWS_WENT && is_pack(name, a->name)) {
            a->packed = true;
        } else if (a->name && strcmp(a->name, name) == 0) {
            /* else: another one has it */
            if (news != NEWS_WENT || cookie != 0 || !is_packed(a))
                leave(a, news == NEWS_WENT ? cookie : 0);
            stirred = true;
        }
    }
    if (known || stirred)
        arrivals_stirred(c, log);
    return known;
}

bool arrivals_move(struct collector *c, const struct folder *folder, const char *name, enum news news,
                   uint32_t cookie)
{
    bool known = false, few = folder->log_count < FEW;
    for (struct log *log = few ? folder->logs : c->arriving; log;
         log = few ? log->folder_next : log->arriving_next)
        known = (log->folder == folder && move_in(c, log, name, news, cookie)) || known;
    return known;
}

void arrivals_met(struct collector *c, struct file *f)
{
    struct log *log = f->log;
    f->arrived_from = log->arrival_count + 1;
    for (const struct arrival *a = log->arrivals; a; a = a->next)
        if (a->name && strcmp(a->name, f->name) == 0)
            f->arrived_from = a->number;
    f->arrived_until = 0;
    f->arrived = true;
    arriving(c, log);
}

/* ---- bringing together ---- */

static bool may_be(const struct file *f, uint32_t number)
{
    return f->arrived && !f->name && f->arrived_from <= number && number <= f->arrived_until;
}

/* The one that it was when it was met, if nothing happened in that moment. */
static bool is_first(const struct log *log, const struct file *f)
{
    for (const struct file *other = log->files; other; other = other->next)
        if (other != f && may_be(other, f->arrived_from))
            return false;
    for (const struct arrival *a = log->arrivals; a; a = a->next)
        if (a->number == f->arrived_from)
            return is_gone(a);
    return false;
}

/* Which file without a name it was: the youngest that it may have been, when younger ones are told already.
 */
static struct file *file_of_gone(const struct log *log, uint32_t number)
{
    struct file *found = NULL;
    for (struct file *f = log->files; f; f = f->next)
        if (may_be(f, number) && (!found || f->identity.birth_ns >= found->identity.birth_ns))
            found = f;
    return found && found->arrived_from != number && is_first(log, found) ? NULL : found;
}

/* The first file that is known to be younger: of a copy, that is what it was made of. NULL: none. */
static struct file *younger(const struct collector *c, const struct log *log, const struct arrival *a)
{
    for (const struct arrival *next = a->next; next; next = next->next)
        if (next->file)
            return next->file;
    struct file *base = a->copied ? fleet_file_named(&c->fleet, log, log->base) : NULL;
    for (struct file *f = log->files; a->copied && !base && f; f = f->next)
        base = f->had_base ? f : NULL;
    return base;
}

static void known_as(struct file *f, const struct arrival *a)
{
    f->arrived = false;
    f->arrival = a->number;
    f->copied = a->copied;
    f->newcomer = true;
}

/* Those from `a` on, the youngest first: each takes the youngest file that it may have been. */
static void match(const struct collector *c, struct log *log, struct arrival *a)
{
    if (!a)
        return;
    match(c, log, a->next);
    a->file = is_gone(a) ? file_of_gone(log, a->number)
              : a->name  ? fleet_file_named(&c->fleet, log, a->name)
                         : NULL;
    if (!a->file)
        return;
    if (is_gone(a)) {
        known_as(a->file, a);
    } else { /* as far as is known by now */
        a->file->arrival = a->number;
        a->file->copied = a->copied;
    }
}

/* What is gone was met or was missed. */
static void judge(struct collector *c, struct log *log)
{
    match(c, log, log->arrivals);
    for (struct arrival *a = log->arrivals; a; a = a->next)
        if (is_gone(a) && !a->file) {
            a->file = finder_phantom(c, log, younger(c, log, a));
            if (a->file)
                known_as(a->file, a);
        }
    for (struct arrival **at = &log->arrivals; *at;) {
        if (is_gone(*at))
            arrival_free(at);
        else
            at = &(*at)->next;
    }
    log->unjudged = false;
    fleet_ready(&c->fleet, log->sandbox);
}

/* A file that was met before is none of the arrivals to come. */
void arrivals_told(struct collector *c)
{
    for (struct log *log = c->arriving; log; log = log->arriving_next)
        for (struct file *f = log->unjudged ? log->files : NULL; f; f = f->next)
            if (f->arrived && f->arrived_until == 0)
                f->arrived_until = log->arrival_count;
}

void arrivals_drained(struct collector *c)
{
    c->drains++;
    for (struct log *log = c->arriving; log; log = log->arriving_next)
        if (log->unjudged)
            judge(c, log);
}

bool arrivals_unmet(const struct collector *c, const struct log *log)
{
    for (const struct arrival *a = log->arrivals; a; a = a->next)
        if (!a->name || !fleet_file_named(&c->fleet, log, a->name))
            return true;
    return false;
}

static void settle(struct collector *c, struct log *log)
{
    struct log **at = &c->arriving;
    while (*at != log)
        at = &(*at)->arriving_next;
    *at = log->arriving_next;
    log->arriving = false;
    while (log->arrivals)
        arrival_free(&log->arrivals);
    for (struct file *f = log->files; f; f = f->next)
        f->arrived = false;
    fleet_ready(&c->fleet, log->sandbox);
}

void arrivals_lost(void *arg)
{
    struct collector *c = arg;
    while (c->arriving) {
        judge(c, c->arriving);
        settle(c, c->arriving);
    }
}

/* Every name that an arrival has is looked at. */
static void look(struct collector *c, struct log *log)
{
    for (struct arrival *a = log->arrivals; a; a = a->next)
        if (a->name && order_belongs(c, log, a->name))
            finder_reconcile(c, log, a->name, NEWS_WENT);
    log->looked_at = c->drains + 1;
}

/* Nothing has happened since the look: those that have a name are the files of these names. */
static void resolve(struct collector *c, struct log *log, int64_t now_ns)
{
    for (struct arrival **at = &log->arrivals; *at;) {
        struct arrival *a = *at;
        struct statx st;
        bool ours = a->name && order_belongs(c, log, a->name);
        struct file *f = ours ? fleet_file_named(&c->fleet, log, a->name) : NULL;
        if (f)
            known_as(f, a);
        /* what is there and no file was refused, and that is said */
        if (f || (ours && folder_statx(log->folder, a->name, &st) == 0)) {
            arrival_free(at);
            continue;
        }
        if (!ours || now_ns - log->stirred_ns > LOST_NS)
            leave(a, 0);
        at = &a->next;
    }
    judge(c, log);
}

void arrivals_look(struct collector *c, struct log *log, int64_t now_ns)
{
    if (!log->arriving)
        return;
    if (now_ns - log->arriving_ns >= LOOK_NS) {
        if (log->looked_at > 0 && log->looked_at <= c->drains)
            resolve(c, log, now_ns);
        if (log->looked_at > 0 && log->looked_at <= c->drains && !log->arrivals) {
            settle(c, log);
            return;
        }
        look(c, log);
        log->arriving_ns = now_ns;
    }
    turns_later(c, log->sandbox, LOOK_NS);
}
