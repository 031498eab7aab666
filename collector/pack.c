// SPDX-License-Identifier: Apache-2.0
#include "pack_inner.h"
#include "tail.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <xxhash.h>

enum {
    /* One longest line and a record's other fields. The same whatever a line may have: whether a record is
       read in one piece must not change between two starts. */
    CAPACITY_BYTES = SL_LINE_MAX_BYTES + (64 << 10),
    SLICE_MIN_BYTES = 64 << 10,
    SLICE_MAX_BYTES = 512 << 10,
    /* A torn last line up to here is read again with what came since, in one read: nearly every slice of a
       backlog ends in one. Of a longer one only what came is, until its end has come. */
    TORN_AGAIN_BYTES = 4 << 10,
};

int pack_init(struct pack *p, struct fleet *fleet, const struct pack_sink *sink, size_t max_line_bytes,
              size_t held_max_bytes)
{
    assert(max_line_bytes > 0 && max_line_bytes <= SL_LINE_MAX_BYTES);
    *p = (struct pack){.fleet = fleet,
                       .sink = *sink,
                       .max_line_bytes = max_line_bytes,
                       .held_max_bytes = held_max_bytes,
                       .slice_bytes = SLICE_MIN_BYTES};
    p->capacity = CAPACITY_BYTES;
    p->buffer = malloc(p->capacity);
    p->scratch = malloc(p->capacity);
    if (!p->buffer || !p->scratch || sl_block_builder_new(&p->builder) < 0) {
        pack_fini(p);
        return -ENOMEM;
    }
    return 0;
}

void pack_fini(struct pack *p)
{
    free(p->buffer);
    free(p->scratch);
    sl_block_builder_free(p->builder);
    *p = (struct pack){0};
}

/* ---- reading ---- */

/*
 * The buffer is full and holds no newline: the record is longer than a line may be. All of its text but a
 * last piece is sent; what kind of record it is, is remembered. Returns bytes consumed.
 */
static ssize_t take_long(struct pack *p, struct file *f, size_t bytes)
{
    struct sl_slice text = sl_slice(p->buffer, bytes);
    struct entry e = {.time_ns = p->now_ns, .stream = SL_STDOUT, .whole = true};
    if (!f->longer && !(f->longer = calloc(1, sizeof *f->longer)))
        return -ENOMEM;
    struct long_record *l = f->longer;
    uint64_t start = f->at;
    if (!l->on) {
        if (f->log->format == FORMAT_CRI && cri_parse(text, &e) == 0)
            text = e.text;
        else if (f->log->format != FORMAT_PLAIN)
            p->malformed++;
        struct open_line *line = pack_open_line(f, e.stream);
        int r = 0;
        if (start < f->drop_until && line)
            pack_forget(p, f, line);
        else if (start >= f->drop_until && (line || !e.whole))
            r = pack_put_all_held(p, f, start);
        if (r < 0)
            return r;
        *l = (struct long_record){
            .from = start, .time_ns = e.time_ns, .stream = e.stream, .whole = e.whole, .on = true};
    }
    e.time_ns = l->time_ns;
    e.stream = l->stream;
    size_t head = (size_t)(text.data - p->buffer), done = 0;
    int r = 0;
    while (r == 0 && text.bytes - done > p->max_line_bytes) {
        size_t piece = p->max_line_bytes;
        uint64_t piece_start = start + head + done;
        struct sl_slice part = sl_slice(text.data + done, piece);
        if (piece_start < f->drop_until) { /* sent before, all or some of it */
            size_t skip = f->drop_until - piece_start < piece ? (size_t)(f->drop_until - piece_start) : piece;
            part.data += skip;
            part.bytes -= skip;
        }
        p->safe_to = piece_start;
        p->safe_open_from = pack_open_from_or(f, l->from);
        if (part.bytes > 0)
            r = pack_put(p, f, e.stream, e.time_ns, part, true);
        done += piece;
    }
    return r < 0 ? r : (ssize_t)(head + done);
}

/* Records of the buffer up to the goal. Returns bytes consumed. */
static ssize_t take_all(struct pack *p, struct file *f, size_t bytes)
{
    size_t at = 0;
    uint64_t base = f->at;
    size_t search = f->searched > base ? (size_t)(f->searched - base) : 0;
    while (at < bytes && p->gathered < PACK_GOAL_BYTES) {
        if (search < at)
            search = at;
        if (search >= bytes)
            break;
        const uint8_t *newline = memchr(p->buffer + search, '\n', bytes - search);
        if (!newline)
            break;
        size_t end = (size_t)(newline - p->buffer);
        int r = pack_take(p, f, sl_slice(p->buffer + at, end - at), base + at, base + end + 1);
        if (r < 0)
            return r;
        at = end + 1;
        f->at = base + at;
        if (p->fleet->held_bytes > p->held_max_bytes && f->joins && f->at > f->drop_until) {
            r = pack_put_all_held(p, f, f->at);
            if (r < 0)
                return r;
        }
    }
    return (ssize_t)at;
}

/*
 * The file still begins as it did, and holds what was just read into the buffer: it was not truncated and
 * written anew meanwhile. What it begins with is remembered, so far as it was read.
 */
static bool begins_as_before(struct pack *p, struct file *f, size_t read)
{
    uint8_t first[SL_FINGERPRINT_MAX_BYTES];
    uint64_t end = f->at + read;
    size_t want = end < sizeof first ? (size_t)end : sizeof first;
    if (want < f->fingerprint_bytes)
        want = f->fingerprint_bytes;
    if (want == 0 || (f->gz && f->fingerprint_bytes == sizeof first))
        return true;
    bool same = tail_read(p->fleet, f, 0, first, want) == (ssize_t)want &&
                (f->fingerprint_bytes == 0 || XXH3_64bits(first, f->fingerprint_bytes) == f->fingerprint) &&
                (f->at >= want || read == 0 || memcmp(first + f->at, p->buffer, want - (size_t)f->at) == 0);
    if (!same && (f->at > 0 || f->fingerprint_bytes > 0))
        return false;
    if (!same) /* by what was read of it a copy of it is known */
        memcpy(first, p->buffer, want);
    f->fingerprint = XXH3_64bits(first, want);
    f->fingerprint_bytes = (uint16_t)want;
    return same;
}

/* A record that has not ended in `capacity` bytes: Docker's may go on further, in a buffer of its own size.
 */
static int grow_buffer(struct pack *p, size_t capacity)
{
    uint8_t *buffer = malloc(capacity), *scratch = malloc(capacity);
    if (!buffer || !scratch) {
        free(buffer);
        free(scratch);
        return -ENOMEM;
    }
    free(p->buffer);
    free(p->scratch);
    p->buffer = buffer;
    p->scratch = scratch;
    p->capacity = capacity;
    return 0;
}

/* Looks only at what came since for the newline that was missing. 1: still none. */
static int search_on(struct pack *p, struct file *f)
{
    while (f->searched - f->at < CAPACITY_BYTES) {
        ssize_t n = tail_read(p->fleet, f, f->searched, p->buffer, SLICE_MIN_BYTES);
        if (n < 0)
            return (int)n;
        if (n == 0)
            return 1;
        if (memchr(p->buffer, '\n', (size_t)n))
            return 0;
        f->searched += (uint64_t)n;
        if (n < SLICE_MIN_BYTES)
            return 1;
    }
    return 0;
}

/* A .gz gives what is before the damage first. */
static bool ends_well(struct pack *p, struct file *f, uint64_t at)
{
    uint8_t byte;
    return !f->gz || tail_read(p->fleet, f, at, &byte, sizeof byte) != -EBADMSG;
}

static int read_and_take(struct pack *p, struct file *f)
{
    size_t want = p->slice_bytes;
    if (f->searched > f->at + TORN_AGAIN_BYTES) {
        int r = search_on(p, f);
        if (r < 0)
            return r == -EBADMSG ? PACK_UNREADY : r;
        if (r > 0)
            return ends_well(p, f, f->searched) ? PACK_END : PACK_UNREADY;
    }
    if (f->searched > f->at)
        want += (size_t)(f->searched - f->at);
    bool long_docker = f->log->format == FORMAT_DOCKER && !(f->longer && f->longer->on);
    for (;;) {
        if (want > p->capacity)
            want = p->capacity;
        ssize_t n = tail_read(p->fleet, f, f->at, p->buffer, want);
        if (n < 0)
            return n == -EBADMSG ? PACK_UNREADY : (int)n;
        if (!begins_as_before(p, f, (size_t)n))
            return PACK_TRUNCATED;
        bool full = (size_t)n == want;
        uint64_t base = f->at;
        ssize_t taken = take_all(p, f, (size_t)n);
        if (taken < 0)
            return (int)taken;
        if (taken > 0 || !full) {
            if (taken < n && !memchr(p->buffer + taken, '\n', (size_t)(n - taken)))
                f->searched = base + (uint64_t)n;
            if (!full && !ends_well(p, f, base + (uint64_t)n))
                return PACK_UNREADY;
            return !full && f->searched >= base + (uint64_t)n ? PACK_END
                   : !full && taken == n                      ? PACK_END
                                                              : PACK_MORE;
        }
        if (want < p->capacity) {
            want *= 4;
            continue;
        }
        if (long_docker && p->capacity < PACK_DOCKER_RECORD_MAX_BYTES) {
            int r = grow_buffer(p, PACK_DOCKER_RECORD_MAX_BYTES);
            if (r < 0)
                return r;
            want = p->capacity;
            continue;
        }
        taken = take_long(p, f, (size_t)n);
        if (taken < 0)
            return (int)taken;
        f->at += (uint64_t)taken;
        f->searched = base + (uint64_t)n;
        return PACK_MORE;
    }
}

int pack_turn(struct pack *p, struct file *f)
{
    uint64_t size = 0, before = f->at;
    bool linked;
    int r = tail_stat(f, &size, &linked);
    if (r < 0)
        return r;
    if (!f->gz) {
        if (size < f->at || size < f->sent)
            return PACK_TRUNCATED;
        f->size = size;
        if (size == f->at && f->at == f->sent && f->fingerprint_bytes < SL_FINGERPRINT_MAX_BYTES)
            return begins_as_before(p, f, 0) ? PACK_END : PACK_TRUNCATED;
    }
    pack_begin(p, f);
    r = read_and_take(p, f);
    if (p->capacity > CAPACITY_BYTES && grow_buffer(p, CAPACITY_BYTES) < 0)
        return -ENOMEM;
    if (r < 0)
        return r;
    if (f->gz && f->at > f->size)
        f->size = f->at;
    p->bytes += f->at - before;
    if (p->gathered >= PACK_GOAL_BYTES) {
        p->slice_bytes = (size_t)(f->at - before) + 4096;
        if (p->slice_bytes < SLICE_MIN_BYTES)
            p->slice_bytes = SLICE_MIN_BYTES;
        if (p->slice_bytes > SLICE_MAX_BYTES)
            p->slice_bytes = SLICE_MAX_BYTES;
    }
    int fault = pack_flush(p, f, f->at, pack_open_from_or(f, f->at));
    return fault < 0 ? fault : r;
}

/* ---- the end of a file ---- */

/* What stands behind the last newline, at most a buffer full. */
static int take_torn(struct pack *p, struct file *f)
{
    ssize_t n = tail_read(p->fleet, f, f->at, p->buffer, p->capacity);
    if (n <= 0)
        return n == -EBADMSG ? 0 : (int)n;
    struct sl_slice text = sl_slice(p->buffer, (size_t)n);
    struct entry e = {.time_ns = p->now_ns, .text = text, .stream = SL_STDOUT};
    uint64_t start = f->at;
    int r;
    if (memchr(text.data, '\n', text.bytes))
        return 0; /* it has just ended after all: an ordinary turn takes it */
    if (f->longer && f->longer->on) {
        e.stream = f->longer->stream;
        e.time_ns = f->longer->time_ns;
        f->longer->on = false;
    } else if (f->log->format != FORMAT_PLAIN && pack_parse(p, f, text, &e) != 0) {
        p->malformed++;
    }
    if (start + (uint64_t)n <= f->drop_until) {
        f->at = start + (uint64_t)n;
        return 0;
    }
    e.whole = false;
    /* as one more piece of what is open */
    r = pack_take_slowly(p, f, e, text, start, start + (uint64_t)n + 1);
    f->at = start + (uint64_t)n;
    return r;
}

int pack_wrap(struct pack *p, struct file *f, bool carry)
{
    pack_begin(p, f);
    uint64_t before = f->at;
    int r = take_torn(p, f);
    if (r < 0)
        return r;
    bool torn = f->at > before;
    /* A plain line goes on in the next file. A record of a format that was cut off does not; nor is a line
       carried over more than one file's end. */
    bool carried = f->joins && f->joins->origin;
    if (!carry || carried || (torn && f->log->format != FORMAT_PLAIN))
        r = pack_put_all_held(p, f, f->at);
    if (r == 0)
        r = pack_flush(p, f, f->at, pack_open_from_or(f, f->at));
    if (r == 0 && !f->joins && f->sent < f->at)
        r = pack_mark(p, f, &(struct sl_block_header){0});
    return r;
}

int pack_release(struct pack *p, struct file *f)
{
    pack_begin(p, f);
    return pack_put_all_held(p, f, f->at);
}

void pack_carry(struct pack *p, struct file *from, struct file *to)
{
    if (!from->joins)
        return;
    assert(!to->joins && !from->joins->origin);
    to->joins = from->joins;
    from->joins = NULL;
    to->joins->origin = from;
    for (int i = 0; i < 2; i++) {
        struct open_line *line = &to->joins->lines[i];
        line->carried = line->open;
        line->from = UINT64_MAX;
    }
    if (!to->joins->lines[0].open && !to->joins->lines[1].open) {
        to->joins->origin = NULL;
        file_forget_joins(p->fleet, to);
    }
}
