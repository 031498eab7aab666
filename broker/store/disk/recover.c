// SPDX-License-Identifier: Apache-2.0
/*
 * Start: the segments that are there, in order; each that was not sealed is read from its first record to the
 * first bad one, or to the limit that a later segment's header sets, cut there and synced, so that what it
 * says is durable before anything is answered from it.
 */
#include "disk.h"
#include "load.h"
#include "wire/crc32c.h"
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

enum { SCAN_WINDOW_BYTES = 4 << 20, EXPECT_MOST = 4 << 20 };
static_assert((int)SCAN_WINDOW_BYTES > (int)SL_RECORD_MAX_BYTES, "any record fits the window");

static const char store_file[] = "store";
static const char store_file_new[] = "store.new";

/* ---- the file `store` ---- */

static int epoch_write(struct disk *d)
{
    char text[STORE_FILE_BYTES];
    store_file_render(d->epoch, text);
    (void)io_unlink(d->io, store_file_new);
    int file = io_open(d->io, store_file_new, IO_NEW);
    if (file < 0)
        return file;
    struct iovec all = {.iov_base = text, .iov_len = strlen(text)};
    int fault = io_write(d->io, file, 0, &all, 1);
    if (!fault)
        fault = io_sync(d->io, file);
    io_close(d->io, file);
    if (!fault)
        fault = io_rename(d->io, store_file_new, store_file);
    if (!fault)
        fault = io_sync_names(d->io);
    return fault;
}

/* 0: read; FORMAT_NEWER; FORMAT_MALFORMED: not there or not readable as one. */
static int epoch_read(struct disk *d)
{
    char text[STORE_FILE_BYTES];
    int file = io_open(d->io, store_file, 0);
    if (file == -ENOENT)
        return FORMAT_MALFORMED;
    if (file < 0)
        return file;
    int64_t bytes = io_read(d->io, file, 0, text, sizeof text);
    io_close(d->io, file);
    if (bytes < 0)
        return (int)bytes;
    return store_file_parse(sl_slice(text, (size_t)bytes), &d->epoch);
}

/* ---- the names ---- */

struct found {
    struct segment_name *names;
    size_t count, capacity;
    int fault;
};

static void found_name(void *arg, const char *text)
{
    struct found *f = arg;
    struct segment_name name;
    if (f->fault || !segment_name_parse(text, &name))
        return;
    if (f->count == f->capacity) {
        f->capacity = f->capacity ? 2 * f->capacity : 64;
        struct segment_name *wider = realloc(f->names, f->capacity * sizeof *wider);
        if (!wider) {
            f->fault = -ENOMEM;
            return;
        }
        f->names = wider;
    }
    f->names[f->count++] = name;
}

static int compare_names(const void *left, const void *right)
{
    const struct segment_name *a = left, *b = right;
    if (a->first != b->first)
        return a->first < b->first ? -1 : 1;
    return a->generation < b->generation ? -1 : a->generation > b->generation;
}

/* ---- scanning ---- */

/* Applies one good record. > 0: it does not fit what came before it. */
static int apply(struct disk *d, struct segment *s, uint64_t offset, struct sl_slice bytes,
                 const struct sl_record *record, struct sl_slice payload,
                 const struct sl_block_header *header)
{
    struct applied applied = {0};
    int answer = 0;
    struct sl_change change;
    struct sl_reader r;
    struct state state;
    switch (record->kind) {
    case SL_RECORD_BLOCK:
        answer = table_apply_block(&d->table, s, offset, record, header, false, &applied);
        break;
    case SL_RECORD_CHANGE:
        r = sl_reader(payload);
        answer = sl_change_decode(&r, &change)
                     ? TABLE_MISFIT
                     : table_apply_change(&d->table, &change, record->commit_ns, &applied);
        break;
    case SL_RECORD_DELETE:
        answer =
            sl_sandbox_id_valid(payload) ? table_apply_delete(&d->table, payload, &applied) : TABLE_MISFIT;
        break;
    case SL_RECORD_ENGINE:
        /* A state that recovery comes upon by scanning: its part is in memory already. */
        if (payload.bytes >= 4 && sl_load32(payload.data) == FORMAT_STATE)
            answer = state_decode(payload, &state) ? TABLE_MISFIT
                                                   : table_apply_state(&d->table, &state, NULL, &applied);
        else
            (void)dropped_decode(payload, &s->dropped);
        break;
    case SL_RECORD_CONSUMER:
        answer = load_consumers(d, payload);
        if (answer == 0)
            segment_commit_time(s, record->commit_ns);
        break;
    default:
        break;
    }
    if (answer || !applied.sandbox)
        return answer;
    segment_commit_time(s, record->commit_ns);
    seal_touch(s, applied.sandbox);
    if (applied.ended)
        hot_drop(&d->hot, applied.sandbox);
    if (applied.indexed)
        hot_add(&d->hot, applied.sandbox, &applied.entry, sl_slice(bytes.data, SL_RECORD_PREFIX_BYTES),
                payload);
    return 0;
}

/* Reads the records from `offset` to the first bad one. *ret_good: where that is. */
static int scan(struct disk *d, struct segment *s, uint64_t offset, uint64_t limit, uint8_t *window,
                uint64_t *ret_good)
{
    uint64_t base = offset;
    size_t have = 0;
    bool end = false;
    for (;;) {
        struct sl_slice bytes = sl_slice(window + (offset - base), have - (size_t)(offset - base));
        struct sl_record record;
        struct sl_slice payload;
        struct sl_block_header header;
        int answer = sl_record_check(bytes, &record, &payload, &header);
        if (answer == SL_RECORD_TRUNCATED && !end) {
            memmove(window, bytes.data, bytes.bytes);
            base = offset;
            have = bytes.bytes;
            uint64_t want = SCAN_WINDOW_BYTES - have;
            if (want > limit - (base + have))
                want = limit - (base + have);
            /* What can't be read may be good: no reason to cut it. An operator does, with check --repair. */
            int64_t got = io_read(d->io, s->file, base + have, window + have, want);
            if (got < 0)
                return (int)got;
            end = got < (int64_t)want || base + have + (uint64_t)got == limit;
            have += (size_t)got;
            continue;
        }
        if (answer != SL_RECORD_OK)
            break;
        uint64_t size = SL_RECORD_PREFIX_BYTES + record.payload_bytes;
        int fault = apply(d, s, offset, sl_slice(bytes.data, size), &record, payload, &header);
        if (fault < 0)
            return fault;
        if (fault > 0)
            d->cut_records++;
        offset += size;
    }
    *ret_good = offset;
    return 0;
}

/* ---- a segment ---- */

static int read_header(struct disk *d, struct segment *s, uint8_t *window, struct segment_header *ret,
                       uint64_t *ret_bytes)
{
    enum {
        MOST = SL_RECORD_PREFIX_BYTES + SEGMENT_HEADER_FIXED_BYTES + SEGMENT_LIMITS_MAX * SEGMENT_LIMIT_BYTES
    };
    struct sl_record record;
    int64_t got = io_read(d->io, s->file, 0, window, MOST);
    if (got == -EIO) {
        /* What lies behind the header is not asked for here. */
        got = io_read(d->io, s->file, 0, window, SL_RECORD_PREFIX_BYTES);
        if (got == SL_RECORD_PREFIX_BYTES &&
            sl_record_decode_prefix(sl_slice(window, (size_t)got), &record) == SL_RECORD_OK &&
            record.payload_bytes <= MOST - SL_RECORD_PREFIX_BYTES)
            got = io_read(d->io, s->file, 0, window, SL_RECORD_PREFIX_BYTES + (size_t)record.payload_bytes);
    }
    if (got < 0)
        return (int)got;
    struct sl_slice payload;
    struct sl_block_header ignored;
    int answer = sl_record_check(sl_slice(window, (size_t)got), &record, &payload, &ignored);
    if (answer == SL_RECORD_NEWER)
        return FORMAT_NEWER;
    if (answer != SL_RECORD_OK || record.kind != SL_RECORD_ENGINE)
        return FORMAT_MALFORMED;
    *ret_bytes = SL_RECORD_PREFIX_BYTES + payload.bytes;
    return segment_header_decode(payload, ret);
}

struct loading {
    struct segment *segment;
    uint64_t header_bytes; /* 0: the header can't be read */
    uint64_t limit;
    uint64_t last_birth;
    size_t states; /* in its index */
    bool empty;    /* made, and then the process was killed */
};

static void set_limits(struct loading *all, size_t count, const struct segment_header *header)
{
    struct sl_reader r = sl_reader(header->limit_pairs);
    uint32_t number;
    uint64_t bytes;
    while (segment_limit_next(&r, &number, &bytes)) {
        for (size_t i = 0; i < count; i++) {
            if (all[i].segment->name.last == number && bytes < all[i].limit)
                all[i].limit = bytes;
        }
    }
}

/*
 * True when the file ends with an index of a newer version. The header of a segment says as much; but it is
 * the older program's when the newer one sealed what that had left. *ret_states: how many the index has.
 */
static bool index_newer(struct disk *d, const struct segment *s, size_t *ret_states)
{
    uint8_t last[TRAILER_BYTES];
    struct trailer trailer;
    int64_t size = io_size(d->io, s->file);
    if (size < TRAILER_BYTES ||
        io_read(d->io, s->file, (uint64_t)size - TRAILER_BYTES, last, TRAILER_BYTES) != TRAILER_BYTES)
        return false;
    int answer = trailer_decode(last, (uint64_t)size, &trailer);
    if (answer == 0)
        *ret_states = trailer.states;
    return answer == FORMAT_NEWER;
}

static bool is_replaced(const struct found *found, const struct segment_name *name)
{
    for (size_t i = 0; i < found->count; i++) {
        if (segment_name_replaces(&found->names[i], name))
            return true;
    }
    return false;
}

/* Opens every segment and reads its header. Changes nothing before all are known to be of our version. */
static int open_segments(struct disk *d, const struct found *found, struct loading *all, uint8_t *window,
                         size_t *ret_count)
{
    size_t count = 0;
    for (size_t i = 0; i < found->count; i++) {
        const struct segment_name *name = &found->names[i];
        char text[SEGMENT_NAME_BYTES];
        segment_name_render(name, text);
        if (name->last >= d->next_number)
            d->next_number = name->last + 1;
        if (is_replaced(found, name))
            continue;
        struct loading *l = &all[count];
        *l = (struct loading){.limit = UINT64_MAX};
        int fault = disk_add_segment(d, name, &l->segment);
        if (fault)
            return fault;
        l->segment->closed = true;
        l->segment->named = true;
        l->segment->file = io_open(d->io, text, IO_WRITE);
        if (l->segment->file < 0)
            return l->segment->file;
        count++;
        struct segment_header header;
        int answer = read_header(d, l->segment, window, &header, &l->header_bytes);
        if (answer == FORMAT_NEWER || (answer >= 0 && index_newer(d, l->segment, &l->states)))
            return -EPROTONOSUPPORT;
        if (answer < 0)
            return answer;
        if (answer) {
            l->header_bytes = 0;
            continue;
        }
        if (d->epoch == 0)
            d->epoch = header.epoch;
        l->last_birth = l->segment->last_birth = header.last_birth;
        l->segment->before = header.before;
        l->segment->dropped = header.dropped;
        set_limits(all, count - 1, &header);
    }
    for (size_t i = 0; i < found->count; i++) {
        if (is_replaced(found, &found->names[i])) {
            char text[SEGMENT_NAME_BYTES];
            segment_name_render(&found->names[i], text);
            (void)io_unlink(d->io, text);
        }
    }
    *ret_count = count;
    return 0;
}

/*
 * Writes what is kept once more, then syncs. A sync that failed before this start may have left pages that
 * read well, count as clean and never reached the disk (Linux, so called fsyncgate): only a new write makes
 * them dirty again.
 */
static int make_durable(struct disk *d, const struct segment *s, uint64_t bytes, uint8_t *window)
{
    for (uint64_t at = 0; at < bytes;) {
        uint64_t part = bytes - at < SCAN_WINDOW_BYTES ? bytes - at : SCAN_WINDOW_BYTES;
        int64_t got = io_read(d->io, s->file, at, window, part);
        if (got != (int64_t)part)
            return got < 0 ? (int)got : -EIO;
        struct iovec all = {.iov_base = window, .iov_len = part};
        int fault = io_write(d->io, s->file, at, &all, 1);
        if (fault)
            return fault;
        at += part;
    }
    return bytes ? io_sync(d->io, s->file) : 0;
}

/* What recovery kept gets its index at once; if that can't be written it stays as it is. */
static void seal_now(struct disk *d, struct segment *s)
{
    struct seal seal;
    if (s->durable == 0 || s->unsealable || seal_make(s, &d->consumers, &seal))
        return;
    if (seal_write(d->io, &seal) == 0)
        seal_finish(&seal);
    seal_fini(&seal);
}

static int load_segment(struct disk *d, struct loading *l, uint8_t *window)
{
    struct segment *s = l->segment;
    int64_t size = io_size(d->io, s->file);
    if (size < 0)
        return (int)size;
    l->empty = size == 0;
    int answer = load_index(d, s, (uint64_t)size);
    if (answer < 0 || answer == FORMAT_NEWER || answer == 0) {
        if (l->last_birth > d->table.last_birth)
            d->table.last_birth = l->last_birth;
        return answer == FORMAT_NEWER ? -EPROTONOSUPPORT : answer;
    }
    if (s->name.generation > 0)
        return load_salvage(d, s, (uint64_t)size);
    uint64_t limit = l->limit < (uint64_t)size ? l->limit : (uint64_t)size;
    uint64_t good = 0;
    if (l->last_birth > d->table.last_birth)
        d->table.last_birth = l->last_birth;
    if (l->header_bytes && l->header_bytes <= limit) {
        int fault = scan(d, s, l->header_bytes, limit, window, &good);
        if (fault)
            return fault;
    }
    if (good < limit) {
        d->cut_records++;
        d->cut_bytes += limit - good;
    }
    /* A disk that can't cut keeps the tail: the next segment's header then sets the limit. */
    if (good < (uint64_t)size)
        (void)io_truncate(d->io, s->file, good);
    s->tail = s->durable = s->written = good;
    int fault = make_durable(d, s, good, window);
    if (!fault)
        seal_now(d, s);
    return fault;
}

/* A file whose very header is unreadable is not ours to delete: its name ends in `.bad` from now on. */
static void set_aside(struct disk *d, const char *name)
{
    char aside[SEGMENT_NAME_BYTES + 4];
    snprintf(aside, sizeof aside, "%s.bad", name);
    (void)io_rename(d->io, name, aside);
}

static int load_all(struct disk *d, const struct found *found, uint8_t *window)
{
    struct loading *all = calloc(found->count + 1, sizeof *all);
    if (!all)
        return -ENOMEM;
    size_t count = 0;
    int fault = open_segments(d, found, all, window, &count);
    /* Once, or each of a million sandboxes would be moved some ten times. Most may be the same ones again. */
    size_t states = 0;
    for (size_t i = 0; i < count; i++)
        states += all[i].states;
    table_expect(&d->table, states < EXPECT_MOST ? states : EXPECT_MOST);
    uint32_t none = 0, before_none = 0; /* the last that had nothing in it, and what stood before that */
    for (size_t i = 0; i < count && !fault; i++) {
        struct segment *s = all[i].segment;
        if (none && s->before == none)
            s->before = before_none;
        fault = load_segment(d, &all[i], window);
        if (!fault && s->durable == 0) {
            char text[SEGMENT_NAME_BYTES];
            segment_name_render(&s->name, text);
            if (!s->sealed && (all[i].header_bytes || all[i].limit == 0)) {
                none = s->name.last;
                before_none = s->before;
                (void)io_unlink(d->io, text);
            } else if (!s->sealed && all[i].empty) {
                (void)io_unlink(d->io, text);
            } else {
                set_aside(d, text);
            }
            disk_remove_segment(d, s);
        }
    }
    free(all);
    return fault;
}

/* Where whole segments are missing that retention did not drop. */
static void find_lost(struct disk *d)
{
    for (size_t i = 0; i < d->segment_count; i++)
        d->dropped = d->segments[i]->dropped > d->dropped ? d->segments[i]->dropped : d->dropped;
    for (size_t i = 0; i < d->segment_count; i++) {
        struct segment *s = d->segments[i];
        s->lost_before = s->before > d->dropped && (i == 0 || d->segments[i - 1]->name.last < s->before);
        d->lost_segments += s->lost_before;
    }
}

/*
 * When all is loaded: what retention took shows as lines missing at the front. Where a segment was lost
 * before those that are there, or has lost its index, they are damage.
 */
static void settle(struct disk *d)
{
    uint32_t lost_from = UINT32_MAX;
    for (size_t i = d->segment_count; i-- > 0;) {
        const struct segment *s = d->segments[i];
        lost_from = s->lost_before ? s->name.first : s->salvaged ? s->name.last + 1 : lost_from;
    }
    for (size_t i = 0; i < d->table.alive; i++) {
        struct sandbox *b = d->table.by_birth[i];
        uint32_t lost = 0;
        while (lost + 1 < b->extent_count && b->extents[lost + 1].first_seq <= b->kept_from)
            lost++;
        for (uint32_t x = 0; x < lost; x++) {
            b->extents[x].segment->dead_text_bytes += b->extents[x].text_bytes;
            b->kept_text_bytes -= b->extents[x].text_bytes;
            if (b->extents[x].capacity)
                free(b->extents[x].entries);
        }
        if (lost) {
            memmove(b->extents, b->extents + lost, (b->extent_count - lost) * sizeof *b->extents);
            b->extent_count -= lost;
        }
        uint64_t first = b->extent_count ? b->extents[0].first_seq : b->last_seq + 1;
        bool lost_some =
            b->extent_count ? b->extents[0].segment->name.first >= lost_from : lost_from != UINT32_MAX;
        if (first > b->kept_from && !lost_some)
            b->kept_from = first;
    }
}

int disk_recover(struct disk *d, const char **ret_why)
{
    struct found found = {0};
    uint8_t *window = malloc(SCAN_WINDOW_BYTES);
    int fault = window ? 0 : -ENOMEM;
    bool named = false;
    if (!fault) {
        int answer = epoch_read(d);
        named = answer == 0;
        fault = answer == FORMAT_NEWER ? -EPROTONOSUPPORT : answer < 0 ? answer : 0;
    }
    if (!fault)
        fault = io_list(d->io, found_name, &found);
    if (!fault)
        fault = found.fault;
    *ret_why = disk_fault_text(fault);
    if (fault)
        goto out;
    if (found.count)
        qsort(found.names, found.count, sizeof *found.names, compare_names);
    table_load(&d->table);
    fault = load_all(d, &found, window);
    if (!fault)
        fault = table_loaded(&d->table);
    if (fault) {
        *ret_why = disk_fault_text(fault);
        goto out;
    }
    find_lost(d);
    settle(d);
    (void)io_unlink(d->io, COMPACT_FILE);
    (void)io_unlink(d->io, SEAL_FILE);
    /* What was unlinked before a crash, and is not seen, must not come back with the next one. */
    if (named && (fault = io_sync_names(d->io))) {
        *ret_why = disk_fault_text(fault);
        goto out;
    }
    if (!named) {
        while (d->epoch == 0) {
            if (getrandom(&d->epoch, sizeof d->epoch, 0) < 0 && errno != EINTR) {
                fault = -errno;
                break;
            }
        }
        if (!fault)
            fault = epoch_write(d);
        *ret_why = disk_fault_text(fault);
    }
out:
    free(found.names);
    free(window);
    return fault;
}
