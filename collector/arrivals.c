// SPDX-License-Identifier: Apache-2.0
/*
 * Arrivals: which files came under a log's name, in which order, and which went without having been met.
 *
 * Each file that comes by a log's name has one event that says so, and each change of its name another one.
 * An arrival is what the events tell of such a file: that it came, what it is called by now, that it is gone.
 * Files are met apart from that, by looking at names, which may have moved on. What brings both together is
 * where inotify's queue ended when a name was looked at: the file that was met is the arrival that has the
 * name by the events up to there. One that is gone and was not met then was missed. Nothing in here depends
 * on how long something takes, but that what events tell to be there and is not is given up.
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

static void later(struct collector *c, struct log *log)
{
    log->looked_at = 0;
    log->stirred_ns = log->arriving_ns = sl_monotonic_ns();
    turns_later(c, log->sandbox, LOOK_NS);
}

static struct arrival *add(struct log *log, const char *name)
{
    struct arrival *a = calloc(1, sizeof *a);
    struct arrival **at = &log->arrivals;
    if (!a || !(a->name = strdup(name))) {
        free(a);
        return NULL;
    }
    while (*at)
        at = &(*at)->next;
    *at = a;
    return a;
}

void arrivals_stirred(struct collector *c, struct log *log)
{
    if (!log->arriving) {
        log->arriving = true;
        log->arriving_next = c->arriving;
        log->arriving_at = &c->arriving;
        if (c->arriving)
            c->arriving->arriving_at = &log->arriving_next;
        c->arriving = log;
        /* what they are packed into stands where they do */
        for (const struct file *f = log->files; f; f = f->next) {
            struct arrival *a =
                f->name && f->sure && f->order > 0 && f->state != FILE_DONE ? add(log, f->name) : NULL;
            if (a) {
                a->order = f->order;
                a->met = a->met_plain = true;
            }
        }
    }
    later(c, log);
}

/* ---- what was met ---- */

/* Whether `name` is what `of` is packed into. */
static bool is_pack(const char *name, const char *of)
{
    size_t bytes = strlen(of);
    return strncmp(name, of, bytes) == 0 && strcmp(name + bytes, ".gz") == 0;
}

static bool tie(struct collector *c, struct file *f)
{
    for (struct arrival *a = f->log->arrivals; a; a = a->next) {
        if (!a->name || !(strcmp(a->name, f->met_as) == 0 || (a->packed && is_pack(f->met_as, a->name))))
            continue;
        if (a->met_plain && !f->gz)
            return false; /* it is another one that came later */
        a->met = true;
        a->met_plain = a->met_plain || !f->gz;
        f->order = a->order;
        fleet_file_met(&c->fleet, f, NULL);
        order_place(f);
        return true;
    }
    return false;
}

/* No event tells of it: it was there before its folder was watched, or they were lost. */
static void met_otherwise(struct collector *c, struct file *f)
{
    bool base = strcmp(f->met_as, f->log->base) == 0;
    fleet_file_met(&c->fleet, f, NULL);
    order_unknown(f, base);
    fleet_ready(&c->fleet, f->log->sandbox);
}

/* All events up to there are taken. What was seen a moment before its event was in the queue has that yet to
 * come. */
static void tie_or_not(struct collector *c, struct file *f)
{
    if (!tie(c, f) && !f->newcomer)
        met_otherwise(c, f);
    else if (f->met_as)
        f->early = true;
    fleet_ready(&c->fleet, f->log->sandbox);
}

void arrivals_met(struct collector *c, struct file *f, uint64_t from, bool newcomer)
{
    if (!fleet_file_met(&c->fleet, f, f->name))
        return;
    f->met_from = from;
    f->newcomer = newcomer && !f->gz;
    f->early = false;
    f->sure = watch_handled(c->watch) >= from;
    if (f->sure)
        tie_or_not(c, f);
    if (f->met_as)
        arrivals_stirred(c, f->log);
}

/* ---- what events tell ---- */

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

/* What is gone was met or was missed. */
static void judge(struct collector *c, struct log *log)
{
    for (struct arrival **at = &log->arrivals; *at;) {
        struct arrival *a = *at;
        if (!is_gone(a)) {
            at = &a->next;
            continue;
        }
        if (!a->met)
            order_missed(c, log, a->order);
        arrival_free(at);
    }
}

/* It is packed: then the .gz is it when it goes itself. */
static bool becomes_pack(struct arrival *a)
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
    bool known = false;
    uint64_t at = watch_handled(c->watch);
    for (struct file *f = log->meeting > 0 ? log->files : NULL, *next; f; f = next) {
        next = f->next;
        if (f->met_as && !f->early && at > f->met_from)
            tie_or_not(c, f);
    }
    for (struct arrival *a = log->arrivals; a; a = a->next) {
        if (news != NEWS_WENT && cookie != 0 && a->cookie == cookie) {
            a->name = strdup(name);
            a->cookie = 0;
            known = true;
        } else if (a->name && news != NEWS_WENT && is_pack(name, a->name)) {
            a->packed = true;
        } else if (a->name && strcmp(a->name, name) == 0) {
            /* else: another one has it */
            if (news != NEWS_WENT || cookie != 0 || !becomes_pack(a))
                leave(a, news == NEWS_WENT ? cookie : 0);
        } else if (a->packed && news == NEWS_WENT && is_pack(name, a->name)) {
            a->packed = false;
        }
    }
    judge(c, log);
    return known;
}

void arrivals_add(struct collector *c, struct log *log, const char *name)
{
    arrivals_stirred(c, log);
    struct arrival *a = add(log, name);
    if (a)
        a->order = order_next(log, strcmp(name, log->base) != 0);
    for (struct file *f = a && log->meeting > 0 ? log->files : NULL, *next; f; f = next) {
        next = f->next;
        if (f->met_as && f->early && strcmp(f->met_as, name) == 0)
            tie(c, f);
    }
}

bool arrivals_move(struct collector *c, const struct folder *folder, const char *name, enum news news,
                   uint32_t cookie)
{
    bool known = false, few = folder->log_count < FEW;
    for (struct log *log = few ? folder->logs : c->arriving; log;
         log = few ? log->folder_next : log->arriving_next)
        if (log->folder == folder && log->arriving) {
            known = move_in(c, log, name, news, cookie) || known;
            later(c, log);
        }
    return known;
}

/* What was met by names that the events so far gave. */
static void tie_met(struct collector *c, struct log *log)
{
    uint64_t at = watch_handled(c->watch);
    for (struct file *f = log->meeting > 0 ? log->files : NULL, *next; f; f = next) {
        next = f->next;
        if (f->met_as && !f->early && at >= f->met_from)
            tie_or_not(c, f);
    }
}

void arrivals_drained(struct collector *c)
{
    c->drains++;
    for (struct log *log = c->fleet.meeting > 0 ? c->arriving : NULL; log; log = log->arriving_next)
        tie_met(c, log);
}

bool arrivals_unmet(const struct log *log)
{
    for (const struct arrival *a = log->arrivals; a; a = a->next)
        if (!a->met)
            return true;
    return false;
}

static void settle(struct collector *c, struct log *log)
{
    *log->arriving_at = log->arriving_next;
    if (log->arriving_next)
        log->arriving_next->arriving_at = log->arriving_at;
    log->arriving = false;
    while (log->arrivals)
        arrival_free(&log->arrivals);
    for (struct file *f = log->files; f; f = f->next)
        f->sure = true;
    fleet_ready(&c->fleet, log->sandbox);
}

/* Every name that one has which was not met is looked at. */
static void look(struct collector *c, struct log *log)
{
    for (struct arrival *a = log->arrivals; a; a = a->next)
        if (a->name && !a->met && order_belongs(c, log, a->name))
            finder_reconcile(c, log, a->name, NEWS_WENT);
    log->looked_at = c->drains + 1;
}

/* Nothing has happened since the look. */
static void resolve(struct collector *c, struct log *log, bool lost)
{
    tie_met(c, log);
    for (struct file *f = log->meeting > 0 ? log->files : NULL, *next; f; f = next) {
        next = f->next;
        if (f->met_as)
            met_otherwise(c, f);
    }
    for (struct arrival *a = log->arrivals; a; a = a->next) {
        struct statx st;
        bool ours = a->name && order_belongs(c, log, a->name);
        /* what is there and no file was refused, and that is said */
        if (ours && folder_statx(log->folder, a->name, &st) == 0)
            a->met = true;
        else if (!ours || lost)
            leave(a, 0);
    }
    judge(c, log);
}

void arrivals_lost(void *arg)
{
    struct collector *c = arg;
    for (size_t i = 0; i <= c->fleet.logs.mask; i++) {
        for (struct table_node *n = c->fleet.logs.buckets[i]; n; n = n->next) {
            struct log *log = table_owner(n, struct log, by_name);
            for (const struct file *f = log->files; f; f = f->next)
                if (f->name && f->order > log->lost_behind)
                    log->lost_behind = f->order;
            log->lost_copies = order_next(log, true);
        }
    }
    while (c->arriving) {
        look(c, c->arriving);
        resolve(c, c->arriving, true);
        settle(c, c->arriving);
    }
}

void arrivals_listed(struct collector *c, struct log *log)
{
    if (log->lost_behind == 0)
        return;
    bool there = false;
    for (const struct file *f = log->files; f; f = f->next)
        there = there || (f->name && f->order == log->lost_behind);
    struct file *base = fleet_file_named(&c->fleet, log, log->base);
    if (!there)
        order_missed(c, log, log->lost_behind);
    else if (base && base->order == log->lost_behind && base->state == FILE_READING && places_cut(c, base))
        order_missed(c, log, log->lost_copies);
    log->lost_behind = 0;
}

void arrivals_look(struct collector *c, struct log *log, int64_t now_ns)
{
    if (!log->arriving)
        return;
    if (now_ns - log->arriving_ns >= LOOK_NS) {
        bool looked = log->looked_at > 0 && log->looked_at <= c->drains;
        if (looked)
            resolve(c, log, now_ns - log->stirred_ns > LOST_NS);
        if (looked && !arrivals_unmet(log)) {
            settle(c, log);
            return;
        }
        look(c, log);
        log->arriving_ns = now_ns;
    }
    turns_later(c, log->sandbox, LOOK_NS);
}
