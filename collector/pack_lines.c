// SPDX-License-Identifier: Apache-2.0
/* Entries become lines of a block: pieces are held and joined, long lines cut, blocks handed over. */
#include "pack_inner.h"
#include "wire/timestamp.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

enum { LINE_COST_BYTES = 6 /* of the other columns */ };

/* ---- blocks ---- */

uint64_t pack_open_from_or(const struct file *f, uint64_t otherwise)
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
    return pack_open_from_or(f, f->at);
}

void pack_begin(struct pack *p, const struct file *f)
{
    const struct sandbox *s = f->log->sandbox;
    sl_block_builder_reset(p->builder, sl_slice(s->id, s->id_bytes));
    p->gathered = 0;
    p->also = false;
    p->now_ns = sl_now_ns();
    p->safe_to = f->at;
    p->safe_open_from = pack_open_from_or(f, f->at);
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
    pack_begin(p, f);
    p->safe_to = to;
    return 0;
}

int pack_flush(struct pack *p, struct file *f, uint64_t to, uint64_t from_open)
{
    if (sl_block_builder_lines(p->builder) == 0)
        return 0;
    /* The last newline is left for the block that ends the open line: a block that holds lines has to move
       its source, also if nothing but the end of the sandbox comes after. A record is over for who comes to
       its newline. Inside a long record there is none: there every byte counts. */
    if (from_open < to && to == f->at && to > f->sent + 1 && !(f->longer && f->longer->on))
        to--;
    return hand_over(p, f, NULL, to > f->sent ? to : f->sent + 1, from_open);
}

int pack_mark(struct pack *p, struct file *f, const struct sl_block_header *facts)
{
    pack_begin(p, f);
    struct sl_block_header h = *facts;
    h.time_min_ns = h.time_max_ns = p->now_ns;
    return hand_over(p, f, &h, f->at, pack_open_from_or(f, f->at));
}

/* ---- lines ---- */

int pack_put(struct pack *p, struct file *f, uint8_t stream, int64_t time_ns, struct sl_slice text,
             bool partial)
{
    const struct log *log = f->log;
    struct sl_slice container = sl_slice(log->container, log->container_bytes);
    struct sl_line line = {.time_ns = time_ns, .text = text, .stream = stream, .partial = partial};
    int r = sl_block_builder_add(p->builder, &line, container);
    if (r == SL_BUILDER_FULL) {
        r = pack_flush(p, f, p->safe_to, p->safe_open_from);
        if (r == 0)
            r = sl_block_builder_add(p->builder, &line, container);
        assert(r != SL_BUILDER_FULL);
    }
    p->gathered += text.bytes + LINE_COST_BYTES;
    return r;
}

struct open_line *pack_open_line(struct file *f, uint8_t stream)
{
    return f->joins && f->joins->lines[stream].open ? &f->joins->lines[stream] : NULL;
}

void pack_forget(struct pack *p, struct file *f, struct open_line *line)
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

static int put_as_pieces(struct pack *p, struct file *f, uint8_t stream, const struct open_line *line)
{
    int r = 0;
    for (size_t done = 0, piece; r == 0 && done < line->bytes; done += piece) {
        piece = line->bytes - done < p->max_line_bytes ? line->bytes - done : p->max_line_bytes;
        r = pack_put(p, f, stream, line->time_ns, sl_slice(line->data + done, piece), true);
    }
    return r;
}

/* Nothing of the carried lines is in this file: they go as a block of the file in which they began. */
static int send_home(struct pack *p, struct file *f)
{
    struct file *origin = f->joins->origin;
    int r = 0;
    pack_begin(p, origin);
    for (uint8_t stream = 0; r == 0 && stream < 2; stream++)
        if (f->joins->lines[stream].open)
            r = put_as_pieces(p, origin, stream, &f->joins->lines[stream]);
    file_forget_joins(p->fleet, f);
    if (r == 0)
        r = sl_block_builder_lines(p->builder) > 0 ? pack_flush(p, origin, origin->at, origin->at)
                                                   : pack_mark(p, origin, &(struct sl_block_header){0});
    pack_begin(p, f);
    return r;
}

int pack_put_all_held(struct pack *p, struct file *f, uint64_t at)
{
    if (!f->joins)
        return 0;
    int r = pack_flush(p, f, at, pack_open_from_or(f, at));
    if (r < 0)
        return r;
    if (f->joins->origin && f->sent >= at)
        return send_home(p, f);
    p->safe_to = at;
    p->safe_open_from = pack_open_from_or(f, at);
    for (uint8_t stream = 0; r == 0 && stream < 2; stream++) {
        struct open_line *line = &f->joins->lines[stream];
        if (!line->open)
            continue;
        r = put_as_pieces(p, f, stream, line);
        p->also = p->also || (line->carried && f->joins->origin);
    }
    if (r == 0)
        r = pack_flush(p, f, at, at);
    file_forget_joins(p->fleet, f);
    return r;
}

/*
 * Sends a stream's line, which is whole now. If it began in the file before, the block says so, is begun for
 * it, and what else was carried from there goes as pieces into the same block: the place of that file moves
 * once.
 */
static int put_held(struct pack *p, struct file *f, uint8_t stream)
{
    struct open_line *line = &f->joins->lines[stream];
    struct sl_slice text = sl_slice(line->data, line->bytes);
    if (!line->carried || !f->joins->origin)
        return pack_put(p, f, stream, line->time_ns, text, false);
    int r = pack_flush(p, f, p->safe_to, p->safe_open_from);
    if (r == 0)
        r = pack_put(p, f, stream, line->time_ns, text, false);
    p->also = true;
    line->carried = false;
    struct open_line *other = &f->joins->lines[!stream];
    if (r == 0 && other->open && other->carried) {
        r = put_as_pieces(p, f, !stream, other);
        pack_forget(p, f, other);
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
    uint64_t start;       /* of `record` in the file */
    uint64_t from;        /* where reading has to begin for this record */
    size_t done;          /* of the text */
};

/* Sends the text, in pieces of at most max_line_bytes when it is longer. */
static int put_pieces(struct pack *p, struct file *f, struct entry *e, struct place *at)
{
    int r = 0;
    while (r == 0 && e->text.bytes > p->max_line_bytes) {
        r = pack_put(p, f, e->stream, e->time_ns, sl_slice(e->text.data, p->max_line_bytes), true);
        e->text.data += p->max_line_bytes;
        e->text.bytes -= p->max_line_bytes;
        at->done += p->max_line_bytes;
        p->safe_to = file_place(f, at->record, at->start, at->text, at->done);
        p->safe_open_from = pack_open_from_or(f, at->from);
    }
    if (r == 0 && (e->whole || e->text.bytes > 0))
        r = pack_put(p, f, e->stream, e->time_ns, e->text, !e->whole);
    return r;
}

/* Whether the entry can't be taken with what is open: all that is has to go as pieces first. */
static bool too_much(const struct pack *p, const struct file *f, const struct entry *e)
{
    if (!f->joins)
        return false;
    const struct open_line *line = &f->joins->lines[e->stream], *other = &f->joins->lines[!e->stream];
    size_t joined = line->bytes + e->text.bytes;
    if (e->whole && !line->open)
        return false; /* inside a whole record every byte is a place of its own */
    /* what has to go in one block has to fit there: all pieces, or a line that began in the file before with
       what else did */
    bool together = !e->whole || (line->carried && other->carried);
    return joined > p->max_line_bytes || (together && joined + other->bytes > SL_LINE_MAX_BYTES);
}

/* An entry that is not simply one whole line of its own. */
int pack_take_slowly(struct pack *p, struct file *f, struct entry e, struct sl_slice record, uint64_t start,
                     uint64_t end)
{
    struct place at = {.record = record, .text = e.text, .start = start, .from = start};
    struct open_line *line = pack_open_line(f, e.stream);
    int r = 0;
    /* Sent before, or held: never judged again. Where nothing was sent, a newline in place 0 ends what began
       in the file before. */
    if (f->drop_until > 0 && end - 1 <= f->drop_until) {
        if (!e.whole)
            return hold(p, f, e.stream, e.time_ns, start, e.text);
        if (line)
            pack_forget(p, f, line);
        return 0;
    }
    p->safe_to = start;
    p->safe_open_from = pack_open_from_or(f, start);
    bool begun = start < f->drop_until;
    if (begun) { /* sent in part */
        if (line)
            pack_forget(p, f, line);
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
    } else if (too_much(p, f, &e)) {
        r = pack_put_all_held(p, f, start);
        line = NULL;
    }
    if (r < 0)
        return r;
    if (!e.whole && !begun && e.text.bytes <= p->max_line_bytes)
        return hold(p, f, e.stream, e.time_ns, start, e.text);
    if (!line)
        return put_pieces(p, f, &e, &at);
    r = hold(p, f, e.stream, e.time_ns, start, e.text);
    if (r == 0)
        r = put_held(p, f, e.stream);
    pack_forget(p, f, line);
    return r;
}

int pack_parse(struct pack *p, struct file *f, struct sl_slice record, struct entry *ret)
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

int pack_take(struct pack *p, struct file *f, struct sl_slice record, uint64_t start, uint64_t end)
{
    struct entry e;
    if (f->longer && f->longer->on) {
        struct long_record *l = f->longer;
        e = (struct entry){l->time_ns, record, l->stream, l->whole};
        /* the head of the record is not in the buffer: places are counted from `record` */
        struct place at = {
            .record = record, .text = e.text, .start = end - record.bytes - 1, .from = l->from};
        l->on = false;
        if (end - 1 <= f->drop_until)
            return 0;
        p->safe_to = at.start;
        p->safe_open_from = pack_open_from_or(f, at.from);
        if (at.start < f->drop_until) {
            at.done = (size_t)(f->drop_until - at.start);
            at.done = at.done < e.text.bytes ? at.done : e.text.bytes;
            e.text.data += at.done;
            e.text.bytes -= at.done;
            p->safe_to = f->drop_until;
        }
        return put_pieces(p, f, &e, &at);
    }
    if (pack_parse(p, f, record, &e) != 0 && end > f->drop_until)
        p->malformed++;
    if (e.whole && start >= f->drop_until && e.text.bytes <= p->max_line_bytes &&
        !pack_open_line(f, e.stream)) {
        p->safe_to = start;
        p->safe_open_from = f->joins ? pack_open_from_or(f, start) : start;
        return pack_put(p, f, e.stream, e.time_ns, e.text, false);
    }
    return pack_take_slowly(p, f, e, record, start, end);
}
