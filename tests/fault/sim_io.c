// SPDX-License-Identifier: Apache-2.0
#include "sim_io.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { SIM_FILES = 256, SECTOR_BYTES = 512 };

struct bytes {
    uint8_t *data;
    size_t size, capacity;
};

/* Something done to a file since its last sync. */
struct deed {
    struct deed *next;
    bool truncate;
    uint64_t at; /* or the size */
    size_t size;
    uint8_t data[];
};

struct node {
    struct bytes seen; /* what reads give */
    struct bytes durable;
    struct deed *deeds, **deeds_end;
    unsigned refs; /* names, durable names, handles */
};

struct name {
    char text[IO_NAME_MAX_BYTES + 1]; /* empty: none */
    struct node *node;
};

/* Something done to the directory since its last sync. */
struct rename {
    struct rename *next;
    char from[IO_NAME_MAX_BYTES + 1]; /* empty: created */
    char to[IO_NAME_MAX_BYTES + 1];   /* empty: unlinked */
    struct node *node;
};

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

volatile bool sim_inside;

/* The disk's own memory: never failed by a test that fails the store's. Zeroed. */
static void *must(size_t bytes)
{
    sim_inside = true;
    void *memory = calloc(1, bytes);
    sim_inside = false;
    if (!memory)
        abort();
    return memory;
}

/* ---- bytes, nodes ---- */

static void bytes_resize(struct bytes *b, size_t size)
{
    if (size > b->capacity) {
        b->capacity = size * 2;
        uint8_t *wider = must(b->capacity);
        if (b->size)
            memcpy(wider, b->data, b->size);
        free(b->data);
        b->data = wider;
    }
    if (size > b->size)
        memset(b->data + b->size, 0, size - b->size);
    b->size = size;
}

static void bytes_write(struct bytes *b, uint64_t at, const uint8_t *data, size_t size)
{
    if (at + size > b->size)
        bytes_resize(b, at + size);
    memcpy(b->data + at, data, size);
}

static void bytes_copy(struct bytes *to, const struct bytes *from)
{
    bytes_resize(to, from->size);
    if (from->size)
        memcpy(to->data, from->data, from->size);
}

static struct node *node_new(void)
{
    struct node *n = must(sizeof *n);
    n->deeds_end = &n->deeds;
    return n;
}

static void deeds_free(struct node *n)
{
    while (n->deeds) {
        struct deed *d = n->deeds;
        n->deeds = d->next;
        free(d);
    }
    n->deeds_end = &n->deeds;
}

static void node_unref(struct node *n)
{
    if (--n->refs > 0)
        return;
    deeds_free(n);
    free(n->seen.data);
    free(n->durable.data);
    free(n);
}

static void node_deed(struct node *n, bool truncate, uint64_t at, const void *data, size_t size)
{
    struct deed *d = must(sizeof *d + size);
    *d = (struct deed){.truncate = truncate, .at = at, .size = size};
    if (size)
        memcpy(d->data, data, size);
    *n->deeds_end = d;
    n->deeds_end = &d->next;
}

static void deed_apply(const struct deed *d, struct bytes *to)
{
    if (d->truncate)
        bytes_resize(to, d->at);
    else
        bytes_write(to, d->at, d->data, d->size);
}

/* ---- names ---- */

static struct name *name_find(struct name *names, const char *text)
{
    for (int i = 0; i < SIM_FILES; i++) {
        if (names[i].text[0] && strcmp(names[i].text, text) == 0)
            return &names[i];
    }
    return NULL;
}

static void name_set(struct name *names, const char *text, struct node *n)
{
    struct name *at = name_find(names, text);
    if (at) {
        node_unref(at->node);
    } else {
        for (at = names; at->text[0]; at++)
            assert(at < names + SIM_FILES - 1);
        strcpy(at->text, text);
    }
    at->node = n;
    n->refs++;
}

static void name_remove(struct name *names, const char *text)
{
    struct name *at = name_find(names, text);
    if (at) {
        node_unref(at->node);
        *at = (struct name){0};
    }
}

static void rename_apply(const struct rename *r, struct name *names)
{
    if (r->to[0])
        name_set(names, r->to, r->node);
    if (r->from[0])
        name_remove(names, r->from);
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
