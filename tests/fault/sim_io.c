// SPDX-License-Identifier: Apache-2.0
#include "sim_disk.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { SECTOR_BYTES = 512 };

struct sim {
    struct name seen[SIM_FILES];
    struct name durable[SIM_FILES];
    struct rename *renames, **renames_end;
    struct node *open[SIM_FILES];
    void (*hook)(void *arg);
    void *hook_arg;
    unsigned fail_calls;
    uint64_t fail_countdown;
    int fail_fault;
    bool fail_forever;
    bool failed;
    struct sim_random random; /* what of a failed sync reached the disk */
    uint64_t room;
};

struct sim_handle {
    struct io io;
    struct sim *sim;
};

uint64_t sim_random(struct sim_random *r)
{
    /* splitmix64 */
    uint64_t z = (r->state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static void rename_note(struct sim *s, const char *from, const char *to, struct node *n)
{
    struct rename *r = must(sizeof *r);
    strcpy(r->from, from);
    strcpy(r->to, to);
    r->node = n;
    n->refs++;
    *s->renames_end = r;
    s->renames_end = &r->next;
    rename_apply(r, s->seen);
}

static void renames_free(struct sim *s)
{
    while (s->renames) {
        struct rename *r = s->renames;
        s->renames = r->next;
        node_unref(r->node);
        free(r);
    }
    s->renames_end = &s->renames;
}

/* ---- the calls ---- */

static struct sim *sim_of(struct io *io)
{
    return ((struct sim_handle *)io)->sim;
}

static void hook(struct sim *s)
{
    if (s->hook)
        s->hook(s->hook_arg);
}

static int fault_of(struct sim *s, enum sim_call call)
{
    if (!(s->fail_calls & call))
        return 0;
    if (s->fail_countdown > 1) {
        s->fail_countdown--;
        return 0;
    }
    if (s->fail_countdown == 1) {
        s->failed = true;
        if (!s->fail_forever)
            s->fail_countdown = 0;
        return s->fail_fault;
    }
    return 0;
}

static int sim_open(struct io *io, const char *name, int flags)
{
    struct sim *s = sim_of(io);
    int fault = fault_of(s, SIM_OPEN);
    if (fault)
        return fault;
    struct name *at = name_find(s->seen, name);
    if (flags & IO_NEW) {
        if (at)
            return -EEXIST;
        hook(s);
        rename_note(s, "", name, node_new());
        hook(s);
        at = name_find(s->seen, name);
    }
    if (!at)
        return -ENOENT;
    for (int file = 0; file < SIM_FILES; file++) {
        if (!s->open[file]) {
            s->open[file] = at->node;
            at->node->refs++;
            return file;
        }
    }
    return -EMFILE;
}

static void sim_close(struct io *io, int file)
{
    struct sim *s = sim_of(io);
    node_unref(s->open[file]);
    s->open[file] = NULL;
}

static int sim_write(struct io *io, int file, uint64_t at, struct iovec *vectors, int count)
{
    struct sim *s = sim_of(io);
    struct node *n = s->open[file];
    hook(s);
    int fault = fault_of(s, SIM_WRITE);
    for (int i = 0; i < count; i++) {
        size_t size = vectors[i].iov_len;
        if (fault)
            size /= 2;
        uint64_t grows = at + size > n->seen.size ? at + size - n->seen.size : 0;
        if (grows > s->room) {
            fault = -ENOSPC;
            size -= (size_t)(grows - s->room);
            grows = s->room;
        }
        if (s->room != UINT64_MAX)
            s->room -= grows;
        if (size) {
            if (at < n->hurt_to && n->hurt_from < at + size)
                n->hurt_from = n->hurt_to = 0; /* a disk puts such sectors elsewhere when they are written */
            bytes_write(&n->seen, at, vectors[i].iov_base, size);
            node_deed(n, false, at, vectors[i].iov_base, size);
        }
        at += size;
        if (fault)
            break;
    }
    hook(s);
    return fault;
}

static int64_t sim_read(struct io *io, int file, uint64_t at, void *into, size_t bytes)
{
    struct sim *s = sim_of(io);
    const struct node *n = s->open[file];
    int fault = fault_of(s, SIM_READ);
    if (fault)
        return fault;
    if (at >= n->seen.size)
        return 0;
    if (bytes > n->seen.size - at)
        bytes = n->seen.size - at;
    if (at < n->hurt_to && n->hurt_from < at + bytes)
        return -EIO;
    memcpy(into, n->seen.data + at, bytes);
    return (int64_t)bytes;
}

static int sim_sync(struct io *io, int file)
{
    struct sim *s = sim_of(io);
    struct node *n = s->open[file];
    hook(s);
    int fault = fault_of(s, SIM_SYNC);
    for (const struct deed *d = n->deeds; d; d = d->next) {
        if (!fault || sim_random(&s->random) % 2)
            deed_apply(d, &n->durable);
    }
    deeds_free(n);
    hook(s);
    return fault;
}

static int sim_sync_names(struct io *io)
{
    struct sim *s = sim_of(io);
    hook(s);
    int fault = fault_of(s, SIM_SYNC);
    if (!fault) {
        for (const struct rename *r = s->renames; r; r = r->next)
            rename_apply(r, s->durable);
        renames_free(s);
    }
    hook(s);
    return fault;
}

static int64_t sim_size(struct io *io, int file)
{
    return (int64_t)sim_of(io)->open[file]->seen.size;
}

static int sim_truncate(struct io *io, int file, uint64_t bytes)
{
    struct sim *s = sim_of(io);
    struct node *n = s->open[file];
    hook(s);
    int fault = fault_of(s, SIM_TRUNCATE);
    if (!fault) {
        if (s->room != UINT64_MAX && bytes < n->seen.size)
            s->room += n->seen.size - bytes;
        bytes_resize(&n->seen, bytes);
        node_deed(n, true, bytes, NULL, 0);
    }
    hook(s);
    return fault;
}

static int sim_reserve(struct io *io, int file, uint64_t from, uint64_t bytes)
{
    (void)io, (void)file, (void)from, (void)bytes;
    return 0;
}

static void sim_forget(struct io *io, int file)
{
    (void)io, (void)file;
}

static int sim_rename(struct io *io, const char *from, const char *to)
{
    struct sim *s = sim_of(io);
    hook(s);
    int fault = fault_of(s, SIM_NAMES);
    const struct name *at = name_find(s->seen, from);
    if (!fault && !at)
        fault = -ENOENT;
    if (!fault)
        rename_note(s, from, to, at->node);
    hook(s);
    return fault;
}

static int sim_unlink(struct io *io, const char *name)
{
    struct sim *s = sim_of(io);
    hook(s);
    int fault = fault_of(s, SIM_NAMES);
    const struct name *at = name_find(s->seen, name);
    if (!fault && !at)
        fault = -ENOENT;
    if (!fault) {
        if (s->room != UINT64_MAX)
            s->room += at->node->seen.size;
        rename_note(s, name, "", at->node);
    }
    hook(s);
    return fault;
}

static int sim_list(struct io *io, void (*each)(void *arg, const char *name), void *arg)
{
    struct sim *s = sim_of(io);
    int fault = fault_of(s, SIM_READ);
    for (int i = 0; i < SIM_FILES && !fault; i++) {
        if (s->seen[i].text[0])
            each(arg, s->seen[i].text);
    }
    return fault;
}

static int sim_room(struct io *io, uint64_t *ret_bytes)
{
    *ret_bytes = sim_of(io)->room;
    return 0;
}

static void sim_io_free(struct io *io)
{
    struct sim *s = sim_of(io);
    for (int i = 0; i < SIM_FILES; i++)
        assert(!s->open[i] && "every file was closed");
    free(io);
}

static const struct io_calls sim_calls = {
    .open = sim_open,
    .close = sim_close,
    .write = sim_write,
    .read = sim_read,
    .sync = sim_sync,
    .sync_names = sim_sync_names,
    .size = sim_size,
    .truncate = sim_truncate,
    .reserve = sim_reserve,
    .forget = sim_forget,
    .rename = sim_rename,
    .unlink = sim_unlink,
    .list = sim_list,
    .room = sim_room,
    .free = sim_io_free,
};

/* ---- from outside ---- */

int sim_new(struct sim **ret)
{
    struct sim *s = calloc(1, sizeof *s);
    if (!s)
        return -ENOMEM;
    s->renames_end = &s->renames;
    s->room = UINT64_MAX;
    *ret = s;
    return 0;
}

struct io *sim_io(struct sim *s)
{
    struct sim_handle *h = must(sizeof *h);
    h->io.calls = &sim_calls;
    h->sim = s;
    return &h->io;
}

void sim_free(struct sim *s)
{
    renames_free(s);
    for (int i = 0; i < SIM_FILES; i++) {
        if (s->seen[i].text[0])
            node_unref(s->seen[i].node);
        if (s->durable[i].text[0])
            node_unref(s->durable[i].node);
        if (s->open[i])
            node_unref(s->open[i]);
    }
    free(s);
}

void sim_hook(struct sim *s, void (*call)(void *arg), void *arg)
{
    s->hook = call;
    s->hook_arg = arg;
}

/* A write that reaches the disk in part does so by sectors, in any order. */
static void write_torn(const struct deed *d, struct bytes *to, struct sim_random *r)
{
    for (size_t at = 0; at < d->size;) {
        size_t part = SECTOR_BYTES - (size_t)((d->at + at) % SECTOR_BYTES);
        if (part > d->size - at)
            part = d->size - at;
        if (sim_random(r) & 1)
            bytes_write(to, d->at + at, d->data + at, part);
        at += part;
    }
}

static struct node *node_crash(const struct node *n, struct sim_random *r)
{
    struct node *found = node_new();
    bytes_copy(&found->durable, &n->durable);
    uint64_t how = sim_random(r) % 4; /* nothing, everything, a prefix, a subset of the unsynced */
    bool over = false;
    for (const struct deed *d = n->deeds; d; d = d->next) {
        if (how == 0)
            break;
        if (how == 1) {
            deed_apply(d, &found->durable);
        } else if (how == 2) {
            over = over || sim_random(r) % 4 == 0;
            if (!over)
                deed_apply(d, &found->durable);
        } else if (d->truncate) {
            if (sim_random(r) & 1)
                deed_apply(d, &found->durable);
        } else {
            write_torn(d, &found->durable, r);
        }
    }
    bytes_copy(&found->seen, &found->durable);
    return found;
}

struct sim *sim_crash(const struct sim *s, struct sim_random *r)
{
    struct sim *after;
    if (sim_new(&after))
        abort();
    struct name names[SIM_FILES];
    memcpy(names, s->durable, sizeof names);
    for (int i = 0; i < SIM_FILES; i++) {
        if (names[i].text[0])
            names[i].node->refs++;
    }
    uint64_t how = sim_random(r) % 4;
    for (const struct rename *n = s->renames; n && how; n = n->next) {
        if (how == 1 || sim_random(r) % 4)
            rename_apply(n, names);
        else if (how == 2)
            break;
    }
    for (int i = 0; i < SIM_FILES; i++) {
        if (!names[i].text[0])
            continue;
        struct node *n = node_crash(names[i].node, r);
        name_set(after->seen, names[i].text, n);
        name_set(after->durable, names[i].text, n);
        node_unref(names[i].node);
    }
    return after;
}

void sim_fail(struct sim *s, unsigned calls, uint64_t countdown, int fault, bool forever)
{
    s->fail_calls = calls;
    s->fail_countdown = countdown;
    s->fail_fault = fault;
    s->fail_forever = forever;
    s->failed = false;
}

bool sim_failed(const struct sim *s)
{
    return s->failed;
}

void sim_set_room(struct sim *s, uint64_t bytes)
{
    s->room = bytes;
}

bool sim_hurt(struct sim *s, const char *name, uint64_t from, uint64_t to)
{
    struct name *n = name_find(s->seen, name);
    if (!n)
        return false;
    n->node->hurt_from = from;
    n->node->hurt_to = to;
    return true;
}

bool sim_flip(struct sim *s, const char *name, uint64_t at, uint8_t mask)
{
    struct name *found = name_find(s->seen, name);
    if (!found || at >= found->node->seen.size)
        return false;
    found->node->seen.data[at] ^= mask;
    if (at < found->node->durable.size)
        found->node->durable.data[at] ^= mask;
    return true;
}

void sim_each(const struct sim *s, void (*each)(void *arg, const char *name, uint64_t bytes), void *arg)
{
    for (int i = 0; i < SIM_FILES; i++) {
        if (s->seen[i].text[0])
            each(arg, s->seen[i].text, s->seen[i].node->seen.size);
    }
}
