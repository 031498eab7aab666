// SPDX-License-Identifier: Apache-2.0
/*
 * `sandlog-broker check`: reads every byte of a store that no process has open, and says what is wrong. It
 * writes nothing; the repair is what a start does anyway (cut, index anew), after indexes that are damaged
 * were taken off.
 */
#include "disk.h"
#include "wire/crc32c.h"
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { CHECK_WINDOW_BYTES = 4 << 20, CHECK_SEGMENTS_MAX = 1 << 16 };

/* What one file says of those before it. */
struct kept {
    struct segment_name name;
    uint32_t before, dropped;
};

struct check {
    struct io *io;
    store_report *report;
    void *arg;
    struct store_check_result *result;
    bool repair;
    struct segment_name *names;
    size_t count;
    struct kept *kept; /* of names that are not replaced, ascending */
    size_t kept_count;
    int fault;
    uint8_t *window;
};

__attribute__((format(printf, 2, 3))) static void say(struct check *c, const char *format, ...)
{
    char sentence[256];
    va_list args;
    va_start(args, format);
    vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    c->report(c->arg, sentence);
}

static void note_name(void *arg, const char *text)
{
    struct check *c = arg;
    struct segment_name name;
    size_t bytes = strlen(text);
    if (bytes > 4 && strcmp(text + bytes - 4, ".bad") == 0)
        say(c, "%s: was set aside by a start, because its header can't be read", text);
    if (!segment_name_parse(text, &name) || c->fault)
        return;
    struct segment_name *wider = realloc(c->names, (c->count + 1) * sizeof *wider);
    if (!wider || c->count == CHECK_SEGMENTS_MAX) {
        c->fault = -ENOMEM;
        return;
    }
    c->names = wider;
    c->names[c->count++] = name;
}

struct scanned {
    uint64_t records_end; /* behind the last record before the states */
    uint64_t states_end;  /* behind the last record */
    uint64_t damaged;     /* blocks whose prefix is good and whose payload is not */
    uint64_t lines;
    uint64_t records;
    uint64_t unreadable; /* of the damaged ones */
    uint64_t hurt_at;    /* the first that can't be read; UINT64_MAX: none */
    bool tail_hurt;      /* what is no record any more can't be read */
    bool newer;
    struct segment_header header; /* all 0 when it can't be read */
    uint32_t dropped;
};

/*
 * Where the window holds what can't be read: the one record at `at` into the window. *ret_record: its prefix,
 * when it alone can be read. Bytes of it; 0: no record; -EIO.
 */
static int64_t read_record(struct check *c, int file, uint64_t at, struct sl_record *ret_record)
{
    int64_t got = io_read(c->io, file, at, c->window, SL_RECORD_PREFIX_BYTES);
    if (got < 0)
        return got;
    if (sl_record_decode_prefix(sl_slice(c->window, (size_t)got), ret_record) != SL_RECORD_OK)
        return 0;
    return io_read(c->io, file, at, c->window, SL_RECORD_PREFIX_BYTES + (size_t)ret_record->payload_bytes);
}

/* The first place from `at` to `end` where a record's prefix is good; `end`: there is none, or it can't be
 * read.
 */
static uint64_t next_good(struct check *c, int file, uint64_t at, uint64_t end)
{
    while (at + SL_RECORD_PREFIX_BYTES <= end) {
        int64_t got = io_read(c->io, file, at, c->window, CHECK_WINDOW_BYTES);
        if (got < SL_RECORD_PREFIX_BYTES)
            break;
        size_t tries = (size_t)got - SL_RECORD_PREFIX_BYTES + 1;
        for (size_t i = 0; i < tries; i++) {
            struct sl_record record;
            if (at + i + SL_RECORD_PREFIX_BYTES <= end &&
                sl_record_decode_prefix(sl_slice(c->window + i, (size_t)got - i), &record) == SL_RECORD_OK &&
                record.payload_bytes <= end - (at + i) - SL_RECORD_PREFIX_BYTES)
                return at + i;
        }
        at += tries;
    }
    return end;
}

/*
 * Every record from the start to the first whose prefix is bad; behind that too where the index says that
 * there are some: up to `states_at`, 0 without an index.
 */
static int scan_all(struct check *c, int file, uint64_t size, uint64_t states_at, struct scanned *ret)
{
    struct scanned s = {.hurt_at = UINT64_MAX};
    uint64_t at = 0, first_bad = UINT64_MAX;
    while (at < size) {
        int64_t got = io_read(c->io, file, at, c->window, CHECK_WINDOW_BYTES);
        if (got == -EIO) {
            struct sl_record hurt = {0};
            got = read_record(c, file, at, &hurt);
            s.tail_hurt = s.tail_hurt || got == 0;
            if (got == -EIO) {
                s.hurt_at = at < s.hurt_at ? at : s.hurt_at;
                s.unreadable++;
                s.damaged++;
                if (hurt.kind == 0)
                    break; /* nor is it known where the next one begins */
                s.records++;
                at += SL_RECORD_PREFIX_BYTES + (uint64_t)hurt.payload_bytes;
                if (hurt.kind != SL_RECORD_ENGINE && at < first_bad)
                    s.records_end = at;
                continue;
            }
        }
        if (got < 0)
            return (int)got;
        struct sl_slice bytes = sl_slice(c->window, (size_t)got);
        uint64_t before = at;
        struct sl_record record;
        while (sl_record_decode_prefix(bytes, &record) == SL_RECORD_OK) {
            size_t whole = SL_RECORD_PREFIX_BYTES + (size_t)record.payload_bytes;
            if (whole > bytes.bytes)
                break;
            struct sl_slice payload;
            struct sl_block_header header;
            int answer = sl_record_check(sl_slice(bytes.data, whole), &record, &payload, &header);
            s.newer = s.newer || answer == SL_RECORD_NEWER;
            s.records++;
            if (answer != SL_RECORD_OK)
                s.damaged++;
            else if (record.kind == SL_RECORD_BLOCK)
                s.lines += header.lines;
            at += whole;
            bytes = sl_slice(bytes.data + whole, bytes.bytes - whole);
            bool state = answer == SL_RECORD_OK && record.kind == SL_RECORD_ENGINE && payload.bytes >= 4 &&
                         sl_load32(payload.data) == FORMAT_STATE;
            if (answer == SL_RECORD_OK && record.kind == SL_RECORD_ENGINE && !state) {
                if (before == 0 && s.records == 1)
                    (void)segment_header_decode(payload, &s.header);
                (void)dropped_decode(payload, &s.dropped);
            }
            if (!state)
                s.records_end = at < first_bad ? at : s.records_end;
        }
        if (at == before && at < states_at) {
            first_bad = at < first_bad ? at : first_bad;
            s.damaged++;
            at = next_good(c, file, at + 1, states_at);
        } else if (at == before) {
            break;
        }
    }
    s.states_end = at;
    *ret = s;
    return 0;
}

/* True when every state and every part of it is whole. */
static bool index_good(struct check *c, int file, const struct trailer *t)
{
    uint8_t *states = malloc(t->states_bytes + 1);
    bool good =
        states && io_read(c->io, file, t->states_offset, states, t->states_bytes) == (int64_t)t->states_bytes;
    struct sl_slice rest = sl_slice(states, good ? t->states_bytes : 0);
    while (good && rest.bytes) {
        struct sl_record record;
        struct sl_slice payload;
        struct sl_block_header ignored;
        struct state state;
        good = sl_record_check(rest, &record, &payload, &ignored) == SL_RECORD_OK;
        size_t whole = good ? SL_RECORD_PREFIX_BYTES + payload.bytes : 0;
        struct consumer_table table;
        if (good && record.kind == SL_RECORD_CONSUMER && consumers_decode(payload, &table) == 0) {
            rest = sl_slice(rest.data + whole, rest.bytes - whole);
            continue;
        }
        good = good && record.kind == SL_RECORD_ENGINE && state_decode(payload, &state) == 0;
        if (!good)
            break;
        size_t bytes = state.part.count * sizeof(struct entry);
        rest = sl_slice(rest.data + whole, rest.bytes - whole);
        void *part = malloc(bytes + 1);
        good = part && bytes <= t->parts_bytes &&
               io_read(c->io, file, state.part.offset, part, bytes) == (int64_t)bytes &&
               sl_crc32c(0, sl_slice(part, bytes)) == (state.part.count ? state.part.crc : 0);
        free(part);
    }
    free(states);
    return good;
}

/*
 * Leaves what a start can work with. It reads all of a segment that is not sealed, so that ends where reading
 * does; without its header, or compacted and without its index, nothing of it can be told apart.
 */
static int repair_segment(struct check *c, const struct segment_name *name, int file, const struct scanned *s)
{
    char text[SEGMENT_NAME_BYTES], aside[SEGMENT_NAME_BYTES + 4];
    segment_name_render(name, text);
    if (s->hurt_at == 0 || (name->generation > 0 && s->unreadable)) {
        snprintf(aside, sizeof aside, "%s.bad", text);
        int fault = io_rename(c->io, text, aside);
        c->result->repaired += !fault;
        say(c, "%s: is set aside as %s", text, aside);
        return fault;
    }
    if (name->generation > 0 && !s->tail_hurt)
        return 0;
    uint64_t end = name->generation > 0          ? s->states_end
                   : s->hurt_at < s->records_end ? s->hurt_at
                                                 : s->records_end;
    if (s->unreadable || s->tail_hurt)
        say(c, "%s: is cut to %" PRIu64 " bytes, before what can't be read", text, end);
    int fault = io_truncate(c->io, file, end);
    if (!fault)
        fault = io_sync(c->io, file);
    c->result->repaired += !fault;
    return fault;
}

static void note_kept(struct check *c, const struct segment_name *name, const struct scanned *s,
                      const struct trailer *trailer)
{
    struct kept k = {.name = *name, .before = s->header.before, .dropped = s->header.dropped};
    k.dropped = s->dropped > k.dropped ? s->dropped : k.dropped;
    if (trailer) {
        k.before = trailer->before;
        k.dropped = trailer->dropped;
    }
    c->kept[c->kept_count++] = k;
}

/* Segments that are not there. What retention dropped is noted; of a file of before that was, nothing is
 * known. */
static void check_row(struct check *c)
{
    uint32_t dropped = 0;
    for (size_t i = 0; i < c->kept_count; i++)
        dropped = c->kept[i].dropped > dropped ? c->kept[i].dropped : dropped;
    for (size_t i = 0; i < c->kept_count; i++) {
        const struct kept *k = &c->kept[i];
        uint32_t last = i ? c->kept[i - 1].name.last : dropped;
        if (k->before > last && k->before > dropped) {
            c->result->lost_segments++;
            say(c, "%" PRIu32 " to %" PRIu32 " are lost: what was in them is read as gaps", last + 1,
                k->before);
        } else if (i && k->before == 0 && k->name.first > last + 1) {
            say(c, "%" PRIu32 " to %" PRIu32 " are not there: nothing of them was kept, or they are lost",
                last + 1, k->name.first - 1);
        }
    }
}

static int check_segment(struct check *c, const struct segment_name *name, bool newest)
{
    char text[SEGMENT_NAME_BYTES];
    segment_name_render(name, text);
    int file = io_open(c->io, text, c->repair ? IO_WRITE : 0);
    if (file < 0) {
        say(c, "%s: can't be opened", text);
        return file;
    }
    struct scanned s = {0};
    int64_t size = io_size(c->io, file);
    uint8_t last[TRAILER_BYTES];
    struct trailer trailer;
    bool sealed =
        size >= TRAILER_BYTES &&
        io_read(c->io, file, (uint64_t)size - TRAILER_BYTES, last, TRAILER_BYTES) == TRAILER_BYTES &&
        trailer_decode(last, (uint64_t)size, &trailer) == 0;
    int fault =
        size < 0 ? (int)size : scan_all(c, file, (uint64_t)size, sealed ? trailer.states_offset : 0, &s);
    if (fault) {
        say(c, "%s: can't be read: %s", text, disk_fault_text(fault));
        io_close(c->io, file);
        return fault == -EIO ? 0 : fault;
    }
    note_kept(c, name, &s, sealed ? &trailer : NULL);
    struct store_check_result *r = c->result;
    r->segments++;
    r->records += s.records;
    r->lines += s.lines;
    r->damaged_blocks += s.damaged;
    if (size == 0 && !newest) {
        r->damaged_blocks++;
        say(c, "%s: is empty; what was in it is lost", text);
    }
    say(c, "%s: %" PRIu64 " records, %" PRIu64 " lines, %s", text, s.records, s.lines,
        sealed ? "sealed" : "not sealed");
    if (s.header.epoch && (s.header.name.first != name->first || s.header.name.last != name->last ||
                           s.header.name.generation != name->generation)) {
        r->damaged_blocks++;
        say(c, "%s: its header is another segment's; was it renamed?", text);
    }
    if (s.damaged > s.unreadable)
        say(c, "%s: %" PRIu64 " damaged records; blocks among them are read as gaps", text,
            s.damaged - s.unreadable);
    if (s.unreadable)
        say(c, "%s: %" PRIu64 " records can't be read: %s", text, s.unreadable, disk_fault_text(-EIO));
    bool rebuild = false;
    /* the index of a compacted segment is its only copy: no start and no repair makes it anew */
    bool only_copy = name->generation > 0 && size > 0 && !s.unreadable && !s.tail_hurt;
    if (only_copy && (!sealed || !index_good(c, file, &trailer))) {
        r->damaged_blocks++;
        say(c, "%s: its index is damaged or cut off; what is whole of it is used, the rest is lost", text);
    } else if (sealed && !index_good(c, file, &trailer)) {
        r->damaged_indexes++;
        rebuild = true;
        say(c, "%s: its index is damaged", text);
    } else if (!sealed && (uint64_t)size > s.states_end) {
        r->torn_bytes += (uint64_t)size - s.states_end;
        say(c, "%s: %" PRIu64 " bytes behind the last good record%s", text, (uint64_t)size - s.states_end,
            newest ? "" : ", or a damaged index");
        rebuild = true;
    } else if (!sealed && s.unreadable) {
        rebuild = true;
    }
    if (s.hurt_at == 0)
        rebuild = true;
    if (c->repair && rebuild)
        fault = repair_segment(c, name, file, &s);
    io_close(c->io, file);
    return fault;
}

static int compare_names(const void *left, const void *right)
{
    const struct segment_name *a = left, *b = right;
    if (a->first != b->first)
        return a->first < b->first ? -1 : 1;
    return a->generation < b->generation ? -1 : a->generation > b->generation;
}

static int check_all(struct check *c)
{
    int fault = io_list(c->io, note_name, c);
    if (!fault)
        fault = c->fault;
    uint32_t last = 0;
    c->kept = calloc(c->count + 1, sizeof *c->kept);
    if (!c->kept)
        return -ENOMEM;
    for (size_t i = 0; i < c->count; i++)
        last = c->names[i].last > last ? c->names[i].last : last;
    if (c->count)
        qsort(c->names, c->count, sizeof *c->names, compare_names);
    for (size_t i = 0; i < c->count && !fault; i++) {
        bool replaced = false;
        for (size_t k = 0; k < c->count && !replaced; k++)
            replaced = segment_name_replaces(&c->names[k], &c->names[i]);
        if (replaced)
            continue;
        fault = check_segment(c, &c->names[i], c->names[i].last == last);
    }
    if (!fault)
        check_row(c);
    return fault;
}

int disk_check_io(struct io *io, bool repair, store_report *report, void *arg, struct store_check_result *ret)
{
    struct store_check_result result = {0};
    struct check c = {.io = io, .report = report, .arg = arg, .result = &result, .repair = repair};
    c.window = malloc(CHECK_WINDOW_BYTES);
    int fault = c.window ? check_all(&c) : -ENOMEM;
    free(c.window);
    free(c.names);
    free(c.kept);
    if (!fault && repair) {
        /* A start cuts, makes indexes anew and seals; it takes the io. */
        struct store_options options = {.memory_bytes = 0};
        struct store *s;
        const char *why;
        fault = disk_open_io(&options, io, false, &s, &why);
        if (!fault)
            store_close(s);
        else
            report(arg, why);
    } else {
        io_free(io);
    }
    if (!fault)
        *ret = result;
    return fault;
}

int disk_check(const char *directory, bool repair, store_report *report, void *arg,
               struct store_check_result *ret)
{
    struct io *io;
    int fault = io_posix_new(directory, false, &io);
    return fault ? fault : disk_check_io(io, repair, report, arg, ret);
}
