// SPDX-License-Identifier: Apache-2.0
#include "fleet.h"
#include "tail.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <xxhash.h>

int fleet_init(struct fleet *fleet, size_t open_files_max)
{
    *fleet = (struct fleet){.open_files_max = open_files_max};
    int r = table_init(&fleet->sandboxes);
    if (r == 0)
        r = table_init(&fleet->logs);
    if (r == 0)
        r = table_init(&fleet->names);
    if (r == 0)
        r = table_init(&fleet->inodes);
    return r;
}

static uint64_t log_hash(const struct folder *folder, const void *base, size_t bytes)
{
    return XXH3_64bits_withSeed(base, bytes, (uint64_t)(uintptr_t)folder);
}

struct sandbox *fleet_find(const struct fleet *fleet, struct sl_slice id)
{
    struct table_node *n = table_find(&fleet->sandboxes, XXH3_64bits(id.data, id.bytes));
    for (; n; n = table_again(n)) {
        struct sandbox *s = table_owner(n, struct sandbox, by_id);
        if (sl_slice_equal(sl_slice(s->id, s->id_bytes), id))
            return s;
    }
    return NULL;
}

struct sandbox *fleet_sandbox(struct fleet *fleet, struct sl_slice id)
{
    struct sandbox *s = fleet_find(fleet, id);
    if (s)
        return s;
    assert(sl_sandbox_id_valid(id));
    s = calloc(1, sizeof *s + id.bytes + 1);
    if (!s)
        return NULL;
    s->id_bytes = (uint8_t)id.bytes;
    memcpy(s->id, id.data, id.bytes);
    table_add(&fleet->sandboxes, &s->by_id, XXH3_64bits(id.data, id.bytes));
    fleet_want_sync(fleet, s);
    return s;
}

struct log *fleet_find_log(const struct fleet *fleet, const struct folder *folder, const char *base,
                           size_t bytes)
{
    struct table_node *n = table_find(&fleet->logs, log_hash(folder, base, bytes));
    for (; n; n = table_again(n)) {
        struct log *log = table_owner(n, struct log, by_name);
        if (log->folder == folder && log->base_bytes == bytes && memcmp(log->base, base, bytes) == 0)
            return log;
    }
    return NULL;
}

struct log *fleet_log_new(struct fleet *fleet, struct sandbox *sandbox, struct folder *folder,
                          const char *base, size_t bytes, struct sl_slice container)
{
    assert(bytes <= UINT8_MAX && container.bytes <= SL_ID_MAX_BYTES);
    struct log *log = calloc(1, sizeof *log + bytes + 1);
    if (!log)
        return NULL;
    log->sandbox = sandbox;
    log->folder = folder;
    log->format = (uint8_t)folder->root->pattern->format;
    log->base_bytes = (uint8_t)bytes;
    memcpy(log->base, base, bytes);
    log->container_bytes = (uint8_t)container.bytes;
    if (container.bytes > 0)
        memcpy(log->container, container.data, container.bytes);
    log->sandbox_next = sandbox->logs;
    sandbox->logs = log;
    log->folder_next = folder->logs;
    folder->logs = log;
    folder->log_count++;
    table_add(&fleet->logs, &log->by_name, log_hash(folder, base, bytes));
    return log;
}

void arrival_free(struct arrival **at)
{
    struct arrival *a = *at;
    *at = a->next;
    free(a->name);
    free(a);
}

void fleet_log_free(struct fleet *fleet, struct log *log)
{
    assert(!log->files);
    struct log **at = &log->sandbox->logs;
    while (*at != log)
        at = &(*at)->sandbox_next;
    *at = log->sandbox_next;
    log->folder->log_count--;
    at = &log->folder->logs;
    while (*at != log)
        at = &(*at)->folder_next;
    *at = log->folder_next;
    if (log->sandbox->turn == log)
        log->sandbox->turn = NULL;
    table_remove(&fleet->logs, &log->by_name);
    while (log->arrivals)
        arrival_free(&log->arrivals);
    free(log);
}

void fleet_sandbox_free(struct fleet *fleet, struct sandbox *s)
{
    assert(!s->logs && !s->ready && !s->in_sync_queue && !s->in_timers && s->in_flight == 0);
    table_remove(&fleet->sandboxes, &s->by_id);
    free(s->places);
    free(s->labels);
    free(s);
}

/* ---- files ---- */

static uint64_t name_hash(const struct log *log, const char *name)
{
    return XXH3_64bits_withSeed(name, strlen(name), (uint64_t)(uintptr_t)log);
}

static uint64_t inode_hash(const struct log *log, uint64_t inode)
{
    return XXH3_64bits_withSeed(&inode, sizeof inode, (uint64_t)(uintptr_t)log);
}

bool fleet_file_rename(struct fleet *fleet, struct file *f, const char *name)
{
    char *copy = name ? strdup(name) : NULL;
    if (name && !copy)
        return false;
    if (f->name)
        table_remove(&fleet->names, &f->by_name);
    free(f->name);
    f->name = copy;
    if (copy)
        table_add(&fleet->names, &f->by_name, name_hash(f->log, copy));
    return true;
}

bool fleet_file_met(struct fleet *fleet, struct file *f, const char *name)
{
    fleet->meeting -= f->met_as != NULL;
    f->log->meeting -= f->met_as != NULL;
    free(f->met_as);
    f->met_as = name ? strdup(name) : NULL;
    fleet->meeting += f->met_as != NULL;
    f->log->meeting += f->met_as != NULL;
    return f->met_as;
}

void fleet_file_identify(struct fleet *fleet, struct file *f, const struct identity *identity)
{
    if (f->identity.inode != identity->inode) {
        if (f->identity.inode)
            table_remove(&fleet->inodes, &f->by_inode);
        if (identity->inode)
            table_add(&fleet->inodes, &f->by_inode, inode_hash(f->log, identity->inode));
    }
    f->identity = *identity;
}

struct file *fleet_file_named(const struct fleet *fleet, const struct log *log, const char *name)
{
    struct table_node *n = table_find(&fleet->names, name_hash(log, name));
    for (; n; n = table_again(n)) {
        struct file *f = table_owner(n, struct file, by_name);
        if (f->log == log && strcmp(f->name, name) == 0)
            return f;
    }
    return NULL;
}

static struct file *same_inode(struct table_node *n, const struct log *log, uint64_t inode)
{
    for (; n; n = table_again(n)) {
        struct file *f = table_owner(n, struct file, by_inode);
        if (f->log == log && f->identity.inode == inode)
            return f;
    }
    return NULL;
}

struct file *fleet_file_of(const struct fleet *fleet, const struct log *log, uint64_t inode)
{
    return same_inode(table_find(&fleet->inodes, inode_hash(log, inode)), log, inode);
}

struct file *fleet_file_again(const struct file *f)
{
    return same_inode(table_again(&f->by_inode), f->log, f->identity.inode);
}

struct file *fleet_file_new(struct fleet *fleet, struct log *log, struct file *before, const char *name)
{
    struct file *f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    f->log = log;
    if (!fleet_file_rename(fleet, f, name)) {
        free(f);
        return NULL;
    }
    f->fd = -1;
    f->dirty = true;
    struct file **at = &log->files;
    while (*at != before)
        at = &(*at)->next;
    f->next = before;
    *at = f;
    fleet->file_count++;
    return f;
}

void file_forget_joins(struct fleet *fleet, struct file *f)
{
    if (!f->joins)
        return;
    for (int i = 0; i < 2; i++) {
        fleet->held_bytes -= f->joins->lines[i].capacity;
        free(f->joins->lines[i].data);
    }
    free(f->joins);
    f->joins = NULL;
}

void fleet_file_free(struct fleet *fleet, struct file *f)
{
    assert(f->in_flight == 0);
    struct file **at = &f->log->files;
    while (*at != f)
        at = &(*at)->next;
    *at = f->next;
    for (struct file *other = f->log->files; other; other = other->next) {
        if (other->copy_of == f)
            other->copy_of = NULL;
        if (other->joins && other->joins->origin == f)
            other->joins->origin = NULL;
    }
    tail_close(fleet, f);
    file_forget_joins(fleet, f);
    free(f->longer);
    free(f->head);
    fleet_file_met(fleet, f, NULL);
    fleet_file_rename(fleet, f, NULL);
    fleet_file_identify(fleet, f, &(struct identity){0});
    free(f);
    fleet->file_count--;
}

struct file *log_newest(const struct log *log)
{
    struct file *f = log->files;
    while (f && f->next)
        f = f->next;
    return f;
}

void fleet_ready(struct fleet *fleet, struct sandbox *s)
{
    if (s->ready)
        return;
    s->ready = true;
    s->ready_next = NULL;
    *(fleet->ready_last ? &fleet->ready_last->ready_next : &fleet->ready_first) = s;
    fleet->ready_last = s;
}

struct sandbox *fleet_next_ready(struct fleet *fleet)
{
    struct sandbox *s = fleet->ready_first;
    if (!s)
        return NULL;
    fleet->ready_first = s->ready_next;
    if (!fleet->ready_first)
        fleet->ready_last = NULL;
    s->ready = false;
    return s;
}

void fleet_want_sync(struct fleet *fleet, struct sandbox *s)
{
    s->sync = SYNC_WANTED;
    if (s->in_sync_queue)
        return;
    s->in_sync_queue = true;
    s->sync_next = NULL;
    *(fleet->sync_last ? &fleet->sync_last->sync_next : &fleet->sync_first) = s;
    fleet->sync_last = s;
}

struct sandbox *fleet_next_sync(struct fleet *fleet)
{
    struct sandbox *s = fleet->sync_first;
    if (!s)
        return NULL;
    fleet->sync_first = s->sync_next;
    if (!fleet->sync_first)
        fleet->sync_last = NULL;
    s->in_sync_queue = false;
    return s;
}

static void free_logs_of(struct fleet *fleet, struct sandbox *s)
{
    while (s->logs) {
        struct log *log = s->logs;
        while (log->files) {
            log->files->in_flight = 0;
            fleet_file_free(fleet, log->files);
        }
        fleet_log_free(fleet, log);
    }
}

void fleet_fini(struct fleet *fleet)
{
    for (size_t i = 0; fleet->sandboxes.buckets && i <= fleet->sandboxes.mask; i++) {
        while (fleet->sandboxes.buckets[i]) {
            struct sandbox *s = table_owner(fleet->sandboxes.buckets[i], struct sandbox, by_id);
            free_logs_of(fleet, s);
            s->ready = s->in_sync_queue = s->in_timers = false;
            s->in_flight = 0;
            fleet_sandbox_free(fleet, s);
        }
    }
    table_fini(&fleet->sandboxes);
    table_fini(&fleet->logs);
    table_fini(&fleet->names);
    table_fini(&fleet->inodes);
}
