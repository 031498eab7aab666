// SPDX-License-Identifier: Apache-2.0
#include "pack.h"
#include "tail.h"
#include "wire/timestamp.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <xxhash.h>

enum {
    HEAD_ROOM_BYTES = 64 << 10, /* of the buffer beyond one longest line: for the record's other fields */
    SLICE_MIN_BYTES = 64 << 10,
    SLICE_MAX_BYTES = 512 << 10,
    LINE_COST_BYTES = 6, /* of the other columns */
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
    p->capacity = max_line_bytes + HEAD_ROOM_BYTES;
    if (p->capacity < SLICE_MAX_BYTES)
        p->capacity = SLICE_MAX_BYTES;
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

/* ---- blocks ---- */

static uint64_t open_from(const struct file *f, uint64_t otherwise)
{
    uint64_t from = otherwise;
    if (f->longer && f->longer->on && f->longer->from < from)
        from = f->longer->from;
    for (int i = 0; f->joins && i < 2; i++)
        if (f->joins->lines[i].open && f->joins->lines[i].from < from)
            from = f->joins->lines[i].from;
    return from;
}

uint64_t pack_open_from(const struct file *f)
{
    return open_from(f, f->at);
}

static void begin(struct pack *p, const struct file *f)
{
    const struct sandbox *s = f->log->sandbox;
    sl_block_builder_reset(p->builder, sl_slice(s->id, s->id_bytes));
    p->gathered = 0;
    p->also = false;
    p->now_ns = sl_now_ns();
    p->safe_to = f->at;
    p->safe_open_from = open_from(f, f->at);
}

static int hand_over(struct pack *p, struct file *f, const struct sl_block_header *more, uint64_t to,
                     uint64_t from_open)
{
    struct file *also = p->also ? f->joins->origin : NULL;
    struct sl_block_header facts = more ? *more : (struct sl_block_header){0};
    facts.codec = SL_CODEC_LZ4;
    facts.range = (struct sl_source_range){.source = f->source, .from = f->sent, .to = to};
    facts.open_from = from_open < to ? from_open : to;
    facts.fingerprint = f->fingerprint;
    facts.fingerprint_bytes = f->fingerprint_bytes;
    if (also) {
        facts.flags |= SL_BLOCK_ALSO;
        facts.also = (struct sl_source_range){.source = also->source, .from = also->sent, .to = also->at};
    }
    p->lines += sl_block_builder_lines(p->builder);
    p->blocks++;
    int r = p->sink.block(p->sink.arg, f, also, p->builder, &facts);
    if (r < 0)
        return r;
    f->sent = to;
    if (also) {
        also->sent = also->at;
        f->joins->origin = NULL;
        if (!f->joins->lines[0].open && !f->joins->lines[1].open)
            file_forget_joins(p->fleet, f);
    }
    begin(p, f);
    p->safe_to = to;
    return 0;
}

static int flush(struct pack *p, struct file *f, uint64_t to, uint64_t from_open)
{
    if (sl_block_builder_lines(p->builder) == 0)
        return 0;
    /* The last newline is left for the block that ends the open line: a block that holds lines has to move
       its source, also if nothing but the end of the sandbox comes after. A record is over for who comes to
       its newline. */
    if (from_open < to && to == f->at && to > f->sent + 1)
        to--;
    return hand_over(p, f, NULL, to > f->sent ? to : f->sent + 1, from_open);
}

int pack_mark(struct pack *p, struct file *f, const struct sl_block_header *facts)
{
    begin(p, f);
    struct sl_block_header h = *facts;
    h.time_min_ns = h.time_max_ns = p->now_ns;
    return hand_over(p, f, &h, f->at, open_from(f, f->at));
}

/* ---- lines ---- */

static int put(struct pack *p, struct file *f, uint8_t stream, int64_t time_ns, struct sl_slice text,
               bool partial)
{
    const struct log *log = f->log;
    struct sl_slice container = sl_slice(log->container, log->container_bytes);
    struct sl_line line = {.time_ns = time_ns, .text = text, .stream = stream, .partial = partial};
    int r = sl_block_builder_add(p->builder, &line, container);
    if (r == SL_BUILDER_FULL) {
        r = flush(p, f, p->safe_to, p->safe_open_from);
        if (r == 0)
            r = sl_block_builder_add(p->builder, &line, container);
        assert(r != SL_BUILDER_FULL);
    }
    p->gathered += text.bytes + LINE_COST_BYTES;
    return r;
}

static struct open_line *open_line_of(struct file *f, uint8_t stream)
{
    return f->joins && f->joins->lines[stream].open ? &f->joins->lines[stream] : NULL;
}

static void forget(struct pack *p, struct file *f, struct open_line *line)
{
    p->fleet->held_bytes -= line->capacity;
    free(line->data);
    *line = (struct open_line){0};
    if (!f->joins->lines[0].open && !f->joins->lines[1].open && !f->joins->origin)
        file_forget_joins(p->fleet, f);
}

static int hold(struct pack *p, struct file *f, uint8_t stream, int64_t time_ns, uint64_t start,
                struct sl_slice text)
{
    if (!f->joins && !(f->joins = calloc(1, sizeof *f->joins)))
        return -ENOMEM;
    struct open_line *line = &f->joins->lines[stream];
    if (!line->open) {
        line->open = true;
        line->time_ns = time_ns;
        line->from = start;
    } else if (line->from == UINT64_MAX) {
        line->from = start;
    }
    if (line->capacity - line->bytes < text.bytes) {
        size_t capacity = line->capacity ? line->capacity : 256;
        while (capacity < line->bytes + text.bytes)
            capacity *= 2;
        uint8_t *data = realloc(line->data, capacity);
        if (!data)
            return -ENOMEM;
        p->fleet->held_bytes += capacity - line->capacity;
        line->data = data;
        line->capacity = capacity;
    }
    if (text.bytes > 0)
        memcpy(line->data + line->bytes, text.data, text.bytes);
    line->bytes += text.bytes;
    return 0;
}

/*
 * Sends what is held of a line. If it began in the file before, the block says so, is begun for it, and other
 * lines carried from there go as pieces into the same block: the place of that file moves once.
 */
static int put_held(struct pack *p, struct file *f, uint8_t stream, bool partial)
{
    struct open_line *line = &f->joins->lines[stream];
    if (!line->carried || !f->joins->origin)
        return put(p, f, stream, line->time_ns, sl_slice(line->data, line->bytes), partial);
    int r = flush(p, f, p->safe_to, p->safe_open_from);
    if (r == 0)
        r = put(p, f, stream, line->time_ns, sl_slice(line->data, line->bytes), partial);
    p->also = true;
    line->carried = false;
    struct open_line *other = &f->joins->lines[!stream];
    if (r == 0 && other->open && other->carried) {
        r = put(p, f, !stream, other->time_ns, sl_slice(other->data, other->bytes), true);
        other->carried = false;
        forget(p, f, other);
    }
    return r;
}

/* Where in the file the first `bytes` of an entry's text end. */
static uint64_t file_place(const struct file *f, struct sl_slice record, uint64_t start,
                           struct sl_slice whole_text, size_t bytes)
{
    if (f->log->format == FORMAT_DOCKER)
        return start + docker_record_before(record, bytes);
    return start + (size_t)(whole_text.data - record.data) + bytes;
}

struct place {
    struct sl_slice record;
    struct sl_slice text; /* all of the entry's */
    uint64_t start;
    size_t done; /* of the text */
};

/* Sends the text in pieces of at most max_line_bytes; `keep_last`: all but the last, which is left in
 * e->text. */
static int put_pieces(struct pack *p, struct file *f, struct entry *e, struct place *at, bool keep_last)
{
    int r = 0;
    while (r == 0 && e->text.bytes > p->max_line_bytes) {
        r = put(p, f, e->stream, e->time_ns, sl_slice(e->text.data, p->max_line_bytes), true);
        e->text.data += p->max_line_bytes;
        e->text.bytes -= p->max_line_bytes;
        at->done += p->max_line_bytes;
        p->safe_to = file_place(f, at->record, at->start, at->text, at->done);
        p->safe_open_from = open_from(f, at->start) < at->start ? open_from(f, at->start) : at->start;
    }
    if (r == 0 && !keep_last)
        r = put(p, f, e->stream, e->time_ns, e->text, !e->whole);
    return r;
}

/* An entry that is not simply one whole line of its own. */
static int take_slowly(struct pack *p, struct file *f, struct entry e, struct sl_slice record, uint64_t start,
                       uint64_t end)
{
    struct place at = {.record = record, .text = e.text, .start = start};
    bool silent = end - 1 <= f->drop_until;
    struct open_line *line = open_line_of(f, e.stream);
    int r = 0;
    p->safe_to = start;
    p->safe_open_from = open_from(f, start);
    if (start < f->drop_until && !silent) {
        if (line)
            forget(p, f, line);
        line = NULL;
        size_t before = (size_t)(f->drop_until - start);
        at.done = f->log->format == FORMAT_DOCKER ? docker_text_before(record, before)
                  : before > (size_t)(e.text.data - record.data)
                      ? before - (size_t)(e.text.data - record.data)
                      : 0;
        if (at.done > e.text.bytes)
            at.done = e.text.bytes;
        e.text.data += at.done;
        e.text.bytes -= at.done;
        p->safe_to = f->drop_until;
    }
    if (line && line->bytes + e.text.bytes > p->max_line_bytes) {
        /* too long to be joined: what is held goes as a piece. It belongs to this record, so that a restart
           which drops this record also drops the piece: hence a place inside the record. */
        int64_t time_ns = line->time_ns;
        if (line->bytes > 0 && !silent)
            r = put_held(p, f, e.stream, true);
        line->bytes = 0;
        line->from = start;
        line->carried = false;
        e.time_ns = time_ns;
        p->safe_to = start + 1;
        p->safe_open_from = open_from(f, start);
    }
    if (r < 0)
        return r;
    if (!e.whole) {
        if (silent)
            while (e.text.bytes > p->max_line_bytes) {
                e.text.data += p->max_line_bytes;
                e.text.bytes -= p->max_line_bytes;
            }
        else
            r = put_pieces(p, f, &e, &at, true);
        return r < 0 ? r : hold(p, f, e.stream, e.time_ns, start, e.text);
    }
    if (!line)
        return silent ? 0 : put_pieces(p, f, &e, &at, false);
    if (line->bytes > 0) {
        r = hold(p, f, e.stream, e.time_ns, start, e.text);
        if (r == 0 && !silent)
            r = put_held(p, f, e.stream, false);
    } else if (!silent) {
        e.time_ns = line->time_ns;
        r = put_pieces(p, f, &e, &at, false);
    }
    forget(p, f, line);
    return r;
}

/* All that is open, as pieces: the file is at `at`. */
static int put_all_held(struct pack *p, struct file *f)
{
    int r = 0;
    for (uint8_t stream = 0; r == 0 && stream < 2; stream++) {
        struct open_line *line = open_line_of(f, stream);
        if (!line)
            continue;
        p->safe_to = f->at;
        p->safe_open_from = open_from(f, f->at);
        if (line->bytes > 0)
            r = put_held(p, f, stream, true);
        line = open_line_of(f, stream);
        if (line)
            forget(p, f, line);
    }
    return r;
}

static int parse(struct pack *p, struct file *f, struct sl_slice record, struct entry *ret)
{
    struct sl_slice attrs = {0};
    int r = 0;
    switch (f->log->format) {
    case FORMAT_CRI:
        r = cri_parse(record, ret);
        break;
    case FORMAT_DOCKER:
        r = docker_parse(record, p->scratch, ret, &attrs);
        if (r == 0 && attrs.bytes > 0 && !f->log->attrs_known)
            p->sink.attrs(p->sink.arg, f->log, attrs);
        break;
    default:
        *ret = (struct entry){.time_ns = p->now_ns, .text = record, .stream = SL_STDOUT, .whole = true};
        return 0;
    }
    if (r != 0)
        *ret = (struct entry){.time_ns = p->now_ns, .text = record, .stream = SL_STDOUT, .whole = true};
    return r;
}

static int take(struct pack *p, struct file *f, struct sl_slice record, uint64_t start, uint64_t end)
{
    struct entry e;
    if (f->longer && f->longer->on) {
        e = (struct entry){f->longer->time_ns, record, f->longer->stream, f->longer->whole};
        f->longer->on = false;
        start = f->longer->from;
        /* the head of the record is not in the buffer: places are counted from `record` */
        struct place at = {.record = record, .text = e.text, .start = end - record.bytes - 1};
        e.whole = true;
        if (end - 1 <= f->drop_until)
            return 0;
        if (at.start < f->drop_until) {
            size_t skip = (size_t)(f->drop_until - at.start);
            skip = skip < e.text.bytes ? skip : e.text.bytes;
            e.text.data += skip;
            e.text.bytes -= skip;
        }
        return put_pieces(p, f, &e, &at, false);
    }
    if (parse(p, f, record, &e) != 0 && end > f->drop_until)
        p->malformed++;
    if (e.whole && start >= f->drop_until && e.text.bytes <= p->max_line_bytes &&
        !open_line_of(f, e.stream)) {
        p->safe_to = start;
        p->safe_open_from = f->joins ? open_from(f, start) : start;
        return put(p, f, e.stream, e.time_ns, e.text, false);
    }
    return take_slowly(p, f, e, record, start, end);
}

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
        *l = (struct long_record){
            .from = start, .time_ns = e.time_ns, .stream = e.stream, .whole = e.whole, .on = true};
        struct open_line *line = open_line_of(f, e.stream);
        if (line) {
            int r = 0;
            p->safe_to = start;
            p->safe_open_from = open_from(f, start);
            if (start + bytes > f->drop_until && start >= f->drop_until && line->bytes > 0)
                r = put_held(p, f, e.stream, true);
            l->time_ns = line->time_ns;
            line = open_line_of(f, e.stream);
            if (line)
                forget(p, f, line);
            if (r < 0)
                return r;
        }
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
        p->safe_to = piece_start > start ? piece_start : start + 1;
        p->safe_open_from = l->from;
        if (part.bytes > 0)
            r = put(p, f, e.stream, e.time_ns, part, true);
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
        int r = take(p, f, sl_slice(p->buffer + at, end - at), base + at, base + end + 1);
        if (r < 0)
            return r;
        at = end + 1;
        f->at = base + at;
        if (p->fleet->held_bytes > p->held_max_bytes && f->joins && f->at > f->drop_until) {
            r = put_all_held(p, f);
            if (r < 0)
                return r;
        }
    }
    return (ssize_t)at;
}

/* The file still begins as it did. */
static bool begins_as_before(struct pack *p, struct file *f)
{
    uint64_t now;
    return f->fingerprint_bytes == 0 || f->gz ||
           (tail_fingerprint(p->fleet, f, f->fingerprint_bytes, &now) == 0 && now == f->fingerprint);
}

static void extend_fingerprint(struct pack *p, struct file *f)
{
    if (f->fingerprint_bytes == SL_FINGERPRINT_MAX_BYTES || f->at <= f->fingerprint_bytes)
        return;
    uint64_t fingerprint;
    size_t bytes = f->at < SL_FINGERPRINT_MAX_BYTES ? (size_t)f->at : SL_FINGERPRINT_MAX_BYTES;
    if (tail_fingerprint(p->fleet, f, bytes, &fingerprint) == 0) {
        f->fingerprint = fingerprint;
        f->fingerprint_bytes = (uint16_t)bytes;
    }
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

static size_t base_capacity(const struct pack *p)
{
    size_t capacity = p->max_line_bytes + HEAD_ROOM_BYTES;
    return capacity < SLICE_MAX_BYTES ? SLICE_MAX_BYTES : capacity;
}

/* Looks only at what came since for the newline that was missing. 1: still none. */
static int search_on(struct pack *p, struct file *f)
{
    while (f->searched - f->at < base_capacity(p)) {
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

static int read_and_take(struct pack *p, struct file *f)
{
    size_t want = p->slice_bytes;
    if (f->searched > f->at) {
        int r = search_on(p, f);
        if (r < 0)
            return r;
        if (r > 0)
            return PACK_END;
        want += (size_t)(f->searched - f->at);
    }
    bool long_docker = f->log->format == FORMAT_DOCKER && !(f->longer && f->longer->on);
    for (;;) {
        if (want > p->capacity)
            want = p->capacity;
        ssize_t n = tail_read(p->fleet, f, f->at, p->buffer, want);
        if (n < 0)
            return n == -EBADMSG ? PACK_UNREADY : (int)n;
        if (!begins_as_before(p, f))
            return PACK_TRUNCATED;
        bool full = (size_t)n == want;
        uint64_t base = f->at;
        ssize_t taken = take_all(p, f, (size_t)n);
        if (taken < 0)
            return (int)taken;
        if (taken > 0 || !full) {
            if (taken < n && !memchr(p->buffer + taken, '\n', (size_t)(n - taken)))
                f->searched = base + (uint64_t)n;
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
            return begins_as_before(p, f) ? PACK_END : PACK_TRUNCATED;
    }
    begin(p, f);
    r = read_and_take(p, f);
    if (p->capacity > base_capacity(p) && grow_buffer(p, base_capacity(p)) < 0)
        return -ENOMEM;
    if (r < 0)
        return r;
    if (f->gz && f->at > f->size)
        f->size = f->at;
    p->bytes += f->at - before;
    extend_fingerprint(p, f);
    if (p->gathered >= PACK_GOAL_BYTES) {
        p->slice_bytes = (size_t)(f->at - before) + 4096;
        if (p->slice_bytes < SLICE_MIN_BYTES)
            p->slice_bytes = SLICE_MIN_BYTES;
        if (p->slice_bytes > SLICE_MAX_BYTES)
            p->slice_bytes = SLICE_MAX_BYTES;
    }
    int fault = flush(p, f, f->at, open_from(f, f->at));
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
    } else if (f->log->format != FORMAT_PLAIN && parse(p, f, text, &e) != 0) {
        p->malformed++;
    }
    if (start + (uint64_t)n <= f->drop_until) {
        f->at = start + (uint64_t)n;
        return 0;
    }
    e.whole = false;
    /* as one more piece of what is open */
    r = take_slowly(p, f, e, text, start, start + (uint64_t)n + 1);
    f->at = start + (uint64_t)n;
    return r;
}

int pack_wrap(struct pack *p, struct file *f, bool carry)
{
    begin(p, f);
    uint64_t before = f->at;
    int r = take_torn(p, f);
    if (r < 0)
        return r;
    bool torn = f->at > before;
    /* A plain line goes on in the next file. A record of a format that was cut off does not; nor is a line
       carried over more than one file's end. */
    bool carried = f->joins && f->joins->origin;
    if (!carry || carried || (torn && f->log->format != FORMAT_PLAIN))
        r = put_all_held(p, f);
    if (r == 0)
        r = flush(p, f, f->at, open_from(f, f->at));
    if (r == 0 && !f->joins && f->sent < f->at)
        r = pack_mark(p, f, &(struct sl_block_header){0});
    return r;
}

int pack_release(struct pack *p, struct file *f)
{
    begin(p, f);
    int r = put_all_held(p, f);
    return r < 0 ? r : flush(p, f, f->at, open_from(f, f->at));
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
