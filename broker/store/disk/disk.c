// SPDX-License-Identifier: Apache-2.0
#include "disk.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

enum { SEGMENT_LEAST_BYTES = 4 << 10, SEGMENT_DEFAULT_BYTES = 128 << 20, SEGMENT_MOST_BYTES = 1 << 30 };

const char *disk_fault_text(int fault)
{
    switch (fault) {
    case -ENOSPC:
    case -EDQUOT:
        return "the disk is full";
    case -EIO:
        return "the disk reports an I/O error";
    case -EACCES:
    case -EPERM:
        return "the data directory can't be written: permission denied";
    case -EROFS:
        return "the data directory is on a read-only file system";
    case -ENOMEM:
        return "out of memory";
    case -EMFILE:
    case -ENFILE:
        return "too many open files";
    case -ENOTDIR:
        return "the data directory is not a directory";
    case -EISDIR: /* the name of the file that describes a store is a folder's there */
        return "the data directory holds something else; that of `sandlog up` is the folder store in its own";
    case -ENOENT:
        return "the data directory is not there";
    case -EBUSY:
        return "the data directory is in use by another process";
    case -EPROTONOSUPPORT:
        return "the data directory was written by a newer version of sandlog";
    default:
        return "the data directory can't be used";
    }
}

int disk_add_segment(struct disk *d, const struct segment_name *name, struct segment **ret)
{
    if (d->segment_count == d->segment_capacity) {
        size_t capacity = d->segment_capacity ? 2 * d->segment_capacity : 16;
        struct segment **wider = realloc(d->segments, capacity * sizeof(struct segment *));
        if (!wider)
            return -ENOMEM;
        d->segments = wider;
        d->segment_capacity = capacity;
    }
    struct segment *s;
    int fault = segment_new(name, &s);
    if (fault)
        return fault;
    size_t at = d->segment_count++;
    for (; at > 0 && d->segments[at - 1]->name.first > name->first; at--)
        d->segments[at] = d->segments[at - 1];
    d->segments[at] = s;
    *ret = s;
    return 0;
}

void disk_remove_segment(struct disk *d, struct segment *s)
{
    size_t at = 0;
    while (d->segments[at] != s)
        at++;
    for (d->segment_count--; at < d->segment_count; at++)
        d->segments[at] = d->segments[at + 1];
    seal_forget(d, s);
    part_forget(d, s);
    segment_free(s, d->io);
}

/* All but the commit thread, which is stopped. */
static void disk_free(struct disk *d)
{
    judge_rollback(&d->judge);
    part_forget(d, NULL);
    hot_fini(&d->hot);
    table_fini(&d->table);
    for (size_t i = 0; i < d->segment_count; i++)
        segment_free(d->segments[i], d->io);
    free(d->segments);
    sl_block_builder_free(d->gap);
    free(d->scratch);
    free(d->window);
    io_free(d->io);
    free(d);
}

static void disk_close(struct store *s)
{
    struct disk *d = (struct disk *)s;
    d->closing = true;
    compact_cancel(d);
    do {
        commit_stop(&d->commit);
        /* A `done` may submit once more; without the thread it is worked off in here. */
        disk_run(s);
    } while (d->commit.queue || d->commit.done || d->refused);
    disk_roll(d);
    background_stop(&d->sealer);
    background_stop(&d->background);
    while (d->sealer.unfinished || d->background.unfinished) {
        background_take(&d->sealer, d);
        background_take(&d->background, d);
    }
    while (d->unsealed)
        seal_forget(d, d->unsealed->seal.segment);
    disk_end_waiting(d, -ECANCELED);
    background_fini(&d->sealer);
    background_fini(&d->background);
    commit_fini(&d->commit);
    disk_free(d);
}

static uint64_t disk_epoch(const struct store *s)
{
    return ((const struct disk *)s)->epoch;
}

static const char *disk_trouble(const struct store *s)
{
    return ((const struct disk *)s)->trouble;
}

static void disk_stats(struct store *s, struct store_stats *ret)
{
    const struct disk *d = (const struct disk *)s;
    *ret = (struct store_stats){
        .segments = d->segment_count,
        .sandboxes = d->table.alive,
        .hot_bytes = d->hot.bytes,
        .lost_segments = d->lost_segments,
        .cut_records = d->cut_records,
        .cut_bytes = d->cut_bytes,
        .damaged_blocks = d->damaged_blocks,
        .compactions = d->compactions,
        .export_overruns = d->export_overruns,
        .commits = atomic_load(&d->commit.groups),
        .commit_faults = atomic_load(&d->commit.faults),
        .sync_latency = &d->commit.latency,
    };
    for (size_t i = 0; i < d->segment_count; i++)
        ret->bytes += d->segments[i]->sealed ? d->segments[i]->file_bytes : d->segments[i]->durable;
}

void disk_drop_file(struct disk *d, struct segment *s)
{
    char name[SEGMENT_NAME_BYTES];
    segment_name_render(&s->name, name);
    /* If it can't be unlinked, the next start finds it replaced, or older than all that is kept. */
    (void)io_unlink(d->io, name);
    disk_remove_segment(d, s);
}

void disk_roll(struct disk *d)
{
    if (!d->active || d->active->tail == 0)
        return;
    d->active->closed = true;
    seal_start(d, d->active);
    d->active = NULL;
}

static const struct store_engine disk_engine = {
    .close = disk_close,
    .epoch = disk_epoch,
    .trouble = disk_trouble,
    .run = disk_run,
    .append = disk_append,
    .place = disk_place,
    .info = disk_info,
    .list = disk_list,
    .sources = disk_sources,
    .read = disk_read,
    .seek_time = disk_seek_time,
    .seek_back = disk_seek_back,
    .consumer_change = disk_consumer_change,
    .lease = disk_lease,
    .scan = disk_scan,
    .consumers = disk_consumers,
    .stats = disk_stats,
    .compact = disk_compact,
};

int disk_open_io(const struct store_options *options, struct io *io, bool threaded, struct store **ret,
                 const char **ret_why)
{
    struct disk *d = calloc(1, sizeof *d);
    int fault = -ENOMEM;
    *ret_why = disk_fault_text(fault);
    if (!d) {
        io_free(io);
        return fault;
    }
    d->store.engine = &disk_engine;
    d->options = *options;
    d->options.location = NULL;
    if (d->options.segment_bytes == 0)
        d->options.segment_bytes = SEGMENT_DEFAULT_BYTES;
    if (d->options.segment_bytes < SEGMENT_LEAST_BYTES)
        d->options.segment_bytes = SEGMENT_LEAST_BYTES;
    if (d->options.segment_bytes > SEGMENT_MOST_BYTES)
        d->options.segment_bytes = SEGMENT_MOST_BYTES;
    d->io = io;
    d->generation = 1;
    d->next_number = 1;
    d->judge.table = &d->table;
    hot_init(&d->hot, options->memory_bytes);
    d->scratch = malloc(SL_RECORD_MAX_BYTES);
    if (!d->scratch || (fault = sl_block_builder_new(&d->gap)) || (fault = table_init(&d->table)) ||
        (fault = disk_recover(d, ret_why)) ||
        (fault = commit_init(&d->commit, io, threaded, options->wake, options->arg))) {
        disk_free(d);
        return fault;
    }
    if ((fault = background_init(&d->background, threaded, options->wake, options->arg,
                                 options->retention_age_ns || options->export_hold_ns ? 5 : 0))) {
        commit_fini(&d->commit);
        disk_free(d);
        return fault;
    }
    if ((fault = background_init(&d->sealer, threaded, options->wake, options->arg, 0))) {
        background_fini(&d->background);
        commit_fini(&d->commit);
        disk_free(d);
        return fault;
    }
    *ret = &d->store;
    return 0;
}

int disk_open(const struct store_options *options, struct store **ret, const char **ret_why)
{
    struct io *io;
    int fault = io_posix_new(options->location, true, &io);
    if (fault) {
        *ret_why = disk_fault_text(fault);
        return fault;
    }
    return disk_open_io(options, io, true, ret, ret_why);
}
